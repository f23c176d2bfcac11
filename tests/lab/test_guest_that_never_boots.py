"""A guest that cannot boot ends the wait with its console, not with a timeout alone."""

import os
import shutil
from pathlib import Path

import pytest

import images
from hil import Cluster
from hil.bench.launch import launch
from hil.bench.start import timing_settings
from hil.config import make_config
from hil.errors import HilError
from hil.machine import accelerator

pytestmark = pytest.mark.lab


def test_a_root_that_is_no_file_system_is_seen_on_the_console_of_the_failed_wait(tmp_path: Path) -> None:
    image = images.ensure()
    broken = tmp_path / "broken"
    shutil.copytree(image.path, broken)
    (broken / "root.erofs").write_bytes(b"no file system" * 1000)
    config = make_config(name=f"t-broken-{os.getpid()}", nodes=2)
    kind = accelerator(image).kind
    launch(config, {"accelerator": kind, "why": "test", "image": str(broken), **timing_settings(config, kind)})
    cluster = Cluster.connect(config.name)
    try:
        with pytest.raises(HilError) as failure:
            cluster.wait_joined(timeout=120)
        assert "root" in str(failure.value)
        assert "/dev/vda" in str(failure.value)
    finally:
        cluster.down()


def test_a_bench_that_cannot_set_up_says_why(tmp_path: Path) -> None:
    config = make_config(name=f"t-noimage-{os.getpid()}", nodes=2)
    launch(
        config,
        {"accelerator": "tcg", "why": "test", "image": str(tmp_path / "nowhere"), **timing_settings(config, "tcg")},
    )
    with (
        Cluster.connect(config.name) as cluster,
        pytest.raises(HilError, match=r"the bench is ending: .*No such file.*nowhere/initrd\.cpio"),
    ):
        cluster.wait_joined(timeout=60)
