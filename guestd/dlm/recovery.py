"""What dead nodes held, until the levels above have recovered what it protected (spec S7.1, A13).

A living master keeps the locks of a dead node as orphans. Where the master itself has died, nobody knows what the dead
node held: the tree is withheld, and so is every resource that comes into being while a recovery is open, for the dead
node may have mastered it and held it alone. Both bar everybody but locks that serve the recovery.

For guestd's own levels the recovery after a life is over when its forced leave has passed the last of them everywhere:
what they guard, the levels above use to recover, and wait for. For programs it is over when it has come through all
levels. The membership says both, by no longer naming it (`LockManager.recovering`).
"""

from __future__ import annotations

from guestd.dlm.names import PROGRAM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from guestd.dlm.mastery import Mastery
    from guestd.dlm.site import Site

    Life = tuple[int, int]  # node and incarnation


class Recovery:
    """Of one lock manager."""

    __slots__ = ("_mastery", "_site")

    def __init__(self, site: Site, mastery: Mastery) -> None:
        self._site = site
        self._mastery = mastery

    def under_way(self, lives: list[Life], below: list[Life]) -> None:
        """The dead lives after which somebody has still to recover, and those after which a level of guestd's own has;
        what is named no more is let go."""
        for programs, recovering in ((False, below), (True, lives)):
            for life in self._site.recover(recovering, programs=programs):
                self._let_go(life, programs=programs)

    def _let_go(self, life: Life, *, programs: bool) -> None:
        """The one place where locks of a dead node are released."""
        for root in list(self._mastery.trees):
            if root.startswith(PROGRAM) is not programs:
                continue
            for resource in list(self._mastery.trees[root].values()):
                orphans = [entry for entry in resource.granted if entry.orphan_of == life]
                for entry in orphans:
                    resource.release(entry)
                withheld = life in resource.withheld
                if withheld:
                    resource.withheld.remove(life)
                if (orphans or withheld) and not self._site.stopped:
                    self._mastery.settle(resource)
