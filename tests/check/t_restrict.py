#!/usr/bin/env python3
# Access tables of every type, restriction classes and all actions of access(5): the reply, the log, and what is delivered.
# What `postern check` says of lists that are no good.
# timeout: 180
import glob
import os
import socket
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from refstack import ALIASES
from stack import Stack

ME, OTHER, THIRD = "email1@example.com", "email2@example.com", "u0@example.com"
ZONE = {
    **SMTP_CASES_ZONE,
    "5.20.0.127.in-addr.arpa": {"PTR": ["good.client.test"]}, "good.client.test": {"A": ["127.0.20.5"]},
    "6.20.0.127.in-addr.arpa": {"PTR": ["claimed.client.test"]}, "claimed.client.test": {"A": ["127.99.0.9"]},
    "mxbad.test": {"MX": [[10, "mx.bad.test"]]}, "mx.bad.test": {"A": ["127.99.0.6"]},
    "mxaddr.test": {"MX": [[10, "mx1.mxaddr.test"]]}, "mx1.mxaddr.test": {"A": ["127.66.0.1"]},
    "nsbad.test": {"NS": ["ns.bad.test"], "A": ["127.99.0.7"]}, "ns.bad.test": {"A": ["127.99.0.8"]},
    "sub.nsbad.test": {"A": ["127.99.0.7"]},
    "abad.test": {"A": ["127.66.0.1"]}, "act.test": {"A": ["127.99.0.5"]}, "okaddr.test": {"A": ["127.99.0.99"]},
}
_dns = []


def dns():
    if not _dns:
        _dns.append(Dnsd(ZONE))
        _dns[0].start()
        at_end(_dns[0].stop)
    return "127.0.0.1:%d" % _dns[0].port


class Client:
    def __init__(self, stack, source="127.0.10.1", helo="client.act.test"):
        self.s = socket.create_connection(("127.0.0.1", stack.ports["smtp"]), timeout=20, source_address=(source, 0))
        self.f = self.s.makefile("rb")
        self.greeting = self.reply()
        self.ehlo = self("EHLO " + helo) if helo and self.greeting.startswith("220") else ""

    def reply(self):
        lines = []
        while True:
            line = self.f.readline().decode().rstrip("\r\n")
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines) if len(lines) > 1 else line

    def __call__(self, line):
        self.s.sendall(line.encode() + b"\r\n")
        return self.reply()

    def rcpt(self, sender, *to):
        """The replies to each RCPT of a message from sender; the transaction stays open."""
        equal(self("MAIL FROM:<%s>" % sender), "250 2.1.0 Ok", "MAIL FROM:<%s>" % sender)
        return [self("RCPT TO:<%s>" % t) for t in to]

    def send(self, token):
        equal(self("DATA")[:3], "354", "DATA")
        return self("Subject: %s\r\n\r\nbody of %s\r\n." % (token, token))

    def close(self):
        self.s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def bodies(s, who, token):
    found = []
    for path in glob.glob(os.path.join(s.maildir(who), "new", "*")):
        with open(path, errors="replace") as f:
            text = f.read()
        if "body of " + token in text:
            found.append(text)
    return found


def logged(s, *words):
    wait_for(lambda: any(all(w in line for w in words) for line in s.log().splitlines()), 10, "a log line with %r" % (words,))


def never_logged(s, word):
    check(word not in s.log(), "logged: %r" % word)


SENDER_ACTIONS = """
ok@act.test            OK
digits@act.test        1690000000
dunno@act.test         DUNNO
act.test               REJECT all of act.test
reject@act.test        REJECT
text@act.test          REJECT 5.7.9 go away
code@act.test          550 5.1.1 no such thing
soft@act.test          451 later
bye@act.test           421 4.7.0 not now
botnet@act.test        521 5.7.1 never
defer@act.test         DEFER
dip@act.test           DEFER_IF_PERMIT 4.3.0 maybe
dir@act.test           DEFER_IF_REJECT perhaps
bcc@act.test           BCC %(other)s
discard@act.test       DISCARD dropped here
filter@act.test        FILTER scan:[127.0.0.1]:10025
hold@act.test          HOLD to be looked at
info@act.test          INFO just seen
warn@act.test          WARN odd one
prepend@act.test       PREPEND X-Restrict: yes
redirect@act.test      REDIRECT %(other)s
list@act.test          reject_unlisted_sender, class_deny
perm@act.test          permit
wrong@act.test         no_such_verb
table@act.test         check_sender_access hash:/etc/passwd
user@                  REJECT any such user
.sub.test              REJECT below sub.test only where parents are not matched
<>                     DUNNO
"""

# What a RCPT from this sender gets; None: 250.
REPLIES = {
    "ok": None, "digits": None, "dunno": None,
    "nobody": "554 5.7.1 <nobody@act.test>: Sender address rejected: all of act.test",
    "reject": "554 5.7.1 <reject@act.test>: Sender address rejected: Access denied",
    "text": "554 5.7.9 <text@act.test>: Sender address rejected: go away",
    "code": "550 5.1.7 <code@act.test>: Sender address rejected: no such thing",  # a sender's code
    "soft": "451 4.7.1 <soft@act.test>: Sender address rejected: later",
    "defer": "450 4.7.1 <defer@act.test>: Sender address rejected: Access denied",
    "dip": "450 4.3.0 <dip@act.test>: Sender address rejected: maybe",
    "dir": None, "info": None, "warn": None, "perm": None,
    "list": "554 5.7.1 <list@act.test>: Sender address rejected: Access denied",
    "wrong": "451 4.3.5 Server configuration error",
    "table": "451 4.3.5 Server configuration error",
    "filter": "451 4.3.5 Server configuration error",
}
CLASSES = ["smtpd_restriction_classes = class_deny, class_warn, class_outer",
           "class_deny = reject",
           "class_warn = warn_if_reject class_deny",
           "class_outer = class_warn, check_recipient_access inline:{u1@example.com=class_deny}"]


def make_sqlite(folder):
    db = sqlite3.connect(os.path.join(folder, "access.db"))
    with db:
        db.execute("CREATE TABLE access (k TEXT PRIMARY KEY, v TEXT)")
        db.execute("INSERT INTO access VALUES ('lite@remote.test', '550 in SQLite')")
    db.close()
    with open(os.path.join(folder, "access-sqlite.cf"), "w") as f:
        f.write("dbpath = %s/access.db\nquery = SELECT v FROM access WHERE k = '%%s'\n" % folder)


def write(folder, name, text):
    with open(os.path.join(folder, name), "w") as f:
        f.write(text)


def start_stack(name, *conf):
    s = Stack(tmp(name), users=[THIRD, "u1@example.com"], resolver=dns(), aliases=ALIASES,
              extra_conf=["mynetworks = 127.0.0.8/32", "smtpd_processes = 1"] + list(conf))
    folder = s.workdir
    os.makedirs(folder, exist_ok=True)
    s.made = True
    write(folder, "senders", SENDER_ACTIONS % {"other": OTHER})
    write(folder, "clients.cidr", "127.0.30.0/24 REJECT by network\n127.0.31.0/24 OK\n0.0.0.0/0 DUNNO\n")
    write(folder, "helos", "/^evil\\.(.*)$/ 550 5.7.1 $1 is evil\n/^low/ WARN low helo\n")
    write(folder, "rcpts", "%s 550 5.1.1 not here\nu1@ DEFER u1 is busy\n" % "held@example.com")
    write(folder, "servers", "mx.bad.test REJECT bad exchanger\n127.66.0 REJECT bad network\nns.bad.test REJECT bad name server\n"
                            "127.99.0.99 OK\n")
    write(folder, "clients", "good.client.test REJECT known name\nclaimed.client.test REJECT claimed name\n")
    make_sqlite(folder)
    s.start()
    at_end(s.stop)
    return s


_stack = []


def stack():
    """One configuration with lists for everything, restrictions delayed as by default."""
    if not _stack:
        d = tmp("s")
        _stack.append(start_stack(
            "s", *CLASSES,
            "smtpd_client_restrictions = check_client_access hash:%s/clients, check_client_access cidr:%s/clients.cidr,"
            " check_reverse_client_hostname_access hash:%s/clients" % (d, d, d),
            "smtpd_helo_restrictions = check_helo_access regexp:%s/helos" % d,
            "smtpd_sender_restrictions = texthash:%s/senders, check_sender_access { sqlite:%s/access-sqlite.cf },"
            " check_sender_access inline:{ in@remote.test=REJECT, {in2@remote.test = REJECT two words} },"
            " check_sender_mx_access hash:%s/servers, check_sender_ns_access hash:%s/servers,"
            " check_sender_a_access hash:%s/servers" % (d, d, d, d, d),
            "smtpd_recipient_restrictions = check_recipient_access hash:%s/rcpts, class_outer, reject_unauth_destination" % d,
            "smtpd_data_restrictions = check_sender_access inline:{{warn@act.test = REJECT at DATA}}",
            "smtpd_end_of_data_restrictions = check_sender_access inline:{info@act.test=static_reject}"))
    return _stack[0]


@case
def every_action_in_the_reply():
    s = stack()
    for name, want in REPLIES.items():
        with Client(s) as c:
            equal(c.rcpt(name + "@act.test", ME), [want or "250 2.1.5 Ok"], name)
    with Client(s) as c:  # what would be refused is put off
        equal(c.rcpt("dir@act.test", "x@remote.test"), ["554 5.7.1 <x@remote.test>: Relay access denied"], "another stage's refusal")
    for name, want in (("bye", "421 4.7.0 <bye@act.test>: Sender address rejected: not now"),
                       ("botnet", "521 5.7.1 <botnet@act.test>: Sender address rejected: never")):
        with Client(s) as c:
            equal(c.rcpt(name + "@act.test", ME), [want], name)
            equal(c.f.read(), b"", "after %s the connection" % name)
    logged(s, "NOQUEUE: reject: RCPT from unknown[127.0.10.1]: 554 5.7.9 <text@act.test>: Sender address rejected: go away;"
              " from=<text@act.test> to=<email1@example.com> proto=ESMTP helo=<client.act.test>")
    logged(s, ": info: RCPT from unknown[127.0.10.1]: just seen; from=<info@act.test>")
    logged(s, ": warn: RCPT from unknown[127.0.10.1]: odd one; from=<warn@act.test>")
    logged(s, "filter: RCPT from", "<filter@act.test>: Sender address triggers FILTER scan:[127.0.0.1]:10025;")
    logged(s, "warning: access table", "/senders entry \"filter@act.test\": content filters are not supported")
    logged(s, "warning: access table", "/senders entry \"wrong@act.test\": unknown smtpd restriction: \"no_such_verb\"")
    logged(s, "mapping DSN status 5.1.1 into Sender address status 5.1.7")


@case
def every_action_on_the_message():
    s = stack()
    with Client(s) as c:
        for name in ("bcc", "discard", "hold", "prepend", "redirect"):
            equal(c.rcpt(name + "@act.test", ME, "x@example.com" if name == "discard" else THIRD)[0], "250 2.1.5 Ok", name)
            check(c.send("tok-" + name).startswith("250 2.0.0 Ok: queued as"), name)
    for name, who, n in (("prepend", ME, 1), ("bcc", ME, 1), ("bcc", OTHER, 1), ("redirect", OTHER, 1)):
        wait_for(lambda: len(bodies(s, who, "tok-" + name)) >= n, 20, "%s for %s" % (name, who))
    wait_for(lambda: s.postern("queue", "list", "--json").count('"queue_name": "hold"') or
             "hold" in s.postern("queue", "list"), 10, "the held message in the queue")
    for name, who, n in (("bcc", OTHER, 1), ("redirect", ME, 0), ("discard", ME, 0), ("hold", ME, 0)):
        equal(len(bodies(s, who, "tok-" + name)), n, "copies of %s for %s" % (name, who))
    head = bodies(s, ME, "tok-prepend")[0].split("\n\n")[0]
    check("\nX-Restrict: yes\n" in "\n" + head, "the prepended line in:\n" + head)
    logged(s, "discard: RCPT from", "<discard@act.test>: Sender address dropped here;")
    logged(s, "hold: RCPT from", "<hold@act.test>: Sender address to be looked at;")
    logged(s, "bcc: RCPT from", "<bcc@act.test>: Sender address triggers BCC email2@example.com;")
    logged(s, "redirect: RCPT from", "<redirect@act.test>: Sender address triggers REDIRECT email2@example.com;")


@case
def tables_of_every_type():
    s = stack()
    for sender, want in (("lite@remote.test", "550 5.7.1 <lite@remote.test>: Sender address rejected: in SQLite"),
                         ("LITE@Remote.test", "550 5.7.1 <LITE@Remote.test>: Sender address rejected: in SQLite"),
                         ("in@remote.test", "554 5.7.1 <in@remote.test>: Sender address rejected: Access denied"),
                         ("in2@remote.test", "554 5.7.1 <in2@remote.test>: Sender address rejected: two words"),
                         ("user@aonly.test", "554 5.7.1 <user@aonly.test>: Sender address rejected: any such user"),
                         ("user+tag@aonly.test", "554 5.7.1 <user+tag@aonly.test>: Sender address rejected: any such user"),
                         ("x@deep.act.test", "554 5.7.1 <x@deep.act.test>: Sender address rejected: all of act.test"),
                         ("x@mxbad.test", "554 5.7.1 <x@mxbad.test>: Sender address rejected: bad exchanger"),
                         ("x@mxaddr.test", "554 5.7.1 <x@mxaddr.test>: Sender address rejected: bad network"),
                         ("x@sub.nsbad.test", "554 5.7.1 <x@sub.nsbad.test>: Sender address rejected: bad name server"),
                         ("x@abad.test", "554 5.7.1 <x@abad.test>: Sender address rejected: bad network"),
                         ("x@[127.66.0.9]", "554 5.7.1 <x@[127.66.0.9]>: Sender address rejected: bad network"),
                         ("x@okaddr.test", "451 4.3.5 Server configuration error"),  # anybody could have that address
                         ("x@remote.test", "250 2.1.5 Ok"), ("", "250 2.1.5 Ok")):
        with Client(s) as c:
            equal(c.rcpt(sender, ME), [want], sender)
    for source, helo, want in (
            ("127.0.30.7", "h.test", "554 5.7.1 <unknown[127.0.30.7]>: Client host rejected: by network"),
            ("127.0.31.7", "h.test", "250 2.1.5 Ok"),
            ("127.0.20.5", "h.test", "554 5.7.1 <good.client.test[127.0.20.5]>: Client host rejected: known name"),
            ("127.0.20.6", "h.test", "554 5.7.1 <claimed.client.test>: Unverified Client host rejected: claimed name"),
            ("127.0.10.1", "evil.twin.test", "550 5.7.1 <evil.twin.test>: Helo command rejected: twin.test is evil"),
            ("127.0.10.1", "LOW.test", "250 2.1.5 Ok")):
        with Client(s, source, helo) as c:
            equal(c.rcpt("x@remote.test", ME), [want], "%s, EHLO %s" % (source, helo))
    with Client(s) as c:
        equal(c.rcpt("x@remote.test", "held@example.com", "u1@example.com", "nobody@example.com"),
              ["550 5.1.1 <held@example.com>: Recipient address rejected: not here",
               "450 4.7.1 <u1@example.com>: Recipient address rejected: u1 is busy",
               "550 5.1.1 <nobody@example.com>: Recipient address rejected: User unknown in virtual mailbox table"], "recipients")
    logged(s, ": warn: RCPT from", "low helo;", "helo=<LOW.test>")


@case
def classes_inside_classes():
    s = stack()
    with Client(s) as c:
        equal(c.rcpt("x@remote.test", ME, "x@remote.test"),
              ["250 2.1.5 Ok", "554 5.7.1 <x@remote.test>: Relay access denied"], "after a class that only warns")
    logged(s, "reject_warning: RCPT from unknown[127.0.10.1]: 554 5.7.1 <email1@example.com>: Recipient address rejected:"
              " Access denied;")


@case
def data_and_end_of_data():
    s = stack()
    with Client(s) as c:
        equal(c.rcpt("warn@act.test", ME), ["250 2.1.5 Ok"], "RCPT")
        equal(c("DATA"), "554 5.7.1 <warn@act.test>: Sender address rejected: at DATA", "DATA")
    with Client(s) as c:
        equal(c.rcpt("info@act.test", ME), ["250 2.1.5 Ok"], "RCPT")
        equal(c.send("tok-eod"), "451 4.3.5 Server configuration error", "end of data")
    logged(s, "unknown smtpd restriction: \"static_reject\"")
    equal(len(bodies(s, ME, "tok-eod")), 0, "delivered all the same")


@case
def at_once_where_not_delayed():
    d = tmp("n")
    s = start_stack(
        "n", "smtpd_delay_reject = no", "smtpd_delay_open_until_valid_rcpt = no",
        "smtpd_client_restrictions = check_client_access cidr:%s/clients.cidr" % d,
        "smtpd_helo_restrictions = check_helo_access regexp:%s/helos, check_helo_access static:{DEFER_IF_PERMIT wait}" % d,
        "smtpd_sender_restrictions = check_sender_access hash:%s/senders" % d,
        "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination",
        "smtpd_etrn_restrictions = check_etrn_access inline:{act.test=DISCARD, remote.test=REJECT}")
    with Client(s, "127.0.30.7") as c:
        equal(c.greeting, "554 5.7.1 <unknown[127.0.30.7]>: Client host rejected: by network", "greeting")
        equal(c("EHLO x.test"), "503 5.7.0 Error: access denied for unknown[127.0.30.7]", "EHLO")
    with Client(s, helo="evil.twin.test") as c:
        equal(c.ehlo, "550 5.7.1 <evil.twin.test>: Helo command rejected: twin.test is evil", "EHLO")
    with Client(s) as c:
        equal(c("MAIL FROM:<text@act.test>"), "554 5.7.9 <text@act.test>: Sender address rejected: go away", "MAIL")
        equal(c("RCPT TO:<%s>" % ME), "503 5.5.1 Error: need MAIL command", "RCPT")
        equal(c("ETRN remote.test"), "554 5.7.1 <remote.test>: Etrn command rejected: Access denied", "ETRN")
        # HELO's deferral meets RCPT, of each message; what is refused is refused.
        for _ in range(2):
            equal(c.rcpt("ok@act.test", ME, "x@remote.test"),
                  ["450 4.7.1 <client.act.test>: Helo command rejected: wait",
                   "554 5.7.1 <x@remote.test>: Relay access denied"], "RCPT")
            c("RSET")
        equal(c("ETRN act.test")[:3], "450", "ETRN with the deferral")
    # With the queue opened at once, lines about recipients have the id.
    line = next(l for l in s.log().splitlines() if "reject: RCPT" in l and "Relay access denied" in l)
    check("NOQUEUE" not in line and ": reject: RCPT from" in line, line)
    logged(s, "action DISCARD is unavailable in smtpd_etrn_restrictions")


BAD = [
    ("smtpd_recipient_restrictions = permit_mynetworks, reject_nonsense, reject",
     "smtpd_recipient_restrictions: unknown smtpd restriction: \"reject_nonsense\""),
    ("smtpd_client_restrictions = check_client_access", "restriction check_client_access needs an argument"),
    ("smtpd_client_restrictions = check_client_access /etc/x", "bad argument \"/etc/x\": need maptype:mapname"),
    ("smtpd_client_restrictions = check_client_access nosuch:/etc/x", "unsupported dictionary type: \"nosuch:/etc/x\""),
    ("smtpd_client_restrictions = permit_mynetworks, warn_if_reject", "warn_if_reject at the end"),
    ("smtpd_data_restrictions = hash:/etc/x", "before \"hash:/etc/x\""),
    ("smtpd_sender_restrictions = a_class", "unknown smtpd restriction: \"a_class\""),
    ("smtpd_restriction_classes = a_class", "restriction class `a_class' needs a definition"),
    ("smtpd_restriction_classes = a_class\na_class = a_class", "restriction class `a_class' contains itself"),
    ("smtpd_restriction_classes = a_class\na_class = sleep soon", "restriction sleep must be followed by a number"),
    ("submission_sender_restrictions = nonsense", "of submission: unknown smtpd restriction: \"nonsense\""),
]


@case
def check_names_file_and_line():
    s = stack()
    with open(s.main_cf) as f:
        text = f.read()
    for lines, want in BAD:
        with open(s.path("bad.cf"), "w") as f:
            f.write(text + lines + "\n")
        at = text.count("\n") + len(lines.split("\n"))
        r = run([program("postern"), "-c", s.path("bad.cf"), "check"])
        said = r.stdout.decode() + r.stderr.decode()
        found = [l for l in said.splitlines() if ": error: " in l and want in l]
        check(r.returncode == 78 and found, "%s: status %d, said\n%s" % (lines, r.returncode, said))
        check(any(l.startswith("%s:%d: " % (s.path("bad.cf"), n)) for l in found for n in (at, at - 1)), "%s: line %d of\n%s" % (lines, at, found))


main()
