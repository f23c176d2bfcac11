"""One run as a value: the options and the plan of its faults. What a seed stands for, written out.

As TOML it is short, for what is as calm as can be is left out (:func:`hil.sim.options.calm`)::

    until_ms = 12000

    [options]
    preset = "swarm"
    seed = 91
    loss_share = 10

    [[fault]]
    kind = "crash"
    at_ms = 6500
    for_ms = 0
    node = "master"
"""

from __future__ import annotations

import json
import runpy
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hil.errors import UsageError
from hil.sim.options import OF_THE_PLAN, Options, calm, changed, differing
from hil.sim.plan import Fault, Plan, from_dict
from hil.sim.planning import draw_plan
from hil.sim.run import Result, run

_FORMS = "a .toml file that `hil sim --shrink SEED --write FILE.toml` writes, or a .py file with PLAN and SIMULATED"


@dataclass(frozen=True)
class Case:
    """Two equal ones are the same run. Raises :class:`UsageError` if the plan does not fit the options."""

    options: Options
    plan: Plan

    def __post_init__(self) -> None:
        self.plan.check(self.options.nodes)
        usual = calm()
        # The plan stands for what it was drawn from: that makes no difference any more.
        drawn_from: dict[str, Any] = {name: getattr(usual, name) for name in OF_THE_PLAN}
        object.__setattr__(self, "options", replace(self.options, **drawn_from))

    @classmethod
    def of(cls, options: Options) -> Case:
        """The run that is drawn from those options."""
        return cls(options, draw_plan(options))

    def with_faults(self, faults: tuple[Fault, ...]) -> Case:
        """The same with those faults instead."""
        return replace(self, plan=replace(self.plan, faults=faults))

    def run(self, *, recording: bool = False) -> Result:
        """Simulate it."""
        return run(self.options, self.plan, recording=recording)

    def shown(self) -> list[str]:
        """The options that are not calm, and the plan, one line each."""
        options = [f"{name} = {value}" for name, value in differing(self.options).items()]
        return ["options:", *(f"  {line}" for line in options or ["all calm"]), "plan:"] + [
            f"  {line}" for line in [*self.plan.table(), f"healed at {self.plan.until_ms} ms"]
        ]

    def toml(self) -> str:
        """As a file; :func:`read` has it back."""
        lines = [f"until_ms = {self.plan.until_ms}", "", "[options]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in differing(self.options).items()]
        for fault in self.plan.faults:
            lines += ["", "[[fault]]", *(f"{name} = {json.dumps(value)}" for name, value in fault.as_dict().items())]
        return "\n".join(lines) + "\n"


def read(path: Path) -> Case:
    """From a TOML or a scenario file. Raises :class:`UsageError` with the file, what is wrong, and what is legal."""
    try:
        return _read_scenario(path) if path.suffix == ".py" else from_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror} (legal: {_FORMS})") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: no text (legal: {_FORMS})") from None


def from_toml(text: str) -> Case:
    """Raises :class:`UsageError`."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not TOML: {error} (legal: {_FORMS})") from None
    for name in given:
        if name not in ("until_ms", "options", "fault"):
            raise UsageError(f"{name!r} (legal: until_ms, [options], [[fault]])")
    if "until_ms" not in given:
        raise UsageError("until_ms is missing: when all faults are healed, in ms")
    options, faults = given.get("options", {}), given.get("fault", [])
    if not isinstance(options, dict) or not isinstance(faults, list):
        raise UsageError("options is a table, [options], and fault an array of tables, [[fault]]")
    if not all(isinstance(fault, dict) for fault in faults):
        raise UsageError("each fault is a table of its own, [[fault]]")
    return Case(changed(options), Plan(given["until_ms"], tuple(from_dict(fault) for fault in faults)))


def _read_scenario(path: Path) -> Case:
    """``PLAN`` and ``SIMULATED`` of a Python file, which is executed."""
    if not path.exists():
        raise UsageError(f"no such file (legal: {_FORMS})")
    found = runpy.run_path(str(path))
    plan, options = found.get("PLAN"), found.get("SIMULATED")
    if not isinstance(plan, Plan) or not isinstance(options, Mapping):
        raise UsageError(f"no PLAN, or no SIMULATED, in it (legal: {_FORMS})")
    given: dict[str, Any] = dict(options)
    return Case(changed(given), plan)
