"""The table of kinds: one row each."""

from __future__ import annotations

from typing import Final

from hil.scsi.faults import cache, holding, misplacing, refusing
from hil.scsi.faults.fault import Kind
from hil.scsi.faults.parameters import Choice, Integer
from hil.scsi.operation import Direction

_ALL: Final = frozenset(Direction)
_MEDIA: Final = frozenset({Direction.READ, Direction.WRITE, Direction.FLUSH})
_READS: Final = frozenset({Direction.READ})
_WRITES: Final = frozenset({Direction.WRITE})
_SEED: Final = Integer(0, 2**63 - 1, 0, "the same seed, the same choices")
_BLOCKS_MAX: Final = 2**40

REFUSE_LOGIN: Final = "refuse-login"
VOLATILE_CACHE: Final = "volatile-cache"

KINDS: Final[dict[str, Kind]] = {
    "hang": Kind(
        "no answer until healed; then it is executed. Aborted when its connection ends",
        _ALL,
        strike=holding.hang,
        holds=True,
    ),
    "delay-writes": Kind(
        "writes stay queued until healed, over the end of their connection too, unless they are aborted",
        _WRITES,
        strike=holding.hang,
        holds=True,
        outlives=True,
    ),
    "slow": Kind(
        "executed after a while",
        _ALL,
        {
            "ms": Integer(1, 3_600_000, None, "milliseconds, the mean of a distribution"),
            "spread": Choice(("fixed", "uniform", "exponential"), "fixed", "how the delays are distributed"),
            "seed": _SEED,
        },
        strike=holding.slow,
        holds=True,
        timed=True,
    ),
    "error": Kind(
        "refused with sense data, or BUSY",
        _ALL,
        {"sense": Choice((*refusing.SENSES, refusing.BUSY), "medium", "what the disk says is wrong")},
        usual=_MEDIA,
        spares_identity=True,
        strike=refusing.error,
    ),
    "reset": Kind(
        "the connection is reset, before or after the command is executed; no answer",
        _ALL,
        {"when": Choice(("before", "after"), "before", "whether the command is executed")},
        strike=holding.reset,
        timed=True,
    ),
    REFUSE_LOGIN: Kind("no new connection gets in; those that are in stay", frozenset()),
    "torn": Kind(
        "only the beginning of a write reaches the medium; answered as if all did",
        _WRITES,
        {
            "sectors": Integer(0, _BLOCKS_MAX, 1, "whole sectors that do reach it"),
            "bytes": Integer(0, 511, 0, "and as many bytes of the next"),
        },
        place=misplacing.tear,
    ),
    "lost": Kind(
        "answered, but not written; a lost flush is answered, but flushes nothing",
        frozenset({Direction.WRITE, Direction.FLUSH}),
        strike=misplacing.lose_flush,
        place=misplacing.lose,
    ),
    "misdirected": Kind(
        "written, but elsewhere",
        _WRITES,
        {
            "shift": Integer(
                -_BLOCKS_MAX, _BLOCKS_MAX, 1, "how many blocks off; beyond one end comes the other", zero=False
            )
        },
        place=misplacing.misdirect,
    ),
    "flip": Kind(
        "bits are flipped on the way",
        frozenset({Direction.READ, Direction.WRITE}),
        {"bits": Integer(1, 4096, 1, "how many"), "seed": _SEED},
        place=misplacing.flip_written,
        read=misplacing.flip_read,
    ),
    "stale": Kind(
        "reads see the blocks as they were when the fault was injected",
        _READS,
        read=misplacing.read_stale,
        begin=misplacing.begin_stale,
        end=misplacing.end_stale,
    ),
    "offline": Kind(
        "the unit is not ready, offline; it still says who it is",
        _ALL,
        spares_identity=True,
        strike=refusing.offline,
    ),
    VOLATILE_CACHE: Kind(
        "what was written without FUA after the last SYNCHRONIZE CACHE is lost by nodes that lose power",
        frozenset(),
        {
            "lose": Choice(("all", "random"), "all", "all of it, or each block or not as the seed tells"),
            "seed": _SEED,
        },
        begin=cache.begin_cache,
        end=cache.end_cache,
    ),
}
