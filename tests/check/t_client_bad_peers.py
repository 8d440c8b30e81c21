#!/usr/bin/env python3
# Other hosts that fail: at each step of a session, in each way. Every recipient ends deferred or failed with the host's own
# words in the log and in the queue, no delivery is stuck, and good mail still leaves.
import os
import socketserver
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import Sink, World

STEPS = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "body"]
DOING = ["receiving the initial server greeting", "performing the EHLO handshake", "sending MAIL FROM", "sending RCPT TO",
         "sending DATA command", "sending end of data -- message may be sent more than once"]
COMMAND = [None, None, "MAIL FROM", "RCPT TO", "DATA", "end of DATA"]
GOOD = [b"220 bad ESMTP", b"250 bad", b"250 2.1.0 Ok", b"250 2.1.5 Ok", b"354 go", b"250 2.0.0 Ok"]
LOST, LATE = "lost connection with", "timed out while"
# what the host says instead; then it goes on, closes or hangs; status and words wanted
WAYS = [
    (b"450 4.2.0 not now\r\n", "goes on", "deferred", "450 4.2.0 not now"),
    (b"550 5.7.1 never\r\n", "goes on", "bounced", "550 5.7.1 never"),
    (b"421 4.3.2 shutting down\r\n", "closes", "deferred", "421 4.3.2 shutting down"),
    (b"", "closes", "deferred", LOST),
    (b"", "hangs", "deferred", LATE),
    (b"\x7fELF\x00\x01\xff\r\n", "hangs", "deferred", "not an SMTP reply: ?ELF"),
    (b"\x00" * 100000, "hangs", "deferred", "sent a line of more than"),
    (b"250-half\r\n250-", "hangs", "deferred", LATE),
    (b"250-half\r\n25", "closes", "deferred", LOST),
    (b"250-x\r\n" * 10000, "hangs", "deferred", "reply of more than 500 lines"),
]


class Bad(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address, step, way):
        self.step, self.way = step, way
        super().__init__(address, BadSession)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class BadSession(socketserver.StreamRequestHandler):
    def say(self, octets):
        try:
            self.wfile.write(octets)
        except OSError:
            pass

    def fail(self):
        self.say(self.server.way[0])
        if self.server.way[1] == "hangs":
            while self.rfile.readline():
                pass
        return self.server.way[1] == "goes on"

    def handle(self):
        try:
            self.talk()
        except OSError:
            pass

    def talk(self):
        step, in_body = 0, False
        while True:
            if step == self.server.step:
                if not self.fail():
                    return
            elif step < len(GOOD):
                self.say(GOOD[step] + b"\r\n")
                in_body = step == 4
            else:
                self.say(b"221 bye\r\n" if step == 9 else b"250 Ok\r\n")
            line = self.rfile.readline()
            while in_body and line and line != b".\r\n":
                line = self.rfile.readline()
            if not line:
                return
            verb = line.split()[0].upper() if line.split() else b""
            known = {b"EHLO": 1, b"HELO": 1, b"MAIL": 2, b"RCPT": 3, b"DATA": 4, b"QUIT": 9}
            step = 5 if in_body else known.get(verb, 8)
            in_body = False


def wanted_words(step, way):
    says, then, _, words = way
    if words in (LOST, LATE):
        return "%s while %s" % ("lost connection with %s", DOING[step]) if words == LOST else \
            "conversation with %s timed out while " + DOING[step]
    if words[0] in "45" and step < 2:
        return "host %s refused to talk to me: " + words
    if words[0] in "45":
        return "host %s said: " + words + " (in reply to %s command)" % COMMAND[step]
    return words


@case
def every_step_in_every_way():
    port = free_port()
    zone, servers, want = {"good.test": {"A": ["127.99.0.2"]}}, [], {}
    for s in range(len(STEPS)):
        for w, way in enumerate(WAYS):
            n, ip = s * len(WAYS) + w, "127.99.%d.%d" % (10 + s, w + 1)
            zone["bad%d.test" % n] = {"A": [ip]}
            servers.append(Bad((ip, port), s, way))
            words = wanted_words(s, way)
            status = "deferred" if s == 0 else way[2]  # smtp_skip_5xx_greeting
            want["x@bad%d.test" % n] = (status, words.replace("%s", "bad%d.test[%s]" % (n, ip)), STEPS[s], way)
    short = ["smtp_%s_timeout = 2s" % t for t in ("connect", "helo", "mail", "rcpt", "data_init", "data_xfer", "data_done", "rset", "quit")]
    with World("bad", short + ["maximal_queue_lifetime = 1d", "default_destination_concurrency_limit = 5"], zone=zone, port=port) as w:
        relayd = w.stack.pids_of("relayd")
        began = time.monotonic()
        addresses = list(want)
        for at in range(0, len(addresses), 30):  # the guide's limit is 40
            w.send(addresses[at:at + 30])
        w.send("ok@good.test")
        w.got(1)
        check(time.monotonic() - began < 2 or "POSTERN_SLOW" in os.environ, "good mail waited for bad hosts: %.1f s" % (time.monotonic() - began))
        wait_for(lambda: w.stack.log().count("status=deferred") + w.stack.log().count("status=bounced") >= len(want), 20, "every recipient has its outcome")
        lines = w.stack.log().splitlines()
        for address, (status, words, step, way) in want.items():
            of = [l for l in lines if "to=<%s>" % address in l]
            equal(len(of), 1, "lines for %s (%s, %r)" % (address, step, way[0][:20]))
            check("status=%s" % status in of[0] and words in of[0], "%s, %r: wanted %s, %s: %s" % (step, way[0][:20], status, words, of[0]))
        reports = w.reports(2)
        wait_for(lambda: not [m for m in w.queue() if m["queue_name"] == "active"], 10, "reports are delivered")
        left = {r["address"]: r for m in w.queue() for r in m["recipients"]}
        equal(sorted(left), sorted(a for a in want if want[a][0] == "deferred"), "who is left in the queue")
        for address, r in left.items():
            check(want[address][1] in str(r), "the queue has the words for %s: %r" % (address, r))
        report = "".join(r.as_string() for r in reports)
        failed = [a for a in want if want[a][0] == "bounced"]
        check(failed and all(a in report for a in failed), "the report names %s" % failed)
        check("550 5.7.1 never" in report, "and has the host's words")
        equal(w.stack.pids_of("relayd"), relayd, "relayd lives on")
    for s in servers:
        s.server_close()


@case
def many_hanging_hosts_do_not_hold_up_a_good_one():
    """120 destinations that hang, each longer than a message may wait."""
    port = free_port()
    servers = [Bad(("127.99.20.%d" % (i + 1), port), 0, (b"", "hangs", "", "")) for i in range(10)]
    zone = {"h%d.test" % i: {"A": ["127.99.20.%d" % (i % 10 + 1)]} for i in range(120)}
    zone["good.test"] = {"A": ["127.99.0.2"]}
    with World("hang", ["smtp_helo_timeout = 10s"], zone=zone, port=port) as w:
        for at in range(0, 120, 30):
            w.send(["x@h%d.test" % i for i in range(at, at + 30)])
        time.sleep(0.5)
        began = time.monotonic()
        w.send("ok@good.test")
        w.got(1)
        check(time.monotonic() - began < 6, "%.1f s" % (time.monotonic() - began))
    for s in servers:
        s.server_close()


@case
def greetings():
    zone = {"five.test": {"A": ["127.99.30.1"]}, "two.test": {"MX": [[10, "five.test"], [20, "good.test"]]}, "good.test": {"A": ["127.99.0.2"]}}

    def refuses(port):
        return Bad(("127.99.30.1", port), 0, (b"554 5.7.1 go away\r\n", "goes on", "", ""))

    port = free_port()
    refuses(port)
    with World("skip", ["myhostname = sink"], zone=zone, port=port) as w:
        w.send("ok@two.test")  # a 5xx greeting is passed over for the next host, which says "250 sink": it is this one
        wait_for(lambda: "dsn=4.4.6, status=deferred (mail for two.test loops back to myself)" in w.stack.log(), 10, "a loop is noticed")
        check("replied to HELO/EHLO with my own hostname sink" in w.stack.log(), "a warning says which host")
        w.send("ok@good.test")
        wait_for(lambda: "dsn=5.4.6, status=bounced (mail for good.test loops back to myself)" in w.stack.log(), 10, "the best host is this one")
        equal(w.sink.messages, [], "nothing is sent to itself")
    port = free_port()
    refuses(port)
    with World("noskip", ["smtp_skip_5xx_greeting = no"], zone=zone, port=port) as w:
        w.send("ok@two.test")
        wait_for(lambda: "dsn=5.7.1, status=bounced (host five.test[127.99.30.1] refused to talk to me: 554 5.7.1 go away)" in w.stack.log(), 10,
                 "the greeting is the verdict")


@case
def a_route_without_a_next_hop():
    """A list of none is no delivery."""
    with World("none", ["transport_maps = inline:{ { bar.test = smtp:| } }"], zone={"good.test": {"A": ["127.99.0.2"]}}) as w:
        w.send("x@bar.test")
        wait_for(lambda: [l for l in w.stack.log().splitlines() if "to=<x@bar.test>" in l and "status=" in l], 10, "an outcome")
        check("to=<x@bar.test>" in w.stack.log() and "status=sent" not in w.stack.log(), "nothing was sent")
        equal([r["address"] for m in w.queue() for r in m["recipients"]], ["x@bar.test"], "it is kept")


main()
