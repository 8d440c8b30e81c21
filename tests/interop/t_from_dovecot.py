#!/usr/bin/env python3
# A Maildir that a real Dovecot wrote, opened where it lies: no client may notice. UIDs, UIDVALIDITY, flags, keywords, dates,
# sizes, POP3 UIDLs, folders and subscriptions are compared over the wire, message by message. And the way back: after random
# changes it is exported and opened by a Dovecot, which must show the same; then it comes back once more.
# timeout: 600
import imaplib
import json
import os
import poplib
import random
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from refstack import RefStack
from stack import Stack

USER = "u0@example.com"
MESSAGES = 60
FOLDERS = ["INBOX", "Sent", "Lists.Entw&APw-rfe", '"with space"', "Empty"]


def ok(answer, what):
    equal(answer[0], "OK", "%s: %r" % (what, answer[1]))
    return answer[1]


def login(port):
    m = imaplib.IMAP4("127.0.0.1", port)
    ok(m.login(USER, "pass"), "LOGIN")
    return m


def fill(m):
    for f in FOLDERS[2:]:
        ok(m.create(f), "CREATE " + f)
    ok(m.subscribe("Lists.Entw&APw-rfe"), "SUBSCRIBE")
    ok(m.unsubscribe("Junk"), "UNSUBSCRIBE")
    for i in range(MESSAGES):
        flags = [r"\Seen", r"\Flagged \Answered", "", "$Forwarded NonJunk", r"\Draft $Label%d" % (i % 7)][i % 5]
        text = "From: a@example.org\r\nSubject: message %d\r\n\r\n%s" % (i, "line\r\n" * (i * 3 % 17))
        date = '"%02d-Feb-2021 03:04:%02d +0100"' % (1 + i % 28, i)
        ok(m.append(FOLDERS[i % 4], "(%s)" % flags, date, text.encode()), "APPEND")
    for f in FOLDERS[:4]:
        ok(m.select(f), "SELECT")
        ok(m.store("2,5,7", "+FLAGS", r"(\Deleted)"), "STORE")
        ok(m.expunge(), "EXPUNGE")
        ok(m.copy("1:2", "Empty"), "COPY")
    ok(m.select("Empty"), "SELECT")
    ok(m.store("1:*", "+FLAGS", r"(\Deleted)"), "STORE")
    ok(m.expunge(), "EXPUNGE")
    # One that nobody has seen: it stays in new/ and is \Recent.
    ok(m.append("INBOX", None, None, b"Subject: last\r\n\r\nx\r\n"), "APPEND")


def words(lines):
    return sorted(tuple(sorted(l.split()) if isinstance(l, str) else l) for l in lines)


def look(m):
    """Everything a client could know, in a form to compare."""
    seen = {}
    for line in ok(m.list(), "LIST") + ok(m.lsub(), "LSUB"):
        pass
    seen["folders"] = sorted(line.decode().rsplit(" ", 1)[-1].strip('"') for line in ok(m.list(), "LIST"))
    seen["subscribed"] = sorted(line.decode().rsplit(" ", 1)[-1].strip('"') for line in ok(m.lsub(), "LSUB"))
    for f in FOLDERS:
        status = ok(m.status(f, "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)"), "STATUS")[0].decode()
        seen[f] = dict(re.findall(r"(MESSAGES|UIDNEXT|UIDVALIDITY|UNSEEN) (\d+)", status))
        ok(m.select(f, readonly=True), "EXAMINE")
        if seen[f]["MESSAGES"] == "0":
            continue
        for row in ok(m.fetch("1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE)"), "FETCH"):
            row = row.decode()
            flags = sorted(x for x in re.search(r"FLAGS \(([^)]*)\)", row).group(1).split() if x != r"\Recent")
            date = imaplib.Internaldate2tuple(row.encode())
            seen[f, re.search(r"UID (\d+)", row).group(1)] = (flags, date, re.search(r"SIZE (\d+)", row).group(1))
    return seen


def uidls(port):
    p = poplib.POP3("127.0.0.1", port)
    p.user(USER)
    p.pass_("pass")
    rows = p.uidl()[1]
    p.quit()
    return rows


@case
def dovecots_maildir_in_place():
    kept = tmp("kept", "x")[:-2]
    with RefStack(tmp("ref"), parts=("dovecot",), users=[USER]) as ref:
        m = login(ref.ports["imap"])
        fill(m)
        m.logout()
        m = login(ref.ports["imap"])
        want = look(m)
        m.logout()
        want_uidls = uidls(ref.ports["pop3"])
        shutil.copytree(os.path.join(ref.mail_root, "example.com", "u0"), os.path.join(kept, "u0"))
    check(len([k for k in want if isinstance(k, tuple)]) > 40, "Dovecot has the messages")
    with Stack(tmp("ours"), users=[USER]) as s:
        os.makedirs(os.path.dirname(s.maildir(USER)), exist_ok=True)
        shutil.rmtree(s.maildir(USER), ignore_errors=True)
        shutil.copytree(os.path.join(kept, "u0"), s.maildir(USER))
        m = login(s.ports["imap"])
        got = look(m)
        m.logout()
        for key in sorted(want, key=str):
            equal(got.get(key), want[key], "%s" % (key,))
        equal(sorted(map(str, got)), sorted(map(str, want)), "what there is")
        equal(uidls(s.ports["pop3"]), want_uidls, "UIDL")



# ----------------------------------------------------------------------------------------- there, and back again

MANY = 10000
CHANGES = 1000
BOXES = {"INBOX": MANY, "Sent": 40, "Lists": 5, "Lists.Entw&APw-rfe": 60, "Lists.Entw&APw-rfe.deep.deeper": 30, '"with space"': 20,
         "Empty": 0}


def append_many(m, box, rows, at_once=1):
    """rows: (flags, date, text). Sent in one go, a hundred at a time; at_once: by one command (RFC 3502), as only Dovecot can."""
    for at in range(0, len(rows), 100):
        parts = [b" (%s) \"%s\" {%d+}\r\n%s" % (flags.encode(), date.encode(), len(text), text) for flags, date, text in rows[at:at + 100]]
        commands = [b"".join(parts[i:i + at_once]) for i in range(0, len(parts), at_once)]
        m.send(b"".join(b"X%d APPEND %s%s\r\n" % (i, box.encode(), c) for i, c in enumerate(commands)))
        answers = 0
        while answers < len(commands):
            line = m.readline()
            check(line, "APPEND: the connection is lost")
            if line.startswith(b"X"):
                answers += 1
                check(b" OK " in line, "APPEND: %r" % line)


def message(rng, i):
    return b"From: a%d@example.org\r\nSubject: message %d\r\n\r\n%s" % (rng.randrange(50), i, b"line\r\n" * rng.randrange(20))


def some_date(rng):
    return "%02d-Feb-20%02d 03:%02d:%02d +0%d00" % (rng.randint(1, 28), rng.randint(10, 22), rng.randrange(60), rng.randrange(60),
                                                    rng.randrange(10))


def fill_many(m, rng):
    for box in BOXES:
        if box not in ("INBOX", "Sent"):
            ok(m.create(box), "CREATE " + box)
    for box in ("Lists.Entw&APw-rfe", '"with space"', "Lists.Entw&APw-rfe.deep.deeper"):
        ok(m.subscribe(box), "SUBSCRIBE")
    ok(m.unsubscribe("Junk"), "UNSUBSCRIBE")
    for number, (box, n) in enumerate(BOXES.items()):
        words = ["kw%d" % ((number * 7 + i) % 20) for i in range(20)]  # copies bring all to one folder, which has 26 letters
        rows = []
        for i in range(n):
            flags = [f for f in (r"\Seen", r"\Flagged", r"\Answered", r"\Draft", "$Forwarded") if rng.random() < 0.3]
            # In another order in each folder: there a letter is another keyword.
            flags += rng.sample(words[:5 + i], rng.choice((0, 0, 1, 3)))
            rows.append((" ".join(flags), some_date(rng), message(rng, i)))
        append_many(m, box, rows, at_once=50)
        if n > 4:
            ok(m.select(box), "SELECT")
            gone = sorted(rng.sample(range(1, n + 1), max(2, n // 20)))
            ok(m.store(",".join(map(str, gone)), "+FLAGS", r"(\Deleted)"), "STORE")
            ok(m.expunge(), "EXPUNGE")
            m.unselect()


def name_of(line):
    r = re.fullmatch(rb'\((.*?)\) ("."|NIL) (.*)', line)
    return r.group(3).decode().strip('"'), r.group(1).lower()


def look_at_all(m, modseqs=None):
    seen = {"subscribed": sorted(name_of(l)[0] for l in ok(m.lsub(), "LSUB"))}
    for line in ok(m.list(), "LIST"):
        box, attrs = name_of(line)
        if b"noselect" in attrs or b"nonexistent" in attrs:
            continue
        status = ok(m.status('"%s"' % box, "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)"), "STATUS " + box)[0].decode()
        numbers = dict(re.findall(r"(MESSAGES|UIDNEXT|UIDVALIDITY|UNSEEN) (\d+)", status))
        if modseqs is not None:
            status = ok(m.status('"%s"' % box, "(HIGHESTMODSEQ)"), "STATUS " + box)[0].decode()
            modseqs[box] = int(re.search(r"HIGHESTMODSEQ (\d+)", status).group(1))
        seen[box] = numbers
        ok(m.select('"%s"' % box, readonly=True), "EXAMINE")
        if numbers["MESSAGES"] == "0":
            continue
        for row in ok(m.fetch("1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE)"), "FETCH"):
            flags = sorted(x for x in re.search(rb"FLAGS \(([^)]*)\)", row).group(1).split() if x != rb"\Recent")
            seen[box, int(re.search(rb"UID (\d+)", row).group(1))] = (
                flags, imaplib.Internaldate2tuple(row), int(re.search(rb"SIZE (\d+)", row).group(1)))
    return seen


def same(got, want, who):
    if got == want:
        return
    for key in sorted(set(want) | set(got), key=str):
        equal(got.get(key), want.get(key), "%s: %s" % (who, key))


def mutf7(name):
    return name.replace("\u00fc", "&APw-")  # all there is here


def selectable(m):
    return sorted(name_of(l)[0] for l in ok(m.list(), "LIST") if not re.search(rb"noselect|nonexistent", name_of(l)[1]))


def change(m, rng, n):
    """Random changes as clients make them. Keywords stay below a Maildir's 26 a folder."""
    box, exists, have = None, 0, selectable(m)
    for i in range(n):
        what = rng.choice(["flags"] * 8 + ["copy"] * 3 + ["append"] * 4 + ["expunge"] * 2 + ["move", "folder", "subscribe", "switch"])
        if box is None or what == "switch" or (exists == 0 and what in ("flags", "copy", "expunge", "move")):
            box = rng.choice([b for b in have if b != "Empty"] + ["INBOX"])
            exists = int(ok(m.select('"%s"' % box), "SELECT")[0])
            continue
        some = ",".join(str(rng.randint(1, exists)) for _ in range(rng.randint(1, 5))) if exists else ""
        if what == "flags":
            word = rng.choice([r"\Seen", r"\Flagged", r"\Answered", r"\Draft", "$Forwarded", "ours"])
            ok(m.store(some, rng.choice(["+FLAGS", "-FLAGS", "+FLAGS.SILENT"]), "(%s)" % word), "STORE")
        elif what in ("copy", "move"):
            to = rng.choice([b for b in ("Sent", "Archive", "Lists") if b != box])
            if to in have:
                ok(m.copy(some, to) if what == "copy" else m._simple_command("MOVE", some, to), what.upper())
        elif what == "append":
            append_many(m, '"%s"' % box, [(rng.choice(["", r"\Seen", "ours"]), some_date(rng), message(rng, i))])
        elif what == "expunge":
            ok(m.store(some, "+FLAGS.SILENT", r"(\Deleted)"), "STORE")
            ok(m.expunge(), "EXPUNGE")
        elif what == "folder":
            if "Archive" not in have:
                ok(m.create("Archive"), "CREATE")
            elif box != "Archive" and "Kept.%d" % (i % 3) not in have and rng.random() < 0.7:
                ok(m.rename("Archive", "Kept.%d" % (i % 3)), "RENAME")
            else:
                gone = [b for b in have if b.startswith("Kept.") and b != box]
                if gone:
                    ok(m.delete(gone[0]), "DELETE")
            have = selectable(m)
        elif what == "subscribe":
            ok(rng.choice([m.subscribe, m.unsubscribe])(rng.choice(["Lists", "Lists.Entw&APw-rfe", "Empty"])), "SUBSCRIBE")
        if what not in ("flags", "copy", "subscribe"):  # there may be more of them, or less
            exists = int(ok(m.select('"%s"' % box), "SELECT")[0])


def move_tree(source, to, uid):
    shutil.rmtree(to, ignore_errors=True)
    os.makedirs(os.path.dirname(to), exist_ok=True)
    shutil.move(source, to)
    subprocess.run(["chown", "-R", "%d:%d" % (uid, uid), os.path.dirname(to)], check=True)


def with_dovecot(tree, conf, work):
    """A Dovecot opens the mail in `tree`, work(its ports) is done, and the mail is put back there."""
    with RefStack(tmp("ref"), parts=("dovecot",), users=[USER], dovecot_conf=["mail_fsync = never"] + conf) as ref:
        mail = os.path.join(ref.mail_root, "example.com", "u0")
        if os.path.isdir(tree):
            move_tree(tree, mail, 5000)
        result = work(ref.ports)
        move_tree(mail, tree, os.geteuid())
    return result


@case
def there_and_back_again():
    rng = random.Random(int(os.environ.get("SEED", "6")))
    tree = tmp("tree", "u0")

    def written_by_dovecot(ports):
        m = login(ports["imap"])
        fill_many(m, rng)
        m.logout()
        first = uidls(ports["pop3"])
        m = login(ports["imap"])
        append_many(m, "INBOX", [("", some_date(rng), b"Subject: last\r\n\r\nx\r\n")])
        m.logout()
        m = login(ports["imap"])
        modseqs = {}
        seen = look_at_all(m, modseqs)
        m.logout()
        return seen, modseqs, first

    # The UIDLs are not those of the default form, and Dovecot keeps them.
    old, old_modseqs, old_uidls = with_dovecot(tree, ["pop3_uidl_format = %v-%u", "pop3_save_uidl = yes"], written_by_dovecot)
    check(len(old) > MANY * 0.9, "Dovecot has %d messages" % len(old))
    with open(os.path.join(tree, "dovecot-uidlist")) as f:
        check(" P" in f.read(), "Dovecot has saved UIDLs")
    with Stack(tmp("ours"), users=[USER]) as s:
        move_tree(tree, s.maildir(USER), os.geteuid())
        m = login(s.ports["imap"])
        same(look_at_all(m), old, "Postern shows what Dovecot showed")
        for box in json.loads(s.postern("store", "stats", "--json", USER))["mailboxes"]:
            was = old_modseqs[mutf7(box["name"])]
            check(box["highestmodseq"] > was, "MODSEQs of %s go on above %d" % (box, was))
        equal(uidls(s.ports["pop3"])[:len(old_uidls)], old_uidls, "UIDL")
        change(m, rng, CHANGES)
        m.logout()
        m = login(s.ports["imap"])
        ours = look_at_all(m)
        m.logout()
        our_uidls = uidls(s.ports["pop3"])
        check(sum(1 for k in ours if ours[k] != old.get(k)) > 100, "there were changes")
        equal(s.postern("store", "check", "-q", "--full", USER), "", "check after the changes")
        s.process.stop(timeout_s=30)
        s.postern("store", "export-dovecot", USER)
        move_tree(s.maildir(USER), tree, os.geteuid())

        def back_at_dovecot(ports):
            m = login(ports["imap"])
            same(look_at_all(m), ours, "Dovecot shows what Postern showed")
            m.logout()
            equal(uidls(ports["pop3"]), our_uidls, "UIDL at Dovecot")
            m = login(ports["imap"])
            change(m, rng, CHANGES // 10)
            m.logout()
            m = login(ports["imap"])
            seen = look_at_all(m)
            m.logout()
            return seen, uidls(ports["pop3"])

        there, there_uidls = with_dovecot(tree, [], back_at_dovecot)
        check(there != ours, "Dovecot has changed something")
        move_tree(tree, s.maildir(USER), os.geteuid())
        s.process = None
        s.start()
        m = login(s.ports["imap"])
        same(look_at_all(m), there, "Postern shows what Dovecot showed again")
        m.logout()
        equal(uidls(s.ports["pop3"]), there_uidls, "UIDL after the way back")
        equal(s.postern("store", "check", "-q", "--full", USER), "", "check at the end")


main()
