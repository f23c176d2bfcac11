"""Counts with the counter, one request after another, each until it is answered. Usage: counter_client.py ADDRESS

Prints one line for each answer, "NUMBER COUNT SECONDS_SINCE_THE_LAST_ONE", until its standard input ends.
"""

import select
import socket
import sys
import time

from counter import PORT

AGAIN_S = 0.2
PAUSE_S = 0.02


def main():
    address = sys.argv[1]
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    number, before = 0, time.monotonic()
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        number += 1
        count = ask(wire, address, number)
        now = time.monotonic()
        print(number, count, f"{now - before:.3f}", flush=True)
        before = now


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
