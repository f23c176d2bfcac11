"""Which tests a session runs, and how often: ``--hil-shard``, ``--hil-repeat``, ``--hil-until-failure``.

A shard is a part of the tests for one of several jobs that run at the same time: the tests in the order of their ids
are dealt out in turn, so each is in one shard, whatever order they were collected in and whatever else a job does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import pytest

from hil.errors import UsageError

ROUNDS_UNTIL_FAILURE: int = 1000
"""Of ``--until-failure`` without ``--repeat``: pytest collects each round before the first begins."""


@dataclass(frozen=True)
class Shard:
    """``index`` of ``count``, from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of "2/4". Raises :class:`UsageError`."""
        index, slash, count = text.partition("/")
        if not (slash and index.isascii() and index.isdecimal() and count.isascii() and count.isdecimal()):
            raise UsageError(f"shard {text}: legal is I/N, such as 1/4")
        shard = cls(int(index), int(count))
        if not 1 <= shard.index <= shard.count:
            raise UsageError(f"shard {text}: legal are 1/{shard.count} to {shard.count}/{shard.count}, and N from 1")
        return shard

    def take(self, ids: list[str]) -> set[str]:
        """Those of them that are this shard's."""
        return set(sorted(ids)[self.index - 1 :: self.count])


def add_options(group: pytest.OptionGroup) -> None:
    """The options of this module."""
    group.addoption("--hil-repeat", metavar="N", type=int, help="run each test N times")
    group.addoption("--hil-until-failure", action="store_true", help="repeat until one does not pass")
    group.addoption("--hil-shard", metavar="I/N", help="of the tests only part I of N")


def check(config: pytest.Config) -> None:
    """Raises pytest's ``UsageError`` for a shard that is none; has the session end where it is to."""
    try:
        if (text := config.getoption("hil_shard")) is not None:
            Shard.parse(text)
    except UsageError as refusal:
        raise pytest.UsageError(f"--hil-shard: {refusal}") from None
    if config.getoption("hil_until_failure") and not config.option.maxfail:
        config.option.maxfail = 1


def rounds(config: pytest.Config) -> int:
    """How often each test is run, at most."""
    asked: int | None = config.getoption("hil_repeat")
    if asked is not None:
        return asked
    return ROUNDS_UNTIL_FAILURE if config.getoption("hil_until_failure") else 1


def choose(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave in ``items`` what this session is to run, in its order: until a failure, round by round."""
    if (text := config.getoption("hil_shard")) is not None:
        own = Shard.parse(text).take([item.nodeid for item in items])
        others = [item for item in items if item.nodeid not in own]
        items[:] = [item for item in items if item.nodeid in own]
        config.hook.pytest_deselected(items=others)
    if config.getoption("hil_until_failure"):
        items.sort(key=round_of)


def round_of(item: pytest.Item) -> int:
    """Which of the rounds that repeat a test, from 1."""
    callspec = getattr(item, "callspec", None)
    return int(callspec.params.get("hil_round", 1)) if callspec is not None else 1
