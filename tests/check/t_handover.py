#!/usr/bin/env python3
# The hand-over from login to imapd and pop3d by a login that means harm: it lies about the user, invents, steals and replays
# cookies, offers what is no session, and dies in the middle. It reaches nobody's mail, and the daemons stay well. And who may
# connect to which socket when each daemon has a user of its own.
# timeout: 120
import imaplib
import os
import poplib
import pwd
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from handover import REFUSED, Handover, answer, packet, send
from harness import *
from stack import Stack

USERS = {"u%d@example.com" % i: "pass" for i in range(3)}
WORKERS = ("imapd-0", "imapd-1", "pop3d")
_made = []


def stack():
    if not _made:
        s = Stack(tmp("s"), users=USERS, extra_conf=["imapd_processes = 2", "login_processes = 1", "auth_failure_delay = 0"]).start()
        at_end(s.stop)
        _made.append((s, Handover(s)))
        c = imaplib.IMAP4("127.0.0.1", s.ports["imap"])
        c.login("u0@example.com", "pass")  # what is not to be read
        c.append("INBOX", None, None, b"Subject: secret\r\n\r\nsecret\r\n")
        c.logout()
    return _made[0][0]


def box():
    stack()
    return _made[0][1]


def descriptors():
    """{pid of a worker or authd: open descriptors}"""
    return {p: len(os.listdir("/proc/%d/fd" % p)) for name in ("imapd", "pop3d", "authd") for p in stack().pids_of(name)}


def resident_kib(name):
    total = 0
    for p in stack().pids_of(name):
        with open("/proc/%d/status" % p) as f:
            total += int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
    return total


def all_is_well(before):
    """The same processes, no more descriptors than before, and users come in."""
    wait_for(lambda: set(descriptors()) == set(before) and all(n <= before[p] + 2 for p, n in descriptors().items()), 20,
             "descriptors of %r, now %r" % (before, descriptors()))
    c = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
    c.login("u1@example.com", "pass")
    equal(c.select()[0], "OK", "SELECT")
    c.logout()
    p = poplib.POP3("127.0.0.1", stack().ports["pop3"])
    p.user("u1@example.com")
    p.pass_("pass")
    p.quit()


def says_nothing(client):
    try:
        equal(client.recv(100), b"", "the worker spoke to the client")
    except ConnectionError:
        pass
    client.close()


def until(client, end):
    seen = b""
    while end not in seen:
        part = client.recv(4000)
        check(part, "connection ended: %r" % seen)
        seen += part
    return seen


# ------------------------------------------------------------------------------------------ cookies


@case
def the_cookie_names_the_user_not_login():
    cookie = box().cookie("u1@example.com")
    got, client = box().offer("imapd-0", cookie=cookie, user=b"u0@example.com", input=b"b STATUS INBOX (MESSAGES)\r\n")
    check(got > 0, "the cookie of a login is not taken")
    seen = until(client, b"\r\nb ")
    check(b"(MESSAGES 0)" in seen, "whose mailbox is it? %r" % seen)
    client.close()


@case
def an_invented_cookie_opens_nothing():
    before = descriptors()
    for worker in WORKERS:
        for cookie in (b"", b"x", b"0" * 32, os.urandom(16).hex().encode(), b"x" * 3000, b"a\tb\nc", b"\0" * 32):
            got, client = box().offer(worker, cookie=cookie, user=b"u0@example.com", input=b"b SELECT INBOX\r\n")
            equal(got, REFUSED, "%s took a session with cookie %r" % (worker, cookie[:40]))
            says_nothing(client)
    all_is_well(before)


@case
def a_cookie_works_once():
    cookie = box().cookie("u0@example.com")
    got, client = box().offer("imapd-0", cookie=cookie)
    check(got > 0, "the cookie of a login is not taken")
    for worker in WORKERS:
        again, other = box().offer(worker, cookie=cookie)
        equal(again, REFUSED, "%s took a cookie a second time" % worker)
        says_nothing(other)
    client.close()


@case
def a_cookie_is_of_one_service():
    for service, workers, right in (("pop3", ("imapd-0", "imapd-1"), "pop3d"), ("imap", ("pop3d",), "imapd-0"),
                                    ("smtp", WORKERS, None), ("IMAP", ("imapd-0",), None), ("", ("imapd-0",), None)):
        for worker in workers:
            cookie = box().cookie("u0@example.com", service=service)
            got, client = box().offer(worker, cookie=cookie, input=b"b SELECT INBOX\r\n")
            equal(got, REFUSED, "%s took a cookie of %r" % (worker, service))
            says_nothing(client)
            if right:  # shown at the wrong door it is worth nothing at the right one
                got, client = box().offer(right, cookie=cookie)
                equal(got, REFUSED, "%s took a cookie that %s has seen" % (right, worker))
                says_nothing(client)
    got, client = box().offer("pop3d", cookie=box().cookie("u0@example.com", service="pop3"))
    check(got > 0, "pop3d does not take its own")
    client.close()


@case
def a_cookie_is_of_one_session():
    for session in (b"s2", b"", b"S1", b"s11"):
        got, client = box().offer("imapd-0", cookie=box().cookie("u0@example.com"), session=session)
        equal(got, REFUSED, "taken by session %r" % session)
        says_nothing(client)
    check("with a cookie that is another service's or session's" in stack().log(), "it is not logged")


@case
def a_cookie_that_two_race_for():
    """The same cookie to both workers at once, many times: one adopts, or none."""
    for _ in range(20):
        cookie = box().cookie("u0@example.com")
        got = []
        threads = [threading.Thread(target=lambda w=w: got.append(box().offer(w, cookie=cookie))) for w in ("imapd-0", "imapd-1")]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        equal(sum(pid > 0 for pid, _ in got), 1, "workers that adopted")
        for _, client in got:
            client.close()


@case
def an_old_offer_is_not_taken():
    """What login has given up, by the clock that both have, the worker may not adopt: both would answer the client."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000000
    for sent_ms in (now - 6000, 0):
        got, client = box().offer("imapd-0", cookie=box().cookie("u0@example.com"), sent_ms=sent_ms)
        equal(got, REFUSED, "an offer of %d ms ago" % (now - sent_ms))
        says_nothing(client)
    got, client = box().offer("imapd-0", cookie=box().cookie("u0@example.com"), sent_ms=(1 << 64) - 1)
    check(got > 0, "an offer of the future is one of now")
    client.close()


# ------------------------------------------------------------------------------------------ what is no offer


def odd_descriptors():
    r, w = os.pipe()
    yield "a pipe", r, [w]
    yield "a file", os.open(stack().main_cf, os.O_RDONLY), []
    yield "/dev/zero", os.open("/dev/zero", os.O_RDWR), []
    yield "a folder", os.open("/tmp", os.O_RDONLY | os.O_DIRECTORY), []
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    yield "a listening socket", listening.detach(), []
    yield "a datagram socket", socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(), []
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    yield "a packet socket", a.detach(), [b.detach()]


@case
def what_is_no_session_is_not_taken():
    before = descriptors()
    for worker in WORKERS:
        service = "pop3" if worker == "pop3d" else "imap"
        for what, fd, others in odd_descriptors():
            s = box().connect(worker)
            send(s, packet(cookie=box().cookie("u0@example.com", service=service)), [fd])
            for n in [fd] + others:
                os.close(n)
            s.settimeout(0.2)
            try:
                equal(struct.unpack("=IiQ", s.recv(100))[1], REFUSED, "%s takes %s" % (worker, what))
            except socket.timeout:
                pass  # no answer: it was no offer
            s.close()
    all_is_well(before)


@case
def garbage():
    before = descriptors()
    good = packet(cookie=b"x" * 32, input=b"y" * 100)
    for worker in WORKERS:
        s = box().connect(worker)
        a, b = socket.socketpair()
        fds = [a.fileno()]
        for octets in (b"x", b"\0" * 8, os.urandom(60), os.urandom(30000), good[:-1], good + b"x", good[:20],
                       packet(magic=0), packet(lens=[65535] * 7), packet(lens=[0] * 6 + [65535]), packet(remote=b"\x02\0" + b"x" * 200),
                       packet(session=b"s" * 65), packet(session=b"a b"), packet(session=b"x>: Login: user=<"),
                       packet(session=b"a\nb"), packet(input=b"z" * 16385)):
            send(s, octets, fds)
        send(s, good)           # no descriptor
        send(s, good, fds * 2)  # two
        send(s, good, fds * 4)
        send(s, good, fds * 60)  # more than there is room for
        s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400000)
        send(s, b"x" * 100000, fds)  # longer than any
        send(s, packet(cookie=b"y" * 32, number=99), fds)
        equal(answer(s), REFUSED, "%s: an offer behind garbage is still looked at" % worker)
        s.close()
        a.close()
        says_nothing(b)  # nobody has kept its other end
    for worker in WORKERS:  # no packet at all, and an empty one with a descriptor
        box().connect(worker).close()
        s = box().connect(worker)
        a, b = socket.socketpair()
        send(s, b"", [a.fileno()])
        a.close()
        equal(answer(s), None, "the end")
        says_nothing(b)
    all_is_well(before)


@case
def login_dies_in_the_middle():
    before = descriptors()
    clients = []
    for i in range(20):
        s = box().connect("imapd-0")
        a, b = socket.socketpair()
        send(s, packet(cookie=box().cookie("u0@example.com", session="s%d" % i), session=b"s%d" % i, input=b"b FETCH 1 BODY[]\r\n"),
             [a.fileno()])
        a.close()
        s.close()  # before it could hear the answer
        clients.append(b)
    for b in clients:  # adopted or not, nothing reaches a client whose login is gone and knows of nothing
        b.settimeout(10)
        try:
            while b.recv(4000):
                b.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        b.close()
    all_is_well(before)


@case
def the_real_login_dies():
    login = stack().pids_of("login")[0]
    c = socket.create_connection(("127.0.0.1", stack().ports["imap"]), timeout=10)
    f = c.makefile("rwb", buffering=0)
    f.readline()
    for pid in stack().pids_of("imapd"):
        os.kill(pid, signal.SIGSTOP)
    try:
        f.write(b"a LOGIN u0@example.com pass\r\nb STATUS INBOX (MESSAGES)\r\n")
        wait_for(lambda: b"private/imapd" in unix_sockets(), 5, "the offer")
        time.sleep(0.3)
        os.kill(login, signal.SIGKILL)
    finally:
        for pid in stack().pids_of("imapd"):
            os.kill(pid, signal.SIGCONT)
    c.settimeout(10)
    seen = b""
    try:
        while b"\r\nb OK" not in seen:
            part = c.recv(4000)
            if not part:
                break
            seen += part
    except ConnectionError:
        pass
    # Its end comes while imapd makes up its mind, or after: it is this user's session, or nobody's.
    check(seen == b"" or (seen.startswith(b"a OK") and b"(MESSAGES 1)" in seen), "what a client hears whose login has died: %r" % seen)
    c.close()
    wait_for(lambda: stack().pids_of("login") not in ([], [login]), 10, "a new login")
    all_is_well(descriptors())


def unix_sockets():
    with open("/proc/net/unix", "rb") as f:
        return f.read()


# ------------------------------------------------------------------------------------------ many of them


@case
def ten_thousand_offers():
    before, kib = descriptors(), resident_kib("imapd")
    began = time.monotonic()
    sent, hung_up, most = 0, 0, 0
    s, theirs = None, socket.socketpair()
    while sent < 10000:
        if s is None:
            s = box().connect("imapd-0")
            s.setblocking(False)
        try:
            send(s, packet(cookie=b"%032x" % sent, number=sent), [theirs[0].fileno()])
            sent += 1
            if sent % 500 == 0:
                most = max(most, max(descriptors().values()))
        except BlockingIOError:
            time.sleep(0.001)  # answers are not read: the offers lie there
            try:
                while s.recv(100):
                    pass
                s, hung_up = None, hung_up + 1
            except BlockingIOError:
                pass
            except ConnectionError:
                s, hung_up = None, hung_up + 1
        except (ConnectionError, BrokenPipeError):
            s, hung_up = None, hung_up + 1
    check(hung_up >= 10, "who offers %d sessions that are none is hung up on %d times" % (sent, hung_up))
    for t in theirs:
        t.close()
    s = None
    took = time.monotonic() - began
    all_is_well(before)
    grown = resident_kib("imapd") - kib
    log("10000 offers with invented cookies: %.1f s, hung up on %d times, at most %d descriptors (%d before), %d KiB more" %
        (took, hung_up, most, max(before.values()), grown))
    check(most < max(before.values()) + 1200, "%d descriptors of %r" % (most, before))
    check(grown < (200000 if is_sanitized("imapd") else 20000), "imapd has grown by %d KiB" % grown)


@case
def many_connections_to_a_worker():
    """One process has four; and what it holds open keeps no other out."""
    before = descriptors()
    held = [box().connect("imapd-0") for _ in range(300)]
    wait_for(lambda: max(descriptors()[p] - before[p] for p in before) <= 6, 10, "connections that are held: %r, %r" % (before, descriptors()))
    got, client = box().offer("imapd-0", cookie=box().cookie("u0@example.com"))
    check(got > 0, "the next one is not heard")
    client.close()
    for s in held:
        s.close()
    all_is_well(before)


# ------------------------------------------------------------------------------------------ the descriptor that is kept


@case
def a_kept_descriptor_holds_nobody_up():
    """login can have the client's descriptor still: it makes it blocking, and takes away what the worker was woken for."""
    cookie = box().cookie("u0@example.com")
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    theirs, _ = server.accept()
    s = box().connect("imapd-0")
    send(s, packet(cookie=cookie), [theirs.fileno()])
    check(answer(s) > 0, "not adopted")
    client.settimeout(10)
    client.recv(1000)
    end = time.monotonic() + 2
    stop = []

    def steal():
        while not stop:
            theirs.setblocking(True)
            try:
                theirs.recv(1000, socket.MSG_DONTWAIT)
            except OSError:
                pass

    thief = threading.Thread(target=steal)
    thief.start()
    try:
        while time.monotonic() < end:
            client.sendall(b"x NOOP\r\n")
            time.sleep(0.002)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
        for worker in WORKERS:
            got, other = box().offer(worker, cookie=box().cookie("u1@example.com", service="pop3" if worker == "pop3d" else "imap"))
            check(got > 0, "%s is held up" % worker)
            other.close()
    finally:
        stop.append(1)
        thief.join()
    for x in (theirs, client, server, s):
        x.close()


# ------------------------------------------------------------------------------------------ private/login


@case
def private_login_is_imapds_alone():
    """A session that is handed back. This test is root, or who all daemons are: it may, and can do no more than anybody before
    a login; what is no session is not taken."""
    login = stack().pids_of("login")[0]
    n = len(os.listdir("/proc/%d/fd" % login))
    s = box().connect("login")
    a, b = socket.socketpair()
    for octets, fds in ((b"x" * 50, [a.fileno()]), (packet(session=b"q" * 100), [a.fileno()]), (packet(), []),
                        (packet(), [a.fileno()] * 3)):
        send(s, octets, fds)
    send(s, packet(tag=b"t1", session=b"back", is_tls=1), [a.fileno()])
    a.close()
    equal(answer(s), login, "the adopter")
    b.settimeout(10)
    check(b.recv(1000).startswith(b"t1 OK [CAPABILITY "), "the answer")
    b.sendall(b"c SELECT INBOX\r\nd STATUS INBOX (MESSAGES)\r\n")
    check(until(b, b"d BAD").startswith(b"c BAD"), "commands of a user")
    b.close()
    s.close()
    wait_for(lambda: len(os.listdir("/proc/%d/fd" % login)) <= n + 1, 10, "login's descriptors")


# ------------------------------------------------------------------------------------------ users of their own


def as_user(name, group, path, kind):
    """Can a process of that user and group connect there?"""
    code = ("import os,socket,sys\nos.setgroups([%d]); os.setgid(%d); os.setuid(%d)\n"
            "s = socket.socket(socket.AF_UNIX, %d)\ns.settimeout(5)\n"
            "try: s.connect(%r)\nexcept PermissionError: sys.exit(1)\nsys.exit(0)\n")
    pw = pwd.getpwnam(name)
    r = subprocess.run([sys.executable, "-c", code % (group, pw.pw_gid, pw.pw_uid, kind, path)], stdin=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, timeout=30)
    check(r.returncode in (0, 1), "%s at %s: %s" % (name, path, r.stderr.decode()))
    return r.returncode == 0


@case
def who_may_connect_to_what():
    if os.geteuid() != 0:
        skip("needs root: daemons with users of their own")
    names = ["nobody", "mail", "daemon", "news", "uucp"]  # front, store, auth, queue, relay
    for n in names:
        try:
            pwd.getpwnam(n)
        except KeyError:
            skip("there is no user %s" % n)
    front, store, auth, queue, relay = names
    s = Stack(tmp("u"), users=USERS, extra_conf=["front_user = " + front, "store_user = " + store, "auth_user = " + auth,
                                                 "queue_user = " + queue, "relay_user = " + relay, "imapd_processes = 1"])
    s.configure()
    os.chmod(tmp(), 0o755)
    for folder, _, files in os.walk(s.workdir):
        os.chmod(folder, 0o755)
    os.chown(s.mail_root, pwd.getpwnam(store).pw_uid, pwd.getpwnam(store).pw_gid)
    s.start()
    try:
        for name, want in (("login", front), ("imapd", store), ("authd", auth)):
            for pid in s.pids_of(name):
                equal(os.stat("/proc/%d" % pid).st_uid in (0, pwd.getpwnam(want).pw_uid), True, name)
                with open("/proc/%d/status" % pid) as f:
                    equal(int(re.search(r"Uid:\s+(\d+)", f.read()).group(1)), pwd.getpwnam(want).pw_uid, "user of " + name)
        c = imaplib.IMAP4("127.0.0.1", s.ports["imap"])
        equal(c.login("u0@example.com", "pass")[0], "OK", "LOGIN")
        equal(c.select()[0], "OK", "SELECT")
        c.logout()
        p = poplib.POP3("127.0.0.1", s.ports["pop3"])
        p.user("u0@example.com")
        p.pass_("pass")
        p.quit()
        group = pwd.getpwnam(front).pw_gid
        box = Handover(s)
        for sock, kind, may in (("auth-master", socket.SOCK_STREAM, {store}), ("imapd-0", socket.SOCK_SEQPACKET, {front}),
                                ("pop3d", socket.SOCK_SEQPACKET, {front}), ("login", socket.SOCK_SEQPACKET, {store}),
                                ("auth", socket.SOCK_STREAM, set(names))):
            for n in names:
                equal(as_user(n, group, box.path(sock), kind), n in may, "%s may connect to private/%s" % (n, sock))
    finally:
        s.stop()


main()
