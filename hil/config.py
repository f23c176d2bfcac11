"""The cluster file: what a user may choose, with errors that say which key is wrong and what is legal.

A cluster file is TOML::

    name = "demo"
    nodes = 3               # 2 to 64
    memory_mib = 192        # of each node
    disk_mib = 64           # the shared disk
    shared_mib = 43         # of it, for /shared; 0: no shared file system; left out: three quarters of what is free
    data_disks = 0          # more LUNs of that size beside it, 0 to 7
    keep_data = false       # keep all that is written, for `hil disk at`
    capture = false         # capture the interconnect, for tcpdump and Wireshark
    fence = "scsi"          # scsi: the disk refuses who was forced out; panic: it has to end by itself
    election = "paxos"      # how an epoch gets its owner: paxos or dekker
    accelerator = "auto"    # auto, kvm or tcg

    [timing]                # all optional; the defaults depend on the machine
    heartbeat_ms = 100
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, Self

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator

from guestd.core.config import DATA_DISKS_MAX, check_election
from guestd.core.timing import Timing, check_timing, scaled
from hil.bench.volumes import shared_size
from hil.errors import BadConfig

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,30}$"
MIB = 1024 * 1024
TIMES = Timing.value_fields
FACTORS = tuple(tenths / 10 for tenths in range(10, 101))
"""By which the default times may be multiplied."""


class TimingOverrides(BaseModel):
    """The ``[timing]`` table: periods and limits of ``guestd``, in milliseconds of the guest's monotonic clock.

    What is given is taken as it is; what is left out is the default times the factor of the machine (`hil.timing`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    heartbeat_ms: int | None = Field(default=None, ge=20, le=10_000)
    disk_heartbeat_ms: int | None = Field(default=None, ge=50, le=20_000)
    death_ms: int | None = Field(default=None, ge=200, le=600_000)
    settle_ms: int | None = Field(default=None, ge=50, le=120_000)
    subsystem_ms: int | None = Field(default=None, ge=200, le=3_600_000)

    @model_validator(mode="after")
    def _hold_on_some_machine(self) -> Self:
        """What contradicts itself everywhere is refused at once; what depends on the factor, when it is known."""
        try:
            self.resolved(FACTORS[0])
        except ValueError as refusal:
            if not any(self._hold(factor) for factor in FACTORS):
                raise refusal from None
        return self

    def _hold(self, factor: float) -> bool:
        try:
            self.resolved(factor)
        except ValueError:
            return False
        return True

    def resolved(self, factor: float) -> dict[str, int]:
        """All times of a cluster where the defaults are multiplied by ``factor``.

        Raises ``ValueError``, naming the inequality, if they contradict each other.
        """
        defaults = scaled(Timing(), factor)
        timing = Timing(**{name: getattr(defaults, name) for name in TIMES} | self.model_dump(exclude_none=True))
        check_timing(timing)
        return {name: getattr(timing, name) for name in TIMES}


class ClusterConfig(BaseModel):
    """One cluster, as asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(default="demo", pattern=NAME_PATTERN)
    nodes: int = Field(default=3, ge=2, le=64)
    memory_mib: int = Field(default=192, ge=128, le=65_536)
    disk_mib: int = Field(default=64, ge=16, le=1024 * 1024)
    shared_mib: int | None = Field(default=None, ge=0)
    data_disks: int = Field(default=0, ge=0, le=DATA_DISKS_MAX)
    keep_data: bool = False
    capture: bool = False
    fence: Literal["scsi", "panic"] = "scsi"
    election: Literal["paxos", "dekker"] = "paxos"
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    timing: TimingOverrides = TimingOverrides()

    @model_validator(mode="after")
    def _contest_has_its_fence(self) -> Self:
        check_election(self.election, self.fence)
        return self

    @model_validator(mode="after")
    def _shared_file_system_has_room(self) -> Self:
        shared_size(self.disk_mib, self.nodes, self.shared_mib)
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
            told = item["msg"].removeprefix("Value error, ")
            lines.append(told if not key or told.startswith(f"{key}.") else f"{key}: {told}")
        else:
            lines.append(f"{key} = {item['input']!r}: {item['msg'].lower()}{_legal(key)}")
    return lines


def _legal(key: str) -> str:
    field = ClusterConfig.model_fields.get(key) or TimingOverrides.model_fields.get(key.removeprefix("timing."))
    if field is None:
        return ""
    bounds = {type(rule).__name__: rule for rule in field.metadata}
    low, high = bounds.get("Ge"), bounds.get("Le")
    if low is None or high is None:
        return ""
    return f" (legal: {low.ge} to {high.le})"
