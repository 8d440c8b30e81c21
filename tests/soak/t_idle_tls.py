#!/usr/bin/env python3
# 10,000 idle IMAP clients under TLS while the certificate is replaced ten times, removed and made garbage: nobody is dropped, and
# old contexts go. IDLE_TLS=N: so many clients.
# timeout: 7200
# alone
import multiprocessing
import os
import resource
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from certs import Authority, read, write
from harness import *
from refstack import pss_kib
from stack import Stack
from tlsclient import context, lines_until, plain, shown

CLIENTS = int(os.environ.get("IDLE_TLS", "10000"))
PROCESSES, USERS, REPLACED = 4, 200, 10


def hold(s, first, pipe):
    """A process with its part of the clients; does what it is told on the pipe."""
    held, c = [], context()
    for i in range(first, CLIENTS, PROCESSES):
        t = c.wrap_socket(plain(s, "imaps"))
        t.settimeout(120)
        f = t.makefile("rwb", buffering=0)
        f.readline()
        f.write(b"a LOGIN u%d@example.com pass\r\nb SELECT INBOX\r\nc IDLE\r\n" % (i % USERS))
        check(lines_until(f, lambda l: l.startswith((b"+ ", b"a NO"))).startswith(b"+ "), "client %d is not in" % i)
        held.append((t, f))
    pipe.send(len(held))
    while pipe.recv() == "speak":
        n = 0
        for t, f in held:
            f.write(b"DONE\r\nd NOOP\r\ne IDLE\r\n")
            n += lines_until(f, lambda l: l.startswith(b"d ")).startswith(b"d OK")
            lines_until(f, lambda l: l.startswith(b"+ "))
        pipe.send(n)
    for t, f in held:
        t.close()
    pipe.send(0)


def memory(s):
    """KiB of all daemons, and of the logins alone."""
    return pss_kib(s.pids()), pss_kib({p: "login" for p in s.pids_of("login")})


@case
def ten_thousand_stay():
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    ca = Authority(tmp("ca"))
    s = Stack(tmp("s"), users={"u%d@example.com" % i: "pass" for i in range(USERS)}, extra_conf=[
        "mail_max_userip_connections = 100000", "auth_failure_delay = 0", "login_processes = 2", "imapd_processes = 2"])
    s.configure()
    now = ca.issue("default.example.com", ["127.0.0.1"], folder=s.path("tls"))
    with s:
        before = memory(s)
        began, pipes, clients = time.monotonic(), [], []
        for i in range(PROCESSES):
            ours, its = multiprocessing.Pipe()
            p = multiprocessing.Process(target=hold, args=(s, i, its), daemon=True)
            p.start()
            pipes.append(ours), clients.append(p)

        def all_say(word=None):
            for p in pipes if word else ():
                p.send(word)
            got = []
            for p, client in zip(pipes, clients):
                while not p.poll(1):
                    check(client.is_alive(), "a client's process has ended")
                got.append(p.recv())
            return sum(got)

        equal(all_say(), CLIENTS, "clients")
        log("%d clients in %.0f s" % (CLIENTS, time.monotonic() - began))
        time.sleep(25)
        full = memory(s)
        log("a connection: %.1f KiB in all daemons, %.1f in login" % tuple((b - a) / CLIENTS for a, b in zip(before, full)))
        for n in range(REPLACED):
            fresh = ca.issue("default.example.com", ["127.0.0.1"])
            write(now.chain, read(fresh.chain))
            write(now.key, read(fresh.key))
            wait_for(lambda: shown(s, "imaps") == fresh.der, 60, "renewal %d" % n)
        os.rename(now.chain, now.chain + ".away")
        wait_for(lambda: s.log().count("cannot be renewed") == 1, 60, "the removed certificate in the log")
        equal(shown(s, "imaps"), fresh.der, "shown while it is removed")
        with open(now.chain, "w") as f:
            f.write("garbage\n")
        wait_for(lambda: s.log().count("cannot be renewed") == 2, 60, "garbage in the log")
        equal(shown(s, "imaps"), fresh.der, "shown while it is garbage")
        os.rename(now.chain + ".away", now.chain)
        time.sleep(25)
        after = memory(s)
        log("after %d renewals:  %.1f KiB in all daemons, %.1f in login" % (
            (REPLACED,) + tuple((b - a) / CLIENTS for a, b in zip(before, after))))
        equal(all_say("speak"), CLIENTS, "clients that are still there")
        # What they hold is the context that they began with, one for all; ten more of them are less than a megabyte.
        check(is_sanitized("login") or after[1] - full[1] < 8 * 1024, "login grew from %d to %d KiB" % (full[1], after[1]))
        equal(all_say("end"), 0, "clients in the end")
        time.sleep(25)
        end = memory(s)
        log("without clients: %d KiB in login; before them %d" % (end[1], before[1]))


main()
