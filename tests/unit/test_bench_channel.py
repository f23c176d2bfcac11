"""The line to a guest: events that got lost are noticed, rubbish does no harm."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hil.qemu.channel import MAX_LINE, GuestChannel

Seen = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def seen() -> Seen:
    return []


@pytest.fixture
def guest(tmp_path: Path, seen: Seen) -> Iterator[tuple[socket.socket, GuestChannel]]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        channel = GuestChannel(tmp_path / "s", lambda kind, fields: seen.append((kind, fields)))
        server, _ = listener.accept()
        with server:
            yield server, channel
            channel.close()


def hang_up(guest: tuple[socket.socket, GuestChannel]) -> None:
    guest[0].shutdown(socket.SHUT_RDWR)
    guest[1].drain()


def test_number_and_time_of_the_guest_are_kept_apart_from_the_benchs(guest: Any, seen: Seen) -> None:
    guest[0].sendall(b'{"n": 1, "t": 2.5, "kind": "guestd-started", "node": 1}\n')
    hang_up(guest)
    assert seen == [("guestd-started", {"guest_n": 1, "guest_t": 2.5, "node": 1})]


def test_a_missing_number_is_noticed_once(guest: Any, seen: Seen) -> None:
    guest[0].sendall(b'{"n": 1, "kind": "a"}\n{"n": 4, "kind": "b"}\n{"n": 5, "kind": "c"}\n')
    hang_up(guest)
    assert [kind for kind, _ in seen] == ["a", "events-lost", "b", "c"]
    assert seen[1][1] == {"expected": 2, "got": 4}


def test_a_new_guestd_counts_anew_in_both_directions(guest: Any, seen: Seen) -> None:
    server, channel = guest
    assert channel.send_order("status", {}) == 1
    assert channel.send_order("status", {}) == 2
    server.sendall(b'{"n": 7, "kind": "x"}\n{"n": 1, "kind": "guestd-started"}\n{"n": 2, "kind": "y"}\n')
    hang_up(guest)
    assert [kind for kind, _ in seen] == ["events-lost", "x", "guestd-started", "y"]
    assert channel.orders_sent == 0


def test_orders_are_numbered_lines(guest: Any) -> None:
    server, channel = guest
    channel.send_order("panic", {"reason": "test"})
    assert json.loads(server.recv(1000)) == {"n": 1, "order": "panic", "reason": "test"}


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[1]", b"{}", b'"x"', b"{"])
def test_a_line_that_is_no_event_is_reported_and_the_next_is_read(guest: Any, seen: Seen, line: bytes) -> None:
    guest[0].sendall(line + b'\n\n{"n": 1, "kind": "ok"}\n')
    hang_up(guest)
    assert [kind for kind, _ in seen] == ["garbage", "ok"]


def test_a_line_without_end_does_not_fill_the_memory(guest: Any, seen: Seen) -> None:
    guest[0].sendall(b"x" * (MAX_LINE + 1) + b'\n{"n": 1, "kind": "ok"}\n')
    hang_up(guest)
    assert [kind for kind, _ in seen][-1] == "ok"
    assert {kind for kind, _ in seen} == {"garbage", "ok"}
