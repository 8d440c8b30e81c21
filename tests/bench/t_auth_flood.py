#!/usr/bin/env python3
# Right passwords while 1,000 wrong ones a second come from 100 addresses: what a log-in takes, what the flood costs. And log-ins
# a second beside Dovecot, with and without a cache of passwords. BENCH="--pairs 2 --seconds 10" for less.
# timeout: 1800
"""flood      each wrong password on a connection of its own, from 100 addresses in 100 networks (PROXY protocol), on existing and
           invented users in turn; who floods waits 5 s for the answer, at most. Beside it a client logs in again and again with
           the right password, each time from a network that takes no part and was never there before: quiet and flooded by
           turns. Medians and range over the turns; the ratio is to be at most 2. Processor time of all the servers' processes,
           of authd, and of the flooding program; what the wrong ones were told. $6$ passwords.
           Rows: the flood is on other users; on the same user; right passwords in the cache; Dovecot, on other users.
log-ins    cycles of connect, LOGIN, LOGOUT a second, by ten clients, $6$ passwords, with auth_cache_size 0 and 10M on both sides.
"""
import argparse
import collections
import itertools
import json
import os
import selectors
import shlex
import socket
import statistics
import subprocess
import sys
import threading
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), d) for d in (".", "../lib")]
from harness import *
from refstack import RefStack
from stack import Stack

USERS = {"u%d@example.com" % i: "pass" for i in range(20)}
RATE, ADDRESSES, PATIENCE_S = 1000, 100, 5
HZ = os.sysconf("SC_CLK_TCK")


def proxied(client):
    return b"PROXY TCP4 %s 127.0.0.1 4711 143\r\n" % client.encode()


def login_line(user, password):
    return b"a LOGIN %s %s\r\n" % (user.encode(), password.encode())


# --- the flood, a process of its own: t_auth_flood.py --flood PORT USER,... prints what was answered when told to end


def flood(port, users):
    """RATE connections a second until standard input closes."""
    sel, said, n = selectors.DefaultSelector(), collections.Counter(), 0
    held = collections.OrderedDict()  # socket: when it was opened
    words = {}                        # socket: what it says once it is connected
    answers = {b"AUTHENTICATIONFAILED": "wrong", b"UNAVAILABLE": "try again later", b"BYE": "goodbye"}
    sel.register(sys.stdin, selectors.EVENT_READ)
    began, worst = time.monotonic(), 0

    def end(s, how):
        said[how] += 1
        del held[s]
        words.pop(s, None)
        sel.unregister(s)
        s.close()

    while True:
        now = time.monotonic()
        due = int((now - began) * RATE) - n
        worst = max(worst, due)
        for _ in range(min(due, 100)):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", port))
            user = users[n % len(users)]
            words[s] = proxied("10.%d.%d.9" % (n % ADDRESSES, n % ADDRESSES)) + login_line(user % n if "%" in user else user,
                                                                                           "wrong%d" % n)
            n += 1
            held[s] = now
            sel.register(s, selectors.EVENT_WRITE)
        while held and now - next(iter(held.values())) > PATIENCE_S:
            end(next(iter(held)), "no answer in %d s" % PATIENCE_S)
        for key, _ in sel.select(0.001):
            s = key.fileobj
            if s is sys.stdin:
                t = os.times()
                print(json.dumps({"tried": n, "said": said, "open": len(held), "behind": worst, "cpu": t.user + t.system,
                                  "seconds": now - began}))
                return
            try:
                if s in words:
                    s.send(words.pop(s))
                    sel.modify(s, selectors.EVENT_READ)
                    continue
                got = s.recv(4096)
            except OSError:
                end(s, "connection lost")
                continue
            if not got:
                end(s, "closed")
            for word, how in answers.items():
                if word in got:
                    end(s, how)
                    break
            else:
                if b"a OK" in got:
                    end(s, "LET IN")


class Flood:
    def __init__(self, port, users):
        self.p = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--flood", str(port), ",".join(users)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def end(self):
        return json.loads(self.p.communicate()[0])


# --- the right one


def right(port, client, user, head=proxied):
    """Seconds from LOGIN to its OK."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        f = s.makefile("rb")
        s.sendall(head(client))
        f.readline()
        began = time.perf_counter()
        s.sendall(login_line(user, "pass"))
        line = f.readline()
        while line and not line.startswith(b"a "):
            line = f.readline()
        took = time.perf_counter() - began
        check(line.startswith(b"a OK"), "a right password was answered %r" % line)
        s.sendall(b"b LOGOUT\r\n")
        f.read()
        return took


_visitors = itertools.count()


def cpu_s(pids):
    total = 0
    for pid in pids:
        try:
            with open("/proc/%d/stat" % pid) as f:
                w = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        total += (int(w[11]) + int(w[12])) / HZ
    return total


def for_a_while(port, seconds, user, pids, auth_pids):
    took, cpu, auth, began = [], cpu_s(pids()), cpu_s(auth_pids()), time.monotonic()
    while time.monotonic() - began < seconds:
        n = next(_visitors)
        took.append(right(port, "172.%d.%d.7" % (16 + n // 256 % 16, n % 256), user))
        time.sleep(0.05)
    wall = time.monotonic() - began
    return {"ms": sorted(1000 * t for t in took), "cpu": (cpu_s(pids()) - cpu) / wall, "auth": (cpu_s(auth_pids()) - auth) / wall}


def span(values, form="%.1f"):
    return (form + " [" + form + "-" + form + "]") % (statistics.median(values), min(values), max(values))


def measure_flood(what, port, user, flooded, pids, auth_pids, a):
    """By turns; the quiet turns come after the flood has been forgotten as far as the machine goes."""
    quiet, loud, told = [], [], []
    for _ in range(a.pairs):
        quiet.append(for_a_while(port, a.seconds, user, pids, auth_pids))
        f = Flood(port, flooded)
        time.sleep(3)
        loud.append(for_a_while(port, a.seconds, user, pids, auth_pids))
        told.append(f.end())
        time.sleep(PATIENCE_S + 2)
    median = [[statistics.median(t["ms"]) for t in turns] for turns in (quiet, loud)]
    late = [[t["ms"][int(len(t["ms"]) * 0.95)] for t in turns] for turns in (quiet, loud)]
    said = collections.Counter()
    for t in told:
        said.update(t["said"])
    seconds = sum(t["seconds"] for t in told)
    log("%s" % what)
    log("    right, quiet    median %s ms, 95 of 100 within %s ms" % (span(median[0]), span(late[0])))
    log("    right, flooded  median %s ms, 95 of 100 within %s ms" % (span(median[1]), span(late[1])))
    ratio = statistics.median(x / y for x, y in zip(median[1], median[0]))
    log("    ratio of medians %.2f" % ratio)
    log("    processors: servers %s quiet, %s flooded; of it authd %s, %s; the flooding program %.2f"
        % (span([t["cpu"] for t in quiet], "%.2f"), span([t["cpu"] for t in loud], "%.2f"), span([t["auth"] for t in quiet], "%.2f"),
           span([t["auth"] for t in loud], "%.2f"), sum(t["cpu"] for t in told) / seconds))
    log("    %.0f wrong passwords a second (at most %d late): %s" % (sum(t["tried"] for t in told) / seconds,
        max(t["behind"] for t in told), ", ".join("%s %d" % i for i in said.most_common())))
    return ratio


def postern(conf):
    s = Stack(tmp("p"), users=USERS, extra_conf=["imap_haproxy = yes", "haproxy_trusted_networks = 127.0.0.1",
                                                 "disable_plaintext_auth = no",
                                                 "maillog_file = " + tmp("log" + str(len(conf)))] + conf)
    s.start()
    at_end(s.stop)
    return s


DOVECOT = ["disable_plaintext_auth = no", "haproxy_trusted_networks = 127.0.0.1", "default_client_limit = 20000",
           "default_process_limit = 5000", "service imap-login {\n  service_count = 0\n  client_limit = 8000\n}",
           "service auth {\n  client_limit = 20000\n}", "mail_max_userip_connections = 100"]


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--seconds", type=float, default=15)
    p.add_argument("--rows", default="other,same,cached,dovecot,logins")
    return p.parse_args(shlex.split(os.environ.get("BENCH", "")))


OTHERS = ["u1@example.com", "u2@example.com", "u3@example.com", "nobody%d@example.com"]


def flood_row(row, what, make, auth_name, flooded, user="u0@example.com"):
    a = options()
    if row not in a.rows:
        return
    s = make()
    for n in range(3):
        right(s.ports["imap"], "203.0.113.77", user)
    ratio = measure_flood(what, s.ports["imap"], user, flooded, s.pids, lambda: pids_named(s, auth_name), a)
    s.stop()
    if ratio > 2:
        log("    NOT within twice")


def pids_named(s, name):
    if hasattr(s, "pids_of"):
        return s.pids_of(name)
    out = []
    for pid in s.pids():
        try:
            with open("/proc/%d/comm" % pid) as f:
                if f.read().strip() == name:
                    out.append(pid)
        except OSError:
            pass
    return out


@case
def other():
    flood_row("other", "the flood is on other users; no cache", lambda: postern(["auth_cache_size = 0"]), "authd", OTHERS)


@case
def same():
    flood_row("same", "the flood is on the same user; no cache", lambda: postern(["auth_cache_size = 0"]), "authd",
              ["u0@example.com"])


@case
def cached():
    flood_row("cached", "the flood is on the same user; right passwords are cached", lambda: postern([]), "authd",
              ["u0@example.com"])


@case
def dovecot():
    def make():
        s = RefStack(tmp("df"), users=USERS, parts=("dovecot",), dovecot_conf=DOVECOT + [
            "service imap-login {\n  inet_listener imap {\n    haproxy = yes\n  }\n}"])
        s.start()
        at_end(s.stop)
        return s

    flood_row("dovecot", "Dovecot; the flood is on other users; no cache", make, "auth", OTHERS)


# --- log-ins a second


def cycles(port, seconds, clients=10):
    done, end, errors = [0] * clients, time.monotonic() + seconds, []

    def run_one(i):
        try:
            while time.monotonic() < end:
                right(port, "", "u%d@example.com" % i, head=lambda client: b"")
                done[i] += 1
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=run_one, args=(i,)) for i in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check(not errors, "%s" % errors[:1])
    return sum(done) / seconds


@case
def logins():
    a = options()
    if "logins" not in a.rows:
        return
    for size in ("0", "10M"):
        sides = {"postern": Stack(tmp("p" + size), users=USERS, extra_conf=["auth_cache_size = " + size]),
                 "dovecot": RefStack(tmp("d" + size), users=USERS, parts=("dovecot",),
                                     dovecot_conf=["auth_cache_size = " + size] + [c for c in DOVECOT if "haproxy" not in c])}
        got = {n: [] for n in sides}
        for s in sides.values():
            s.start()
            at_end(s.stop)
            cycles(s.ports["imap"], 1)
        for _ in range(a.pairs):
            for n, s in sides.items():
                got[n].append(cycles(s.ports["imap"], a.seconds / 3))
        log("log-ins a second, ten clients, auth_cache_size = %s: Postern %s, Dovecot %s, ratio %.2f"
            % (size, span(got["postern"], "%.0f"), span(got["dovecot"], "%.0f"),
               statistics.median(x / y for x, y in zip(got["postern"], got["dovecot"]))))
        for s in sides.values():
            s.stop()


if __name__ == "__main__" and sys.argv[1:2] == ["--flood"]:
    flood(int(sys.argv[2]), sys.argv[3].split(","))
else:
    main()
