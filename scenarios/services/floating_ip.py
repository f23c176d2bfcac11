"""A floating IP address on the interconnect. Usage, as the start and the stop command: floating_ip.py ADDRESS

Start adds the address to the interconnect's card and tells all neighbours by gratuitous ARP whose it is now; a process
stays that tells them again now and then, as a switch or a neighbour may have forgotten. Stop ends that and removes the
address. An address of a node that has died is gone with it, so there is no recovery command.
"""

import os
import socket
import struct
import sys
import time

from instance import Alive, Ended, end_on_request, end_what_was_left, leave_behind, stamp

CARD = "52:54:00:77:"  # how the addresses of the interconnect's cards begin
AGAIN = 10  # each that many stamps the neighbours are told again
ETHERTYPE_ARP = 0x0806


def card():
    """Name and hardware address of the interconnect's card."""
    for name in os.listdir("/sys/class/net"):
        with open(f"/sys/class/net/{name}/address") as file:
            hardware = file.read().strip()
        if hardware.startswith(CARD):
            return name, bytes.fromhex(hardware.replace(":", ""))
    sys.exit(f"there is no card {CARD}…")


def gratuitous_arp(hardware, address):
    """An ARP reply for everybody: that address has this hardware address."""
    everybody = b"\xff" * 6
    protocol = socket.inet_aton(address)
    frame = everybody + hardware + struct.pack("!H", ETHERTYPE_ARP)
    # Ethernet, IPv4, sizes of both addresses, reply
    return frame + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + hardware + protocol + everybody + protocol


def announce(name, hardware, address):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((name, ETHERTYPE_ARP))
        raw.send(gratuitous_arp(hardware, address))


def ip(*words):
    """Run ip(8); its exit status."""
    return os.spawnvp(os.P_WAIT, "ip", ["ip", *words])


def is_here(address):
    """Whether this node has the address: only then can it be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def start(address):
    name, hardware = card()
    stamp("start")
    ip("addr", "replace", f"{address}/24", "dev", name)
    if not is_here(address):
        sys.exit(f"{address} cannot be added to {name}")
    announce(name, hardware, address)
    leave_behind(keep, address)


def keep(address, is_ready):
    """Until the stop command ends it."""
    name, hardware = card()
    end_on_request()
    is_ready()
    alive = Alive()
    try:
        while True:
            for _ in range(AGAIN):
                alive.stamp()
                time.sleep(alive.rest())
            announce(name, hardware, address)
    except Ended:
        pass


def stop(address):
    end_what_was_left()
    if is_here(address):
        ip("addr", "del", f"{address}/24", "dev", card()[0])
    if is_here(address):
        sys.exit(f"{address} cannot be removed")
    stamp("end")


def main():
    (address,) = sys.argv[1:]
    if os.environ["HIL_ACTION"] == "start":
        start(address)
    else:
        stop(address)


if __name__ == "__main__":
    main()
