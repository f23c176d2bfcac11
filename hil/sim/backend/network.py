"""The interconnect of a simulated cluster whose datagrams are captured, as a bench captures those of guests."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

from hil.evidence import pcap
from hil.sim.network import Network

if TYPE_CHECKING:
    from hil.sim.options import Options
    from hil.sim.queue import Queue
    from hil.sim.trace import Trace


class CapturedNetwork(Network):
    """Each datagram is written when it is sent, whether it arrives or not."""

    def __init__(self, queue: Queue, randomness: random.Random, options: Options, trace: Trace, file: Path) -> None:
        """``file`` is made."""
        super().__init__(queue, randomness, options, trace)
        self._clock = queue
        self._file = open(file, "wb")  # noqa: SIM115 - lives as long as the cluster
        self._file.write(pcap.header())

    def send(self, sender: int, payload: bytes, only: int = -1) -> None:
        """To all others."""
        self._keep(sender, None, payload)
        super().send(sender, payload, only)

    def tell(self, sender: int, receiver: int, payload: bytes) -> None:
        """To one node."""
        self._keep(sender, receiver, payload)
        super().tell(sender, receiver, payload)

    def close(self) -> None:
        """The capture is complete."""
        self._file.close()

    def _keep(self, sender: int, receiver: int | None, payload: bytes) -> None:
        if not self._file.closed:
            self._file.write(pcap.record(self._clock.now_us * 1000, pcap.datagram(sender, receiver, payload)))
