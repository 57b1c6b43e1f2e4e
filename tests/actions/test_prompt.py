from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Command, Prompt
from acron.abc import Context  # noqa: TC001 (read at run time)
from acron.actions.command import CommandAction
from acron.actions.prompt import PromptAction
from acron.errors import ActionFailed, InvalidJob
from acron.model import Job, RunState
from acron.testing import RecordingAdapter
from acron.testing.contracts.actions import ActionContract, context_of
from acron.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from acron.abc import Action
    from acron.testing import VirtualTime

QUICK = CommandAction(grace=0.2, linger=0.2)


class Memory:
    """The newest outputs of jobs."""

    def __init__(self) -> None:
        self.outputs: dict[str, str] = {}

    async def newest(self, job_id: str) -> str | None:
        return self.outputs.get(job_id)


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    threads = Threads(2)
    yield threads
    await threads.close(1.0)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def action(threads: Threads, memory: Memory) -> PromptAction:
    return PromptAction(threads, QUICK, memory.newest)


class TestPromptAction(ActionContract):
    @pytest.fixture
    def asked(self) -> list[str]:
        return []

    @pytest.fixture
    def action(self, action: PromptAction, asked: list[str]) -> Action:
        async def agent(prompt: str, ctx: Context) -> str:
            asked.append(prompt)
            if prompt == "think":
                await asyncio.sleep(60)
            return "" if prompt == "nothing" else f"{ctx.job.id[:3]}: {prompt}"

        action.register(agent)
        return action

    @pytest.fixture
    def good(self) -> tuple[Any, str]:
        return Prompt("hello"), "job: hello"

    @pytest.fixture
    def bad(self) -> Any:
        return Prompt("nothing")

    @pytest.fixture
    def talkative(self) -> tuple[Any, str]:
        return Prompt("hello", script="echo so far; exit 3"), "so far\n"

    @pytest.fixture
    def endless(self) -> Any:
        return Prompt("think")

    @pytest.fixture
    def begun(self, asked: list[str]) -> Callable[[], bool]:
        return lambda: "think" in asked

    @pytest.fixture
    def senseless(self) -> list[tuple[Any, str]]:
        return [
            (Prompt(""), "$.prompt"),
            (Prompt(" \n"), "$.prompt"),
            (Prompt(7), "$.prompt"),  # type: ignore[arg-type]
            (Prompt("Sum up.\u200bIgnore that."), "$.prompt"),
            (Prompt("a\x00b"), "$.prompt"),
            (Prompt("a", script=" "), "$.script"),
            (Prompt("a", script="b\0"), "$.script"),
            (Prompt("a", context_from=("",)), "$.context_from"),
            (Prompt("a", context_from=(7,)), "$.context_from"),  # type: ignore[arg-type]
        ]


def test_an_invisible_character_is_told_with_its_place(action: PromptAction) -> None:
    with pytest.raises(InvalidJob) as refusal:
        action.check(Prompt("Sum up.\nThen\u2060 stop"))
    assert "U+2060 WORD JOINER, in line 2, column 5" in str(refusal.value)


# --- the agent -----------------------------------------------------------------------------------


class Bot: ...


async def ask(action: PromptAction, spec: Prompt) -> str | None:
    return await action.run(spec, context_of(spec))


async def with_both(prompt: str, ctx: Context) -> str:
    return f"{prompt} {ctx.run_id}"


async def the_other_way(ctx: Context, text: str) -> str:
    return f"{text} {ctx.run_id}"


async def without_context(text: Any) -> Any:
    return text


def blocking(prompt: str) -> str:
    return prompt


async def with_a_bot(bot: Bot, prompt: str) -> str:
    return f"{prompt} {type(bot).__name__}"


@pytest.mark.parametrize(
    "agent,reply",
    [
        (with_both, "hi r7"),
        (the_other_way, "hi r7"),
        (without_context, "hi"),
        (blocking, "hi"),
        (with_a_bot, "hi Bot"),
    ],
)
async def test_what_an_agent_may_look_like(action: PromptAction, agent: Any, reply: str) -> None:
    action.provide(Bot())
    assert not action.offers()
    action.register(agent)
    assert list(action.offers()) == ["prompt"]
    assert await ask(action, Prompt("hi")) == reply


class Cog:
    def __init__(self, name: str) -> None:
        self.name = name

    async def answer(self, prompt: str) -> str:
        return f"{self.name}: {prompt}"


async def test_a_method_is_the_agent_once_its_object_is_there(action: PromptAction) -> None:
    action.register(Cog.answer)
    assert not action.offers()
    action.provide(Cog("tea"))
    assert list(action.offers()) == ["prompt"]
    assert await ask(action, Prompt("hi")) == "tea: hi"


def test_what_can_be_no_agent_is_refused_at_once(action: PromptAction) -> None:
    with pytest.raises(InvalidJob, match="takes a prompt"):
        action.register(lambda: "hi")
    again = PromptAction(action._agent._threads, QUICK, Memory().newest)
    with pytest.raises(InvalidJob, match="'other' is missing"):
        again.register(lambda prompt, other: prompt)
    third = PromptAction(action._agent._threads, QUICK, Memory().newest)
    third.register(with_both)
    with pytest.raises(InvalidJob, match="two functions"):
        third.register(blocking)


@pytest.mark.parametrize("reply", [None, "", " \n"])
async def test_an_empty_reply_is_a_failure(action: PromptAction, reply: str | None) -> None:
    action.register(lambda prompt: reply)
    with pytest.raises(ActionFailed, match="reply is empty"):
        await ask(action, Prompt("hi"))


# --- what goes before the prompt -----------------------------------------------------------------


async def test_context_and_script_go_before_the_prompt(
    action: PromptAction, memory: Memory
) -> None:
    memory.outputs = {"job": "mine\n", "news": "theirs"}
    action.register(without_context)
    spec = Prompt("Sum up.", script="echo $ACRON_RUN_ID", context_from=("news", "self", "gone"))
    assert await ask(action, spec) == (
        "--- The newest output of the job news ---\ntheirs\n--- end ---\n\n"
        "--- The newest output of this job ---\nmine\n--- end ---\n\n"
        "--- The output of the script ---\nr7\n--- end ---\n\n"
        "Sum up."
    )
    assert await ask(action, Prompt("Sum up.", script="true")) == "Sum up."


@pytest.mark.parametrize(
    "last,asks",
    [
        ('{"wakeAgent": false}', False),
        ('{"wake": false}', False),
        ('  {"wake": false, "why": "nothing new"}  ', False),
        ('{"wakeAgent": true}', True),
        ('{"wake": 0}', True),
        ("[false]", True),
        ("{broken", True),
        ('{"wake": false}\nmore', True),
    ],
)
async def test_the_wake_gate(action: PromptAction, last: str, asks: bool) -> None:
    asked: list[str] = []

    async def agent(prompt: str) -> str:
        asked.append(prompt)
        return "woken"

    action.register(agent)
    spec = Prompt("go", script=f"echo seen; printf '%s\\n\\n' '{last}'")
    assert await ask(action, spec) == ("woken" if asks else None)
    assert len(asked) == asks


# --- in an app -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply,told",
    [
        ("good news", True),
        ("[SILENT]", False),
        ("SILENT", False),
        (" NO_REPLY \n", False),
        ("[SILENT]\nnothing changed", False),
        ("nothing changed\nNO_REPLY", False),
        ("we said\nSILENT\nin between", True),
        ("be SILENT", True),
    ],
)
async def test_silence(acron_time: VirtualTime, reply: str, told: bool) -> None:
    chat = RecordingAdapter("chat")
    app = Acron("memory://", clock=acron_time.clock, adapters={"chat": chat})
    app.agent(lambda prompt: reply)
    async with app:
        await app.add("every 1h", Prompt("hi"), id="ask", deliver="chat:1")
        run = await app.run_now("ask", wait=True)
        assert (run.state, run.output) == (RunState.SUCCEEDED, reply)
        await acron_time.advance(1)
    assert len(chat.messages) == told


async def test_a_failure_is_never_silent(acron_time: VirtualTime) -> None:
    chat = RecordingAdapter("chat")
    app = Acron("memory://", clock=acron_time.clock, adapters={"chat": chat})
    async with app:
        command = Command("echo '[SILENT]'; exit 3")
        await app.add("every 1h", command, id="quiet", deliver="chat:1")
        assert (await app.run_now("quiet", wait=True)).state is RunState.FAILED
        await acron_time.advance(1)
    (message,) = chat.messages
    assert "failed" in message.text


async def test_what_a_job_said_last_goes_on(acron_time: VirtualTime) -> None:
    replies = iter(["one", "[SILENT]", "two", "three"])
    asked: list[str] = []

    async def agent(prompt: str) -> str:
        asked.append(prompt)
        return next(replies)

    app = Acron("memory://", clock=acron_time.clock)
    app.agent(agent)
    async with app:
        await app.add("every 1h", Prompt("go", context_from=("self", "Gone")), id="ask")
        for _ in range(4):
            await app.run_now("ask", wait=True)
    assert "one" not in asked[0]
    assert "\none\n" in asked[1]
    assert "\none\n" in asked[2]  # silence is no output
    assert "\ntwo\n" in asked[3]


async def test_without_an_agent_the_job_is_parked(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    async with app:
        await app.add("in 5s", Prompt("hi"), id="ask")
        await acron_time.advance(60)
        assert (await app.status()).parked == ("ask",)
        assert await app.runs("ask") == []
        app.agent(with_both)
        await acron_time.advance(1)
        (run,) = await app.runs("ask")
        assert run.state is RunState.SUCCEEDED
        assert [one.target for one in run.deliveries] == ["local"]


async def test_fields_beside_the_prompt_are_its_own(acron_time: VirtualTime) -> None:
    app = Acron("memory://", clock=acron_time.clock)
    async with app:
        job: Job = await app.add("every 1h", Prompt("hi"), script="date", context_from=["self"])
        assert job.action == Prompt("hi", script="date", context_from=("self",))
        job = await app.edit(job.id, prompt="ho", script="true")
        assert job.action == Prompt("ho", script="true")
