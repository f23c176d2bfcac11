"""What real programs do on /shared of real guests while nodes lose power, short or at length by its numbers.

Programs say each thing that they hold for done (a commit, a row, a record) when it is on the medium by their own rules;
the line reaches the host at once. What was said must be there at the end, whoever has died meanwhile.
"""

from __future__ import annotations

import io
import random
import re
import tarfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from hil.client import Node
from hil.client.running import Running
from hil.evidence.layout import DISK
from hil.scenario import ScenarioCluster
from hil.sfs import examined
from tests.lab import host_programs
from tests.lab.host_programs import ENVIRONMENT, shell

PROGRAMS = ("git", "sqlite3", "fio", "sync")


@dataclass(frozen=True)
class Sizes:
    """How much is done."""

    records: int
    """Each of two nodes appends."""
    commits: int
    files: int
    """Of the tree that is unpacked."""
    rows: int
    """Each of three nodes inserts; one of them dies before."""
    fio_kib: int
    limit_s: float
    """For each program; nothing depends on it but how long a hang goes unnoticed."""


SHORT = Sizes(records=40, commits=1, files=8, rows=6, fio_kib=128, limit_s=240.0)
LONG = Sizes(records=1000, commits=10, files=300, rows=60, fio_kib=4096, limit_s=1800.0)


def bring_programs(cluster: ScenarioCluster) -> None:
    """To each node; for a checkpoint."""
    with ThreadPoolExecutor() as pool:  # a guest has one processor
        list(pool.map(lambda node: host_programs.install(node, *PROGRAMS), cluster.nodes))
    for node in cluster.nodes:
        wait_mounted(node)
    shell(
        cluster.nodes[0],
        "cd /shared && sqlite3 base 'create table line(node, number)'"
        " && git init --quiet lost && echo 0 >lost/log && git -C lost add log",
    )


# -- programs

GIT = """
cd /shared && git init --quiet kept && cd kept
for round in $(seq {commits}); do
    mkdir directory$round && seq $((round * 1000)) >directory$round/numbers && echo $round >>log
    git add . && git commit --quiet -m "round $round" && echo committed $round
done
cd .git
git gc --quiet && echo packed
git fsck --strict && git log --oneline | wc -l
"""

# After a commit the branch has been renamed into its place; that lasts when the directory is on the medium.
GIT_WITHOUT_END = """
cd /shared/lost
round=0
while true; do
    round=$((round + 1))
    echo $round >>log && said=$(git -c core.fsync=all -c gc.auto=0 commit -a -m "round $round") && sync .git/refs/heads
    echo committed $said
done
"""

# SQLite asks for its locks again and again instead of waiting: without the pauses one node would keep the others out.
# With "extra" a transaction lasts when it has been committed, by SQLite's own rules: the directory is synchronized too.
ROWS = """
cd /shared
( echo .timeout 200000
  echo 'pragma synchronous = extra;'
  for number in $(seq {rows}); do
      echo "insert into line values({node}, $number);"
      echo "select 'inserted $number';"
      echo .shell sleep 0.4
  done ) | sqlite3 -bail base
"""

FIO = """
cd /shared
fio --name=verified --filename=random --ioengine=psync --rw=randwrite --bs=4k --size={kib}k --fsync=16 \
    --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 --minimal | cut -d ';' -f 3,5,7,48
cmp -s random random && rm random
"""

APPEND = """
import fcntl, os, sys, time
path, node, last, enough = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
mine = f"{node} ".encode()
found = [int(line.split()[1]) for line in open(path, "rb").read().splitlines() if line.startswith(mine)]
print("ready", flush=True)
while not os.path.exists("/shared/go"):
    time.sleep(0.02)
number = max(found, default=0)
while number < last or not os.path.exists(enough):
    number += 1
    fcntl.flock(file, fcntl.LOCK_EX)
    os.write(file, f"{node} {number} {str(number) * 20} end\\n".encode())
    os.fsync(file)
    fcntl.flock(file, fcntl.LOCK_UN)
    print("appended", number, flush=True)
"""

HOLD = """
import fcntl, os, signal, time
file = os.open("/shared/guarded", os.O_RDWR | os.O_CREAT)
fcntl.flock(file, fcntl.LOCK_EX)
print("holds", flush=True)
while not os.path.exists("/run/go"):
    time.sleep(0.02)
os.write(file, b"of the one that died")
os.fsync(file)
print("has written", flush=True)
signal.pause()
"""

WAIT = """
import fcntl, os, time
file = os.open("/shared/guarded", os.O_RDWR)
print("waits", flush=True)
fcntl.flock(file, fcntl.LOCK_EX)
print("granted", time.monotonic(), os.read(file, 100).decode(), flush=True)
"""


def run_python(node: Node, source: str, *words: object) -> Running:
    """With the guest's own Python; the program need not fit into a command."""
    path = f"/run/{abs(hash(source))}.py"
    node.send(f"cat >{path}", source.encode())
    return Running(node, f"exec python3.11 -S {path} {' '.join(map(str, words))}")


def wait_mounted(node: Node) -> None:
    """A node that has joined begins to mount: for a second there is nothing at /shared yet."""
    shell(node, "until grep -q ' /shared fuse' /proc/mounts; do sleep 0.1; done")


def run_shell(node: Node, script: str) -> Running:
    """With the programs of the host."""
    return Running(node, f"{ENVIRONMENT}; set -e; {script}")


def tree(files: int) -> bytes:
    """An archive of files of some kilobytes, in directories, with links."""
    chance, made = random.Random(files), io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for number in range(files):
            entry = tarfile.TarInfo(f"tree/directory{number // 10}/file{number}")
            entry.size, entry.mode, entry.mtime = chance.randrange(10_000), 0o600 + number % 64, 1_000_000 + number
            archive.addfile(entry, io.BytesIO(chance.randbytes(entry.size)))
        link = tarfile.TarInfo("tree/link")
        link.type, link.linkname = tarfile.SYMTYPE, "directory0/file0"
        archive.addfile(link)
    return made.getvalue()


def unpack_and_compare(node: Node, files: int) -> None:
    """On /shared and in a tmpfs: all is the same, with modes and times."""
    described = (
        "find tree -exec stat -c '%n %F %a %h' {} + | sort; find tree -type f -exec stat -c '%n %s %Y' {} + | sort"
    )
    node.send("cat >/run/tree.tar", tree(files))
    said = shell(
        node,
        f"""
        tar -xf /run/tree.tar -C /shared && tar -xf /run/tree.tar -C /run/programs
        cd /run/programs && ({described}) | grep -v ' directory ' >/run/expected
        cd /shared && ({described}) | grep -v ' directory ' >/run/found
        cmp /run/expected /run/found && diff -r /run/programs/tree /shared/tree && wc -l </run/found
        rm -r /run/programs/tree /run/tree.tar
        """,
    )
    assert int(said) == 2 * files + 1


# -- what is claimed


def programs_go_on_while_another_node_loses_power(
    cluster: ScenarioCluster, sizes: Sizes, commits_before: int = 1
) -> dict[str, object]:
    """Three nodes use a database, one keeps a repository, one writes, reads and compares; one with a repository of its
    own dies after so many commits. Everybody else's programs succeed, and what the dead one held for done is there. The
    figures.
    """
    begun = time.monotonic()
    keeper, other, victim = cluster.nodes
    # Its commits take longest, so that it dies in the middle of all else.
    lost = run_shell(victim, GIT_WITHOUT_END)
    rows = [run_shell(node, ROWS.format(rows=sizes.rows, node=node.id)) for node in (keeper, other)]
    rows.append(run_shell(victim, ROWS.format(rows=10 * sizes.rows, node=victim.id)))
    kept = run_shell(keeper, GIT.format(commits=sizes.commits))
    verified = run_shell(other, FIO.format(kib=sizes.fio_kib))

    lost.wait_lines(commits_before, "committed ", sizes.limit_s)
    rows[2].wait_lines(1, "inserted ", sizes.limit_s)
    under_way = [str(one) for one in (kept, verified, *rows[:2]) if one.is_running]
    died = time.monotonic()
    cluster.power_off([victim])
    commits, inserted = lost.leave(), rows[2].leave()
    unpack_and_compare(other, sizes.files)  # it waits for the recovery
    unpacked = time.monotonic()
    cluster.wait_state(victim, "inactive")

    said = kept.finish(sizes.limit_s)
    assert said[-1] == str(sizes.commits), said
    fio = verified.finish(sizes.limit_s)[-1]
    for one in rows[:2]:
        assert one.finish(sizes.limit_s)[-1] == f"inserted {sizes.rows}"
    finished = time.monotonic()

    assert under_way, "all programs had ended before"
    check_database(other, [sizes.rows, sizes.rows, max(map(_last_word, inserted), default=0)])
    check_repository(
        keeper, re.findall(r"^committed \[\w+ (?:\(root-commit\) )?(\w+)\]", "\n".join(commits), re.MULTILINE)
    )
    return {
        "under way at the death": len(under_way),
        "commits of the dead": len(commits),
        "rows of the dead": len(inserted),
        "unpacked": f"{unpacked - died:.1f} s after the death",
        "programs": f"{finished - begun:.1f} s",
        "with checks": f"{time.monotonic() - begun:.1f} s",
        "fio": fio,
    }


def _last_word(line: str) -> int:
    return int(line.rsplit(maxsplit=1)[-1])


def check_database(node: Node, least: list[int]) -> None:
    """It is sound, each node's rows are the first ones, each once, and at least so many."""
    said = shell(
        node,
        "cd /shared && sqlite3 base '.timeout 60000' 'pragma integrity_check' 'select count(*), count(distinct number),"
        " max(number) from line group by node order by node'",
    ).split()
    assert said[0] == "ok", said
    for line, wanted in zip(said[1:], least, strict=True):
        rows, distinct, last = map(int, line.split("|"))
        assert rows == distinct == last >= wanted, said


def check_repository(node: Node, commits: list[str]) -> None:
    """The one of the dead: it is sound, and its commits are in it."""
    shell(node, "cd /shared/lost/.git && rm -f *.lock refs/heads/*.lock && git fsck --strict")
    there = shell(node, "cd /shared/lost && git log --format=%h").split()
    assert commits
    assert set(commits) <= set(there), (commits, there)


def appended_records_are_neither_lost_nor_doubled_nor_torn(cluster: ScenarioCluster, sizes: Sizes) -> dict[str, object]:
    """Two nodes append to one file under flock; one is power-cycled in the middle, and goes on. The figures."""
    begun = time.monotonic()
    going_on, victim = cluster.nodes[0], cluster.nodes[1]
    # The one that goes on does so until it has seen the other's death, however long that is in coming.
    words = [
        ("/shared/records", node.id, sizes.records, enough)
        for node, enough in ((going_on, "/run/enough"), (victim, "/"))
    ]
    first, second = run_python(going_on, APPEND, *words[0]), run_python(victim, APPEND, *words[1])
    for one in (first, second):
        one.wait_lines(1, "ready", sizes.limit_s)
    shell(cluster.nodes[2], "touch /shared/go")
    for one in (first, second):
        one.wait_lines(sizes.records // 4, "appended ", sizes.limit_s)
    died, before = time.monotonic(), len(first.lines("appended "))
    cluster.power_cycle([victim])
    second.leave()
    said = second.lines("appended ")
    acknowledged = len(said)
    at_the_death = len(first.lines("appended "))
    first.wait_lines(at_the_death + 1, "appended ", sizes.limit_s)
    went_on = time.monotonic()
    shell(going_on, "touch /run/enough")
    cluster.wait_joined()
    wait_mounted(victim)
    again = run_python(victim, APPEND, *words[1])
    for one in (again, first):
        one.finish(sizes.limit_s)
    said += again.lines("appended ")
    finished = time.monotonic()

    lines = shell(cluster.nodes[2], "cat /shared/records").splitlines()
    numbers = {going_on.id: len(first.lines("appended ")), victim.id: sizes.records}
    expected = {
        f"{node} {number} {str(number) * 20} end" for node, last in numbers.items() for number in range(1, last + 1)
    }
    count = Counter(lines)
    assert set(lines) == expected, f"torn: {sorted(set(lines) - expected)}, lost: {sorted(expected - set(lines))}"
    assert count.most_common(1)[0][1] == 1, f"doubled: {count.most_common(3)}"
    assert numbers[going_on.id] >= sizes.records
    done = [str(number) for number in range(1, max(numbers.values()) + 1)]
    assert first.lines("appended ") == done[: numbers[going_on.id]]
    # What it had not been able to say before it died is in the file all the same, and is not appended again.
    assert [line for line in done if line in said] == said
    return {
        "records": len(lines),
        "acknowledged when the one died": (before, acknowledged),
        "in the file, but not acknowledged": sizes.records - len(said),
        "the other one went on": f"{went_on - died:.1f} s after the death",
        "in all": f"{finished - begun:.1f} s",
    }


def a_lock_of_the_dead_waits_for_the_slowest_replay(cluster: ScenarioCluster) -> dict[str, object]:
    """A lock that guards data of a dead node is granted when each survivor has replayed its journal: one survivor's
    disk hangs there, and nothing is granted until it goes on (A13). The figures.
    """
    waiting = cluster.master
    assert waiting is not None
    victim, delayed = (node for node in cluster.nodes if node is not waiting)
    holds = run_python(victim, HOLD)
    holds.wait_lines(1, "holds")
    waits = run_python(waiting, WAIT)
    waits.wait_lines(1, "waits")
    # Nobody looks at what it writes from here on, so its journal has it when it dies.
    shell(victim, "touch /run/go")
    holds.wait_lines(1, "has written")
    since = cluster.catch_up().n

    fault = cluster.disk.inject("hang", delayed, lba=cluster.disk.journal(victim))
    cluster.power_off([victim])
    holds.leave()
    fault.wait_struck()
    hung = time.monotonic()
    cluster.pass_time(2.0)
    assert waits.lines() == ["waits"]
    assert not level_completed(cluster, since)
    held, healed = time.monotonic() - hung, cluster.catch_up().n
    fault.heal()
    _, granted = waits.wait_lines(2)
    cluster.wait_state(victim, "inactive")

    word, moment, text = granted.split(" ", 2)
    assert (word, text) == ("granted", "of the one that died")
    events = list(cluster.events(since=since))
    replayed = {event["node"]: event for event in events if event["kind"] == "journal-replayed"}
    assert sorted(replayed) == sorted((waiting.id, delayed.id))
    assert [event["found"] for event in replayed.values()].count(True) == 1  # exactly once
    [completed] = level_completed(cluster, since)
    # The master is where it waits: both moments are of one clock.
    assert completed["node"] == waiting.id
    # What two nodes told may change places in the stream by some ms; what was told before the disk goes on may not.
    assert replayed[delayed.id]["n"] > healed
    assert completed["n"] > max(healed, replayed[waiting.id]["n"])
    assert float(moment) >= completed["guest_t"]
    return {
        "held up by the other node's replay": f"{held:.1f} s",
        "granted": f"{1000 * (float(moment) - completed['guest_t']):.0f} ms after the level was complete",
        "replays": [(node, event["t"], event["found"]) for node, event in replayed.items()],
    }


def level_completed(cluster: ScenarioCluster, since: int) -> list[dict[str, Any]]:
    """The ends of forced leaves at the level of the shared file system."""
    return [
        event for event in cluster.events(since=since) if (event["kind"], event.get("level")) == ("level-complete", 30)
    ]


def check_image(cluster: ScenarioCluster) -> None:
    """Everybody loses power, and what lies there then is sound."""
    cluster.power_off()
    assert examined(cluster.run_dir / DISK).wrong == ()
