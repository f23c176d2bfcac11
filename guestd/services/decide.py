"""What is to be done for the client services: a function of the database and of who is there (spec S9).

Any node may decide, with the file lock in its hand; what it decides is one transaction. Each rule looks at one service
and takes one step, which is an entry of the table of states; rules are applied until nothing changes. So it does not
matter who decides, how often, or how much happened meanwhile: a node that dies before its transaction is written has
done nothing, and after that there is nothing left to do.
"""

from __future__ import annotations

from guestd.services.choose import chosen, instances_of, is_mature
from guestd.services.service import NOWHERE, Instance, member_json, service_json
from guestd.services.service import member as but
from guestd.services.states import INSTANCE_STATES, InstanceState
from guestd.transition.states import SubsystemState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Any

    from guestd.services.database import Database
    from guestd.services.service import Member, Service
    from guestd.services.view import View

    Step = dict[str, Any]


class Decision:
    """A working copy of the database, with what was changed in it."""

    def __init__(self, database: Database, view: View, expired: Collection[str] = ()) -> None:
        """expired: the services whose maturity_time has passed."""
        self.database = database
        self.steps: list[Step] = []  # for the host's events, in order
        self._view = view
        self._expired = expired
        self._before, self._before_members = database.services, database.members
        self._before_groups = database.groups
        self._before_life = database.life
        database.services, database.members = dict(database.services), dict(database.members)
        database.groups = dict(database.groups)
        self._busy = instances_of(database)
        self._children: dict[str, list[str]] = {}
        for name in sorted(database.services):
            self._children.setdefault(database.services[name].definition.parent, []).append(name)

    # -- what has changed

    def changes(self) -> dict[str, Any]:
        """For the transaction: key -> value. The database is as it was, after that."""
        database = self.database
        made: dict[str, Any] = {}
        if database.life != self._before_life:
            made["life"] = database.life
        for node in sorted(self._before_members.keys() | database.members.keys()):
            member = database.members.get(node)
            if member != self._before_members.get(node):
                made[f"node/{node}"] = None if member is None else member_json(member)
        for name in sorted(self._before.keys() | database.services.keys()):
            service = database.services.get(name)
            if service is not self._before.get(name):
                made[f"service/{name}"] = None if service is None else service_json(service)
        for name in sorted(self._before_groups.keys() | database.groups.keys()):
            group = database.groups.get(name)
            if group is not self._before_groups.get(name):
                made[f"group/{name}"] = group
        database.services, database.members = self._before, self._before_members
        database.groups, database.life = self._before_groups, self._before_life
        return made

    def put(self, service: Service) -> None:
        """A service has changed, or is new."""
        name = service.name
        if name not in self.database.services:
            self._children.setdefault(service.definition.parent, []).append(name)
            self._children[service.definition.parent].sort()
        self.database.services[name] = service

    def forget(self, name: str) -> None:
        """A service is no more."""
        self._children[self.database.services[name].definition.parent].remove(name)
        del self.database.services[name]
        self.steps.append({"service": name, "state": "removed"})

    def put_member(self, node: int, member: Member) -> None:
        """A node has changed."""
        self.database.members[node] = member

    def root(self, service: Service) -> Service:
        """Whose choosing parameters count for it."""
        while service.definition.parent:
            service = self.database.services[service.definition.parent]
        return service

    def group(self, name: str) -> Iterator[str]:
        """That service and all its descendants, each before its children."""
        yield name
        for child in self._children.get(name, ()):
            yield from self.group(child)

    def children(self, name: str) -> list[str]:
        """By name."""
        return self._children.get(name, [])

    # -- one entry of the table

    def step(self, service: Service, one: Instance, trigger: str, **changed: Any) -> Service:
        """The instance takes the trigger; the service as it is then. changed: fields of the service."""
        state = INSTANCE_STATES.next(one.state, trigger)
        if one.state is not InstanceState.DEREGISTERED:
            self._busy[one.node] -= 1
        moved: Instance | None = None
        if state is not InstanceState.DEREGISTERED:
            node, incarnation, lost = one.node, one.incarnation, one.lost
            if trigger.startswith("lost") or trigger == "recovery-failed":
                lost = one.node if one.state is not InstanceState.RECOVERING else one.lost
                node, incarnation = NOWHERE, 0
            moved = Instance(one.registration, node, incarnation, state, one.reason, lost)
            self._busy[node] = self._busy.get(node, 0) + 1
        service = service.with_instance(one.registration, moved).but(**changed)
        self.put(service)
        self._tell(service, one.node if moved is None else moved.node, state, one.registration, trigger)
        return service

    def _tell(self, service: Service, node: int, state: InstanceState, registration: int, why: str) -> None:
        flags = "".join(
            letter for letter, there in (("T", service.transfer), ("N", service.definition.has("notify"))) if there
        )
        self.steps.append(
            {
                "service": service.name,
                "node": None if node == NOWHERE else node,
                "state": state.value,
                "registration": registration,
                "flags": flags,
                "why": why,
            }
        )

    # -- the rules

    def settle(self) -> None:
        """Apply the rules until nothing changes."""
        self._note_failures()
        self._bar()
        for root in list(self._children.get("", ())):
            while self._one_of(root):
                pass

    def _note_failures(self) -> None:
        """Each forced leave counts once against its node (A20)."""
        for node, member in sorted(self.database.members.items()):
            seen = self._view.seen[node]
            forced = seen.state is SubsystemState.FORCED_LEAVING and seen.incarnation == member.incarnation
            if forced and not member.forced_out:
                self.put_member(node, but(member, failures=member.failures + 1, forced_out=True))

    def _bar(self) -> None:
        """A node that leaves and has never taken part is not to begin with it: others acknowledge its leave."""
        for node, seen in enumerate(self._view.seen):
            before = self.database.members.get(node)
            if self._view.leaving(node) and (before is None or before.incarnation < seen.incarnation):
                self.put_member(node, but(before, incarnation=seen.incarnation, load=0, forced_out=False, left=True))

    def _one_of(self, root: str) -> bool:
        """One step of one service of that group; whether there was one to take."""
        services = self.database.services
        names = [name for name in self.group(root) if name in services] if root in services else []
        for name in names:
            if self._lose(services[name]) or self._ripen(services[name]):
                return True
        for name in reversed(names):  # children first
            if self._recover(services[name]) or self._stop(services[name]):
                return True
        return any(self._start(services[name]) or self._tidy(services[name]) for name in names)

    def _lose(self, service: Service) -> bool:
        """Instances whose node has gone."""
        for one in service.instances:
            if one.node != NOWHERE and not self._view.lives(one.node, one.incarnation):
                goes_on = one.state in (InstanceState.STARTING, InstanceState.RECOVERING)
                recovers = goes_on or service.definition.has("recovery")
                self.step(service, one, "lost" if recovers else "lost-without-recovery", reason="failover")
                return True
        return False

    def _recover(self, service: Service) -> bool:
        """A recovery for which no node is chosen: children first, on a node that the parameters allow."""
        waiting = [one for one in service.instances if one.state is InstanceState.RECOVERING and one.node == NOWHERE]
        root = self.root(service)
        if not waiting:
            return False
        if not service.definition.has("recovery"):  # an administrator has taken it out meanwhile
            self.step(service, waiting[0], "recovered")
            return True
        if not root.mature:
            return False
        below = [self.database.services[name] for name in self.group(service.name) if name != service.name]
        if any(one.state is InstanceState.RECOVERING for child in below for one in child.instances):
            return False
        node = chosen(root.but(failed=root.failed + service.failed), self.database, self._view, self._busy)
        if node == NOWHERE:
            return False
        one = waiting[0]
        self._busy[node] = self._busy.get(node, 0) + 1
        moved = Instance(
            one.registration, node, self._view.seen[node].incarnation, InstanceState.RECOVERING, one.reason, one.lost
        )
        service = service.with_instance(one.registration, moved)
        self.put(service)
        self._tell(service, node, InstanceState.RECOVERING, one.registration, "chosen")
        return True

    def _stop(self, service: Service) -> bool:
        """Registered where it should not be any more; its children have gone from there."""
        for one in service.instances:
            if one.state is not InstanceState.REGISTERED or self._stays(service, one.node):
                continue
            goes = self._view.leaving(one.node) and service.enabled and not service.transfer
            if goes and not service.definition.parent and not service.definition.on_all:  # spec S9.6
                self.put(service.but(transfer=True, target=NOWHERE, away=one.node, reason="transfer"))
                return True
            if any(self.database.services[name].on(one.node) for name in self.children(service.name)):
                continue
            self.step(service, one, "stop" if service.definition.has("stop") else "stop-without-stop")
            return True
        return False

    def _stays(self, service: Service, node: int) -> bool:
        """Whether nothing speaks against its being registered there."""
        one = service.on(node)
        if one is None or one.state is not InstanceState.REGISTERED:
            return False
        if not service.enabled or service.transfer or self._view.leaving(node):
            return False
        parent = service.definition.parent
        return not parent or self._stays(self.database.services[parent], node)

    def _start(self, service: Service) -> bool:
        if not service.enabled:
            return False
        if service.definition.parent:
            return self._start_child(service)
        if not service.mature:
            return False
        members = [self.database.services[name] for name in self.group(service.name)]
        if service.definition.on_all:
            taken = {one.node for member in members for one in member.instances}
            lost = {one.lost for member in members for one in member.instances}
            for node in range(len(self._view.seen)):
                if node not in taken and node not in lost and self._may_have(service, node):
                    self._register(service, node)
                    return True
            return False
        if any(member.instances for member in members):
            return False
        node = chosen(service, self.database, self._view, self._busy)
        if node == NOWHERE:
            if service.transfer or service.target != NOWHERE or service.away != NOWHERE:
                # Nobody is left to take it: the intent is cleared (spec S9.9 A, t13).
                self.put(service.but(transfer=False, target=NOWHERE, away=NOWHERE))
                return True
            return False
        self._register(service, node)
        return True

    def _start_child(self, service: Service) -> bool:
        """Wherever its parent is registered, and stays (spec S9.4)."""
        parent = self.database.services[service.definition.parent]
        for one in parent.instances:
            failed = (one.node, one.incarnation) in service.failed
            if self._stays(parent, one.node) and not failed and service.on(one.node) is None:
                if any(own.state is InstanceState.RECOVERING for own in service.instances):
                    continue
                self._register(service.but(reason=one.reason), one.node)
                return True
        return False

    def _may_have(self, service: Service, node: int) -> bool:
        one = service.but(target=NOWHERE, away=NOWHERE)
        if not self._view.up(node, self.database) or not one.definition.allows(node):
            return False
        return (node, self._view.seen[node].incarnation) not in one.failed

    def _register(self, service: Service, node: int) -> None:
        definition = service.definition
        number = service.count + 1
        new = Instance(
            number, node, self._view.seen[node].incarnation, InstanceState.DEREGISTERED, service.reason, NOWHERE
        )
        has_start = definition.has("start")
        done = {} if has_start else {"transfer": False, "target": NOWHERE, "away": NOWHERE}
        self.step(service, new, "register" if has_start else "register-without-start", count=number, **done)

    def _ripen(self, service: Service) -> bool:
        """The cluster has become mature for it, and stays so for as long as the cluster lives (spec S9.3)."""
        wanted = service.enabled or any(self.database.services[name].instances for name in self.group(service.name))
        expired = service.name in self._expired
        if service.mature or not wanted or service.definition.parent:
            return False
        if not is_mature(service, self.database, self._view, expired=expired):
            return False
        self.put(service.but(mature=True))
        return True

    def _tidy(self, service: Service) -> bool:
        """What is de-registered and to be removed, with its children gone; failures of lives that are over."""
        if service.removing and not service.instances and not self.children(service.name):
            self.forget(service.name)
            return True
        if service.transfer and not service.enabled and not service.instances:
            self.put(service.but(transfer=False, target=NOWHERE, away=NOWHERE))
            return True
        current = tuple(pair for pair in service.failed if self._view.seen[pair[0]].incarnation == pair[1])
        if current != service.failed:
            self.put(service.but(failed=current))
            return True
        return False
