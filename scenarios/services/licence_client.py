"""A program that needs a licence. Usage: licence_client.py NAME

Takes one, whichever node the server is on, and keeps it. Prints "has", "none" or "lost" with the number of holders that
the server told, and "kept SECONDS_SINCE_THE_LAST_ANSWER" from then on. Gives it back when it is ended by SIGTERM.
"""

import json
import select
import socket
import sys
import time

from instance import Ended, end_on_request
from licence import PORT

AGAIN_S = 0.3
PAUSE_S = 0.5


def nodes():
    with open("/run/hil/config.json") as file:
        return json.loads(file.read())["interconnect"]["addresses"]


def ask(wire, verb, client):
    """Asks all nodes, until the one that the server is on answers: whether, and how many hold one."""
    while True:
        for address in nodes():
            try:
                wire.sendto(f"{verb} {client}".encode(), (address, PORT))
            except OSError:
                continue
        while select.select([wire], [], [], AGAIN_S)[0]:
            try:
                said, who, holders = wire.recv(200).decode().split()
            except OSError:
                continue
            if who == client:
                return said == "yes", int(holders)


def main():
    (client,) = sys.argv[1:]
    end_on_request()
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    has, holders = ask(wire, "take", client)
    print("has" if has else "none", holders, flush=True)
    before = time.monotonic()
    try:
        while has:
            time.sleep(PAUSE_S)
            has, holders = ask(wire, "keep", client)
            now = time.monotonic()
            print(f"kept {now - before:.3f}" if has else f"lost {holders}", flush=True)
            before = now
    except Ended:
        ask(wire, "give", client)
        print("given", flush=True)


if __name__ == "__main__":
    main()
