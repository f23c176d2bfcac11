"""Text requests of one session (RFC 7143 11.10): keys that may come in several pieces; SendTargets is all we know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.scsi.iscsi.negotiation import TEXT_BYTES_MAX, BadText, build_text, parse_text

if TYPE_CHECKING:
    from hil.scsi.target import Target


class TextExchange:
    """Of ``initiator``, whose connection goes to the address ``host`` of ours."""

    def __init__(self, target: Target, initiator: str, host: str, segment_bytes: int) -> None:
        """``segment_bytes``: longest piece of an answer."""
        self._target = target
        self._initiator = initiator
        self._host = host
        self._segment_bytes = segment_bytes
        self._text = b""
        self._left = b""

    def take(self, data: bytes, *, more: bool, discovery: bool) -> tuple[bytes, bool]:
        """The answer's text, empty as long as there is ``more`` to come, and whether a rest of it waits.

        A request without text asks for that rest (RFC 7143 11.11.3); any other makes it forgotten. Raises ``BadText``.
        """
        text, self._text = self._text + data, b""
        if len(text) > TEXT_BYTES_MAX:
            raise BadText
        if more:
            self._text = text
            return b"", False
        answer = self._left
        if text or not answer:
            answer = build_text([found for key in parse_text(text) for found in self._answer(*key, discovery)])
        self._left = answer[self._segment_bytes :]
        return answer[: self._segment_bytes], bool(self._left)

    def _answer(self, name: str, value: str, discovery: bool) -> list[tuple[str, str]]:
        """RFC 7143 appendix C: SendTargets=All, a name, or empty for the session's own target.

        One TargetName, then a TargetAddress for each portal that the initiator may use, with its portal group tag.
        """
        if name != "SendTargets":
            return [(name, "NotUnderstood")]
        if value == "All" and not discovery:
            return [(name, "Reject")]
        target = self._target
        if value not in ("All", target.name, ""):
            return []
        portals = target.portals_for(self._initiator)
        addresses = [f"{portal.reached_from(self._host)},{target.port_number(portal.address)}" for portal in portals]
        return [("TargetName", target.name), *(("TargetAddress", address) for address in addresses)]
