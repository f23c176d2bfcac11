"""The shared file system mounted for real, on one node and a disk in memory: what programs do to it, and what is left.

Each test unmounts at its end; then the image has to be sound, and no request may have met a fault of the software.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.mount_world import LIMIT_S, MountWorld, line, missing
from tests.unit.sfs_node import check_image, make_image
from tests.unit.test_mount import COUNTER, HOLD, TRY, let_go

pytestmark = pytest.mark.skipif(missing() is not None, reason=missing() or "")

BLOCKS = 24 << 8  # 24 MiB


class Shared(MountWorld):
    """A new file system on an image, mounted."""

    def __init__(self, directory: Path, blocks: int = BLOCKS) -> None:
        self.image = directory / "image"
        self.blocks = blocks
        if not self.image.exists():
            make_image(self.image, blocks)
        super().__init__(directory / "shared", server="tests.unit.sfs_mount_server", options=(str(self.image),))

    def finish(self) -> None:
        """Unmount; the image is sound."""
        self.unmount()
        report = check_image(self.image)
        assert (report.wrong, report.notes) == ([], [])

    def again(self) -> Shared:
        """What is on the image, mounted anew."""
        self.finish()
        self.end()
        return Shared(self.image.parent, self.blocks)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    made = Shared(tmp_path)
    yield made
    made.end()


def test_a_tree_that_tar_has_unpacked_is_the_same_tree_also_after_a_remount(shared: Shared, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "deeper").mkdir(parents=True)
    for index in range(40):
        (source / "deep" / f"file{index}").write_bytes(os.urandom(index * 997))
    (source / "deep" / "deeper" / "run").write_text("#!/bin/sh\necho ran\n")
    (source / "deep" / "deeper" / "run").chmod(0o750)
    (source / "link").symlink_to("deep/file3")
    os.link(source / "deep" / "file4", source / "hard")
    os.mkfifo(source / "fifo")
    os.utime(source / "deep" / "file5", ns=(1_000_000_001, 2_000_000_002))

    def described(world: MountWorld, root: str) -> list[str]:
        found = world.run("find", root, "-printf", "%P %y %m %n %s %l %T@\n", at=Path("/"))
        return sorted(line for line in found.splitlines() if " d " not in line)

    script = f"tar -C {source} --format=posix -cf - . | tar -xf - && mkdir copy && cp -a {source}/. copy"
    shared.run("sh", "-c", script)
    expected = described(shared, str(source))
    assert len(expected) == 44
    assert described(shared, f"{shared.point}/copy") == expected
    shared.run("rm", "-r", "copy")
    assert described(shared, str(shared.point)) == expected
    again = shared.again()
    try:
        assert described(again, str(again.point)) == expected
        again.run("diff", "-r", "--no-dereference", "--exclude=fifo", str(source), ".")
        assert again.run("./deep/deeper/run") == "ran\n"
        again.finish()
    finally:
        again.end()


def test_shell_tools_do_what_they_do_elsewhere(shared: Shared) -> None:
    script = """
        set -e
        umask 027
        mkdir -p a/b && echo one >a/b/file && echo two >>a/b/file
        stat -c %a a a/b/file
        mv a/b/file a/moved && ln a/moved a/again && stat -c %h a/moved && rm a/moved && cat a/again
        chmod 4711 a/again && stat -c %a a/again
        truncate -s 10000 a/again && wc -c <a/again && truncate -s 3 a/again && cat a/again && echo
        touch -d @1234567890.5 a/again && stat -c %.1Y a/again
        touch a/again && test $(($(date +%s) - $(stat -c %Y a/again))) -lt 1000 && echo now
        ln -s a/again soft && readlink soft && cat soft && echo
        ! rmdir a 2>/dev/null && ! mkdir a 2>/dev/null && ! ls nothing 2>/dev/null
        rmdir a/b && ls a && sed -i s/one/three/ a/again && cat a/again && echo
        cp --sparse=always /bin/true copy && cmp /bin/true copy && ./copy
        df --output=source . | tail -1
        stat -c %i . .. a | head -1 && cd a && test $(stat -c %i ..) = 1
        mkdir group && chmod 2775 group && mkdir group/below && stat -c %a group/below
    """
    expected = "750 640 2 one two 4711 10000 one 1234567890.5 now a/again one again three sfs 1 2750"
    assert shared.run("sh", "-c", script).split() == expected.split()
    shared.finish()


def test_git_keeps_a_repository_there(shared: Shared) -> None:
    script = """
        set -e
        export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
        git init --quiet repository && cd repository
        git config user.email nobody@example.invalid && git config user.name nobody
        for round in 1 2 3; do
            mkdir -p d$round && seq $((round * 1000)) >d$round/numbers && echo $round >>log
            git add . && git commit --quiet -m "round $round"
        done
        git mv d1 renamed && git rm --quiet -r d2 && git commit --quiet -m moved
        git gc --quiet && git fsck --strict && git status --short
        git checkout --quiet HEAD~2 && git checkout --quiet - && git log --oneline | wc -l
        git clone --quiet . ../clone && diff -r --exclude=.git . ../clone && wc -l <../clone/renamed/numbers
    """
    assert shared.run("sh", "-c", script).split()[-2:] == ["4", "1000"]
    again = shared.again()
    try:
        check = (
            "cd repository && HOME=$PWD git -c safe.directory='*' fsck --strict && HOME=$PWD git log --oneline | wc -l"
        )
        assert again.run("sh", "-c", check).split()[-1] == "4"
        again.finish()
    finally:
        again.end()


def test_two_processes_count_with_sqlite(shared: Shared) -> None:
    shared.python("""if True:
        import sqlite3
        base = sqlite3.connect("base", isolation_level=None)
        base.execute("create table counter (value)")
        base.execute("insert into counter values (0)")
    """)
    both = [shared.start_python(COUNTER, "30") for _ in range(2)]
    for process in both:
        assert process.communicate(timeout=LIMIT_S)[0] == b""
    assert shared.run("sqlite3", "base", "select value from counter; pragma integrity_check") == "60\nok\n"
    shared.finish()


def test_sixteen_mebibytes_are_written_and_read_back(shared: Shared, tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(os.urandom(16 << 20))
    shared.report()
    shared.run("dd", f"if={noise}", "of=big", "bs=1M", "conv=fsync", "status=none")
    found = shared.report()
    assert (found["Write"], found["Synchronize"]) == (16, 1)
    shared.run("cmp", str(noise), "big")
    assert "No space left" in shared.run("dd", f"if={noise}", "of=more", "bs=1M", fails=True)
    shared.run("rm", "more")
    again = shared.again()
    try:
        again.run("cmp", str(noise), "big")
        again.run("dd", f"if={noise}", "of=small", "bs=1M", "count=4", "status=none")
        again.finish()
    finally:
        again.end()


def test_a_file_that_is_open_outlives_its_name_and_its_replacement(shared: Shared) -> None:
    program = """if True:
        import os
        free = os.statvfs(".").f_bfree
        with open("file", "w+b", buffering=0) as file:
            file.write(b"data" + bytes(100_000))
            os.unlink("file")
            print(os.listdir("."), os.fstat(file.fileno()).st_nlink)
            file.write(b" and more")
            print(os.pread(file.fileno(), 4, 0), os.fstat(file.fileno()).st_size)
            open("file", "w").write("another")
            print(os.pread(file.fileno(), 4, 0))
        open("new", "w").write("new")
        with open("file", "rb", buffering=0) as file:
            os.rename("new", "file")
            print(file.read(), open("file").read(), os.listdir("."))
        os.unlink("file")
        os.mkdir("gone")
        handle = os.open("gone", os.O_RDONLY)
        os.rmdir("gone")
        print(os.listdir(handle))
        os.close(handle)
        fd = os.open(".", os.O_RDONLY)
        os.fsync(fd)
        print(free - os.statvfs(".").f_bfree <= 1)
    """
    printed = ["[] 0", "b'data' 100013", "b'data'", "b'another' new ['file']", "[]", "True"]
    assert shared.python(program).splitlines() == printed
    shared.finish()


def test_appending_processes_lose_nothing(shared: Shared) -> None:
    program = """if True:
        import os, sys
        log = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for index in range(100):
            os.write(log, f"{sys.argv[1]} {index}\\n".encode())
    """
    both = [shared.start_python(program, name) for name in "ab"]
    for process in both:
        assert process.communicate(timeout=LIMIT_S)[0] == b""
    lines = shared.run("cat", "log").splitlines()
    for name in "ab":
        assert [one for one in lines if one.startswith(name)] == [f"{name} {index}" for index in range(100)]
    shared.finish()


def test_what_is_opened_with_o_sync_is_on_the_medium_when_write_returns(shared: Shared) -> None:
    program = """if True:
        import os, sys
        for flag in ("O_SYNC", "O_DSYNC"):
            file = os.open(flag, os.O_CREAT | os.O_WRONLY | getattr(os, flag))
            os.write(file, b"x" * 5000)
    """
    before = shared.report()["commits"]
    shared.python(program)
    assert shared.report()["commits"] >= before + 2
    shared.finish()


@pytest.mark.parametrize("how", ["flock", "fcntl"])
def test_a_lock_keeps_another_process_waiting_which_can_be_killed(shared: Shared, how: str) -> None:
    holder = shared.start_python(HOLD, how)
    assert (line(holder), line(holder)) == ("asks", "holds")
    assert shared.python(TRY, how, "LOCK_SH", "0", "0") == "held\n"
    waits, killed = shared.start_python(HOLD, how), shared.start_python(HOLD, how)
    assert (line(waits), line(killed)) == ("asks", "asks")
    shared.wait_waiting(2)
    killed.kill()
    killed.wait(timeout=LIMIT_S)
    shared.wait_waiting(1)
    let_go(holder)
    assert line(waits) == "holds"
    assert shared.python(TRY, how, "LOCK_EX", "0", "0") == "held\n"
    waits.kill()
    waits.wait()
    assert shared.python(TRY, how, "LOCK_EX", "0", "0") == "got it\n"
    shared.finish()


def test_who_holds_a_range_is_known_on_its_node(shared: Shared) -> None:
    holder = shared.start_python(HOLD, "fcntl", "100", "10")
    assert (line(holder), line(holder)) == ("asks", "holds")
    query = """if True:
        import fcntl, struct
        with open("file", "r+b") as file:
            found = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))
        kind, _, first, size, process = struct.unpack("hhqqi4x", found)
        print(kind == fcntl.F_WRLCK, first, size, process)
    """
    assert shared.python(query) == f"True 100 10 {holder.pid}\n"
    shared.finish()


def test_unmounting_ends_what_is_open_and_locked(shared: Shared) -> None:
    holders = [shared.start_python(HOLD, how) for how in ("flock", "fcntl")]
    for holder in holders:
        assert (line(holder), line(holder)) == ("asks", "holds")
    waits = shared.start_python(HOLD, "fcntl")
    assert line(waits) == "asks"
    shared.wait_waiting(1)
    shared.run("python3", "-c", "import os; os.unlink('file')")
    shared.finish()
    assert b"Software caused connection abort" in waits.communicate(timeout=LIMIT_S)[0]
