"""What holds for all schedules, and equality with croniter and dateutil."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import TYPE_CHECKING

from croniter import CroniterBadDateError, CroniterError, croniter
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from acron.errors import ScheduleError
from acron.schedules import Schedule, fields, parse
from tests.schedules import texts
from tests.schedules.texts import MANY, NOW, ZONES, bases

if TYPE_CHECKING:
    from acron.schedules.source import Fold, Gap

MICRO = timedelta(microseconds=1)
LATER = datetime(2031, 2, 3, 4, 5, 6, tzinfo=UTC)
gaps = st.sampled_from([None, "shift", "skip"])
folds = st.sampled_from([None, "first", "last", "both"])


def made(text: str, tz: str = "UTC", gap: Gap | None = None, fold: Fold | None = None) -> Schedule:
    """The schedule of ``text``; a text that never fires is not an example."""
    try:
        return parse(text, tz=tz, now=NOW, job_id="a job", gap=gap, fold=fold)
    except ScheduleError as error:
        assume("never fires" not in str(error))
        raise


@given(texts.texts, ZONES, ZONES, gaps, folds)
@settings(max_examples=400 * MANY)
def test_canonical_text_reads_back_to_an_equal_value(
    text: str, tz: str, other: str, gap: Gap | None, fold: Fold | None
) -> None:
    schedule = made(text, tz, gap, fold)
    again = parse(str(schedule), tz=other, now=LATER)
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert str(again) == str(schedule)
    assert again.upcoming(NOW, 3) == schedule.upcoming(NOW, 3)
    assert schedule.describe().strip()


@given(texts.texts, ZONES, bases, gaps, folds)
@settings(max_examples=400 * MANY)
def test_next_is_later_and_the_newest_up_to_it_is_itself(
    text: str, tz: str, base: datetime, gap: Gap | None, fold: Fold | None
) -> None:
    schedule = made(text, tz, gap, fold)
    found = schedule.next_after(base)
    if found is not None:
        assert found > base
        assert schedule.last_at(found) == found
        before = schedule.last_at(found - MICRO)
        assert before is None or before <= base
        assert schedule.count(base, found) == 1
        assert schedule.count(base, found - MICRO) == 0


@given(texts.texts, ZONES, bases, st.integers(0, 3_000_000), gaps, folds)
@settings(max_examples=300 * MANY)
def test_count_equals_enumeration(
    text: str, tz: str, base: datetime, length: int, gap: Gap | None, fold: Fold | None
) -> None:
    schedule = made(text, tz, gap, fold)
    following = islice(schedule.iterate(base), 3000)
    found = list(takewhile(lambda at: at <= base + timedelta(seconds=length), following))
    until = found[-1] if len(found) == 3000 else base + timedelta(seconds=length)
    assert schedule.count(base, until) == len(found)
    if found:
        assert schedule.last_at(until) == found[-1]


@given(texts.plain_cron, ZONES, bases, st.integers(0, 40), gaps, folds)
@settings(max_examples=200 * MANY)
def test_counts_add_up(
    text: str, tz: str, base: datetime, years: int, gap: Gap | None, fold: Fold | None
) -> None:
    """A long count, which goes by whole years, equals its parts, which do not."""
    schedule = made(text, tz, gap, fold)
    end = base + timedelta(days=365 * years)
    cuts = [base + timedelta(days=150 * n) for n in range(365 * years // 150 + 1)] + [end]
    parts = sum(schedule.count(a, b) for a, b in pairwise(cuts))
    assert schedule.count(base, end) == parts


@given(st.one_of(texts.plain_cron, texts.special_cron), bases)
@settings(max_examples=250 * MANY)
def test_equal_to_croniter_in_utc(text: str, base: datetime) -> None:
    schedule = made(text)
    theirs = croniter(text, base)
    for mine in schedule.upcoming(base, 3):
        # croniter gives up after 50 years.
        with suppress(CroniterBadDateError):
            assert theirs.get_next(datetime) == mine


@given(texts.special_cron, bases)
@settings(max_examples=200 * MANY)
def test_equal_to_croniter_backwards_in_utc(text: str, base: datetime) -> None:
    schedule = made(text)
    # croniter goes back to strictly earlier, last_at takes the base itself.
    with suppress(CroniterBadDateError):
        assert croniter(text, base).get_prev(datetime) == schedule.last_at(base - MICRO)


@given(texts.seconds_cron, bases)
@settings(max_examples=80 * MANY)
def test_seconds_first_equals_croniter_with_seconds_first(text: str, base: datetime) -> None:
    schedule = made(text)
    theirs = croniter(text, base, second_at_beginning=True)
    for mine in schedule.upcoming(base, 4):
        with suppress(CroniterBadDateError):
            assert theirs.get_next(datetime) == mine


FIELDS = st.sampled_from([
    (fields.MINUTE, "{} * * * *", 0), (fields.HOUR, "* {} * * *", 1),
    (fields.MONTH_DAY, "* * {} * 1", 2), (fields.MONTH, "* * * {} *", 3),
    (fields.WEEKDAY, "* * 1 * {}", 4),
])  # fmt: skip


@given(FIELDS, st.data())
@settings(max_examples=300 * MANY)
def test_plain_fields_are_read_as_croniter_expands_them(
    chosen: tuple[fields.Field, str, int], data: st.DataObject
) -> None:
    field, frame, place = chosen
    names = tuple(field.names)
    text = data.draw(texts.field(field.low, 6 if field is fields.WEEKDAY else field.high, names))
    expanded = croniter.expand(frame.format(text))[0][place]
    mine = [n for n in range(64) if fields.mask(text, field) >> n & 1]
    full = [n for n in range(64) if fields.mask("*", field) >> n & 1]
    assert mine == (full if expanded == ["*"] else expanded if "*" not in expanded else full)


@given(
    st.sampled_from(["minute", "hour", "day", "month", "weekday"]),
    st.text("0123456789*-,/ABLMNORUW#?", min_size=1, max_size=7),
)
@settings(max_examples=600 * MANY)
def test_what_croniter_refuses_is_refused(name: str, text: str) -> None:
    parts = dict.fromkeys(["minute", "hour", "day", "month", "weekday"], "*") | {name: text}
    expression = " ".join(parts.values())
    try:
        croniter.expand(expression)
    except (CroniterError, ValueError):
        accepted = False
    else:
        accepted = True
    try:
        parse(expression, now=NOW)
    except ScheduleError:
        return
    ours = any(word in text for word in ("L", "W", "#"))
    assert accepted or ours, expression


@given(texts.rules, bases)
@settings(max_examples=60 * MANY)
def test_rules_equal_dateutil_from_the_start(text: str, base: datetime) -> None:
    schedule = made(text)
    head, _, rule = str(schedule).removeprefix("CRON_TZ=UTC DTSTART:").partition(" RRULE:")
    start = datetime.strptime(head, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    base = max(base, start)
    assume("MINUTELY" not in rule or base < start + timedelta(days=900))
    theirs = rrulestr(rule, dtstart=start)
    assert schedule.upcoming(base, 3) == list(theirs.xafter(base, count=3))
    assert schedule.last_at(base) == theirs.before(base, inc=True)
