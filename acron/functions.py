"""Functions among a job's policies: written as callables, kept as the names of registered ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from acron.errors import InvalidJob
from acron.model import Retry

if TYPE_CHECKING:
    #: Of a policy's field and the function in it, the name that it is registered by.
    NameOf = Callable[[str, Callable[..., Any]], str]

#: Fields whose value is the name of a function.
HOOKS = ("still_relevant", "before", "after", "on_error")
_MAY_BE_FUNCTIONS = frozenset({*HOOKS, "key", "retry"})


def by_name(row: Mapping[str, Any], name_of: NameOf) -> dict[str, Any]:
    """``row`` with names in the place of functions. ``key`` is worked out here and now, from the
    job's ``kwargs``: one key a chat. Raises InvalidJob."""
    plain = dict(row)
    if _MAY_BE_FUNCTIONS.isdisjoint(plain):
        return plain
    for field in HOOKS:
        if callable(row.get(field)):
            plain[field] = name_of(field, row[field])
    if callable(row.get("key")):
        plain["key"] = _key(row["key"], row.get("kwargs") or {})
    retry = row.get("retry")
    if isinstance(retry, Retry) and callable(retry.when):
        plain["retry"] = replace(retry, when=name_of("when", retry.when))
    elif isinstance(retry, Mapping) and callable(retry.get("when")):
        plain["retry"] = {**retry, "when": name_of("when", retry["when"])}
    return plain


def _key(function: Callable[..., Any], kwargs: Mapping[str, Any]) -> str:
    try:
        key = function(**msgspec.to_builtins(kwargs))
    except Exception as error:
        message = f"the function of the key failed: {type(error).__name__}: {error}"
        raise InvalidJob(message, where="$.key") from error
    if not isinstance(key, str):
        message = f"the function of the key gave {type(key).__name__}, not text"
        raise InvalidJob(message, where="$.key")
    return key
