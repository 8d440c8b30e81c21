"""Logging in by hand, at any of the protocols that have SASL: Door speaks IMAP, POP3 and SMTP alike.

    d = Door("imap", port)
    d.auth("PLAIN", b64(b"\\0user\\0pass"))      # the command, with or without an initial response
    d.answer()                                    # ("ok", line), ("go", challenge), ("no"|"bad"|"temp", line), ("gone", b"")

Scram is a client of SCRAM-SHA-256 that can be made to do everything wrong.
"""
import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct

from harness import fail

PROTOCOLS = ("imap", "pop3", "smtp")


def b64(octets):
    return base64.b64encode(octets)


def plain(user, password, authzid=b""):
    return b64(authzid + b"\0" + user + b"\0" + password)


class Door:
    def __init__(self, proto, port, tls=None, timeout_s=60, greeted=True):
        """tls: an ssl context for TLS from the first octet."""
        self.proto = proto
        self.s = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.s = tls.wrap_socket(self.s, server_hostname="localhost")
        self.f = self.s.makefile("rb")
        if greeted:
            self.line()
            if proto == "smtp":
                self.say(b"EHLO client.example.net")
                self.reply()

    def close(self):
        try:
            self.f.close()
            self.s.close()
        except OSError:
            pass

    def reset(self):
        """With RST, not FIN."""
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, octets):
        try:
            self.s.sendall(octets)
        except (ssl.SSLError, ConnectionError):
            pass  # it has gone: the answer will say so

    def say(self, line):
        self.send(line + b"\r\n")

    def line(self):
        try:
            return self.f.readline()
        except (ssl.SSLError, ConnectionError):
            return b""

    def reply(self):
        """SMTP's, all its lines; the last is returned."""
        while True:
            line = self.line()
            if line[3:4] != b"-":
                return line

    def command(self, mech, initial=None):
        more = b"" if initial is None else b" " + initial
        return {"imap": b"a AUTHENTICATE ", "pop3": b"AUTH ", "smtp": b"AUTH "}[self.proto] + mech.encode() + more

    def auth(self, mech, initial=None):
        self.say(self.command(mech, initial))

    def answer(self):
        while True:
            line = self.reply() if self.proto == "smtp" else self.line()
            if not line or line.startswith((b"* BYE", b"421 ")):
                return "gone", line
            if line.startswith(b"* "):
                continue
            if line.startswith((b"+ ", b"+\r", b"334 ")):
                return "go", base64.b64decode(line.partition(b" ")[2].strip())
            if line.startswith((b"a OK", b"+OK", b"235 ", b"250 ")):
                return "ok", line
            if line.startswith((b"a NO [UNAVAILABLE]", b"-ERR [SYS/TEMP]", b"45")):
                return "temp", line
            if line.startswith((b"a NO", b"-ERR [AUTH]", b"535 ")):
                return "no", line
            if line.startswith((b"a BAD", b"-ERR", b"50", b"53", b"55")):
                return "bad", line
            fail("%s said %r" % (self.proto, line))

    def steps(self, mech, *responses, initial=None):
        """A whole exchange; the last answer. What is not asked for is not sent."""
        self.auth(mech, initial)
        got = self.answer()
        for r in responses:
            if got[0] != "go":
                break
            self.say(r)
            got = self.answer()
        return got

    def logs_in(self, user, password):
        return self.steps("PLAIN", plain(user, password))[0] == "ok"


class Scram:
    """RFC 5802 without channel binding."""

    def __init__(self, user, password, nonce=None, gs2=b"n,,", name="sha256"):
        self.password, self.gs2, self.name = password, gs2, name
        self.nonce = nonce or b64(os.urandom(18))
        self.bare = b"n=" + user.replace(b"=", b"=3D").replace(b",", b"=2C") + b",r=" + self.nonce
        self.first = self.gs2 + self.bare

    def digest(self, key, what):
        return hmac.new(key, what, self.name).digest()

    def final(self, server_first, **odd):
        """odd: nonce=, binding=, proof= in place of the right ones."""
        fields = dict(p.split(b"=", 1) for p in server_first.split(b","))
        self.iterations = int(fields[b"i"])
        salted = hashlib.pbkdf2_hmac(self.name, self.password, base64.b64decode(fields[b"s"]), self.iterations)
        key = self.digest(salted, b"Client Key")
        without = b"c=" + odd.get("binding", b64(self.gs2)) + b",r=" + odd.get("nonce", fields[b"r"])
        said = self.bare + b"," + server_first + b"," + without
        proof = bytes(a ^ b for a, b in zip(key, self.digest(hashlib.new(self.name, key).digest(), said)))
        self.server_final = b"v=" + b64(self.digest(self.digest(salted, b"Server Key"), said))
        return without + b",p=" + odd.get("proof", b64(proof))
