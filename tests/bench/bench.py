#!/usr/bin/env python3
"""Postern beside Postfix, Dovecot and MariaDB as the guide sets them up, measured in one run.

    bench.py [--rows inbound,idle,imap,slow,outbound,queue,fair] [--pairs N] [--only ref|postern] [--quick] [--json FILE]   (see --help)

Each row is measured at both sides in turn, A B A B, --pairs times; the table has medians, the range in brackets and the
ratio Postern / reference. `make bench` runs the rows through tests/bench/t_*.py.

inbound  smtp-source, 4 KiB messages, a recipient for each connection, connections kept open. Accepted per second: until the
         last 250. Delivered per second: from the first connect to the last file in a Maildir. Both stacks are up all the
         time and the other one is idle.
idle     proportional set size of the whole stack, all alone: after its start, and after 200 messages over 20 connections.
imap     what an idle IMAP connection costs: so many users, each with an INBOX of so many messages selected, in IDLE, some time
         after the last event; (all processes then - all processes before) / connections. The slab that the kernel cannot
         reclaim, client's ends included, is printed apart. The reference gets one imap-login process for all
         (service_count = 0), which is the kinder one of Dovecot's two modes, and higher limits.
slow     what 500 clients deliver while 4,500 others send one octet a second; ours alone (slow.py).
outbound, queue, fair   mail that leaves, and what waits (outbound_rows.py); the last two ours alone.
"""
import argparse
import concurrent.futures
import contextlib
import json
import os
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import harness
import outbound_rows
import slow
from refstack import RefStack, messages, count_messages, pss_kib, smtp_source_start

SIZE = 4096
REF_IMAP_CONF = ["default_client_limit = 20000", "default_process_limit = 20000",
                 "service imap {\n  process_limit = 20000\n}", "service imap-login {\n  service_count = 0\n}",
                 "protocol imap {\n  mail_plugins = $mail_plugins imap_zlib\n}"]


# --- the two sides: start(), stop(), ports, mail_root, pids()


def ref_side(workdir, users, imap_load, conf):
    return RefStack(workdir, users=users, dovecot_conf=REF_IMAP_CONF if imap_load else ())


def postern_side(workdir, users, imap_load, conf):
    from stack import Stack  # it needs nothing of ours while only the reference is measured
    return Stack(workdir, users=users, extra_conf=conf)


SIDES = {"ref": ref_side, "postern": postern_side}


class Up:
    """A side that runs, in a folder of its own, until the block ends."""

    def __init__(self, name, a, users, imap_load=False, conf=()):
        self.name = name
        self.workdir = tempfile.mkdtemp(prefix=name[0] + ".", dir=a.dir)
        os.chmod(self.workdir, 0o755)
        self.stack = SIDES[name](os.path.join(self.workdir, "w"), users, imap_load, conf)

    def __enter__(self):
        try:
            self.stack.start()
        except BaseException:
            self.__exit__()
            raise
        return self.stack

    def __exit__(self, *exc):
        try:
            self.stack.stop()
        finally:
            subprocess.run(["rm", "-rf", "--one-file-system", self.workdir], check=False)


def own_cpu_s():
    t = os.times()
    return t.user + t.system + t.children_user + t.children_system


def user_names(n):
    return {"u%d@example.com" % i: "pass" for i in range(n)}


# --- inbound


def empty_maildirs(root):
    """Out of the way, not deleted: for minutes after thousands of files went, ext4 is slow to make new ones."""
    aside = tempfile.mkdtemp(prefix="aside.", dir=os.path.dirname(root))
    for n, e in enumerate(messages(root)):
        os.rename(e.path, os.path.join(aside, str(n)))


def inbound(stack, connections, count):
    """{"accepted per second", "delivered per second", "client CPU s"}"""
    empty_maildirs(stack.mail_root)
    each, cpu, began = count // connections, own_cpu_s(), time.time()
    clients = [smtp_source_start("127.0.0.1", stack.ports["smtp"], each, "u%d@example.com" % i, size=SIZE)
               for i in range(connections)]
    said = {c.communicate()[0].strip() for c in clients}
    accepted = time.time()
    cpu = own_cpu_s() - cpu
    if said != {""} or any(c.returncode for c in clients):
        raise harness.Failed("smtp-source: %s" % said)
    end = time.monotonic() + 600
    while count_messages(stack.mail_root) < each * connections:
        if time.monotonic() > end:
            raise harness.Failed("%d of %d delivered" % (count_messages(stack.mail_root), each * connections))
        time.sleep(0.1)  # to look costs the servers time; when the last one came is on the file
    last = max(e.stat().st_ctime for e in messages(stack.mail_root))
    n = each * connections
    return {"accepted": n / (accepted - began), "delivered": n / (last - began), "cpu": cpu}


def rows_inbound(a, sides, table):
    with contextlib.ExitStack() as up:
        stacks = {s: up.enter_context(Up(s, a, user_names(20))) for s in sides}
        for stack in stacks.values():  # first of each process, first file of each Maildir
            inbound(stack, 20, 40)
        for connections, count in ((1, a.messages), (20, a.messages * 5)):
            what = "%d connection%s" % (connections, "" if connections == 1 else "s")
            for _ in range(a.pairs):
                for s in sides:
                    got = inbound(stacks[s], connections, count)
                    table.add("accepted, " + what, "msg/s", s, got["accepted"], got["cpu"], "more")
                    table.add("delivered, " + what, "msg/s", s, got["delivered"], got["cpu"], "more")


# --- memory


def rows_idle(a, sides, table):
    for _ in range(a.pairs):
        for s in sides:
            with Up(s, a, user_names(20)) as stack:
                time.sleep(a.settle)
                table.add("memory, just started", "MiB", s, pss_kib(stack.pids()) / 1024, 0, "less")
                inbound(stack, 20, 200)
                time.sleep(a.settle)
                table.add("memory, after 200 messages", "MiB", s, pss_kib(stack.pids()) / 1024, 0, "less")


def slab_kib():
    with open("/proc/meminfo") as f:
        return int(next(line for line in f if line.startswith("SUnreclaim:")).split()[1])


def fill_mailboxes(root, users, count):
    """An INBOX of `count` seen messages for each user. All users have links to the same files: that spares the disk and
    the time, and no server can tell."""
    domain = os.path.join(root, "example.com")
    owner = os.stat(root)
    os.makedirs(domain, exist_ok=True)
    os.chown(domain, owner.st_uid, owner.st_gid)
    template = os.path.join(domain, ".template")
    for sub in ("", "tmp", "new", "cur"):
        os.mkdir(os.path.join(template, sub), 0o700)
        os.chown(os.path.join(template, sub), owner.st_uid, owner.st_gid)
    for i in range(count):
        text = ("From: Sender %d <s%d@remote.test>\r\nTo: list@example.com\r\nSubject: message %d\r\n"
                "Date: Thu, 1 Jan 2026 %02d:%02d:00 +0000\r\nMessage-ID: <%d@remote.test>\r\n\r\n"
                % (i, i, i, i // 60 % 24, i % 60, i)).encode() + b"A line of text, and no more.\r\n" * 60
        path = os.path.join(template, "cur", "%d.M%dP1.bench,S=%d,W=%d:2,S" % (1767225600 + i, i, len(text), len(text)))
        with open(path, "wb") as f:
            f.write(text)
        os.chmod(path, 0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
        os.utime(path, (1767225600 + i,) * 2)
    for u in users:
        subprocess.run(["cp", "-al", template, os.path.join(domain, u.split("@")[0])], check=True)
    subprocess.run(["rm", "-rf", template], check=True)


def talk(f, s, user, exchanges):
    """Commands, and how the answer to wait for begins."""
    for command, answer in exchanges:
        if command:
            s.sendall(command + b"\r\n")
        line = f.readline()
        while not line.startswith(answer):
            if not line or (line[:1] != b"*" and command[:2] == line[:2]):
                raise harness.Failed("IMAP: %s: %s: %r" % (user, command.decode(), line))
            line = f.readline()


class Compressed:
    """A connection after COMPRESS DEFLATE (RFC 4978), with what imap_session() asks of a socket and its file."""

    def __init__(self, s):
        self.s, self.input = s, b""
        self.out, self.inflate = zlib.compressobj(6, zlib.DEFLATED, -15), zlib.decompressobj(-15)

    def sendall(self, octets):
        self.s.sendall(self.out.compress(octets) + self.out.flush(zlib.Z_SYNC_FLUSH))

    def readline(self):
        while b"\n" not in self.input:
            got = self.s.recv(65536)
            if not got:
                return b""
            self.input += self.inflate.decompress(got)
        line, _, self.input = self.input.partition(b"\n")
        return line + b"\n"

    def close(self):
        self.s.close()


def imap_session(port, user, context, idle, is_compressed=False):
    """Log in and select INBOX. Then IDLE, the socket is returned; or LOGOUT."""
    s = socket.create_connection(("127.0.0.1", port), timeout=120)
    if context:
        s = context.wrap_socket(s, server_hostname="example.com")
    if is_compressed:
        with s.makefile("rb", buffering=0) as f:
            f.readline()
            for command in (b"a LOGIN %s pass" % user.encode(), b"z COMPRESS DEFLATE"):
                s.sendall(command + b"\r\n")
                line = f.readline()
                while not line.startswith(command[:2]):
                    line = f.readline()
                if not line.startswith(command[:2] + b"OK"):
                    raise harness.Failed("IMAP: %s: %s: %r" % (user, command.decode(), line))
        s = f = Compressed(s)
        talk(f, s, user, ((b"b SELECT INBOX", b"b OK"), (b"c IDLE", b"+ ") if idle else (b"c LOGOUT", b"c OK")))
        # Only what zlib needs here may stay: a thousand windows are the client's cost, not the server's.
        if idle:
            return s.s
        return s.close()
    with s.makefile("rb") as f:
        talk(f, s, user, ((b"", b"* OK"), (b"a LOGIN %s pass" % user.encode(), b"a OK"), (b"b SELECT INBOX", b"b OK"),
                          (b"c IDLE", b"+ ") if idle else (b"c LOGOUT", b"c OK")))
    if idle:
        return s
    return s.close()


def idle_imap(stack, a, port, context, is_compressed):
    """Every INBOX was opened once before, so that the indexes are there; then all are opened again and stay idle."""
    users = list(user_names(a.users))
    fill_mailboxes(stack.mail_root, users, a.mailbox)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda u: imap_session(stack.ports[port], u, context, False), users))
        time.sleep(a.settle)
        before, slab, cpu = pss_kib(stack.pids()), slab_kib(), own_cpu_s()
        held = list(pool.map(lambda u: imap_session(stack.ports[port], u, context, True, is_compressed), users))
    cpu = own_cpu_s() - cpu
    time.sleep(a.idle_seconds)
    after, slab = pss_kib(stack.pids()), slab_kib() - slab
    for s in held:
        s.close()
    return {"pss": (after - before) / a.users, "slab": slab / a.users, "cpu": cpu, "all": after / 1024}


def rows_imap(a, sides, table):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(a.imap_pairs):
        for port, what, is_compressed in (("imap", "plain", False), ("imaps", "TLS", False), ("imap", "compressed", True),
                                          ("imaps", "TLS, compressed", True)):
            if what not in a.imap_ways.split("+"):
                continue
            for s in sides:
                with Up(s, a, user_names(a.users), imap_load=True) as stack:
                    got = idle_imap(stack, a, port, context if port == "imaps" else None, is_compressed)
                name = "idle IMAP, " + what
                table.add(name, "KiB each", s, got["pss"], got["cpu"], "less")
                table.add(name + ", kernel slab", "KiB each", s, got["slab"], got["cpu"], "less")
                table.add(name + ", whole stack", "MiB", s, got["all"], got["cpu"], "less")


# --- slow clients


def rows_slow(a, sides, table):
    if "postern" in sides:
        slow.rows(a, lambda side, conf: Up(side, a, user_names(20), conf=conf), table, empty_maildirs)


ROWS = {"inbound": rows_inbound, "idle": rows_idle, "imap": rows_imap, "slow": rows_slow,
        "outbound": outbound_rows.rows_outbound, "queue": outbound_rows.rows_queue, "fair": outbound_rows.rows_fair}


# --- the table


class Table:
    def __init__(self, sides, quiet):
        self.sides, self.quiet, self.rows = sides, quiet, {}

    def add(self, name, unit, side, value, cpu_s, better):
        row = self.rows.setdefault(name, {"unit": unit, "better": better, "values": {s: [] for s in self.sides},
                                          "client_cpu_s": {s: [] for s in self.sides}})
        row["values"][side].append(value)
        row["client_cpu_s"][side].append(cpu_s)
        if not self.quiet:
            print("    %-8s %-36s %10.1f %s" % (side, name, value, row["unit"]), file=sys.stderr, flush=True)

    def text(self):
        out = [["", "unit", *self.sides, *(["ratio", "better"] if len(self.sides) > 1 else []), "client CPU s"]]
        for name, row in self.rows.items():
            mid = {s: statistics.median(v) for s, v in row["values"].items() if v}
            line = [name, row["unit"]]
            for s in self.sides:
                v = row["values"][s]
                line.append("%s (%s-%s, n=%d)" % (*map(short, (mid[s], min(v), max(v))), len(v)) if v else "-")
            if len(self.sides) > 1:
                line += ["%.2f" % (mid["postern"] / mid["ref"]) if len(mid) > 1 and mid["ref"] else "-", row["better"]]
            cpu = [short(statistics.median(c)) if any(c) else "-" for c in row["client_cpu_s"].values()]
            out.append(line + [" / ".join(cpu)])
        widths = [max(len(line[i]) for line in out) for i in range(len(out[0]))]
        return "\n".join("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip()
                         for line in out)


def short(x):
    return "%.0f" % x if abs(x) >= 100 else "%.1f" % x if abs(x) >= 10 else "%.2f" % x


def parse(argv):
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--rows", default=",".join(ROWS), help="which of %s" % ",".join(ROWS))
    ap.add_argument("--only", choices=SIDES, help="measure one side only")
    ap.add_argument("--pairs", type=int, default=5)
    ap.add_argument("--imap-pairs", type=int, help="for the imap rows, which take minutes each (--pairs)")
    ap.add_argument("--messages", type=int, default=1000, help="over one connection; five times as many over 20")
    ap.add_argument("--users", type=int, default=1000, help="idle IMAP connections")
    ap.add_argument("--imap-ways", default="plain+TLS+compressed+TLS, compressed", help="of the imap rows, with + between")
    ap.add_argument("--mailbox", type=int, default=1000, help="messages in each INBOX")
    ap.add_argument("--slow", type=int, default=4500, help="clients that send one octet a second")
    ap.add_argument("--fast", type=int, default=500, help="connections that deliver beside them")
    ap.add_argument("--fast-messages", type=int, default=20000, help="which they deliver together")
    ap.add_argument("--outbound-messages", type=int, default=5000, help="of one run to smtp-sink")
    ap.add_argument("--queued", type=int, default=1000000, help="recipients in the queue, for dead hosts")
    ap.add_argument("--queue-seconds", type=float, default=60, help="how long memory is looked at after the first delivery")
    ap.add_argument("--fair-queued", type=int, default=50000, help="messages for a dead destination")
    ap.add_argument("--fair-messages", type=int, default=100, help="for a living one, one by one")
    ap.add_argument("--fair-pause", type=float, default=0.4, help="seconds between them")
    ap.add_argument("--idle-seconds", type=float, default=60)
    ap.add_argument("--settle", type=float, default=10, help="seconds of rest before memory is read")
    ap.add_argument("--quick", action="store_true", help="one pair, few messages, 50 users: does it run?")
    ap.add_argument("--json", metavar="FILE")
    ap.add_argument("--dir", help="where the work folders go; a real disk (the build folder)")
    ap.add_argument("--quiet", action="store_true", help="only the table")
    a = ap.parse_args(argv)
    if a.quick:
        a.pairs, a.messages, a.users, a.mailbox, a.idle_seconds, a.settle = 1, 200, 50, 100, 2, 2
        a.slow, a.fast, a.fast_messages = 450, 60, 2000
        a.outbound_messages, a.queued, a.queue_seconds, a.fair_queued, a.fair_messages = 500, 20000, 5, 2000, 10
        a.fair_pause = 0.05
    a.imap_pairs = a.imap_pairs or a.pairs
    if set(a.rows.split(",")) - set(ROWS):
        ap.error("rows are %s" % ", ".join(ROWS))
    return a


def main(argv):
    a = parse(argv)
    wanted = a.rows.split(",")
    sides = [a.only] if a.only else list(SIDES)
    if not a.only and not os.path.exists(harness.build("bin", "postern")):
        print("Postern is not built here: the reference alone is measured")
        sides = ["ref"]
    parent = a.dir or harness.build()
    os.makedirs(parent, exist_ok=True)
    a.dir = tempfile.mkdtemp(prefix="bench.", dir=parent)
    os.chmod(a.dir, 0o755)
    table = Table(sides, a.quiet)
    try:
        for r in wanted:
            ROWS[r](a, sides, table)
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", a.dir], check=False)
        if table.rows:
            print(table.text(), flush=True)
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"sides": sides, "options": {k: v for k, v in vars(a).items() if k not in ("dir", "json")},
                       "cpus": os.cpu_count(), "rows": table.rows}, f, indent=1)
    return 0


if __name__ == "__main__":
    options, sys.argv[1:] = sys.argv[1:], []
    parse(options)  # --help and mistakes end here

    @harness.case
    def measure():
        main(options)
    harness.main()  # ends and removes whatever is left
