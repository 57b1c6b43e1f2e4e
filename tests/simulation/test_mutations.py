"""The checker is checked: without one of acron's safeguards, or promises, seeds turn red."""

from __future__ import annotations

from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from acron.testing.simulation import play, shrink, write

from .mutations import MUTATIONS, with_a_blind_resend
from .nodes import NODES
from .promises import PROMISES

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

ALL = MUTATIONS | NODES | PROMISES
#: Where a red seed is looked for, when those that were red have become other stories.
SEARCH = 200


@cache
def is_green(seed: int) -> bool:
    return not play(seed).violations


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutation", ALL, ids=lambda one: one.__name__)
def test_it_turns_a_seed_red(mutation: Callable[[], AbstractContextManager[Any]]) -> None:
    seeds, wanted = ALL[mutation]
    for seed in chain(seeds, range(SEARCH)):
        with mutation():
            found = {one.invariant for one in play(seed).violations}
        if found & wanted:
            assert is_green(seed), "it is the mutation that is seen"
            return
    pytest.fail(f"{SEARCH} seeds do not see acron {mutation.__name__}")


def test_a_failing_story_shrinks() -> None:
    """To the steps without which it does not fail: here a message, and a death while it is out."""

    def reasons(script: Any) -> set[str]:
        with with_a_blind_resend():
            return {one.reason for one in play(script).violations}

    seeds, _ = MUTATIONS[with_a_blind_resend]
    script = next(write(seed) for seed in chain(seeds, range(SEARCH)) if reasons(write(seed)))
    (why,) = reasons(script)
    short = shrink(script, lambda shorter: why in reasons(shorter))
    assert why == "I13: room is told once more of …"
    assert len(short.steps) <= 6, "a wait, a message in which the process dies, a wait, a start"
    assert why in reasons(short)
    with with_a_blind_resend():
        told = str(play(short))
    assert "I13 does not hold" in told
    assert f"seed {script.seed}" in told
