from __future__ import annotations

import asyncio
import datetime as dt
import enum
import functools
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
import pytest

from acron.abc import Context  # noqa: TC001 (read at run time)
from acron.actions.call import CallAction
from acron.errors import ActionFailed, InvalidJob
from acron.specs import Call
from acron.testing.contracts.actions import ActionContract, context_of
from acron.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from decimal import Decimal as OnlyForTyping

    from acron.abc import Action


class Client:
    """Stands for the client object of a chat library."""


class SpecialClient(Client): ...


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    threads = Threads(4)
    yield threads
    await threads.close(1.0)


@pytest.fixture
def calls(threads: Threads) -> CallAction:
    return CallAction(threads)


async def run(calls: CallAction, name: str, **kwargs: Any) -> str | None:
    spec = Call(name, kwargs)
    return await calls.run(spec, context_of(spec))


async def run_new(calls: CallAction, function: Callable[..., Any], **kwargs: Any) -> str | None:
    return await run(calls, calls.register(function, "new"), **kwargs)


def refusal(calls: CallAction, name: str, **kwargs: Any) -> InvalidJob:
    with pytest.raises(InvalidJob) as caught:
        calls.check(Call(name, kwargs))
    return caught.value


async def greet(text: str, times: int = 1) -> str:
    return text * times


class TestCallAction(ActionContract):
    started = False

    @pytest.fixture
    def action(self, calls: CallAction) -> Action:
        async def fail() -> None:
            raise RuntimeError("no tea left")

        async def wait() -> None:
            self.started = True
            await asyncio.Event().wait()

        calls.register(greet)
        calls.register(fail)
        calls.register(wait)
        return calls

    @pytest.fixture
    def good(self) -> tuple[Any, str]:
        return Call("greet", {"text": "hi", "times": 2}), "hihi"

    @pytest.fixture
    def bad(self) -> Any:
        return Call("fail")

    @pytest.fixture
    def endless(self) -> Any:
        return Call("wait")

    @pytest.fixture
    def begun(self) -> Callable[[], bool]:
        return lambda: self.started

    @pytest.fixture
    def senseless(self) -> list[tuple[Any, str]]:
        return [
            (Call(""), "$.call"),
            (Call("greet"), "$.kwargs.text"),
            (Call("greet", {"text": "hi", "tims": 2}), "$.kwargs.tims"),
            (Call("greet", {"text": 7}), "$.kwargs.text"),
            (Call("greet", {"text": "hi", "times": "2"}), "$.kwargs.times"),
            (Call("greet", {"text": b"hi"}), "$.kwargs.text"),
            (Call("greet", []), "$.kwargs"),  # type: ignore[arg-type]
            (Call("elsewhere", {"a": [1, {"b": float("nan")}]}), "$.kwargs.a[1].b"),
            (Call("elsewhere", {"a": {7: 1}}), "$.kwargs.a"),
            (Call("elsewhere", {7: 1}), "$.kwargs"),  # type: ignore[dict-item]
            (Call("elsewhere", {"a": "\ud800"}), "$.kwargs.a"),
        ]


# --- registering ---------------------------------------------------------------------------------


def test_a_function_is_known_by_its_own_name_or_the_one_given(calls: CallAction) -> None:
    assert calls.offers() == set()
    assert calls.register(greet) == "greet"
    assert calls.register(greet) == "greet"
    assert calls.register(greet, "hello") == "hello"
    assert calls.register(functools.partial(greet, text="x"), "part") == "part"
    assert set(calls.offers()) == {"call:greet", "call:hello", "call:part"}
    assert calls.name_of(greet) == "greet"


def test_two_functions_of_one_name_are_refused_naming_both_places(calls: CallAction) -> None:
    def other() -> None: ...

    calls.register(greet)
    with pytest.raises(InvalidJob) as caught:
        calls.register(other, "greet")
    assert str(caught.value).count("test_call.py:") == 2
    assert "greet (" in str(caught.value)
    assert "other (" in str(caught.value)
    assert calls.name_of(greet) == "greet"


def test_a_function_that_is_not_registered_has_no_name(calls: CallAction) -> None:
    with pytest.raises(InvalidJob, match=r"greet \(.*test_call.py:\d+\) is not registered"):
        calls.name_of(greet)


def positional(a: int, /) -> None: ...


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    "function,name,told",
    [
        (lambda: 1, None, "has no name"),
        (Client(), None, "a function is needed, not Client"),
        ("greet", None, "a function is needed, not str"),
        (positional, None, "'a' cannot be given by name"),
        (generator, None, "yields"),
        (async_generator, None, "yields"),
        (greet, "", "cannot name a function"),
        (greet, " x", "cannot name a function"),
        (greet, "x\n", "cannot name a function"),
        (dict, None, "has no signature"),
    ],
)
def test_what_cannot_be_called_is_refused(
    calls: CallAction, function: Any, name: str | None, told: str
) -> None:
    with pytest.raises(InvalidJob, match=told):
        calls.register(function, name)
    assert calls.offers() == set()


# --- calling -------------------------------------------------------------------------------------


class Greeter:
    def method(self, text: str) -> str:
        return f"method {text}"

    async def async_method(self, text: str) -> str:
        return f"async method {text}"

    async def __call__(self, text: str) -> str:
        return f"called {text} on {threading.current_thread().name}"


async def test_every_kind_of_callable_is_called(calls: CallAction) -> None:
    thread = threading.current_thread().name
    greeter = Greeter()
    assert calls.register(greeter.method) == "method"
    assert await run(calls, "method", text="x") == "method x"
    calls.register(greeter.async_method)
    assert await run(calls, "async_method", text="x") == "async method x"
    calls.register(greeter, "object")
    assert await run(calls, "object", text="x") == f"called x on {thread}"
    calls.register(functools.partial(greeter, text="y"), "object-part")
    assert await run(calls, "object-part") == f"called y on {thread}"
    assert calls.register(functools.partial(greet, times=3)) == "greet"
    assert await run(calls, "greet", text="x") == "xxx"
    assert calls.name_of(greeter.method) == "method"


async def test_a_plain_function_runs_on_a_thread_under_the_runs_name(
    calls: CallAction, threads: Threads
) -> None:
    seen: list[Any] = []
    release = threading.Event()

    def block(label: str) -> None:
        seen.append((threading.current_thread(), label))
        release.wait(10)

    task = asyncio.create_task(run_new(calls, block, label="a name that Threads.run has too"))
    while not seen:  # noqa: ASYNC110 (a thread cannot set an event of the loop)
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])
    assert threads.abandoned == ("job r7",)
    release.set()
    assert seen[0][0] is not threading.current_thread()
    assert seen[0][1] == "a name that Threads.run has too"


async def test_a_plain_function_may_return_an_awaitable(calls: CallAction) -> None:
    def wrapper(text: str) -> Any:
        return greet(text)

    loop = asyncio.get_running_loop()

    def future() -> Any:
        return asyncio.run_coroutine_threadsafe(greet("f"), loop) and greet("later")

    assert await run_new(calls, wrapper, text="x") == "x"
    assert await run(calls, calls.register(future)) == "later"


@pytest.mark.parametrize(
    "result,output",
    [
        (None, None),
        ("", ""),
        ("text", "text"),
        (Colour.RED, "Colour.RED"),
        (0, "0"),
        (True, "true"),
        (1.5, "1.5"),
        (float("nan"), "nan"),
        ({"ä": [1, None, {"b": "c"}]}, '{"ä":[1,null,{"b":"c"}]}'),
        ([], "[]"),
        ((1, 2), "[1,2]"),
        (Point(1), "Point(x=1, y=0)"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (Path("a/b"), "a/b"),
    ],
)
async def test_a_result_becomes_output(
    calls: CallAction, result: object, output: str | None
) -> None:
    def give() -> object:
        return result

    async def give_async() -> object:
        return result

    assert await run(calls, calls.register(give)) == output
    assert await run(calls, calls.register(give_async)) == output


async def test_what_a_function_raises_comes_out_as_it_is(calls: CallAction) -> None:
    def leave() -> None:
        raise SystemExit(3)

    def wrong() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run_new(calls, wrong)
    with pytest.raises(SystemExit):
        await run(calls, calls.register(leave))


async def test_a_function_that_is_not_here_fails_and_is_named(calls: CallAction) -> None:
    calls.check(Call("elsewhere", {"anything": [1]}))
    with pytest.raises(ActionFailed, match="no function is registered as 'elsewhere'"):
        await run(calls, "elsewhere")


# --- arguments from JSON -------------------------------------------------------------------------


def typed(  # type: ignore[no-untyped-def]
    when: dt.datetime,
    day: dt.date | None,
    wait: dt.timedelta,
    colour: Colour,
    point: Point,
    points: list[Point],
    path: Path,
    ratio: float,
    size: Annotated[int, msgspec.Meta(ge=1)],
    anything: Any,
    plain=None,  # noqa: ANN001
) -> str:
    values = (when, day, wait, colour, point, points, path, ratio, size, anything, plain)
    return "; ".join(map(repr, values))


TYPED: dict[str, Any] = {
    "when": "2026-01-02T03:04:05Z",
    "day": None,
    "wait": "PT90S",
    "colour": "red",
    "point": {"x": 1},
    "points": [{"x": 1, "y": 2}],
    "path": "a/b",
    "ratio": 1,
    "size": 3,
    "anything": [1],
    "plain": {"a": 1},
}


async def test_arguments_get_the_types_of_their_annotations(calls: CallAction) -> None:
    calls.register(typed)
    calls.check(Call("typed", TYPED))
    assert await run(calls, "typed", **TYPED) == (
        "datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc); None; "
        "datetime.timedelta(seconds=90); <Colour.RED: 'red'>; Point(x=1, y=0); "
        "[Point(x=1, y=2)]; PosixPath('a/b'); 1.0; 3; [1]; {'a': 1}"
    )


@pytest.mark.parametrize(
    "name,value,where,told",
    [
        ("when", "soon", "", "invalid RFC3339"),
        ("colour", "blue", "", "invalid enum value 'blue'"),
        ("point", {"y": 1}, "", "missing required field x"),
        ("points", [{"x": "1"}], "[0].x", "expected int, got str"),
        ("path", 7, "", "Path"),
        ("ratio", "1", "", "expected float, got str"),
        ("size", 0, "", "expected int >= 1"),
        ("size", True, "", "expected int, got bool"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused_with_its_place(
    calls: CallAction, name: str, value: Any, where: str, told: str
) -> None:
    calls.register(typed)
    error = refusal(calls, "typed", **TYPED | {name: value})
    assert error.where == f"$.kwargs.{name}{where}"
    assert told in str(error)
    assert f"{name}{where}: " in str(error)


def test_a_name_that_is_not_taken_is_refused_with_the_nearest(calls: CallAction) -> None:
    calls.register(greet)
    assert "did you mean 'times'?" in str(refusal(calls, "greet", text="x", tims=2))
    assert "it takes: text, times" in str(refusal(calls, "greet", text="x", zzz=2))


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


@pytest.mark.parametrize(
    "value,told",
    [
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), 'write "2026-01-02T00:00:00Z"'),
        ((1, 2), "a JSON value is needed, not tuple (write [1,2];"),
        (Colour.RED, 'write "red";'),
        (Client(), "not Client (give what identifies it, and provide() the object)"),
        (nested(60), "nested deeper than 50 levels"),
        (float("inf"), "inf is no JSON number"),
    ],
)
def test_a_value_that_is_no_json_is_refused_with_what_to_write(
    calls: CallAction, value: Any, told: str
) -> None:
    error = refusal(calls, "elsewhere", value=value)
    assert error.where.startswith("$.kwargs.value")
    assert told in str(error)


async def test_a_function_cannot_change_the_job_it_was_called_for(calls: CallAction) -> None:
    def spoil(bare, some: list[Any], **rest: Any) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        for one in (bare, some, rest["more"]):
            one.append("spoilt")

    kwargs: dict[str, Any] = {"bare": [1], "some": [2], "more": [3]}
    await run_new(calls, spoil, **kwargs)
    assert kwargs == {"bare": [1], "some": [2], "more": [3]}


async def test_a_function_may_take_any_name(calls: CallAction) -> None:
    async def anything(ctx: Any, **rest: Any) -> Any:
        return rest

    calls.register(anything)
    calls.check(Call("anything", {"a": 1}))
    assert await run(calls, "anything", a=1) == '{"a":1}'
    assert "'ctx' is put in by acron" in str(refusal(calls, "anything", ctx=1))


async def test_arguments_are_checked_again_when_it_runs(calls: CallAction) -> None:
    calls.register(greet)
    with pytest.raises(InvalidJob, match="expected str, got int"):
        await run(calls, "greet", text=1)
    with pytest.raises(ActionFailed, match="the argument 'text' is missing"):
        await run(calls, "greet")


# --- arguments put in ----------------------------------------------------------------------------


async def by_name(ctx) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
    return str(ctx.run_id)


async def by_annotation(who: Context, other: Context | None = None) -> str:
    assert other is who
    return who.run_id


async def by_keyword(*, text: str, the: Annotated[Context, "ours"]) -> str:
    return f"{text} {the.attempt}"


async def test_the_context_is_put_in_by_name_or_annotation(calls: CallAction) -> None:
    for function in (by_name, by_annotation):
        assert await run(calls, calls.register(function)) == "r7"
    assert await run(calls, calls.register(by_keyword), text="try") == "try 2"


async def test_the_context_may_be_imported_for_typing_only(calls: CallAction) -> None:
    names: dict[str, Any] = {}
    code = "async def typing_only(c: Context, d: acron.Context): return c.run_id"
    exec(code, names)
    assert await run(calls, calls.register(names["typing_only"])) == "r7"


async def send(
    client: Client,
    text: str,
    maybe: SpecialClient | None = None,
    other: threading.Thread | None = None,
) -> str:
    return f"{type(client).__name__} {text} {type(maybe).__name__} {other}"


async def test_objects_are_put_in_by_their_class(calls: CallAction) -> None:
    calls.register(send)
    calls.check(Call("send", {"text": "x"}))
    told = r"send \(.*\): the argument 'client': no Client was provided \(app.provide\)"
    with pytest.raises(ActionFailed, match=told):
        await run(calls, "send", text="x")
    calls.provide(SpecialClient())
    assert await run(calls, "send", text="x") == "SpecialClient x SpecialClient None"
    calls.provide(Client(), Greeter())
    assert await run(calls, "send", text="x") == "Client x SpecialClient None"


async def test_the_newest_object_of_a_class_wins(calls: CallAction) -> None:
    async def which(client: Client) -> str:
        return str(client is second)

    first, second = Client(), Client()
    calls.provide(first)
    calls.provide(second)
    assert await run_new(calls, which) == "True"


def test_an_object_cannot_be_given_as_json(calls: CallAction) -> None:
    calls.register(send)
    error = refusal(calls, "send", text="x", client="c")
    assert error.where == "$.kwargs.client"
    assert "a Client is no JSON value: provide() one" in str(error)


async def test_data_that_is_provided_is_put_in_and_what_is_given_wins(calls: CallAction) -> None:
    async def at(point: Point) -> int:
        return point.x

    calls.register(at)
    assert "the argument 'point' is missing" in str(refusal(calls, "at"))
    calls.provide(Point(5))
    calls.check(Call("at"))
    assert await run(calls, "at") == "5"
    assert await run(calls, "at", point={"x": 6}) == "6"


class Sender(Protocol):
    def send(self) -> None: ...


async def test_odd_annotations_match_nothing_and_break_nothing(calls: CallAction) -> None:
    async def odd(
        a: Sender | None = None,
        b: object = None,
        c: type[Client] | None = None,
        d: 5 = 5,  # type: ignore[valid-type]
    ) -> list[Any]:
        return [a, b, c, d]

    calls.provide(Client())
    assert await run_new(calls, odd) == "[null,null,null,5]"


@pytest.mark.parametrize("thing", [Client, None, 7, "text", {}, []], ids=repr)
def test_classes_and_plain_data_cannot_be_provided(calls: CallAction, thing: object) -> None:
    with pytest.raises(TypeError, match="an object of a class of its own is needed"):
        calls.provide(thing)


async def unresolved(amount: OnlyForTyping, client: Client | None = None) -> str:
    return f"{amount} {client}"


async def test_an_annotation_without_meaning_here_is_named(calls: CallAction) -> None:
    calls.register(unresolved)
    told = str(refusal(calls, "unresolved"))
    assert "the argument 'amount': 'OnlyForTyping' cannot be resolved" in told
    assert "import it for run time too" in told
    with pytest.raises(ActionFailed, match="'OnlyForTyping' cannot be resolved"):
        await run(calls, "unresolved")
    calls.check(Call("unresolved", {"amount": "1.5"}))
    assert await run(calls, "unresolved", amount="1.5") == "1.5 None"


async def test_an_annotation_may_get_its_meaning_later(
    calls: CallAction, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.register(unresolved)
    assert refusal(calls, "unresolved").where == "$.kwargs.amount"
    monkeypatch.setitem(globals(), "OnlyForTyping", Client)
    calls.provide(client := Client())
    assert await run(calls, "unresolved") == f"{client} {client}"


# --- methods -------------------------------------------------------------------------------------


def cog_of(calls: CallAction) -> type:
    """What ``@app.action`` in a class body comes to: the function, before its class is there."""

    def action(function: Any) -> Any:
        calls.register(function.__func__ if isinstance(function, staticmethod) else function)
        return function

    class Cog:
        def __init__(self, name: str) -> None:
            self.name = name

        @action
        async def hello(self, text: str) -> str:
            return f"{self.name} {text}"

        @action
        def plain(self, ctx: Context) -> str:
            return f"{self.name} {ctx.run_id}"

        @action
        @staticmethod
        def static(text: str) -> str:
            return text

        @classmethod
        @action
        def of_class(cls) -> str:
            return cls.__name__

        @property
        @action
        def wrapped(self) -> str:
            return f"wrapped {self.name}"

    return Cog


async def test_methods_wait_for_an_object_of_their_class(calls: CallAction) -> None:
    cog = cog_of(calls)
    assert calls.offers() == set()
    calls.check(Call("hello", {"unknown": 1}))
    with pytest.raises(
        ActionFailed, match=r"Cog\.hello \(.*\) is a method: provide\(\) its object"
    ):
        await run(calls, "hello", text="x")
    calls.provide(one := cog("one"))
    names = {"hello", "plain", "static", "of_class", "wrapped"}
    assert set(calls.offers()) == {f"call:{name}" for name in names}
    assert refusal(calls, "hello", unknown=1).where == "$.kwargs.unknown"
    assert await run(calls, "hello", text="x") == "one x"
    assert await run(calls, "plain") == "one r7"
    assert await run(calls, "static", text="x") == "x"
    assert await run(calls, "of_class") == "Cog"
    assert await run(calls, "wrapped") == "wrapped one"
    assert calls.name_of(one.hello) == calls.name_of(cog.hello) == "hello"  # type: ignore[attr-defined]


async def test_methods_follow_the_newest_object_and_its_overrides(calls: CallAction) -> None:
    cog = cog_of(calls)
    calls.provide(cog("one"))
    calls.provide(cog("two"))
    assert await run(calls, "hello", text="x") == "two x"

    class Louder(cog):  # type: ignore[misc,valid-type]
        async def hello(self, text: str, mark: str = "!") -> str:
            return f"{await super().hello(text)}{mark}"

    calls.provide(Louder("three"))
    assert await run(calls, "hello", text="x", mark="?") == "three x?"


async def test_objects_of_other_classes_bind_nothing(calls: CallAction, threads: Threads) -> None:
    cog_of(calls)
    twin = cog_of(CallAction(threads))  # the same names, another class
    calls.provide(twin("twin"), Client())
    # What another decorator has hidden is known by its name alone.
    assert calls.offers() == {"call:wrapped"}


async def test_a_method_may_be_registered_after_its_object_was_provided(calls: CallAction) -> None:
    calls.provide(Greeter())
    calls.register(Greeter.async_method)
    assert await run(calls, "async_method", text="x") == "async method x"
