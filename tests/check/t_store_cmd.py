#!/usr/bin/env python3
# `postern store`: check, rebuild, stats and purge while the server runs; a Dovecot's files written and taken back; as root the
# work is done by the owner of the mail.
import imaplib
import json
import os
import poplib
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

U0, U1 = "u0@example.com", "u1@example.com"


def login(s, user=U0):
    m = imaplib.IMAP4("127.0.0.1", s.ports["imap"])
    equal(m.login(user, "pass")[0], "OK", "LOGIN")
    return m


def fill(s, user=U0, n=5):
    m = login(s, user)
    for i in range(n):
        equal(m.append("INBOX", r"(\Seen word%d)" % (i % 2), None, b"Subject: m%d\r\n\r\nhello\r\n" % i)[0], "OK", "APPEND")
    equal(m.create("Work")[0], "OK", "CREATE")
    equal(m.append("Work", None, None, b"Subject: w\r\n\r\nhello\r\n")[0], "OK", "APPEND")
    m.logout()


def store(s, *argv, code=0):
    r = s.postern("store", *argv, ok=False)
    text, store.err = r.stdout.decode(), r.stderr.decode()
    store.err = "".join(l for l in store.err.splitlines(True) if not re.match(r".*main\.cf.*: warning: ", l))
    equal(r.returncode, code, "exit code of store %s: %r %r" % (" ".join(argv), text, store.err))
    return text


def uidvalidity(s, box="INBOX"):
    m = login(s)
    text = m.status(box, "(UIDVALIDITY MESSAGES)")[1][0].decode()
    m.logout()
    return tuple(int(re.search(w + r" (\d+)", text).group(1)) for w in ("UIDVALIDITY", "MESSAGES"))


def uidls(s):
    p = poplib.POP3("127.0.0.1", s.ports["pop3"])
    p.user(U0)
    p.pass_("pass")
    rows = p.uidl()[1]
    p.quit()
    return rows


@case
def capitals_in_the_database():
    """The daemons write names in small letters (auth_username_format), so that is where mail is."""
    with Stack(tmp("u"), users=["Big@Example.com"]) as s:
        fill(s, "big@example.com", 2)
        equal(store(s, "check", "--all").splitlines()[0], "big@example.com: ok, 2 mailboxes, 3 messages", "all")
        equal(json.loads(store(s, "stats", "--json", "BIG@example.com"))["user"], "big@example.com", "by name")


@case
def looked_after():
    with Stack(tmp("a"), users=[U0, U1]) as s:
        # Nobody has mail yet; nothing is made by looking.
        equal(store(s, "check", "--all"), "0 users, 0 messages: 0 faults, 0 put right\n", "nobody")
        equal(store(s, "stats", U0, code=67), "", "no mail")
        equal(store.err, "postern store: %s: there is no mail of such a user\n" % U0, "words")
        equal(os.listdir(s.mail_root), [], "made by looking")
        fill(s)
        fill(s, U1, 1)
        equal(store(s, "check", U0).split(";")[0].strip(), "%s: ok, 2 mailboxes, 6 messages" % U0, "check")
        equal(store(s, "check", "-q", "--full", "--all"), "", "quiet")
        rows = [json.loads(l) for l in store(s, "stats", "--json", "--all").splitlines()]
        equal([r["user"] for r in rows], [U0, U1], "users")
        inbox = rows[0]["mailboxes"][0]
        equal((inbox["name"], inbox["messages"], inbox["unseen"], inbox["keywords"]), ("INBOX", 5, 0, 2), "INBOX")
        check(store(s, "stats", U0).startswith("%s: 2 mailboxes, 6 messages (1 unseen), " % U0), "stats")
        # A fault: found, told, put right; a session that is open goes on.
        m = login(s)
        m.select("INBOX")
        with sqlite3.connect(os.path.join(s.maildir(U0), "postern-index.db")) as db:
            db.execute("UPDATE mailboxes SET messages = 99 WHERE name = 'INBOX'")
        text = store(s, "check", "--all", code=1)
        check("%s: INBOX: 1 sums differ" % U0 in text and "\n2 users, " in text and ": 1 fault, 0 put right" in text, text)
        found = json.loads(store(s, "check", "--json", U0, code=1))
        equal((found["found"], found["fixed"], found["damaged"], found["faults"][0]["mailbox"]), (1, 0, False, "INBOX"), "JSON")
        check("put right" in store(s, "check", "--fix", U0), "fixed")
        equal(store(s, "check", "-q", U0), "", "nothing is left")
        equal(m.noop()[0], "OK", "a session")
        # Rebuilt: IMAP sees another UIDVALIDITY, POP3 no difference.
        before, want = uidvalidity(s), uidls(s)
        check(re.match(r"u0@example.com: rebuilt, 6 mailboxes, 6 messages\n", store(s, "rebuild", U0)), "rebuilt")
        after = uidvalidity(s)
        check(after[0] > before[0] and after[1] == before[1], "UIDVALIDITY %r, %r" % (before, after))
        equal(uidls(s), want, "UIDL")
        try:  # the session has UIDs that are no more
            check(m.noop()[0] != "OK" or b"BYE" in m.readline(), "a session goes on with old UIDs")
        except (imaplib.IMAP4.abort, OSError):
            pass
        m = login(s)
        m.select("INBOX")
        equal(m.fetch("2", "(FLAGS)")[1], [rb"2 (FLAGS (\Seen word1))"], "flags")
        m.logout()
        check(" freed" in store(s, "purge", "--cache", U0), "purge")
        equal(store(s, "check", "-q", "--full", "--all"), "", "nothing is wrong")
        # A damaged database.
    with Stack(tmp("b"), users=[U0]) as s:
        fill(s)
        path = os.path.join(s.maildir(U0), "postern-index.db")
        s.process.stop(timeout_s=30)
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            pages = db.execute("PRAGMA page_count").fetchone()[0]
        with open(path, "r+b") as f:
            for page in range(3, pages):
                f.seek(4096 * page)
                f.write(b"garbage garbage")
        check("only `postern store rebuild` helps" in store(s, "check", U0, code=1), "told")
        check("damaged" in store(s, "rebuild", U0), "rebuilt")
        equal(store(s, "check", "-q", "--full", U0), "", "good again")
        check(os.path.exists(path + ".damaged"), "put aside")
        store(s, "purge", U0)
        check(not os.path.exists(path + ".damaged"), "purged")
        s.process = None


@case
def to_a_dovecot_and_back():
    with Stack(tmp("c"), users=[U0]) as s:
        fill(s)
        root = s.maildir(U0)
        text = store(s, "export-dovecot", "--doveadm", U0)
        check(re.search(r"^doveadm mailbox update -u 'u0@example.com' --min-highest-modseq \d+ 'INBOX'$", text, re.M), text)
        with open(os.path.join(root, "dovecot-uidlist")) as f:
            lines = f.read().splitlines()
        check(re.fullmatch(r"3 V%d N6 G[0-9a-f]{32}" % uidvalidity(s)[0], lines[0]) and len(lines) == 6, lines[0])
        with open(os.path.join(root, "dovecot-keywords")) as f:
            equal(f.read(), "0 word0\n1 word1\n", "keywords")
        check(os.path.exists(os.path.join(root, ".Work", "dovecot-uidlist")), "of a folder")
        before = uidvalidity(s)[0]
        s.process.stop(timeout_s=30)
        # A Dovecot receives a message; copies are written elsewhere, which changes nothing.
        with open(os.path.join(root, "cur", "1.dovecots:2,a"), "w") as f:
            f.write("Subject: theirs\n\nx\n")
        with open(os.path.join(root, "dovecot-uidlist"), "a") as f:
            f.write("8 Ptheirs :1.dovecots\n")
        equal(store(s, "import-dovecot", U0).splitlines()[-1], "%s: imported, 1 mailbox changed, 1 new message" % U0, "import")
        equal(store(s, "import-dovecot", U0).splitlines()[-1], "%s: imported, 0 mailboxes changed, 0 new messages" % U0, "once")
        store(s, "export-dovecot", "--to", tmp("copies"), U0)
        with open(os.path.join(tmp("copies"), U0, ".INBOX", "dovecot-uidlist")) as f:
            check(f.read().endswith("8 Ptheirs S19 :1.dovecots\n"), "a copy")
        s.process = None
        s.start()
        equal(uidvalidity(s), (before, 6), "the same mailbox")
        m = login(s)
        m.select("INBOX")
        equal(m.fetch("6", "(UID FLAGS)")[1], [rb"6 (UID 8 FLAGS (\Recent word0))"], "Dovecot's message")
        m.logout()
        check(b"6 theirs" in uidls(s), "Dovecot's UIDL")


@case
def by_the_owner_of_the_mail():
    if os.geteuid() != 0:
        skip("needs root")
    with Stack(tmp("d"), users=[U0]) as s:
        fill(s)
        root = s.maildir(U0)
        s.process.stop(timeout_s=30)
        nobody = pwd.getpwnam("nobody")
        subprocess.run(["chown", "-R", "%d:%d" % (nobody.pw_uid, nobody.pw_gid), os.path.join(s.mail_root, "example.com")],
                       check=True)
        at = s.mail_root
        while at != "/":  # whoever owns the mail must get there
            os.chmod(at, os.stat(at).st_mode | 0o011)
            at = os.path.dirname(at)
        for argv in (["check", "--all"], ["export-dovecot", U0], ["rebuild", U0], ["stats", U0], ["purge", U0]):
            store(s, *argv)
        owners = {os.lstat(os.path.join(d, f)).st_uid for d, dirs, files in os.walk(root) for f in dirs + files}
        equal(owners, {nobody.pw_uid}, "owners of what is in the Maildir")
        s.process = None


@case
def folders_that_are_not_theirs():
    """What lies where a user's mail should be may be anything that a user could lay there."""
    if os.geteuid() != 0:
        skip("needs root")
    with Stack(tmp("f"), users=[U0], extra_conf=["store_user = nobody"]) as s:
        s.process.stop(timeout_s=30)
        s.process = None
        nobody = pwd.getpwnam("nobody")
        roots = tmp("f", "roots")
        os.makedirs(os.path.join(roots, "cur"))
        os.makedirs(os.path.dirname(s.maildir(U0)), exist_ok=True)
        shutil.rmtree(s.maildir(U0), ignore_errors=True)
        os.symlink(roots, s.maildir(U0))
        os.lchown(s.maildir(U0), nobody.pw_uid, nobody.pw_gid)
        at = s.mail_root
        while at != "/":
            os.chmod(at, os.stat(at).st_mode | 0o011)
            at = os.path.dirname(at)
        store(s, "export-dovecot", U0, code=75)
        equal(os.listdir(roots), ["cur"], "made in a folder of root's")
        # A link to itself is one user's fault, and no other's.
        os.unlink(s.maildir(U0))
        os.symlink(s.maildir(U0), s.maildir(U0))
        odd = os.path.join(s.mail_root, "example.com", 'a"b\\c')
        os.makedirs(os.path.join(odd, "cur"))
        os.chown(odd, nobody.pw_uid, nobody.pw_gid)
        rows = [json.loads(l) for l in store(s, "check", "--all", "--json", code=75).splitlines()]
        equal(rows, [{"user": 'a"b\\c@example.com', "index": False}], "the others")
        check("Too many levels" in store.err, store.err)


@case
def wrong_use():
    s = Stack(tmp("e"), users=[U0])
    s.configure()
    for argv, words in (([], "what?"), (["mend", U0], 'no verb "mend"'), (["check"], "name users, or --all"),
                        (["check", "--all", U0], "name users, or --all"), (["stats", "--fix", U0], "no option --fix"),
                        (["export-dovecot", "--to", "here", U0], "no absolute path"),
                        (["export-dovecot", "--to"], "no option --to")):
        store(s, *argv, code=64)
        check(words in store.err and "usage: postern" in store.err, "%r: %r" % (argv, store.err))
    for user in ("../../etc", "x/y@example.com", "@example.com"):
        store(s, "check", user, code=67)
        check("no user can be called that" in store.err, store.err)
    text = s.postern("help", "store")
    check("export-dovecot" in text and "EXIT STATUS" in text, text)


main()
