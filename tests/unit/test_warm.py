"""Saved machines in the cache: whole ones are found, others are thrown away."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hil import warm
from hil.cli.main import main
from hil.qemu.domain import MachineSpec

MEMORY = b"memory" * 1000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hil" / "warm"


def spec() -> MachineSpec:
    files = {name: Path("/there") / name for name in ("kernel", "initrd", "root", "console", "channel")}
    return MachineSpec("t", 0, "tcg", memory_mib=128, portal_port=3260, initiator="i", target="t", luns=1, **files)


def save(name: str = "aa", image: str = "image", content: bytes = MEMORY) -> None:
    with warm.saving(name, 1, image) as path:
        path.write_bytes(content)


def test_what_was_saved_is_found() -> None:
    assert warm.find("aa") is None
    save()
    found = warm.find("aa")
    assert found is not None
    assert found.read_bytes() == MEMORY
    [entry] = warm.entries()
    assert (entry.node, entry.image, entry.size) == (1, "image", len(MEMORY))


def cut(path: Path) -> None:
    os.truncate(path / warm.MEMORY, len(MEMORY) - 1)


def change(path: Path) -> None:
    with open(path / warm.MEMORY, "r+b") as file:
        file.seek(100)
        file.write(b"!")


def garble(path: Path) -> None:
    (path / warm.ENTRY).write_text("{")


def unsaid(path: Path) -> None:
    (path / warm.ENTRY).write_text("[]")


def without_memory(path: Path) -> None:
    (path / warm.MEMORY).unlink()


@pytest.mark.parametrize("damage", [cut, change, garble, unsaid, without_memory])
def test_a_damaged_entry_is_thrown_away_and_can_be_made_anew(cache: Path, damage: Callable[[Path], None]) -> None:
    save()
    damage(cache / "aa")
    assert warm.find("aa") is None
    assert not (cache / "aa").exists()
    save()
    assert warm.find("aa") is not None


def test_an_entry_under_another_name_is_foreign(cache: Path) -> None:
    save()
    (cache / "aa").rename(cache / "bb")
    assert warm.find("bb") is None


def test_what_could_not_be_saved_leaves_nothing(cache: Path) -> None:
    def save_in_vain() -> None:
        with warm.saving("aa", 0, "image") as path:
            path.write_bytes(MEMORY)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        save_in_vain()
    assert list(cache.iterdir()) == []


def test_of_two_that_save_the_same_node_one_is_kept() -> None:
    save()
    save(content=b"later")
    found = warm.find("aa")
    assert found is not None
    assert found.read_bytes() == MEMORY


def test_what_nobody_uses_and_what_has_no_image_is_removed(cache: Path) -> None:
    for name in ("aa", "bb", "cc"):
        save(name, image=name)
    os.utime(cache / "aa" / warm.ENTRY, (0, 0))
    assert [entry.image for entry in warm.prune()] == ["aa"]
    assert [entry.image for entry in warm.prune({"bb"})] == ["cc"]
    assert [entry.image for entry in warm.entries()] == ["bb"]


def test_of_many_images_the_last_ones_used_keep_their_machines(cache: Path) -> None:
    for age, name in enumerate(["a1", "a2", "a3", "a4", "a5"]):
        save(name, image=name)
        os.utime(cache / name / warm.ENTRY, (time.time() - 600 + 60 * age,) * 2)
    assert [entry.image for entry in warm.entries()] == ["a2", "a3", "a4", "a5"]  # a1 went when a5 was saved
    assert warm.find("a2") is not None
    assert [entry.image for entry in warm.prune()] == ["a3"]
    assert [entry.image for entry in warm.entries()] == ["a2", "a4", "a5"]


def test_the_use_of_an_entry_is_noted(cache: Path) -> None:
    save()
    os.utime(cache / "aa" / warm.ENTRY, (0, 0))
    assert warm.find("aa") is not None
    assert warm.entries()[0].used > time.time() - 60


def test_half_an_entry_of_a_bench_that_was_killed_goes_after_a_while(cache: Path) -> None:
    save()
    for name, age_s in ((".new-old", 7200), (".new-now", 0)):
        (cache / name).mkdir()
        os.utime(cache / name, (time.time() - age_s,) * 2)
    warm.prune()
    assert sorted(path.name for path in cache.iterdir()) == [".new-now", "aa"]


def test_image_list_shows_what_is_saved_and_prunes_what_has_no_image(capsys: pytest.CaptureFixture[str]) -> None:
    save("aa", image="ab" * 32)
    assert main(["image", "list", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["digest"], row["path"], [one["node"] for one in row["saved"]]) == ("ab" * 32, None, [1])
    assert row["saved"][0]["size"] == len(MEMORY)
    assert main(["image", "list"]) == 0
    assert "abababababab  the image is gone; 1 saved machines, 0 MB" in capsys.readouterr().out
    assert main(["image", "list", "--prune"]) == 0
    assert "removed 1 saved machines" in capsys.readouterr().err
    assert warm.entries() == []


def test_the_name_depends_on_the_machine_and_not_on_whose_it_is() -> None:
    one = warm.key(spec(), "image", 64, "qemu 1")
    assert one == warm.key(replace(spec(), cluster="u", console=Path("/c"), initrd=Path("/i")), "image", 64, "qemu 1")
    others = [
        warm.key(replace(spec(), memory_mib=256), "image", 64, "qemu 1"),
        warm.key(replace(spec(), node=1), "image", 64, "qemu 1"),
        warm.key(spec(), "another", 64, "qemu 1"),
        warm.key(spec(), "image", 65, "qemu 1"),
        warm.key(spec(), "image", 64, "qemu 2"),
    ]
    assert len({one, *others}) == 6
