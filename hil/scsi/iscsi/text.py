"""Text requests of one session (RFC 7143 11.10): keys that may come in several pieces; SendTargets is all we know."""

from __future__ import annotations

from hil.scsi.iscsi.negotiation import TEXT_BYTES_MAX, BadText, build_text, parse_text


class TextExchange:
    """``address`` is this portal's, as initiators reach it."""

    def __init__(self, target_name: str, address: str) -> None:
        self._target_name = target_name
        self._address = address
        self._text = b""

    def take(self, data: bytes, *, more: bool, discovery: bool) -> bytes:
        """The answer's text, empty as long as there is ``more`` to come. Raises ``BadText``."""
        text, self._text = self._text + data, b""
        if len(text) > TEXT_BYTES_MAX:
            raise BadText
        if more:
            self._text = text
            return b""
        pairs = [found for key in parse_text(text) for found in self._answer(*key, discovery)]
        return build_text(pairs)

    def _answer(self, name: str, value: str, discovery: bool) -> list[tuple[str, str]]:
        """RFC 7143 appendix C: SendTargets=All, a name, or empty for the session's own target."""
        if name != "SendTargets":
            return [(name, "NotUnderstood")]
        if value == "All" and not discovery:
            return [(name, "Reject")]
        if value not in ("All", self._target_name, ""):
            return []
        return [("TargetName", self._target_name), ("TargetAddress", f"{self._address},1")]
