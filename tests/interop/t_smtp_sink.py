#!/usr/bin/env python3
# Postfix's smtp-sink with each of its failures: what becomes of mail, in queue and log; and a real Postfix, sending to the same
# sinks, comes to the same end with the same words.
# timeout: 240
import contextlib
import glob
import os
import re
import smtplib
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import ME, World
from refstack import RefStack, smtp_sink

# Time-outs that the delays (-W) go beyond.
CONF = ["smtp_helo_timeout = 4s", "smtp_mail_timeout = 4s", "smtp_rcpt_timeout = 4s", "smtp_data_init_timeout = 4s",
        "smtp_data_done_timeout = 4s", "smtp_quit_timeout = 4s", "smtp_rset_timeout = 4s", "lmtp_lhlo_timeout = 4s",
        "minimal_backoff_time = 600s", "maximal_backoff_time = 600s", "smtp_tls_security_level = none"]
VERBS = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", ".", "RSET", "QUIT")
BODY = "Subject: sink\r\n\r\n.\r\n.dot\r\nline\r\n" + "x" * 990 + "\r\n"

ROWS = {"plain": [], "4": ["-4"], "8": ["-8"], "a": ["-a"], "c": ["-c"], "cc": ["-C"], "e": ["-e"], "ee": ["-E"], "ff": ["-F"],
        "nn": ["-N"], "p": ["-p"], "pp": ["-P"], "v": ["-v"], "h": ["-h", "other.example"], "s": ["-s", "MAIL,RCPT"], "m1": ["-m", "1"],
        "a0": ["-A", "0"], "a1": ["-A", "1"], "w1": ["-w", "1"], "h1": ["-H", "1"], "tt": ["-T", "1024"], "t5": ["-t", "5"],
        "hard": ["-B", "554 5.7.1 not for you", "-f", "RCPT"], "soft": ["-b", "452 4.2.2 full\\, so sorry".replace("\\", ""), "-r", "RCPT"],
        "bare": ["-B", "550 no code here", "-f", "RCPT"], "barr": ["-b", "421 go away for now", "-r", "RCPT"],
        "odd": ["-B", "550 4.1.1 two minds", "-f", "RCPT"], "ehlohelo": ["-f", "EHLO,HELO"], "rehlohelo": ["-r", "EHLO,HELO"],
        "fdatadot": ["-f", "DATA,."], "wdots": ["-W", ".:1"], "wodds": ["-p", "-W", "RCPT:1:1"],
        "lmtp": ["-L"], "lmtpno": ["-L", "-f", "RCPT"], "lmtpdot": ["-L", "-r", "."], "lmtplhlo": ["-L", "-f", "LHLO"], "wpipe": ["-W", "DATA:9"]}
for option in "frqQ":
    for verb in VERBS:
        ROWS["%s%s" % ({"f": "f", "r": "r", "q": "q", "Q": "qq"}[option], {".": "dot"}.get(verb, verb.lower()))] = ["-" + option, verb]
for verb in VERBS:
    if verb != "RSET":
        ROWS["w" + {".": "dot"}.get(verb, verb.lower())] = ["-p", "-W", verb + ":9"]  # it loses what was pipelined when it waits
SENT = ("plain 4 8 a c cc e ee ff nn p pp v h s m1 w1 h1 tt t5 wdots wodds fehlo rehlo frset rrset qrset qqrset fquit rquit qquit qqquit "
        "wquit lmtp").split()


BOUNCED = {"hard": ("5.7.1", "said: 554 5.7.1 not for you (in reply to RCPT TO command)"),
           "bare": ("5.0.0", "said: 550 no code here (in reply to RCPT TO command)"),
           "odd": ("5.0.0", "said: 550 4.1.1 two minds (in reply to RCPT TO command)"),
           "ehlohelo": ("5.3.0", "refused to talk to me: 500"), "lmtplhlo": ("5.3.0", "refused to talk to me: 500"),
           "fdatadot": ("5.3.0", "(in reply to DATA command)"), "lmtpno": ("5.3.0", "(in reply to RCPT TO command)"),
           "a1": ("5.0.0", "said: 550 This violates SMTP")}
REPLY = {"mail": "MAIL FROM", "rcpt": "RCPT TO", "data": "DATA", "dot": "end of DATA"}
WHILE = {"connect": "receiving the initial server greeting", "ehlo": "performing the EHLO handshake", "mail": "sending MAIL FROM",
         "rcpt": "sending RCPT TO", "data": "sending DATA command", "dot": "sending end of data -- message may be sent more than once"}


def expected(name):
    """What is to become of it: (status, begin of dsn, words)."""
    how, verb = re.match("(qq|[frqw]|)(.*)", name).groups()
    if name in SENT:
        return "sent", "2", "250 2"
    if name in BOUNCED:
        return "bounced", *BOUNCED[name]
    if how == "f" and verb in REPLY:
        return "bounced", "5.3.0", "said: 500 5.3.0 Error: command failed (in reply to %s command)" % REPLY[verb]
    if how in ("f", "r", "qq"):
        code = "421 4.0.0" if how == "qq" else "450 4.3.0" if how == "r" else "500 5.3.0"
        return "deferred", "4.0.0" if how == "qq" else "4.3.0", \
            "said: %s" % code if verb in REPLY else "refused to talk to me: %s" % code
    if how in ("q", "w") and verb in WHILE:
        words = "lost connection with %s while %s" if how == "q" else "conversation with %s timed out while %s"
        return "deferred", "4.4.2", words % ("127.0.0.1[127.0.0.1]", WHILE[verb])
    return "deferred", "4", ""


class Sinks:
    """One for every row, each on a port of its own; what they got is in folders."""

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.ports = {name: free_port() for name in ROWS}

    def folder(self, name):
        return tmp("got", name, "x")[:-2]

    def __enter__(self):
        for name, options in ROWS.items():
            os.chmod(self.folder(name), 0o777)
            self.stack.enter_context(smtp_sink(self.ports[name], extra=[*options, "-d", self.folder(name) + "/"]))
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def routes(self):
        return "transport_maps = inline:{ %s }" % ", ".join(
            "{ %s.sink.test = %s:%d }" % (n, "lmtp:inet:127.0.0.1" if "-L" in ROWS[n] else "smtp:[127.0.0.1]", p) for n, p in self.ports.items())

    def got(self, name):
        """How many messages reached the end of data; what did not is not kept by smtp-sink."""
        return len(glob.glob(self.folder(name) + "/*"))


def send_all(port):
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.com", timeout=60) as c:
        for name in ROWS:
            c.sendmail(ME, ["ok@%s.sink.test" % name], BODY)


def outcomes(text):
    """{row: (status, dsn, words)}, of the first try"""
    out = {}
    for line in text.splitlines():
        m = re.search(r" to=<ok@(\w+)\.sink\.test>, .*?dsn=([\d.]+), status=(\w+) \((.*)\)$", line)
        if m:
            out.setdefault(m[1], (m[3], m[2], re.sub(r"queued as \S+", "queued as X", m[4])))
    return out


S = OURS = None


def sinks():
    global S
    if S is None:
        S = Sinks().__enter__()
        at_end(S.__exit__)
    return S


def ours():
    """Outcomes with Postern, and its queue afterwards."""
    global OURS
    if OURS is None:
        with World("w", [sinks().routes(), *CONF]) as w:
            send_all(w.stack.ports["smtp"])
            wait_for(lambda: set(outcomes(w.stack.log())) == set(ROWS), 40,
                     "an outcome of each: %s" % (set(ROWS) - set(outcomes(w.stack.log()))))
            wait_for(lambda: not [m for m in w.queue() if m["queue_name"] == "active"], 20, "nobody is being tried")
            wait_for(lambda: all(m["queue_name"] == "deferred" for m in w.queue()), 20, "reports delivered")
            reports = [str(list(r.iter_parts())[1]) for r in w.reports(sum(o[0] == "bounced" for o in outcomes(w.stack.log()).values()))]
            OURS = outcomes(w.stack.log()), w.queue(), {n: S.got(n) for n in ROWS}, reports
    return OURS


@case
def what_becomes_of_mail():
    found, queue, got, reports = ours()
    waiting = {r["address"]: r for m in queue for r in m["recipients"]}
    bad = []
    for name in ROWS:
        status, dsn, words = found[name]
        address = "ok@%s.sink.test" % name
        want, code, text = expected(name)
        there = waiting.get(address)
        good = status == want and dsn.startswith(code) and text in words
        if status == "deferred":
            good = good and there and (there["state"], there["attempts"], there["status"], there["delay_reason"]) == ("deferred", 1, dsn, words)
        else:
            good = good and not there
        if name == "a0":  # it answers before the message has come; that may be seen, or not
            good = status == "bounced" or "said before it was asked: 550 This violates SMTP" in words
        good = good and (want != "sent" or got[name] == 1)
        good = good and sum(address in r for r in reports) == (status == "bounced")
        if not good:
            bad.append("%s %s: %s, %d taken, in the queue %s; wanted %s" % (name, ROWS[name], found[name], got[name], there, (want, code, text)))
    equal(len(waiting), sum(f[0] == "deferred" for f in found.values()), "messages in the queue")
    check(not bad, "%d of %d\n%s" % (len(bad), len(ROWS), "\n".join(bad)))


@case
def a_host_that_goes_away():
    """-M: it takes a message, ends instead of answering, and nobody listens any more."""
    port = free_port()
    with World("gone", ["relayhost = [127.0.0.1]:%d" % port, *CONF]) as w, smtp_sink(port, extra=["-M", "1"]):
        w.send("ok1@sink.test")
        check("message may be sent more than once" in w.wait_deferred()["recipients"][0]["delay_reason"], w.queue())
        w.stack.postern("queue", "flush")
        wait_for(lambda: w.queue()[0]["recipients"][0]["attempts"] == 2, 20, "another try")
        equal(w.wait_deferred()["recipients"][0]["delay_reason"], "connect to 127.0.0.1[127.0.0.1]:%d: Connection refused" % port, "why")


@case
def long_messages():
    """Slow readers get all of it; who answers too soon, or stops reading, holds nothing up."""
    body = "Subject: long\r\n\r\n" + "".join("%06d %s\r\n" % (i, "x" * 62) for i in range(45000))
    rows = {"slow": ["-H", "2", "-T", "4096"], "early": ["-A", "1", "-T", "4096"], "stops": ["-H", "60", "-T", "4096"]}
    ports = {n: free_port() for n in rows}
    routes = "transport_maps = inline:{ %s }" % ", ".join("{ %s.sink.test = smtp:[127.0.0.1]:%d }" % r for r in ports.items())
    with World("long", [routes, "smtp_data_xfer_timeout = 5s", *CONF]) as w, contextlib.ExitStack() as stack:
        for n, options in rows.items():
            folder = tmp("long-got", n, "x")[:-2]
            os.chmod(folder, 0o777)
            stack.enter_context(smtp_sink(ports[n], extra=[*options, "-d", folder + "/"]))
            w.send("ok@%s.sink.test" % n, body)
        wait_for(lambda: len(outcomes(w.stack.log())) == 3, 30, "three outcomes")
        found = outcomes(w.stack.log())
        equal(found["slow"], ("sent", "2.0.0", "250 2.0.0 Ok"), "a slow reader")
        with open(glob.glob(tmp("long-got", "slow", "*"))[0], newline="") as f:
            check(body.split("\r\n\r\n")[1].replace("\r\n", "\n") in f.read(), "the slow reader has not got all")
        check(found["early"][0] in ("bounced", "deferred"), found["early"])
        equal(found["stops"][:2], ("deferred", "4.4.2"), "who stops reading: %s" % (found["stops"],))


@case
def postfix_comes_to_the_same_end():
    s = sinks()
    found = ours()[0]
    with RefStack(tmp("ref"), parts=("postfix",), main_cf=[*CONF, s.routes(), "smtpd_recipient_restrictions =",
                                                           "smtpd_sender_restrictions =", "default_process_limit = 120"]) as r:
        send_all(r.ports["smtp"])
        wait_for(lambda: set(outcomes(r.log())) == set(ROWS), 60, "an outcome of each: %s" % (set(ROWS) - set(outcomes(r.log()))))
        theirs = outcomes(r.log())
    # a0 answers before the message has come: ours takes nobody's word for what he has not read. Postfix sends QUIT along with
    # the end of data, and smtp-sink, asked to wait, answers QUIT only.
    bad = ["%s %s:\n  %s\n  %s" % (n, ROWS[n], theirs[n], found[n]) for n in ROWS if theirs[n] != found[n] and n not in ("a0", "wdots")]
    check(not bad, "%d of %d differ (Postfix's first)\n%s" % (len(bad), len(ROWS), "\n".join(bad)))


main()
