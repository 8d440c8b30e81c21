#!/usr/bin/env python3
# A mailbox of 100,000 messages (482 MB) at our imapd and at Dovecot's imap, each with links to the same files, in turn; and
# doveadm where it can do the same. Time until the tagged OK, processor time of the servers, the most memory of the process
# that served it. BENCH="--messages 10000 --rounds 1 --only postern --rows open,list" for less.
# timeout: 7200
"""What is measured (medians of --repeats where it can be repeated):

open first    SELECT where nobody ever made an index: every file is new
open cold     SELECT by processes just started, the index's files out of the page cache
open warm     SELECT in a new session, others were there before
list          UID FETCH 1:* FLAGS; envelopes for the first time, and again from the cache
fetch         dates and sizes, BODYSTRUCTURE for the first time and again, three header fields, 1,000 whole messages
search        by flag, FROM, SUBJECT and BODY, for a word in one of 100 and one of 200; both sides must find the same
sort, thread  SORT (DATE), SORT (SUBJECT), THREAD REFERENCES: for the first time and again; the same answer on both sides is said
flag          STORE +FLAGS.SILENT of 1,000 and of all
copy, expunge of 10,000
append        1,000 by one client, one after the other; 1,000 by ten at once
login         log in, SELECT, log out: a cycle, by one client and by ten at once; passwords are $6$
rebuild       SELECT after the index was removed (and Dovecot's uidlist)
memory        what each of ten more sessions on the same mailbox adds to the proportional set size, octets a message
"""
import argparse
import concurrent.futures
import json
import os
import re
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), d) for d in (".", "../lib")]
import storeload
from harness import *
from refstack import RefStack, pss_kib
from stack import Stack

USER, OTHER = "u0@example.com", "u1@example.com"  # doveadm has its own
SESSIONS = 10
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
INDEX = {"postern": ("postern-index.db", "postern-index.db-wal", "postern-index.db-shm"),
         "dovecot": ("dovecot.index", "dovecot.index.log", "dovecot.index.cache", "dovecot.index.log.2", "dovecot-uidlist")}
SERVER = {"postern": "imapd", "dovecot": "imap"}


class Imap:
    def __init__(self, port, user=USER):
        self.s = socket.create_connection(("127.0.0.1", port), timeout=1800)
        self.n = 0
        self.s.recv(1000)
        self.cmd("LOGIN %s pass" % user)

    def cmd(self, text):
        """The whole answer; its tagged line must be OK."""
        self.n += 1
        tag = b"a%d" % self.n
        self.s.sendall(tag + b" " + text.encode() + b"\r\n")
        parts, tail = [], b""
        while True:
            got = self.s.recv(1 << 20)
            check(got, "%s: the connection is closed" % text)
            parts.append(got)
            tail = (tail + got)[-8000:]
            if tail.endswith(b"\r\n"):
                last = tail[:-2].rsplit(b"\r\n", 1)[-1]
                if last.startswith(tag + b" "):
                    check(last.startswith(tag + b" OK"), "%s: %s" % (text, last.decode(errors="replace")))
                    return b"".join(parts)

    def append(self, folder, octets):
        self.n += 1
        tag = b"a%d" % self.n
        self.s.sendall(b"%s APPEND %s {%d+}\r\n%s\r\n" % (tag, folder.encode(), len(octets), octets))
        got = b""
        while not re.search(rb"(?m)^%s .*\n" % tag, got):
            more = self.s.recv(1 << 16)
            check(more, "APPEND: the connection is closed")
            got += more
        check(b"%s OK" % tag in got, "APPEND: %r" % got)

    def close(self):
        self.cmd("LOGOUT")
        self.s.close()


def result(answer):
    """The line that counts: Dovecot says how far it has got in others."""
    return next((line for line in answer.split(b"\r\n") if line.startswith((b"* SEARCH", b"* SORT", b"* THREAD"))), b"")


def cpu_s(pids):
    out = 0
    for pid in pids:
        try:
            with open("/proc/%d/stat" % pid) as f:
                w = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        out += (int(w[11]) + int(w[12])) * TICK_S
    return out


def comm(pid):
    try:
        with open("/proc/%d/comm" % pid) as f:
            return f.read().strip()
    except OSError:
        return ""


def peak_mib(pids):
    most = 0
    for pid in pids:
        try:
            with open("/proc/%d/status" % pid) as f:
                most = max(most, int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1)))
        except (OSError, AttributeError):
            pass
    return most / 1024


def reset_peak(pids):
    for pid in pids:
        try:
            with open("/proc/%d/clear_refs" % pid, "w") as f:
                f.write("5")
        except OSError:
            pass


class Side:
    def __init__(self, name, stack, template):
        self.name, self.stack = name, stack
        stack.start()
        owner = os.stat(stack.mail_root)
        users = (USER, OTHER) if name == "dovecot" else (USER,)
        for u in users:
            user, domain = u.split("@")
            box = os.path.join(stack.mail_root, domain, user)
            os.makedirs(box)
            subprocess.run(["cp", "-al", template, os.path.join(box, "cur")], check=True)
            for sub in ("new", "tmp"):
                os.mkdir(os.path.join(box, sub))
            subprocess.run(["chown", "-R", "%d:%d" % (owner.st_uid, owner.st_gid), os.path.join(stack.mail_root, domain)], check=True)
        self.box = os.path.join(stack.mail_root, "example.com", "u0")
        self.imap = None

    def servers(self):
        return [p for p in self.stack.pids() if comm(p) == SERVER[self.name]]

    def port(self):
        return self.stack.ports["imap"]

    def session(self):
        self.close()
        self.imap = Imap(self.port())
        return self.imap

    def close(self):
        if self.imap:
            self.imap.close()
            self.imap = None

    def timed(self, what):
        """what() -> {"ms", "cpu", "mib"}, and what it returned."""
        reset_peak(self.servers())
        before, began = cpu_s(self.stack.pids()), time.perf_counter()
        got = what()
        took = time.perf_counter() - began
        return {"ms": took * 1000, "cpu": (cpu_s(self.stack.pids()) - before) * 1000, "mib": peak_mib(self.servers())}, got

    def index_files(self):
        return [p for p in (os.path.join(self.box, n) for n in INDEX[self.name]) if os.path.exists(p)]

    def restart(self):
        """Processes that have never seen the mailbox."""
        self.close()
        if self.name == "postern":
            self.stack.postern("restart", ok=False)
            keep, self.stack.made = self.stack.made, False
            self.stack.stop()
            self.stack.made = keep
            self.stack.start()
        else:
            wait_for(lambda: not self.servers(), 20, "Dovecot's imap ended")

    def forget_pages(self):
        for path in self.index_files():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)

    def drop_index(self):
        self.restart()
        for path in self.index_files():
            os.unlink(path)


class Bench:
    def __init__(self, a, sides):
        self.a, self.sides, self.rows, self.said = a, sides, {}, []

    def add(self, row, side, got):
        self.rows.setdefault(row, {}).setdefault(side, []).append(got)
        print("    %-28s %-8s %10.2f ms %8.0f ms cpu %7.1f MiB" % (row, side, got["ms"], got.get("cpu") or 0, got.get("mib") or 0),
              file=sys.stderr, flush=True)

    def each(self, row, what, repeats=1, before=None):
        """At both sides in turn. what(side) -> something to compare."""
        answers = {}
        for _ in range(repeats):
            for s in self.sides:
                if before:
                    before(s)
                try:
                    got, answer = s.timed(lambda: what(s))
                except Failed as e:
                    self.said.append("%s: %s: %s" % (row, s.name, str(e)[:200]))
                    continue
                self.add(row, s.name, got)
                answers[s.name] = answer
        return answers

    def same(self, row, answers):
        if len(answers) == 2 and len(set(answers.values())) != 1:
            n = {s: len(v.split()) if isinstance(v, bytes) else v for s, v in answers.items()}
            self.said.append("%s: the answers differ (words: %s)" % (row, n))

    # ------------------------------------------------------------------------------ the rows

    def open(self):
        n = self.a.repeats
        self.each("open first", lambda s: s.imap.cmd("SELECT INBOX"), before=lambda s: s.session())

        def cold(s):
            s.restart()
            s.forget_pages()
            s.session()
        self.each("open cold", lambda s: s.imap.cmd("SELECT INBOX"), n, cold)

        def warm(s):
            s.session()
            s.imap.cmd("SELECT INBOX")
            s.session()
        self.each("open warm", lambda s: s.imap.cmd("SELECT INBOX"), n * 2 + 1, warm)

    def list(self):
        n = self.a.repeats
        self.each("list flags", lambda s: len(s.imap.cmd("UID FETCH 1:* FLAGS")), n)
        self.each("envelopes, first time", lambda s: len(s.imap.cmd("UID FETCH 1:* ENVELOPE")))
        self.each("envelopes, cached", lambda s: len(s.imap.cmd("UID FETCH 1:* ENVELOPE")), n)
        self.each("headers of a list, cached", lambda s: len(s.imap.cmd(
            "UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)])")), n,
            before=None if self.warm_headers() else None)

    def warm_headers(self):
        for s in self.sides:
            s.imap.cmd("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)])")

    def fetch(self):
        n, most = self.a.repeats, min(1000, self.a.messages)
        fields = "UID FETCH 1:* BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)]"
        self.each("dates and sizes", lambda s: len(s.imap.cmd("UID FETCH 1:* (INTERNALDATE RFC822.SIZE)")), n)
        self.each("BODYSTRUCTURE, first time", lambda s: len(s.imap.cmd("UID FETCH 1:* BODYSTRUCTURE")))
        self.each("BODYSTRUCTURE, again", lambda s: len(s.imap.cmd("UID FETCH 1:* BODYSTRUCTURE")), n)
        self.each("three fields, first time", lambda s: len(s.imap.cmd(fields)))
        self.each("three fields, again", lambda s: len(s.imap.cmd(fields)), n)
        self.each("1,000 whole messages", lambda s: len(s.imap.cmd("FETCH 1:%d BODY.PEEK[]" % most)), n)

    def search(self):
        n = self.a.repeats
        for row, keys in (("search by flag", "FLAGGED UNSEEN"), ("search from", "FROM " + storeload.SUBJECT_WORD)):
            self.same(row, self.each(row, lambda s: result(s.imap.cmd("UID SEARCH " + keys)), n))
        self.same("search subject", self.each("search subject", lambda s: result(s.imap.cmd(
            "UID SEARCH SUBJECT " + storeload.SUBJECT_WORD)), n))
        self.same("search body", self.each("search body", lambda s: result(s.imap.cmd(
            "UID SEARCH BODY " + storeload.BODY_WORD)), min(n, 2)))

    def sort(self):
        n = self.a.repeats
        for row, cmd in (("sort by date", "UID SORT (DATE) UTF-8 ALL"), ("sort by subject", "UID SORT (SUBJECT) UTF-8 ALL"),
                         ("sort by from", "UID SORT (FROM) UTF-8 ALL"), ("thread", "UID THREAD REFERENCES UTF-8 ALL")):
            able = [s for s in self.sides if (b"SORT" if "SORT" in cmd else b"THREAD=REF") in s.imap.cmd("CAPABILITY")]
            if len(able) < len(self.sides):
                self.said.append("%s: not at %s" % (row, [s.name for s in self.sides if s not in able]))
            all_sides, self.sides = self.sides, able
            self.each(row + ", first time", lambda s: result(s.imap.cmd(cmd)))
            self.same(row, self.each(row, lambda s: result(s.imap.cmd(cmd)), n))
            self.sides = all_sides

    def memory(self):
        for s in self.sides:
            before, more = pss_kib(s.stack.pids()), []
            for _ in range(SESSIONS):
                i = Imap(s.port())
                i.cmd("SELECT INBOX")
                more.append(i)
            time.sleep(1)
            each = (pss_kib(s.stack.pids()) - before) * 1024 / SESSIONS
            self.rows.setdefault("another session, octets each message", {}).setdefault(s.name, []).append(
                {"ms": each / self.a.messages, "cpu": None, "mib": None})
            for i in more:
                i.close()

    def flag(self):
        self.each("flag 1,000", lambda s: s.imap.cmd("STORE 1:%d +FLAGS.SILENT (\\Flagged)" % min(1000, self.a.messages)))
        self.each("flag all", lambda s: s.imap.cmd("STORE 1:* +FLAGS.SILENT (\\Answered)"))

    def copy(self):
        n = min(10000, self.a.messages // 2)
        for s in self.sides:
            s.imap.cmd("CREATE Copied")
        self.each("copy 10,000", lambda s: s.imap.cmd("COPY 1:%d Copied" % n))
        for s in self.sides:
            s.imap.cmd("STORE 1:%d +FLAGS.SILENT (\\Deleted)" % n)
        self.each("expunge 10,000", lambda s: s.imap.cmd("EXPUNGE"))

    def append(self):
        text = b"From: a@example.com\r\nSubject: appended\r\nMessage-ID: <%d@x>\r\n\r\n" + b"one line of a letter\r\n" * 100

        def some(s, first, n, imap=None):
            i = imap or Imap(s.port())
            for k in range(first, first + n):
                i.append("INBOX", text % k)
            if not imap:
                i.close()

        def by_ten(s):
            with concurrent.futures.ThreadPoolExecutor(10) as pool:
                list(pool.map(lambda k: some(s, 100 * k, 100), range(10)))
        self.each("append 1,000", lambda s: some(s, 0, 1000, s.imap), self.a.repeats)
        self.each("append 1,000, by ten", by_ten, self.a.repeats)

    def login(self):
        def cycles(s, n=20):
            for _ in range(n):
                i = Imap(s.port())
                i.cmd("SELECT INBOX")
                i.close()

        def by_ten(s):
            with concurrent.futures.ThreadPoolExecutor(10) as pool:
                list(pool.map(lambda _: cycles(s, 10), range(10)))
        self.each("20 logins, one by one", cycles, self.a.repeats)
        self.each("100 logins, by ten", by_ten, self.a.repeats)

    def rebuild(self):
        def before(s):
            s.drop_index()
            s.session()
        self.each("rebuild", lambda s: s.imap.cmd("SELECT INBOX"), 1, before)

    # ------------------------------------------------------------------------------ doveadm

    def doveadm(self):
        ref = next((s for s in self.sides if s.name == "dovecot"), None)
        if ref is None:
            return
        n = min(10000, self.a.messages // 2)
        for row, argv in (
                ("open first", ["mailbox", "status", "-u", OTHER, "messages", "INBOX"]),
                ("open warm", ["mailbox", "status", "-u", OTHER, "messages", "INBOX"]),
                ("list flags", ["fetch", "-u", OTHER, "uid flags", "mailbox", "INBOX"]),
                ("envelopes, first time", ["fetch", "-u", OTHER, "imap.envelope", "mailbox", "INBOX"]),
                ("envelopes, cached", ["fetch", "-u", OTHER, "imap.envelope", "mailbox", "INBOX"]),
                ("search subject", ["search", "-u", OTHER, "mailbox", "INBOX", "subject", storeload.SUBJECT_WORD]),
                ("search body", ["search", "-u", OTHER, "mailbox", "INBOX", "body", storeload.BODY_WORD]),
                ("flag 1,000", ["flags", "add", "-u", OTHER, "\\Flagged", "mailbox", "INBOX", "1:1000"]),
                ("flag all", ["flags", "add", "-u", OTHER, "\\Answered", "mailbox", "INBOX", "all"]),
                ("-", ["mailbox", "create", "-u", OTHER, "Copied"]),
                ("copy 10,000", ["copy", "-u", OTHER, "Copied", "mailbox", "INBOX", "1:%d" % n]),
                ("expunge 10,000", ["expunge", "-u", OTHER, "mailbox", "INBOX", "1:%d" % n]),
                ("rebuild", ["force-resync", "-u", OTHER, "INBOX"])):
            began = time.perf_counter()
            try:
                ref.stack.run("doveadm", *argv, timeout=1800)
            except Failed as e:
                self.said.append("doveadm %s: %s" % (argv[0], str(e)[:200]))
                continue
            if row != "-":
                self.add(row, "doveadm", {"ms": (time.perf_counter() - began) * 1000})

    def table(self):
        def mid(row, side, key):
            v = [g.get(key) for g in self.rows[row].get(side, []) if g.get(key) is not None]
            return statistics.median(v) if v else None

        def show(x):
            return "-" if x is None else "%.0f" % x if x >= 100 else "%.1f" % x if x >= 10 else "%.2f" % x
        head = ["", "Postern ms", "Dovecot ms", "ratio", "doveadm ms", "CPU ms", "CPU ms, Dovecot", "MiB", "MiB, Dovecot", "n"]
        out = [head]
        for row, at in self.rows.items():
            p, d = mid(row, "postern", "ms"), mid(row, "dovecot", "ms")
            out.append([row, show(p), show(d), "%.2f" % (p / d) if p is not None and d else "-", show(mid(row, "doveadm", "ms")),
                        show(mid(row, "postern", "cpu")), show(mid(row, "dovecot", "cpu")), show(mid(row, "postern", "mib")),
                        show(mid(row, "dovecot", "mib")), str(max(len(v) for v in at.values()))])
        widths = [max(len(line[i]) for line in out) for i in range(len(head))]
        return "\n".join(["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip()
                          for line in out] + self.said)


ROWS = ("open", "list", "fetch", "search", "sort", "memory", "flag", "copy", "append", "login", "rebuild", "doveadm")


def parse(argv):
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--messages", type=int, default=storeload.COUNT)
    ap.add_argument("--repeats", type=int, default=3, help="of what can be repeated")
    ap.add_argument("--rows", default=",".join(ROWS), help="which of " + ",".join(ROWS))
    ap.add_argument("--only", choices=("postern", "dovecot"))
    ap.add_argument("--json", metavar="FILE")
    return ap.parse_args(argv)


def measure(a):
    template = storeload.mailbox(os.path.join(TOP, "build"), a.messages)
    subprocess.run(["grep", "-rqz", "no such words", template])  # in the page cache for both, not read from the disk for the first
    folder = tempfile.mkdtemp(prefix="bench.", dir=build())
    os.chmod(folder, 0o755)
    at_end(subprocess.run, ["rm", "-rf", "--one-file-system", folder])
    sides = []
    for name in ([a.only] if a.only else ["postern", "dovecot"]):
        work = os.path.join(folder, name[0])
        users = {USER: "pass", OTHER: "pass"}
        stack = Stack(work, users=users, extra_conf=["mail_max_userip_connections = 100"]) if name == "postern" else RefStack(work, users=users)
        at_end(stack.stop)
        sides.append(Side(name, stack, template))
    b = Bench(a, sides)
    try:
        for s in sides:
            s.session()
        for row in a.rows.split(","):
            if row not in ("open", "rebuild", "doveadm"):
                for s in sides:
                    s.session().cmd("SELECT INBOX")
            getattr(b, row)()
    finally:
        print(b.table(), flush=True)
        if a.json:
            with open(a.json, "w") as f:
                json.dump({"cpus": os.cpu_count(), "options": vars(a), "rows": b.rows, "said": b.said}, f, indent=1)


@case
def store():
    measure(parse(shlex.split(os.environ.get("BENCH", ""))))


main()
