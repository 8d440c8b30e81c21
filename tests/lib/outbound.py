"""The other side of mail that leaves: an SMTP server that keeps what it gets, and a Postern whose next hops are such.

    with World("w", ["relayhost = two.test"]) as w:
        w.send("ok@example.test"); w.got(1)
"""
import email
import email.policy
import glob
import json
import os
import smtplib
import socketserver
import threading

from dnsd import Dnsd
from harness import *
from stack import Stack

ME = "email1@example.com"


class Sink(socketserver.ThreadingTCPServer):
    """An SMTP server that keeps what it gets. Local parts say how a recipient is answered: "ok...", "no...", "later...",
    "drop...": it hangs up after the end of data of the first such message."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    @property
    def Session(self):
        return SinkSession

    def __init__(self, address, greeting="220 sink ESMTP", extensions=("PIPELINING", "SIZE 5000000", "8BITMIME", "DSN"),
                 tls=None):
        self.tls, self.under_tls = tls, []  # tls: an SSLContext, or "garbage" for an answer that is no TLS
        self.messages, self.greeting, self.extensions = [], greeting, extensions
        self.later, self.commands, self.dropped = True, [], False
        self.connections = 0
        super().__init__(address, self.Session)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class SinkSession(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def answer(self, line, state):
        verb = line.split(" ")[0].upper()
        if verb in ("EHLO", "LHLO"):
            if self.server.extensions is None:
                return "502 5.5.2 what?"
            words = ["sink"] + list(self.server.extensions)
            return "\r\n".join("250%s%s" % ("-" if w != words[-1] else " ", w) for w in words)
        if verb == "HELO":
            return "250 sink"
        if verb == "MAIL":
            state["from"], state["to"] = line, []
            return "250 2.1.0 Ok"
        if verb == "RCPT":
            local = line.split("<")[1].split("@")[0]
            if local.startswith("no"):
                return "550 5.1.1 no such user here"
            if local.startswith("later") and self.server.later:
                return "450 4.2.1 come back"
            state["to"].append(line)
            return "250 2.1.5 Ok"
        if verb == "DATA":
            return "354 go on" if state.get("to") else "554 5.5.1 no recipients"
        if verb == "BDAT":
            return self.take_chunk(line.split(), state)
        if verb == "QUIT":
            return "221 bye"
        return "250 Ok" if verb in ("RSET", "NOOP") else "500 what?"

    def take_chunk(self, words, state):
        state["body"] = state.get("body", b"") + self.rfile.read(int(words[1]))
        if not state.get("to"):
            return "503 5.5.1 no recipients"
        if len(words) < 3:
            return "250 2.0.0 %s octets" % words[1]
        return self.keep(state, state.pop("body"))

    def keep(self, state, body):
        self.server.under_tls.append("tls" in state)
        self.server.messages.append((state["from"], state["to"], body))
        return "250 2.0.0 Ok: queued as %d" % len(self.server.messages)

    def start_tls(self):
        self.say("220 2.0.0 Ready")
        if self.server.tls == "garbage":
            self.wfile.write(b"this is no TLS\r\n" * 20)
            return
        self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.setup()

    def handle(self):
        state = {}
        self.server.connections += 1
        self.say(self.server.greeting)
        while raw := self.rfile.readline():
            line = raw.decode("latin-1")
            if line.upper().startswith("STARTTLS") and self.server.tls:
                self.server.commands.append("STARTTLS")
                self.start_tls()
                state["tls"] = True
                continue
            if not line.endswith("\r\n"):
                self.server.commands.append("BARE LF: %r" % line)
            line = line.rstrip("\r\n")
            self.server.commands.append(line)
            self.say(self.answer(line, state))
            if line.upper() == "DATA" and state.get("to"):
                body = b""
                while True:
                    got = self.rfile.readline()
                    if got == b".\r\n":
                        break
                    if not got:
                        return
                    body += got[1:] if got.startswith(b".") else got
                if any("<drop" in t for t in state["to"]) and not self.server.dropped:
                    self.server.dropped = True
                    return
                self.say(self.keep(state, body))
            if line.upper() == "QUIT":
                return


class World:
    """One Postern, one name server, one sink on two addresses' port."""

    def __init__(self, name, extra_conf=(), zone=None, port=None, resolver=None, kind=Sink, **sink):
        """resolver: the "address:port" of another name server than the one of zone."""
        self.port = port or free_port()
        self.sink = kind(("127.99.0.2", self.port), **sink)
        self.dns = Dnsd(zone or {}, "127.0.0.1", free_port())
        self.resolver = resolver or "127.0.0.1:%d" % self.dns.port
        self.name, self.extra = name, list(extra_conf)

    def __enter__(self):
        self.dns.__enter__()
        self.stack = Stack(tmp(self.name), extra_conf=["smtp_tcp_port = %d" % self.port, "smtp_connect_timeout = 5s",
                                                       "smtpd_sender_restrictions =", "smtpd_recipient_restrictions =",
                                                       "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination"] + self.extra,
                           resolver=self.resolver)
        self.stack.start()
        return self

    def __exit__(self, *exc):
        self.stack.stop()
        self.sink.shutdown()
        self.sink.server_close()
        self.dns.__exit__(*exc)

    def send(self, to, body="Subject: out\r\n\r\nhello\r\n", sender=ME, **kw):
        with smtplib.SMTP("127.0.0.1", self.stack.ports["smtp"], local_hostname="client.example.com", timeout=30) as c:
            return c.sendmail(sender, [to] if isinstance(to, str) else to, body, **kw)

    def got(self, n, timeout_s=20):
        wait_for(lambda: len(self.sink.messages) >= n, timeout_s, "%d messages at the other host" % n)
        return self.sink.messages

    def reports(self, n, timeout_s=20):
        where = os.path.join(self.stack.maildir(ME), "new", "*")
        wait_for(lambda: len(glob.glob(where)) >= n, timeout_s, "%d reports" % n)
        out = []
        for path in sorted(glob.glob(where)):
            with open(path, "rb") as f:
                out.append(email.message_from_binary_file(f, policy=email.policy.default))
        return out

    def queue(self, *argv):
        return [json.loads(l) for l in self.stack.postern("queue", "list", "--json", *argv).splitlines()]

    def wait_queue(self, n, timeout_s=20):
        wait_for(lambda: len(self.queue()) == n, timeout_s, "%d messages in the queue" % n)
        return self.queue()

    def wait_deferred(self, timeout_s=20):
        wait_for(lambda: [m for m in self.queue() if m["queue_name"] == "deferred"], timeout_s, "a deferred message")
        return self.queue()[0]
