"""When the moments of a plan are due on this cluster: a boot takes its time, on each machine another.

A plan of a recorded run knows when all nodes had joined again after some of them had been down. What came later is as
long after that here, whenever it is: a fault that struck a cluster that was whole strikes one that is whole.

::

    recorded   power-off 1 at 0, on at 500        all joined at 3000    freeze 0 at 3200
    here       power-off 1 at 0, on at 500                              all joined at 9000    freeze 0 at 9200

Likewise a fault that had struck in the recording is not over before it has struck here, nothing that came after a
node's panic comes before it panics, and all that follows comes as much later (:meth:`Pace.stand`).
"""

from __future__ import annotations

from collections.abc import Sequence


class Pace:
    """``moments``: milliseconds of the plan at which all had joined again; ``limit_s``: so long it is waited for one.

    One that has not come by then is given up: what came after it comes all the same.
    """

    def __init__(self, moments: Sequence[int], begun_s: float, limit_s: float) -> None:
        self._moments = list(moments)
        self._limit_s = limit_s
        self._from_ms = 0
        self._from_s = begun_s
        self._before_s = begun_s  # all that comes before is due

    def due_s(self, at_ms: int) -> float | None:
        """By the cluster's clock; None: all must have joined again first."""
        return None if self._moments and at_ms >= self._moments[0] else self._at_s(at_ms)

    def is_next(self, moments_ms: Sequence[int]) -> bool:
        """Whether none of these, which are not done yet, comes before that all have joined again."""
        return bool(self._moments) and all(at_ms >= self._moments[0] for at_ms in moments_ms)

    def go_on(self, now_s: float, *, joined: bool) -> bool:
        """All that was before the next moment is done: whether what comes after it may, since all are ``joined``."""
        if not joined and now_s < self._at_s(self._moments[0]) + self._limit_s:
            return False
        self._from_ms, self._from_s = self._moments.pop(0), now_s
        return True

    def stand(self, before_ms: int, now_s: float, until_s: float) -> bool:
        """If that moment has come: it has not, but comes at ``until_s``, and all after it as much later. Whether so."""
        due_s = self.due_s(before_ms)
        if due_s is None or due_s > now_s:
            return False
        self._from_ms, self._from_s, self._before_s = before_ms, until_s, now_s
        return True

    def _at_s(self, at_ms: int) -> float:
        return self._before_s if at_ms < self._from_ms else self._from_s + (at_ms - self._from_ms) / 1000
