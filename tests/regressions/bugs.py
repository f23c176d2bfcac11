"""The bugs that the simulator has found in guestd, put back: each undoes what its fix changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from guestd.fence.registration import Registration
from guestd.membership.connectivity import mask_of
from guestd.membership.election import Election
from guestd.membership.office import Office
from guestd.membership.roles import Role
from guestd.membership.suspicion import Suspicion

Patch = pytest.MonkeyPatch


def _always(value: object) -> property:
    """An attribute that cannot be set: it is always that."""
    return property(lambda _self: value, lambda _self, _given: None)


def given_epoch_not_taken(patch: Patch) -> None:
    """Who gave way just before another node took over its value does not look at that one's block."""
    patch.setattr(Election, "given", lambda _self, _incarnation, _after_epoch: False)


def own_broken_links_not_counted(patch: Patch) -> None:
    """A link of which the other end hears nothing is no broken one for the node at this end."""
    update = Suspicion._update_broken

    def without_own(self: Suspicion, members: list[int]) -> None:
        update(self, members)
        self._broken = {pair: since for pair, since in self._broken.items() if self._observer.node not in pair}

    patch.setattr(Suspicion, "_update_broken", without_own)


def everybody_ripe_with_one(patch: Patch) -> None:
    """When one member has been missed for long enough, anybody may be left out of the group."""
    ripe_now = Suspicion._ripe

    def all_at_once(self: Suspicion) -> int:
        ripe = ripe_now(self)
        return -1 if ripe & ~mask_of(self._gasped) else ripe

    patch.setattr(Suspicion, "_ripe", all_at_once)


def failed_commit_rewritten(patch: Patch) -> None:
    """After a commit that failed the next step is made anew, under the same number."""
    patch.setattr(Office, "_step", _always(None), raising=False)


def damaged_life_not_counted(patch: Patch) -> None:
    """A life counts by its heartbeat only, not by the key that it has left."""
    patch.setattr(Registration, "earlier", _always(0), raising=False)


def living_master_not_fenced(patch: Patch) -> None:
    """Who takes the office from a master that lives does not fence it."""
    patch.setattr(Office, "_replaced_master", lambda _self: ())


def own_office_fenced(patch: Patch) -> None:
    """A member takes the master of its epoch for another node, also if that is itself."""

    def replaced(self: Office) -> tuple[int, ...]:
        return (self._member.view.master,) if self._member.role is Role.MEMBER else ()

    patch.setattr(Office, "_replaced_master", replaced)


@dataclass(frozen=True)
class Bug:
    """``file``: the run that shows it, beside this module, without its ``.py``; there it is told what it was."""

    file: str
    put_back: Callable[[Patch], None]


BUGS = [
    Bug("given_epoch", given_epoch_not_taken),
    Bug("cut_outwards", own_broken_links_not_counted),
    Bug("innocent_third", everybody_ripe_with_one),
    Bug("failed_commit", failed_commit_rewritten),
    Bug("damaged_life", damaged_life_not_counted),
    Bug("living_master", living_master_not_fenced),
    Bug("own_office", own_office_fenced),
]
