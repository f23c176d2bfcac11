"""Checkpoints as files: what is whole, what is not, and what is of no use here. (With machines: tests/lab.)"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hil import checkpoint
from hil.cli.main import main
from hil.config import make_config
from hil.errors import UnknownCheckpoint, UsageError
from hil.evidence import layout

IMAGE = "ab" * 32
EVENTS = [
    {"n": 1, "t": 0.0, "kind": "bench-started", "cluster": "old", "run_dir": "/gone", "nodes": 2},
    {"n": 2, "t": 3.5, "kind": "state", "node": 0, "state": "joined"},
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return checkpoint.directory()


def save(name: str = "joined", **other: Any) -> Path:
    path = checkpoint.place(name)
    path.mkdir(parents=True)
    contents = {
        "n0.memory": b"memory",
        layout.DISK: b"disk" * 1000,
        checkpoint.TARGET: b"{}",
        layout.EVENTS: "".join(json.dumps(event) + "\n" for event in EVENTS).encode(),
        "seed.json": b"{}",
    }
    for file, content in contents.items():
        (path / file).write_bytes(content)
    manifest = {
        "config": make_config(name="old", nodes=2).model_dump(),
        "accelerator": "tcg",
        "image": IMAGE,
        "versions": "qemu 1",
        "cluster_id": "00" * 16,
        "created": checkpoint.now(),
        "epoch": 4,
        "master": 0,
        "members": [0],
        "lines": {"0": {"expected": 3, "pending": "", "orders_sent": 1}},
    }
    checkpoint.describe(path, manifest | other, contents)
    return path


def test_what_was_saved_can_be_loaded(tmp_path: Path) -> None:
    found = checkpoint.load(save())
    assert (found.name, found.on, found.manifest.epoch) == ("joined", [0], 4)
    assert found.config("new") == make_config(name="new", nodes=2)
    events = found.history("new", tmp_path)
    assert events[0] == EVENTS[0] | {"cluster": "new", "run_dir": str(tmp_path)}
    assert events[1] == EVENTS[1]

    run_dir = tmp_path / "run"
    run_dir.mkdir()
    found.copy_files(run_dir)
    assert sorted(path.name for path in run_dir.iterdir()) == [layout.DISK, "seed.json"]


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a/b", "..", "x" * 32])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="a name is a lower-case letter"):
        checkpoint.place(name)


def test_every_byte_counts(home: Path) -> None:
    path = save()
    with open(path / layout.DISK, "r+b") as disk:
        disk.write(b"D")
    assert checkpoint.load(path, verify=False).name == "joined"  # by the look of it
    with pytest.raises(UsageError, match=r"checkpoint joined is damaged: disk\.raw changed; `hil checkpoint remove"):
        checkpoint.load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"version": 1}'])
def test_a_manifest_that_is_none_is_refused(text: str) -> None:
    path = save()
    (path / checkpoint.MANIFEST).write_text(text)
    with pytest.raises(UsageError, match="is damaged or was never completed"):
        checkpoint.load(path)


def test_another_version_is_refused() -> None:
    path = save()
    told = json.loads((path / checkpoint.MANIFEST).read_text())
    (path / checkpoint.MANIFEST).write_text(json.dumps(told | {"version": 2}))
    with pytest.raises(UsageError, match="is of version 2, not 1: save it anew"):
        checkpoint.load(path)


def test_it_is_of_use_only_with_its_image_and_its_qemu() -> None:
    found = checkpoint.load(save())
    assert found.why_of_no_use(IMAGE) is None
    assert found.why_of_no_use(IMAGE, "qemu 1") is None
    assert "was saved with image abababababab, and this checkout's is cdcdcdcdcdcd" in str(
        found.why_of_no_use("cd" * 32)
    )
    assert "another QEMU or libvirt" in str(found.why_of_no_use(IMAGE, "qemu 2"))


def test_the_verbs_list_and_remove(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", "list"]) == 0
    assert "no checkpoint; `hil checkpoint save NAME` makes one" in capsys.readouterr().err
    save("one")
    (save("two") / checkpoint.MANIFEST).unlink()
    assert main(["checkpoint", "list"]) == 0
    told = capsys.readouterr()
    assert told.out.split()[0] == "one"
    assert "cluster old, 2 nodes, epoch 4, image abababababab" in told.out
    assert "two is damaged or was never completed; `hil checkpoint remove two`" in told.err
    assert main(["checkpoint", "list", "--json"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["name"], row["cluster"], row["nodes"], row["on"], row["epoch"]) == ("one", "old", 2, [0], 4)
    for name in ("one", "two"):
        assert main(["checkpoint", "remove", name]) == 0
    assert main(["checkpoint", "remove", "one"]) == 2
    assert "no checkpoint 'one'; there are: none" in capsys.readouterr().err


def test_an_unknown_one_lists_those_that_exist() -> None:
    save("one")
    with pytest.raises(UnknownCheckpoint, match="no checkpoint 'two'; there are: one"):
        checkpoint.load(checkpoint.place("two"))
