"""Random faults from a seed, injected and healed at the control socket while the load goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from random import Random
from typing import Any, Final

from hil.scsi.faults.kinds import KINDS, REFUSE_LOGIN, VOLATILE_CACHE
from tests.scsi_campaign.load import name_of
from tests.scsi_campaign.work import BLOCKS, HOT_BLOCKS, INITIATORS
from tests.unit.test_scsi_control import Control

DATA_FAULTS: Final = ("torn", "lost", "misdirected", "flip", "stale")
_AT_ONCE: Final = 10
# What stops commands must not stop the load: for one node, or a few commands, and not for long.
_STOPPING: Final = frozenset({"hang", "delay-writes", "error", "reset", "refuse-login", "offline"})
_WEIGHTS: Final = {VOLATILE_CACHE: 4, "reset": 3, "stale": 2}

Parameters = Callable[[Random], dict[str, Any]]
_PARAMETERS: Final[dict[str, Parameters]] = {
    "slow": lambda r: {
        "ms": r.choice((1, 5, 20)), "spread": r.choice(("fixed", "uniform", "exponential")), "seed": r.randrange(99),
    },
    "error": lambda r: {"sense": r.choice(("medium", "hardware", "not-ready", "busy"))},
    "reset": lambda r: {"when": r.choice(("before", "after"))},
    "torn": lambda r: {"sectors": r.choice((0, 1, 1, 3, 9)), "bytes": r.choice((0, 0, 200, 511))},
    "misdirected": lambda r: {"shift": r.choice((-3, 1, 7, 500, -BLOCKS))},
    "flip": lambda r: {"bits": r.choice((1, 3, 40)), "seed": r.randrange(99)},
    VOLATILE_CACHE: lambda r: {"lose": r.choice(("all", "random")), "seed": r.randrange(99)},
}  # fmt: skip


class Storm:
    """``injected``: number of a fault to what was asked for. ``stop`` ends it; what is in force then stays so."""

    def __init__(
        self, control: Path, addresses: list[str], seed: str, *, kinds: Collection[str] = tuple(KINDS),
        at_once: int = _AT_ONCE,
    ) -> None:  # fmt: skip
        self.injected: dict[int, dict[str, Any]] = {}
        self.power_losses = 0
        self.reverted_blocks = 0
        self._control = control
        self._addresses = addresses
        self._random = Random(seed)
        self._kinds = [kind for kind in sorted(kinds) for _ in range(_WEIGHTS.get(kind, 1))]
        self._at_once = at_once
        self._heal_at: dict[int, float] = {}
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="faults")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Raises what went wrong."""
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the control socket does not answer"
        if self._failed is not None:
            raise self._failed

    def heal_all(self) -> None:
        """All that is in force; what they held goes on."""
        with Control(self._control) as control:
            self._ask(control, {"heal": "all"})

    def _run(self) -> None:
        try:
            with Control(self._control) as control:
                while not self._stop.wait(self._random.uniform(0.001, 0.012)):
                    self._step(control)
        except (ConnectionError, ValueError):
            pass  # the target was killed, and gives no answer or half of one; who kills it looks at what it left
        except BaseException as error:  # noqa: BLE001
            self._failed = error

    def _step(self, control: Control) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._heal_at.items() if due <= now]:
            del self._heal_at[number]
            self._ask(control, {"heal": number}, legal="does not exist")
        if VOLATILE_CACHE in self._kinds and self._random.random() < 0.15:
            losers = self._random.sample(range(INITIATORS), self._random.choice((1, 2, INITIATORS)))
            answer = self._ask(control, {"power-loss": [name_of(number) for number in losers]}, legal="was never here")
            self.power_losses += answer["ok"]
            self.reverted_blocks += answer.get("blocks", 0)
        elif len(self._heal_at) < self._at_once:
            request = self._request()
            answer = self._ask(control, request, legal="is injected already")
            if answer["ok"]:
                self.injected[answer["fault"]] = request
                self._heal_at[answer["fault"]] = now + self._random.uniform(0.02, 0.4)
        else:
            self._ask(control, {"status": True})

    def _ask(self, control: Control, request: dict[str, Any], legal: str = "") -> dict[str, Any]:
        answer: dict[str, Any] = control.ask(request)
        assert answer["ok"] or (legal and legal in answer["error"]), f"{request}: {answer}"
        return answer

    def _request(self) -> dict[str, Any]:
        random = self._random
        name = random.choice(self._kinds)
        kind = KINDS[name]
        request: dict[str, Any] = {"fault": name, "lun": random.choice((None, 0)) if name != REFUSE_LOGIN else None}
        node = random.randrange(INITIATORS)
        request |= random.choice(({"portal": self._addresses[node]}, {"initiator": name_of(node)}, {}))
        if kind.directions:
            request["direction"] = random.choice((None, *sorted(kind.directions)))
            if random.random() < 0.5:
                first = random.choice((random.randrange(HOT_BLOCKS), random.randrange(BLOCKS)))
                request["lba"] = [first, first + random.choice((0, 20, 500))]
            if random.random() < 0.4:
                request["count"] = random.choice((1, 2, 10))
        if random.random() < 0.4:
            request["seconds"] = random.uniform(0.01, 0.3)
        if name in _STOPPING and "portal" not in request and "initiator" not in request:
            if kind.directions:
                request["count"] = random.randrange(1, 9)
            request["seconds"] = random.uniform(0.01, 0.05)
        parameters = _PARAMETERS.get(name)
        if parameters is not None:
            request["parameters"] = parameters(random)
        return request
