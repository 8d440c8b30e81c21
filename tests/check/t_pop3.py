#!/usr/bin/env python3
# POP3 over the whole stack: what poplib and raw pipelining clients do with mail that came by SMTP and by hand.
# timeout: 300
import imaplib
import os
import poplib
import smtplib
import socket
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

PASSWORD = "pass"
_stack = []


def stack():
    if not _stack:
        users = {"u%d@example.com" % i: PASSWORD for i in range(8)}
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
        check(b"Subject: m%d" % i in lines and lines[-3:] == [b".dots", b"..", b"end %d" % i], "RETR: %r" % lines)
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
    line = m.readline()
    if line.startswith(b"* 2 FETCH (FLAGS (\\Deleted"):  # a deletion is two changes, and IMAP may look between
        line = m.readline()
    equal(line, b"* 2 EXPUNGE\r\n", "what an idle IMAP session hears")
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
