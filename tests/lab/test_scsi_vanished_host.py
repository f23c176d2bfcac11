"""A TCP peer that is gone without a word: no FIN, no RST, only silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hil.host import search_path
from tests.unit.scsi_process import TREE


def test_a_host_that_vanished_is_noticed_and_one_that_is_only_silent_is_not(tmp_path: Path) -> None:
    namespaces = ["unshare", "--net", *([] if os.getuid() == 0 else ["--user", "--map-root-user"])]
    ended = subprocess.run(
        [*namespaces, "--", sys.executable, "-m", "tests.lab.vanished_host", str(tmp_path)],
        cwd=TREE,
        env=os.environ | {"PATH": search_path()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
