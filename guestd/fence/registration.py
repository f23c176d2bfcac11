"""How a new life of a node comes to its right to write, on every disk (spec S6.3).

1. READ KEYS: which keys earlier lives of this node have left.
2. Of each: PREEMPT AND ABORT under that very key, which ends what that life has queued. A conflict: the key is another
   path's, perhaps another machine's that was given this node's id; it is not touched until that is known.
   Both on LUN 0, then on each further disk.
3. REGISTER AND IGNORE EXISTING KEY with the new one. So the key of a life is on a disk until its commands are not:
   who fences a victim and finds no key of it knows that nothing of it can land there any more.
4. Keys of this node that are another path's are preempted under the new one.
5. RESERVE, which changes nothing if it is reserved so already.
6. READ KEYS: the new key may be there once only. Twice: another machine that was given this node's id begins at the
   same time. This one takes its registration back and begins anew a little later, when it finds the other one's.
   All four on LUN 0, then on each further disk: who is registered anywhere is, or was, registered there.
"""

from __future__ import annotations

from guestd.fence import persistent_reserve as pr
from guestd.fence.keys import key_of, life_of, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guestd.core.context import Context
    from guestd.fence.reservations import Reservations

    Registered = Callable[[bool, str | None], None]


class Registration:
    """The steps, one after the other; at most one sequence at a time."""

    def __init__(self, context: Context, reservations: Sequence[Reservations]) -> None:
        """reservations: of every disk, by LUN."""
        self._context = context
        self._reservations = reservations
        self._elsewhere: list[list[int]] = [[] for _ in reservations]
        self.earlier = 0
        """The newest life of this node that has left a key."""
        self.lun = 0
        """Of the disk that it is busy with, or with which it has ended."""

    def end_earlier(self, then: Callable[[list[int] | None], None]) -> None:
        """Steps 1 and 2; then(the keys of this node on LUN 0 that are another path's), None: a disk did not answer."""
        self._elsewhere = [[] for _ in self._reservations]
        self._end_earlier_at(0, then)

    def _end_earlier_at(self, lun: int, then: Callable[[list[int] | None], None]) -> None:
        if lun == len(self._reservations):
            then(self._elsewhere[0])
            return
        self.lun = lun

        def have_keys(keys: list[int] | None) -> None:
            if keys is None:
                then(None)
                return
            own = [key for key in keys if (life_of(key) or (-1, 0))[0] == self._context.node]
            self.earlier = max([self.earlier, *((life_of(key) or (0, 0))[1] for key in own)])
            self._end(sorted(set(own)), lambda done: self._end_earlier_at(lun + 1, then) if done else then(None))

        self._reservations[lun].read_keys(have_keys)

    def _end(self, earlier: list[int], then: Callable[[bool], None]) -> None:
        if not earlier:
            then(True)
            return
        key, *others = earlier

        def ended(status: int) -> None:
            if status == pr.GOOD:
                self._context.emit("earlier-life-aborted", key=shown(key), **self._where)
                self._end(others, then)
            elif status == pr.RESERVATION_CONFLICT:
                self._elsewhere[self.lun].append(key)
                self._end(others, then)
            else:
                then(False)

        self._reservations[self.lun].preempt_and_abort(key, key, ended)

    @property
    def _where(self) -> dict[str, int]:
        return {"lun": self.lun} if self.lun else {}

    def take(self, incarnation: int, then: Registered) -> None:
        """Steps 3 to 6; then(whether it is done, why it can never be done or None); neither: no answer."""
        self._take_at(0, key_of(self._context.node, incarnation), then)

    def _take_at(self, lun: int, new: int, then: Registered) -> None:
        if lun == len(self._reservations):
            self._context.emit("registered", key=shown(new))
            then(True, None)
            return
        self.lun = lun

        def ended(done: bool, refusal: str | None) -> None:
            if done:
                self._take_at(lun + 1, new, then)
            else:
                then(False, f"LUN {lun}: {refusal}" if refusal is not None and lun else refusal)

        self._register(self._elsewhere[lun], new, ended)

    def _register(self, elsewhere: list[int], new: int, then: Registered) -> None:
        def ended(status: int) -> None:
            if status == pr.GOOD:
                self._preempt_elsewhere(elsewhere, new, then)
            elif status in (pr.CHECK_CONDITION, pr.RESERVATION_CONFLICT):
                then(False, f"the disk does not take a registration (status {status:#04x})")
            else:
                then(False, None)

        self._reservations[self.lun].register(new, ended)

    def _preempt_elsewhere(self, elsewhere: list[int], new: int, then: Registered) -> None:
        if not elsewhere:
            self._reserve(new, then)
            return
        key, *others = elsewhere

        def ended(status: int) -> None:
            if status in (pr.GOOD, pr.RESERVATION_CONFLICT):  # a conflict: it was gone before
                self._preempt_elsewhere(others, new, then)
            else:
                then(False, None)

        self._reservations[self.lun].preempt_and_abort(new, key, ended)

    def _reserve(self, new: int, then: Registered) -> None:
        def ended(status: int) -> None:
            if status == pr.GOOD:
                self._verify(new, then)
            elif status == pr.RESERVATION_CONFLICT:
                then(
                    False,
                    "the disk is reserved by somebody else, or in another way (sg_persist --in --read-reservation)",
                )
            elif status == pr.CHECK_CONDITION:
                then(False, "the disk does not take a reservation of type 7 (write exclusive, all registrants)")
            else:
                then(False, None)

        self._reservations[self.lun].reserve(new, ended)

    def _verify(self, new: int, then: Registered) -> None:
        def have_keys(keys: list[int] | None) -> None:
            if keys is not None and keys.count(new) == 1:
                then(True, None)
            elif keys is not None and new in keys:
                self._reservations[self.lun].register(0, lambda _: then(False, None))
            else:
                then(False, None)

        self._reservations[self.lun].read_keys(have_keys)
