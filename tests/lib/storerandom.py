"""Random work at one user's mail (tests/store/random_main.c), and what must be true of it afterwards.

    play = Play("name", seed)
    play.work(seconds=8, kill_ms=60)         processes work and are killed
    problems = play.judge()                  the store, the files, and the facts told before

Facts are lines that the workers write: what is about to be tried, what was answered, what a UID was seen to mean. They stay
true for whoever works at the same Maildir later, also after a power cut (those told before it).

A token is the name of a message. How many messages have it at the end is known unless somebody had it expunged ("leave"),
or a foreign program moved it about: each APPEND, COPY and delivery answered OK is one more, a MOVE none, and what was
answered with a failure, or not at all, is there whole or not at all.
"""
import collections
import os
import random
import re
import shutil
import sqlite3
import subprocess
import time

from harness import *
from powercut import MODES, Disk, Journal

BOX_LETTERS = 26
CONF = "quota = count:User quota\nquota_rule = *:storage=10G\n"
SYS_LETTERS = {"S": 1, "R": 2, "F": 4, "T": 8, "D": 16}
OWN = 12
Row = collections.namedtuple("Row", "box uid sys kws modseq size date token subject email")


def env_of(extra=None):
    return dict(os.environ, **(extra or {}))


class Fact:
    __slots__ = ("at", "seq", "pid", "kind", "args")

    def __init__(self, at, seq, pid, kind, args):
        self.at, self.seq, self.pid, self.kind, self.args = at, seq, pid, kind, args

    def __str__(self):
        return "#%d (journal %d) process %s: %s %s" % (self.at, self.seq, self.pid, self.kind, " ".join(self.args))


class Facts:
    """In a form to ask."""

    def __init__(self, path):
        self.all = []
        if os.path.exists(path):
            with open(path) as f:
                for at, line in enumerate(f):
                    w = line.split()
                    self.all.append(Fact(at, int(w[0]), w[1], w[2], w[3:]))
        self.trouble = []
        self.meaning, self.must, self.moved = {}, [], {}
        self.leave, self.foreign, self.going, self.boxleave = set(), set(), set(), set()
        self.tries = {}                       # op -> (kind, [token...])
        self.state = {}                       # op -> "done" or "not"
        self.again = collections.Counter()    # token -> deliveries tried again
        self.high = set()                     # keywords that the index alone knew of somewhere
        self.top = {}                         # uidvalidity -> [uidnext, modseq]
        for f in self.all:
            getattr(self, "on_" + f.kind)(*f.args)

    def mean(self, validity, uid, token):
        was = self.meaning.setdefault((int(validity), int(uid)), int(token))
        if was != int(token):
            self.trouble.append(("UID %s of UIDVALIDITY %s was %s and is %s" % (uid, validity, was, token), was, int(token)))

    def on_try(self, op, kind, token, _box):
        self.tries.setdefault(op, (kind, []))[1].append(int(token))

    def on_done(self, op):
        self.state[op] = "done"

    def on_not(self, op):
        self.state[op] = "not"

    def on_inst(self, validity, uid, token):
        self.mean(validity, uid, token)

    def on_must(self, validity, uid, token):
        self.mean(validity, uid, token)
        self.must.append((int(validity), int(uid), int(token)))

    def on_moved(self, validity, uid, token):
        key = int(validity), int(uid)
        if key in self.moved:
            self.trouble.append(("UID %s of UIDVALIDITY %s was moved twice" % (uid, validity), int(token), None))
        self.moved[key] = int(token)

    def on_going(self, validity, uid):
        self.going.add((int(validity), int(uid)))

    def on_leave(self, token, _why):
        self.leave.add(int(token))

    def on_foreign(self, token):
        self.foreign.add(int(token))

    def on_boxleave(self, validity):
        self.boxleave.add(int(validity))

    def on_again(self, _op, token):
        self.again[int(token)] += 1

    def on_modseq(self, validity, uidnext, modseq):
        was = self.top.setdefault(int(validity), [0, 0])
        was[0], was[1] = max(was[0], int(uidnext)), max(was[1], int(modseq))

    def on_rebuilt(self):
        """The index went: nothing holds of UIDs but that they never mean another message."""
        self.must, self.top = [], {}

    def on_cut(self):
        """A message may have another UID; a UID no other message."""
        self.must = []

    def on_cross(self):
        pass

    def on_high(self, keyword):
        self.high.add(keyword)

    def trail(self, *tokens):
        """What is known of some messages."""
        want = {str(t) for t in tokens if t is not None}
        ops = {op for op, (_k, ts) in self.tries.items() if want & {str(t) for t in ts}}
        uids = {(str(v), str(u)) for (v, u), t in self.meaning.items() if str(t) in want}
        out = []
        for f in self.all:
            if (f.kind in ("inst", "must", "moved") and f.args[2] in want) or (f.kind in ("leave", "foreign") and f.args[0] in want) \
                    or (f.kind in ("done", "not", "again") and f.args[0] in ops) \
                    or (f.kind == "try" and f.args[2] in want) or (f.kind == "going" and tuple(f.args) in uids):
                out.append(str(f))
        return out[-30:]


class Dump:
    """What the store tells of everything."""

    def __init__(self, text):
        self.boxes, self.rows, self.status, self.trouble, self.keywords = {}, [], {}, [], {}
        is_whole, self.quota = False, None
        for line in text.splitlines():
            w = line.split("\t")
            if w[0] == "box":
                self.boxes[w[1]] = tuple(int(x) for x in w[2:])
            elif w[0] == "row":
                self.rows.append(Row(w[1], int(w[2]), int(w[3]), frozenset(filter(None, w[4].split(","))), int(w[5]), int(w[6]),
                                     int(w[7]), int(w[8]), int(w[9]), w[10]))
            elif w[0] == "status":
                self.status[w[1]] = tuple(int(x) for x in w[2:])
            elif w[0] == "keyword":
                self.keywords.setdefault(w[1], []).append(w[3])
            elif w[0] == "quota":
                self.quota = int(w[1]), int(w[2])
            elif w[0] == "trouble":
                self.trouble.append(" ".join(w[1:]))
            is_whole = is_whole or w[0] == "end"
        if not is_whole:
            self.trouble.append("the dump is cut off: " + text[-500:])

    def by_box(self):
        out = {b: [] for b in self.boxes}
        for r in self.rows:
            out.setdefault(r.box, []).append(r)
        return out

    def contents(self):
        """All that an index made anew must have again."""
        out = collections.Counter()
        for r in self.rows:
            lettered = set(self.keywords.get(r.box, [])[:BOX_LETTERS])
            out[r.box, r.token, r.sys, tuple(sorted(r.kws & lettered)), r.size, r.date] += 1
        return out


def folder_of(box):
    return "" if box == "INBOX" else "." + box


class Play:
    def __init__(self, name, seed, folder=None, facts=None, env=None):
        self.name, self.seed, self.env = name, seed, dict({"RANDOM_CONF": CONF}, **(env or {}))
        self.folder = folder or tmp("play-" + name)
        top = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp()
        self.facts_path = facts or os.path.join(top, "%s.facts" % os.path.basename(tmp()) + name)
        if facts is None:
            at_end(self.forget)
            self.forget()
        os.makedirs(self.folder, exist_ok=True)
        self.root = os.path.join(self.folder, "example.org", "bob")

    def forget(self):
        if os.path.exists(self.facts_path):
            os.unlink(self.facts_path)

    # ------------------------------------------------------------------------------ processes

    def work(self, seconds, kill_ms=60, workers=3, outsiders=1, deliverers=1, env=None, seed=None):
        """The last line that it said. Problems that it found itself are a failure."""
        argv = [helper("store/random"), "work", self.folder, self.facts_path, seed or self.seed, seconds, workers, outsiders,
                deliverers, kill_ms]
        p = subprocess.run([str(a) for a in argv], env=env_of(dict(self.env, **(env or {}))), stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=seconds + 120)
        text = p.stdout.decode("utf-8", "backslashreplace")
        if p.returncode:
            lines = [line for line in text.splitlines() if "interrupted command" not in line]
            fail("seed %s: %s\n%s" % (self.seed, self.name, "\n".join(lines[-60:])))
        return text.splitlines()[-1]

    def dump(self):
        p = subprocess.run([helper("store/random"), "dump", self.folder], env=env_of(self.env), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=120)
        text, said = p.stdout.decode("utf-8", "backslashreplace"), p.stderr.decode("utf-8", "backslashreplace")
        d = Dump(text)
        if p.returncode:
            d.trouble.append("dump ended with %d: %s" % (p.returncode, said[-1500:]))
        d.said = said
        return d

    def settled(self):
        """A dump in which every file is a message: a scan may wait a while for the clock of the disk to tell changes apart."""
        end = time.monotonic() + 8
        while True:
            d = self.dump()
            wrong = list(self.against_files(d)) + list(self.quota(d))
            if not (wrong or d.trouble) or time.monotonic() > end:
                return d, wrong
            time.sleep(0.3)

    def files(self, box):
        """[(part, name)] of a mailbox."""
        out = []
        for part in ("new", "cur"):
            at = os.path.join(self.root, folder_of(box), part)
            if os.path.isdir(at):
                out += [(part, n) for n in os.listdir(at) if not n.startswith(".")]
        return out

    def remove_index(self):
        for n in os.listdir(self.root):
            if n.startswith("postern-index.db"):
                os.unlink(os.path.join(self.root, n))
        with open(self.facts_path, "a") as f:
            f.write("%d 0 rebuilt\n" % (1 << 62))  # of no journal

    # ------------------------------------------------------------------------------ what must hold

    def token_of(self, box, part, name):
        with open(os.path.join(self.root, folder_of(box), part, name), "rb") as f:
            m = re.search(rb"^X-Token: (\d+)", f.read(1000), re.M)
        return int(m.group(1)) if m else 0

    def against_files(self, d):
        """Flags, keywords and messages of the index are those of the files."""
        for box, rows in d.by_box().items():
            found, names = collections.Counter(), d.keywords.get(box, [])
            for part, name in self.files(box):
                base, _, info = name.partition(":2,")
                sys_flags = sum(SYS_LETTERS.get(c, 0) for c in set(info))
                kws = frozenset(names[ord(c) - 97] for c in info if "a" <= c <= "z" and ord(c) - 97 < len(names))
                try:
                    found[self.token_of(box, part, name), sys_flags, kws] += 1
                except FileNotFoundError:
                    yield "%s: %s went away" % (box, name), None
            lettered = set(names[:BOX_LETTERS])
            told = collections.Counter((r.token, r.sys, r.kws & lettered) for r in rows)
            for token, sys_flags, kws in (found - told):
                yield "%s: a file of %d with flags %d %s is no message" % (box, token, sys_flags, sorted(kws)), token
            for token, sys_flags, kws in (told - found):
                yield "%s: message %d with flags %d %s is no file" % (box, token, sys_flags, sorted(kws)), token

    def quota(self, d):
        """Usage is the sum of the files."""
        n = octets = 0
        for box in d.boxes:
            for part, name in self.files(box):
                octets += os.stat(os.path.join(self.root, folder_of(box), part, name)).st_size
                n += 1
        if d.quota != (octets, n):
            yield "quota says %s, the files are %d octets in %d messages" % (d.quota, octets, n), None

    def judge(self, is_cut=False):
        """[problem], each with the trail of the messages it is about."""
        facts = Facts(self.facts_path)
        d, wrong = self.settled()
        problems = [(w, t, None) for w, t in wrong] + [(t, None, None) for t in d.trouble] + facts.trouble
        problems += self.uids(facts, d) + self.counts(facts, d, is_cut) + self.sums(d) + self.keywords(facts, d, is_cut)
        out = []
        for what, *tokens in problems[:8]:
            out.append("\n      ".join([what] + (facts.trail(*tokens) if any(t is not None for t in tokens) else [])))
        if len(problems) > 8:
            out.append("and %d more" % (len(problems) - 8))
        return out

    def uids(self, facts, d):
        out, there = [], set()
        for r in d.rows:
            validity = d.boxes[r.box][0]
            there.add((validity, r.uid))
            was = facts.meaning.get((validity, r.uid))
            if was is not None and was != r.token:
                out.append(("%s: UID %d of UIDVALIDITY %d was %d and is %d" % (r.box, r.uid, validity, was, r.token), was, r.token))
            if r.subject != r.token:
                out.append(("%s: UID %d is %d, its ENVELOPE that of %d" % (r.box, r.uid, r.token, r.subject), r.token, r.subject))
        validities = collections.Counter(v[0] for v in d.boxes.values())
        out += [("UIDVALIDITY %d is that of %d mailboxes" % vn, None, None) for vn in validities.items() if vn[1] > 1]
        for box, (validity, uidnext, modseq, _n) in d.boxes.items():
            was = facts.top.get(validity, [0, 0])
            if uidnext < was[0] or modseq < was[1]:
                out.append(("%s: UIDVALIDITY %d: UIDNEXT is %d, MODSEQ %d; told were %d and %d"
                            % (box, validity, uidnext, modseq, *was), None, None))
        free = facts.leave | facts.foreign
        known = set(validities)
        for validity, uid, token in facts.must:
            if token in free or validity in facts.boxleave or (validity, uid) in facts.going or (validity, uid) in there:
                continue
            if validity in known:
                out.append(("UID %d of UIDVALIDITY %d was answered OK and is not there" % (uid, validity), token, None))
        return out

    def counts(self, facts, d, is_cut):
        out = []
        least, most = collections.Counter(), collections.Counter()
        open_ops, in_doubt = {}, collections.Counter()
        for op, (kind, tokens) in facts.tries.items():
            state = facts.state.get(op)
            for t in tokens:
                if kind == "m":
                    continue
                if state == "done":
                    least[t] += 1
                if state != "not":
                    most[t] += 1
            if state is None and kind != "m":
                in_doubt.update(tokens)
            if state is None and kind in "ac":
                open_ops[op] = tokens
        for t, n in facts.again.items():  # it may have been moved away before it was looked for
            most[t] += n if any(t in ts for k, ts in facts.tries.values() if k in "mc") else 0
        found = collections.Counter(r.token for r in d.rows)
        for t in set(most) | set(found):
            if t in facts.leave:
                continue
            lo, hi = least[t], most[t]
            if t in facts.foreign:
                # Its new name is not synced by that program: a cut may take it, the old one's end being ours to sync.
                lo, hi = 0 if is_cut else min(lo, 1), 1 << 30
            if found[t] < lo:
                out.append(("message %d is lost: %d of %d are there" % (t, found[t], lo), t, None))
            if found[t] > hi:
                out.append(("message %d is there %d times, it was made %d times" % (t, found[t], hi), t, None))
        # All or none of what was not answered.
        for op, tokens in open_ops.items():
            # What is not told of itself whether it is there tells nothing of this: made by a delivery without an answer, or tried again.
            sure = [t for t in tokens if t not in facts.leave and t not in facts.foreign and t not in facts.again and in_doubt[t] == 1]
            got = {found[t] - least[t] for t in sure}
            if len(got) > 1:
                some = [t for t in sure if found[t] == least[t]]
                there = [t for t in sure if t not in some]
                out.append(("half of operation %s happened: not there are %s of %s" % (op, some, sure), there[0], some[0] if some else there[-1]))
        return out

    def sums(self, d):
        out = []
        for box, rows in d.by_box().items():
            n, unseen, deleted, uidnext, validity, _modseq, size = d.status.get(box, (0,) * 7)
            want = (len(rows), sum(not r.sys & 1 for r in rows), sum(bool(r.sys & 8) for r in rows), sum(r.size for r in rows))
            if (n, unseen, deleted, size) != want:
                out.append(("%s: STATUS says %d messages, %d unseen, %d deleted, %d octets; counted: %d, %d, %d, %d"
                            % ((box, n, unseen, deleted, size) + want), None, None))
            if (uidnext, validity) != (d.boxes[box][1], d.boxes[box][0]):
                out.append(("%s: STATUS and SELECT differ" % box, None, None))
        return out

    def keywords(self, facts, d, is_cut):
        out = []
        for r in d.rows:
            own = {k for k in r.kws if k.startswith("own")}
            want = {"own%d" % (r.token // 2 % OWN)} if r.token % 2 == 0 else set()
            may_lack = is_cut or r.token in facts.foreign or self.is_rebuilt or want & facts.high \
                or not want <= set(d.keywords.get(r.box, [])[:BOX_LETTERS])
            if own != want and not (may_lack and own < want):
                out.append(("%s: UID %d has keywords %s, not %s" % (r.box, r.uid, sorted(own), sorted(want)), r.token, None))
            if any(k.startswith("unknown") for k in r.kws):
                out.append(("%s: UID %d has a keyword whose meaning is lost: %s" % (r.box, r.uid, sorted(r.kws)), r.token, None))
        return out

    is_rebuilt = False

    def rebuild(self):
        """[problem]: without the index, the same messages under larger UIDVALIDITYs."""
        before, _wrong = self.settled()
        self.remove_index()
        self.is_rebuilt = True
        after = self.dump()
        out = ["after the rebuild: " + t for t in after.trouble]
        for key in (before.contents() - after.contents()):
            out.append("before the rebuild, not after: %s" % (key,))
        for key in (after.contents() - before.contents()):
            out.append("after the rebuild, not before: %s" % (key,))
        highest = max(b[0] for b in before.boxes.values())
        out += ["%s: UIDVALIDITY %d after the rebuild, there was %d" % (n, b[0], highest)
                for n, b in after.boxes.items() if b[0] <= highest]
        if set(before.boxes) != set(after.boxes):
            out.append("mailboxes: %s, were %s" % (sorted(after.boxes), sorted(before.boxes)))
        return out[:10]

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.forget()


class Cuts:
    """A play that the fault layer journals, and plays that go on with what power cuts at any point of it left."""

    def __init__(self, name, seed, seconds, kill=True):
        self.name, self.random, self.n = name, random.Random(seed), 0
        self.play = Play(name, seed)
        self.journal = Journal(tmp("journal-" + name), self.play.folder)
        env = self.journal.env(sync_us=500, **({"FAULT_KILL": "200"} if kill else {}))
        log("%s; %d died in a sync" % (self.play.work(seconds, kill_ms=0, env=env), self.journal.library.journal_kills()))
        argv = [helper("store/random"), "cross", self.play.folder, self.play.facts_path, str(seed + 1)]
        p = subprocess.run(argv, env=env_of(dict(self.play.env, **self.journal.env(sync_us=500))), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        check(p.returncode == 0, "cross ended with %s: %s" % (p.returncode, p.stdout.decode(errors="replace")[-2000:]))
        check(not self.journal.strange(), "the fault layer met what it does not know: %s" % self.journal.strange())
        with open(self.play.facts_path) as f:
            self.facts = f.read().splitlines()
        self.last = max(int(line.split(" ", 1)[0]) for line in self.facts)
        self.crossed = next(int(line.split()[0]) for line in self.facts if line.split()[2] == "cross")
        # Between the first and the last rename of a COPY, MOVE or APPEND of several.
        self.halves, was = [], None
        for r in self.journal.records():
            if r.op == "RENAME" and was is not None and was.op == "RENAME" and was.pid == r.pid and was.dir2 == r.dir2 and was.dir == r.dir \
                    and r.dir != r.dir2:
                self.halves.append(was.seq)
            if r.op != "MARK":
                was = r

    def points(self, n, halves=0):
        """Some when something was just told, some in the middle of operations, some anywhere."""
        told = [int(line.split(" ", 1)[0]) for line in self.facts if line.split()[2] in ("done", "must")]
        out = [self.random.choice(told) for _ in range(n // 2)] + [self.random.randrange(self.last) for _ in range(n - n // 2)]
        return sorted(out + [self.random.choice(self.halves) for _ in range(halves if self.halves else 0)])

    def cut(self, points, forgets=None, damage=None, modes=MODES, seconds=0.3, enough=3):
        """[(where, problem)]. damage(play) is done to what a cut left before anybody looks."""
        disk, out = Disk(self.journal, forgets), []
        for i, seq in enumerate(points):
            mode, seed = modes[i % len(modes)], self.random.randrange(1 << 30)
            self.n += 1
            disk.advance(seq)
            play = self.build(disk, mode, seed)
            try:
                if damage:
                    damage(play)
                problems = play.judge(is_cut=True)
                if not problems and seconds:
                    play.work(seconds, seed=seed, workers=2)
                    problems = play.judge(is_cut=True)
            except Failed as e:
                problems = [str(e)]
            out += [("cut at %d (%s, seed %d)" % (seq, mode, seed), p) for p in problems]
            if problems and os.environ.get("POSTERN_KEEP"):
                log("kept: %s" % play.folder)
            else:
                play.remove()
            if enough and len(out) >= enough:
                break
        return out

    def build(self, disk, mode, seed):
        top = os.path.dirname(self.play.facts_path) if os.access("/dev/shm", os.W_OK) else tmp()
        folder = os.path.join(top, "%s-%s-%d" % (os.path.basename(tmp()), self.name, self.n))
        if not os.environ.get("POSTERN_KEEP"):
            at_end(shutil.rmtree, folder, True)
        disk.build(folder, random.Random(seed), mode)
        self.moved(folder)
        boot = os.path.join(folder, "boot_id")
        with open(boot, "w") as f:
            f.write("%d\n" % seed)
        play = Play("%s-%d" % (self.name, self.n), seed, folder=folder, facts=folder + ".facts",
                    env={"LD_PRELOAD": helper("fault/journal.so"), "FAULT_BOOT_ID": boot})
        with open(play.facts_path, "w") as f:
            f.write("".join(line + "\n" for line in self.facts if int(line.split(" ", 1)[0]) <= disk.seq) + "0 0 cut\n")
        return play

    def moved(self, folder):
        """What a cut left lies in another place than it did; quota.db names folders by their paths."""
        path = os.path.join(folder, "quota.db")
        if not os.path.exists(path):
            return
        db = sqlite3.connect(path)
        try:
            for row in db.execute("PRAGMA table_info(deliveries)").fetchall():
                if row[2].upper() == "TEXT":
                    db.execute("UPDATE deliveries SET %s = replace(%s, ?, ?)" % (row[1], row[1]), (self.play.folder, folder))
            db.commit()
        except sqlite3.Error:
            pass
        db.close()

    def forget(self):
        """Its journal, which is long."""
        self.play.remove()
        os.unlink(self.journal.path)


def forget_pending(play):
    """As if nobody carried out what is half done."""
    path = os.path.join(play.root, "postern-index.db")
    if os.path.exists(path):
        db = sqlite3.connect(path)
        try:
            db.execute("DELETE FROM pending")
            db.commit()
        except sqlite3.Error:
            pass
        db.close()
