#!/usr/bin/env python3
# Certificates that are renewed, removed or become garbage while clients stay: noticed without a reload, nobody is dropped,
# nobody is ever shown a certificate without its key.
# timeout: 120
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from certs import Authority, read, write
from harness import *
from stack import Stack
from tlsclient import context, lines_until, plain, shown

RENEWED_S = 40  # three looks of three seconds, on a busy machine
USERS = 4
IDLE = 200
MANNERS = ("swapped", "renamed", "in-place", "removed", "garbage", "half")
NAMES = {}


def sni_table(rows):
    write(tmp("sni"), "".join("%s\t%s\n" % row for row in rows))


def stack(ca):
    s = Stack(tmp("s"), users={"u%d@example.com" % i: "pass" for i in range(USERS)}, extra_conf=[
        "smtpd_tls_security_level = may", "login_processes = 2", "smtpd_processes = 2",
        "tls_server_sni_maps = texthash:" + tmp("sni"), "mail_max_userip_connections = 1000"])
    s.configure()
    NAMES["default"] = ca.issue("default.example.com", ["default.example.com", "127.0.0.1"], folder=s.path("tls"))
    for m in MANNERS:
        NAMES[m] = ca.issue(m + ".example.com")
    link = tmp("live", "swapped.pem")  # as certbot: live/X/fullchain.pem -> ../../archive/X/fullchain1.pem
    os.symlink(NAMES["swapped"].both, link)
    rows = [(m + ".example.com", NAMES[m].both) for m in MANNERS if m not in ("swapped", "in-place")]
    rows += [("swapped.example.com", link),
             ("in-place.example.com", "%s,\n  %s" % (NAMES["in-place"].key, NAMES["in-place"].chain))]
    sni_table(rows)
    NAMES["rows"] = rows
    at_end(s.stop)
    return s.start()


def logged(s, *words, n=1, timeout_s=10):
    """Lines of the log with all the words; waits for n of them."""
    def lines():
        found = [l for l in s.log().split("\n") if all(w in l for w in words)]
        return found if len(found) >= n else None

    return wait_for(lines, timeout_s, "%d line(s) of the log with %s" % (n, words))


def idle(s, i):
    t = context().wrap_socket(plain(s, "imaps"))
    f = t.makefile("rwb", buffering=0)
    f.readline()
    f.write(b"a LOGIN u%d@example.com pass\r\nb SELECT INBOX\r\nc IDLE\r\n" % (i % USERS))
    lines_until(f, lambda l: l.startswith(b"+ "))
    return t, f


@case
def renewed_removed_and_garbage_while_clients_stay():
    ca = Authority(tmp("ca"))
    s = stack(ca)
    idlers = [idle(s, i) for i in range(IDLE)]
    before = sum(s_pss(s, "login"))
    fresh = {m: ca.issue(m + ".example.com") for m in MANNERS}
    fresh["default"] = ca.issue("default.example.com", ["default.example.com", "127.0.0.1"])
    old = {m: NAMES[m] for m in MANNERS + ("default",)}
    was = {m: old[m].der for m in old}
    mixed, seen = [], []

    def sni_of(m):
        return None if m == "default" else m + ".example.com"

    # The certificate first, the key seconds later; the chain of the default in two writes.
    with open(old["in-place"].chain, "w") as f:
        f.write(read(fresh["in-place"].chain))
    write(old["default"].chain, read(fresh["default"].chain))
    os.symlink(fresh["swapped"].both, tmp("live", "next"))
    os.rename(tmp("live", "next"), tmp("live", "swapped.pem"))
    os.rename(fresh["renamed"].both, old["renamed"].both)
    os.unlink(old["removed"].both)
    with open(old["garbage"].both, "w") as f:
        f.write("\x00\xff no certificate\n" * 100)
    with open(old["half"].both, "w") as f:
        f.write(read(fresh["half"].both)[:-300])
    began = time.monotonic()
    is_second = False
    good = {"swapped", "renamed", "in-place", "default"}
    while time.monotonic() - began < RENEWED_S and not (len(seen) == len(good) and s.log().count("cannot be renewed") >= 3):
        for m in old:
            got = shown(s, "imaps" if m != "default" else "submissions", sni_of(m))  # the handshake proves that the key fits
            if got not in (was[m], fresh[m].der):
                mixed.append(m)
            if got == fresh[m].der and m not in seen:
                seen.append(m)
        if not is_second and time.monotonic() - began > 4:
            is_second = True
            write(old["in-place"].key, read(fresh["in-place"].key))
            write(old["default"].key, read(fresh["default"].key))
        time.sleep(0.2)
    equal(mixed, [], "what nobody may be shown")
    equal(sorted(seen), sorted(good), "renewed")
    log("renewed in %.0f s" % (time.monotonic() - began))
    for m, why in (("removed", "No such file"), ("garbage", "no certificate in PEM form"), ("half", "is no PEM")):
        line = logged(s, "cannot be renewed", m + ".example.com", why)
        check("stays in service" in line[0] and "error" not in line[0].split(":")[0], line)
    state = json.loads(s.postern("status", "--json"))
    by_sni = {c["sni"]: c for c in state["certificates"]}
    equal({m: by_sni[m + ".example.com"]["state"] for m in MANNERS},
          {m: "ok" if m in good else "not renewed" for m in MANNERS}, "states")
    check("No such file" in by_sni["removed.example.com"]["problem"], by_sni)
    check("cannot be renewed" in s.postern("status"), "status")
    # Mended: by themselves. And a table with another name.
    extra = ca.issue("extra.example.com")
    for m in ("removed", "garbage", "half"):
        write(old[m].both, read(fresh[m].both) if m != "removed" else read(fresh[m].key) + read(fresh[m].chain))
    sni_table(NAMES["rows"] + [("extra.example.com", extra.both)])
    wait_for(lambda: shown(s, "pop3", "extra.example.com") == extra.der, RENEWED_S, "the new name")
    for m in ("removed", "garbage", "half"):
        wait_for(lambda: shown(s, "smtp", sni_of(m)) == fresh[m].der, RENEWED_S, m)
        equal(len(logged(s, "cannot be renewed", m + ".example.com")), 1, "how often that was told")
    equal({c["state"] for c in json.loads(s.postern("status", "--json"))["certificates"]}, {"ok"}, "states in the end")
    for t, f in idlers:  # nobody was dropped
        f.write(b"DONE\r\nd NOOP\r\n")
        check(lines_until(f, lambda l: l.startswith(b"d ")).startswith(b"d OK"), "an idle client")
    after = sum(s_pss(s, "login"))
    log("login, %d idle clients: %.1f KiB each before, %.1f after" % (IDLE, before / IDLE, after / IDLE))
    for t, f in idlers:
        t.close()


def s_pss(s, name):
    for pid in s.pids_of(name):
        with open("/proc/%d/smaps_rollup" % pid) as f:
            yield next(int(l.split()[1]) for l in f if l.startswith("Pss:"))


main()
