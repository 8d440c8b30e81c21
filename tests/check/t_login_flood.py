#!/usr/bin/env python3
# Strangers who connect and say nothing, say it slowly, or begin TLS and stop: login holds so many, the oldest of those who are
# most have to go, and users come in all the while. Prints what it costs.
# timeout: 120
import os
import re
import resource
import select
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

N, MAX = int(os.environ.get("FLOOD", 3000)), 1000  # LOGIN_SESSIONS_MAX
USER = "u0@example.com"
_made = []


def stack():
    if not _made:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        want = min(hard, 20000) if hard != resource.RLIM_INFINITY else 20000
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, want), hard))
        if want < N + 1000:
            skip("only %d descriptors" % want)
        conf = [n + "_haproxy = yes" for n in ("imap", "imaps", "pop3", "pop3s")]
        _made.append(Stack(tmp("s"), users=[USER], extra_conf=conf + ["haproxy_trusted_networks = 127.0.0.1", "login_processes = 1",
                                                                      "haproxy_timeout = 20s"]).start())
        at_end(_made[0].stop)
    return _made[0]


def connect(port, ip, first=b""):
    s = socket.create_connection(("127.0.0.1", stack().ports[port]), timeout=20)
    s.sendall(b"PROXY TCP4 %s 192.0.2.1 40000 143\r\n" % ip.encode() + first)
    return s


def kib():
    with open("/proc/%d/smaps_rollup" % stack().pids_of("login")[0]) as f:
        return int(re.search(r"Pss:\s+(\d+)", f.read()).group(1))


def held():
    return len(os.listdir("/proc/%d/fd" % stack().pids_of("login")[0]))


def user_comes_in(ip="203.0.113.5"):
    """By IMAP under TLS; seconds."""
    began = time.monotonic()
    t = ssl._create_unverified_context().wrap_socket(connect("imaps", ip))
    f = t.makefile("rwb", buffering=0)
    check(f.readline().startswith(b"* OK"), "greeting")
    f.write(b"a LOGIN %s pass\r\n" % USER.encode())
    line = f.readline()
    check(line.startswith(b"a OK"), "LOGIN: %r" % line)
    f.write(b"b LOGOUT\r\n")
    while not f.readline().startswith((b"b OK", b"")[:1]):
        pass
    t.close()
    return time.monotonic() - began


def gone(socks):
    """How many of them have been hung up on."""
    p = select.poll()
    for s in socks:
        p.register(s, select.POLLIN | select.POLLRDHUP | select.POLLHUP)
    return sum(1 for _, ev in p.poll(0) if ev & (select.POLLRDHUP | select.POLLHUP))


def flood(name, port, first, ip_of, n=N):
    before, cpu = kib(), cpu_s()
    socks, slowest = [], 0.0
    began = time.monotonic()
    for i in range(n):
        socks.append(connect(port, ip_of(i), first))
        if i % (n // 6) == n // 6 - 1:
            slowest = max(slowest, user_comes_in())
    took = time.monotonic() - began
    last = -1
    while held() != last:  # until all were taken
        last = held()
        time.sleep(0.3)
    check(last < MAX + 300, "at most %d connections, now %d descriptors" % (MAX, last))
    log("%s: %d connections in %.1f s, %d descriptors held, %d KiB more, %.2f s of CPU, a user in at most %.2f s" %
        (name, n, took, held(), kib() - before, cpu_s() - cpu, slowest))
    most = MAX * (400 if is_sanitized("login") else 64)  # KiB; a handshake under way has about 45
    check(kib() - before < most, "login has grown by %d KiB" % (kib() - before))
    return socks


def cpu_s():
    with open("/proc/%d/stat" % stack().pids_of("login")[0]) as f:
        words = f.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def close(socks):
    for s in socks:
        s.close()
    wait_for(lambda: held() < 100, 20, "login's descriptors: %d" % held())


def many(i):
    return "198.18.%d.%d" % (i % 200, i // 200 + 1)


@case
def connections_that_say_nothing():
    close(flood("silent", "imap", b"", many))


@case
def connections_that_are_slow():
    close(flood("slow", "pop3", b"US", many))


@case
def connections_that_begin_tls_and_stop():
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out := ssl.MemoryBIO(), server_hostname="x.example")
    try:
        hello.do_handshake()
    except ssl.SSLWantReadError:
        pass
    close(flood("TLS begun", "imaps", out.read(), many))


@case
def connections_that_say_much_and_do_not_read():
    close(flood("not reading", "imap", b"a CAPABILITY\r\n" * 800, many, N // 3))


@case
def the_header_that_does_not_come():
    """Behind a proxy, before anybody knows who it is."""
    before = held()
    socks = [socket.create_connection(("127.0.0.1", stack().ports["imap"]), timeout=20) for _ in range(500)]
    user_comes_in()
    close(socks)
    check(held() <= before + 2, "descriptors")


@case
def one_address_drives_nobody_out():
    """Fifty clients who are slow to log in, from as many networks, and one address that connects three thousand times."""
    others = [connect("imap", "192.0.%d.7" % (i + 10)) for i in range(50)]
    for s in others:
        check(s.recv(1000).startswith(b"* OK"), "greeting")
    socks = flood("one address", "imap", b"", lambda i: "198.51.100.7")
    equal(gone(others), 0, "clients from elsewhere who had to go")
    equal(gone(socks) >= N - MAX, True, "%d of its own are gone" % gone(socks))
    for s in others:
        s.sendall(b"a NOOP\r\n")
        check(s.recv(1000).startswith(b"a OK"), "who was there before goes on")
    close(others + socks)
    check("Disconnected: Connection queue full (no auth attempts in" in stack().log(), "it is not logged")


@case
def passwords_that_are_being_looked_at_take_no_room():
    """An address whose every connection waits for a refusal is bounded too."""
    first = b"a LOGIN nobody wrong\r\n"
    close(flood("guessing", "imap", b"", lambda i: "127.0.0.1", 1200))
    socks = []
    for i in range(1500):
        socks.append(connect("imap", "127.0.0.1", first))
    check(held() < MAX + 400, "%d descriptors" % held())
    user_comes_in()
    close(socks)


main()
