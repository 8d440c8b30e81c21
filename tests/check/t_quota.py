#!/usr/bin/env python3
# Quota from outside: main.cf of the guide and a few lines more. Refusals at RCPT, by LMTP, of APPEND and COPY; what makes room
# again; domains; warnings by mail, exactly once whoever is killed; who asks private/quota; `postern quota`.
import imaplib
import json
import os
import re
import shutil
import signal
import smtplib
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

KB = 1024
_stacks = {}


def stack(name="s", *lines, **more):
    if name not in _stacks:
        s = Stack(tmp(name), users=["u%d@example.com" % i for i in range(12)] + ["p%d@pool.test" % i for i in range(3)],
                  domains=["pool.test"],
                  aliases={"one@example.com": ["u0@example.com"], "both@example.com": ["u0@example.com", "u1@example.com"]},
                  extra_conf=["quota = count:User quota", "quota_rule = *:storage=100K", "quota_grace = 0%",
                              "auto_mailboxes = Trash=\\Trash", "smtpd_recipient_restrictions = permit_mynetworks, reject",
                              "recipient_delimiter = +"] + list(lines), **more)
        s.start()
        at_end(s.stop)
        _stacks[name] = s
    return _stacks[name]


class Lmtp:
    def __init__(self, s):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(os.path.join(s.queue_dir, "private", "dovecot-lmtp"))
        self.file = self.sock.makefile("rb")
        self.reply()
        self.say("LHLO client.test")

    def reply(self):
        while True:
            line = self.file.readline().decode()
            check(line, "the connection was closed")
            if line[3:4] != "-":
                return line.rstrip("\r\n")

    def say(self, line):
        self.sock.sendall((line + "\r\n").encode())
        return self.reply()

    def deliver(self, to, octets, subject="m"):
        """The reply for this recipient."""
        self.say("MAIL FROM:<s@remote.test>")
        check(self.say("RCPT TO:<%s>" % to).startswith("250"), "RCPT of %s" % to)
        self.say("DATA")
        body = "Subject: %s\r\n\r\n" % subject + ("x" * 63 + "\r\n") * (octets // 64)  # kept with LF
        return self.say(body + ".")


def deliver(s, to, octets, subject="m", want="250"):
    got = Lmtp(s).deliver(to, octets, subject)
    check(got.startswith(want), "delivery to %s: expected %r, got %r" % (to, want, got))
    return got


def policy(s, recipient, size=0, path="quota", **more):
    """What private/quota says, as a Postfix would ask."""
    c = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    c.settimeout(20)
    c.connect(os.path.join(s.queue_dir, "private", path))
    lines = dict(request="smtpd_access_policy", protocol_state="RCPT", recipient=recipient, size=size, sender="a@b.test", **more)
    c.sendall(("".join("%s=%s\n" % kv for kv in lines.items()) + "\n").encode())
    got = b""
    while not got.endswith(b"\n\n"):
        more = c.recv(4096)
        check(more, "private/quota closed the connection")
        got += more
    c.close()
    check(got.startswith(b"action="), "answer %r" % got)
    return got.decode()[7:].strip()


def rcpt(s, to, size=None):
    c = smtplib.SMTP("127.0.0.1", s.ports["smtp"], timeout=20)
    c.ehlo("client.test")
    c.mail("a@remote.test", ["SIZE=%d" % size] if size else [])
    code, text = c.rcpt(to)
    c.quit()
    return "%d %s" % (code, text.decode())


def imap(s, user):
    c = imaplib.IMAP4("127.0.0.1", s.ports["imap"], timeout=30)
    c.login(user, "pass")
    return c


def message(octets, subject="m"):
    return ("Subject: %s\r\n\r\n" % subject + ("y" * 62 + "\r\n") * (octets // 64)).encode()


def files(s, user):
    found = []
    for folder, _, names in os.walk(s.maildir(user)):
        if os.path.basename(folder) in ("new", "cur"):
            found += [os.path.join(folder, n) for n in names]
    return found


def on_disk(s, user):
    return sum(os.stat(f).st_size for f in files(s, user))


def holding(s, user, text):
    return [f for f in files(s, user) if text.encode() in open(f, "rb").read()]


def usage(s, user):
    rows = json.loads(s.postern("quota", "get", "--json", user))
    return rows[0]


def counts_what_is_there(s, user):
    wait_for(lambda: usage(s, user)["storage"] == on_disk(s, user), 10, "usage of %s is what is on disk" % user)
    equal(usage(s, user)["messages"], len(files(s, user)), "messages of " + user)


FULL = "552 5.2.2 <%s> Quota exceeded (mailbox for user is full)"


@case
def lmtp_refuses_what_is_too_much():
    s = stack()
    deliver(s, "u0@example.com", 60 * KB)
    equal(deliver(s, "u0@example.com", 60 * KB, want="552"), FULL % "u0@example.com")
    equal(deliver(s, "u0+x@example.com", 60 * KB, want="552"), FULL % "u0+x@example.com")
    deliver(s, "u0@example.com", 20 * KB)
    wait_for(lambda: warnings(s, "u0@example.com") == (1, 0), 10, "the warning")
    counts_what_is_there(s, "u0@example.com")
    equal(len(holding(s, "u0@example.com", "Subject: m")), 2)


@case
def refused_at_rcpt():
    s = stack()
    deliver(s, "u1@example.com", 95 * KB)
    wait_for(lambda: holding(s, "u1@example.com", "% full"), 10, "the warning")
    deliver(s, "u1@example.com", int(101 * KB - on_disk(s, "u1@example.com")) // 64 * 64, want="552")
    check(rcpt(s, "u1@example.com").startswith("250"), "not full: no size is given")
    want = "552 5.2.2 <%s>: Recipient address rejected: Mailbox is full"
    for to, size, is_refused in (("u1@example.com", 100 * KB, True), ("u1+ext@example.com", 100 * KB, True),
                                 ("u2@example.com", 50 * KB, False), ("u2@example.com", 200 * KB, True),
                                 ("both@example.com", 200 * KB, False), ("nobody@example.org", 200 * KB, False)):
        got = rcpt(s, to, size)
        if is_refused:
            equal(got, want % to, "RCPT of %s" % to)
        else:
            check(got.startswith("250"), "RCPT of %s with %d: %r" % (to, size, got))
    # An alias that is one mailbox and nothing else.
    deliver(s, "u0@example.com", 64, want="2" if usage(s, "u0@example.com")["storage"] < 99 * KB else "5")
    equal(rcpt(s, "one@example.com", 150 * KB), want % "one@example.com")
    check("NOQUEUE: reject: RCPT from localhost[127.0.0.1]: 552 5.2.2 <u1@example.com>: Recipient address rejected: "
          "Mailbox is full; from=<a@remote.test> to=<u1@example.com> proto=ESMTP" in s.log(), "the line in the log")


@case
def as_a_policy_service():
    s = stack("p", "quota_status_success = DUNNO", "quota_status_toolarge = 554 5.3.4 Too large for you",
              "quota_status_overquota = 452 4.2.2 Come back", "quota_full_tempfail = yes", "quota_max_mail_size = 90K")
    equal(policy(s, "u0@example.com", 1000), "DUNNO")
    equal(policy(s, "U0+x@Example.com", 95 * KB), "554 5.3.4 Too large for you", "larger than quota_max_mail_size")
    equal(policy(s, "u0@example.com", 101 * KB), "554 5.3.4 Too large for you")
    equal(policy(s, "nobody@example.com"), "REJECT Unknown user")
    equal(policy(s, "nobody@example.com", policy_context="postern-quota"), "DUNNO", "who exists is smtpd's to know")
    deliver(s, "u0@example.com", 80 * KB)
    equal(policy(s, "u0@example.com", 50 * KB), "452 4.2.2 Come back")
    equal(policy(s, "u0@example.com", 1 * KB), "DUNNO")
    check(rcpt(s, "u0@example.com", 50 * KB).startswith("452 4.2.2 <u0@example.com>: Recipient address rejected: Come back"),
          "smtpd says the same")
    check(deliver(s, "u0@example.com", 30 * KB, want="452").startswith("452 4.2.2 <u0@example.com> Quota exceeded"), "LMTP")
    # Many connections at once, each with several questions in one packet.
    socks = []
    for i in range(60):
        c = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        c.settimeout(20)
        c.connect(os.path.join(s.queue_dir, "private", "quota"))
        c.sendall(b"request=smtpd_access_policy\nrecipient=u%d@example.com\nsize=10\n\n" % (i % 10) * 5)
        socks.append(c)
    for c in socks:
        got = b""
        while got.count(b"\n\n") < 5:
            more = c.recv(4096)
            check(more, "closed")
            got += more
        equal(got, b"action=DUNNO\n\n" * 5)
        c.sendall(b"no policy request\n\n")
        equal(c.recv(10), b"", "closed on nonsense")


@case
def imap_over_quota():
    s = stack()
    c = imap(s, "u3@example.com")
    equal(c.append("INBOX", None, None, message(70 * KB))[0], "OK")
    counts_what_is_there(s, "u3@example.com")
    typ, text = c.append("INBOX", None, None, message(40 * KB))
    equal((typ, text), ("NO", [b"[OVERQUOTA] Quota exceeded (mailbox for user is full)"]))
    c.select("INBOX")
    for verb in ("COPY", "MOVE"):
        typ, text = c.uid(verb, "1", "Trash")
        if verb == "COPY":
            equal((typ, text), ("NO", [b"[OVERQUOTA] Quota exceeded (mailbox for user is full)"]))
        else:
            equal(typ, "OK", "a MOVE needs no room")
    counts_what_is_there(s, "u3@example.com")
    c.select("Trash")
    c.store("1:*", "+FLAGS", "\\Deleted")
    c.expunge()
    counts_what_is_there(s, "u3@example.com")
    equal(c.append("INBOX", None, None, message(40 * KB))[0], "OK", "there is room again")
    c.logout()


@case
def imap_tells_quota():
    s = stack("i", "quota_rule2 = Trash:ignore")
    u = "u0@example.com"
    s.postern("quota", "set", u, "messages=10")
    wait_for(lambda: usage(s, u)["messages_limit"] == 10, 10, "the limit")
    time.sleep(0.3)
    c = imap(s, u)
    check({"QUOTA", "QUOTA=RES-STORAGE", "QUOTA=RES-MESSAGE"} <= set(c.capability()[1][0].decode().split()), "CAPABILITY")
    equal(c.getquotaroot("INBOX"), ("OK", [[b'INBOX "User quota"'], [b'"User quota" (STORAGE 0 100 MESSAGE 0 10)']]))
    c.append("INBOX", None, None, message(10 * KB))
    used = (on_disk(s, u) + 1023) // 1024
    equal(c.getquota('"User quota"'), ("OK", [b'"User quota" (STORAGE %d 100 MESSAGE 1 10)' % used]))
    equal(c.getquota("other")[0], "NO")
    equal(c.getquotaroot("Trash"), ("OK", [[b"Trash"], [None]]), "what does not count has no root")
    c.logout()
    c = imap(stack(), "u8@example.com")
    equal(c.getquota('"User quota"'), ("OK", [b'"User quota" (STORAGE 0 100)']))
    c.logout()


BELOW = "There is room in your mailbox again"


def warnings(s, user):
    full = [f for f in files(s, user) if b"% full\n" in open(f, "rb").read().replace(b"\r\n", b"\n")]
    return len(full), len(holding(s, user, BELOW))


@case
def warnings_come_once():
    s = stack()
    u = "u4@example.com"
    deliver(s, u, 70 * KB)
    equal(warnings(s, u), (0, 0))
    deliver(s, u, 12 * KB)
    wait_for(lambda: warnings(s, u) == (1, 0), 10, "a warning at 80")
    deliver(s, u, 1 * KB)
    deliver(s, u, 12 * KB)
    wait_for(lambda: warnings(s, u) == (2, 0), 10, "a warning at 95")
    text = [t for t in (open(f, "rb").read().decode() for f in holding(s, u, "% full")) if int(re.search(r"(\d+)%", t).group(1)) >= 95][0]
    for line in ("Return-Path: <>", "From: Mail Delivery System <postmaster@example.com>", "To: u4@example.com",
                 "Auto-Submitted: auto-generated", "of 100 kB"):
        check(line in text, "%r in the warning:\n%s" % (line, text))
    c = imap(s, u)
    c.select("INBOX")
    c.store("1", "+FLAGS", "\\Deleted")
    c.expunge()
    c.logout()
    wait_for(lambda: warnings(s, u) == (2, 1), 10, "told that there is room: imapd's change")
    c = imap(s, u)  # and up again by APPEND
    equal(c.append("INBOX", None, None, message(60 * KB))[0], "OK")
    c.logout()
    wait_for(lambda: warnings(s, u) == (3, 1), 10, "a warning for imapd's change")
    counts_what_is_there(s, u)


def kill(s, name):
    for pid in s.pids_of(name):
        os.kill(pid, signal.SIGKILL)
    s.wait_ready()


@case
def warnings_survive_kills():
    s = stack()
    u = "u5@example.com"
    deliver(s, u, 70 * KB)
    deliver(s, u, 12 * KB)  # over the mark, and killed at once: before the warning, in it, or after it
    kill(s, "lmtpd")
    deliver(s, u, 1 * KB)
    wait_for(lambda: warnings(s, u)[0] >= 1, 10, "the warning")
    kill(s, "lmtpd")
    deliver(s, u, 256)
    time.sleep(0.5)
    equal(warnings(s, u), (1, 0), "one crossing, one warning")
    counts_what_is_there(s, u)


@case
def a_user_of_his_own_limit():
    s = stack()
    u = "u6@example.com"
    s.postern("quota", "set", u, "storage=1M", "messages=5")
    wait_for(lambda: policy(s, u, 200 * KB) == "OK", 10, "a limit of his own")
    deliver(s, u, 200 * KB)
    for _ in range(3):
        deliver(s, u, 1 * KB)
    wait_for(lambda: warnings(s, u)[0] == 1, 10, "a warning: four of five messages, and that is the fifth")
    deliver(s, u, 1 * KB, want="552")
    equal(usage(s, u)["storage_limit"], 1024 * KB)
    equal(usage(s, u)["messages_limit"], 5)
    s.postern("quota", "set", u, "messages=none")
    wait_for(lambda: policy(s, u) == "OK", 10, "as many as he likes")
    deliver(s, u, 1 * KB)
    s.postern("quota", "set", u, "default")
    wait_for(lambda: policy(s, u) != "OK", 10, "what everybody may have")
    deliver(s, u, 1 * KB, want="552")
    equal(usage(s, u)["storage_limit"], 100 * KB)
    r = s.postern("quota", "set", u, "storage=viel", ok=False)
    equal(r.returncode, 64)


@case
def a_domain_has_a_pool():
    s = stack()
    s.postern("quota", "set", "pool.test", "storage=150K")
    wait_for(lambda: policy(s, "p0@pool.test", 90 * KB) == "OK", 10, "the database is read")
    time.sleep(0.3)
    deliver(s, "p0@pool.test", 90 * KB)
    deliver(s, "p1@pool.test", 50 * KB)
    deliver(s, "p2@pool.test", 50 * KB, want="552")
    equal(policy(s, "p2@pool.test", 50 * KB), "552 5.2.2 Mailbox is full")
    check(rcpt(s, "p2@pool.test", 50 * KB).startswith("552 5.2.2"), "RCPT")
    rows = json.loads(s.postern("quota", "get", "--json", "pool.test"))
    pool = [r for r in rows if r["name"] == "pool.test"]
    equal(len(pool), 1)
    equal(pool[0]["storage_limit"], 150 * KB)
    equal(pool[0]["storage"], sum(on_disk(s, "p%d@pool.test" % i) for i in range(3)), "usage of the pool")
    equal({r["name"] for r in rows}, {"pool.test", "p0@pool.test", "p1@pool.test", "p2@pool.test"})


@case
def the_command():
    s = stack()
    deliver(s, "u7@example.com", 90 * KB)
    rows = json.loads(s.postern("quota", "get", "--json", "--all", "--over", "85%"))
    names = [r["name"] for r in rows]
    check("u7@example.com" in names and "u8@example.com" not in names, "over 85 per cent: %r" % names)
    text = s.postern("quota", "get", "u7@example.com")
    check("u7@example.com" in text and "100K" in text and "%" in text, text)
    # A file put there by hand is counted by recalc.
    folder = os.path.join(s.maildir("u7@example.com"), "cur")
    with open(os.path.join(folder, "1.hand:2,S"), "wb") as f:
        f.write(message(2 * KB))
    s.postern("quota", "recalc", "u7@example.com")
    equal(usage(s, "u7@example.com")["storage"], on_disk(s, "u7@example.com"))
    s.postern("quota", "recalc", "--all")
    equal(s.postern("quota", "get", "nobody@example.com", ok=False).returncode, 67)
    equal(s.postern("quota", "set", "nobody@example.com", "storage=1G", ok=False).returncode, 67)
    equal(s.postern("quota", "get", ok=False).returncode, 64)


@case
def limits_go_with_their_owner():
    s = stack()
    s.postern("domain", "add", "gone.test")
    for name in ("a@gone.test", "b@gone.test"):
        s.postern("user", "add", "--stdin", name, input=b"a long enough word\n")
        s.postern("quota", "set", name, "storage=5M")
    s.postern("quota", "set", "gone.test", "storage=7M")
    equal([r["storage_limit"] for r in json.loads(s.postern("quota", "get", "--json", "gone.test"))],
          [5 * KB * KB, 5 * KB * KB, 7 * KB * KB])
    s.postern("user", "remove", "a@gone.test")
    s.postern("user", "add", "--stdin", "a@gone.test", input=b"a long enough word\n")
    equal(usage(s, "a@gone.test")["storage_limit"], 100 * KB, "a new user of an old name")
    s.postern("domain", "remove", "--force", "gone.test")
    s.postern("domain", "add", "gone.test")
    s.postern("user", "add", "--stdin", "b@gone.test", input=b"a long enough word\n")
    equal([r["storage_limit"] for r in json.loads(s.postern("quota", "get", "--json", "gone.test"))], [100 * KB, None])


@case
def usage_goes_with_its_owner():
    s = stack()
    s.postern("domain", "add", "left.test")
    for name in ("a@left.test", "b@left.test", "c@left.test"):
        s.postern("user", "add", "--stdin", name, input=b"a long enough word\n")
        deliver(s, name, 10 * KB)
    rows = {r["name"].lower(): r["messages"] for r in json.loads(s.postern("quota", "get", "--json", "LEFT.test"))}
    equal(rows, {"a@left.test": 1, "b@left.test": 1, "c@left.test": 1, "left.test": 3}, "a domain in other letters")
    s.postern("user", "remove", "a@left.test")
    shutil.rmtree(s.maildir("b@left.test"))
    s.postern("quota", "recalc", "left.test")
    rows = {r["name"]: r["messages"] for r in json.loads(s.postern("quota", "get", "--json", "left.test"))}
    equal(rows, {"b@left.test": 0, "c@left.test": 1, "left.test": 1}, "one is removed, one has lost his Maildir")
    check(policy(s, "b@left.test", 90 * KB) == "OK", "there is room again")


@case
def no_limit_that_cannot_hold():
    """What is taken by the command works at delivery."""
    s = stack()
    for limit in ("storage=4000000T", "messages=%d" % (2**63 - 1)):
        equal(s.postern("quota", "set", "u8@example.com", limit, ok=False).returncode, 64, limit)
    for limit in ("storage=2000000T", "messages=%d" % 2**61):
        r = s.postern("quota", "set", "u8@example.com", limit, ok=False)
        if r.returncode == 0:
            wait_for(lambda: policy(s, "u8@example.com", 1) == "OK", 5, "a limit of %s" % limit)
    deliver(s, "u8@example.com", 1 * KB)
    s.postern("quota", "set", "u8@example.com", "default")


@case
def a_list_asks_it_too():
    """As behind a Postfix: check_policy_service, and smtpd itself asks nobody."""
    s = stack("l", "smtpd_quota_service =", "quota_status_success = DUNNO",
              "smtpd_recipient_restrictions = check_policy_service unix:private/quota, permit_mynetworks, reject")
    deliver(s, "u0@example.com", 90 * KB)
    equal(rcpt(s, "u0@example.com", 50 * KB), "552 5.2.2 <u0@example.com>: Recipient address rejected: Mailbox is full")
    check(rcpt(s, "u1@example.com", 50 * KB).startswith("250"), "there is room")
    s.postern("reload")
    s.extra_conf.append("quota_rule2 = Trash:storage=+1M")
    s.write_main_cf()
    r = s.postern("reload", ok=False)
    check("takes effect at the next start" in (r.stdout + r.stderr).decode() + s.log(), "a reload says that rules wait")


@case
def lmtpd_away_means_accepted():
    s = stack("away", "smtpd_quota_timeout = 1s")
    deliver(s, "u0@example.com", 90 * KB)
    check(rcpt(s, "u0@example.com", 90 * KB).startswith("552"), "full")
    for pid in s.pids_of("lmtpd"):
        os.kill(pid, signal.SIGSTOP)
    for i in range(3):
        check(rcpt(s, "u0@example.com", 90 * KB).startswith("250"), "a service that is silent refuses nobody")
    for pid in s.pids_of("lmtpd"):
        os.kill(pid, signal.SIGCONT)
    lines = s.log().count("does not answer: recipients are accepted unasked")
    check(1 <= lines <= len(s.pids_of("smtpd")), "%d lines in the log: each worker says it once" % lines)


@case
def check_knows_wrong_values():
    s = Stack(tmp("c"))
    s.configure()
    for line, why in (("quota_status_overquota = 250 fine", "quota_status_overquota"), ("quota_status_toolarge = OK", "quota_status_toolarge"),
                      ("quota_status_success = nonsense", "quota_status_success"), ("quota_rule = *:storage=viel", "quota_rule"),
                      ("quota_warning = storage=95%", "quota_warning"), ("quota_rule7 = *:bytes=-1", "quota_rule7"),
                      ("smtpd_quota_service = private/quota", "smtpd_quota_service"),
                      ("quota_warning_template = /nonexistent", "quota_warning_template"),
                      ("postmaster_address = nobody", "postmaster_address")):
        s.extra_conf = ["quota = count:User quota", line]
        s.write_main_cf()
        r = s.postern("check", ok=False)
        text = (r.stdout + r.stderr).decode()
        check(r.returncode == 78 and any(l.startswith(s.main_cf + ":") and why in l and "error" in l for l in text.split("\n")),
              "%s: exit %d\n%s" % (line, r.returncode, text))


main()
