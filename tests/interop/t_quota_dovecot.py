#!/usr/bin/env python3
# Quota beside a real Dovecot with the same rules: what its lmtp, its quota-status and its imap say, ours say too.
import imaplib
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from refstack import RefStack
from stack import Stack

KB = 1024
RULES = [("quota_rule", "*:storage=100K:messages=6"), ("quota_rule2", "Trash:storage=+50K"), ("quota_rule3", "Spam:ignore"),
         ("quota_grace", "10%"), ("quota_max_mail_size", "95K"), ("quota_status_success", "DUNNO"),
         ("quota_status_overquota", "552 5.2.2 Mailbox is full"), ("quota_status_toolarge", "552 5.3.4 Too large")]
TIME = re.compile(rb" \([0-9. +]+ secs\)\.$")
USERS = ["u%d@example.com" % i for i in range(4)]


class Server:
    def __init__(self, lmtp, quota, imap):
        self.lmtp, self.quota, self.imap = lmtp, quota, imap

    def deliver(self, to, octets):
        c = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        c.settimeout(20)
        c.connect(self.lmtp)
        f = c.makefile("rb")

        def reply():
            while True:
                line = f.readline().decode()
                check(line, "LMTP was closed")
                if line[3:4] != "-":
                    return line.rstrip("\r\n")

        def say(line):
            c.sendall((line + "\r\n").encode())
            return reply()

        reply()
        say("LHLO x")
        say("MAIL FROM:<a@remote.test>")
        got = say("RCPT TO:<%s>" % to)
        if got.startswith("250"):
            say("DATA")
            got = say("Subject: m\r\n\r\n" + ("x" * 63 + "\r\n") * (octets // 64) + ".")
        c.close()
        # Dovecot lets a message that is too large for ever be tried again: "451 4.2.0".
        return re.sub(r" [^ ]+ Saved$", " Saved", re.sub(r"^(451 4.2.0|552 5.2.3) (.* Mail size is larger)", r"CODE \2", got))

    def status(self, recipient, size):
        c = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        c.settimeout(20)
        c.connect(self.quota)
        c.sendall(b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=%s\nsize=%d\n\n" % (recipient.encode(), size))
        got = b""
        while not got.endswith(b"\n\n"):
            more = c.recv(1000)
            check(more, "quota-status closed")
            got += more
        c.close()
        return got.decode().strip()

    def client(self, user):
        c = imaplib.IMAP4("127.0.0.1", self.imap, timeout=20)
        c.login(user, "pass")
        return c


def dialogue(s):
    """What is said, in order."""
    said = []

    def note(what, got):
        said.append((what, got))

    for size in (0, 10 * KB, 94 * KB, 96 * KB, 101 * KB):
        note("empty, size %d" % size, s.status("u0@example.com", size))
    note("nobody", s.status("nobody@example.com", 0))
    for size in (50 * KB, 55 * KB, 30 * KB):  # the second within the grace of the limit
        note("deliver %d" % size, s.deliver("u0@example.com", size))
    for size in (0, 1 * KB, 96 * KB):
        note("full, size %d" % size, s.status("u0@example.com", size))
    note("too large", s.deliver("u1@example.com", 96 * KB))
    for i in range(8):
        note("message %d" % i, s.deliver("u2@example.com", 128))
    note("six messages", s.status("u2@example.com", 10))
    c = s.client("u3@example.com")
    message = b"Subject: m\r\n\r\n" + (b"x" * 62 + b"\r\n") * (60 * KB // 64)
    c.create("Spam")
    for box in ("INBOX", "INBOX", "Trash", "Trash", "Spam", "Spam", "Spam"):
        typ, text = c.append(box, None, None, message)
        note("append to " + box, (typ, TIME.sub(b"", text[0]) if typ == "NO" else b""))
    c.select("INBOX")
    for box in ("INBOX", "Spam"):
        typ, text = c.copy("1", box)
        note("copy to " + box, (typ, TIME.sub(b"", text[0]) if typ == "NO" else b""))
    for box in ("INBOX", "Trash"):
        note("root of " + box, [re.sub(rb"STORAGE \d+", b"STORAGE n", x or b"") for part in c.getquotaroot(box)[1] for x in part])
    note("another root", c.getquota("none")[0])
    c.logout()
    return said


@case
def the_same_is_said():
    need("unshare")
    conf = ["mail_plugins = quota", "protocol imap {\n  mail_plugins = quota imap_quota\n}", "plugin {", "  quota = maildir:User quota"]
    conf += ["  %s = %s" % (k, v.replace("%", "%%")) for k, v in RULES] + ["  quota_status_nouser = REJECT Unknown user", "}"]
    place = tmp("ref")
    conf += ["service quota-status {\n  executable = quota-status -p postfix\n  unix_listener /var/spool/postfix/private/quota {\n"
             "    mode = 0666\n  }\n}"]
    with RefStack(place, parts=("dovecot",), users=USERS, dovecot_conf=conf) as ref:
        theirs = Server(ref.path("var/spool/postfix/private/dovecot-lmtp"), ref.path("var/spool/postfix/private/quota"),
                        ref.ports["imap"])
        want = dialogue(theirs)
    with Stack(tmp("s"), users=USERS, extra_conf=["quota = maildir:User quota", "quota_warning ="] +
               ["%s = %s" % rule for rule in RULES]) as s:
        got = dialogue(Server(os.path.join(s.queue_dir, "private", "dovecot-lmtp"), os.path.join(s.queue_dir, "private", "quota"),
                              s.ports["imap"]))
    wrong = ["%s\n  Dovecot: %r\n  Postern: %r" % (w[0], w[1], g[1]) for w, g in zip(want, got) if w != g]
    check(not wrong and len(want) == len(got), "said otherwise:\n" + "\n".join(wrong))


main()
