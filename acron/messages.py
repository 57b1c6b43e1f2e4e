"""What people are told: a run's words, wrapped in the job's name, in parts that a platform takes.

Pure. What comes out holds no secret that acron can know and no control character.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import TYPE_CHECKING

from acron.model import RunState
from acron.text import many_lines, one_line

if TYPE_CHECKING:
    from acron.abc import Adapter
    from acron.model import Job, Run

#: What a template may name. ``late`` and ``stop`` are empty when there is nothing to say.
FIELDS = ("name", "id", "run", "state", "attempt", "scheduled", "late", "text", "stop")
WRAPPER = "{name}{late}\n\n{text}\n\n({id}, run {run}{stop})"
#: Messages that one run may become on one target.
MOST_PARTS = 10
#: Seconds from which on a run is called late.
LATE = 60.0

_ZERO_WIDTH = "\u200b"
_MENTION = re.compile(
    r"@(?=(?:everyone|here|channel|all|room)\b)|<(?=!(?:channel|here|everyone|subteam\b)|@[&!]?\w)",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^ {0,3}(```+)([^`\n]{0,20})[^\n]*$", re.MULTILINE)


def check_wrapper(template: str) -> None:
    """Raise ValueError unless ``template`` has fields of ours only, ``{text}`` among them. They
    are plain names: no attribute, no index, no conversion, so that nothing can be executed."""
    named = set()
    for _, field, form, conversion in Formatter().parse(template):
        if field is None:
            continue
        if field not in FIELDS or form or conversion:
            raise ValueError(f"{{{field}}} is none of {', '.join(FIELDS)}")
        named.add(field)
    if "text" not in named:
        raise ValueError("it needs {text}")


def compose(adapter: Adapter, job: Job, run: Run, *, wrap: bool | str) -> tuple[str, ...]:
    """The messages that ``adapter`` is to send of ``run``, in order; at least one."""
    text = _said(run)
    if run.files and not adapter.takes_files:
        text = f"{text}\n\nFiles: {', '.join(run.files)}".strip()
    if wrap and not adapter.verbatim:
        text = wrapped(job, run, text, WRAPPER if wrap is True else wrap)
    return fit(adapter, text, f"acron output {run.id}")


def fit(adapter: Adapter, text: str, rest: str) -> tuple[str, ...]:
    """``text`` as ``adapter`` may be given it: harmless, in parts that it takes (see ``split``)."""
    text = many_lines(text)
    if not adapter.verbatim:
        text = without_mentions(text)
    return (text,) if adapter.limit is None else split(text, adapter.limit, rest)


def wrapped(job: Job, run: Run, text: str, template: str) -> str:
    """``text`` in ``template``, which ``check_wrapper`` has let pass."""
    at = run.scheduled_at
    fields = {
        "name": one_line(job.name or job.id, 200),
        "id": one_line(job.id, 200),
        "run": one_line(run.id),
        "state": run.state.value.replace("_", " "),
        "attempt": str(run.attempt),
        "scheduled": "" if at is None else f"{at:%Y-%m-%d %H:%M:%S} UTC",
        "late": f" ({_span(run.lateness)} late)" if run.lateness >= LATE else "",
        "text": text,
        "stop": "" if job.completed else f"; to stop it: acron pause {one_line(job.id, 200)}",
    }
    return template.format_map(fields)


def without_mentions(text: str) -> str:
    """``text`` that calls nobody: in what would alert a whole room there is a character of no
    width."""
    return _MENTION.sub(rf"\g<0>{_ZERO_WIDTH}", text)


def split(text: str, limit: int, rest: str, most: int = MOST_PARTS) -> tuple[str, ...]:
    """``text`` in parts of at most ``limit`` (100 or more) UTF-16 code units, what chats count.

    Parts end with a line, else with a word. A fenced block that is cut is closed, and opened
    again in the next part. After ``most`` parts a note says how much is missing, and that
    ``rest`` tells it.
    """
    parts: list[str] = []
    opening = ""
    while text:
        whole = opening + text
        if _units(whole) <= limit:
            parts.append(whole)
            break
        last = len(parts) == most - 1
        room = limit - 4 - (80 + len(rest) if last else 0)
        end = max(_border(whole, room), len(opening) + 1)
        part, text = whole[:end].rstrip(), whole[end:].lstrip("\n")
        fence = _open_fence(part)
        opening = f"{fence}\n" if fence else ""
        if part.strip() not in {"", opening.strip()}:
            parts.append(f"{part}\n```" if fence else part)
        if last:
            parts[-1] += f"\n[… {len(text):,} more characters: {rest}]"
            break
    return tuple(parts) or ("",)


def _border(text: str, room: int) -> int:
    """Where to cut so that at most ``room`` units come before."""
    end = _fitting(text, room)
    for mark in ("\n", " "):
        if (found := text.rfind(mark, end // 2, end)) > 0:
            return found + 1
    return end


def _fitting(text: str, room: int) -> int:
    units = 0
    for place, char in enumerate(text[:room]):
        units += 2 if char > "\uffff" else 1
        if units > room:
            return place
    return min(len(text), room)


def _units(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)


def _open_fence(part: str) -> str:
    """The line that has opened a block at the end of ``part``; empty when none is open."""
    opened = ""
    for found in _FENCE.finditer(part):
        opened = "" if opened else f"```{found[2].strip()}"
    return opened


def _said(run: Run) -> str:
    if run.state is RunState.SUCCEEDED:
        return run.output or ""
    text = f"{run.state.value.replace('_', ' ')}: {run.error or 'no reason given'}"
    return f"{text}\n\n{run.output}" if run.output else text


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60:.0f} min"
