"""One test's cluster: its name, its configuration, and the evidence that it leaves (used by ``hil.plugin``)."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil import paths
from hil.evidence import layout
from hil.files import copy_sparse
from hil.verdict import Verdict, classify

if TYPE_CHECKING:
    from hil.config import ClusterConfig

NAME_LENGTH_MAX = 31
EVENTS_SHOWN = 40
CONSOLE_LINES_SHOWN = 15
NOT_COPIED = ("disk*.raw", *layout.SECRET)
"""Disks are big (and copied apart, with their holes, after a failure); the keys open nothing any more."""


def cluster_name(test: str, distinction: str) -> str:
    """A legal cluster name that tells which test it is of: the test's own name, shortened, and ``distinction``."""
    slug = re.sub(r"[^a-z0-9]+", "-", test.lower().removeprefix("test_")).strip("-")
    slug = slug if slug[:1].isalpha() else f"t-{slug}"
    return f"{slug[: NAME_LENGTH_MAX - len(distinction) - 1].rstrip('-')}-{distinction}"


_names_given: dict[str, int] = {}


def unique_cluster_name(test: str) -> str:
    """:func:`cluster_name` of this process's number, and a counter where a test runs again (it may be kept)."""
    pid = str(os.getpid())
    name = cluster_name(test, pid)
    count = _names_given[name] = _names_given.get(name, 0) + 1
    return name if count == 1 else cluster_name(test, f"{pid}-{count}")


def make_test_config(name: str, marked: Mapping[str, Any], nodes: int | None) -> ClusterConfig:
    """The configuration of a test's cluster: its marker's, ``nodes`` from the command line wins.

    Raises :class:`hil.errors.BadConfig` naming each wrong key.
    """
    from hil.config import make_config

    values = dict(marked) | ({"nodes": nodes} if nodes is not None else {})
    return make_config(**({"name": name} | values))


@dataclass
class Lab:
    """What is known of the cluster of one test, also after it is gone."""

    name: str
    repeat: str
    """The command that repeats this test."""
    run_dir: Path | None = None
    verdict: Verdict = Verdict.PASSED
    problem: str = ""
    seed: int | None = None
    """What a simulated cluster follows from; None for guests."""
    judged: bool = False
    """The test came to its end, whatever that was; else it was interrupted."""
    kept: bool = False
    copied_to: Path | None = None

    def __post_init__(self) -> None:
        self._older = paths.latest_run_dir(self.name)

    def evidence(self) -> Path | None:
        """Where the run's files are; also of a cluster that died before it could tell.

        None if there was no run: an older one of the same name is another's, even if it still goes on.
        """
        if self.run_dir is not None:
            return self.run_dir
        latest = paths.latest_run_dir(self.name)
        return None if latest == self._older else latest

    def sections(self) -> list[tuple[str, str]]:
        """What a failed test shows besides its traceback: (title, text)."""
        seed = "" if self.seed is None else f"\nseed:      {self.seed}"
        found = [("hil: verdict", f"{self.verdict}{seed}\nrepeat it: {self.repeat}")]
        directory = self.evidence()
        if directory is None:
            return found
        found[0] = (found[0][0], f"{found[0][1]}\nevidence:  {directory}")
        found.append(("hil: last events", "\n".join(last_events(directory))))
        for path in sorted(directory.glob("console-n*.log")):
            lines = path.read_bytes().decode(errors="replace").replace("\r\n", "\n").splitlines()
            found.append((f"hil: end of {path.name}", "\n".join(lines[-CONSOLE_LINES_SHOWN:])))
        return found

    def note(self, error: BaseException) -> None:
        """Keep the first thing that went wrong: what follows may come of it."""
        self.judged = True
        if self.verdict is Verdict.PASSED:
            self.verdict, self.problem = classify(error), str(error)

    def write_verdict(self, test_id: str) -> None:
        """Into the evidence, if there is any."""
        if (directory := self.evidence()) is not None and directory.is_dir():
            self._tell_verdict(directory, test_id)

    def _tell_verdict(self, directory: Path, test_id: str) -> None:
        verdict, problem = self.verdict, self.problem
        if not self.judged:
            verdict, problem = Verdict.LABORATORY_BROKE, "interrupted before it came to its end"
        told: dict[str, Any] = {"test": test_id, "verdict": str(verdict), "problem": problem, "repeat": self.repeat}
        if self.seed is not None:
            told["seed"] = self.seed
        (directory / layout.VERDICT).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    def copy_to(self, directory: Path, test_id: str) -> None:
        """Copy the evidence into a directory of its own below ``directory``, with the verdict beside it."""
        target = directory.absolute() / re.sub(r"[^A-Za-z0-9_.-]+", "-", test_id).strip("-")
        source = self.evidence()
        if source is not None:
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
            for image in source.iterdir() if self.verdict is not Verdict.PASSED else ():
                if layout.is_disk(image.name):
                    copy_sparse(image, target / image.name)
        target.mkdir(parents=True, exist_ok=True)
        self._tell_verdict(target, test_id)
        self.copied_to = target

    def attachments(self) -> list[Path]:
        """The files that somebody who reads of the failure wants at hand; the disk is not among them."""
        directory = self.copied_to or self.evidence()
        if directory is None or not directory.is_dir():
            return []
        large = (layout.is_disk, layout.is_base, lambda name: name == layout.KEPT_DATA)
        there = [path for path in directory.iterdir() if layout.is_evidence(path.name)]
        return sorted(path for path in there if not any(is_large(path.name) for is_large in large))


def last_events(directory: Path) -> list[str]:
    """The last events of the run in ``directory``, as text; what cannot be read is said so."""
    from hil.cli.lines import event_line

    try:
        lines = (directory / layout.EVENTS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        return [f"(no events: {error.strerror})"]
    told = []
    for line in lines[-EVENTS_SHOWN:]:
        try:
            told.append(event_line(json.loads(line)))
        except (ValueError, KeyError):  # the last line of a bench that was killed
            told.append(f"(torn: {line!r})")
    return told
