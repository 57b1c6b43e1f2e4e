from __future__ import annotations

import pytest
from msgspec.structs import replace

from acron.errors import InvalidJob
from acron.model import Delivery
from acron.records import job_from_record, job_json, job_to_record, run_json
from acron.targets import Target, chat_and_thread, expand, hide, parse_target, shown
from acron.testing.contracts.adapters import message_of

CANARY = "s3cret-canary"


@pytest.mark.parametrize(
    "text, target",
    [
        ("local", Target("local")),
        ("telegram", Target("telegram")),
        ("telegram:-100123", Target("telegram", "-100123")),
        ("telegram:-100123:17", Target("telegram", "-100123:17")),
        ("matrix:!room:server.org", Target("matrix", "!room:server.org")),
        ("email:me@example.org", Target("email", "me@example.org")),
        ("webhook:https://example.org/in", Target("webhook", "https://example.org/in")),
        ("tgram://bot/chat", Target("apprise", "tgram://bot/chat")),
        ("mailtos://me:pw@example.org?to=x", Target("apprise", "mailtos://me:pw@example.org?to=x")),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "telegram:",
        "telegram: ",
        "two words",
        ":5",
        "local:x",
        "all:1",
        "origin:2",
        "-x",
        "tgram://",
        "é",
    ],
)
@pytest.mark.parametrize("field", ["deliver", "deliver_failure"])
def test_what_is_no_target_is_refused_when_a_job_is_added(text: str, field: str) -> None:
    with pytest.raises(InvalidJob) as caught:
        job_from_record({"id": "a", "schedule": "every 1h", "command": "true", field: [text]})
    assert (caught.value.where, caught.value.job_id) == (f"$.{field}", "a")


@pytest.mark.parametrize("origin", ["all", "origin", "telegram:", "telegram:1,slack:2"])
def test_an_origin_is_one_place(origin: str) -> None:
    record = {"id": "a", "schedule": "every 1h", "command": "true", "origin": origin}
    with pytest.raises(InvalidJob) as caught:
        job_from_record(record)
    assert caught.value.where == "$.origin"


def test_a_record_keeps_its_origin() -> None:
    record = {"id": "a", "schedule": "every 1h", "command": "true", "origin": "slack:C1:17.5"}
    assert job_to_record(job_from_record(record)) == record


HOMES = {"telegram": "-100", "slack": "C1"}


@pytest.mark.parametrize(
    "targets, origin, places",
    [
        (["telegram"], None, ["telegram:-100"]),
        (["telegram", "telegram:-100"], None, ["telegram:-100"]),
        (["all", "slack"], None, ["telegram:-100", "slack:C1"]),
        (["origin", "telegram:7"], "telegram:7", ["telegram:7"]),
        (["origin"], "slack", ["slack:C1"]),
        (["origin", "log"], None, ["origin", "log"]),
        (["discord", "local"], None, ["discord", "local"]),
    ],
)
def test_places(targets: list[str], origin: str | None, places: list[str]) -> None:
    found = expand([Delivery(one) for one in targets], origin, HOMES)
    assert [one.target for one in found] == places
    assert expand(found, origin, HOMES) == found


def test_what_was_sent_stays_as_it_is() -> None:
    done = Delivery("telegram", "delivered", "5")
    assert expand([done, Delivery("slack")], None, HOMES) == (done, Delivery("slack:C1"))
    assert expand([Delivery("all")], None, {}) == (Delivery("all"),)


def test_chat_and_thread() -> None:
    assert chat_and_thread("-100:17") == ("-100", "17")
    assert chat_and_thread("-100") == ("-100", "")


SECRETS = (
    f"tgram://123:{CANARY}/chat",
    f"json://user:{CANARY}@host/path",
    f"webhook:https://host.example/hook/{CANARY}?x={CANARY}",
    f"discord:https://me:{CANARY}@host.example/{CANARY}",
)


@pytest.mark.parametrize("target", SECRETS)
def test_a_target_is_shown_without_its_secrets(target: str) -> None:
    record = {"id": "a", "schedule": "every 1h", "command": "true"}
    keys = {"deliver": [target], "deliver_failure": [target], "origin": target}
    job = job_from_record(record | keys)
    assert job_to_record(job)["deliver"] == [target]
    run = replace(message_of("x").run, deliveries=(Delivery(target),))
    told = [str(job_json(job)), shown(target), str(run_json(run))]
    for text in told:
        assert CANARY not in text
        assert "***" in text


@pytest.mark.parametrize("target", SECRETS)
def test_an_error_is_told_without_the_secrets_of_its_url(target: str) -> None:
    to = parse_target(target).to
    for text in (f"cannot POST {to}", f"no answer from host.example with {CANARY}"):
        assert CANARY not in hide(text, to)
    assert hide(f"chat {CANARY} is closed", "-100123") == f"chat {CANARY} is closed"


def test_a_refusal_does_not_repeat_the_secret() -> None:
    with pytest.raises(InvalidJob) as caught:
        parse_target(f"two words://x:{CANARY}@host/{CANARY}")
    assert CANARY not in str(caught.value)
