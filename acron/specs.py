"""What a job does: one record a kind of action, which ``acron.actions`` carry out."""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct


class Call(Struct, frozen=True, gc=False, tag_field="kind", tag="call"):
    """Call a registered function by ``name``; ``kwargs`` are JSON values."""

    name: str
    kwargs: dict[str, Any] = {}

    kind: ClassVar[str] = "call"

    @property
    def needs(self) -> str:
        return f"call:{self.name}"


class Command(Struct, frozen=True, gc=False, tag_field="kind", tag="command", omit_defaults=True):
    """Run a command: a text for the shell, or an argument list run without one."""

    command: str | tuple[str, ...]
    cwd: str | None = None
    env: dict[str, str] | None = None
    stdin: str | None = None

    kind: ClassVar[str] = "command"
    needs: ClassVar[str] = "command"


class Http(Struct, frozen=True, gc=False, tag_field="kind", tag="http", omit_defaults=True):
    """Make one HTTP request. ``body`` is text, or a JSON value that is sent as JSON.

    ``expect`` are the statuses that count as success; none given: any below 400.
    """

    url: str
    method: str = "GET"
    headers: dict[str, str] | None = None
    body: Any = None
    expect: tuple[int, ...] = ()

    kind: ClassVar[str] = "http"
    needs: ClassVar[str] = "http"


class Prompt(Struct, frozen=True, gc=False, tag_field="kind", tag="prompt", omit_defaults=True):
    """Ask the host's agent.

    ``script`` is a shell command that runs first and whose output goes before the prompt; it may
    end the run silently (the wake gate). ``context_from`` names jobs, or ``self``, whose newest
    substantive output goes before the prompt too.
    """

    prompt: str
    script: str | None = None
    context_from: tuple[str, ...] = ()

    kind: ClassVar[str] = "prompt"
    needs: ClassVar[str] = "prompt"


class Custom(Struct, frozen=True, gc=False, tag_field="kind", tag="custom"):
    """An action of somebody else's (entry point ``acron.actions``), with its own JSON data."""

    action: str
    data: dict[str, Any] = {}

    @property
    def needs(self) -> str:
        return self.action

    @property
    def kind(self) -> str:
        return self.action


ActionSpec = Call | Command | Http | Prompt | Custom
