"""A recorded run happens again: the scenario that it was of, or its faults at the same points, on either back end.

A scenario brings its programs and services along, so it is run where it is to be had (its file is in this checkout, or
where it is asked for). Else a fresh cluster of the same configuration has the faults of the recording
(:mod:`hil.evidence.derive`), and the claims about every run judge it. What the back end cannot do is refused first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.checkers.recording import load
from hil.errors import InvalidRun, UsageError
from hil.evidence import layout, manifest
from hil.evidence.derive import JOINED, Derived, derive
from hil.evidence.manifest import SIM, Manifest
from hil.evidence.runs import verdict_of
from hil.view import MALFORMED

if TYPE_CHECKING:
    from hil.config import ClusterConfig
    from hil.faults.plan import Step
    from hil.runner import Options
    from hil.scenario import ScenarioCluster

Tell = Callable[[str], None]

_DIGITS: Final = 12
_OPTIONS: Final[dict[str, type]] = {"capture": bool, "faults": str}
"""Of ``hil run``, that change what a scenario leaves. No others are taken from a manifest: some name files to write."""


@dataclass(frozen=True)
class Recorded:
    """A run that is to happen again."""

    where: str
    """As somebody types it."""
    directory: Path
    manifest: Manifest
    derived: Derived
    """Its faults."""

    @property
    def scenario(self) -> Path | None:
        """Its scenario's file, if it is here: in this checkout, or below the current directory.

        It will be executed, and a bundle comes from anywhere: no other file is.
        """
        from hil.runner import CHECKOUT

        scenario = self.manifest.scenario
        name = "" if scenario is None else scenario.test.partition("::")[0]
        for home in (CHECKOUT, Path.cwd()):
            path = (home / name).resolve()
            if path.is_file() and path.is_relative_to(home.resolve()):
                return path
        return None

    def differences(self) -> list[str]:
        """What is not as it was, and may make another run of it."""
        told = []
        recorded_by, here = self.manifest.guestd[:_DIGITS], manifest.guestd_digest()[:_DIGITS]
        if recorded_by != here:
            told.append(f"guestd is another one here: {here}; {recorded_by} has run")
        scenario, file = self.manifest.scenario, self.scenario
        if scenario is not None and file is not None and _digest(file) != scenario.digest:
            told.append(f"{file} is not as it was when it ran")
        return told


def recorded(directory: Path, where: str) -> Recorded:
    """The run in ``directory``, typed as ``where``. Raises :class:`UsageError` for what is none of this version."""
    about, recording = manifest.load(directory), load(directory)
    if recording.nodes != about.nodes:
        raise UsageError(
            f"{directory}: {layout.MANIFEST} is of {about.nodes} nodes, {layout.EVENTS} of {recording.nodes}: no run"
        )
    try:
        derived = derive(recording.events, recording.nodes)
        derived.plan.check(about.nodes, None)
    except MALFORMED as error:
        raise UsageError(f"{directory / layout.EVENTS} tells of what cannot be: {error!r}") from None
    return Recorded(where, directory, about, derived)


def config_of(run: Manifest, name: str, backend: str) -> ClusterConfig:
    """The cluster's, to be started again. Raises :class:`hil.errors.BadConfig`: it is of another version, say.

    Guests have the times of the machine that they are on; simulated nodes take those that there were.
    """
    from hil.config import make_config

    others = {"timing": run.timing} if backend == SIM else {}
    return make_config(**{**run.config, "name": name, "accelerator": "auto", **others})


def run_scenario(run: Recorded, backend: str, seed: int | None, tell: Tell) -> int:
    """Run its scenario; the exit status, as of ``hil run``."""
    from hil import runner

    scenario, file = run.manifest.scenario, run.scenario
    assert scenario is not None
    options = _options(scenario, backend, seed)
    target = f"{file}::{scenario.test.partition('::')[2]}"
    tell(f"replay: runs the scenario {target} {_where(backend, options.seed)}")
    collector = runner.Collector()
    status = runner.run([target], options, collector)
    for directory in collector.evidence:
        _compare(run, directory, options.seed, tell)
    return status


def _options(scenario: manifest.Scenario, backend: str, seed: int | None) -> Options:
    from hil.runner import Options

    for name, value in scenario.options.items():
        if name not in _OPTIONS or type(value) is not _OPTIONS[name]:
            legal = ", ".join(f"{one} ({kind.__name__})" for one, kind in _OPTIONS.items())
            raise UsageError(f"the run had an option that no replay takes: {name} = {value!r} (legal: {legal})")
    asked: dict[str, Any] = {"backend": backend, "nodes": scenario.nodes, **scenario.options}
    if backend == SIM or "faults" in asked:  # a plan of faults is drawn from it, on guests, too
        asked["seed"] = seed if seed is not None else scenario.seed or 0
    return Options(**asked)


def run_plan(run: Recorded, backend: str, seed: int | None, tell: Tell) -> None:
    """Have its faults on a fresh cluster, and judge it. Raises what ``hil run`` would end with."""
    from hil.checkers.recorded import check
    from hil.lab import Lab
    from hil.play import play

    about = run.manifest
    seed = None if backend != SIM else seed if seed is not None else about.seed or 0
    name = str(about.config.get("name")) if backend == SIM else f"replay-{os.getpid()}"
    config = config_of(about, name, backend)
    chosen = [] if seed is None else ["--seed", str(seed)]
    repeat = " ".join(["hil", "replay", "--faults-only", "--backend", backend, *chosen, run.where])
    count = len(run.derived.plan.steps)
    tell(f"replay: {count} faults on a fresh cluster of {config.nodes} nodes {_where(backend, seed)}")
    lab = Lab(config.name, repeat, seed=seed)
    cluster = _start(run, config, seed)
    lab.run_dir = cluster.run_dir
    try:
        manifest.amend(cluster.run_dir, repeat=repeat)
        derived = _fitted(run, cluster, tell)
        missed = play(cluster, derived.plan)
        cluster.check_panics()
        check(cluster.run_dir)
        _refuse_missed(missed)
        lab.judged = True
    except Exception as error:
        lab.note(error)
        raise
    finally:
        cluster.down()
        lab.write_verdict(f"replay of {run.where}")
        tell(f"evidence:  {cluster.run_dir}")
        _compare(run, cluster.run_dir, seed, tell)


def _start(run: Recorded, config: ClusterConfig, seed: int | None) -> ScenarioCluster:
    from hil.scenario import ScenarioCluster

    if seed is None:
        return ScenarioCluster.up(config)
    from hil.sim.backend.options import SETTABLE
    from hil.sim.backend.simulated import Simulated

    world = run.manifest.simulation or {}
    return ScenarioCluster(config.name, Simulated(config, seed, {key: world[key] for key in SETTABLE if key in world}))


def _fitted(run: Recorded, cluster: ScenarioCluster, tell: Tell) -> Derived:
    """The faults for this cluster, at the moment from which their times count."""
    derived = run.derived
    if derived.begins == JOINED:
        cluster.wait_joined()
        master = cluster.master
        if master is not None and derived.master not in (None, master.id):
            tell(f"replay: node {derived.master} was the master; here it is node {master.id}: the two change places")
            derived = derived.with_master(master.id)
    factor = cluster.settings["settings"]["timing"]["death_ms"] / run.manifest.timing["death_ms"]
    if factor != 1:
        tell(f"replay: the times of this cluster, and of the faults, are {factor:.2f} times those of the recording")
        derived = derived.scaled(factor)
    return derived


def _refuse_missed(missed: Sequence[Step]) -> None:
    """Of those that nobody has seen strike then, none need strike now."""
    if told := "; ".join(str(step) for step in missed if not step.drawn):
        raise InvalidRun(f"the replay went another way, so that these faults had nothing to strike: {told}")


def _compare(run: Recorded, directory: Path, seed: int | None, tell: Tell) -> None:
    """What came of it then and now; of a simulated run whether it is the very same."""
    tell(f"recorded:  {_shown(run.directory)}")
    tell(f"replayed:  {_shown(directory)}")
    if run.manifest.backend == SIM and seed is not None and seed == run.manifest.seed:
        tell(f"events:    {_same(run.directory / layout.EVENTS, directory / layout.EVENTS)}")


def _shown(directory: Path) -> str:
    said = verdict_of(directory)
    problem = str(said.get("problem", "")).partition("\n")[0]
    told = f"{said.get('verdict', 'nobody judged it')}{': ' if problem else ''}{problem}"
    return "".join(letter if letter.isprintable() else "?" for letter in told)


def _same(before: Path, after: Path) -> str:
    old, new = before.read_bytes().splitlines(), after.read_bytes().splitlines()
    for number, (one, other) in enumerate(zip(old, new, strict=False), 1):
        if one != other:
            return f"another run from event {number} on"
    if len(old) != len(new):
        return f"the same {min(len(old), len(new))}, then {'more' if len(new) > len(old) else 'no more'}"
    return f"the very run again, all {len(new)} are the same"


def _where(backend: str, seed: int | None) -> str:
    return "on guests" if backend != SIM else f"in the simulator, seed {seed}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
