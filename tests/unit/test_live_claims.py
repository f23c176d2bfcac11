"""Claims while a run goes on: a violation is found with the event that shows it; an honest stream rouses nothing."""

import bisect
import contextlib
import copy
import itertools
import os
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from guestd.membership import layout
from hil.checkers.live import SUSPICIONS_MAX, LiveClaims
from hil.checkers.merging import Recorded
from hil.checkers.recorded import Telling, judge
from hil.errors import ClaimFailed
from hil.evidence.layout import LEDGER
from hil.scenario import ScenarioCluster
from hil.scsi.digest import DIGEST_BYTES
from hil.scsi.ledger_records import Entry, NexusName, RegistrationEnded
from hil.sim.options import draw
from hil.view import Event, View
from tests.mutations.catalogue import BY_NAME
from tests.unit.fake_bench import FakeBench, fake_bench
from tests.unit.sim_recordings import NO_SENSE, WRITE_10, Run, packed, record
from tests.unit.test_checkers_recorded import FORGED, SEEDS_MAX, not_fenced, simulated

__all__ = ["simulated"]

AT_THE_END = {"waits", "states", "promise", "choices", "history"}
"""Claims, some forgeries of which need the contents of the disk, or an end at rest."""
ORDERS = range(2)


class Ledger:
    """The file grows as the stream does."""

    def __init__(self, run: Run, directory: Path, seed: int, *, late: bool) -> None:
        """``late``: a command is there only when an event tells of it; else all are there from the beginning."""
        recording = run.recording(seed, contents=False)
        self.stream = recording.events
        recorded = Recorded(recording)
        lives = Telling(recorded, [])
        self._places = {}
        for item in recorded.merged():
            self._places[item.event["n"]] = item.place
            lives.event(item)  # which tells the next ones whose incarnation it is
        orders = [one.order for one in run.records if isinstance(one, (Entry, RegistrationEnded))]
        self._ends = [bisect.bisect_right(orders, fact.order) for fact in recorded.facts]
        self._records = run.records
        self._path = directory / LEDGER
        self._path.write_bytes(run.ledger_head())
        self._written = 0
        if not late:
            self._write(len(self._records))

    def before(self, event: Event) -> None:
        place = self._places.get(event["n"], 0)
        if place:
            self._write(self._ends[place - 1])

    def _write(self, end: int) -> None:
        if end > self._written:
            with self._path.open("ab") as file:
                file.write(b"".join(map(packed, self._records[self._written : end])))
            self._written = end


def follow(run: Run, directory: Path, seed: int, *, late: bool) -> tuple[LiveClaims, int]:
    """Tell a run while its ledger is written; how many events were told until a claim did not hold, or all."""
    directory.mkdir(exist_ok=True)
    ledger = Ledger(run, directory, seed, late=late)
    live = LiveClaims(directory, ledger.stream[0], fence="scsi", election=run.election)
    told = 0
    with contextlib.suppress(ClaimFailed):  # it is kept
        for event in ledger.stream[1:]:
            told += 1
            ledger.before(event)
            live.look()
            live.tell(event)
    return live, told


@pytest.fixture(scope="module", params=range(4))
def honest(request: pytest.FixtureRequest) -> Run:
    seed: int = request.param
    return record(draw(seed, nodes=2 + seed))


@pytest.mark.parametrize("late", [False, True], ids=["ledger-first", "ledger-late"])
def test_an_honest_run_is_never_found_wrong(honest: Run, late: bool, tmp_path: Path) -> None:
    for order in ORDERS:
        live, told = follow(honest, tmp_path, order, late=late)
        assert live.violation is None, live.violation
        assert told == len(honest.stream(order)) - 1
        assert live.suspicions <= SUSPICIONS_MAX


def test_every_part_of_an_honest_run_is_honest(honest: Run) -> None:
    """A suspicion has all that came so far judged, whatever is on its way yet."""
    recording = honest.recording(1, contents=False)
    lengths = random.Random(1).sample(range(1, len(recording.events)), 25)
    for length in lengths:
        judgement = judge(replace(recording, events=recording.events[:length]))
        assert judgement.violated == [], judgement.failure()


@pytest.mark.parametrize(
    ("claim", "forge"),
    [pytest.param(*one[:2], id=f"{one[0]}: {one[1].__name__}") for one in FORGED if one[0] not in AT_THE_END],
)
def test_a_forged_run_is_found_before_its_end(  # S2.5, S3.2, S4.4, S4.5, S6.1, S6.2
    simulated: Run, claim: str, forge: Callable[[Run], None], tmp_path: Path
) -> None:
    run = copy.deepcopy(simulated)
    forge(run)
    live, told = follow(run, tmp_path, 0, late=True)
    first = "panics" if forge is not_fenced else claim  # which shows before the contents of the disk could
    assert f"{first}: " in str(live.violation)
    assert told < len(run.stream(0)) - 1, "the last event is the end of the bench"


@pytest.mark.parametrize(
    ("mutant", "claim"),
    [("no-fence", "fence_first|panics"), ("barrier-skipped", "transitions"), ("writes-elsewhere", "one_writer")],
)
def test_a_guestd_that_is_broken_on_purpose_is_found_before_the_end(  # S2.5, S4.5, S6.1
    mutant: str, claim: str, tmp_path: Path
) -> None:
    broken = BY_NAME[mutant]
    found: ClaimFailed | None = None
    with broken.applied():
        for seed in range(SEEDS_MAX):
            live, _ = follow(record(broken.options(seed)), tmp_path / str(seed), seed, late=True)
            if (found := live.violation) is not None:
                break
    assert re.search(rf"\b({claim}): ", str(found))  # what is told first, the fence or the panic, is the seed's


# -- the wait of a scenario


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FakeBench]:
    with fake_bench(f"t-live-{os.getpid()}-{next(NUMBERS)}", tmp_path, nodes=3) as bench:
        bench.all_joined()
        yield bench


NUMBERS = itertools.count()


def two_masters(bench: FakeBench) -> None:
    """Of the epoch in which all have joined."""
    members = {str(i): {"state": "joined", "incarnation": 1} for i in range(3)}
    bench.log.emit("membership", node=2, epoch=1, step=2, master=2, nodes=members)


def never(view: View) -> str:
    return "it never comes"


def test_a_wait_ends_with_the_event_that_shows_a_violation(bench: FakeBench) -> None:  # S10.9
    with ScenarioCluster(bench.name) as cluster:
        cluster.wait_joined()
        begun = threading.Timer(0.3, two_masters, [bench])
        begun.start()
        with pytest.raises(ClaimFailed, match=r"one_owner: an epoch has one owner \(S3\.2\): VIOLATED") as caught:
            cluster.wait(never, 60.0, about="what never comes")
        begun.join()
        assert cluster.claims is not None
        assert caught.value is cluster.claims.violation
        assert cluster.catch_up().newest.master == 2, "no event is lost by that, and it is told once"


def test_a_write_that_nothing_tells_of_ends_a_wait_too(bench: FakeBench) -> None:  # S2.5
    """The disk's ledger alone shows it."""
    empty = Run(3, [], [], {})
    path = bench.run_dir / LEDGER
    with ScenarioCluster(bench.name) as cluster:
        cluster.wait_joined()
        path.write_bytes(empty.ledger_head())
        cluster.poll()

        def write() -> None:
            name = NexusName(0, "iqn.2026-11.hil:n0", "127.0.0.1:3260")
            lba = layout.region_lba(1, 0)
            entry = Entry(0, 0, 0, name, 0, WRITE_10, 0, lba, 1, bytes(DIGEST_BYTES), 0, NO_SENSE, True)
            with path.open("ab") as file:
                file.write(packed(entry))

        begun = threading.Timer(0.3, write)
        begun.start()
        with pytest.raises(ClaimFailed, match="one_writer: a sector of the membership database has one writer"):
            cluster.wait(never, 60.0, about="what never comes")
        begun.join()


def test_a_verb_tells_of_a_violation_too_and_has_been_carried_out(bench: FakeBench) -> None:
    with ScenarioCluster(bench.name) as cluster:
        cluster.wait_joined()
        two_masters(bench)
        with pytest.raises(ClaimFailed, match="one_owner"):
            cluster.freeze(cluster.nodes[0])
        assert [call for call, _ in bench.calls] == ["freeze"]
        cluster.thaw(cluster.nodes[0])


def test_where_the_disk_lies_nothing_is_judged(bench: FakeBench) -> None:
    with ScenarioCluster(bench.name) as cluster:
        bench.log.emit("fault-injected", fault="disk-torn", node=0, number=1, verified=True, lba=None)
        two_masters(bench)
        assert cluster.catch_up().newest.master == 2


def test_after_an_event_that_cannot_be_nothing_is_judged_before_the_end(bench: FakeBench) -> None:
    with ScenarioCluster(bench.name) as cluster:
        bench.log.emit("registered", node=1)  # which key?
        two_masters(bench)
        assert cluster.catch_up().newest.master == 2
