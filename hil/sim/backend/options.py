"""The options of the world in which a scenario runs: delays and clocks drawn from the seed, no random faults."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Final

from hil.errors import UsageError
from hil.sim.options import Options, draw

PRESET: Final = "scenario"
SETTABLE: Final = (
    *("timing_factor", "delay_us_max", "late_share", "late_ms_max", "loss_share", "duplicate_share"),
    *("latency_us_max", "slow_share", "slow_ms_max"),
    *("drift_ppm_max", "late_tick_us_max", "boot_ms_max", "programs", "answer_ms_max"),
)
"""What ``@pytest.mark.simulation`` may set. Faults are the scenario's own, those of the disk the target's."""

_SHARE_MAX: Final = 1000
_DRIFT_PPM_MAX: Final = 100_000  # A19
_TIMING_FACTOR_MAX: Final = 10.0
_PROGRAMS_MAX: Final = 3
_BOOT_MS_MIN: Final = 300
_LATE_MS_MAX: Final = 250  # a datagram is not on its way for as long as a boot takes (hil.sim.world)
_MAX: Final = 10_000_000


def scenario_options(seed: int, nodes: int, asked: Mapping[str, Any] | None = None) -> Options:
    """Drawn from the seed, but for what is ``asked``. Raises :class:`UsageError`; says what is legal."""
    randomness = random.Random(f"{PRESET} {seed}")  # a text: its hash does not depend on PYTHONHASHSEED
    drawn = replace(
        draw(seed, "performance", nodes),
        preset=PRESET,
        delay_us_max=randomness.choice([100, 1000, 5000]),
        late_share=randomness.choice([0, 1, 10]),
        late_ms_max=randomness.choice([5, 20]),
        duplicate_share=randomness.choice([0, 1, 10]),
        latency_us_max=randomness.choice([500, 3000, 10_000]),
        slow_share=randomness.choice([0, 1, 10]),
        slow_ms_max=randomness.choice([5, 20]),
        drift_ppm_max=randomness.choice([0, 100, 1000]),
        late_tick_us_max=randomness.choice([100, 2000, 10_000]),
        boot_ms_max=randomness.choice([500, 1500, 3000]),
    )
    for name, value in (asked or {}).items():
        _check(name, value)
    return replace(drawn, **(asked or {}))


def _check(name: str, value: Any) -> None:
    if name not in SETTABLE:
        known = {field.name for field in fields(Options)}
        why = "is not a scenario's to set" if name in known else "does not exist"
        raise UsageError(f"simulation({name}={value!r}): that option {why}; there are: {', '.join(SETTABLE)}")
    low, high = _legal(name)
    number = type(value) is int or (type(value) is float and name == "timing_factor")
    if not number or not low <= value <= high:
        raise UsageError(f"simulation({name}={value!r}): legal are {low} to {high}")


def _legal(name: str) -> tuple[float, float]:
    if name == "timing_factor":
        return 1.0, _TIMING_FACTOR_MAX
    if name.endswith("_share"):
        return 0, _SHARE_MAX
    limits: dict[str, tuple[float, float]] = {
        "late_ms_max": (0, _LATE_MS_MAX),
        "drift_ppm_max": (0, _DRIFT_PPM_MAX),
        "programs": (0, _PROGRAMS_MAX),
        "boot_ms_max": (_BOOT_MS_MIN, _MAX),
    }
    return limits.get(name, (0, _MAX))
