"""One recorded run of a Postern under load, and Posterns started on what power cuts at any point of it would have left.

    run = Run(seconds=6, seed=1)
    for problem in run.cut_many(100): ...
"""
import os
import queue
import random
import shutil
import signal
import smtplib
import threading
import time

from harness import *
from mailload import ALIASES, READERS, USERS, Command, Imap, Ledger, Load, Mailboxes, Reader, Sink, conf, text_of
from powercut import MODES, Disk, Journal
from stack import PORTS, Stack

FOUND_S = 30
BLOCKS = 1200  # more than store/'s blocks of UIDs (512) and MODSEQs (1024)
WORKERS = 2
ALARMS = ("panic", "Sanitizer:", "runtime error:", "fatal", "is damaged", "are damaged", "salvage", "cannot open", "malformed", "has no row")


def scratch(name):
    """A folder in memory when there is one: syncs of the replays are not what is looked at."""
    here = os.path.dirname(tmp("cuts"))
    top = os.path.join("/dev/shm", os.path.basename(here)) if os.access("/dev/shm", os.W_OK) else tmp("cuts")
    if not os.path.isdir(top):
        os.makedirs(top)
        at_end(shutil.rmtree, top, True)
    return os.path.join(top, name)


class Cut:
    def __init__(self, seq, mode, seed, what=""):
        self.seq, self.mode, self.seed, self.what = seq, mode, seed, what

    def __str__(self):
        return "cut at %d (%s, seed %d%s)" % (self.seq, self.mode, self.seed, self.what and ", after " + self.what)


class Run:
    def __init__(self, seconds, seed, pause_s=0.06, env=(), readers=2, kills=False, last_thing=None):
        self.seed, self.random = seed, random.Random(seed)
        self.book = Ledger()
        self.sink = Sink(self.book)
        s = self.stack = Stack(tmp("rec%s" % seed), users=USERS + READERS, aliases=ALIASES, extra_conf=conf(self.sink.port))
        s.configure()
        self.journal = Journal(tmp("journal%s" % seed), s.workdir)
        self.book.mark = self.journal.mark
        # Who comes after one that died in a sync must not take for synced what that one only wrote.
        env = self.journal.env(**dict(env), **({"FAULT_KILL": "40"} if kills else {}))
        s.wrapper = ["env"] + ["%s=%s" % e for e in env.items()]
        s.start()
        self.first = self.journal.mark("begin")
        self.load = Load(s, self.book, seed=seed, pause_s=pause_s, env=dict(os.environ, **env), readers=readers)
        if not kills:
            self.drop_without_qmgr()
        self.load.run(seconds)
        self.before_blocks = self.journal.mark("numbers beyond their blocks")
        if last_thing is not None:
            last_thing(self)
        elif not kills:
            self.cross_blocks()
        self.last = self.journal.mark("end")
        s.stop()
        self.sink.close()
        check(not self.journal.strange(), "the fault layer met what it does not know: %s" % self.journal.strange())
        for c in self.load.clients:
            check(c.n > 0 or isinstance(c, Reader), "%s did nothing: %r" % (c.name, c.trouble))
        self.replay_count = 0

    def drop_without_qmgr(self):
        """What sendmail leaves while nobody can take it over is in maildrop and nowhere else."""
        command = next((c for c in self.load.clients if isinstance(c, Command)), None)
        stopped = self.stack.pids_of("qmgr") if command else []
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        for _ in range(6 if command else 0):
            command.submit()
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)

    def cross_blocks(self):
        """So many new messages in a mailbox that neither UIDs nor MODSEQs reserved before are enough."""
        user, folder, token = READERS[0], "INBOX", "pc-blocks-1-0"
        imap = Imap(self.stack.ports["imap"], user)
        try:
            answer = imap.cmd("APPEND " + folder, text_of(token, 0).encode())[0]
            validity, first = (int(n) for n in answer.split("[APPENDUID ")[1].split("]")[0].split())
            imap.select(folder)
            last = first
            while last - first < BLOCKS:
                imap.cmd("UID COPY %d:%d %s" % (first, last, folder))
                imap.cmd("NOOP")
                last = max(uid for uid, _token, _flags in imap.subjects("%d:*" % first))
            for uid, what, _flags in imap.subjects("%d:*" % first):
                self.book.note("told", user=user, folder=folder, validity=validity, uid=uid, token=what)
            validity, uidnext, modseq = imap.select(folder)
            self.book.note("seen", user=user, folder=folder, validity=validity, uidnext=uidnext, modseq=modseq)
        finally:
            imap.close()

    def forget(self):
        """Its journal, which is long."""
        os.unlink(self.journal.path)

    def summary(self):
        count = {}
        for r in self.journal.records():
            count[r.op] = count.get(r.op, 0) + 1
        kinds = {}
        for _seq, kind, _f in self.book.events:
            kinds[kind] = kinds.get(kind, 0) + 1
        return "seed %s, %d kills: %s; %s" % (self.seed, self.journal.library.journal_kills(), kinds, {k: count[k] for k in sorted(count)})

    def choose(self, n, modes=MODES):
        """Cuts: half of them when a client has just heard something, the others anywhere."""
        told = {}
        for seq, kind, _f in self.book.events:
            if kind in ("ok", "told", "sink"):
                told.setdefault(kind, []).append((seq, kind))
        cuts = []
        for i in range(n):
            mode, seed = modes[i % len(modes)], self.random.randrange(1 << 30)
            if i // len(modes) % 2 == 0:
                points = self.random.choice(list(told.values()))
                if i // len(modes) % 4 == 0:  # when nothing has been there for long
                    points = points[:len(points) // 20 + 1]
                seq, what = self.random.choice(points)
                cuts.append(Cut(seq, mode, seed, what))
            else:
                cuts.append(Cut(self.random.randrange(self.first, self.last), mode, seed))
        return sorted(cuts, key=lambda c: c.seq)

    def cut_many(self, cuts, forgets=None, enough=None, clock_s=0, found_s=FOUND_S):
        """[(cut, problem)]; ends early when there are `enough`."""
        disk, todo, problems = Disk(self.journal, forgets), queue.Queue(WORKERS), []
        workers = [threading.Thread(target=self.work, args=(todo, problems, clock_s, found_s), daemon=True) for _ in range(WORKERS)]
        for w in workers:
            w.start()
        for cut in cuts:
            if enough and len(problems) >= enough:
                break
            disk.advance(cut.seq)
            self.replay_count += 1
            out = scratch("c%d" % self.replay_count)
            disk.build(out, random.Random(cut.seed), cut.mode)
            todo.put((cut, out))
        for _ in workers:
            todo.put(None)
        for w in workers:
            w.join()
        return problems

    def cut_twice(self, cuts, each):
        """What is left of what a cut left, when there is another one while Postern starts again. As cut_many()."""
        disk, problems, ports = Disk(self.journal), [], {n: free_port() for n in PORTS}
        for cut in cuts:
            disk.advance(cut.seq)
            self.replay_count += 1
            out = scratch("d%d" % self.replay_count)
            disk.build(out, random.Random(cut.seed), cut.mode)
            first = Replay(self, cut, out, ports, 0, 0, is_journaled=True)
            last = first.live(3)
            again = Disk(first.journal)
            for seq in sorted(self.random.randrange(1, last) for _ in range(each)):
                second = Cut(cut.seq, self.random.choice(MODES), self.random.randrange(1 << 30), "and again at %d" % seq)
                again.advance(seq)
                self.replay_count += 1
                left = scratch("d%d" % self.replay_count)
                again.build(left, random.Random(second.seed), second.mode)
                try:
                    found = Replay(self, second, left, ports, 0, FOUND_S, sunk=first.book.sunk(seq)).run()
                except Exception as e:  # noqa: BLE001 - told with its cut
                    found = ["%s: %s" % (type(e).__name__, e)]
                problems += [("%s, first %s" % (second, cut), p) for p in found]
                if not (found and os.environ.get("POSTERN_KEEP")):
                    shutil.rmtree(left, ignore_errors=True)
            shutil.rmtree(out, ignore_errors=True)
            os.unlink(first.journal.path)
        return problems

    def work(self, todo, problems, clock_s, found_s):
        ports = {n: free_port() for n in PORTS}
        while (job := todo.get()) is not None:
            cut, out = job
            replay = Replay(self, cut, out, ports, clock_s, found_s)
            try:
                found = replay.run()
            except Exception as e:  # noqa: BLE001 - told with its cut
                found = ["%s: %s" % (type(e).__name__, e)]
            problems += [(cut, p) for p in found]
            if not (found and os.environ.get("POSTERN_KEEP")):
                shutil.rmtree(out, ignore_errors=True)


class Replay:
    """Postern on what a cut left."""

    def __init__(self, run, cut, out, ports, clock_s, found_s, sunk=(), is_journaled=False):
        self.r, self.cut, self.problems, self.found_s, self.sunk = run, cut, [], found_s, list(sunk)
        self.book = Ledger()
        self.sink = Sink(self.book)
        self.sink.late = None
        s = self.stack = Stack(out, users=USERS + READERS, aliases=ALIASES, ports=ports, keep=True,
                               extra_conf=conf(self.sink.port, dead_port=self.sink.port))
        s.certificate = (s.path("tls", "fullchain.pem"), s.path("tls", "privkey.pem"))
        s.configured = True
        s.write_main_cf()
        with open(s.path("boot_id"), "w") as f:
            f.write("%s\n" % cut.seed)
        env = {"LD_PRELOAD": helper("fault/journal.so"), "FAULT_BOOT_ID": s.path("boot_id"), "FAULT_CLOCK_S": "%d" % clock_s}
        if is_journaled:
            self.journal = Journal(tmp("again%d" % run.replay_count), out)
            self.book.mark = self.journal.mark
            env.update(self.journal.env())
        s.wrapper = ["env"] + ["%s=%s" % e for e in env.items()]

    def live(self, seconds):
        """Start and go on so long; the journal's last number."""
        process = self.stack.start().process
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.is_idle():
            time.sleep(0.1)
        last = self.journal.mark("end")
        self.stack.stop()
        self.sink.close()
        forget(process)
        return last

    def bad(self, what):
        self.problems.append(what)

    def run(self):
        process = None
        try:
            process = self.stack.start().process
            self.mail()
            for user in READERS:
                self.reader(user)
            self.queue_ids()
        finally:
            log_text = self.stack.log() if self.stack.process else ""
            try:
                self.stack.stop()
            finally:
                self.sink.close()
        for line in log_text.splitlines():
            if any(a in line for a in ALARMS):
                self.bad("log: " + line)
        if not self.problems:
            forget(process)
        return self.problems

    def mail(self):
        """Everything that had been accepted is somewhere, in the end; and nothing is there that was not sent."""
        boxes, want = Mailboxes(self.stack.mail_root), self.r.book.expected(self.cut.seq)
        sunk = self.r.book.sunk(self.cut.seq) + self.sunk
        end = time.monotonic() + self.found_s
        while True:
            found = boxes.look()
            arrived = set(found) | {("sink", t) for t in sunk} | {("sink", t) for t, ok in self.sink.found if ok}
            missing = want - arrived
            if not missing or time.monotonic() > end or (boxes.broken and self.is_idle()):
                break
            if self.is_idle():  # what was on its way in the last look is there now
                found = boxes.look()
                arrived |= set(found) | {("sink", t) for t, ok in self.sink.found if ok}
                missing = want - arrived
                break
            time.sleep(0.05)
        for place, token in sorted(missing, key=str)[:3]:
            self.bad("%s of %s is lost" % (token, place))
        if len(missing) > 3:
            self.bad("and %d more" % (len(missing) - 3))
        for path in boxes.broken[:3]:
            self.bad("not what was sent: " + path)
        for token, ok in self.sink.found:
            if not ok:
                self.bad("the other host got something else than was sent: %s" % token)

    def is_idle(self):
        dropped = os.path.join(self.stack.queue_dir, "maildrop")
        waits = os.path.isdir(dropped) and any(not n.startswith("new.") for n in os.listdir(dropped))
        return not waits and not self.stack.postern("queue", "list", "--json").strip()

    def reader(self, user):
        told, top = {}, {}
        for kind, f in self.r.book.until(self.cut.seq, "told", "seen"):
            if f["user"] != user:
                continue
            now = top.setdefault(f["folder"], {"validity": 0, "uid": 0, "uidnext": 0, "modseq": 0})
            if f["validity"] > now["validity"]:
                now.update(validity=f["validity"], uid=0, uidnext=0, modseq=0)
            for key in ("uid", "uidnext", "modseq"):
                now[key] = max(now[key], f.get(key, 0))
            if kind == "told":
                told[(f["folder"], f["validity"], f["uid"])] = f["token"]
        imap = Imap(self.stack.ports["imap"], user)
        try:
            for folder, was in top.items():
                self.folder(imap, user, folder, was, told)
        finally:
            imap.close()

    def folder(self, imap, user, folder, was, told):
        where = "%s of %s" % (folder, user)
        validity, uidnext, modseq = imap.select(folder)
        if validity < was["validity"]:
            self.bad("%s: UIDVALIDITY is %d, was %d" % (where, validity, was["validity"]))
        if validity == was["validity"]:
            for word, got, least in (("UIDNEXT", uidnext, max(was["uidnext"], was["uid"] + 1)),
                                     ("HIGHESTMODSEQ", modseq, was["modseq"])):
                if got < least:
                    self.bad("%s: %s is %d, was %d" % (where, word, got, least))
        answer = imap.cmd("APPEND " + folder, text_of("pc-after-1-0", 0).encode())[0]
        new = int(answer.split("[APPENDUID ")[1].split()[1].rstrip("]"))
        imap.cmd("NOOP")
        for uid, token, flags in imap.subjects():
            other = told.get((folder, validity, uid))
            if other and other != token:
                self.bad("%s: UID %d was %s and is %s" % (where, uid, other, token))
            if any(f.startswith("unknown") for f in flags):
                self.bad("%s: UID %d has a keyword whose meaning is lost: %s" % (where, uid, flags))
        if (folder, validity, new) in told:
            self.bad("%s: UID %d is given again" % (where, new))

    def queue_ids(self):
        with smtplib.SMTP("127.0.0.1", self.stack.ports["smtp"], local_hostname="client.example.com", timeout=20) as c:
            c.ehlo()
            c.mail("a@example.com")
            c.rcpt(USERS[0])
            code, text = c.data(text_of("pc-after-2-0", 0))
        if code != 250:
            self.bad("new mail is not taken: %d %s" % (code, text))
        elif text.split()[-1].decode() in self.r.book.ids(self.cut.seq):
            self.bad("queue id %s is given again" % text.split()[-1].decode())
