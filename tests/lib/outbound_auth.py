"""An other host that wants a login (RFC 4954): the Sink of outbound.py with AUTH."""
import base64
import hashlib
import hmac

from harness import *
from outbound import Sink, SinkSession

USER, PASSWORD = "ma=il,er", "pass:wörd"


class AuthSession(SinkSession):
    """AUTH as RFC 4954 has it. server.does: "right", "lies" (SCRAM: a wrong signature), "hurries" (SCRAM: 235 without one),
    "garbage", "loops", or a reply."""

    def challenge(self, octets):
        self.say("334 " + base64.b64encode(octets).decode())
        return base64.b64decode(self.rfile.readline().strip(), validate=True)

    def plain(self, initial):
        got = initial if initial is not None else self.challenge(b"")
        return got == b"\0%s\0%s" % (USER.encode(), PASSWORD.encode())

    def login(self, initial):
        return self.challenge(b"Username:") == USER.encode() and self.challenge(b"Password:") == PASSWORD.encode()

    def cram(self, initial):
        question = b"<17.42@sink>"
        user, mac = self.challenge(question).rsplit(b" ", 1)
        return user == USER.encode() and mac.decode() == hmac.new(PASSWORD.encode(), question, "md5").hexdigest()

    def scram(self, initial, name):
        gs2, bare = initial[:3], initial[3:]
        check(gs2 == b"n,,", "gs2 header %r" % gs2)
        fields = dict(f.split(b"=", 1) for f in bare.split(b","))
        equal(fields[b"n"].decode(), USER.replace("=", "=3D").replace(",", "=2C"), "name as SCRAM writes it")
        salt, count, nonce = b"\0salt\xff", self.server.iterations, fields[b"r"] + b"SERVER"
        first = b"r=%s,s=%s,i=%d" % (nonce, base64.b64encode(salt), count)
        final = self.challenge(first)
        without, proof = final.rsplit(b",p=", 1)
        salted = hashlib.pbkdf2_hmac(name, PASSWORD.encode(), salt, count)
        key = hmac.new(salted, b"Client Key", name).digest()
        message = bare + b"," + first + b"," + without
        signature = hmac.new(hashlib.new(name, key).digest(), message, name).digest()
        if bytes(a ^ b for a, b in zip(key, signature)) != base64.b64decode(proof) or without != b"c=biws,r=" + nonce:
            return False
        if self.server.does == "hurries":
            return True
        mine = hmac.new(hmac.new(salted, b"Server Key", name).digest(), message, name).digest()
        if self.server.does == "lies":
            mine = bytes(len(mine))
        equal(self.challenge(b"v=" + base64.b64encode(mine)), b"", "the answer to the server's signature")
        return True

    def answer(self, line, state):
        words = line.split(" ")
        if words[0].upper() != "AUTH":
            if words[0].upper() == "MAIL":
                self.server.logged_in.append(state.get("login"))
            return super().answer(line, state)
        mechanism = words[1].upper()
        initial = base64.b64decode("" if words[2] == "=" else words[2], validate=True) if len(words) > 2 else None
        self.server.tried.append((mechanism, "tls" in state))
        if self.server.does == "garbage":
            return "334 this is no base64!"
        if self.server.does == "loops":
            return "334 " if mechanism == "LOGIN" else "334 aaaa"
        if self.server.does[0] in "45":
            return self.server.does
        how = {"PLAIN": self.plain, "LOGIN": self.login, "CRAM-MD5": self.cram}
        name = mechanism.replace("SCRAM-", "").replace("-", "").lower()
        if not (how[mechanism](initial) if mechanism in how else self.scram(initial, name)):
            return "535 5.7.8 Error: authentication failed: who are you"
        state["login"] = mechanism
        return "235 2.7.0 Authentication successful"


class AuthSink(Sink):
    Session = AuthSession

    def __init__(self, address, mechanisms="", does="right", iterations=4096, **more):
        self.does, self.iterations = does, iterations
        self.tried, self.logged_in = [], []
        words = ["8BITMIME"] + ([mechanisms] if mechanisms else []) + (["STARTTLS"] if more.get("tls") else [])
        super().__init__(address, extensions=tuple(words), **more)
