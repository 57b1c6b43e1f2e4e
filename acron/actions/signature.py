"""What a function takes: which arguments come from JSON, and which are put in at run time."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import types
import typing
from difflib import get_close_matches
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.inspect import CustomType, UnionType, type_info

from acron.abc import Context
from acron.errors import InvalidJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DEEPEST = 50


class Parameter(msgspec.Struct, frozen=True):
    """One named argument. ``unresolved`` says why its annotation has no meaning here."""

    name: str
    type: Any
    required: bool
    unresolved: str = ""

    @property
    def classes(self) -> tuple[type, ...]:
        """The classes whose instances may be put in: of the annotation ``X | None``, ``X``."""
        return _classes(self.type)

    @property
    def from_json(self) -> bool:
        """Whether a JSON value can stand for it; otherwise it is an object to be provided."""
        return not any(_is_foreign(one) for one in _members(self.type))


class Signature:
    """The parameters of ``function`` that can be given by name.

    ``context`` are those that take the run's Context: named ``ctx``, or annotated so. Raises
    InvalidJob for what cannot be called by name, and for generators.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = place(function)
        try:
            found = inspect.signature(function).parameters.values()
        except (TypeError, ValueError, NameError) as error:
            raise InvalidJob(f"{self.name} has no signature: {error}", where="$.call") from error
        self.context: list[str] = []
        self.parameters: dict[str, Parameter] = {}
        self.takes_any = any(one.kind is one.VAR_KEYWORD for one in found)
        names = _globals(function)
        for one in found:
            if one.kind in {one.VAR_POSITIONAL, one.VAR_KEYWORD}:
                continue
            if one.kind is one.POSITIONAL_ONLY:
                self._refuse_positional(one)
                continue
            kind, problem = _resolve(one, names)
            if one.name == "ctx" or _is_context(kind, one.annotation, problem):
                self.context.append(one.name)
            else:
                required = one.default is one.empty
                self.parameters[one.name] = Parameter(one.name, kind, required, problem)
        self.resolved = not any(one.unresolved for one in self.parameters.values())

    def _refuse_positional(self, one: inspect.Parameter) -> None:
        if one.default is one.empty:
            message = f"{self.name}: the argument {one.name!r} cannot be given by name"
            raise InvalidJob(message, where="$.call")

    def typed(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """``kwargs`` as the annotations want them, copied; InvalidJob for what does not fit."""
        return {name: self._typed(name, value) for name, value in kwargs.items()}

    def _typed(self, name: str, value: Any) -> Any:
        where = f"$.kwargs.{name}"
        parameter = self.parameters.get(name)
        if parameter is None:
            if name in self.context or not self.takes_any:
                raise InvalidJob(self._unknown(name), where=where)
            return copy.deepcopy(value)
        if parameter.unresolved:
            return copy.deepcopy(value)
        try:
            return _convert(value, parameter.type)
        except msgspec.ValidationError as error:
            message, _, path = str(error).replace("`", "").partition(" - at $")
            message = f"{self.name}: {name}{path}: {message[:1].lower()}{message[1:]}"
            raise InvalidJob(message, where=where + path) from error

    def _unknown(self, name: str) -> str:
        if name in self.context:
            return f"{self.name}: the argument {name!r} is put in by acron"
        near = get_close_matches(name, self.parameters, n=1)
        takes = ", ".join(self.parameters) or "none"
        hint = f"did you mean {near[0]!r}?" if near else f"it takes: {takes}"
        return f"{self.name} has no argument {name!r} ({hint})"


def place(function: Callable[..., Any]) -> str:
    """What people call a function, and where it stands: ``remind (bot.py:12)``."""
    plain = _plain(function)
    name = getattr(plain, "__qualname__", type(plain).__qualname__)
    code = getattr(plain, "__code__", None)
    if code is None:
        return f"{name} ({getattr(plain, '__module__', None) or 'built in'})"
    return f"{name} ({code.co_filename}:{code.co_firstlineno})"


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine at once, so that it need not go to a thread."""
    return inspect.iscoroutinefunction(_plain(function))


def json_problem(value: Any, where: str, depth: int = 0) -> tuple[str, str] | None:
    """What is not JSON in ``value``, and where; None when all of it is.

    Exact types only: what comes back from a store is what was given.
    """
    kind = type(value)
    parts: Iterable[tuple[Any, str]] = ()
    if depth > DEEPEST:
        return f"nested deeper than {DEEPEST} levels", where
    if kind is str and not _is_unicode(value):
        return "a lone surrogate is no Unicode text", where
    if kind is float and not math.isfinite(value):
        return f"{value} is no JSON number", where
    if kind is list:
        parts = ((one, f"{where}[{n}]") for n, one in enumerate(value))
    elif kind is dict:
        for key in value:
            if type(key) is not str or not _is_unicode(key):
                return f"the key {key!r} is no text", where
        parts = ((one, f"{where}.{key}") for key, one in value.items())
    elif kind not in {type(None), bool, int, float, str}:
        return f"a JSON value is needed, not {kind.__name__}{_hint(value)}", where
    return next((bad for one, at in parts if (bad := json_problem(one, at, depth + 1))), None)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text)


def _hint(value: Any) -> str:
    """How to write in JSON what is not: the function's annotation turns it back."""
    try:
        plain = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        return " (give what identifies it, and provide() the object)"
    return f" (write {plain:.80}; the function's annotation turns it back)"


# --- annotations ---------------------------------------------------------------------------------


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function under partials and methods, or the ``__call__`` of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or isinstance(function, type):
        return getattr(function, "__func__", function)
    call = type(function).__call__
    return call if inspect.isroutine(call) else function


def _globals(function: Callable[..., Any]) -> dict[str, Any]:
    return getattr(inspect.unwrap(_plain(function)), "__globals__", {})


def _resolve(parameter: inspect.Parameter, names: dict[str, Any]) -> tuple[Any, str]:
    if parameter.annotation is parameter.empty:
        return Any, ""
    holder = types.SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["it"], ""
    except Exception as error:  # noqa: BLE001 (an annotation may be any expression)
        return Any, f"{parameter.annotation!r} cannot be resolved: {error}"


def _is_context(kind: Any, annotation: Any, problem: str) -> bool:
    if problem:  # imported for type checking only
        return isinstance(annotation, str) and annotation.rpartition(".")[2] == Context.__name__
    return Context in _classes(kind)


def _members(kind: Any) -> list[Any]:
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _members(typing.get_args(kind)[0])
    if origin in {typing.Union, types.UnionType}:
        return [deep for one in typing.get_args(kind) for deep in _members(one)]
    return [kind]


def _classes(kind: Any) -> tuple[type, ...]:
    found = (typing.get_origin(one) or one for one in _members(kind))
    return tuple(one for one in found if isinstance(one, type) and one not in _NOT_PROVIDED)


_NOT_PROVIDED = {object, type, type(None), bool, int, float, str, bytes, list, dict, tuple, set}


def is_data(value: object) -> bool:
    """Whether it is plain data, which no annotation could ask for by its class alone."""
    return type(value) in _NOT_PROVIDED


def _is_foreign(kind: Any) -> bool:
    """A class that msgspec, and so JSON, knows nothing of."""
    try:
        info = type_info(kind)
    except TypeError:
        return False
    parts = info.types if isinstance(info, UnionType) else (info,)
    return any(isinstance(one, CustomType) and not issubclass(one.cls, PurePath) for one in parts)


def _convert(value: Any, kind: Any) -> Any:
    try:
        type_info(kind)
    except TypeError:  # beyond msgspec: the function's own business
        return copy.deepcopy(value)
    made = msgspec.convert(value, kind, dec_hook=_decode)
    return copy.deepcopy(made) if made is value and isinstance(value, list | dict) else made


def _decode(kind: type, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    raise ValueError(f"a {kind.__name__} is no JSON value: provide() one, it is put in by its type")
