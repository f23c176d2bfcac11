"""Counts with the counter, one request after another, each until it is answered. Usage: counter_client.py ADDRESS

Prints one line for each answer, "NUMBER COUNT SECONDS_SINCE_THE_LAST_ONE", until it is ended by SIGTERM.
"""

import select
import socket
import sys
import time

from counter import PORT
from instance import Ended, end_on_request

AGAIN_S = 0.2
PAUSE_S = 0.1


def main():
    address = sys.argv[1]
    end_on_request()
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    number, before = 0, time.monotonic()
    try:
        while True:
            number += 1
            count = ask(wire, address, number)
            now = time.monotonic()
            print(number, count, f"{now - before:.3f}", flush=True)
            before = now
            time.sleep(PAUSE_S)
    except Ended:
        pass


def ask(wire, address, number):
    """The count that the server answers to that request; it is sent again until it does."""
    while True:
        try:
            wire.sendto(f"client {number}".encode(), (address, PORT))
            while select.select([wire], [], [], AGAIN_S)[0]:
                answered, count = wire.recv(200).split()
                if int(answered) == number:
                    return int(count)
        except OSError:  # nobody has the address now
            time.sleep(AGAIN_S)


if __name__ == "__main__":
    main()
