"""Coverage-guided cases: libFuzzer makes up the bytes that the choices are taken from, and keeps what reaches new code.

``python -m tests.fuzz.guided -runs=1000`` runs that many cases, ``python -m tests.fuzz.guided FILE`` repeats one that
failed. All options are libFuzzer's. Needs the optional packages of ``./run nightly``.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Final

import atheris

from tests.fuzz.choices import Choices

with atheris.instrument_imports(include=["hil.scsi"], enable_loader_override=False):
    from tests.fuzz.campaign import play
    from tests.fuzz.virtual_loop import VirtualLoop
    from tests.fuzz.world import Place

_PDUS_MAX: Final = 400  # of one case: more than its bytes last for
_CASE_BYTES_MAX: Final = 4096
_FIRST_CASES: Final = 32  # random ones to begin with: from nothing it would take long to get past a login
_RUN_S_MAX: Final = 120  # of one case, as a last resort: a step has a limit of its own


class Guided(Choices):
    """Choices until the bytes are used up."""

    def __init__(self, data: bytes) -> None:
        self._data: Any = atheris.FuzzedDataProvider(data)

    def below(self, limit: int) -> int:
        found: int = self._data.ConsumeIntInRange(0, limit - 1)
        return found

    def octets(self, count: int) -> bytes:
        found: bytes = self._data.ConsumeBytes(count)
        return found.ljust(count, b"\0")

    @property
    def exhausted(self) -> bool:
        return not self._data.remaining_bytes()


def main() -> None:
    """Does not return."""
    stack = ExitStack()  # closed by the end of the process
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    loop, place = VirtualLoop(), Place.within(directory)
    corpus = directory / "corpus"
    corpus.mkdir()
    for seed in range(_FIRST_CASES):
        (corpus / str(seed)).write_bytes(Random(seed).randbytes(_CASE_BYTES_MAX // 2))
    given = sys.argv[1:]
    options = [f"-max_len={_CASE_BYTES_MAX}", "-len_control=0", f"-timeout={_RUN_S_MAX}"]
    options.append(f"-artifact_prefix={tempfile.gettempdir()}/hil-fuzz-")  # where the bytes of a failure are kept
    if not any(not argument.startswith("-") for argument in given):
        given = [*given, str(corpus)]
    atheris.Setup([sys.argv[0], *options, *given], lambda data: _one(loop, place, data))
    atheris.Fuzz()


def _one(loop: VirtualLoop, place: Place, data: bytes) -> None:
    play(loop, place, Guided(data), _PDUS_MAX)


if __name__ == "__main__":
    main()
