"""Bundles: the same run makes the same bytes, and what comes from outside is looked at before it is believed."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from hil.cli import main
from hil.errors import UsageError
from hil.evidence import bundle, layout
from tests.unit.sim_cluster import started


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def run(home: Path) -> Path:
    """A simulated one: its files are those of guests."""
    with started(3, keep_data=True, disk_mib=16) as cluster:
        cluster.power_cycle([cluster.nodes[2]])
        cluster.wait_joined()
    for name in layout.SECRET:
        (cluster.run_dir / name).write_text("secret")
    (cluster.run_dir / "notes.txt").write_text("of somebody")
    return cluster.run_dir


def made(run: Path, target: Path) -> bytes:
    assert bundle.pack(run, target) == []
    return target.read_bytes()


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_what_is_unpacked_is_what_was_there_without_keys_and_what_is_not_the_runs(run: Path, tmp_path: Path) -> None:
    made(run, tmp_path / "a.tar.zst")
    with bundle.unpacked(tmp_path / "a.tar.zst") as directory:
        found = content(directory)
        disk = os.stat(directory / layout.DISK)
    assert found == {name: data for name, data in content(run).items() if layout.is_evidence(name)}
    assert {layout.MANIFEST, layout.EVENTS, layout.LEDGER, layout.DISK, "console-n2.log"} <= set(found)
    assert not {*layout.SECRET, "notes.txt"} & set(found)
    assert disk.st_blocks * 512 < disk.st_size / 2  # its holes are holes
    assert not directory.exists()


def test_the_same_run_makes_the_same_bytes_wherever_and_whenever(run: Path, tmp_path: Path) -> None:
    first = made(run, tmp_path / "a.tar.zst")
    copy = tmp_path / "elsewhere" / run.parent.name / run.name
    shutil.copytree(run, copy)
    for path in copy.iterdir():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    assert made(copy, tmp_path / "b.tar.zst") == first
    (copy / layout.EVENTS).write_bytes((copy / layout.EVENTS).read_bytes() + b"\n")
    assert made(copy, tmp_path / "b.tar.zst") != first


def test_tar_itself_reads_it(run: Path, tmp_path: Path) -> None:
    data = zstandard.ZstdDecompressor().stream_reader(made(run, tmp_path / "a.tar.zst")).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        names = archive.getnames()
    top = f"{run.parent.name}-{run.name}"
    assert names[0] == f"{top}/{layout.MANIFEST}"
    assert all(name.startswith(f"{top}/") for name in names)


def test_a_disk_that_is_too_large_is_left_out_and_that_is_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "DISK_BYTES_MAX", 1 << 20)
    told = bundle.pack(run, tmp_path / "a.tar.zst")
    assert [line.partition(":")[0] for line in told] == [layout.DISK, layout.base(0)]
    with bundle.unpacked(tmp_path / "a.tar.zst") as directory:
        assert not (directory / layout.DISK).exists()
        assert (directory / layout.LEDGER).exists()


def test_a_link_in_the_folder_is_not_followed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("not of this run")
    (run / layout.BENCH_LOG).unlink(missing_ok=True)
    (run / layout.BENCH_LOG).symlink_to(tmp_path / "other")
    assert bundle.pack(run, tmp_path / "a.tar.zst") == [f"{layout.BENCH_LOG}: no plain file"]


def test_what_is_no_run_makes_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"has no manifest\.json: not the folder of a run"):
        bundle.pack(tmp_path / "empty", tmp_path / "a.tar.zst")
    assert not (tmp_path / "a.tar.zst").exists()


def test_a_target_that_cannot_be_written_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        bundle.pack(run, tmp_path / "nowhere" / "a.tar.zst")


# -- what comes from outside


def member(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    about = tarfile.TarInfo(name)
    about.size = len(data)
    for key, value in fields.items():
        setattr(about, key, value)
    return about, data


def archive(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as made:
        for about, data in members:
            made.addfile(about, io.BytesIO(data))
    return file.getvalue()


def compressed(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


MANIFEST = member(f"run/{layout.MANIFEST}", b"{}")
GOOD = archive(MANIFEST, member(f"run/{layout.EVENTS}", b"x" * 1000))
PAX = member("run/" + "e" * 200)

BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is no bundle"),
    "no zstd": (b"PK\3\4" * 100, "is no bundle"),
    "no tar": (compressed(b"not a tar archive" * 100), "is no tar archive"),
    "too short for a header": (compressed(b"x" * 100), "it is cut short"),
    "cut off": (compressed(GOOD)[:-20], "it is cut short"),
    "cut off inside": (compressed(GOOD[:1536]), "it is cut short"),
    "without its end": (compressed(GOOD[:2560]), "it is cut short"),
    "changed": (compressed(GOOD)[:-1] + b"\0", "is no bundle"),
    "an absolute name": (compressed(archive(MANIFEST, member("/etc/passwd"))), "no file of a run's folder"),
    "a way out": (compressed(archive(MANIFEST, member(f"run/../../{layout.EVENTS}"))), "no file of a run's folder"),
    "a way out at once": (compressed(archive(MANIFEST, member(f"../{layout.EVENTS}"))), "in another directory"),
    "no directory": (compressed(archive(member(layout.MANIFEST))), "no file of a run's folder"),
    "a key": (compressed(archive(MANIFEST, member(f"run/{layout.KEY}"))), "no file of a run's folder"),
    "a link": (
        compressed(archive(MANIFEST, member(f"run/{layout.EVENTS}", type=tarfile.SYMTYPE, linkname="/etc/passwd"))),
        "no file of a run's folder",
    ),
    "a device": (
        compressed(archive(MANIFEST, member(f"run/{layout.DISK}", type=tarfile.CHRTYPE, devmajor=1))),
        "no file of a run's folder",
    ),
    "a sparse file": (
        compressed(archive(MANIFEST, member(f"run/{layout.DISK}", type=tarfile.GNUTYPE_SPARSE))),
        "no file of a run's folder",
    ),
    "an extended header": (compressed(archive(MANIFEST, PAX, form=tarfile.PAX_FORMAT)), "no file of a run's folder"),
    "a name twice": (compressed(archive(MANIFEST, MANIFEST)), "is there twice"),
    "two directories": (compressed(archive(MANIFEST, member(f"other/{layout.EVENTS}"))), "in another directory"),
    "no manifest": (compressed(archive(member(f"run/{layout.EVENTS}"))), "there is no manifest.json in it"),
    "nothing in it": (compressed(archive()), "there is no manifest.json in it"),
    "something behind its end": (compressed(GOOD + b"x" * 20_000), "something comes after its end"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_bundle_is_refused_and_nothing_of_it_stays(tmp_path: Path, what: str) -> None:
    data, told = BAD[what]
    (tmp_path / "bad.tar.zst").write_bytes(data)
    with pytest.raises(UsageError, match=told), bundle.unpacked(tmp_path / "bad.tar.zst"):
        pass
    assert list((tmp_path / "cache/hil").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar.zst", "cache"]


def test_a_good_one_of_the_same_make_is_taken(tmp_path: Path) -> None:
    (tmp_path / "good.tar.zst").write_bytes(compressed(GOOD))
    with bundle.unpacked(tmp_path / "good.tar.zst") as directory:
        assert content(directory) == {layout.MANIFEST: b"{}", layout.EVENTS: b"x" * 1000}


def lying(size: int) -> bytes:
    about, _ = member(f"run/{layout.DISK}")
    about.size = size
    return about.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: compressed(GOOD[:2560] + lying(7 << 30)), id="a size that is only told"),
        pytest.param(lambda: compressed(GOOD[:2560] + lying(3 << 20) + bytes(3 << 20)), id="a size that is there"),
    ],
)
def test_what_would_be_too_large_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Callable[[], bytes]
) -> None:
    monkeypatch.setattr(bundle, "UNPACKED_BYTES_MAX", 2 << 20)
    (tmp_path / "bomb.tar.zst").write_bytes(data())
    with pytest.raises(UsageError, match="unpacked it has more than 2 MiB"):
        bundle.unpack(tmp_path / "bomb.tar.zst", tmp_path)
    assert not (tmp_path / layout.DISK).exists()


def test_a_window_that_would_take_all_memory_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30)
    with open(tmp_path / "a.tar.zst", "wb") as file:
        compressor = zstandard.ZstdCompressor(compression_params=parameters)
        with compressor.stream_writer(file, closefd=False) as stream:
            stream.write(GOOD)
    with pytest.raises(UsageError, match="is no bundle"):
        bundle.unpack(tmp_path / "a.tar.zst", tmp_path)


# -- as it is typed


def test_a_bundle_is_made_of_the_newest_run_and_rechecked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(["bundle"]) == 0
    name = f"{run.parent.name}-{run.name}.tar.zst"
    assert f"`hil replay {name}` has it happen again" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "state")  # as on another machine
    assert main.main(["recheck", name]) == 0
    assert capsys.readouterr().out.startswith(f"{name}: ")


@pytest.mark.parametrize("verb", ["recheck", "replay"])
def test_a_damaged_bundle_and_a_file_that_is_none_are_usage(
    home: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    (home / "bad.tar.zst").write_bytes(b"bad")
    (home / "some.txt").write_text("text")
    assert main.main([verb, str(home / "bad.tar.zst")]) == 2
    assert "bad.tar.zst is no bundle" in capsys.readouterr().err
    assert main.main([verb, str(home / "some.txt")]) == 2
    assert "legal are a run's directory, a cluster's name, a bundle (*.tar.zst)" in capsys.readouterr().err


def test_a_bundle_is_called_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["bundle", str(run), "-o", "run.zip"]) == 2
    assert "a bundle is called *.tar.zst" in capsys.readouterr().err
