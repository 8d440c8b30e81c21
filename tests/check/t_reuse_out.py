#!/usr/bin/env python3
# Sessions with other hosts that are used for more than one message: when, how often, and never for a destination that they do not fit.
import os
import re
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import Sink, SinkSession, World
from outbound_auth import PASSWORD, USER, AuthSink
from stack import make_certificate

ZONE = {"one.test": {"A": ["127.99.0.2"]}, "two.test": {"A": ["127.99.0.2"]}, "three.test": {"A": ["127.99.0.2"]},
        "mx.test": {"MX": [[10, "one.test"]]}, "also.test": {"MX": [[20, "one.test"]]}}
ONE_BY_ONE = "smtp_destination_concurrency_limit = 1", "initial_destination_concurrency = 1"


def uses(w):
    """[conn_use of each delivery, 1 where the log has none]"""
    return [int(m.group(1) or 1) for m in re.finditer(r"relay=[^ ]+?(?:, conn_use=(\d+))?, delay=[^\n]*status=sent", w.stack.log())]


def all_sent(w, n, what):
    wait_for(lambda: len(w.sink.messages) >= n, 30, "%s: %d messages" % (what, n))
    wait_for(lambda: len(uses(w)) >= n, 10, "%s: %d lines in the log" % (what, n))
    check("status=deferred" not in w.stack.log(), "%s: something was put off" % what)


class Slow(SinkSession):
    def keep(self, state, body):
        time.sleep(0.04)
        return super().keep(state, body)


class SlowSink(Sink):
    Session = Slow


@case
def on_demand():
    with World("demand", ONE_BY_ONE, zone=ZONE, kind=SlowSink) as w:
        w.send("ok@one.test")
        w.got(1)
        time.sleep(0.3)
        equal(w.sink.commands[-1], "QUIT", "no more mail waits: the session ends")
        for i in range(60):
            w.send("ok%d@one.test" % i)
        all_sent(w, 61, "on demand")
        check(w.sink.connections < 50, "%d sessions for 61 messages" % w.sink.connections)
        check(max(uses(w)) > 2, "conn_use is logged: %r" % uses(w))
        wait_for(lambda: w.sink.commands.count("QUIT") == w.sink.connections, 10, "idle sessions end by themselves")
    with World("never", ONE_BY_ONE + ("smtp_connection_cache_on_demand = no",), zone=ZONE) as w:
        for i in range(20):
            w.send("ok%d@one.test" % i)
        all_sent(w, 20, "never")
        equal(w.sink.connections, 20, "a session for each message")
        equal(max(uses(w)), 1, "conn_use")


@case
def by_destination_and_limits():
    conf = ["smtp_connection_cache_destinations = one.test, mx.test", "smtp_connection_cache_time_limit = 5s"]
    with World("listed", conf, zone=ZONE) as w:
        for i in range(4):
            w.send("ok@one.test")
            w.got(i + 1)
            time.sleep(0.05)
        w.send("ok@mx.test")  # the same host
        w.got(5)
        equal((w.sink.connections, uses(w)), (1, [1, 2, 3, 4, 5]), "one session")
        w.send("ok@two.test")  # the same address, another name
        w.got(6)
        equal(w.sink.connections, 2, "another host's name is another session")
    with World("count", conf + ["smtp_connection_reuse_count_limit = 2"], zone=ZONE) as w:
        for i in range(7):
            w.send("ok@one.test")
            w.got(i + 1)
            time.sleep(0.05)
        equal((w.sink.connections, uses(w)), (3, [1, 2, 3, 1, 2, 3, 1]), "two more uses for each session")
    with World("age", conf + ["smtp_connection_reuse_time_limit = 1s"], zone=ZONE) as w:
        began = time.monotonic()
        while time.monotonic() - began < 2.5:
            w.send("ok@one.test")
            time.sleep(0.1)
        all_sent(w, 10, "age")
        check(w.sink.connections >= 2, "%d sessions in 2.5 s" % w.sink.connections)


class Fickle(SinkSession):
    """Ends kept sessions: server.how is "close" at the second MAIL, "421" instead of its reply, "idle" soon after a message."""

    def answer(self, line, state):
        if line.startswith("MAIL") and self.mails and self.server.how == "421":
            self.say("421 4.4.2 idle for too long")
            raise ConnectionError
        if line.startswith("MAIL") and self.mails and self.server.how == "close":
            raise ConnectionError
        self.mails = self.mails + line.startswith("MAIL")
        return super().answer(line, state)

    def keep(self, state, body):
        if self.server.how == "idle":
            self.request.settimeout(0.02)
        return super().keep(state, body)

    def handle(self):
        self.mails = 0
        try:
            super().handle()
        except OSError:
            pass


class FickleSink(Sink):
    Session = Fickle


@case
def what_has_ended_is_no_reason_to_wait():
    for how in ("close", "421", "idle"):
        with World(how, ["smtp_connection_cache_destinations = one.test", "smtp_destination_concurrency_limit = 2"], zone=ZONE, kind=FickleSink) as w:
            w.sink.how = how
            for i in range(12):
                w.send("ok@one.test")
                time.sleep(0.03)
            all_sent(w, 12, how)
            equal(len(w.sink.messages), 12, "%s: each message once" % how)


@case
def never_where_it_does_not_fit():
    chain, key = make_certificate(tmp("cert"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    conf = ["smtp_connection_cache_destinations = one.test, two.test, mx.test, also.test", "smtp_sasl_auth_enable = yes",
            "smtp_sasl_password_maps = inline:{ { mx.test = %s:%s } }" % (USER, PASSWORD), "smtp_tls_security_level = may",
            "smtp_tls_policy_maps = inline:{ also.test=none }", "smtp_tls_loglevel = 1"]
    with World("fit", conf, zone=ZONE, kind=AuthSink, mechanisms="AUTH SCRAM-SHA-1", tls=context) as w:
        order = ["mx", "also", "one", "also", "mx", "one", "mx", "also", "one"]
        for i, name in enumerate(order):  # all of them are the host one.test
            w.send("%s@%s.test" % (name, name))
            w.got(i + 1)
            time.sleep(0.05)
        for i, (frm, to, _) in enumerate(w.sink.messages):
            name = to[0].split("<")[1].split("@")[0]
            equal(w.sink.under_tls[i], name != "also", "%s: TLS" % name)
            equal(w.sink.logged_in[i], "SCRAM-SHA-1" if name == "mx" else None, "%s: login" % name)
        equal(w.sink.connections, 3, "one session for each manner")


main()
