#!/usr/bin/env python3
# A file system that is full: mail is refused with 452 4.3.1, what is queued still leaves, and acceptance resumes by itself.
# Needs root, to mount a small tmpfs.
# timeout: 180
import os
import smtplib
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

BIG = "Subject: big\r\n\r\n" + ("x" * 70 + "\r\n") * 800


@case
def refused_then_taken_again():
    if os.geteuid() != 0:
        skip("only root can mount a small file system")
    folder = tmp("s")
    os.makedirs(os.path.join(folder, "queue"))
    if run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", os.path.join(folder, "queue")]).returncode != 0:
        skip("mount is not allowed here")
    at_end(lambda: run(["umount", "-l", os.path.join(folder, "queue")]))
    s = Stack(folder, users=["u0@example.com"],
              extra_conf=["queue_minfree = 1", "smtpd_sender_restrictions =", "smtp_connect_timeout = 1s",
                          "default_transport = smtp:[127.99.0.77]:9"])
    with s:
        accepted, refused = 0, None
        while refused is None and accepted < 2000:
            with smtplib.SMTP("127.0.0.1", s.ports["smtp"], timeout=30) as c:
                try:
                    for _ in range(20):
                        c.sendmail("email1@example.com", ["x@elsewhere.test"], BIG)
                        accepted += 1
                except smtplib.SMTPResponseException as e:
                    refused = (e.smtp_code, e.smtp_error.decode())
        check(accepted > 50, "only %d messages fit into 16 MiB" % accepted)
        check(refused and refused[0] == 452 and refused[1].startswith("4.3.1"), "answered %r" % (refused,))
        ids = [l.split()[0] for l in s.postern("queue", "list").splitlines() if l and not l.startswith(" ")][:-1]
        equal(len(ids), accepted, "messages in the queue")
        s.postern("queue", "delete", *ids[: accepted // 2])
        deadline = time.monotonic() + 30
        while True:
            with smtplib.SMTP("127.0.0.1", s.ports["smtp"], timeout=30) as c:
                try:
                    c.sendmail("email1@example.com", ["u0@example.com"], "Subject: again\r\n\r\nhello\r\n")
                    break
                except smtplib.SMTPResponseException as e:
                    check(time.monotonic() < deadline, "still refused: %r" % e)
                    time.sleep(0.5)
        s.wait_delivered(1)
        # the other half is still there after a restart
        s.process.stop(timeout_s=30)
        s.start()
        listed = s.postern("queue", "list")
        check(all(i in listed for i in ids[accepted // 2:]), "messages are missing after a restart")


main()
