"""A node stands still for a while, in both ways (spec S10.5)."""

from __future__ import annotations

from hil.faults.fault import Fault


class _Freeze(Fault):
    held = "the bench looks at the emulator: its threads stand, or libvirt has stopped its processors"
    undone = "the same look finds that neither is so"

    @property
    def how(self) -> str:
        """Of :data:`hil.qemu.freeze.WAYS`."""
        return self.kind.removeprefix("freeze-")

    def set_up(self) -> None:
        """Who stands already cannot be stopped."""
        self.need_on(unfrozen=True)
        self.note_lives()

    def inject(self) -> None:
        """One after the other."""
        for node in self.nodes:
            self.cluster.freeze(node, self.how)

    def why_not_held(self) -> str | None:
        """A look at each."""
        for node, how in zip(self.nodes, self.call("standing", nodes=self.ids)["how"], strict=True):
            if how != self.how:
                return f"node {node.id} goes on" if how is None else f"node {node.id} stands by {how}"
        return None

    def recover(self) -> None:
        """Those that stand."""
        for node in self.nodes:
            if self.lives(node):
                self.cluster.thaw(node)

    def why_not_undone(self) -> str | None:
        """A look at each."""
        for node, how in zip(self.nodes, self.call("standing", nodes=self.ids)["how"], strict=True):
            if how is not None and self.lives(node):
                return f"node {node.id} stands by {how}"
        return None


class FreezeVcpu(_Freeze):
    """The guest's clocks stop with its processors."""

    kind = "freeze-vcpu"
    about = "the virtual processors stand: the guest sees no time pass"


class FreezeProcess(_Freeze):
    """The emulator's clocks go on."""

    kind = "freeze-process"
    about = "the emulator stands: the guest sees time jump at the thaw"
