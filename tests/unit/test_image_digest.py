"""The cache key: everything that goes into an image moves it, nothing else does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from images import binding, digest, packages
from images.errors import BuildError
from images.image import cache_directory, list_images, open_image
from images.packages import Package, PackageStore

LOCKED = [Package("libc6", "2.36-9", "libc6.deb", "aa"), Package("dropbear-bin", "2022.83-1", "d.deb", "bb")]


def make_tree(directory: Path) -> Path:
    (directory / "runtime").mkdir(parents=True)
    (directory / "__init__.py").write_text("")
    (directory / "runtime/main.py").write_text("one")
    return directory


def test_names_and_contents_cannot_be_mixed_up() -> None:
    assert digest.hash_parts({"ab": b"c"}) != digest.hash_parts({"a": b"bc"})
    assert digest.hash_parts({"a": b"", "b": b"x"}) == digest.hash_parts({"b": b"x", "a": b""})


@pytest.mark.parametrize(
    "other",
    [
        [Package("libc6", "2.36-10", "libc6.deb", "aa"), LOCKED[1]],
        [Package("libc6", "2.36-9", "libc6.deb", "ab"), LOCKED[1]],
        [LOCKED[0]],
    ],
    ids=["version", "content", "set"],
)
def test_another_package_is_another_base(other: list[Package]) -> None:
    assert digest.base_digest(other) != digest.base_digest(LOCKED)
    assert digest.base_digest(reversed(LOCKED)) == digest.base_digest(LOCKED)


def test_guestd_and_the_guests_files_move_the_image(tmp_path: Path) -> None:
    guest, guestd = make_tree(tmp_path / "guest"), make_tree(tmp_path / "guestd")
    before = digest.image_digest("base", guest, guestd)
    assert digest.image_digest("other", guest, guestd) != before
    (guest / "__init__.py").write_text("changed")
    assert digest.image_digest("base", guest, guestd) != before
    (guest / "__init__.py").write_text("")
    (guestd / "added.py").write_text("")
    assert digest.image_digest("base", guest, guestd) != before


def test_another_binding_is_another_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest, guestd = make_tree(tmp_path / "guest"), make_tree(tmp_path / "guestd")
    monkeypatch.setattr(binding, "content", lambda: b"one")
    before = digest.image_digest("base", guest, guestd)
    monkeypatch.setattr(binding, "content", lambda: b"two")
    assert digest.image_digest("base", guest, guestd) != before


def test_a_binding_that_is_not_installed_is_a_build_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "NAME", "nothing_of_that_name")
    with pytest.raises(BuildError, match=r"nothing_of_that_name is not installed\n.*\./run"):
        binding.content()


def test_bytecode_times_and_hidden_files_do_not(tmp_path: Path) -> None:
    guest, guestd = make_tree(tmp_path / "guest"), make_tree(tmp_path / "guestd")
    before = digest.image_digest("base", guest, guestd)
    (guestd / "__pycache__").mkdir()
    (guestd / "__pycache__/main.cpython-311.pyc").write_bytes(b"x")
    (guestd / ".main.py.swp").write_text("x")
    os.utime(guestd / "runtime/main.py", (1, 1))
    assert digest.image_digest("base", guest, guestd) == before


def test_a_lock_for_another_list_of_packages_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = PackageStore(tmp_path)
    assert store.read_lock() is None
    store.lock_path.write_text('{"requested": ["python3.11-minimal"], "packages": []}')
    assert store.read_lock() is None
    monkeypatch.setattr(packages, "REQUESTED", ("python3.11-minimal",))
    assert store.read_lock() == []
    store.lock_path.write_text('{"requested": ["pyth')
    assert store.read_lock() is None


def test_a_half_image_is_no_image(tmp_path: Path) -> None:
    home = tmp_path / "images" / "0123456789ab"
    home.mkdir(parents=True)
    (home / "manifest.json").write_text('{"digest": "0123456789abcd"}')
    assert open_image(home) is None
    assert list_images(tmp_path) == []
    for name in ("kernel", "vmlinux", "initrd.cpio", "root.erofs"):
        (home / name).write_bytes(b"12345")
    (found,) = list_images(tmp_path)
    assert (found.digest, found.size, found.root) == ("0123456789abcd", 20, home / "root.erofs")


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert cache_directory() == tmp_path / ".cache/hil"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_directory() == Path("/x/hil")
