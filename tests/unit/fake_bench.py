"""A bench without machines: the real server, address and event log, events written by the test, verbs recorded."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hil.bench import address
from hil.bench.log import EventLog
from hil.bench.server import Server
from hil.config import make_config
from hil.view import RECORDING

LEVELS = {0: "membership", 10: "DLM", 20: "VDM", 30: "SFS", 40: "event-manager"}


class FakeBench:
    """Verbs note what they were asked for and write the events that a real bench would."""

    def __init__(self, name: str, run_dir: Path, nodes: int = 3) -> None:
        self.name = name
        self.run_dir = run_dir
        self.count = nodes
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.log = EventLog(run_dir / "events.jsonl", nodes)
        self.on_call: Callable[[str, dict[str, Any]], None] | None = None
        self.incarnations = [0] * nodes
        self.listener = address.listen(name)
        self.server = Server(self.listener, self.log)
        self._ended = threading.Lock()
        config = make_config(name=name, nodes=nodes)
        settings = {"accelerator": "tcg", "timing_factor": 2.5, "timing": config.timing.resolved(2.5)}
        (run_dir / "cluster.json").write_text(
            json.dumps({"config": config.model_dump(), "settings": settings}), encoding="utf-8"
        )
        about = {
            "recording": RECORDING,
            "cluster": name,
            "nodes": nodes,
            "image": "abc",
            "run_dir": str(run_dir),
            **settings,
        }
        self.log.emit("bench-started", **about)

    # -- what happens ---------------------------------------------------------------------------------------------

    def boot(self, node: int) -> None:
        """The machine runs and guestd has started."""
        self.incarnations[node] += 1
        self.log.emit("machine-starting", node=node)
        self.log.emit("machine-started", node=node)
        self.log.emit("guestd-started", node=node, guest_n=1, guest_t=4.0, stages={"initramfs": 1.5}, uptime=3.9)
        self.log.emit("incarnation", node=node, incarnation=self.incarnations[node])
        told = [{"level": level, "name": name, "real": level == 0} for level, name in LEVELS.items()]
        self.log.emit("subsystems", node=node, levels=told)

    def join(self, nodes: list[int], epoch: int = 1, master: int = 0) -> None:
        """All of ``nodes`` pass all levels and agree on who is joined."""
        members = {str(i): {"state": "joined", "incarnation": self.incarnations[i]} for i in nodes}
        for node in nodes:
            for level in LEVELS:
                done = {"subject": node, "incarnation": self.incarnations[node], "level": level, "transition": "join"}
                self.log.emit("level-complete", node=master, **done)
        for node in nodes:
            self.log.emit("state", node=node, state="joining", previous="inactive")
            self.log.emit("state", node=node, state="joined", previous="joining")
            self.log.emit("membership", node=node, epoch=epoch, step=1, master=master, nodes=members)

    def all_joined(self) -> None:
        """The whole cluster is up."""
        for node in range(self.count):
            self.boot(node)
        self.join(list(range(self.count)))

    def panic_node(self, node: int, reason: str) -> None:
        """guestd's last word, then libvirt's."""
        self.log.emit("panic", node=node, reason=reason)
        self.log.emit("machine-crashed", node=node, detail="panicked")

    # -- verbs ----------------------------------------------------------------------------------------------------

    def _note(self, call: str, **arguments: Any) -> dict[str, Any]:
        self.calls.append((call, arguments))
        if self.on_call is not None:
            self.on_call(call, arguments)
        return {"changed": arguments.get("nodes", [])}

    def status(self) -> dict[str, Any]:
        return self.log.status()

    def power_off(self, nodes: list[int]) -> dict[str, Any]:
        changed = [node for node in nodes if self.log.power(node) != "off"]
        for node in changed:
            self.log.emit("machine-stopped", node=node, detail="destroyed")
        return self._note("power_off", nodes=nodes) | {"changed": changed}

    def power_on(self, nodes: list[int]) -> dict[str, Any]:
        return self._note("power_on", nodes=nodes)

    def power_cycle(self, nodes: list[int]) -> dict[str, Any]:
        return self._note("power_cycle", nodes=nodes)

    def reset(self, nodes: list[int]) -> dict[str, Any]:
        return self._note("reset", nodes=nodes)

    def shutdown(self, nodes: list[int]) -> dict[str, Any]:
        return self._note("shutdown", nodes=nodes)

    def panic(self, nodes: list[int], reason: str) -> dict[str, Any]:
        return self._note("panic", nodes=nodes, reason=reason)

    def cut_link(
        self, nodes: list[int], how: str, direction: str = "both", others: list[int] | None = None
    ) -> dict[str, Any]:
        more = {"direction": direction} if direction != "both" else {}
        return self._note("cut_link", nodes=nodes, how=how, **more, **({"others": others} if others else {}))

    def split(self, groups: list[list[int]]) -> dict[str, Any]:
        return self._note("split", groups=groups)

    def heal_link(self, nodes: list[int]) -> dict[str, Any]:
        return self._note("heal_link", nodes=nodes)

    def freeze(self, nodes: list[int], how: str) -> dict[str, Any]:
        return self._note("freeze", nodes=nodes, how=how)

    def thaw(self, nodes: list[int]) -> dict[str, Any]:
        return {**self._note("thaw", nodes=nodes), "thawed": nodes}

    def open_ssh(self, node: int) -> socket.socket:
        """One end of a pair; the other says who it is."""
        ours, theirs = socket.socketpair()
        with ours:
            ours.sendall(f"ssh of node {node}".encode())
        return theirs

    def down(self) -> dict[str, Any]:
        self.log.emit("bench-stopping", reason="down")
        # As the real one: the answer goes out before the stream ends.
        threading.Thread(target=self.end).start()
        return self._note("down")

    def end(self) -> None:
        """Everything that makes this cluster a running one is gone."""
        if self._ended.acquire(blocking=False):
            self.log.close()
            self.server.finish(5)
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.log._file.close()  # a real one lives as long as its process


@contextmanager
def fake_bench(name: str, run_dir: Path, nodes: int = 3) -> Iterator[FakeBench]:
    """A running cluster ``name`` for the clients of this machine."""
    run_dir.mkdir(parents=True, exist_ok=True)
    bench = FakeBench(name, run_dir, nodes)
    bench.server.start()
    bench.server.open(bench)  # type: ignore[arg-type]  # a fake with the same verbs
    try:
        yield bench
    finally:
        bench.end()
