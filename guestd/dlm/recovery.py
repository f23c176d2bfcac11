"""What dead nodes held, until the levels above have recovered what it protected (spec S7.1, A13).

A living master keeps the locks of a dead node as orphans. Where the master itself has died, nobody knows what the dead
node held: the tree is withheld, and so is every resource that comes into being while a recovery is open, for the dead
node may have mastered it and held it alone. Both bar everybody but locks that serve the recovery.

The recovery after a life is over when its forced leave has come through all levels on all nodes; the membership says
so, by no longer naming it (`LockManager.recovering`). What protects virtual disks and files is recovered earlier, when
the forced leave has come through guestd's own levels on all nodes: the levels above them work with files, the event
manager with its database, and would wait for themselves.
"""

from __future__ import annotations

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

    def under_way(self, lives: list[Life], kernel: list[Life]) -> None:
        """The dead lives after which somebody has still to recover, and those of them after which one of guestd's own
        levels has; those that are named no more are let go.
        """
        site = self._site
        before = {life: (life in site.recovering, life in site.kernel_recovering) for life in site.recovering}
        site.recovering, site.kernel_recovering = list(lives), list(kernel)
        for life, was in before.items():
            if was != (life in lives, life in kernel):
                self._let_go(life)

    def _let_go(self, life: Life) -> None:
        """The one place where locks of a dead node are released."""
        for root in list(self._mastery.trees):
            if life in self._site.held_back(root):
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
