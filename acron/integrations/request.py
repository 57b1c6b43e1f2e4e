"""What a model may ask of the agent's tool: its schema, and how a call is read."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
from msgspec import Struct

from acron.errors import AcronError
from acron.text import invisible, one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

Verb = Literal["create", "list", "update", "pause", "resume", "run", "remove"]


class Refused(AcronError):
    """The call was not carried out; the text says to the model why, and what would be right."""


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """One call of the tool; None is what was not given."""

    action: Verb
    job: str | None = None
    schedule: str | None = None
    prompt: str | None = None
    name: str | None = None
    tz: str | None = None
    repeat: int | None = None
    until: str | None = None
    reason: str | None = None
    function: str | None = None
    arguments: dict[str, Any] | None = None


_TELLS: dict[str, tuple[str, str]] = {
    "job": ("string", "The job's id or name. Needed by all but create and list."),
    "schedule": (
        "string",
        "When: 'in 20m', 'tomorrow at 9am', 'every 2h', 'weekdays at 9:30', cron '0 9 * * 1-5'.",
    ),
    "prompt": ("string", "What you are to be asked then; it must make sense on its own."),
    "name": ("string", "A short name for people."),
    "tz": ("string", "IANA zone, such as Europe/Paris. Leave it out for the default."),
    "repeat": ("integer", "Stop after so many fires."),
    "until": ("string", "For pause: when it ends by itself, such as 'in 3 days'."),
    "reason": ("string", "For pause: why."),
}
_DESCRIPTION = (
    "Manage your scheduled jobs: reminders, and prompts that you are asked later or again and "
    "again. create needs schedule and {what}; update changes the fields given; pause, resume, run "
    "(once, now) and remove need job; list shows all. The answer states the next times: check that "
    "they are what was meant, and tell them to the user."
)


def schema(functions: Collection[str] = ()) -> dict[str, Any]:
    """The tool as a function definition: ``name``, ``description``, ``parameters`` (JSON schema).

    ``functions`` as in ``call``.
    """
    fields: dict[str, Any] = {"action": {"type": "string", "enum": list(get_args(Verb))}}
    fields |= {key: {"type": kind, "description": text} for key, (kind, text) in _TELLS.items()}
    what = "prompt"
    if functions:
        what = "either prompt or function"
        told = "In the place of a prompt: call this function."
        fields["function"] = {"type": "string", "enum": sorted(functions), "description": told}
        fields["arguments"] = {"type": "object", "description": "Arguments of the function."}
    return {
        "name": "schedule",
        "description": _DESCRIPTION.format(what=what),
        "parameters": {
            "type": "object",
            "properties": fields,
            "required": ["action"],
            "additionalProperties": False,
        },
    }


def read(arguments: Mapping[str, Any] | str) -> Request:
    """The call in ``arguments``, an object or its JSON text. Raises Refused."""
    try:
        raw = msgspec.json.decode(arguments) if isinstance(arguments, str) else arguments
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise Refused(f"the arguments are not JSON: {error}") from error
    if not hasattr(raw, "items"):
        message = 'the arguments are an object, such as {"action": "list"}'
        raise Refused(message)
    given = {key: one for key, one in raw.items() if one is not None and one not in ("", {})}
    known = Request.__struct_fields__
    for key in given:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise Refused(f"there is no argument {one_line(repr(key), 60)}; {hint}")
    try:
        return msgspec.convert(given, Request)
    except msgspec.ValidationError as error:
        if "`action`" in str(error) or "`$.action`" in str(error):
            actions = ", ".join(get_args(Verb))
            raise Refused(f"action must be one of {actions}") from error
        text = str(error).replace("`", "").replace(" - at $.", " in ")
        raise Refused(one_line(text, 300)) from error


def refuse_job(request: Request) -> None:
    """Refuse a reference to a job where there is none to refer to."""
    if request.job is not None:
        hint = "; give the new job a name instead" if request.action == "create" else ""
        raise Refused(f"{request.action} takes no job{hint}")


def visible(text: str | None, what: str) -> str | None:
    """The text, if people see all that is in it: what they cannot see they cannot agree to."""
    if text is not None and (found := invisible(text)):
        raise Refused(f"the {what} has {found}; write it without")
    return text


def texts(value: object) -> Iterator[str]:
    """All texts in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)
