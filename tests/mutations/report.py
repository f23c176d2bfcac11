"""What became of the mutants: a table for people, an object for programs, a page for docs/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.mutations.catalogue import BY_NAME
from tests.mutations.hunt import Looked
from tests.mutations.left_out import LEFT_OUT

_HEAD = ("mutant", "at seed", "seeds", "s", "claim that caught it")


def table(found: Sequence[Looked]) -> str:
    """One line for each."""
    rows = [_HEAD, *(_row(one) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [row[column].rjust(widths[column]) for column in range(1, len(widths))]
        lines.append("  ".join([*cells, row[-1]]))
    return "\n".join(lines)


def summary(found: Sequence[Looked], seeds: int, wall_s: float) -> str:
    """How many, and what is wrong."""
    caught = sum(one.found for one in found)
    lines = [f"{caught} of {len(found)} mutants found, each within {seeds} seeds, in {wall_s:.0f} s"]
    for one in found:
        if one.sound_failed:
            lines.append(f"{one.name}: guestd as it is does not pass seed {_listed(one.sound_failed)} either")
        elif not one.found:
            lines.append(f"{one.name} survives {one.seeds} seeds: {BY_NAME[one.name].about}")
            lines += [f"  another claim was broken in {count} of them: {claim}" for claim, count in one.others.items()]
    return "\n".join(lines)


def described(found: Sequence[Looked], seeds: int, wall_s: float) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "seeds": seeds,
        "wall_s": round(wall_s, 1),
        "survived": [one.name for one in found if not one.found],
        "mutants": [
            {
                "name": one.name,
                "about": BY_NAME[one.name].about,
                "found": one.found,
                "seed": one.seed,
                "seeds": one.seeds,
                "claim": one.claim or None,
                "violation": one.violation or None,
                "other_claims": dict(one.others),
                "sound_failed": one.sound_failed,
                "wall_s": round(one.wall_s, 2),
            }
            for one in found
        ],
    }


def page(found: Sequence[Looked], seeds: int) -> str:
    """docs/mutations.md."""
    lines = [
        "# Faults put into guestd",
        "",
        "Written by `./run mutations --write docs/mutations.md`. Each of these is guestd with one fault, as somebody",
        "might make it (`tests/mutations/`); the simulator has to find it by its claims alone, and guestd as it is has",
        "to pass the very same seeds. A mutant that survives says that a claim or a fault is missing in the simulator.",
        "",
        f"{sum(one.found for one in found)} of {len(found)} are found, each within {seeds} seeds of about a minute of",
        "simulated time. `./run mutations --only NAME` looks for one.",
        "",
        "| mutant | what is wrong | found at seed | claim that caught it |",
        "|---|---|---|---|",
    ]
    for one in found:
        name, at, _, _, claim = _row(one)
        lines.append(f"| `{name}` | {BY_NAME[name].about} | {at} | {claim} |")
    lines += ["", "## Left out", "", "| fault | why |", "|---|---|"]
    lines += [f"| {what} | {why} |" for what, why in LEFT_OUT.items()]
    return "\n".join(lines) + "\n"


def _row(one: Looked) -> tuple[str, str, str, str, str]:
    at = "-" if one.seed is None else str(one.seed)
    claim = one.claim or "SURVIVES"
    if one.sound_failed:
        claim = f"NO PROOF: seed {_listed(one.sound_failed)} fails without it"
    return one.name, at, str(one.seeds), f"{one.wall_s:.1f}", claim


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds[:5])) + (", ..." if len(seeds) > 5 else "")
