"""All timing of a cluster: the periods, the patience, and what must hold between them.

The timeline of a silent loss (spec S5.1, S5.2). T=0 is the last that anybody heard of a node, in milliseconds:

T=0                       its last datagram; its next one would have come after heartbeat_ms
T=hears_ms                the others publish on the disk that they do not hear it any more; a node whose link is cut
                          publishes the same of them, if it lives and sees the disk
T=death_ms                at their next tick the others suspect it. Each suspects by its own clock, a lost datagram
                          earlier than another, and from now on writes and reads the disk at every tick
T=death_ms + settle_ms    at its next tick the one whose turn it is acts: everybody has published and read whom
                          everybody hears, so all compute the same group. It wins an epoch and commits the new
                          membership: five disk commands, after two at most that were under way. That is what is
                          agreed; the survivors hear of it by the datagram that follows
+ disk_heartbeat_ms       the loser, if it lives and sees the disk, reads that it is out, and panics. So does a survivor
                          that lost the datagram read what was agreed

The worst case at the defaults is the sum of these: 1200 + 100 until somebody suspects, 400 + 100 until somebody acts,
and what the disk takes: `agreed_ms_max` is 1800, then seven disk commands. That is to stay below 2 s (Corosync's
default for three nodes is 8 s). A node that can still tell the others that it ends spares them this (`datagram.py`).

The defaults are for a machine with KVM, whose virtual processors are late by a few milliseconds; the host multiplies
them (`scaled`) by a factor that it has measured.
"""

from __future__ import annotations

from guestd.core.value import Value

# A gap between two ticks, or two reads of the disk, counts for at most so many periods of silence: in a longer one this
# node was itself not able to notice anything (`membership/observer.py`).
GAP_PERIODS_MAX = 2

# A node that should form the cluster and does not is waited for this many times death_ms; then others try. The election
# makes a race of two harmless.
PATIENCE_DEATHS = 3

# After so long what programs have written to files is on the medium, also when they have not asked for it.
SYNCHRONIZE_MS = 5000


class Timing(Value):
    """Periods and patience, all in milliseconds of the node's monotonic clock."""

    heartbeat_ms: int = 100  # between datagrams, and between ticks
    disk_heartbeat_ms: int = 250  # from one round of the disk to the next: a heartbeat written, all regions read
    death_ms: int = 1200  # silence that makes a member suspect
    settle_ms: int = 400  # from a suspicion until everybody's view of it is on the disk
    subsystem_ms: int = 10_000  # for a subsystem to acknowledge; then its node panics (spec S4.13)

    @property
    def hears_ms(self) -> int:
        """Silence up to which a node is still reported as heard.

        Half of death_ms: when the first node suspects somebody, one that got the last datagram a little later must not
        report him as heard, or the published views would differ for one and the same fault.
        """
        return self.death_ms // 2

    @property
    def broken_ms(self) -> int:
        """How long a broken link between two others is seen on the disk before it is acted upon.

        Its ends published it at hears_ms, and suspect each other at death_ms.
        """
        return self.death_ms - self.hears_ms + self.settle_ms

    @property
    def patience_ms(self) -> int:
        """How long another node is waited for to form the cluster."""
        return PATIENCE_DEATHS * self.death_ms

    @property
    def agreed_ms_max(self) -> int:
        """From the last sign of life of a node until a new membership is decided, without what the disk takes."""
        return self.death_ms + self.heartbeat_ms + self.settle_ms + self.heartbeat_ms

    @property
    def lease_ms(self) -> int:
        """With fence = "panic": a member that has not seen the disk say so for so long panics (spec S6.5)."""
        return self.death_ms

    @property
    def hold_ms(self) -> int:
        """With fence = "panic": from the epoch that forces a node out until anything is done in its place.

        Its lease, which began before that epoch, and as long again as it may stand still or a write may be under way.
        """
        return self.lease_ms + self.settle_ms

    @property
    def rounds_in_death(self) -> int:
        """Whole disk periods within death_ms. A round is two disk commands of a node, however many nodes there are."""
        return self.death_ms // self.disk_heartbeat_ms

    def contest_ms(self, rounds_left: int) -> int:
        """Mode `dekker`: how long a contender is waited for that lives and does nothing (`membership/rivals.py`).

        One that waits itself, for one that has died a round later, is on its way again after death_ms.
        """
        return (2 + rounds_left) * self.death_ms

    def bid_again_ms(self, node: int) -> int:
        """Patience after a lost bid: nodes with higher ids wait longer, so that they do not collide again."""
        return self.disk_heartbeat_ms * (1 + node)


class Rule(Value):
    """What must hold between two times: `name` is at least, at most or more than `times` x `other`, and why."""

    name: str
    relation: str  # one of RELATIONS
    times: int
    other: str
    why: str

    @property
    def bound(self) -> str:
        """The right side, as it is told."""
        return self.other if self.times == 1 else f"{self.times} x {self.other}"

    def holds(self, timing: Timing) -> bool:
        """Whether these times keep it."""
        value: int = getattr(timing, self.name)
        bound: int = self.times * getattr(timing, self.other)
        if self.relation == "<=":
            return value <= bound
        return value > bound if self.relation == ">" else value >= bound


RELATIONS = {">": "more than", ">=": "at least", "<=": "at most"}

RULES = (
    Rule("disk_heartbeat_ms", ">=", 1, "heartbeat_ms", "the tick is what begins a round of the disk"),
    Rule("death_ms", ">=", 4, "heartbeat_ms", "three lost datagrams are not a death"),
    # So much one gap counts at most, so one late round is no silence. It also leaves two rounds between T=hears_ms and
    # T=death_ms, to publish and to read.
    Rule("hears_ms", ">", GAP_PERIODS_MAX, "disk_heartbeat_ms", "one late round of the disk is not a death"),
    Rule("settle_ms", ">=", 1, "disk_heartbeat_ms", "a view is judged only after it can have been written"),
    # The node whose turn it is to form the cluster waits for signs of life (death_ms) and for others (settle_ms).
    Rule(
        "settle_ms", "<=", PATIENCE_DEATHS - 1, "death_ms", "after so long and another death_ms others try to form it"
    ),
)


def scaled(timing: Timing, factor: float) -> Timing:
    """All times multiplied, in whole milliseconds."""
    return Timing(*(round(getattr(timing, name) * factor) for name in Timing.value_fields))


def check_timing(timing: Timing) -> None:
    """Raises ValueError if these times contradict each other; the host asks the same before it starts a cluster."""
    for name in Timing.value_fields:
        if getattr(timing, name) < 1:
            raise ValueError(f"timing.{name} = {getattr(timing, name)} must be at least 1 ms")
    for rule in RULES:
        if not rule.holds(timing):
            value = f"{getattr(timing, rule.name)}"
            if rule.name == "hears_ms":  # nobody chooses it
                value += f" (half of death_ms = {timing.death_ms})"
            raise ValueError(
                f"timing.{rule.name} = {value} must be {RELATIONS[rule.relation]} {rule.bound} = "
                f"{rule.times * getattr(timing, rule.other)}: {rule.why}"
            )
