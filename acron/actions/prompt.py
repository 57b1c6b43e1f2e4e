"""Ask the host's agent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from acron.abc import Action
from acron.actions.call import CallAction
from acron.actions.command import CommandAction
from acron.actions.command import check as check_command
from acron.errors import ActionFailed, InvalidJob
from acron.specs import Call, Command, Prompt
from acron.text import invisible

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from acron.abc import Context
    from acron.threads import Threads

_AGENT = "agent"


class PromptAction(Action):
    """Runs a Prompt with the agent that the host has registered; what it replies is the output.

    The agent is ``async (prompt, ctx) -> str``; like a job's function it may leave ``ctx`` out,
    ask for provided objects by annotation, be a method of one, or be a plain function, which
    then runs in a thread. An empty reply is a failure: an agent with nothing to say says so
    (``[SILENT]``). Before the prompt go the newest output of ``context_from``, which ``newest``
    gives by job, and the output of ``script``.
    """

    def __init__(
        self,
        threads: Threads,
        command: CommandAction,
        newest: Callable[[str], Awaitable[str | None]],
    ) -> None:
        self._agent = CallAction(threads)  # of one function
        self._asked: str | None = None  # its parameter for the prompt
        self._command = command
        self._newest = newest

    @property
    def name(self) -> str:
        return "prompt"

    def offers(self) -> Collection[str]:
        return ("prompt",) if self._agent.offers() else ()

    def register(self, agent: Callable[..., Any]) -> None:
        """Make ``agent`` the one that is asked. Raises InvalidJob for a second one, and for what
        takes no prompt."""
        self._agent.register(agent, _AGENT)
        if self._agent.offers():
            self._agent.check(Call(_AGENT, {self._parameter(): ""}))

    def provide(self, *objects: object) -> None:
        """Objects that the agent gets by annotation, or whose method it is."""
        self._agent.provide(*objects)

    def _parameter(self) -> str:
        """What the agent calls its prompt: ``prompt``, else its first argument."""
        takes = self._agent.takes(_AGENT)
        if not takes:
            raise InvalidJob("an agent takes a prompt: async (prompt, ctx) -> str", where="$.call")
        return "prompt" if "prompt" in takes else takes[0]

    def check(self, spec: Prompt) -> None:
        if not isinstance(spec.prompt, str) or not spec.prompt.strip():
            raise InvalidJob("the prompt is empty", where="$.prompt")
        if found := invisible(spec.prompt):
            raise InvalidJob(f"the prompt has {found}; type it anew", where="$.prompt")
        if spec.script is not None:
            try:
                check_command(_script(spec))
            except InvalidJob as error:
                raise InvalidJob(str(error), where="$.script") from None
        for ref in spec.context_from:
            if not isinstance(ref, str) or not ref.strip():
                raise InvalidJob("names jobs, or self", where="$.context_from")

    async def run(self, spec: Prompt, ctx: Context) -> str | None:
        self.check(spec)
        parts = []
        for ref in dict.fromkeys(spec.context_from):
            said = await self._newest(ctx.job.id if ref == "self" else ref)
            if said is not None:
                whose = "this job" if ref == "self" else f"the job {ref}"
                parts.append(_part(f"The newest output of {whose}", said))
        if spec.script is not None:
            output = await self._command.run(_script(spec), ctx)
            if output is not None and _sleeps(output):
                return None
            if output is not None:
                parts.append(_part("The output of the script", output))
        prompt = "\n\n".join([*parts, spec.prompt])
        reply = await self._agent.run(Call(_AGENT, {self._parameter(): prompt}), ctx)
        if reply is None or not reply.strip():
            raise ActionFailed("the agent's reply is empty")
        return reply


def _script(spec: Prompt) -> Command:
    return Command(spec.script or "")


def _part(title: str, text: str) -> str:
    return f"--- {title} ---\n{text.strip()}\n--- end ---"


def _sleeps(output: str) -> bool:
    """The wake gate: the last line is ``{"wakeAgent": false}`` or ``{"wake": false}``."""
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "").strip()
    if not last.startswith("{"):
        return False
    try:
        told = json.loads(last)
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and (told.get("wakeAgent") is False or told.get("wake") is False)
