"""An action of somebody else's keeps the contract by the suite that acron ships."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING, Any

import pytest

from acron import Acron, Custom
from acron.abc import Action
from acron.actions import close_actions
from acron.errors import ActionFailed, InvalidJob
from acron.testing.contracts.actions import ActionContract

if TYPE_CHECKING:
    from collections.abc import Callable

    from acron.abc import Context


class Say(Action):
    """Says the ``text`` of its data, or waits for ever without one."""

    def __init__(self) -> None:
        self.waits = False
        self.closed = 0

    @property
    def name(self) -> str:
        return "say"

    def check(self, spec: Custom) -> None:
        if not isinstance(spec.data.get("text", ""), str):
            raise InvalidJob("a text is needed", where="$.data.text")

    async def run(self, spec: Custom, ctx: Context) -> str | None:
        if "text" not in spec.data:
            self.waits = True
            await asyncio.Event().wait()
        text = str(spec.data["text"])
        if text.startswith("!"):
            raise ActionFailed("too loud", output=text)
        return text

    async def close(self) -> None:
        self.closed += 1


class TestCustomAction(ActionContract):
    @pytest.fixture
    def action(self) -> Action:
        return Say()

    @pytest.fixture
    def good(self) -> tuple[Any, str]:
        return Custom("say", {"text": "hello"}), "hello"

    @pytest.fixture
    def bad(self) -> Any:
        return Custom("say", {"text": "!"})

    @pytest.fixture
    def talkative(self) -> tuple[Any, str]:
        return Custom("say", {"text": "!oh"}), "!oh"

    @pytest.fixture
    def endless(self) -> Any:
        return Custom("say")

    @pytest.fixture
    def begun(self, action: Say) -> Callable[[], bool]:
        return lambda: action.waits

    @pytest.fixture
    def senseless(self) -> list[tuple[Any, str]]:
        return [(Custom("say", {"text": 7}), "$.data.text")]


class Once(Say):
    """Gives its output once."""

    said = False

    async def run(self, spec: Custom, ctx: Context) -> str | None:
        output = None if self.said else await super().run(spec, ctx)
        self.said = True
        return output


class Forgetful(Say):
    """Keeps what a run is about in itself, where the next run finds it."""

    async def run(self, spec: Custom, ctx: Context) -> str | None:
        self.spec = spec
        await asyncio.sleep(0)
        return await super().run(self.spec, ctx)


class Scribbling(Say):
    """Writes into the spec that it is to check."""

    def check(self, spec: Custom) -> None:
        super().check(spec)
        spec.data["checked"] = True


@pytest.mark.parametrize(
    "kind, test",
    [
        (Once, "test_gives_its_output"),
        (Forgetful, "test_runs_at_the_same_time_do_not_meet"),
        (Scribbling, "test_leaves_its_spec_and_its_job_alone"),
    ],
)
async def test_the_contract_finds_a_fault(kind: type[Say], test: str) -> None:
    good, bad = (Custom("say", {"text": "hello"}), "hello"), Custom("say", {"text": "!"})

    async def run(action: Action) -> None:
        method = getattr(ActionContract(), test)
        given = {"action": action, "good": good, "bad": bad}
        await method(**{name: given[name] for name in inspect.signature(method).parameters})

    await run(Say())
    with pytest.raises((AssertionError, ActionFailed)):
        await run(kind())


class Stuck(Say):
    async def close(self) -> None:
        await asyncio.sleep(1e6)


class Broken(Say):
    async def close(self) -> None:
        raise SystemExit(3)


async def test_one_that_does_not_close_holds_up_no_other(
    acron_time: Any, caplog: pytest.LogCaptureFixture
) -> None:
    say = Say()
    with caplog.at_level(logging.WARNING):
        await close_actions({"stuck": Stuck(), "broken": Broken(), "say": say})
    assert say.closed == 1
    assert "action broken did not close: SystemExit: 3" in caplog.text
    assert "close stuck: it did not end within 2 s" in caplog.text


async def test_the_app_closes_its_actions() -> None:
    app = Acron("memory://")
    say = Say()
    app._actions = {**app._actions, "say": say}
    async with app:
        await app.add("every 1h", Custom("say", {"text": "hi"}), id="say")
        assert (await app.run_now("say", wait=True)).output == "hi"
        assert say.closed == 0
    assert say.closed == 1
