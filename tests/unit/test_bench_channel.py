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


def test_a_new_guestd_counts_its_events_anew_and_takes_orders_that_go_on_ascending(guest: Any, seen: Seen) -> None:
    server, channel = guest
    assert channel.send_order("status", {}) == 1
    assert channel.send_order("status", {}) == 2
    server.sendall(b'{"n": 7, "kind": "x"}\n{"n": 1, "kind": "guestd-started"}\n{"n": 2, "kind": "y"}\n')
    channel.settle()
    assert [kind for kind, _ in seen] == ["events-lost", "x", "guestd-started", "y"]
    # The first two may still wait for the new guestd, which takes no number twice.
    assert channel.send_order("status", {}) == 3


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


def test_a_guest_that_takes_no_orders_holds_up_nobody(guest: Any) -> None:
    def flood() -> None:
        for _ in range(100_000):
            guest[1].send_order("status", {})

    with pytest.raises(BlockingIOError):
        flood()


@pytest.mark.parametrize(
    "line",
    [
        b'{"n": "x", "kind": "a"}',
        b'{"n": 1.5, "kind": "a"}',
        b'{"kind": 3}',
        b'{"n": 1, "kind": "machine-stopped"}',  # libvirt's to say
        b"[" * 100_000,
        b'{"n": 1, "kind": "makes-no-sense"}',
    ],
)
def test_an_event_that_cannot_be_is_garbage_and_the_line_is_read_on(tmp_path: Path, line: bytes) -> None:
    kinds = []

    def take(kind: str, fields: dict[str, Any]) -> None:
        if kind == "makes-no-sense":
            raise KeyError(kind)  # as the view does
        kinds.append(kind)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        channel = GuestChannel(tmp_path / "s", take)
        server, _ = listener.accept()
        with server:
            server.sendall(line + b'\n{"kind": "ok"}\n')
        channel.drain()
        channel.close()
    assert kinds == ["garbage", "ok"]


def test_half_a_line_at_the_end_is_reported(guest: Any, seen: Seen) -> None:
    guest[0].sendall(b'{"n": 1, "kind": "a"}\n{"n": 2, "ki')
    hang_up(guest)
    assert seen[1:] == [("garbage", {"text": '{"n": 2, "ki'})]


def test_half_a_line_of_a_guest_that_was_reset_does_not_spoil_the_first_line_of_the_next(
    guest: Any, seen: Seen
) -> None:
    server, channel = guest
    server.sendall(b'{"n": 1, "kind": "a"}\n{"n": 2, "ki')
    channel.settle()
    assert [kind for kind, _ in seen] == ["a", "garbage"]  # all that was sent has been reported
    server.sendall(b'{"n": 1, "kind": "guestd-started"}\n')
    hang_up(guest)
    assert seen[2:] == [("guestd-started", {"guest_n": 1})]


def test_a_flood_of_rubbish_is_reported_by_its_first_line_and_their_number(guest: Any, seen: Seen) -> None:
    guest[0].sendall(b"y\n" * 5000 + b'{"n": 1, "kind": "ok"}\n')
    hang_up(guest)
    assert seen == [("garbage", {"text": "y"}), ("garbage", {"text": "", "more": 4999}), ("ok", {"guest_n": 1})]
