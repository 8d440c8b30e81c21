#!/usr/bin/env python3
# The tests' own DNS server (tests/lib/dnsd.py): what it answers, over UDP and TCP.
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import TYPES, Dnsd, wire_name
from harness import *

ZONE = {
    "a.test": {"A": ["192.0.2.1", "192.0.2.2"], "MX": [[10, "mx.a.test"]], "TXT": ["x" * 300], "AAAA": "SERVFAIL"},
    "big.test": {"TXT": ["%03d" % i + "y" * 200 for i in range(40)]},
    "*.wild.test": {"A": ["192.0.2.9"]},
    "gone.wild.test": "NXDOMAIN",
    "alias.test": {"CNAME": ["a.test"]},
    "loop.test": {"CNAME": ["loop.test"]},
    "deep.below.test": {"A": ["192.0.2.3"]},
    "fail.test": "SERVFAIL",
    "slow.test": "TIMEOUT",
    "1.2.0.192.in-addr.arpa": {"PTR": ["a.test"]},
}
dns = None


def server():
    global dns
    if dns is None:
        dns = Dnsd(ZONE).start()
        at_end(dns.stop)
    return dns


def ask(name, rtype, tcp=False, edns=0, timeout_s=5):
    """(rcode, number of answers, truncated, whole reply); None when there is no answer"""
    d = server()
    query = struct.pack("!HHHHHH", 77, 0x0100, 1, 0, 0, 1 if edns else 0) + wire_name(name) + \
        struct.pack("!HH", TYPES[rtype], 1)
    if edns:
        query += b"\0" + struct.pack("!HHIH", 41, edns, 0, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as s:
        s.settimeout(timeout_s)
        s.connect((d.address, d.port))
        s.sendall((struct.pack("!H", len(query)) if tcp else b"") + query)
        try:
            reply = s.makefile("rb").read(struct.unpack("!H", s.recv(2))[0]) if tcp else s.recv(65535)
        except socket.timeout:
            return None
    qid, flags, _, answers = struct.unpack("!HHHH", reply[:8])
    equal(qid, 77, "id")
    return flags & 15, answers, bool(flags & 0x0200), reply


@case
def answers():
    for name, rtype, want in (("a.test", "A", (0, 2)), ("A.TesT", "A", (0, 2)), ("a.test", "MX", (0, 1)),
                              ("a.test", "TXT", (0, 1)), ("a.test", "AAAA", (2, 0)), ("a.test", "TLSA", (0, 0)),
                              ("x.wild.test", "A", (0, 1)), ("x.y.wild.test", "A", (0, 1)), ("wild.test", "A", (0, 0)),
                              ("gone.wild.test", "A", (3, 0)), ("alias.test", "A", (0, 3)), ("alias.test", "CNAME", (0, 1)),
                              ("loop.test", "A", (0, 8)), ("below.test", "A", (0, 0)), ("fail.test", "MX", (2, 0)),
                              ("x.fail.test", "A", (2, 0)), ("nx.test", "A", (3, 0)), ("nx.a.test", "A", (3, 0)),
                              ("1.2.0.192.in-addr.arpa", "PTR", (0, 1))):
        for tcp in (False, True):
            equal(ask(name, rtype, tcp)[:2], want, "%s %s tcp=%s" % (name, rtype, tcp))


@case
def timeout_stays_silent():
    equal(ask("slow.test", "A", timeout_s=0.3), None)


@case
def too_big_for_udp():
    rcode, n, truncated, _ = ask("big.test", "TXT")
    equal((rcode, n, truncated), (0, 0, True), "without EDNS")
    equal(ask("big.test", "TXT", edns=1232)[1:3], (0, True), "1232 octets")
    equal(ask("big.test", "TXT", tcp=True)[1:3], (40, False), "over TCP")


@case
def changes_and_remembers():
    server().update("new.test", {"A": ["192.0.2.7"]})
    equal(ask("new.test", "A")[:2], (0, 1))
    server().update("new.test", None)
    equal(ask("new.test", "A")[:2], (3, 0))
    check(("new.test", "A") in server().queries, "query not recorded")


@case
def rubbish():
    d = server()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5)
        s.connect((d.address, d.port))
        for bad in (b"", b"x", b"\0" * 12, b"\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", b"\0\1\1\0\0\1\0\0\0\0\0\0\x3fabc"):
            s.send(bad)
    equal(ask("a.test", "A")[:2], (0, 2), "afterwards")


main()
