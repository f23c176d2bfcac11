"""The cluster file: what a user may choose, with errors that say which key is wrong and what is legal.

A cluster file is TOML::

    name = "demo"
    nodes = 3               # 2 to 64
    memory_mib = 192        # of each node
    disk_mib = 64           # the shared disk
    keep_data = false       # keep all that is written, for `hil disk at`
    accelerator = "auto"    # auto, kvm or tcg

    [timing]                # all optional; the defaults depend on the accelerator
    heartbeat_ms = 250
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from guestd.core import config as guestd
from hil.errors import BadConfig

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,30}$"
MIB = 1024 * 1024


class Timing(BaseModel):
    """Periods and limits of ``guestd``, in milliseconds of the guest's monotonic clock.

    The timeline of a silent loss: T=0 the last datagram; T=``death_ms`` the others call the node silent and
    publish whom they hear; + ``settle_ms`` they read each other's view and decide; + one ``disk_heartbeat_ms`` at
    most, the loser reads on the disk that it is out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    heartbeat_ms: int = Field(ge=20, le=10_000, description="a datagram to everybody this often")
    disk_heartbeat_ms: int = Field(ge=50, le=20_000, description="one sector written, all regions read, this often")
    death_ms: int = Field(ge=200, le=600_000, description="silence after which a node counts as lost")
    settle_ms: int = Field(ge=50, le=120_000, description="time for all to publish whom they hear")
    subsystem_ms: int = Field(default=30_000, ge=100, le=3_600_000, description="time for a subsystem to acknowledge")

    @model_validator(mode="after")
    def _inequalities(self) -> Self:
        guestd.check_timing(guestd.Timing(**self.model_dump()))
        return self


DEFAULT_TIMING = {
    # A virtual CPU with hardware support is late by a few milliseconds.
    "kvm": Timing(heartbeat_ms=250, disk_heartbeat_ms=400, death_ms=2_000, settle_ms=500),
    # Emulated nodes that boot side by side on few cores stall each other for a second now and then.
    "tcg": Timing(heartbeat_ms=300, disk_heartbeat_ms=500, death_ms=4_000, settle_ms=700),
}


class TimingOverrides(BaseModel):
    """The ``[timing]`` table: what is left out keeps its default."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    heartbeat_ms: int | None = None
    disk_heartbeat_ms: int | None = None
    death_ms: int | None = None
    settle_ms: int | None = None
    subsystem_ms: int | None = None

    def resolved(self, accelerator: str) -> Timing:
        """The full timing on ``accelerator`` ("kvm" or "tcg"); raises :class:`pydantic.ValidationError`."""
        return Timing.model_validate(DEFAULT_TIMING[accelerator].model_dump() | self.model_dump(exclude_none=True))


class ClusterConfig(BaseModel):
    """One cluster, as asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(default="demo", pattern=NAME_PATTERN)
    nodes: int = Field(default=3, ge=2, le=64)
    memory_mib: int = Field(default=192, ge=128, le=65_536)
    disk_mib: int = Field(default=64, ge=16, le=1024 * 1024)
    keep_data: bool = False
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    timing: TimingOverrides = TimingOverrides()

    @model_validator(mode="after")
    def _timing_holds_on_every_accelerator(self) -> Self:
        for accelerator in ("kvm", "tcg") if self.accelerator == "auto" else (self.accelerator,):
            try:
                self.timing.resolved(accelerator)
            except pydantic.ValidationError as error:
                raise ValueError(
                    "; ".join("timing." + line.removeprefix("timing.") for line in _sentences(error))
                ) from None
        return self


def make_config(**values: object) -> ClusterConfig:
    """A checked configuration from keyword arguments; raises :class:`BadConfig` naming each wrong key."""
    return _validate(values, "the request")


def load_config(path: Path, **overrides: object) -> ClusterConfig:
    """Read the cluster file ``path``; ``overrides`` (from the command line) win over it.

    Raises :class:`BadConfig` when the file is missing, is no TOML, or holds a key or value that is not legal.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"cluster file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"cluster file {path} is not TOML: {error}") from None
    return _validate(values | overrides, f"cluster file {path}")


def _validate(values: dict[str, object], source: str) -> ClusterConfig:
    try:
        return ClusterConfig.model_validate(values)
    except pydantic.ValidationError as error:
        raise BadConfig("\n".join([f"{source}:", *(f"  {line}" for line in _sentences(error))])) from None


def _sentences(error: pydantic.ValidationError) -> list[str]:
    """One sentence per wrong key: the key, the value, what is wrong, what is legal."""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            model: type[BaseModel] = TimingOverrides if key.startswith("timing.") else ClusterConfig
            lines.append(f"{key}: no such key; there are: {', '.join(model.model_fields)}")
        elif item["type"] == "string_pattern_mismatch":
            lines.append(f"{key} = {item['input']!r}: a letter, then letters, digits and '-', at most 31, lower case")
        elif item["type"] == "value_error":
            lines.append((f"{key}: " if key else "") + item["msg"].removeprefix("Value error, "))
        else:
            lines.append(f"{key} = {item['input']!r}: {item['msg'].lower()}{_legal(key)}")
    return lines


def _legal(key: str) -> str:
    field = ClusterConfig.model_fields.get(key) or Timing.model_fields.get(key.removeprefix("timing."))
    if field is None:
        return ""
    bounds = {type(rule).__name__: rule for rule in field.metadata}
    low, high = bounds.get("Ge"), bounds.get("Le")
    if low is None or high is None:
        return ""
    return f" (legal: {low.ge} to {high.le})"
