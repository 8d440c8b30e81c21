#!/usr/bin/env python3
# Where mail goes: transport tables, tables by sender, relay hosts, and transports that end it here.
import os
import smtplib
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import ME, Sink, World
from outbound_auth import PASSWORD, USER, AuthSink

ZONE = {
    "default.test": {"A": ["127.99.0.2"]},
    "relay.test": {"A": ["127.99.0.2"]},
}


def other(port):
    """Another host beside the World's."""
    sink = Sink(("127.99.0.4", port))
    at_end(sink.server_close)
    at_end(sink.shutdown)
    return sink


def rcpts(sink):
    return sorted(t.split("<")[1].split(">")[0] for m in sink.messages for t in m[1])


@case
def transport_maps():
    port = free_port()
    there = other(port)
    table = ("transport_maps = inline:{ { one@default.test = smtp:[127.99.0.4]:%d }, { sub.test = smtp:[127.99.0.4]:%d },"
             " { .sub.test = :[127.99.0.4]:%d }, { bad.test = error:5.7.1 nobody here }, { later.test = retry:4.7.9 not today },"
             " { gone.test = discard:into the void }, { kept.test = hold:for the auditor }, { odd.test = uucp:x },"
             " { example.com = }, { * = : } }, regexp:%s\n"
             "virtual_alias_maps = inline:{ { gone@example.com = x@bad.test } }") % (port, port, port, "%s")
    rules = tmp("rules")
    with open(rules, "w") as f:
        f.write("/^whole@/ smtp:[127.99.0.4]:%d\n/^default\\.test$/ error:parts are not asked for\n" % port)
    with World("transport", [table % rules, "recipient_delimiter = +"], zone=ZONE) as w:
        w.send(["one+ext@default.test", "ok@default.test", "ok@sub.test", "ok@deep.sub.test"])
        w.got(1)
        wait_for(lambda: len(rcpts(there)) == 3, 20, "three recipients at the other host")
        equal(rcpts(there), ["ok@deep.sub.test", "ok@sub.test", "one+ext@default.test"], "by the table")
        equal(rcpts(w.sink), ["ok@default.test"], "by MX or address")
        w.send(["x@gone.test"])
        wait_for(lambda: "status=sent (into the void)" in w.stack.log(), 10, "discarded")
        try:  # as Postfix: what would be returned for certain is not taken
            w.send(["x@bad.test"])
            check(False, "error: is taken")
        except smtplib.SMTPRecipientsRefused as e:
            equal(e.recipients["x@bad.test"], (550, b"5.7.1 <x@bad.test>: Recipient address rejected: nobody here"), "error:")
        try:  # an alias that leads there
            w.send(["gone@example.com"])
            check(False, "an alias that leads to error: is taken")
        except smtplib.SMTPDataError as e:
            check((e.smtp_code, e.smtp_error[:5]) == (550, b"5.7.1"), "an alias's refusal: %r" % e)
        w.send(["gone@example.com", "ok@sub.test"])  # beside one that can be delivered it is returned
        report = w.reports(1)[0].as_string()
        check("5.7.1" in report and "nobody here" in report, "the report says why: %s" % report)
        w.send(["x@later.test", "x@odd.test"])
        w.send(["x@kept.test"])
        wait_for(lambda: w.stack.log().count("status=deferred") >= 3, 10, "three put off")
        log_text = w.stack.log()
        check("dsn=4.7.9, status=deferred (not today)" in log_text, "retry:")
        check("dsn=4.3.5, status=deferred (mail transport unavailable)" in log_text, "a transport that is not known")
        wait_for(lambda: {r["address"]: m["queue_name"] for m in w.queue() for r in m["recipients"]} ==
                 {"x@later.test": "deferred", "x@odd.test": "deferred", "x@kept.test": "hold"}, 10, "hold: is on hold")
    with World("patterns", ["transport_maps = regexp:%s" % rules], zone=ZONE) as w:
        w.send(["whole@default.test", "ok@default.test"])
        w.got(1)
        wait_for(lambda: "whole@default.test" in rcpts(there), 20, "by the pattern")
        equal(rcpts(w.sink), ["ok@default.test"], "a part of the address is no key")


@case
def by_sender():
    port = free_port()
    there = other(port)
    conf = ["relayhost = [127.99.0.2]:%d",
            "sender_dependent_relayhost_maps = inline:{ email2@example.com=[127.99.0.4]:%d, { @example.com = DUNNO }, { <> = [127.99.0.4]:%d } }" % (port, port),
            "sender_dependent_default_transport_maps = inline:{ lost@example.com=error:who }"]
    with World("sender", ["relayhost = [127.99.0.4]:%d" % port] + conf[1:], zone=ZONE) as w:
        w.send(["ok@default.test"], sender="email2@example.com")
        wait_for(lambda: len(there.messages) == 1, 20, "by the sender's relay host")
        w.send(["ok@default.test"], sender="email1@example.com")  # @example.com: DUNNO, not even relayhost
        w.got(1)
        w.send(["ok@default.test"], sender="someone@else.test")
        wait_for(lambda: len(there.messages) == 2, 20, "by relayhost")
        w.send(["ok@default.test"], sender="<>")
        wait_for(lambda: len(there.messages) == 3, 20, "the empty sender's own key")
        w.send(["ok@default.test"], sender="lost@example.com")
        wait_for(lambda: "status=bounced (who)" in w.stack.log(), 10, "the sender's own transport")


@case
def whose_password():
    """As Postfix: the host's name goes before the next hop as main.cf has it."""
    port = free_port()
    secrets = "{ [127.99.0.2]:%d = %s:wrong }, { 127.99.0.2 = %s:%s }" % (port, USER, USER, PASSWORD)
    with World("password", ["relayhost = [127.99.0.2]:%d" % port, "smtp_sasl_auth_enable = yes", "smtp_sasl_security_options =",
                            "smtp_sasl_password_maps = inline:{ %s }" % secrets], port=port, kind=AuthSink, mechanisms="AUTH PLAIN") as w:
        w.send("ok@default.test")
        w.got(1)
        equal(w.sink.logged_in, ["PLAIN"], "login")


@case
def addresses_that_are_next_hops():
    """What an alias leads to is an address: no port and no second host in it."""
    port = free_port()
    bad = ["ok@nowhere.test|[127.99.0.2]:%d" % port, "ok@[127.99.0.2]:%d" % port, "ok@default.test:%d" % port]
    table = ", ".join("{ a%d@example.com = %s }" % (i, b) for i, b in enumerate(bad))
    with World("bad", ["virtual_alias_maps = inline:{ %s }" % table], zone=ZONE, port=port) as w:
        for i in range(len(bad)):
            w.send("a%d@example.com" % i)
        wait_for(lambda: w.stack.log().count("dsn=5.1.3, status=bounced (bad address syntax)") == len(bad), 10, "each is bounced")
        equal(w.sink.messages, [], "none has left")


@case
def a_table_that_does_not_answer():
    with World("fail", ["transport_maps = fail:no"], zone=ZONE) as w:
        try:
            w.send(["ok@default.test"])
            check(False, "a recipient is taken of whom nobody can say where")
        except smtplib.SMTPRecipientsRefused as e:
            equal(e.recipients["ok@default.test"], (451, b"4.3.0 <ok@default.test>: Temporary lookup failure"), "the reply")
    with World("later", ["transport_maps = fail:no", "smtpd_reject_unlisted_recipient = no"], zone=ZONE) as w:
        w.send(["ok@default.test"])
        w.wait_deferred()
        check("transport_maps lookup problem" in w.stack.log(), "a log line says which table")
        equal(w.sink.messages, [], "nothing has left")


main()
