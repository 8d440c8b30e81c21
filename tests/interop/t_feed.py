#!/usr/bin/env python3
# The change feed: how long until a session in IDLE says what another session, another process or another program has changed.
# The figures are printed (aim: 50 ms for our own changes); that every change arrives is checked.
# timeout: 240
import os
import smtplib
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from stack import Stack

ROUNDS, SAID_WITHIN_S = 40, 20
USER = "feed@example.com"
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=[USER], extra_conf=["disable_plaintext_auth = no",
                                                              "mail_max_userip_connections = 100"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def connect():
    c = Client(("127.0.0.1", stack().ports["imap"]), SAID_WITHIN_S)
    c.login(USER, "pass")
    return c


def ok(c, text):
    c.send(("t " + text + "\r\n").encode())
    while True:
        r = c.response()
        if r.startswith(b"t "):
            check(r.startswith(b"t OK"), "%s: %r" % (text, r))
            return


def idle(mailbox="INBOX"):
    c = connect()
    ok(c, "SELECT " + mailbox)
    c.send(b"i IDLE\r\n")
    while not c.response().startswith(b"+"):
        pass
    time.sleep(0.2)
    return c


def wait_for(c, what):
    while what not in c.response():
        pass


def measure(name, change, what):
    watcher = idle()
    times = []
    for i in range(ROUNDS):
        said = time.monotonic()
        began = change(i) or said  # when it was answered, or begun
        wait_for(watcher, what(i))
        times.append((time.monotonic() - began) * 1000)
        time.sleep(0.02)
    times.sort()
    print("    %-45s median %6.1f ms, longest %6.1f ms" % (name, times[len(times) // 2], times[-1]))
    watcher.close()


@case
def every_change_reaches_a_session_in_idle():
    c = connect()
    for _ in range(3):
        c.send(b"t APPEND INBOX {16+}\r\nSubject: x\r\n\r\nx\r\n\r\n")
        while not c.response().startswith(b"t OK"):
            pass
    ok(c, "SELECT INBOX")
    cur = os.path.join(stack().maildir(USER), "cur")

    def flag(i):
        ok(c, "STORE 1 %sFLAGS.SILENT (\\Flagged)" % "+-"[i % 2])
        return time.monotonic()

    def keyword(i):
        ok(c, "STORE 2 %sFLAGS.SILENT (feed)" % "+-"[i % 2])
        return time.monotonic()

    def append(i):
        c.send(b"t APPEND INBOX {16+}\r\nSubject: x\r\n\r\nx\r\n\r\n")
        while not c.response().startswith(b"t OK"):
            pass
        return time.monotonic()

    def foreign_rename(i):
        name = sorted(f for f in os.listdir(cur) if f.startswith("1."))[0]
        os.rename(os.path.join(cur, name), os.path.join(cur, "1.foreign:2," + "SF"[i % 2]))

    def foreign_new(i):
        name = "%d.new%d" % (time.time(), i)
        path = os.path.join(stack().maildir(USER), "tmp", name)
        owner = os.stat(stack().maildir(USER))
        with open(path, "w") as f:
            f.write("Subject: foreign\n\nx\n")
        os.chown(path, owner.st_uid, owner.st_gid)
        os.rename(path, os.path.join(stack().maildir(USER), "new", name))

    measure("flags, another session", flag, lambda i: b" 1 FETCH")
    measure("keywords, another session", keyword, lambda i: b" 2 FETCH")
    measure("APPEND, another session", append, lambda i: b"EXISTS")
    measure("a file in new/, another program", foreign_new, lambda i: b"EXISTS")
    owner = os.stat(stack().maildir(USER))
    with open(os.path.join(cur, "1.foreign:2,"), "w") as f:
        f.write("Subject: foreign\n\nx\n")
    os.chown(os.path.join(cur, "1.foreign:2,"), owner.st_uid, owner.st_gid)
    ok(c, "NOOP")
    measure("flags by a rename, another program", foreign_rename, lambda i: b" FETCH")
    c.close()


@case
def mail_from_outside_reaches_a_session_in_idle():
    watcher = idle()
    times = []
    with smtplib.SMTP("127.0.0.1", stack().ports["smtp"]) as s:
        for i in range(ROUNDS // 2):
            s.sendmail("a@elsewhere.example", [USER], "Subject: %d\r\n\r\nx\r\n" % i)
            began = time.monotonic()
            wait_for(watcher, b"EXISTS")
            times.append((time.monotonic() - began) * 1000)
    times.sort()
    print("    %-45s median %6.1f ms, longest %6.1f ms" % ("SMTP's 250 to EXISTS", times[len(times) // 2], times[-1]))
    watcher.close()


@case
def what_pop3_deletes_reaches_a_session_in_idle():
    watcher = idle()
    with socket.create_connection(("127.0.0.1", stack().ports["pop3"]), timeout=SAID_WITHIN_S) as s:
        f = s.makefile("rwb", buffering=0)
        f.readline()
        for line in (b"USER " + USER.encode(), b"PASS pass", b"DELE 1", b"QUIT"):
            f.write(line + b"\r\n")
            check(f.readline().startswith(b"+OK"), "POP3: %r" % line)
        began = time.monotonic()
        wait_for(watcher, b"EXPUNGE")
    print("    %-45s %6.1f ms" % ("POP3's QUIT to EXPUNGE, another process", (time.monotonic() - began) * 1000))
    watcher.close()


main()
