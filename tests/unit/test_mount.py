"""The mount of the shared file system (docs/mount.md), for real: programs use a file system that answers from memory.

Two points of one server are the same files as two nodes of a cluster see them.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guestd.runtime import mount as mount_module
from guestd.sfs import requests
from tests.unit.mount_world import LIMIT_S, TREE, MountWorld, line, missing

needs_fuse = pytest.mark.skipif(missing() is not None, reason=missing() or "")
FRESH_S = 10.0  # for what happens at once, on a busy machine


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MountWorld]:
    made = MountWorld(tmp_path / "shared")
    yield made
    made.end()


@pytest.fixture(params=[False, True], ids=["asks-again", "keeps"])
def nodes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MountWorld]:
    """Two nodes, whose kernels keep no attributes, or keep them until they are told to forget them."""
    made = MountWorld(tmp_path / "node0", tmp_path / "node1", keep=request.param)
    yield made
    made.end()


# -- programs


@needs_fuse
def test_a_tree_that_tar_and_cp_have_copied_is_the_same_tree(world: MountWorld, tmp_path: Path) -> None:
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

    def described(root: str) -> str:
        return world.run("find", root, "-printf", "%P %y %m %n %s %l %T@\n", at=Path("/"))

    def files(text: str) -> list[str]:  # a directory's size and times are its file system's
        return sorted(line for line in text.splitlines() if " d " not in line)

    world.run("sh", "-c", f"tar -C {source} --format=posix -cf - . | tar -xf - && mkdir copy && cp -a {source}/. copy")
    expected = files(described(str(source)))
    assert len(expected) == 44
    assert files(described(f"{world.point}/copy")) == expected
    world.run("rm", "-r", "copy")
    assert files(described(str(world.point))) == expected
    world.run("diff", "-r", "--no-dereference", "--exclude=fifo", str(source), ".")
    assert world.run("./deep/deeper/run") == "ran\n"


@needs_fuse
def test_shell_tools_do_what_they_do_elsewhere(world: MountWorld) -> None:
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
    """
    expected = "750 640 2 one two 4711 10000 one 1234567890.5 now a/again one again three memory0"
    assert world.run("sh", "-c", script).split() == expected.split()


@needs_fuse
def test_git_keeps_a_repository_there(world: MountWorld) -> None:
    script = """
        set -e
        export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
        git init --quiet repository && cd repository
        git config user.email nobody@example.invalid && git config user.name nobody
        for round in 1 2 3 4 5; do
            mkdir -p d$round && seq $((round * 1000)) >d$round/numbers && echo $round >>log
            git add . && git commit --quiet -m "round $round"
        done
        git mv d1 renamed && git rm --quiet -r d2 && git commit --quiet -m moved
        git gc --quiet && git fsck --strict && git status --short
        git checkout --quiet HEAD~3 && git checkout --quiet - && git log --oneline | wc -l
        git clone --quiet . ../clone && diff -r --exclude=.git . ../clone && wc -l <../clone/renamed/numbers
    """
    assert world.run("sh", "-c", script).split()[-2:] == ["6", "1000"]


COUNTER = """
import sqlite3, sys
base = sqlite3.connect("base", timeout=50, isolation_level=None)
for _ in range(int(sys.argv[1])):
    base.execute("begin immediate")
    (value,) = base.execute("select value from counter").fetchone()
    base.execute("update counter set value = ?", (value + 1,))
    base.execute("commit")
"""


@needs_fuse
def test_two_processes_on_two_nodes_count_with_sqlite(nodes: MountWorld) -> None:
    nodes.python("""if True:
        import sqlite3
        base = sqlite3.connect("base", isolation_level=None)
        base.execute("create table counter (value)")
        base.execute("insert into counter values (0)")
    """)
    both = [nodes.start_python(COUNTER, "40", at=point) for point in nodes.points]
    for process in both:
        assert process.communicate(timeout=LIMIT_S)[0] == b""
        assert process.returncode == 0
    found = nodes.python("""if True:
        import sqlite3
        base = sqlite3.connect("base", timeout=0, isolation_level=None)
        print(base.execute("select value from counter").fetchone(), base.execute("pragma integrity_check").fetchone())
        base.execute("begin exclusive")
        try:
            sqlite3.connect("base", timeout=0).execute("select value from counter").fetchone()
        except sqlite3.OperationalError as why:
            print(why)
    """)
    assert found.splitlines() == ["(80,) ('ok',)", "database is locked"]


# -- data


@needs_fuse
def test_what_was_written_in_a_row_is_read_back_in_large_pieces(world: MountWorld) -> None:
    size = 64 << 20
    noise = world.point.parent / "noise"
    noise.write_bytes(os.urandom(size))
    world.report()
    world.run("dd", f"if={noise}", "of=big", "bs=1M", "conv=fsync", "status=none")
    wrote = world.report()
    assert wrote["Write"] == 64
    assert wrote["Synchronize"] == 1
    world.run("dd", "if=big", f"of={noise}.back", "bs=1M", "status=none")
    assert world.report()["Read"] == 65  # the last one is the end of the file
    world.run("cmp", str(noise), f"{noise}.back")
    world.run("cmp", str(noise), "big")


@needs_fuse
def test_pieces_at_odd_places_are_what_a_plain_file_has(world: MountWorld) -> None:
    program = """if True:
        import hashlib, os, random, sys
        chance = random.Random(1)
        with open(sys.argv[1], "w+b", buffering=0) as file:
            for _ in range(300):
                place, size = chance.randrange(300_000), chance.choice((1, 511, 4096, 5000, 150_000))
                what = chance.randrange(4)
                if what == 0:
                    file.truncate(place)
                elif what == 1:
                    os.pread(file.fileno(), size, place)
                else:
                    os.pwrite(file.fileno(), chance.randbytes(size), place)
            file.seek(0)
            print(os.fstat(file.fileno()).st_size, hashlib.sha256(file.read()).hexdigest())
    """
    expected = world.python(program, str(world.point.parent / "plain"))
    assert world.python(program, "odd") == expected


@needs_fuse
def test_a_file_is_mapped_privately_and_not_shared(world: MountWorld) -> None:
    program = """if True:
        import mmap, os
        with open("file", "w+b", buffering=0) as file:
            file.write(b"before" + bytes(100_000) + b"end")
            with mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as view:
                print(view[:6], view[-3:])
            os.pwrite(file.fileno(), b"after!", 0)
            with mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as view:
                print(view[:6])
            try:
                mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED)
            except OSError as why:
                print(why.strerror)
    """
    assert world.python(program).splitlines() == ["b'before' b'end'", "b'after!'", "No such device"]


# -- names


@needs_fuse
def test_a_file_that_is_open_outlives_its_name(world: MountWorld) -> None:
    inodes = world.report()["inodes"]
    program = """if True:
        import os
        with open("file", "w+b", buffering=0) as file:
            file.write(b"data")
            os.unlink("file")
            print(os.listdir("."), os.fstat(file.fileno()).st_nlink)
            file.write(b" and more")
            print(os.pread(file.fileno(), 100, 0), os.fstat(file.fileno()).st_size)
            open("file", "w").write("another")
            print(os.pread(file.fileno(), 4, 0))
        os.unlink("file")
    """
    assert world.python(program).splitlines() == ["[] 0", "b'data and more' 13", "b'data'"]
    assert world.report()["inodes"] == inodes


@needs_fuse
def test_a_file_that_is_open_outlives_its_replacement(world: MountWorld) -> None:
    program = """if True:
        import os
        open("old", "w").write("old")
        open("new", "w").write("new")
        with open("old", "rb", buffering=0) as file:
            os.rename("new", "old")
            print(file.read(), open("old").read(), os.listdir("."))
    """
    assert world.python(program) == "b'old' new ['old']\n"


RENAME = """if True:
    import ctypes, os, sys
    libc = ctypes.CDLL(None, use_errno=True)
    def rename(old, new, flags):
        if libc.renameat2(-100, old.encode(), -100, new.encode(), flags):
            return os.strerror(ctypes.get_errno())
    open("one", "w").write("1")
    open("two", "w").write("2")
    os.mkdir("directory")
    print(rename("one", "two", 1), open("two").read())
    print(rename("one", "three", 1), sorted(os.listdir(".")))
    print(rename("three", "directory", 2), open("directory").read(), os.listdir("three"))
    print(rename("two", "four", 4))
"""


@needs_fuse
def test_the_flags_of_rename_reach_the_file_system(world: MountWorld) -> None:
    assert world.python(RENAME).splitlines() == [
        "File exists 2",
        "None ['directory', 'three', 'two']",
        "None 1 []",
        "Invalid argument",
    ]
    assert world.report()["renames"] == [[True, False], [False, True]]


@needs_fuse
def test_a_large_directory_is_listed_whole_also_while_it_is_emptied(world: MountWorld) -> None:
    program = """if True:
        import os
        for index in range(3000):
            os.close(os.open(f"a rather long name, so that fewer of them fit, {index}", os.O_CREAT | os.O_WRONLY))
        print(len(set(os.listdir("."))))
        seen = 0
        with os.scandir(".") as entries:
            for entry in entries:
                os.unlink(entry.path)
                seen += 1
        print(seen, os.listdir("."))
    """
    assert world.python(program) == "3000\n3000 []\n"


@needs_fuse
def test_an_inode_number_that_is_used_anew_is_another_file(world: MountWorld) -> None:
    program = """if True:
        import os, stat
        open("file", "w").write("old")
        number = os.stat("file").st_ino
        os.unlink("file")
        os.mkdir("file")
        print(os.stat("file").st_ino == number, stat.S_ISDIR(os.stat("file").st_mode), os.listdir("file"))
    """
    assert world.python(program) == "True True []\n"
    program = """if True:
        import os
        home = os.getcwd()
        os.mkdir("old")
        number = os.stat("old").st_ino
        os.chdir("old")
        os.rmdir(f"{home}/old")
        os.mkdir(f"{home}/new")
        open(f"{home}/new/file", "w").close()
        print(os.stat(f"{home}/new").st_ino == number)
        try:
            print(os.listdir("."))
        except OSError:
            print("gone")
    """
    assert world.python(program) == "True\ngone\n"


@needs_fuse
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_the_kernel_checks_permissions_by_the_attributes(world: MountWorld) -> None:
    script = "echo secret >secret && chmod 600 secret && echo open >open && mkdir -m 777 free"
    world.run("sh", "-c", script)
    other = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c")
    script = "cat open; cat secret; echo x >here; echo mine >free/file && stat -c '%u %g' free/file"
    said = world.run(*other, script).splitlines()
    assert said[0] == "open"
    assert "Permission denied" in said[1]
    assert "Permission denied" in said[2] or "cannot create" in said[2]
    assert said[3:] == ["65534 65534"]


# -- two nodes


@needs_fuse
def test_what_one_node_has_written_the_other_sees_at_once(nodes: MountWorld) -> None:
    program = """if True:
        import os, sys
        here, there = sys.argv[1:]
        opened = None
        for round in range(150):
            with open(f"{here}/file", "ab") as file:
                file.write(b"x" * round)
            size = round * (round + 1) // 2
            if opened is None:
                opened = os.open(f"{there}/file", os.O_RDONLY)
            assert os.fstat(opened).st_size == size  # first: what is looked up by name has fresh attributes
            assert os.stat(f"{there}/file").st_size == size
            assert len(os.pread(opened, 1 << 20, 0)) == size
            os.rename(f"{here}/file", f"{here}/other")
            assert os.listdir(there) == ["other"]
            assert not os.path.exists(f"{there}/file")
            os.chmod(f"{here}/other", 0o600 + round % 8)
            assert os.stat(f"{there}/other").st_mode & 0o777 == 0o600 + round % 8
            os.rename(f"{here}/other", f"{here}/file")
            if round % 4 == 3:
                os.close(opened)
                opened = None
                here, there = there, here
    """
    nodes.python(program, *map(str, nodes.points))


@needs_fuse
def test_appending_from_two_nodes_loses_nothing(nodes: MountWorld) -> None:
    """Each kernel takes the end of the file to be where it was when it last looked, and is wrong."""
    program = """if True:
        import os, sys
        logs = [open(f"{node}/log", "ab", buffering=0) for node in sys.argv[1:]]
        for index in range(200):
            logs[index % 2].write(f"{index}\\n".encode())
    """
    nodes.python(program, *map(str, nodes.points))
    assert nodes.run("cat", "log").split() == [str(index) for index in range(200)]
    offsets = nodes.report()["wrote_at"]
    assert len(set(offsets)) < len(offsets)  # else this shows nothing


@needs_fuse
def test_attributes_that_are_kept_are_not_asked_for_again(tmp_path: Path) -> None:
    world = MountWorld(tmp_path / "shared", keep=True)
    try:
        program = """if True:
            import os
            file = os.open("file", os.O_CREAT | os.O_RDWR)
            for size in (10, 20):
                os.pwrite(file, bytes(size), 0)
                for _ in range(50):
                    assert os.fstat(file).st_size == os.stat("file").st_size == size
        """
        world.report()
        world.python(program)
        counts = world.report()
        assert counts["Lookup"] >= 100
        assert counts["GetAttributes"] < 10
    finally:
        world.end()


@needs_fuse
def test_attributes_are_forgotten_even_if_the_kernel_does_not_know_the_inode_yet(nodes: MountWorld) -> None:
    program = """if True:
        import os, sys
        here, there = sys.argv[1:]
        for index in range(200):
            os.close(os.open(f"{here}/grows{index}", os.O_CREAT | os.O_WRONLY))
            file = os.open(f"{there}/grows{index}", os.O_RDONLY)
            assert os.fstat(file).st_size == len(os.pread(file, 100, 0)) > 0, index
            os.close(file)
    """
    nodes.python(program, *map(str, nodes.points))


@needs_fuse
def test_attributes_that_could_not_be_forgotten_at_once_are_soon(tmp_path: Path) -> None:
    """A kernel that gives the program no processor does not know its inode yet, and keeps what it was answered."""
    world = MountWorld(tmp_path / "here", tmp_path / "there", keep=True, options=("--hasty",))
    program = """if True:
        import os, sys, time
        here, there = sys.argv[1:]
        for index in range(20):
            os.close(os.open(f"{here}/grows{index}", os.O_CREAT | os.O_WRONLY))
            file = os.open(f"{there}/grows{index}", os.O_RDONLY)
            limit = time.monotonic() + 30
            while os.fstat(file).st_size == 0:  # nothing is read: after that the kernel would ask by itself
                assert time.monotonic() < limit, index
                time.sleep(0.01)
            os.close(file)
    """
    try:
        world.python(program, *map(str, world.points))
    finally:
        world.end()


# -- locks

HOLD = """if True:
    import fcntl, os, sys
    file = open("file", "a+b", buffering=0)
    how = sys.argv[1]
    first, size = map(int, sys.argv[2:]) if sys.argv[2:] else (0, 0)
    lock = fcntl.flock if how == "flock" else lambda file, kind: fcntl.lockf(file, kind, size, first)
    print("asks", flush=True)
    lock(file, fcntl.LOCK_EX)
    print("holds", flush=True)
    sys.stdin.readline()
    lock(file, fcntl.LOCK_UN)
    print("let go", flush=True)
    sys.stdin.readline()
"""

TRY = """if True:
    import fcntl, sys
    how, kind, first, size = sys.argv[1], getattr(fcntl, sys.argv[2]), *map(int, sys.argv[3:])
    file = open("file", "r+b", buffering=0)
    try:
        if how == "flock":
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        else:
            fcntl.lockf(file, kind | fcntl.LOCK_NB, size, first)
        print("got it")
    except BlockingIOError:
        print("held")
"""


def let_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"\n")
    assert line(process) == "let go"


@needs_fuse
@pytest.mark.parametrize("how", ["flock", "fcntl"])
def test_a_lock_keeps_the_other_node_waiting(nodes: MountWorld, how: str) -> None:
    here, there = nodes.points
    first = nodes.start_python(HOLD, how, at=here)
    assert (line(first), line(first)) == ("asks", "holds")
    assert nodes.python(TRY, how, "LOCK_SH", "0", "0", at=there) == "held\n"
    assert nodes.python(TRY, "fcntl" if how == "flock" else "flock", "LOCK_EX", "0", "0", at=there) == "got it\n"
    second = nodes.start_python(HOLD, how, at=there)
    assert line(second) == "asks"
    nodes.wait_waiting(1)
    assert nodes.run("cat", "file", at=there) == ""  # one that waits holds nobody up
    let_go(first)
    assert line(second) == "holds"
    assert nodes.python(TRY, how, "LOCK_SH", "0", "0", at=here) == "held\n"
    second.kill()
    second.wait()
    assert nodes.python(TRY, how, "LOCK_EX", "0", "0", at=there) == "got it\n"


@needs_fuse
def test_the_program_flock_excludes_another_one(world: MountWorld) -> None:
    holder = world.start("flock", "file", "sh", "-c", "echo holds; read line")
    assert line(holder) == "holds"
    world.run("flock", "--nonblock", "file", "true", fails=True)
    world.run("flock", "--timeout", "3", "file", "true", fails=True)
    assert world.report()["Interrupt"] >= 1
    assert holder.stdin is not None
    holder.stdin.write(b"\n")
    world.run("flock", "file", "true")


@needs_fuse
def test_ranges_of_bytes_are_locked_apart(world: MountWorld) -> None:
    holder = world.start_python(HOLD, "fcntl", "100", "10")
    assert (line(holder), line(holder)) == ("asks", "holds")

    def tried(kind: str, first: int, size: int) -> str:
        return world.python(TRY, "fcntl", kind, str(first), str(size)).strip()

    assert [tried("LOCK_EX", 90, 10), tried("LOCK_EX", 110, 0), tried("LOCK_SH", 0, 100)] == ["got it"] * 3
    assert [tried("LOCK_EX", 109, 1), tried("LOCK_SH", 0, 0), tried("LOCK_EX", 99, 2)] == ["held"] * 3
    query = """if True:
        import fcntl, struct
        def asked(first, size):
            with open("file", "r+b") as file:
                found = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, first, size, 0))
            kind, _, first, size, process = struct.unpack("hhqqi4x", found)
            return (kind == fcntl.F_WRLCK, first, size, process) if kind != fcntl.F_UNLCK else None
        print(asked(0, 0), asked(0, 100))
    """
    assert world.python(query) == f"(True, 100, 10, {holder.pid}) None\n"


@needs_fuse
def test_closing_any_descriptor_ends_the_ranges_of_its_process(world: MountWorld) -> None:
    program = """if True:
        import fcntl, sys
        one = open("file", "a+b")
        fcntl.lockf(one, fcntl.LOCK_EX)
        print("holds", flush=True)
        sys.stdin.readline()
        open("file").close()
        print("closed", flush=True)
        sys.stdin.readline()
    """
    holder = world.start_python(program)
    assert line(holder) == "holds"
    assert world.python(TRY, "fcntl", "LOCK_SH", "0", "0") == "held\n"
    assert holder.stdin is not None
    holder.stdin.write(b"\n")
    assert line(holder) == "closed"
    assert world.python(TRY, "fcntl", "LOCK_SH", "0", "0") == "got it\n"


@needs_fuse
@pytest.mark.parametrize("how", ["flock", "fcntl"])
def test_who_waits_for_a_lock_can_be_killed(world: MountWorld, how: str) -> None:
    holder = world.start_python(HOLD, how)
    assert (line(holder), line(holder)) == ("asks", "holds")
    waits = world.start_python(HOLD, how)
    assert line(waits) == "asks"
    world.wait_waiting(1)
    waits.send_signal(signal.SIGKILL)
    assert waits.wait(timeout=FRESH_S) == -signal.SIGKILL
    world.wait_waiting(0)
    let_go(holder)
    assert world.python(TRY, how, "LOCK_EX", "0", "0") == "got it\n"


@needs_fuse
def test_a_signal_interrupts_the_wait_for_a_lock(world: MountWorld) -> None:
    holder = world.start_python(HOLD, "fcntl")
    assert (line(holder), line(holder)) == ("asks", "holds")
    program = """if True:
        import fcntl, signal
        class Alarm(Exception): pass
        def ring(*_): raise Alarm
        signal.signal(signal.SIGALRM, ring)
        file = open("file", "r+b")
        try:
            print("asks", flush=True)
            fcntl.lockf(file, fcntl.LOCK_EX)
        except Alarm:
            print("interrupted", flush=True)
    """
    waits = world.start_python(program)
    assert line(waits) == "asks"
    world.wait_waiting(1)
    waits.send_signal(signal.SIGALRM)
    assert line(waits) == "interrupted"
    world.wait_waiting(0)


# -- requests that are not answered, and the end


@needs_fuse
def test_a_read_without_an_answer_holds_up_nobody_and_can_be_killed(world: MountWorld) -> None:
    world.run("sh", "-c", "echo x >never; echo y >file")
    stuck = [world.start("cat", "never") for _ in range(20)]
    world.wait_waiting(20)
    assert world.run("cat", "file") == "y\n"
    for process in stuck:
        process.send_signal(signal.SIGKILL)
    for process in stuck:
        assert process.wait(timeout=FRESH_S) == -signal.SIGKILL


@needs_fuse
def test_an_error_of_the_file_system_is_the_programs(world: MountWorld) -> None:
    assert "Input/output error" in world.run("sh", "-c", "echo x >broken; cat broken", fails=True)


@needs_fuse
def test_unmounting_waits_for_nobody(world: MountWorld) -> None:
    world.run("sh", "-c", "echo x >never; echo y >file")
    holder = world.start_python(HOLD, "fcntl")
    assert (line(holder), line(holder)) == ("asks", "holds")
    waits = world.start_python(HOLD, "fcntl")
    assert line(waits) == "asks"
    reads = world.start("cat", "never")
    world.wait_waiting(2)
    assert world.mounts() == [str(world.point)]
    world.unmount()
    for process in (waits, reads):
        assert b"Software caused connection abort" in process.communicate(timeout=FRESH_S)[0]
        assert process.returncode != 0


@needs_fuse
def test_after_its_end_the_tree_is_as_before(world: MountWorld) -> None:
    inside = world.start(
        "sh", "-c", f"echo here; read line; cat /proc/self/mounts; ls -d {world.point}/*", at=Path("/")
    )
    assert line(inside) == "here"
    world.run("touch", "file")
    world.unmount()
    said = inside.communicate(b"\n", timeout=FRESH_S)[0].decode()
    assert "fuse.sfs" not in said
    assert "No such file or directory" in said


@needs_fuse
def test_a_mount_whose_server_was_killed_makes_room_for_another(world: MountWorld) -> None:
    world.run("sh", "-c", "echo y >file")
    world.kill_server()
    world.run("true", at=world.point, fails=True)
    assert "Transport endpoint is not connected" in world.run("ls", str(world.point), at=Path("/"), fails=True)
    world.serve_again()
    assert world.mounts() == [str(world.point)]
    assert world.run("ls") == ""


@needs_fuse
def test_somebody_may_unmount_it_by_hand(world: MountWorld) -> None:
    world.run("umount", str(world.point), at=Path("/"))
    world.said_by_server("unmounted")


# -- without a mount


def test_every_request_has_an_answer_that_is_due_or_none_at_all() -> None:
    pytest.importorskip("mfusepy")
    from guestd.runtime.fuse.replies import DUE

    known = {kind for kind in vars(requests).values() if isinstance(kind, type) and issubclass(kind, requests.Request)}
    assert known - set(DUE) == {requests.Request, requests.Forget, requests.Interrupt, requests.Unmounted}
    assert set(DUE) <= known


def test_an_answer_to_something_else_is_refused() -> None:
    pytest.importorskip("mfusepy")
    import ctypes

    from guestd.runtime.fuse.replies import Replies
    from guestd.sfs.answers import Written

    wrong = r"Unlink\(.*\) cannot be answered with Written\(size=1\) \(it takes: Done\)"
    with pytest.raises(TypeError, match=wrong):
        Replies(ctypes.CDLL(None)).send(1, requests.Unlink(1, b"x"), Written(1))


def test_a_machine_without_the_device_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mount_module, "DEVICE", str(tmp_path / "fuse"))
    mount = mount_module.Mount(str(tmp_path), "memory")
    assert select.select([mount.fileno()], [], [], FRESH_S)[0]
    assert mount.take() == []
    assert mount.failure is not None
    assert "the kernel's module fuse is not loaded" in mount.failure
    assert (mount.fileno(), mount.is_mounted) == (-1, False)
    mount.close()


def test_nothing_of_it_is_imported_before_it_is_used() -> None:
    program = (
        "import sys, guestd.runtime.main, guestd.runtime.mount; "
        "print(sorted({'ctypes', 'mfusepy', 'guestd.runtime.fuse'} & set(sys.modules)))"
    )
    argv = [sys.executable, "-S", "-c", program]  # without site: the environment's own .pth files import things
    done = subprocess.run(argv, cwd=TREE, env={"PYTHONPATH": str(TREE)}, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
