"""A counter over UDP on an address that floats. Usage, as the start and the stop command: counter.py ADDRESS

A request is "CLIENT NUMBER", the answer "NUMBER COUNT". A request counts once, however often it is sent: the last
number of each client lies with the count on the shared file system before it is answered, for the next instance.
"""

import os
import select
import socket
import sys

from instance import Alive, Ended, end_on_request, end_what_was_left, leave_behind, stamp, write_whole

STATE = "/shared/counter"
PORT = 7000


class Counts:
    """Of each client its last number and what was answered; the highest answer is the count."""

    def __init__(self):
        self._answered = {}
        try:
            with open(STATE) as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return
        for client, number, count in map(str.split, lines):
            self._answered[client] = (number, int(count))

    def answer(self, request):
        """To "CLIENT NUMBER"."""
        client, number = request.split()
        last, count = self._answered.get(client, ("", 0))
        if number != last:
            count = 1 + max((count for _, count in self._answered.values()), default=0)
            self._answered[client] = (number, count)
            lines = [f"{name} {last} {count}\n" for name, (last, count) in self._answered.items()]
            write_whole(STATE, "".join(lines).encode())
        return f"{number} {self._answered[client][1]}"


def serve(address, is_ready):
    """Until the stop command ends it."""
    end_on_request()
    counts = Counts()
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind((address, PORT))
    alive = Alive()
    try:
        is_ready()
        while True:
            if select.select([wire], [], [], alive.rest())[0]:
                request, client_at = wire.recvfrom(200)
                wire.sendto(counts.answer(request.decode()).encode(), client_at)
            alive.stamp()
    except Ended:
        pass


def main():
    (address,) = sys.argv[1:]
    if os.environ["HIL_ACTION"] == "start":
        stamp("start")
        leave_behind(serve, address)
    else:
        end_what_was_left()
        stamp("end")


if __name__ == "__main__":
    main()
