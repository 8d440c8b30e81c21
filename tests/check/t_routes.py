#!/usr/bin/env python3
# Where mail goes: transport tables, tables by sender, relay hosts, and transports that end it here.
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import ME, Sink, World

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
             " { example.com = }, { * = : } }, regexp:%s") % (port, port, port, "%s")
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
        w.send(["x@bad.test"])
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
def a_table_that_does_not_answer():
    with World("fail", ["transport_maps = fail:no"], zone=ZONE) as w:
        w.send(["ok@default.test"])
        w.wait_deferred()
        check("transport_maps lookup problem" in w.stack.log(), "a log line says which table")
        equal(w.sink.messages, [], "nothing has left")


main()
