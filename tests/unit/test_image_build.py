"""Failures of a build: what a person reads, and what stays behind. Nothing here touches the network."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

import images
from images import builder, commands, selection
from images.errors import BuildError, from_os_error


def test_a_failed_command_is_named_with_its_last_lines_and_a_remedy() -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do echo line $i; done; exit 3"
    with pytest.raises(BuildError) as failed:
        commands.run("root", ["sh", "-c", script], remedy="try again")
    text = str(failed.value)
    assert "root: sh failed" in text
    assert "line 8" in text
    assert "line 2" not in text
    assert text.endswith("try again")


def test_a_missing_program_says_which_package_to_install() -> None:
    with pytest.raises(BuildError, match=r"mkfs\.nothing is not installed\n.*apt-get install nothing-utils"):
        commands.find_tool("mkfs.nothing", "nothing-utils", "root")


def test_a_full_disk_is_told_from_a_forbidden_one() -> None:
    full = from_os_error("unpack", OSError(errno.ENOSPC, "No space left on device", "/x/y"))
    assert "/x/y" in full.detail
    assert "free 500 MB" in full.remedy
    assert "writable" in from_os_error("unpack", PermissionError(errno.EACCES, "Permission denied", "/x")).remedy
    told = commands.failure("root", ["mkfs.erofs"], "erofs: No space left on device", "try again")
    assert "free 500 MB" in told.remedy


def test_an_unusable_cache_is_a_build_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "guestd").mkdir()
    with pytest.raises(BuildError, match="Not a directory"):
        images.build(cache=tmp_path / "file" / "cache", guestd=tmp_path / "guestd")


def test_a_directory_that_was_not_finished_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "images" / "abc"

    def break_off() -> None:
        with builder.replacing(target) as directory:
            (directory / "half").write_text("")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert list(target.parent.iterdir()) == []
    for text in ("first", "second"):
        with builder.replacing(target) as directory:
            (directory / "file").write_text(text)
        assert (target / "file").read_text() == text
    assert [path.name for path in target.parent.iterdir()] == ["abc"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("./lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("./sbin/ip", "usr/sbin/ip"),
        ("./usr/bin/python3.11", "usr/bin/python3.11"),
        ("./etc/iproute2/group", "etc/iproute2/group"),
        ("./", ""),
    ],
)
def test_the_root_has_a_merged_usr(name: str, path: str) -> None:
    assert selection.merged_path(name) == path


def test_the_selection_takes_what_runs_and_drops_what_is_read() -> None:
    python = "usr/lib/python3.11"
    for wanted in (
        f"{python}/tomllib/__init__.py",
        f"{python}/unittest/case.py",
        f"{python}/timeit.py",
        "usr/bin/sg_raw",
    ):
        assert selection.is_wanted(wanted), wanted
    for dropped in (f"{python}/test/support.py", f"{python}/ssl.py", f"{python}/this.py", "usr/share/doc/x", "boot/x"):
        assert not selection.is_wanted(dropped), dropped
    extension = f"{python}/lib-dynload/{{}}.cpython-311-x86_64-linux-gnu.so"
    assert selection.is_wanted(extension.format("_asyncio"))
    assert not selection.is_wanted(extension.format("_hashlib"))
