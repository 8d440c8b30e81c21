#!/usr/bin/env python3
# Power cuts at a hundred points of one run under load: what a client heard before the cut is still true after it. And with the
# syncs of one kind of file taken out, that is found to be false: so the fault layer sees what it is there for.
# timeout: 420
# alone
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from cutting import Cut, Run
from mailload import READERS, Imap, text_of

CUTS = int(os.environ.get("CUTS", "100"))
AGAIN = CUTS // 12
SECONDS = 8
_run = None


def run():
    global _run
    if _run is None:
        _run = Run(SECONDS, os.environ.get("SEED") or "%d" % time.time())
        log(_run.summary())
    return _run


@case
def nothing_is_lost():
    r = run()
    cuts = r.choose(CUTS)
    problems = r.cut_many(cuts, enough=20)
    for cut, what in problems:
        log("%s: %s" % (cut, what))
    check(not problems, "%d problems" % len(problems))
    log("%d power cuts" % len(cuts))


@case
def nothing_is_lost_by_two():
    r = run()
    problems = r.cut_twice(r.choose(AGAIN), 3)
    for cut, what in problems:
        log("%s: %s" % (cut, what))
    check(not problems, "%d problems" % len(problems))
    log("%d power cuts in what %d had left" % (3 * AGAIN, AGAIN))


@case
def numbers_of_one_that_died_in_its_sync():
    """imapd reserves numbers, is killed before they are on disk; the next one tells some of them; then the power goes."""
    trigger = tmp("trigger")
    r = Run(1, "died", pause_s=0.5, readers=0, env={"FAULT_KILL_ON": trigger}, last_thing=lambda r: die_in_sync(r, trigger))
    equal(r.journal.library.journal_kills(), 1, "processes that died in their sync")
    problems = r.cut_many([Cut(r.last, mode, 1) for mode in ("drop", "random", "keep")])
    for cut, what in problems:
        log("%s: %s" % (cut, what))
    check(not problems, "%d problems" % len(problems))


def die_in_sync(r, trigger):
    """One message after the other, which needs no sync of the index, until that happens; then what the next imapd says."""
    user = READERS[0]
    imap = Imap(r.stack.ports["imap"], user)
    for i in range(9):
        imap.cmd("APPEND INBOX", text_of("pc-died-%d-0" % i, 0).encode())
        imap.select("INBOX")
        imap.cmd("UID COPY 1:* INBOX")
    with open(trigger, "w") as f:
        f.write("/postern-index.db-wal")
    try:
        for i in range(9, 600):
            imap.cmd("APPEND INBOX", text_of("pc-died-%d-0" % i, 0).encode())
    except (EOFError, OSError):
        pass
    check(not os.path.exists(trigger), "no sync of the index in 600 messages")
    again = wait_for(lambda: login(r, user), 20, "a login")
    validity = again.select("INBOX")[0]
    told = again.subjects()
    check(max(uid for uid, _t, _f in told) > 512, "only %d UIDs: none of a second block was told" % len(told))
    for uid, token, _flags in told:
        r.book.note("told", user=user, folder="INBOX", validity=validity, uid=uid, token=token)
    again.close()


def login(r, user):
    try:
        return Imap(r.stack.ports["imap"], user)
    except (EOFError, OSError):
        return None


# Taken out of the build: syncs of content whose file's path, or of names whose path, matches.
MISSING = {
    "queue-database": (r"/queue\.db(-wal)?$", None, r"is lost"),
    "incoming-content": (r"^queue/incoming/", None, r"is lost|not what was sent"),
    "queue-files-names": (None, r"^queue/queue/files/", r"is lost|not what was sent"),
    "maildrop-content": (r"^queue/maildrop/", None, r"is lost"),
    "maildrop-names": (None, r"^queue/maildrop/", r"is lost"),
    "maildir-content": (r"^mail/.*/(tmp|new|cur)/", None, r"is lost|not what was sent"),
    "new-names": (None, r"^mail/.*/new/", r"is lost"),
    "cur-names": (None, r"^mail/.*/cur/", r"is lost"),
    "index": (r"/postern-index\.db(-wal)?$", None, r"UID \d+ was|is given again|UIDNEXT|HIGHESTMODSEQ"),
    "uidvalidity": (r"/postern-index\.db(-wal)?$", r"/postern-(uidvalidity|index\.db.*)$", r"UIDVALIDITY is|UID \d+ was"),
    "keywords": (r"/postern-index\.db(-wal)?$", r"/(dovecot-keywords|postern-index\.db.*)$", r"keyword whose meaning is lost"),
}


def missing_sync(name):
    # Numbers given again may go to the same messages by luck of their order: then another run.
    tries = 6 if name == "index" else 1
    for i in range(tries):
        r = run() if i == 0 else Run(SECONDS, "again%d-%d" % (i, time.time()))
        if is_caught(name, r):
            return
    fail("%s: not caught in %d runs" % (name, tries))


def is_caught(name, r):
    content, names, want = MISSING[name]
    # The index: a part of it was synced, so that it is there and old rather than gone and made anew.
    since = r.before_blocks if name == "index" else 0

    def forgets(path, is_name, seq):
        pattern = names if is_name else content
        return seq > since and pattern is not None and re.search(pattern, path) is not None

    points = [(seq, f) for seq, kind, f in r.book.events if kind in ("ok", "told")]
    points = [points[len(points) * i // 30] for i in range(10, 30)]
    if name == "index":
        points = [(r.last, {})]
    if name.startswith("maildrop"):
        points = [(seq, f) for seq, kind, f in r.book.events if kind == "ok" and f["token"].startswith("pc-cmd")][:20]
    if name in ("incoming-content", "queue-files-names"):
        large = [(seq, f) for seq, kind, f in r.book.events if kind == "ok" and f.get("id") and f.get("is_large")]
        points = large[:: max(1, len(large) // 20)]
    cuts = [Cut(seq, "drop", 1, "%s" % f) for seq, f in points]
    problems = [p for p in r.cut_many(cuts, forgets, enough=1, found_s=5,
                                          clock_s=-3600 if name == "uidvalidity" else 0)]
    for cut, what in problems[:5]:
        log("%s: %s" % (cut, what))
    return any(re.search(want, what) for _cut, what in problems)


for _name in MISSING:
    def caught(name=_name):
        missing_sync(name)
    caught.__name__ = "caught_without_" + _name.replace("-", "_")
    case(caught)

main()
