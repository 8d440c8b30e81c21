#!/usr/bin/env python3
# Relaying of IMAP under TLS by login: what a MiB costs it each way, how full its records are, what an idle relayed session
# weighs, and how long others wait beside one that fetches a gigabyte. BENCH="sessions mib" (1000 1024).
# timeout: 600
# alone
import os
import re
import select
import socket
import ssl
import statistics
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

SESSIONS, MIB = (int(n) for n in (os.environ.get("BENCH", "") or "1000 1024").split())
USER, LARGE = "u0@example.com", 16
PAIRS = 5
_made = []


def stack():
    if not _made:
        users = ["u%d@example.com" % i for i in range(20)]
        _made.append(Stack(tmp("s"), users=users, extra_conf=["login_processes = 1", "imapd_processes = 1",
                                                              "mail_max_userip_connections = 0"]).start())
        at_end(_made[0].stop)
        _, f = session(USER)
        message = b"Subject: x\r\n\r\n" + b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-\r\n" * (LARGE << 14)
        f.write(b"b APPEND INBOX {%d+}\r\n" % len(message))
        f.write(message + b"\r\n")
        f.flush()
        check(answer(f, b"b ").startswith(b"b OK"), "APPEND")
    return _made[0]


def answer(f, tag):
    while True:
        line = f.readline()
        if not line or line.startswith(tag):
            return line


def session(user, tls=True):
    s = socket.create_connection(("127.0.0.1", stack().ports["imaps" if tls else "imap"]), timeout=120)
    if tls:
        s = ssl._create_unverified_context().wrap_socket(s)
    f = s.makefile("rwb", buffering=1 << 17)
    f.readline()
    f.write(b"a LOGIN %s pass\r\n" % user.encode())
    f.flush()
    check(answer(f, b"a ").startswith(b"a OK"), "LOGIN")
    return s, f


def login_pid():
    return stack().pids_of("login")[0]


def cpu_ms(pid):
    with open("/proc/%d/schedstat" % pid) as f:
        return int(f.read().split()[0]) / 1e6


def kib(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return int(re.search(r"Pss:\s+(\d+)", f.read()).group(1))


def fetch(s, f, times):
    """Octets that came for so many FETCHes of the large message."""
    f.write(b"".join(b"f%d FETCH 1 BODY.PEEK[]\r\n" % i for i in range(times)))
    f.flush()
    last, tail, total = b"\nf%d OK" % (times - 1), b"", 0
    while last not in tail:
        part = s.recv(1 << 20)
        check(part, "the connection ended")
        total += len(part)
        tail = (tail + part)[-200:]
    return total


@case
def what_a_mib_costs():
    s, f = session(USER)
    f.write(b"s SELECT INBOX\r\n")
    f.flush()
    answer(f, b"s ")
    pid, costs, speeds = login_pid(), [], []
    fetch(s, f, 2)
    for _ in range(PAIRS):
        before, began = cpu_ms(pid), time.monotonic()
        n = fetch(s, f, max(1, MIB // LARGE // 8)) / (1 << 20)
        speeds.append(n / (time.monotonic() - began))
        costs.append((cpu_ms(pid) - before) / n)
    log("to the client: %.2f ms of login's CPU a MiB (%.2f to %.2f), %.0f MiB/s" %
        (statistics.median(costs), min(costs), max(costs), statistics.median(speeds)))
    costs = []
    data = b"x" * 70 + b"\r\n"
    data = b"Subject: y\r\n\r\n" + data * (8 * (1 << 20) // len(data))
    for i in range(PAIRS):
        before = cpu_ms(pid)
        f.write(b"u%d APPEND Drafts {%d+}\r\n" % (i, len(data)))
        f.write(data + b"\r\n")
        f.flush()
        answer(f, b"u%d " % i)
        costs.append((cpu_ms(pid) - before) / (len(data) / (1 << 20)))
    log("from the client: %.2f ms a MiB (%.2f to %.2f)" % (statistics.median(costs), min(costs), max(costs)))
    s.close()


@case
def how_full_records_are():
    """Between the client's TLS and the server a proxy of ours counts them."""
    front = socket.create_server(("127.0.0.1", 0))
    sizes, buffered = [], bytearray()

    def serve():
        a, _ = front.accept()
        b = socket.create_connection(("127.0.0.1", stack().ports["imaps"]))
        while True:
            for x in select.select([a, b], [], [])[0]:
                part = x.recv(1 << 18)
                if not part:
                    a.close(), b.close()
                    return
                if x is b:
                    buffered.extend(part)
                    while len(buffered) >= 5 and len(buffered) >= 5 + struct.unpack(">H", buffered[3:5])[0]:
                        n = struct.unpack(">H", buffered[3:5])[0]
                        sizes.append(n)
                        del buffered[:5 + n]
                (a if x is b else b).sendall(part)

    threading.Thread(target=serve, daemon=True).start()
    s = ssl._create_unverified_context().wrap_socket(socket.create_connection(front.getsockname(), timeout=120))
    f = s.makefile("rwb", buffering=1 << 17)
    f.readline()
    f.write(b"a LOGIN %s pass\r\ns SELECT INBOX\r\n" % USER.encode())
    f.flush()
    answer(f, b"s ")
    del sizes[:]
    n = fetch(s, f, 2)
    mean = n / len(sizes)
    log("%d records for %d octets: %.0f octets each, %.0f%% of them full" % (len(sizes), n, mean, 100 * sum(x >= 16384 for x in sizes) / len(sizes)))
    check(mean > 12000, "records of %.0f octets" % mean)
    s.close()


@case
def an_idle_relayed_session():
    pid = login_pid()
    warm = [session("u%d@example.com" % (1 + i % 19)) for i in range(20)]
    before = kib(pid)
    many = []
    for i in range(SESSIONS):
        s, f = session("u%d@example.com" % (1 + i % 19))
        f.write(b"s SELECT INBOX\r\ni IDLE\r\n")
        f.flush()
        answer(f, b"+ ")
        many.append((s, f))
    time.sleep(3)
    log("an idle relayed session: %.1f KiB of login (%d of them)" % ((kib(pid) - before) / SESSIONS, SESSIONS))
    check((kib(pid) - before) / SESSIONS < 20, "it weighs %.1f KiB" % ((kib(pid) - before) / SESSIONS))
    _made.append(many)
    for s, _ in warm:
        s.close()


@case
def others_beside_a_large_fetch():
    """The time of a NOOP by a relayed session, alone and beside one that fetches %d MiB, with the idle ones there.""" % MIB
    s, f = session("u1@example.com")

    def noops(seconds):
        took, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            f.write(b"n NOOP\r\n")
            f.flush()
            answer(f, b"n ")
            took.append((time.monotonic() - began) * 1000)
            time.sleep(0.01)
        return sorted(took)

    alone = noops(3)
    big, bf = session(USER)
    bf.write(b"s SELECT INBOX\r\n")
    bf.flush()
    answer(bf, b"s ")
    done = []
    reader = threading.Thread(target=lambda: done.append(fetch(big, bf, max(1, MIB // LARGE))))
    reader.start()
    beside = []
    while reader.is_alive():
        beside += noops(0.5)
    reader.join()
    beside.sort()

    def words(t):
        return "median %.1f ms, 99%% %.1f ms, worst %.1f ms of %d" % (t[len(t) // 2], t[len(t) * 99 // 100], t[-1], len(t))
    log("NOOP alone: %s; beside a FETCH of %.0f MiB: %s" % (words(alone), done[0] / (1 << 20), words(beside)))


main()
