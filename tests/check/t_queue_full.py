#!/usr/bin/env python3
# A file system that is full: mail is refused with 452 4.3.1, what is queued still leaves, and acceptance resumes by itself.
# Needs root, to mount small file systems: tmpfs, and ext4 with blocks of 1 and of 4 KiB.
# timeout: 180
import os
import smtplib
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import Sink
from stack import Stack

BIG = "Subject: big\r\n\r\n" + ("x" * 70 + "\r\n") * 800


def mount(folder, kind):
    """A file system of 16 MiB or so, for the queue."""
    if os.geteuid() != 0:
        skip("only root can mount a small file system")
    at = os.path.join(folder, "queue")
    os.makedirs(at)
    if kind == "tmpfs":
        argv = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", at]
    else:
        image = os.path.join(folder, "image")
        with open(image, "wb") as f:
            f.truncate(24 << 20)
        # no journal: its size would be most of it
        r = run([need("mkfs.ext4"), "-q", "-O", "^has_journal", "-b", kind, "-m", "0", image])
        check(r.returncode == 0, "mkfs.ext4: %r" % r.stderr)
        argv = ["mount", "-o", "loop", image, at]
    if run(argv).returncode != 0:
        skip("mount is not allowed here")
    at_end(lambda: run(["umount", "-l", at]))


def send(s, to, body, most):
    """Messages until one is refused, at most so many; how many were taken, and the refusal."""
    accepted, refused = 0, None
    while refused is None and accepted < most:
        with smtplib.SMTP("127.0.0.1", s.ports["smtp"], timeout=30) as c:
            try:
                for _ in range(20):
                    c.sendmail("email1@example.com", [to], body)
                    accepted += 1
            except smtplib.SMTPResponseException as e:
                refused = (e.smtp_code, e.smtp_error.decode())
    return accepted, refused


def is_taken(s):
    return send(s, "u0@example.com", "Subject: again\r\n\r\nhello\r\n", 1)[0] > 0


def refused_then_taken_again(kind):
    folder = tmp("s" + kind)
    mount(folder, kind)
    port = free_port()
    s = Stack(folder, users=["u0@example.com"],
              extra_conf=["queue_minfree = 1", "smtpd_sender_restrictions =", "smtp_connect_timeout = 1s",
                          "default_transport = smtp:[127.0.0.1]:%d" % port])
    with s:
        accepted, refused = send(s, "x@elsewhere.test", BIG, 2000)
        check(accepted > 50, "only %d messages fit" % accepted)
        check(refused and refused[0] == 452 and refused[1].startswith("4.3.1"), "answered %r" % (refused,))
        # all of it is there after a restart, full as it is
        s.process.stop(timeout_s=30)
        s.start()
        ids = [l.split()[0] for l in s.postern("queue", "list", "ALL").splitlines() if l and not l.startswith(" ")][:-1]
        check(len(ids) >= accepted, "%d messages in the queue of %d" % (len(ids), accepted))
        # what is queued leaves, and room comes by that alone
        with Sink(("127.0.0.1", port)) as sink:
            s.postern("queue", "flush")
            wait_for(lambda: len(sink.messages) >= accepted, 60, "the messages that were accepted")
            sink.shutdown()
        wait_for(lambda: is_taken(s), 30, "mail to be taken again")
        s.wait_delivered(1)


for each in ("tmpfs", "1024", "4096"):
    def one(kind=each):
        refused_then_taken_again(kind)
    one.__name__ = "full_" + each
    case(one)


@case
def refused_at_mail_below_queue_minfree():
    s = Stack(tmp("m"), users=["u0@example.com"], extra_conf=["queue_minfree = %d" % (1 << 60)])
    with s:
        with smtplib.SMTP("127.0.0.1", s.ports["smtp"], timeout=30) as c:
            c.ehlo()
            code, text = c.mail("email1@example.com")
            equal((code, text[:5]), (452, b"4.3.1"), "MAIL's answer")
        s.extra_conf = []
        s.write_main_cf()
        s.postern("reload")
        wait_for(lambda: is_taken(s), 30, "mail to be taken")


main()
