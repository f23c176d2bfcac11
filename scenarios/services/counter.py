"""A counter over UDP on an address that floats. Usage, as the start and the stop command: counter.py ADDRESS

A request is "CLIENT NUMBER", the answer "NUMBER COUNT". A request counts once, however often it is sent: the last
number of each client lies with the count on the shared file system before it is answered, for the next instance.
"""

import json
import os
import select
import socket
import sys

from instance import Alive, Ended, end_on_request, end_what_was_left, is_ready, leave_behind, stamp, write_whole

STATE = "/shared/counter"
PORT = 7000


def read():
    try:
        with open(STATE, "rb") as file:
            return json.loads(file.read())
    except FileNotFoundError:
        return {"count": 0, "clients": {}}


def serve(address):
    """Until the stop command ends it."""
    end_on_request()
    state = read()
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind((address, PORT))
    alive = Alive()
    try:
        is_ready()
        while True:
            if select.select([wire], [], [], alive.rest())[0]:
                request, client_at = wire.recvfrom(200)
                wire.sendto(answer(state, request.decode()), client_at)
            alive.stamp()
    except Ended:
        pass


def answer(state, request):
    client, number = request.split()
    last, count = state["clients"].get(client, (0, 0))
    if int(number) != last:
        count = state["count"] + 1
        state["count"] = count
        state["clients"][client] = (int(number), count)
        write_whole(STATE, json.dumps(state).encode())
    return f"{number} {count}".encode()


def main():
    address, *what = sys.argv[1:]
    if what == ["serve"]:
        serve(address)
    elif os.environ["HIL_ACTION"] == "start":
        stamp("start")
        leave_behind(address, "serve")
    else:
        end_what_was_left()
        stamp("end")


if __name__ == "__main__":
    main()
