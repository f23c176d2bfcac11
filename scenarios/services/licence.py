"""A licence server that never hands out more licences than there are. Usage, as the start and the stop command:
licence.py COUNT

A request over UDP is "take CLIENT", "keep CLIENT" or "give CLIENT"; the answer is "yes CLIENT HOLDERS" or "no CLIENT
HOLDERS". Who takes a licence has to keep it, again and again; who says nothing for LEASE_S has given it up, and has to
know that. Who holds one lies on the shared file system before it is told: the next instance knows all holders, and
gives each of them LEASE_S from its own beginning. A node that was forced out cannot write there any more, so it hands
out nothing.
"""

import os
import select
import socket
import sys
import time

from instance import Alive, Ended, end_on_request, end_what_was_left, leave_behind, stamp, write_whole

LEASES = "/shared/licences"
PORT = 7100
LEASE_S = 30.0


class Licences:
    """``count`` of them."""

    def __init__(self, count):
        self._count = count
        try:
            with open(LEASES) as file:
                holders = file.read().split()
        except FileNotFoundError:
            holders = []
        self._until = dict.fromkeys(holders, time.monotonic() + LEASE_S)

    def asked(self, verb, client):
        """The answer, which is true when this returns."""
        now = time.monotonic()
        held = {name: until for name, until in self._until.items() if until > now}
        if verb == "give":
            held.pop(client, None)
        elif client in held or (verb == "take" and len(held) < self._count):
            held[client] = now + LEASE_S
        if held.keys() != self._until.keys():
            write_whole(LEASES, "".join(f"{name}\n" for name in sorted(held)).encode())
        self._until = held
        yes = client in held or verb == "give"
        return f"{'yes' if yes else 'no'} {client} {len(held)}"


def serve(count, is_ready):
    """Until the stop command ends it."""
    end_on_request()
    licences = Licences(count)
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind(("0.0.0.0", PORT))
    alive = Alive()
    try:
        is_ready()
        while True:
            if select.select([wire], [], [], alive.rest())[0]:
                request, client_at = wire.recvfrom(200)
                verb, client = request.decode().split()
                wire.sendto(licences.asked(verb, client).encode(), client_at)
            alive.stamp()
    except Ended:
        pass


def main():
    (count,) = sys.argv[1:]
    if os.environ["HIL_ACTION"] == "start":
        stamp("start")
        leave_behind(serve, int(count))
    else:
        end_what_was_left()
        stamp("end")


if __name__ == "__main__":
    main()
