"""Row F3: 10,000 one-shots due at one instant, in memory, until the last has ended.

    python -m benchmarks.herd

acron's runs have ended when their ends are in the ledger; the peers', who keep none, when their
function returns.
"""

from __future__ import annotations

from benchmarks.common import Finding, Goals, Rounds, Size, aps4, in_child, main


def run(size: Size) -> list[Finding]:
    jobs = size.of(10_000, 300)
    goals = Goals("F3", f"herd: {jobs:,} one-shots due at one instant, memory store", "herd")
    found = Rounds(
        {
            "bare": in_child("benchmarks.subjects.bare:herd", size, jobs=jobs),
            "acron": in_child("benchmarks.subjects.ours:herd", size, jobs=jobs),
            "APS3": in_child("benchmarks.subjects.aps3:herd", size, jobs=jobs),
            "APS4": aps4(size, "herd", jobs=jobs),
        },
        size,
    )
    told = found.table("seconds", "s")
    goals.add("≤ 2x bare", found.ratio("seconds", "acron", "bare"), at_most=2, figures=told)
    for peer, limit in (("APS3", 3.3), ("APS4", 13)):
        if peer in found:
            got = found.ratio("seconds", peer, "acron")
            goals.add(f"≥ {limit}x faster than {peer}", got, at_least=limit, figures=told)
    return goals.findings


if __name__ == "__main__":
    main(run, __doc__)
