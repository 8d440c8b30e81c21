#!/usr/bin/env python3
# POP3 over the whole stack: what poplib and raw pipelining clients do with mail that came by SMTP and by hand.
# timeout: 300
import imaplib
import os
import poplib
import smtplib
import signal
import socket
import ssl
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from refstack import pss_kib
from stack import Stack

PASSWORD = "pass"
_stack = []


def stack():
    if not _stack:
        users = {"u%d@example.com" % i: PASSWORD for i in range(20)}
        _stack.append(Stack(tmp("s"), users=users).start())
        at_end(_stack[0].stop)
    return _stack[0]


def pop3(user, password=PASSWORD):
    c = poplib.POP3("127.0.0.1", stack().ports["pop3"], timeout=30)
    c.user(user)
    c.pass_(password)
    return c


def folder(user, sub):
    path = os.path.join(stack().maildir(user), sub)
    os.makedirs(path, exist_ok=True)
    return path


def put(user, name, text, sub="new"):
    for f in ("tmp", "new", "cur"):
        folder(user, f)
    with open(os.path.join(folder(user, sub), name), "wb") as f:
        f.write(text)


def files(user):
    return sorted(os.listdir(folder(user, "new")) + os.listdir(folder(user, "cur")))


@case
def mail_by_smtp_is_read_and_deleted():
    for i in range(3):
        with smtplib.SMTP("127.0.0.1", stack().ports["smtp"], timeout=30) as s:
            s.sendmail("a@elsewhere.example", ["u0@example.com"], "Subject: m%d\r\n\r\n.dots\r\n..\r\nend %d\r\n" % (i, i))
    wait_for(lambda: os.path.isdir(stack().maildir("u0@example.com")) and len(files("u0@example.com")) == 3, 30, "delivery")
    c = pop3("u0@example.com")
    count, size = c.stat()
    equal(count, 3, "STAT")
    equal(sum(int(l.split()[1]) for l in c.list()[1]), size, "LIST adds up to STAT")
    for i in range(3):
        _, lines, octets = c.retr(i + 1)
        subject = next((l for l in lines if l.startswith(b"Subject: m")), b"")  # deliveries may pass each other
        check(subject and lines[-3:] == [b".dots", b"..", b"end " + subject[10:]], "RETR: %r" % lines)
        equal(sum(len(l) + 2 for l in lines), int(c.list(i + 1).split()[2]), "octets of message %d" % (i + 1))
        head = c.top(i + 1, 1)[1]
        equal(head[-2:], [b"", b".dots"], "TOP")
    c.dele(1)
    c.dele(3)
    equal(c.quit(), b"+OK Logging out, messages deleted.", "QUIT")
    equal(len(files("u0@example.com")), 1, "files left")
    check(files("u0@example.com")[0].endswith(":2,S"), "what was read is seen: %r" % files("u0@example.com"))
    wait_for(lambda: "retr=3/" in stack().log() and "del=2/3" in stack().log(), 5, "the log line")


@case
def a_lost_connection_deletes_nothing():
    user = "u1@example.com"
    for i in range(3):
        put(user, "157860000%d.M%dP1.h" % (i, i), b"Subject: x\n\nbody %d\n" % i)
    c = pop3(user)
    for i in (1, 2, 3):
        c.dele(i)
    c.sock.close()
    c.file.close()
    c = pop3(user)
    equal(c.stat()[0], 3, "messages after the connection was lost")
    c.dele(2)
    c.rset()
    c.quit()
    equal(len(files(user)), 3, "files")


@case
def uidl_lasts_and_is_what_dovecot_says():
    user = "u2@example.com"
    for i in range(3):
        put(user, "157860000%d.M%dP1.h" % (i, i), b"Subject: x\n\nbody %d\n" % i)
    c = pop3(user)
    uidl = [l.split()[1] for l in c.uidl()[1]]
    check(all(len(u) == 16 for u in uidl) and len(set(uidl)) == 3, "UIDL: %r" % uidl)
    equal(c.uidl(2), b"+OK 2 " + uidl[1], "UIDL 2")
    c.dele(1)
    c.quit()
    m = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
    m.login(user, PASSWORD)
    m.select("INBOX")
    validity = int(m.response("UIDVALIDITY")[1][0])
    uids = [int(u) for u in m.uid("search", "ALL")[1][0].split()]
    m.logout()
    c = pop3(user)
    equal([l.split()[1] for l in c.uidl()[1]], uidl[1:], "UIDL after the first was deleted")
    equal([b"%08x%08x" % (u, validity) for u in uids], uidl[1:], "UID and UIDVALIDITY as IMAP has them")
    c.quit()


@case
def imap_hears_of_what_pop3_deletes():
    user = "u3@example.com"
    for i in range(3):
        put(user, "157860000%d.M%dP1.h" % (i, i), b"Subject: x\n\nbody %d\n" % i)
    m = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
    m.login(user, PASSWORD)
    equal(m.select("INBOX")[1], [b"3"], "EXISTS")
    m.send(b"i IDLE\r\n")
    m.readline()
    c = pop3(user)
    c.dele(2)
    c.quit()
    m.sock.settimeout(5)
    equal(m.readline(), b"* 2 EXPUNGE\r\n", "what an idle IMAP session hears")
    m.send(b"DONE\r\n")
    m.shutdown()


@case
def pipelined():
    user = "u4@example.com"
    for i in range(300):
        put(user, "15786%05d.M%dP1.h" % (i, i), b"Subject: n%d\n\n" % i + b"x" * 2000 + b"\n")
    s = socket.create_connection(("127.0.0.1", stack().ports["pop3"]), timeout=30)
    # All at once, login included, and nothing is read before everything was sent.
    s.sendall(b"USER %s\r\nPASS pass\r\nSTAT\r\n" % user.encode() + b"".join(b"RETR %d\r\n" % (i + 1) for i in range(300)) +
              b"".join(b"DELE %d\r\n" % (i + 1) for i in range(300)) + b"QUIT\r\n")
    f = s.makefile("rb")
    lines = f.read().split(b"\r\n")
    equal(lines[:2], [b"+OK Postern ready.", b"+OK"], "greeting and USER")
    equal(lines[2], b"+OK Logged in.", "PASS")
    check(lines[3].startswith(b"+OK 300 "), "STAT: %r" % lines[3])
    equal([l for l in lines if l.startswith(b"Subject: ")], [b"Subject: n%d" % i for i in range(300)], "messages in order")
    equal(lines.count(b"+OK Marked to be deleted."), 300, "DELE")
    equal(lines[-2:], [b"+OK Logging out, messages deleted.", b""], "QUIT")
    equal(files(user), [], "files")


@case
def sizes_come_from_names_and_index():
    """No file is opened for a login, STAT, LIST and UIDL: the names tell sizes, here wrong ones."""
    user = "u5@example.com"
    text = b"Subject: x\n\nbody\n"
    for i in range(1000):
        put(user, "15786%05d.M%dP1.h,S=%d,W=%d:2," % (i, i, len(text), 5000 + i), text, "cur")
    c = pop3(user)
    equal(c.stat(), (1000, sum(5000 + i for i in range(1000))), "STAT")
    equal(c.list(7), b"+OK 7 5006", "LIST 7")
    equal(len(c.uidl()[1]), 1000, "UIDL")
    c.quit()


def octets_read(name):
    """What the processes of a daemon have read so far, from wherever."""
    return sum(int(open("/proc/%d/io" % p).read().split("rchar: ")[1].split()[0]) for p in stack().pids_of(name))


@case
def messages_are_read_once_at_most():
    """40 MB of messages: a login, LIST and UIDL read none where sizes are in the names, and each once where they are not."""
    user, text, n = "u8@example.com", b"Subject: x\n\n" + b"x" * 39 * 1024 + b"\n", 1000
    for i in range(n):
        put(user, "15786%05d.M%dP1.h,S=%d,W=%d:2," % (i, i, len(text), len(text) + 3), text, "cur")
    before = octets_read("pop3d")
    c = pop3(user)
    equal(c.stat()[1], n * (len(text) + 3), "octets")
    equal(len(c.list()[1]) + len(c.uidl()[1]), 2 * n, "LIST and UIDL")
    c.quit()
    known = octets_read("pop3d") - before
    check(known < n * len(text) / 10, "%d octets were read" % known)
    user = "u9@example.com"
    for i in range(n):
        put(user, "15786%05d.M%dP1.h:2," % (i, i), text, "cur")
    counts = []
    for is_killed in (True, False):
        before = octets_read("pop3d")
        c = pop3(user)
        equal(c.stat()[1], n * (len(text) + 3), "octets, counted")
        counts.append(octets_read("pop3d") - before)
        if is_killed:
            for p in stack().pids_of("pop3d"):
                os.kill(p, signal.SIGKILL)
            wait_for(lambda: can_log_in("u0@example.com"), 20, "a new pop3d")
        else:
            c.quit()
    check(counts[0] >= n * len(text) and counts[1] < n * len(text) / 10, "read at the first login and at the second: %r" % counts)


def connect_raw(user):
    s = socket.create_connection(("127.0.0.1", stack().ports["pop3"]), timeout=60)
    s.sendall(b"USER %s\r\nPASS pass\r\n" % user.encode())
    f = s.makefile("rb")
    for _ in range(3):
        check(f.readline().startswith(b"+OK"), "login")
    return s, f


@case
def ten_thousand_commands_at_once():
    """All are answered in order, and what waits on either side is bounded."""
    user, n = "u10@example.com", 10000
    for i in range(3):
        put(user, "157860000%d.M%dP1.h" % (i, i), b"Subject: x\n\n" + b"y" * 3000 + b"\n")
    s, f = connect_raw(user)
    peak = pss_kib(stack().pids_of("pop3d"))
    commands = b"".join([b"STAT\r\n", b"RETR 1\r\n", b"UIDL\r\n", b"NOOP\r\n", b"LIST 2\r\n"][i % 5] for i in range(n))
    sender = threading.Thread(target=s.sendall, args=(commands + b"QUIT\r\n",))
    sender.start()
    got, texts = 0, 0
    for line in f:
        got += line.startswith(b"+OK")
        texts += line == b"Subject: x\r\n"
        if got == n // 2:
            peak = max(peak, pss_kib(stack().pids_of("pop3d"))) if texts % 50 == 0 else peak
    sender.join()
    equal(got, n + 1, "replies")
    equal(texts, n // 5, "messages")
    check(peak < 200 * 1024, "pop3d had %d KiB" % peak)


@case
def a_client_that_stops_reading():
    """Its message waits in pieces, others are served, and the rest comes when it reads on."""
    user = "u11@example.com"
    text = b"Subject: large\r\n\r\n" + b".line of a large message\r\n" * 800000  # 20 MB
    put(user, "1578600000.M1P1.h", text)
    s, f = connect_raw(user)
    s.sendall(b"RETR 1\r\nSTAT\r\n")
    check(f.readline().startswith(b"+OK"), "RETR")
    before = pss_kib(stack().pids_of("pop3d"))
    c = pop3("u0@example.com")
    c.stat()
    c.quit()
    grown = pss_kib(stack().pids_of("pop3d")) - before
    # A sanitizer keeps what was freed, and shadows of it.
    check(grown < (100 if is_sanitized("pop3d") else 10) * 1024, "%d KiB more memory while it waits" % grown)
    got = f.read(len(text) + 800000 + 3)
    check(got.endswith(b"\r\n.\r\n"), "the end of the message: %r" % got[-20:])
    check(got[:-3].replace(b"\r\n..", b"\r\n.") == text, "the message came back changed")
    check(f.readline().startswith(b"+OK 1 "), "STAT")
    s.close()


@case
def killed_in_the_middle_of_quit():
    """What has gone is gone, the rest is as it was; nothing is marked, nothing comes twice, and the next session sees it."""
    user, n = "u12@example.com", 3000
    for i in range(n):
        put(user, "15786%05d.M%dP1.h" % (i, i), b"Subject: n%d\n\n" % i)
    s, f = connect_raw(user)
    s.sendall(b"".join(b"DELE %d\r\n" % (i + 1) for i in range(n)))
    for _ in range(n):
        check(f.readline().startswith(b"+OK"), "DELE")
    s.sendall(b"QUIT\r\n")
    wait_for(lambda: len(files(user)) < n, 20, "the first deletion")
    for p in stack().pids_of("pop3d"):
        os.kill(p, signal.SIGKILL)
    left = wait_for(lambda: can_log_in(user) and files(user) or (not files(user) and ["-"]), 20, "a new pop3d")
    if left == ["-"]:
        return  # all of it was quicker
    check(not any("T" in name.split(":2,")[-1] for name in left), "marked: %r" % left[:3])
    c = pop3(user)
    equal(c.stat()[0], len(files(user)), "messages after it")
    for i in range(c.stat()[0]):
        c.dele(i + 1)
    c.quit()
    equal(files(user), [], "files")


@case
def expunged_by_imap_meanwhile():
    user = "u13@example.com"
    for i in range(3):
        put(user, "157860000%d.M%dP1.h" % (i, i), b"Subject: x\n\nbody %d\n" % i)
    c = pop3(user)
    m = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
    m.login(user, PASSWORD)
    m.select("INBOX")
    m.store("2", "+FLAGS", "(\\Deleted)")
    m.expunge()
    m.store("1", "+FLAGS", "(\\Flagged)")  # its file has another name now
    put(user, "1578600009.M9P1.h", b"Subject: new\n\n")
    equal(c.stat()[0], 3, "STAT says what was there at first")
    check(b"body 0" in c.retr(1)[1], "a message that was renamed")
    try:
        c.retr(2)
        fail("RETR of a message that is gone")
    except poplib.error_proto as e:
        equal(e.args[0], b"-ERR Message 2 expunged.", "RETR")
    c.dele(2)
    c.dele(3)
    equal(c.quit(), b"+OK Logging out, messages deleted.", "QUIT")
    m.logout()
    equal([n.split(":")[0].split(",")[0] for n in files(user)], ["1578600000.M0P1.h", "1578600009.M9P1.h"], "files left")


@case
def the_index_is_gone_meanwhile():
    user = "u14@example.com"
    for i in range(3):
        put(user, "157860000%d.M%dP1.h" % (i, i), b"Subject: x\n\nbody %d\n" % i)
    c = pop3(user)
    check(b"body 0" in c.retr(1)[1], "RETR")
    c.dele(2)
    for name in os.listdir(stack().maildir(user)):
        if name.startswith("postern-index.db"):
            os.unlink(os.path.join(stack().maildir(user), name))
    d = pop3(user)
    equal(d.stat()[0], 3, "a new session")
    d.quit()
    try:
        c.quit()
    except poplib.error_proto as e:
        check(e.args[0].startswith(b"-ERR [SYS/"), "QUIT: %r" % e.args)
    check(len(files(user)) in (2, 3) and any("M0P1" in n for n in files(user)) and any("M2P1" in n for n in files(user)), "files: %r" % files(user))


@case
def over_tls_much_is_read():
    user = "u6@example.com"
    text = b"Subject: large\r\n\r\n" + b"".join(b"." * (i % 3) + b"line %d\r\n" % i for i in range(300000))
    put(user, "1578600000.M1P1.h", text)
    c = poplib.POP3_SSL("127.0.0.1", stack().ports["pop3s"], context=ssl._create_unverified_context(), timeout=60)
    c.user(user)
    c.pass_(PASSWORD)
    lines = c.retr(1)[1]
    check(b"\r\n".join(lines) + b"\r\n" == text, "the message came back changed")
    c.quit()


@case
def too_many_sessions_of_one_user():
    sessions = [pop3("u7@example.com") for _ in range(10)]
    try:
        pop3("u7@example.com")
        fail("an eleventh session was let in")
    except poplib.error_proto as e:
        check(b"[IN-USE] Maximum number of connections from user+IP exceeded" in e.args[0], "refusal: %r" % e.args)
    sessions.pop().quit()
    wait_for(lambda: can_log_in("u7@example.com"), 5, "a session in the place of one that ended")


def can_log_in(user):
    try:
        pop3(user).quit()
        return True
    except poplib.error_proto:
        return False


main()
