#!/usr/bin/env python3
# A client that is away and comes back with what it knew (RFC 7162 §3.2.5) must know afterwards what one that selects afresh
# sees, whatever happened in between: random work by another client and by a foreign program in the Maildir, a client that
# keeps its cache by the book (§6) and loses its connection anywhere, also inside a response. SEED=N begins there; ROUNDS=N
# visits instead of 40.
# timeout: 240
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import MESSAGES, Client
from stack import Stack

SEED = int(os.environ.get("SEED") or random.randrange(1 << 31))
ROUNDS = int(os.environ.get("ROUNDS") or 40)
FLAGS = ["\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted", "$Work", "$Later", "Junk"]
USERS = ["q0@example.com", "q1@example.com", "q2@example.com"]
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=USERS, extra_conf=["disable_plaintext_auth = no"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def numbers(text):
    """The numbers of a set."""
    out = []
    for part in text.split(","):
        a, _, b = part.partition(":")
        out += range(int(a), int(b or a) + 1)
    return out


def as_set(uids):
    """A set of numbers, in ranges."""
    out, uids = [], sorted(uids)
    while uids:
        n = 1
        while n < len(uids) and uids[n] == uids[0] + n:
            n += 1
        out.append("%d" % uids[0] if n == 1 else "%d:%d" % (uids[0], uids[n - 1]))
        uids = uids[n:]
    return ",".join(out)


def flags_of(text):
    return frozenset(text.split()) - {"\\Recent"}


class Plain:
    """A client that is always there, and one that looks afresh."""

    def __init__(self, user):
        self.c = Client(("127.0.0.1", stack().ports["imap"]), 60)
        self.c.login(USERS[user], "pass")

    def do(self, text, may_fail=False):
        self.c.send(("t " + text + "\r\n").encode())
        untagged = []
        while True:
            r = self.c.response().decode()
            if r.startswith("t "):
                check(may_fail or r.startswith("t OK"), "%s: %s" % (text, r))
                return untagged
            untagged.append(r)

    def append(self, mailbox, flags):
        m = MESSAGES["simple"].encode()
        self.c.send(b"t APPEND %s (%s) {%d+}\r\n" % (mailbox.encode(), " ".join(flags).encode(), len(m)) + m + b"\r\n")
        while not self.c.response().startswith(b"t OK"):
            pass

    def truth(self):
        """uid: flags, as one who never was here sees it, and HIGHESTMODSEQ."""
        said = self.do("EXAMINE INBOX (CONDSTORE)")
        modseq = int(re.search(r"HIGHESTMODSEQ (\d+)", "".join(said)).group(1))
        uids = {}
        for r in self.do("UID FETCH 1:* (FLAGS)"):
            m = re.match(r"\* \d+ FETCH \((?=.*UID (\d+))(?=.*FLAGS \(([^)]*)\))", r)
            if m:
                uids[int(m.group(1))] = flags_of(m.group(2))
        self.do("UNSELECT")
        return uids, modseq


class Away:
    """By the book: flags and UIDs as they are told, HIGHESTMODSEQ at each tagged response."""

    def __init__(self, user, rng, is_uidonly):
        self.user, self.rng, self.is_uidonly = user, rng, is_uidonly
        self.validity, self.modseq, self.flags = None, 0, {}
        self.c, self.order, self.trace, self.exists = None, [], [], 0
        self.top = 0 # all UIDs up to there were told

    def connect(self):
        self.c = Client(("127.0.0.1", stack().ports["imap"]), 60)
        self.c.login(USERS[self.user], "pass")
        self.do("ENABLE QRESYNC" + (" UIDONLY" if self.is_uidonly else ""))

    def hear(self, r):
        """One untagged response."""
        self.trace.append(r)
        m = re.match(r"\* OK \[(\w+) (\d+)\]", r)
        if m and m.group(1) == "HIGHESTMODSEQ":
            self.told_highest = int(m.group(2))
        elif m and m.group(1) == "UIDVALIDITY":
            check(self.validity in (None, m.group(2)), "UIDVALIDITY changed")
            self.validity = m.group(2)
        m = re.match(r"\* (\d+) EXISTS", r)
        if m:
            self.exists = int(m.group(1))
        m = re.match(r"\* VANISHED( \(EARLIER\))? (\S+)$", r)
        if m:
            self.has_vanished = self.has_vanished or not m.group(1)
            for uid in numbers(m.group(2)):
                self.flags.pop(uid, None)
                if not m.group(1):
                    self.exists -= 1
                    if uid in self.order:
                        self.order.remove(uid)
                    else:
                        check(len(self.order) <= self.exists, "VANISHED %d, which never was told" % uid)
        check(not re.match(r"\* \d+ EXPUNGE", r), "EXPUNGE with QRESYNC")
        check(not (self.is_uidonly and re.match(r"\* \d+ FETCH ", r)), "FETCH with UIDONLY")
        m = re.match(r"\* (\d+) (UID)?FETCH \((.*)\)$", r)
        if m:
            self.fetched(int(m.group(1)), m.group(3))

    def fetched(self, number, items):
        uid = number if self.is_uidonly else int(re.search(r"UID (\d+)", items).group(1))
        flags = re.search(r"FLAGS \(([^)]*)\)", items)
        modseq = re.search(r"MODSEQ \((\d+)\)", items)
        if not self.is_uidonly and self.order is not None:
            if number <= len(self.order):
                check(self.order[number - 1] == uid, "%d is UID %d, told %d" % (number, self.order[number - 1], uid))
            elif number == len(self.order) + 1:
                self.order.append(uid)
        elif self.order is not None and uid not in self.order:
            self.order.append(uid)
        if flags:
            self.flags[uid] = flags_of(flags.group(1))
        else: # our own change: the rest of it we know
            check(uid in self.flags, "MODSEQ alone of UID %d, which is not known" % uid)
            check(self.change, "MODSEQ alone of UID %d, which we have not changed" % uid)
            op, flag = self.change
            self.flags[uid] = self.flags[uid] | {flag} if op == "+" else self.flags[uid] - {flag} if op == "-" else frozenset({flag})
        if modseq:
            check(int(modseq.group(1)) > 0, "MODSEQ 0")
            self.told_modseq = max(self.told_modseq, int(modseq.group(1)))

    def do(self, text, lose_after=None):
        """False: the connection was lost after so many responses."""
        self.trace = self.trace[-60:] + [text]
        self.told_highest = self.told_modseq = 0
        self.has_vanished = False
        m = re.search(r"STORE .*([ +-])FLAGS\.SILENT \((.*)\)", text)
        self.change = m and m.groups()
        self.c.send(("q " + text + "\r\n").encode())
        while True:
            if lose_after is not None and lose_after == 0:
                self.trace.append("(connection lost)")
                self.c.close()
                return False
            r = self.c.response().decode()
            lose_after = lose_after - 1 if lose_after is not None else None
            if r.startswith("+ "): # IDLE
                self.meanwhile()
                self.c.send(b"DONE\r\n")
                continue
            if not r.startswith("q "):
                self.hear(r)
                continue
            self.trace.append(r)
            m = re.match(r"q OK \[HIGHESTMODSEQ (\d+)\]", r)
            if m:
                self.told_highest = int(m.group(1))
            check(r.startswith("q OK"), "%s: %s" % (text, r))
            check(self.told_highest or not self.has_vanished, "%s: VANISHED without HIGHESTMODSEQ" % text) # §3.2.7
            if self.told_highest:
                self.modseq = self.told_highest
            else:
                self.modseq = max(self.modseq, self.told_modseq)
            return True

    def select(self):
        """Come back, with more or less of what is known."""
        known = sorted(self.flags)
        param, form = "", self.rng.randrange(3)
        if len(self.order or []) != self.exists: # some were told as EXISTS alone: it must say which it knows
            form = self.rng.choice([1, 2])
        if self.validity is not None and self.modseq > 0 and (known or form == 0):
            param = "%s %d" % (self.validity, self.modseq)
            if form > 0 and known:
                param += " 1:%d" % known[-1] if self.rng.random() < 0.5 else " " + as_set(known)
            if form == 2 and known and not self.is_uidonly:
                some = sorted(self.rng.sample(range(len(known)), self.rng.randint(1, min(6, len(known)))))
                param += " (%s %s)" % (as_set([i + 1 for i in some]), ",".join("%d" % known[i] for i in some))
            param = " (QRESYNC (%s))" % param
        was_whole, self.order = len(self.order) == self.exists, None
        if not self.do("SELECT INBOX" + param, self.rng.choice([None, None, None, self.rng.randrange(30)])):
            self.order, self.exists = [], 0 if was_whole else -1
            return False
        self.order = sorted(uid for uid in self.flags)[:self.exists]
        return self.learn_new()

    def learn_new(self):
        """Messages that came."""
        self.order = [uid for uid in self.order if uid <= self.top] # above that some may be known by their flags, and some not
        if not self.do("UID FETCH %d:* (FLAGS)" % (self.top + 1)):
            return False
        self.order = sorted(self.flags)
        self.top = max([self.top, *self.flags])
        check(len(self.order) == self.exists, "EXISTS %d, but %d UIDs are known: %s" % (self.exists, len(self.order), self.order))
        return True

    def visit(self, other, work):
        """Be there for a while, with others at work."""
        self.meanwhile = lambda: (work(other, self.rng.randrange(3)), time.sleep(self.rng.choice([0, 0, 0.1])))
        self.connect()
        if not self.select():
            return
        for _ in range(self.rng.randrange(6)):
            work(other, self.rng.randrange(3))
            uid = self.rng.choice(sorted(self.flags) or [1])
            flag = self.rng.choice(FLAGS)
            kind = self.rng.choice(["UID STORE %d +FLAGS (%s)", "UID STORE %d -FLAGS.SILENT (%s)", "UID STORE %d FLAGS.SILENT (%s)"])
            number = "%d" % self.rng.randint(1, max(1, self.exists))
            plain = ["NOOP"] if self.is_uidonly or self.exists == 0 else [
                "FETCH %s (UID FLAGS)" % number, "STORE %s +FLAGS (%s)" % (number, flag), "SEARCH ALL",
                "STORE %s (UNCHANGEDSINCE %d) +FLAGS.SILENT (%s)" % (number, self.modseq, flag)]
            text = self.rng.choice(["NOOP", "IDLE", "IDLE", "EXPUNGE", "UID EXPUNGE %d:*" % uid, kind % (uid, flag),
                                    "UID STORE %d (UNCHANGEDSINCE %d) +FLAGS (%s)" % (uid, self.modseq, flag), *plain, *plain])
            if not self.do(text, self.rng.choice([None] * 8 + [self.rng.randrange(5)])):
                return
            if len(self.order) != self.exists and self.rng.random() < 0.7 and not self.learn_new():
                return
        self.c.close()


class World:
    def __init__(self, user, seed):
        self.rng = random.Random(seed)
        self.user = user
        self.other = Plain(user)
        self.other.do("CREATE Other")
        self.other.do("SELECT INBOX")
        self.maildir = stack().maildir(USERS[user])

    def outside(self):
        """What a foreign program does: takes a file away, gives one other flags, puts one in."""
        cur = os.path.join(self.maildir, "cur")
        name = self.rng.choice(sorted(os.listdir(cur)) or [""])
        what = self.rng.randrange(3)
        if what == 0 and name:
            os.unlink(os.path.join(cur, name))
        elif what == 1 and ":2," in name:
            base, _, flags = name.partition(":2,")
            flags = set(flags) ^ {self.rng.choice("DFRST")}
            os.rename(os.path.join(cur, name), os.path.join(cur, base + ":2," + "".join(sorted(flags))))
        elif what == 2:
            self.n_outside = getattr(self, "n_outside", 0) + 1
            with open(os.path.join(self.maildir, "new", "%d.foreign.example.org" % (1700000000 + self.n_outside)), "w") as f:
                f.write("Subject: from outside\n\nhello\n")

    def work(self, other, n):
        """n things that another client does."""
        rng = self.rng
        for _ in range(n):
            flag = rng.choice(FLAGS)
            some = "%d:%d" % (rng.randint(1, 60), rng.randint(1, 60))
            what = rng.randrange(13)
            if what < 3:
                other.append("INBOX", rng.sample(FLAGS, rng.randrange(3)))
            elif what < 6:
                other.do("UID STORE %s %sFLAGS.SILENT (%s)" % (some, rng.choice(["+", "-", ""]), flag))
            elif what == 6:
                other.do("UID STORE %d +FLAGS (\\Deleted)" % rng.randint(1, 80))
            elif what == 7:
                other.do("EXPUNGE")
            elif what == 8:
                other.do("UID EXPUNGE " + some)
            elif what == 9:
                other.do("UID %s %d Other" % (rng.choice(["MOVE", "COPY"]), rng.randint(1, 80)), may_fail=True)
            elif what == 10:
                other.do("UID COPY %s INBOX" % some, may_fail=True) # EXPUNGEISSUED
            elif what == 11:
                self.outside()
            else:
                other.do("CLOSE")
                other.do("SELECT Other")
                other.do("MOVE 1:3 INBOX", may_fail=True)
                other.do("SELECT INBOX")


def play(user, is_uidonly):
    log("SEED=%d ROUNDS=%d" % (SEED, ROUNDS))
    world = World(user, SEED + user)
    away = Away(user, world.rng, is_uidonly)
    fresh = Plain(user)
    for _ in range(12):
        world.other.append("INBOX", [])
    for n in range(ROUNDS):
        try:
            away.visit(world.other, world.work)
            world.work(world.other, world.rng.randrange(8))
            away.connect()
            if not away.select():
                continue
            away.c.close()
            truth, modseq = fresh.truth()
            known = away.flags
            if known != truth:
                fail("visit %d: not there any more %s, missing %s, other flags %s" % (
                    n, sorted(set(known) - set(truth)), sorted(set(truth) - set(known)),
                    {u: (sorted(known[u]), sorted(truth[u])) for u in truth if u in known and truth[u] != known[u]}))
            equal(away.modseq, modseq, "visit %d: HIGHESTMODSEQ" % n)
        except Failed:
            log("SEED=%d, visit %d; it went before:" % (SEED, n), *("\n        " + t for t in away.trace[-40:]))
            raise


@case
def comes_back():
    play(0, False)


@case
def comes_back_without_numbers():
    play(1, True)


@case
def many_messages():
    """More than goes out at once: of a STORE, of a SELECT, and in lines that are not too long."""
    n = 4000
    new = os.path.join(stack().maildir(USERS[2]), "new")
    os.makedirs(new, exist_ok=True)
    for d in ("cur", "tmp"):
        os.makedirs(os.path.join(os.path.dirname(new), d), exist_ok=True)
    for i in range(n):
        with open(os.path.join(new, "%d.many.example.org" % (1700000000 + i)), "w") as f:
            f.write("Subject: %d\n\nhello\n" % i)
    a = Plain(2)
    a.do("ENABLE QRESYNC")
    said = "\n".join(a.do("SELECT INBOX"))
    validity, modseq = (re.search(w + r" (\d+)\]", said).group(1) for w in ("UIDVALIDITY", "HIGHESTMODSEQ"))
    check("* %d EXISTS" % n in said, "EXISTS")
    b = Plain(2)
    b.do("SELECT INBOX")
    said = b.do("STORE 1:* +FLAGS (\\Seen)")
    equal([r for r in said if "FETCH" in r], ["* %d FETCH (FLAGS (\\Seen))" % (i + 1) for i in range(n)])
    said = [r for r in a.do("NOOP") if "FETCH" in r]
    equal([r.split(" MODSEQ")[0] for r in said], ["* %d FETCH (UID %d" % (i + 1, i + 1) for i in range(n)])
    b.do("STORE %s +FLAGS.SILENT (\\Deleted)" % ",".join("%d" % i for i in range(1, n, 2)))
    b.do("EXPUNGE")
    for said in (a.do("NOOP"), a.do("SELECT INBOX (QRESYNC (%s %s))" % (validity, modseq))):
        gone = [r for r in said if r.startswith("* VANISHED")]
        check(len(gone) > 1 and max(map(len, gone)) < 9000, "lines of VANISHED: %s" % [len(r) for r in gone])
        equal(sorted(u for r in gone for u in numbers(r.split(" ")[-1])), list(range(1, n, 2)))
    kept = [r for r in said if "FETCH" in r]
    equal([r.split(" FLAGS")[0] for r in kept], ["* %d FETCH (UID %d" % (i + 1, 2 * i + 2) for i in range(n // 2)])


main()
