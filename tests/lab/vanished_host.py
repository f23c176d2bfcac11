"""Run in a network namespace of its own: an initiator's host vanishes without a word, in the middle of a write.

``python -m tests.lab.vanished_host DIRECTORY``; exit status 0 when the target behaved.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from hil.scsi.iscsi import pdu as p
from hil.scsi.ledger import read_ledger
from hil.scsi.sense import Status
from tests.unit.scsi_initiator import write_10
from tests.unit.scsi_process import running
from tests.unit.test_scsi_command_line import Client

PATIENCE_S = 4
SILENCE = "table inet silence { chain input { type filter hook input priority 0; drop; }; }"


def main(directory: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    ledger = directory / "ledger.bin"
    arguments = (f"--lun={directory}/disk.raw:1M", f"--ledger={ledger}", "--listen=127.0.0.1:0")
    with running(*arguments, f"--patience={PATIENCE_S}") as target:
        with Client(target.addresses[0]) as client:
            client.log_in("iqn.test:a")
            client.command(b"\0")
            asked, _ = client.command(write_10(0, 1), edtl=512, flags=p.FINAL | p.WRITE)
            assert isinstance(asked, p.R2T)
            # It is silent now, its host answers the questions of the kernel: for longer than the patience.
            time.sleep(PATIENCE_S + 2)
            assert not aborted(ledger)
            subprocess.run(["nft", SILENCE], check=True)
            since = time.monotonic()
            while not aborted(ledger):
                assert time.monotonic() < since + 5 * PATIENCE_S, "the target has not noticed"
                time.sleep(0.1)
            subprocess.run(["nft", "delete table inet silence"], check=True)
        with Client(target.addresses[0]) as again:
            assert again.log_in("iqn.test:a") == 0
            _, sense = again.command(b"\0")
            assert (sense[14], sense[15]) == (0x29, 0x07)  # I_T NEXUS LOSS OCCURRED
        status, said = target.end()
        assert (status, said) == (0, "")


def aborted(ledger: Path) -> bool:
    return any(entry.status == Status.TASK_ABORTED for entry in read_ledger(ledger))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
