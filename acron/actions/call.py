"""Call people's functions: registered by name, with JSON arguments."""

from __future__ import annotations

import inspect
import json
from functools import cached_property, partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from acron.abc import Action
from acron.actions.signature import Signature, is_async, is_data, json_problem, place
from acron.errors import ActionFailed, InvalidJob

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from acron.abc import Context
    from acron.actions.signature import Parameter
    from acron.specs import Call
    from acron.threads import Threads


class CallAction(Action):
    """The registry of people's functions, and what calls them.

    Coroutine functions are awaited on the loop; plain ones run on ``threads``, and an awaitable
    that one returns is awaited on the loop. Arguments are the job's ``kwargs`` turned into what
    the annotations say; a parameter that is not among them gets the object provided for its
    class, and one named ``ctx``, or annotated so, the run's Context. A text returned is the
    output, None is none, another JSON value is JSON text, anything else ``str()`` of it.

    A job whose function is not registered here is not an error: another program on the same
    store may have it.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._functions: dict[str, _Function] = {}
        self._provided: dict[type, object] = {}
        self._offers: set[str] = set()

    @property
    def name(self) -> str:
        return "call"

    def offers(self) -> Collection[str]:
        return self._offers

    def register(self, function: Callable[..., Any], name: str | None = None) -> str:
        """Keep ``function`` under ``name``, by default its own; returns the name.

        A method seen in its class body waits until an instance of that class is provided.
        Raises InvalidJob when another function has the name, and for what cannot be called.
        """
        new = _Function(function, name)
        old = self._functions.get(new.name)
        if old is not None and not old.stands_for(function):
            message = (
                f"two functions are named {new.name!r}: {place(old.declared)} and {place(function)}"
            )
            raise InvalidJob(message, where="$.call")
        if old is None:
            self._functions[new.name] = new
            for thing in self._provided.values():
                new.bind(thing)
            self._offer(new)
        return new.name

    def name_of(self, function: Callable[..., Any]) -> str:
        """The name under which it is registered; InvalidJob when it is not."""
        for known in self._functions.values():
            if known.stands_for(function):
                return known.name
        message = f"{place(function)} is not registered: decorate it with @app.action"
        raise InvalidJob(message, where="$.call")

    def provide(self, *objects: object) -> None:
        """Objects for parameters annotated with their class or a base of it; the newest of a
        class wins. Methods that were registered in their class body are bound to their instance.
        Raises TypeError for classes and for plain data."""
        for thing in objects:
            if isinstance(thing, type) or is_data(thing):
                raise TypeError(f"an object of a class of its own is needed, not {thing!r:.80}")
            self._provided.pop(type(thing), None)
            self._provided[type(thing)] = thing
            for known in self._functions.values():
                known.bind(thing)
                self._offer(known)

    def _offer(self, known: _Function) -> None:
        if known.call is not None:
            self._offers.add(f"call:{known.name}")

    def check(self, spec: Call) -> None:
        if not isinstance(spec.name, str) or not spec.name:
            raise InvalidJob("the call names no function", where="$.call")
        kwargs = spec.kwargs
        if kwargs or not isinstance(kwargs, dict):
            _check_json(kwargs)
        known = self._functions.get(spec.name)
        if known is None or known.call is None:
            return
        if not kwargs and not known.signature.parameters:
            return
        known.signature.typed(spec.kwargs)
        for missing in self._missing(known, spec.kwargs):
            if missing.from_json or missing.unresolved:
                raise InvalidJob(_lacks(known, missing), where=f"$.kwargs.{missing.name}")

    def _missing(self, known: _Function, given: Mapping[str, Any]) -> Iterator[Parameter]:
        for one in known.signature.parameters.values():
            if one.required and one.name not in given and self._find(one) is None:
                yield one

    async def run(self, spec: Call, ctx: Context) -> str | None:
        known, function = self._registered(spec.name)
        arguments = self._arguments(known, spec.kwargs, ctx)
        if known.is_async:
            result = await function(**arguments)
        else:
            call = partial(function, **arguments)
            result = await self._threads.run(call, label=f"{ctx.job.id} {ctx.run_id}")
        if result is None:
            return None
        if isinstance(result, str):
            return as_text(result)
        return as_text(await result if inspect.isawaitable(result) else result)

    async def call_by_name(self, name: str, ctx: Context, values: Mapping[str, object]) -> object:
        """Call a function that a job names beside its action; what it gave.

        It takes of ``values`` what its parameters name; other parameters get the Context, the
        objects provided, and then what is left of the values, in order.
        """
        known, function = self._registered(name)
        call = partial(function, **self._placed(known, values, ctx))
        if known.is_async:
            return await call()
        result = await self._threads.run(call, label=f"{name} of {ctx.job.id} {ctx.run_id}")
        return await result if inspect.isawaitable(result) else result

    def _placed(
        self, known: _Function, values: Mapping[str, object], ctx: Context
    ) -> dict[str, object]:
        parameters = known.signature.parameters
        left = [value for name, value in values.items() if name not in parameters]
        placed: dict[str, object] = dict.fromkeys(known.signature.context, ctx)
        for one in parameters.values():
            if one.name in values:
                placed[one.name] = values[one.name]
            elif (found := self._find(one)) is not None:
                placed[one.name] = found
            elif one.required and left:
                placed[one.name] = left.pop(0)
            elif one.required:
                raise ActionFailed(_lacks(known, one))
        return placed

    def _registered(self, name: str) -> tuple[_Function, Callable[..., Any]]:
        known = self._functions.get(name)
        if known is None:
            raise ActionFailed(f"no function is registered as {name!r}")
        if known.call is None:
            raise ActionFailed(f"{place(known.declared)} is a method: provide() its object")
        return known, known.call

    def _arguments(
        self, known: _Function, kwargs: Mapping[str, Any], ctx: Context
    ) -> dict[str, Any]:
        signature = known.signature
        if not kwargs and not signature.parameters:  # the common case
            return dict.fromkeys(signature.context, ctx) if signature.context else {}
        values = signature.typed(kwargs)
        for missing in self._missing(known, kwargs):
            raise ActionFailed(_lacks(known, missing))
        for one in signature.parameters.values():
            if one.name not in values and (found := self._find(one)) is not None:
                values[one.name] = found
        return values | dict.fromkeys(signature.context, ctx)

    def _find(self, parameter: Parameter) -> object | None:
        """The object provided for a parameter: of exactly its class, else of a subclass."""
        if not self._provided:
            return None
        classes = parameter.classes
        for kind in classes:
            if kind in self._provided:
                return self._provided[kind]
        for thing in reversed(self._provided.values()):
            if any(_is_instance(thing, kind) for kind in classes):
                return thing
        return None


class _Function:
    """A function as it was ``declared``, and what to ``call``: None for a method that waits."""

    def __init__(self, function: Callable[..., Any], name: str | None) -> None:
        if not callable(function):
            kind = type(function).__name__
            raise InvalidJob(f"a function is needed, not {kind}", where="$.call")
        self.name = _name(function) if name is None else name
        if not self.name.isprintable() or self.name != self.name.strip() or not self.name:
            raise InvalidJob(f"{self.name!r} cannot name a function", where="$.call")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            message = f"{place(function)} yields: a job's function returns what it has to say"
            raise InvalidJob(message, where="$.call")
        self.declared = function
        self._owner = _owner(function)
        self.call: Callable[..., Any] | None = None
        if not self._owner:
            Signature(function)  # refuses now what could never be called
            self.call = function

    def bind(self, thing: object) -> None:
        """Bind a method to ``thing``, if it is of the class in whose body it was seen."""
        if self._owner and any(self._is_of(kind) for kind in type(thing).__mro__):
            name = self.declared.__name__
            found = inspect.getattr_static(type(thing), name, None)
            plain = isinstance(found, FunctionType | staticmethod | classmethod)
            self.call = getattr(thing, name) if plain else MethodType(self.declared, thing)
            self._forget()

    def _is_of(self, kind: type) -> bool:
        if (kind.__module__, kind.__qualname__) != (self.declared.__module__, self._owner):
            return False
        found = vars(kind).get(self.declared.__name__)
        found = getattr(found, "__func__", found)
        # Anything but a function is what another decorator has made of ours.
        return not isinstance(found, FunctionType) or inspect.unwrap(found) is self.declared

    def _forget(self) -> None:
        self.__dict__.pop("_signature", None)
        self.__dict__.pop("is_async", None)

    def stands_for(self, function: Callable[..., Any]) -> bool:
        if function is self.declared:
            return True
        if isinstance(function, MethodType):
            return function in (self.call, self.declared) or function.__func__ is self.declared
        return False

    @property
    def signature(self) -> Signature:
        found = self._signature
        if not found.resolved:  # a name may be defined later
            self._forget()
        return found

    @cached_property
    def _signature(self) -> Signature:
        return Signature(self.declared if self.call is None else self.call)

    @cached_property
    def is_async(self) -> bool:
        return is_async(self.declared if self.call is None else self.call)


def as_text(result: Any) -> str | None:
    """What a function returned, as output."""
    if result is None:
        return None
    if isinstance(result, str):
        return str.__str__(result)
    try:
        return json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        return str(result)


def _check_json(kwargs: Any) -> None:
    if not isinstance(kwargs, dict):
        kind = type(kwargs).__name__
        raise InvalidJob(f"kwargs map names to JSON values, and are no {kind}", where="$.kwargs")
    if problem := json_problem(dict(kwargs), "$.kwargs"):
        message, where = problem
        raise InvalidJob(f"{where.removeprefix('$.')}: {message}", where=where)


def _lacks(known: _Function, missing: Parameter) -> str:
    told = f"{known.signature.name}: the argument {missing.name!r}"
    if missing.unresolved:
        return f"{told}: {missing.unresolved}; import it for run time too"
    if missing.from_json:
        return f"{told} is missing"
    kinds = " or ".join(one.__name__ for one in missing.classes) or str(missing.type)
    return f"{told}: no {kinds} was provided (app.provide)"


def _is_instance(thing: object, kind: type) -> bool:
    try:
        return isinstance(thing, kind)
    except TypeError:  # a Protocol that is not for run time
        return False


def _name(function: Callable[..., Any]) -> str:
    while isinstance(function, partial):
        function = function.func
    name = getattr(function, "__name__", None)
    if name is None or name == "<lambda>":
        raise InvalidJob(f"{place(function)} has no name: give one", where="$.call")
    return str(name)


def _owner(function: Callable[..., Any]) -> str:
    """The qualified name of the class in whose body a function stands; empty for others."""
    if not isinstance(function, FunctionType):
        return ""
    owner = function.__qualname__.rpartition(".")[0]
    return "" if owner.endswith("<locals>") else owner
