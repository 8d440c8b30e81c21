#!/usr/bin/env python3
"""A small DNS server for tests: UDP and TCP, one loopback address, answers from a dict.

    with Dnsd(ZONE, "127.53.0.1", 53) as d: ...        as a library, in threads of the caller
    dnsd.py [--address A] [--port N] [--zone FILE.json]  as a program, until it is killed

A zone maps a name to what it holds. "*.name" holds whatever below `name` is not written out (as RFC 4592, except that
it also covers names more than one label deep):

    {"remote.test":   {"MX": [[10, "mx.remote.test"]], "TXT": ["v=spf1 -all"], "TTL": 60},
     "mx.remote.test": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
     "www.test":      {"CNAME": ["mx.remote.test"]},
     "1.2.0.192.in-addr.arpa": {"PTR": ["mx.remote.test"]},
     "here.test":     {"A": ["192.0.2.3"], "AAAA": "SERVFAIL"},   one type that fails
     "tempfail.test": "SERVFAIL", "refused.test": "REFUSED",      any type fails
     "slow.test":     "TIMEOUT",                                  is never answered
     "gone.test":     "NXDOMAIN"}                                 hides a wildcard

A word for a name holds for all names below it too. A name that is not there but has names below it exists and is empty
(NODATA); any other gets NXDOMAIN. Every answer has AA and RA set, so that stub resolvers and iterative ones both take it.
`update(name, value)` changes a running server; `queries` lists (name, type) as they came. Standard library only.
"""
import argparse
import ipaddress
import json
import socket
import socketserver
import struct
import sys
import threading

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "TLSA": 52, "ANY": 255}
NAMES = {v: k for k, v in TYPES.items()}
OPT = 41
RCODES = {"NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}

# What the recorded dialogues in tests/smtp-cases expect (see the README there).
SMTP_CASES_ZONE = {
    "remote.test": {"A": ["127.99.0.1"], "MX": [[10, "mx.remote.test"]]},
    "mx.remote.test": {"A": ["127.99.0.1"]},
    "aonly.test": {"A": ["127.99.0.2"]},
    "tempfail.test": "SERVFAIL",
    "example.com": {"A": ["127.0.0.1"], "MX": [[10, "example.com"]]},
    "*.example.com": {"A": ["127.0.0.1"]},
    "notexample.com": {"A": ["127.99.0.3"]},
    "localhost": {"A": ["127.0.0.1"], "AAAA": ["::1"]},
    "1.0.0.127.in-addr.arpa": {"PTR": ["localhost"]},
}


def wire_name(name):
    out = b""
    for label in name.rstrip(".").split("."):
        if label:
            raw = label.encode("latin-1")
            if len(raw) > 63:
                raise ValueError("label too long in %r" % name)
            out += bytes([len(raw)]) + raw
    return out + b"\0"


def wire_data(rtype, value):
    if rtype == "A":
        return ipaddress.IPv4Address(value).packed
    if rtype == "AAAA":
        return ipaddress.IPv6Address(value).packed
    if rtype == "MX":
        return struct.pack("!H", value[0]) + wire_name(value[1])
    if rtype == "TXT":  # a string, or a list of them for one record; long ones are cut into pieces of 255
        parts = []
        for s in [value] if isinstance(value, str) else value:
            raw = s.encode()
            parts += [raw[i:i + 255] for i in range(0, len(raw), 255)] or [b""]
        return b"".join(bytes([len(p)]) + p for p in parts)
    if rtype == "TLSA":  # [usage, selector, matching type, hex]
        return bytes(value[:3]) + bytes.fromhex(value[3])
    return wire_name(value)  # PTR, CNAME, NS


class BadQuery(Exception):
    pass


def read_question(msg):
    """(id, flags, name in lower case, the name as sent, type, end of the question)"""
    if len(msg) < 17:
        raise BadQuery()
    qid, flags, qd = struct.unpack("!HHH", msg[:6])
    if flags & 0x8000 or qd != 1:
        raise BadQuery()
    pos, labels = 12, []
    while True:
        if pos >= len(msg):
            raise BadQuery()
        n = msg[pos]
        pos += 1
        if n == 0:
            break
        if n > 63 or pos + n > len(msg):
            raise BadQuery()
        labels.append(msg[pos:pos + n].decode("latin-1"))
        pos += n
    if pos + 4 > len(msg):
        raise BadQuery()
    qtype = struct.unpack("!H", msg[pos:pos + 2])[0]
    return qid, flags, ".".join(labels).lower(), qtype, pos + 4


class Dnsd:
    def __init__(self, zone, address="127.0.0.1", port=0):
        self.zone = {k.lower().rstrip("."): v for k, v in zone.items()}
        self.queries = []
        self.lock = threading.Lock()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for _ in range(20):  # with port 0: a number that is free for both
            tcp = self._server(socketserver.ThreadingTCPServer, _Tcp, family, (address, port))
            try:
                udp = self._server(socketserver.ThreadingUDPServer, _Udp, family, (address, tcp.server_address[1]))
                break
            except OSError:
                tcp.server_close()
                if port:
                    raise
        else:
            raise OSError("no free port on %s" % address)
        self.servers = (tcp, udp)
        self.address, self.port = address, tcp.server_address[1]

    def _server(self, base, handler, family, where):
        cls = type("Server", (base,), {"address_family": family, "allow_reuse_address": base is socketserver.ThreadingTCPServer,
                                       "daemon_threads": True, "request_queue_size": 128, "dnsd": self})
        server = cls(where, handler)
        server.socket.settimeout(None)
        return server

    def start(self):
        for s in self.servers:
            threading.Thread(target=s.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def stop(self):
        for s in self.servers:
            s.shutdown()
            s.server_close()

    __enter__ = start

    def __exit__(self, *exc):
        self.stop()

    def update(self, name, value):
        """Set, or with None remove, what a name holds."""
        with self.lock:
            if value is None:
                self.zone.pop(name.lower().rstrip("."), None)
            else:
                self.zone[name.lower().rstrip(".")] = value

    def holds(self, name):
        """What the zone has for this name: a dict, a word, or None where the name does not exist."""
        found = self.zone.get(name)
        if found is not None:
            return found
        labels = name.split(".")
        for i in range(1, len(labels)):
            up = ".".join(labels[i:])
            above = self.zone.get(up)
            if isinstance(above, str):
                return above
            wild = self.zone.get("*." + up)
            if wild is not None:
                return wild
            if above is not None:
                break
        return {} if any(k.endswith("." + name) for k in self.zone) else None

    def look_up(self, name, rtype):
        """(rcode word or "TIMEOUT", [(owner, type, data)])"""
        answers = []
        for _ in range(8):
            here = self.holds(name)
            if isinstance(here, str):
                return here, answers
            if here is None:
                return "NXDOMAIN", answers
            if isinstance(here.get(rtype), str):
                return here[rtype], answers
            ttl = here.get("TTL", 60)
            types = [t for t in here if t != "TTL" and not isinstance(here[t], str)] if rtype == "ANY" else [rtype]
            answers += [(name, t, ttl, v) for t in types for v in here.get(t, ())]
            if rtype in ("CNAME", "ANY") or "CNAME" not in here:
                break
            answers += [(name, "CNAME", ttl, here["CNAME"][0])]
            name = here["CNAME"][0].lower().rstrip(".")
        return "NOERROR", answers

    def answer(self, msg, limit):
        """The reply to a message, or None to stay silent. limit: octets, None over TCP."""
        try:
            qid, flags, name, qtype, end = read_question(msg)
        except BadQuery:
            return struct.pack("!HHHHHH", struct.unpack("!H", msg[:2])[0], 0x8001, 0, 0, 0, 0) if len(msg) >= 12 else None
        edns = struct.unpack("!H", msg[10:12])[0] > 0 and msg[end:end + 3] == b"\0" + struct.pack("!H", OPT)
        if edns and limit is not None and len(msg) >= end + 5:
            limit = min(max(struct.unpack("!H", msg[end + 3:end + 5])[0], 512), 4096)
        rtype = NAMES.get(qtype, "TYPE%d" % qtype)
        with self.lock:
            self.queries.append((name, rtype))
            word, answers = self.look_up(name, rtype)
        if word == "TIMEOUT":
            return None
        body = b"".join(wire_name(n) + struct.pack("!HHIH", TYPES[t], 1, ttl, len(d)) + d
                        for n, t, ttl, d in ((n, t, ttl, wire_data(t, v)) for n, t, ttl, v in answers))
        authority = b""
        if not answers and word in ("NOERROR", "NXDOMAIN"):  # RFC 2308 §2: without it negatives are not cached
            soa = wire_name("ns.test") + wire_name("hostmaster.test") + struct.pack("!IIIII", 1, 60, 60, 60, 60)
            authority = b"\0" + struct.pack("!HHIH", TYPES["SOA"], 1, 60, len(soa)) + soa
        opt = b"\0" + struct.pack("!HHIH", OPT, 4096, 0, 0) if edns else b""
        bits = 0x8480 | (flags & 0x0100) | RCODES[word]

        def build(bits, n, body, authority):
            return struct.pack("!HHHHHH", qid, bits, 1, n, bool(authority), bool(opt)) + msg[12:end] + body + \
                authority + opt
        out = build(bits, len(answers), body, authority)
        if limit is not None and len(out) > limit:
            out = build(bits | 0x0200, 0, b"", b"")  # TC: ask again over TCP
        return out


class _Udp(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        reply = self.server.dnsd.answer(data, 512)
        if reply:
            sock.sendto(reply, self.client_address)


class _Tcp(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self):
        try:
            while True:
                head = self.rfile.read(2)
                if len(head) < 2:
                    return
                reply = self.server.dnsd.answer(self.rfile.read(struct.unpack("!H", head)[0]), None)
                if reply:
                    self.wfile.write(struct.pack("!H", len(reply)) + reply)
        except OSError:
            pass


def main():
    ap = argparse.ArgumentParser(description="A DNS server for tests.")
    ap.add_argument("--address", default="127.0.0.1")
    ap.add_argument("--port", type=int, default=0, help="0: any free one; it is printed")
    ap.add_argument("--zone", help="JSON file; without it the names that tests/smtp-cases needs")
    a = ap.parse_args()
    zone = SMTP_CASES_ZONE
    if a.zone:
        with open(a.zone) as f:
            zone = json.load(f)
    with Dnsd(zone, a.address, a.port) as d:
        print("%s:%d" % (d.address, d.port), flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
