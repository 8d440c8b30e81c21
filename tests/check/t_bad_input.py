#!/usr/bin/env python3
# What bad input gets: configurations, ports, certificates; garbage and silence on every door; a locked database, a full disk.
# timeout: 240
import os
import re
import socket
import sqlite3
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import PORTS, Stack

CONFIG_ERROR = 78
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=["u0@example.com"], extra_conf=["smtpd_sender_restrictions ="]).start())
    return _stack[0]


def serve(s, timeout_s=30):
    """Run `postern serve` that should end by itself; (status, text)."""
    r = run([program("postern"), "-c", s.main_cf, "serve"], timeout_s=timeout_s)
    return r.returncode, (r.stdout + r.stderr).decode(errors="replace")


def configured(name, *lines):
    s = Stack(tmp(name))
    s.configure()  # good so far: `postern sql` reads it
    with open(s.main_cf, "a") as f:
        f.write("".join(line + "\n" for line in lines))
    return s


def line_of(s, text):
    with open(s.main_cf) as f:
        for n, line in enumerate(f, 1):
            if line.startswith(text):
                return n
    fail("no line %r" % text)


# ---- configuration


@case
def every_problem_is_told_with_file_and_line():
    wrong = ["smtpd_recipient_limit = many", "smtpd_timeout = 5parsecs", "smtpd_helo_required = perhaps", "no equals sign here",
             "smtpd_helo_restrictions = permit_mynetworks, reject_everything_bad"]
    s = configured("wrong", *wrong)
    before = set(os.listdir(s.queue_dir))
    for command in (["check"], ["serve"]):
        r = run([program("postern"), "-c", s.main_cf] + command)
        text = (r.stdout + r.stderr).decode()
        equal(r.returncode, CONFIG_ERROR, "exit status of %s:\n%s" % (command, text))
        for w in wrong[:4]:
            check("%s:%d: error" % (s.main_cf, line_of(s, w)) in text, "%s says nothing of %r:\n%s" % (command, w, text))
    equal(set(os.listdir(s.queue_dir)), before, "what is in queue_directory after a refused start")


@case
def a_security_level_that_is_none_is_an_error():
    wrong = ["smtpd_tls_security_level = encypt", "smtp_tls_security_level = dnae", "smtpd_tls_protocols = >=TLSv9",
             "ssl_min_protocol = TLS", "log_format = xml", "inet_protocols = ipv5"]
    s = configured("words", *wrong)
    r = run([program("postern"), "-c", s.main_cf, "check"])
    text = (r.stdout + r.stderr).decode()
    equal(r.returncode, CONFIG_ERROR, "exit status:\n" + text)
    for w in wrong:
        check(":%d: error: %s: " % (line_of(s, w), w.split()[0]) in text, "nothing of %r:\n%s" % (w, text))
    s = configured("words2", "submission_tls_security_level = no")
    status, text = serve(s)
    equal(status, CONFIG_ERROR, "exit status:\n" + text)
    check(":%d: error" % line_of(s, "submission_tls_security_level = no") in text, text)


@case
def an_unknown_restriction_is_an_error():
    s = configured("verb", "smtpd_helo_restrictions = permit_mynetworks, reject_everything_bad")
    status, text = serve(s)
    equal(status, CONFIG_ERROR, "exit status:\n" + text)
    check("reject_everything_bad" in text and ":%d: error" % line_of(s, "smtpd_helo_restrictions = permit_mynetworks, r") in text,
          text)


@case
def a_port_in_use_is_named():
    s = configured("port")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", s.ports["imaps"]))
        taken.listen()
        status, text = serve(s)
    check(status != 0, "it started:\n" + text)
    check("127.0.0.1:%d" % s.ports["imaps"] in text and "listen_imaps" in text and "in use" in text, text)
    check(not os.path.exists(s.queue_dir + "/queue.db"), "something was started")


@case
def a_missing_certificate_is_named():
    s = configured("cert", "smtpd_tls_cert_file = /nonexistent/chain.pem", "smtpd_tls_key_file = /nonexistent/key.pem")
    status, text = serve(s)
    equal(status, CONFIG_ERROR, "exit status:\n" + text)
    check("/nonexistent/chain.pem" in text and "smtpd_tls_cert_file" in text, text)


@case
def a_key_of_another_certificate_is_named():
    s = configured("key")
    other = Stack(tmp("other"))
    other.configure()
    with open(s.main_cf, "a") as f:
        f.write("smtpd_tls_key_file = %s\n" % other.path("tls", "privkey.pem"))
    status, text = serve(s)
    equal(status, CONFIG_ERROR, "exit status:\n" + text)
    check(other.path("tls", "privkey.pem") in text, text)


@case
def no_users_database_stops_the_start():
    s = Stack(tmp("nodb"))
    s.configure()
    os.unlink(s.path("data", "mailserver.db"))
    status, text = serve(s)
    equal(status, CONFIG_ERROR, "exit status:\n" + text)
    check("postern sql" in text and "or leave mail with the server" in text, "both ways out are not told:\n" + text)


@case
def a_second_server_on_the_same_queue_is_refused():
    s = stack()
    r = run([program("postern"), "-c", s.main_cf, "serve"])
    check(r.returncode not in (0, None), "it started")
    check(s.process.alive() and s.is_ready(), "the first one suffered")


@case
def a_bad_reload_changes_nothing():
    s = stack()
    with open(s.main_cf) as f:
        good = f.read()
    try:
        with open(s.main_cf, "a") as f:
            f.write("smtpd_recipient_limit = many\n")
        r = run([program("postern"), "-c", s.main_cf, "reload"])
        text = (r.stdout + r.stderr).decode()
        check(r.returncode != 0 and "%s:%d" % (s.main_cf, line_of(s, "smtpd_recipient_limit = many")) in text, text)
    finally:
        with open(s.main_cf, "w") as f:
            f.write(good)
    check(b"220" in connect("smtp").recv(100), "SMTP no longer greets")
    s.postern("reload")
    check(b"220" in connect("smtp").recv(100), "SMTP no longer greets after a good reload")


# ---- doors


def connect(name, plain=False):
    s = socket.create_connection(("127.0.0.1", stack().ports[name]), 10)
    s.settimeout(20)
    if name.endswith("s") and not plain:
        c = ssl.create_default_context()
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
        s = c.wrap_socket(s)
    return s


def read_all(s, limit=1 << 20):
    """What comes until the other side closes; None when it keeps open."""
    got = b""
    try:
        while len(got) < limit:
            data = s.recv(65536)
            if not data:
                return got
            got += data
    except TimeoutError:
        return None
    except OSError:
        return got
    return got


def rss_kib():
    total = 0
    for pid in stack().pids():
        try:
            with open("/proc/%d/status" % pid) as f:
                total += int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
        except OSError:
            pass
    return total


@case
def garbage_on_every_port():
    for name in PORTS:
        for plain in ((True, False) if name.endswith("s") else (True,)):
            with connect(name, plain) as s:
                try:
                    for _ in range(200):
                        s.sendall(os.urandom(500) + b"\r\n")
                except OSError:
                    pass
                check(read_all(s) is not None, "%s still listens to garbage" % name)
    still_serves()


@case
def an_endless_line():
    before = rss_kib()
    for name in PORTS:
        with connect(name) as s:
            try:
                for _ in range(400):
                    s.sendall(b"x" * 65536)
            except OSError:
                continue  # cut off: good
    check(rss_kib() < before + 20 * 1024, "memory grew from %d to %d KiB" % (before, rss_kib()))
    still_serves()


@case
def an_endless_literal():
    for name in ("imap", "imaps"):
        with connect(name) as s:
            s.recv(4096)
            s.sendall(b"a LOGIN {99999999999}\r\n")
            first = s.recv(4096)
            check(first.startswith((b"a BAD", b"a NO", b"* BYE")), "%s: %r" % (name, first))
        with connect(name) as s:
            s.recv(4096)
            s.sendall(b"a LOGIN {100000000+}\r\n")
            try:
                for _ in range(200):
                    s.sendall(b"y" * 65536)
            except OSError:
                pass
    still_serves()


@case
def clients_that_never_read():
    held = []
    for name in ("smtp", "imap", "pop3"):
        s = connect(name)
        s.setblocking(False)
        held.append(s)
        sent = 0
        try:
            while sent < 20 << 20:
                sent += s.send({"smtp": b"EHLO x.example.com\r\n", "imap": b"a CAPABILITY\r\n", "pop3": b"CAPA\r\n"}[name] * 100)
        except OSError:
            pass  # the server pushes back, or has cut it off
        check(sent < 20 << 20, "%s took 20 MiB of commands from a client that reads nothing" % name)
    still_serves()
    for s in held:
        s.close()


@case
def clients_that_never_write():
    held = [connect(n) for n in PORTS for _ in range(20)]
    still_serves()
    for s in held:
        s.close()


def still_serves():
    for name in PORTS:
        with connect(name) as s:
            got = s.recv(1000)
            check(got.startswith((b"220", b"* OK", b"+OK")), "%s: %r" % (name, got))


# ---- trouble below


def smtp_dialogue(*lines):
    """Replies to the lines, the greeting first."""
    with connect("smtp") as s:
        f = s.makefile("rwb")

        def reply():
            got = b""
            while True:
                line = f.readline()
                got += line
                if len(line) < 4 or line[3:4] != b"-":
                    return got.decode(errors="replace")

        replies = [reply()]
        for line in lines:
            f.write(line.encode() + b"\r\n")
            f.flush()
            replies.append(reply())
        return replies


MESSAGE = ("EHLO client.example.com", "MAIL FROM:<a@example.com>", "RCPT TO:<u0@example.com>", "DATA",
           "Subject: x\r\n\r\nx\r\n.", "QUIT")


@case
def a_locked_users_database_is_no_bounce():
    db = sqlite3.connect(stack().path("data", "mailserver.db"), isolation_level=None)
    db.execute("PRAGMA locking_mode=EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    try:
        replies = smtp_dialogue(*MESSAGE[:3])
        check(replies[-1][:3] in ("250", "451"), "RCPT while the database is locked: %r" % replies)
    finally:
        db.execute("ROLLBACK")
        db.close()
    wait_for(lambda: smtp_dialogue(*MESSAGE)[-2].startswith("250"), 15, "mail is taken again")


@case
def a_dead_authd_is_a_temporary_error():
    s = stack()
    for pid in s.pids_of("authd"):
        os.kill(pid, 19)  # SIGSTOP: it hangs, which is worse than dying
    try:
        with connect("imap") as c:
            c.recv(4096)
            c.settimeout(60)
            c.sendall(b"a LOGIN u0@example.com pass\r\n")
            time.sleep(0.2)
    finally:
        for pid in s.pids_of("authd"):
            os.kill(pid, 18)
    still_serves()


def small_file_system(path, size_kib):
    os.makedirs(path, exist_ok=True)
    r = run(["mount", "-t", "tmpfs", "-o", "size=%dk,mode=0755" % size_kib, "none", path])
    if r.returncode != 0:
        skip("may not mount: %s" % r.stderr.decode().strip())
    at_end(subprocess.call, ["umount", "-l", path])


@case
def a_full_queue_disk_is_452_and_passes():
    s = Stack(tmp("full"), users=["u0@example.com"], extra_conf=["smtpd_sender_restrictions =", "message_size_limit = 100000"])
    small_file_system(tmp("full", "queue"), 24 * 1024)
    s.start()
    _stack.insert(0, s)  # the helpers above talk to this one
    try:
        equal(smtp_dialogue(*MESSAGE)[-2][:3], "250", "with room")
        filler = os.path.join(s.queue_dir, "filler")
        with open(filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"z" * 4096)
            except OSError:
                pass
        taken = 1

        def refused():
            """What still fits where the database has room inside may be taken, but then it must arrive."""
            nonlocal taken
            replies = smtp_dialogue(*MESSAGE)
            codes = [r[:3] for r in replies[:-1]]
            taken += codes[-1] == "250"
            told = next((i for i, c in enumerate(codes) if c.startswith("4")), len(codes))  # after it commands are out of order
            check(not any(c.startswith("5") for c in codes[:told]), "a permanent error on a full disk: %r" % replies)
            return "452" in codes or "451" in codes

        wait_for(refused, 20, "a temporary error on a full disk")
        os.unlink(filler)
        wait_for(lambda: smtp_dialogue(*MESSAGE)[-2].startswith("250"), 20, "mail is taken again")
        s.wait_delivered(taken + 1)
    finally:
        _stack.pop(0)
        s.stop()


main()
