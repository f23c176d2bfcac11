"""``hil sim --play`` and ``hil sim --shrink``: one run, from a file or from a seed that fails, told in full."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.cli.status_line import StatusLine
from hil.errors import UsageError

if TYPE_CHECKING:
    from hil.sim.case import Case
    from hil.sim.run import Result

_USUAL_PRESET = "swarm"


def check_together(
    instead: Mapping[str, object],
    of_seeds: Mapping[str, object],
    *,
    write: Path | None,
    nodes: int | None,
    data_disks: int | None,
    preset: str,
) -> None:
    """Raises :class:`UsageError` for options that exclude each other. ``instead``: of these one at most."""
    given = [name for name, value in instead.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: one of them at a time")
    (mode,) = given or ["--seeds"]
    if mode != "--seeds":
        for name, value in of_seeds.items():
            if value is not None:
                raise UsageError(f"{name}: with --seeds only, not with {mode}")
    if mode == "--play" and (nodes is not None or data_disks is not None or preset != _USUAL_PRESET):
        raise UsageError("--nodes, --data-disks and --preset: the file of --play says it; edit the file")
    if write is None:
        return
    if mode != "--shrink":
        raise UsageError("--write: with --shrink only")
    if write.suffix not in (".py", ".toml"):
        raise UsageError(f"--write {write}: legal are FILE.py, a scenario, and FILE.toml")
    if not write.parent.is_dir():
        raise UsageError(f"--write {write}: there is no directory {write.parent}")


def play_file(path: Path, *, as_json: bool) -> int:
    """The exit status: 0 if every claim held."""
    from dataclasses import replace

    from hil.sim.case import read

    case = read(path)
    result = case.run()
    if not result.passed:
        result = case.run(recording=True)
    result = replace(result, file=str(path))
    if as_json:
        print(json.dumps(_described(case, result), indent=2))
    elif result.passed:
        print(
            f"{path} passed: {len(case.plan.faults)} faults, {case.options.nodes} nodes, "
            f"{result.simulated_ms / 1000:.1f} simulated s, {result.events} events, {result.panics} panics"
        )
    else:
        print("\n".join([f"{path} FAILED: {result.claim}", *_told(case, result)]))
    return 0 if result.passed else 1


def shrink_seed(
    seed: int, preset: str, nodes: int | None, data_disks: int | None, write: Path | None, *, as_json: bool
) -> int:
    """The exit status: 1, for what is left does fail."""
    from dataclasses import replace

    from hil.sim.case import Case
    from hil.sim.options import draw
    from hil.sim.scenario_file import scenario
    from hil.sim.shrink import shrink

    progress = StatusLine()
    try:
        shrunk = shrink(Case.of(draw(seed, preset, nodes, data_disks)), progress.show)
    finally:
        progress.clear()
    case, result = shrunk.after, shrunk.result
    if write is not None:
        text = scenario(shrunk, str(write)) if write.suffix == ".py" else case.toml()
        try:
            write.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--write {write}: {error.strerror}") from None
        result = replace(result, file=str(write))
    if as_json:
        more = {"seed": seed, "runs": shrunk.runs, "wall_s": round(shrunk.wall_s, 3)}
        print(json.dumps(_described(case, result) | more | {"file": None if write is None else str(write)}, indent=2))
        return 1
    before = shrunk.before
    print(
        f"seed {seed} FAILED: {result.claim}\n"
        f"  reduced from {len(before.plan.faults)} faults and {before.options.nodes} nodes to {len(case.plan.faults)}"
        f" and {case.options.nodes}, in {shrunk.runs} runs and {shrunk.wall_s:.1f} s"
    )
    print("\n".join(_told(case, result)[: None if write is not None else -1]))
    if write is None:
        again = f"hil sim --shrink {seed} --preset {preset}" + (f" --nodes {nodes}" if nodes is not None else "")
        again += f" --data-disks {data_disks}" if data_disks is not None else ""
        print(f"  repeat: {again} --write FILE.toml && hil sim --play FILE.toml")
    elif write.suffix == ".py":
        print(f"  as a scenario: hil run {write}")
    return 1


def _told(case: Case, result: Result) -> list[str]:
    lines = [f"  {result.violation}", *(f"    {line}" for line in result.details)]
    lines += [f"  {line}" for line in case.shown()]
    lines += ["  what led to it:", *(f"    {line}" for line in result.story)]
    return [*lines, f"  digest: {result.digest}", f"  repeat: {result.command}"]


def _described(case: Case, result: Result) -> dict[str, Any]:
    from hil.sim.options import differing

    return {
        "options": differing(case.options),
        "until_ms": case.plan.until_ms,
        "faults": [fault.as_dict() for fault in case.plan.faults],
        "claim": result.claim,
        "violation": result.violation,
        "details": result.details,
        "story": result.story,
        "digest": result.digest,
        "command": result.command if result.file is not None else None,
    }
