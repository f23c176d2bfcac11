"""The figures for people."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.iscsi.figures import LEDGER_COST_MAX, NAMES, NO_LEDGER, OURS, RESIDENT_BYTES_MAX, TGT, Row, ledger_cost

_SPREAD = f"{'median':>6} {'spread':>12}"
_BOUNDED = f"{_SPREAD} {'':4}"
_HEAD = f"""\
{"":22} | {"commands per second":24} | {"ours / tgt":24} | {"the ledger costs":19} | CPU µs per command
{"":22} | {"ours":>7} {"no led.":>8} {"tgt":>7} | {_BOUNDED} | {_SPREAD} | {"ours":>5} {"no l.":>5} {"tgt":>5}"""


def table(rows: Sequence[Row], resident_bytes: int) -> str:
    """One line per case, then the memory; a bound that is missed says so."""
    lines = [_HEAD, *map(_line, rows), ""]
    bounds = ", ".join(f"{row.ratio_min} at depth {row.case.depth}" for row in _one_per_depth(rows))
    lines.append(f"bound: ours / tgt at least {bounds}")
    cost = ledger_cost(rows)
    lines.append(
        f"the ledger costs over all loads: {cost:.0%} of {LEDGER_COST_MAX:.0%}: {_word(cost <= LEDGER_COST_MAX)}"
    )
    word = _word(resident_bytes <= RESIDENT_BYTES_MAX)
    lines.append(
        f"peak resident memory of ours, 8 initiators at depth 32: {resident_bytes / 1e6:.1f} MB "
        f"of {RESIDENT_BYTES_MAX / 1e6:.0f}: {word}"
    )
    least, most = min(row.neighbours for row in rows), max(row.neighbours for row in rows)
    lines.append(f"of the machine's CPU time others took {least:.0%} to {most:.0%} in the quieter rounds, which count")
    return "\n".join(lines)


def _line(row: Row) -> str:
    rate, cpu, ratio, cost = row.commands_per_s, row.cpu_us, row.ratio, row.ledger_cost
    spread_of_ratio = f"{ratio.least:.2f} to {ratio.most:.2f}"
    spread_of_cost = f"{cost.least:.0%} to {cost.most:.0%}"
    return (
        f"{row.case.direction:5} {row.case.access:10} {row.case.depth:5} | "
        f"{rate[OURS]:7.0f} {rate[NO_LEDGER]:8.0f} {rate[TGT]:7.0f} | "
        f"{ratio.median:6.2f} {spread_of_ratio:>12} {_word(row.ratio_met):>4} | "
        f"{cost.median:6.0%} {spread_of_cost:>12} | " + " ".join(f"{cpu[name]:5.1f}" for name in NAMES)
    )


def _one_per_depth(rows: Sequence[Row]) -> list[Row]:
    return list({row.case.depth: row for row in rows}.values())


def _word(met: bool) -> str:
    return "ok" if met else "MISS"
