"""The seeds that CI plays: nothing breaks, everything strikes, the same seed tells the same."""

from __future__ import annotations

import pytest

from acron.model import RunState, SkipReason
from acron.testing.simulation import play, write
from acron.testing.simulation.people import MOODS
from acron.testing.simulation.script import DISK_ERRORS, HANDS, STEPS

#: 2,000 seeds, in parts that xdist spreads over the cores.
CHUNK, CHUNKS = 50, 40
#: Enough for what is rare, and few enough to be played by one worker.
SOME = range(100_000, 100_300)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("part", range(CHUNKS))
def test_all_invariants_hold(part: int) -> None:
    for seed in range(part * CHUNK, (part + 1) * CHUNK):
        story = play(seed)
        assert not story.violations, f"{story}\n\nacron simulate --chaos --seed {seed}"


def test_the_same_seed_tells_the_same_story() -> None:
    """I18; of scripts without real threads, whose ends the machine itself puts in order."""
    seeds = [seed for seed in range(60) if "thread" not in str(write(seed))][:20]
    assert len(seeds) == 20
    for seed in seeds:
        first, second = play(seed), play(seed)
        assert first.digest == second.digest, f"{first}\n\n{second}"


def test_a_script_is_made_of_its_seed_alone() -> None:
    assert write(7) == write(7)
    assert write(7) != write(8)
    taken = {step.what for seed in range(200) for step in write(seed).steps}
    assert taken == set(STEPS)


#: What has to strike, or be reached, at least once; as a world counts it.
SOMETIMES = {
    *("crash", "crash before a commit", "crash after a commit", "stop", "power loss"),
    *("lost acknowledgement", "slow store", "partition", "lapsed lease", "stuck lock"),
    *("clock back", "clock forward", "clock drift", "suspend", "torn write"),
    *("duplicate trigger", "provider raises", "provider returns", "provider hangs"),
    *("chat fails", "chat hangs", "chat dies", "chat dies after", "delivery tried again"),
    *("delivery delivered", "delivery unknown", "hook still_relevant", "hook after", "thread"),
    *("backfill", "command"),
    *(f"disk {error}" for error in DISK_ERRORS),
    *(f"hand: {hand}" for hand in HANDS),
    *(f"job {mood}" for mood in MOODS),
    *(f"run {state}" for state in RunState if state.ended),
    *(f"skip {reason}" for reason in SkipReason),
}


@pytest.mark.timeout(120)
def test_sometimes_everything_strikes() -> None:
    missing, seed = set(SOMETIMES), SOME.start
    while missing and seed < SOME.stop:
        missing -= set(play(seed).seen)
        seed += 1
    assert not missing
