#!/usr/bin/env python3
# The log as programs that watch Postfix and Dovecot read it: Debian's fail2ban finds each offender's address by its own
# filters, in each of their modes, and nobody else's; pflogsumm counts each message where it belongs.
# timeout: 180
import base64
import os
import re
import smtplib
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from refstack import ALIASES, RefStack
from stack import Stack

# Who does what: one address for each kind of event.
GOOD, UNKNOWN_USER, RELAY, RBL, HELO, SENDER, ERRORS, PIPELINED, AUTH, LOST, LOST_DATA, CLIENT, WARNED, IMAP, POP3, IDLE_IMAP = \
    ["127.0.1.%d" % i for i in range(1, 17)]
ZONE = dict(SMTP_CASES_ZONE)
ZONE.update({
    # one client has a name, one is on a list
    "3.1.0.127.in-addr.arpa": {"PTR": ["relay.remote.test"]},
    "4.1.0.127.rbl.test": {"A": ["127.0.0.2"], "TXT": ["Listed here"]},
    "rbl.test": {"A": ["127.0.0.1"]},
    "relay.remote.test": {"A": ["127.0.1.3"]},
    "down.test": {"MX": [[10, "mx.down.test"]]},
    "mx.down.test": {"A": ["127.99.0.77"]},
})
# What Postfix gets, too.
COMMON = [
    "mynetworks = 127.0.0.8/32", "smtpd_hard_error_limit = 3", "smtpd_error_sleep_time = 0",
    "smtpd_client_restrictions = check_client_access inline:{ { %s = reject_unknown_reverse_client_hostname } }" % CLIENT,
    "smtpd_recipient_restrictions = permit_sasl_authenticated, reject_unauth_destination, reject_rbl_client rbl.test,\n"
    "  reject_non_fqdn_helo_hostname, reject_unknown_sender_domain,\n"
    "  check_sender_access inline:{ { hold@remote.test = HOLD by hand } { discard@remote.test = DISCARD no } },\n"
    "  warn_if_reject check_sender_access inline:{ { warned@remote.test = REJECT not really } }",
    "smtpd_tls_auth_only = no", "smtpd_sasl_security_options = noanonymous"]
USERS = ["u0@example.com", "u1@example.com"]
EVERY_ALIAS = {**ALIASES, "postmaster@example.com": ["email1@example.com"]}
_made = []


def made():
    """The stack, after everything has happened: (stack, path of the log)."""
    if _made:
        if _made[0] is None:
            skip("what is looked for did not happen")
        return _made[0]
    _made.append(None)
    d = Dnsd(ZONE)
    d.start()
    at_end(d.stop)
    log_file = tmp("mail.log")
    s = Stack(tmp("s"), users=USERS, resolver="127.0.0.1:%d" % d.port, aliases=EVERY_ALIAS, extra_conf=COMMON + [
        "maillog_file = " + log_file, "auth_failure_delay = 0", "submission_account_message_limit_hour = 3",
        "smtp_tcp_port = %d" % free_port()])
    s.start()
    at_end(s.stop)
    happen(s)
    wait_for(lambda: "status=deferred" in text(log_file) and "status=bounced" in text(log_file), 30, "deferred and bounced mail")
    wait_for(lambda: text(log_file).count("status=sent") >= 7, 30, "delivered mail")
    wait_for(lambda: text(log_file).count(": connect from ") == text(log_file).count(": disconnect from ") > 16, 30, "ends of sessions")
    wait_for(lambda: text(log_file).count("(auth failed, 1 attempts") >= 2, 30, "login's ends of sessions")
    time.sleep(0.3)
    _made[0] = (s, log_file)
    return _made[0]


def text(path):
    with open(path, errors="replace") as f:
        return f.read()


class Smtp:
    def __init__(self, s, source, helo="c.remote.test", port="smtp"):
        self.sock = socket.create_connection(("127.0.0.1", s.ports[port]), timeout=30, source_address=(source, 0))
        self.file = self.sock.makefile("rb")
        self.expect("220 ")
        if helo:
            self.say("EHLO " + helo, "250 ")

    def expect(self, start):
        while True:
            line = self.file.readline().decode(errors="replace").rstrip("\r\n")
            if line[3:4] != "-":
                break
        check(line.startswith(start), "expected %r, got %r" % (start, line))

    def say(self, line, start):
        self.sock.sendall(line.encode() + b"\r\n")
        self.expect(start)

    def mail(self, rcpt, want, sender="x@remote.test"):
        self.say("MAIL FROM:<%s>" % sender, "250")
        self.say("RCPT TO:<%s>" % rcpt, want)

    def message(self, *rcpts, sender="x@remote.test"):
        self.mail(rcpts[0], "250", sender)
        for r in rcpts[1:]:
            self.say("RCPT TO:<%s>" % r, "250")
        self.say("DATA", "354")
        self.say("Subject: x\r\nMessage-Id: <1@x>\r\n\r\nbody\r\n.", "250")

    def quit(self):
        self.say("QUIT", "221")
        self.file.close()
        self.sock.close()

    def drop(self):
        self.file.close()
        self.sock.close()


def refused(s, source, rcpt, want, sender="x@remote.test", helo="c.remote.test"):
    c = Smtp(s, source, helo)
    c.mail(rcpt, want, sender)
    c.quit()


def submit(s, source, to, user="u0@example.com", password="pass", port="submission"):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    c = smtplib.SMTP("127.0.0.1", s.ports[port], local_hostname="mua.example.com", timeout=30, source_address=(source, 0)) \
        if port == "submission" else smtplib.SMTP_SSL("127.0.0.1", s.ports[port], local_hostname="mua.example.com", timeout=30,
                                                      source_address=(source, 0), context=context)
    with c:
        if port == "submission":
            c.starttls(context=context)
        c.login(user, password)
        c.sendmail(user, to, "Subject: s\r\n\r\nx\r\n")


def happen(s, out_of_step="554 5.5.0 Error: SMTP protocol synchronization"):
    c = Smtp(s, GOOD)
    c.message("u0@example.com")
    c.message("u0@example.com", "u1@example.com")
    c.message("alias@example.com")
    c.quit()
    refused(s, UNKNOWN_USER, "nobody@example.com", "550 5.1.1")
    refused(s, RELAY, "x@remote.test", "554 5.7.1")
    refused(s, RBL, "u0@example.com", "554 5.7.1 Service unavailable; Client host [%s] blocked using rbl.test; Listed here" % RBL)
    refused(s, HELO, "u0@example.com", "550 5.5.2", helo="nodot")
    refused(s, SENDER, "u0@example.com", "550 5.1.8", sender="x@nx.test")
    refused(s, CLIENT, "u0@example.com", "550 5.7.1 Client host rejected: cannot find your reverse hostname")
    refused(s, WARNED, "u0@example.com", "250", sender="warned@remote.test")
    c = Smtp(s, ERRORS)
    for _ in range(3):
        c.sock.sendall(b"WHAT\r\n")
    for want in ("500", "500", "500", "421"):
        c.expect(want)
    c.drop()
    c = Smtp(s, PIPELINED)
    c.mail("u0@example.com", "250")
    c.sock.sendall(b"DATA\r\nSubject: early\r\n\r\n.\r\n")
    c.expect(out_of_step)
    c.drop()
    c = Smtp(s, AUTH)
    for mech, answers in (("LOGIN", (b"u0@example.com", b"wrong")), ("PLAIN", None)):
        if answers:
            c.say("AUTH LOGIN", "334")
            c.say(base64.b64encode(answers[0]).decode(), "334")
            c.say(base64.b64encode(answers[1]).decode(), "535 5.7.8 Error: authentication failed: ")
        else:
            c.say("AUTH PLAIN " + base64.b64encode(b"\0u0@example.com\0wrong").decode(), "535 5.7.8 Error: authentication failed: ")
    c.quit()
    Smtp(s, LOST).drop()
    c = Smtp(s, LOST_DATA)
    c.mail("u0@example.com", "250")
    c.say("DATA", "354")
    c.sock.sendall(b"Subject: lost\r\n")
    c.drop()
    # hold and discard by table; submission: sent, deferred, bounced, and one more than the account may
    c = Smtp(s, GOOD)
    c.message("u0@example.com", sender="hold@remote.test")
    c.message("u0@example.com", sender="discard@remote.test")
    c.quit()
    submit(s, GOOD, ["u1@example.com"], port="submissions")
    submit(s, GOOD, ["x@down.test"])
    submit(s, GOOD, ["x@nx.test"])
    submit(s, GOOD, ["u1@example.com"])
    # login
    for port, lines in (("imap", (IMAP, b"a LOGIN u0@example.com wrong\r\n")), ("pop3", (POP3, b"USER u0@example.com\r\nPASS wrong\r\n"))):
        with socket.create_connection(("127.0.0.1", s.ports[port]), 30, source_address=(lines[0], 0)) as c:
            c.recv(1000)
            c.sendall(lines[1])
            end = time.monotonic() + 20
            got = b""
            while b"a NO" not in got and b"-ERR" not in got and time.monotonic() < end:
                got += c.recv(1000)
            c.sendall(b"a LOGOUT\r\n" if port == "imap" else b"QUIT\r\n")
            c.recv(1000)
    with socket.create_connection(("127.0.0.1", s.ports["imap"]), 30, source_address=(IDLE_IMAP, 0)) as c:
        c.recv(1000)
        c.sendall(b"a LOGOUT\r\n")
        c.recv(1000)


def found(log_path, filter_):
    """Addresses that fail2ban takes out of the log, each with how often: {address: count}."""
    need("fail2ban-regex")
    r = run(["fail2ban-regex", "--usedns=no", "-o", "id:<ip>", log_path, filter_], timeout_s=60)
    out = {}
    for ip in re.findall(r"^id:(\S+)$", r.stdout.decode(errors="replace"), re.M):
        out[ip] = out.get(ip, 0) + 1
    return out


# What each mode must find.
NORMAL = {UNKNOWN_USER: 1, RELAY: 1, RBL: 1, HELO: 1, SENDER: 1, CLIENT: 1, ERRORS: 1, PIPELINED: 1}
LOGINS = {AUTH: 2}
DDOS = {AUTH: 1, LOST: 1}
MODES = {
    "normal": NORMAL,
    "more": NORMAL,
    "rbl": {RBL: 1},
    "auth": LOGINS,
    "errors": {ERRORS: 1},
    "ddos": DDOS,
    "extra": {**NORMAL, **LOGINS},
    "aggressive": {**NORMAL, **LOGINS, **DDOS, AUTH: 3},
}


@case
def everything_happens():
    made()


def _mode(name, want):
    def run_mode():
        log_path = made()[1]
        equal(found(log_path, "postfix[mode=%s]" % name), want, "postfix[mode=%s]" % name)
    run_mode.__name__ = "fail2ban_postfix_" + name
    case(run_mode)


for _name, _want in MODES.items():
    _mode(_name, _want)


@case
def fail2ban_dovecot():
    log_path = made()[1]
    equal(found(log_path, "dovecot"), {IMAP: 1, POP3: 1}, "dovecot")
    equal(found(log_path, "dovecot[mode=aggressive]"), {IMAP: 1, POP3: 1, IDLE_IMAP: 1}, "dovecot[mode=aggressive]")


@case
def lost_in_the_middle():
    log_path = made()[1]
    for want in ("lost connection after EHLO from unknown[%s]" % LOST, "lost connection after DATA (15 bytes) from unknown[%s]" % LOST_DATA):
        check(want in text(log_path), "%r is not in the log" % want)


def sections(report):
    """{title: [lines]} of pflogsumm's report."""
    out, at = {}, None
    lines = report.splitlines()
    for i, line in enumerate(lines):
        if i + 1 < len(lines) and re.match(r"^-{3,}$", lines[i + 1]) and line.strip():
            at = out.setdefault(line.split("(")[0].strip(), [])
        elif at is not None and line.strip() and not re.match(r"^-{3,}$", line):
            at.append(line.rstrip())
    return out


@case
def pflogsumm():
    need("pflogsumm")
    log_path = made()[1]
    r = run(["pflogsumm", "--problems-first", "--smtpd-stats", log_path])
    report = r.stdout.decode(errors="replace")
    equal(r.returncode, 0, "pflogsumm: %s" % r.stderr)

    def total(name):
        m = re.search(r"^\s*(\d+)k?\s+%s(?:\s|$)" % re.escape(name), report, re.M)
        return int(m.group(1)) if m else fail("no total of %s in %s" % (name, report))

    # received: who has a queue id. Three of GOOD, held, discarded, four submitted; warned, lost and pipelined ones get none further
    equal({n: total(n) for n in ("received", "delivered", "forwarded", "deferred", "bounced", "rejected", "reject warnings", "held",
                                 "discarded")},
          {"received": 12, "delivered": 7, "forwarded": 0, "deferred": 1, "bounced": 1, "rejected": 6, "reject warnings": 1, "held": 2,
           "discarded": 1}, "totals\n" + report)
    check(total("bytes received") > 0 and total("bytes delivered") > 0, "no octets in " + report)
    equal(total("senders"), 2, "senders")
    s = sections(report)
    for title, wants in (
            ("Host/Domain Summary: Message Delivery", ["example.com", "down.test"]),
            ("Senders by message count", ["x@remote.test", "u0@example.com"]),
            ("Recipients by message count", ["u0@example.com", "u1@example.com", "email1@example.com"]),
            ("message deferral detail", ["Connection refused"]),
            ("message bounce detail", ["Host not found"]),
            ("message reject detail", ["blocked using rbl.test", "User unknown", "Relay access denied", "Helo command rejected",
                                       "Sender address rejected", "cannot find your reverse hostname"]),
            ("message reject warning detail", ["not really"]),
            ("message hold detail", ["by hand", "END-OF-MESSAGE"]),
            ("message discard detail", ["no"]),
            ("Warnings", ["SASL LOGIN authentication failed", "account u0@example.com: submission_account"])):
        part = "\n".join(s.get(title, []))
        for want in wants:
            check(want in part, "%r is not under %r in\n%s" % (want, title, report))
    check(not re.search(r"sender not in log|Messages with no size data", report, re.I), "messages without a size:\n" + report)


SHAPES = (  # what differs from one run to the next
    (r"^[0-9A-Za-z]{10,20}: ", "ID: "), (r"(notification: )\w+", r"\1ID"), (r"delay=[\d.]+, delays=[\d./]+", "delay=N"),
    (r"size=\d+", "size=N"), (r"message-id=<.*>", "message-id=<M>"), (r"\]:\d+", "]:P"), (r" \S+ Saved\)", " ID Saved)"),
    (r"type=(MX|AAAA|A):", "type=T:"))


def shapes(log_text):
    """What smtpd and its kin said, as far as it is the same in each run: {"program: words"}."""
    out = set()
    for line in log_text.splitlines():
        m = re.match(r"^\w{3} [ \d]\d [\d:]{8} \S+ postfix/([a-z/]+)\[\d+\]: (.*)$", line)
        if not m or m.group(1) == "master":
            continue
        words = m.group(2)
        for pattern, to in SHAPES:
            words = re.sub(pattern, to, words)
        out.add("%s: %s" % (m.group(1), words))
    return out


@case
def the_lines_are_those_of_postfix():
    log_path = made()[1]
    if os.geteuid() != 0:
        skip("needs root, for a root folder and port 53 of its own")
    with Dnsd(ZONE, "127.53.%d.%d" % (os.getpid() >> 8 & 255, os.getpid() & 254 | 1), 53) as d, \
            RefStack(tmp("ref"), parts=("postfix", "dovecot"), users=USERS, aliases=EVERY_ALIAS, main_cf=COMMON,
                     dovecot_conf=["auth_failure_delay = 0"], resolver=d.address) as ref:
        happen(ref, "354")
        wait_for(lambda: "status=deferred" in ref.log() and "notification: " in ref.log() and ref.log().count("status=sent") >= 7, 30,
                 "Postfix's deliveries")
        theirs = shapes(ref.log())
    ours = shapes(text(log_path))
    check(len(ours & theirs) >= 40, "only %d lines are the same in both" % len(ours & theirs))
    # Ours alone: limits of accounts and the notice about them, what is held, and an early talker sent away (as Postfix 3.9 does)
    mine = [l for l in sorted(ours - theirs) if not re.search(
        r"submission_account_|placed on hold|to=<email1@example.com>, orig_to=<postmaster>|from=<double-bounce@example.com>|"
        r"disconnect from unknown\[%s\]|lost connection after \w+ from unknown\[%s\]" % (re.escape(PIPELINED), re.escape(PIPELINED)), l)]
    equal(mine, [], "lines that Postfix does not write like this; its own are\n" + "\n".join(sorted(theirs - ours)))
    missing = [l for l in sorted(theirs - ours) if not re.search(
        r"backwards-compatible|CONNECT from localhost|localhost\[127.0.0.1\]|non-SMTP command|%s" % re.escape(PIPELINED), l)]
    equal(missing, [], "lines that Postfix writes")


main()
