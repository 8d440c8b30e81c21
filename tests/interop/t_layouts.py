#!/usr/bin/env python3
# The forms of mail_location beside the guide's: what a real Dovecot wrote with them is opened in place, and what we make
# there (folders, renames, subscriptions, keywords) Dovecot finds where it looks.
import imaplib
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from refstack import RefStack
from stack import Stack

USER = "u0@example.com"
UMLAUT = "Entw&APw-rfe"


def ok(answer, what):
    equal(answer[0], "OK", "%s: %r" % (what, answer[1]))
    return answer[1]


def login(port):
    m = imaplib.IMAP4("127.0.0.1", port)
    ok(m.login(USER, "pass"), "LOGIN")
    return m


def put(m, box, flags, n):
    ok(m.append('"%s"' % box, flags, '"01-Feb-2021 03:04:05 +0100"', b"Subject: %d\r\n\r\n%s" % (n, b"line\r\n" * n)), "APPEND " + box)


def fill(m, sep):
    for name in ["Lists", "Lists%sa" % sep, "Lists%sa%sdeep" % (sep, sep), UMLAUT, "with space", "INBOX%sbelow" % sep, "gone%schild" % sep]:
        ok(m.create('"%s"' % name), "CREATE " + name)
    for name in ["Lists%sa" % sep, UMLAUT]:
        ok(m.subscribe('"%s"' % name), "SUBSCRIBE " + name)
    for i, name in enumerate(["INBOX", "Lists", "Lists%sa" % sep, UMLAUT, "INBOX%sbelow" % sep] * 3):
        put(m, name, [r"(\Seen)", "($Forwarded $Work%d)" % (i % 3), r"(\Flagged $Late)"][i % 3], i + 1)
    ok(m.select("INBOX"), "SELECT")
    ok(m.store("2", "+FLAGS", r"(\Deleted)"), "STORE")
    ok(m.expunge(), "EXPUNGE")


def look(m):
    """What a client sees: folders, subscriptions, and every message's UID, flags, size."""
    folders = {}
    for line in ok(m.list(), "LIST"):
        flags, sep, name = re.match(r'\(([^)]*)\) "(.)" "?(.*?)"?$', line.decode()).groups()
        if r"\Noselect" not in flags:
            folders[name] = sep
    seen = {"folders": folders, "subscribed": sorted(re.sub(r'.* "?(.*?)"?$', r"\1", l.decode()) for l in ok(m.lsub(), "LSUB"))}
    for name in folders:
        status = ok(m.status('"%s"' % name, "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)"), "STATUS " + name)[0].decode()
        seen[name] = dict(re.findall(r"(MESSAGES|UIDNEXT|UIDVALIDITY|UNSEEN) (\d+)", status))
        ok(m.select('"%s"' % name, readonly=True), "EXAMINE " + name)
        if seen[name]["MESSAGES"] == "0":
            continue
        for row in ok(m.fetch("1:*", "(UID FLAGS RFC822.SIZE)"), "FETCH"):
            row = row.decode()
            flags = sorted(x for x in re.search(r"FLAGS \(([^)]*)\)", row).group(1).split() if x != r"\Recent")
            seen[name, re.search(r"UID (\d+)", row).group(1)] = (flags, re.search(r"SIZE (\d+)", row).group(1))
    return seen


def change(m, sep):
    """Work that moves files and folders about."""
    ok(m.rename('"Lists%sa"' % sep, '"Other%splace"' % sep), "RENAME")
    ok(m.delete("Lists"), "DELETE")
    ok(m.create(UMLAUT + sep + "&AOQ-"), "CREATE")
    ok(m.subscribe(UMLAUT + sep + "&AOQ-"), "SUBSCRIBE")
    ok(m.select("INBOX"), "SELECT")
    ok(m.store("1:*", "+FLAGS", "($New)"), "STORE")
    ok(m.copy("1:2", '"Other%splace%sdeep"' % (sep, sep)), "COPY")
    put(m, UMLAUT + sep + "&AOQ-", r"(\Draft $Late)", 7)


def by_content(seen):
    """Without UIDs: another server gives its own."""
    rows = {}
    for key, value in seen.items():
        if isinstance(key, tuple):
            rows.setdefault(key[0], []).append(value)
    return {"folders": seen["folders"], "subscribed": seen["subscribed"], "mail": {k: sorted(v) for k, v in rows.items()}}


def compare(got, want, what):
    for key in sorted(set(want) | set(got), key=str):
        equal(got.get(key), want.get(key), "%s: %s" % (what, key))


def there_and_back(name, options, sep):
    location = "maildir:%s/%d/%n/mail" + options
    kept = tmp(name, "x")[:-2]
    with RefStack(tmp("ref"), parts=("dovecot",), users=[USER],
                  dovecot_conf=["mail_location = " + location.replace("%s", "/var/mail/vhosts")]) as ref:
        theirs = os.path.join(ref.mail_root, "example.com", "u0")
        m = login(ref.ports["imap"])
        fill(m, sep)
        want = look(m)
        m.logout()
        check(len([k for k in want if isinstance(k, tuple)]) == 14 and len(want["folders"]) >= 8, "Dovecot has it: %s" % want)
        ours = tmp("ours")
        with Stack(ours, users=[USER], extra_conf=["mail_location = " + location.replace("%s", os.path.join(ours, "mail"))]) as s:
            place = s.maildir(USER)
            shutil.copytree(theirs, place)
            m = login(s.ports["imap"])
            compare(look(m), want, "opened in place")
            change(m, sep)
            want = look(m)
            m.logout()
            shutil.copytree(place, os.path.join(kept, "u0"))
        # What Dovecot keeps for itself goes: it shall believe the Maildir.
        shutil.rmtree(theirs)
        shutil.copytree(os.path.join(kept, "u0"), theirs)
        for folder, _, files in os.walk(theirs):
            os.chmod(folder, 0o777)
            for f in files:
                os.chmod(os.path.join(folder, f), 0o666)
                if f.startswith("dovecot.") or f.startswith("dovecot-uidlist"):
                    os.unlink(os.path.join(folder, f))
        m = login(ref.ports["imap"])
        compare(by_content(look(m)), by_content(want), "back at Dovecot")
        m.logout()


def hand_over(source, to, uid):
    shutil.rmtree(to, ignore_errors=True)
    os.makedirs(os.path.dirname(to), exist_ok=True)
    shutil.move(source, to)
    for folder, _, files in os.walk(os.path.dirname(to)):
        for f in [""] + files:
            os.lchown(os.path.join(folder, f), uid, uid)


def exported_and_back(options, sep):
    """By `postern store`: the same UIDs there, and what Dovecot then makes is the same here."""
    location = "maildir:%s/%d/%n/mail" + options
    with RefStack(tmp("ref"), parts=("dovecot",), users=[USER],
                  dovecot_conf=["mail_location = " + location.replace("%s", "/var/mail/vhosts")]) as ref:
        theirs = os.path.join(ref.mail_root, "example.com", "u0")
        m = login(ref.ports["imap"])
        fill(m, sep)
        m.logout()
        ours = tmp("ours")
        with Stack(ours, users=[USER], extra_conf=["mail_location = " + location.replace("%s", os.path.join(ours, "mail"))]) as s:
            place = s.maildir(USER)
            hand_over(theirs, place, os.geteuid())
            m = login(s.ports["imap"])
            change(m, sep)
            want = look(m)
            m.logout()
            s.process.stop(timeout_s=30)
            s.postern("store", "export-dovecot", USER)
            hand_over(place, theirs, 5000)
            m = login(ref.ports["imap"])
            compare(look(m), want, "exported")
            for name in "Zeta", "Alpha", "Mid":  # UIDVALIDITYs in no order of names
                ok(m.create(name), "CREATE")
                put(m, name, "($Forwarded $Theirs)", 3)
            ok(m.rename('"INBOX%sbelow"' % sep, '"INBOX%sabove"' % sep), "RENAME")
            put(m, "INBOX", "($Theirs)", 9)
            ok(m.select("INBOX"), "SELECT")
            ok(m.store("1", "+FLAGS", r"(\Deleted)"), "STORE")
            ok(m.expunge(), "EXPUNGE")
            want = look(m)
            m.logout()
            hand_over(theirs, place, os.geteuid())
            s.process = None
            s.start()
            m = login(s.ports["imap"])
            compare(look(m), want, "back again")
            m.logout()
            equal(s.postern("store", "check", "-q", "--full", USER), "", "check")
            # An export that lies there is no Dovecot's doing: the UIDs of a rebuilt index stay its own.
            s.postern("store", "rebuild", USER)
            m = login(s.ports["imap"])
            anew = look(m)
            m.logout()
            check(int(anew["INBOX"]["UIDVALIDITY"]) > int(want["INBOX"]["UIDVALIDITY"]), "rebuilt: %s" % anew["INBOX"])
            equal(s.postern("store", "import-dovecot", USER), "%s: imported, 0 mailboxes changed, 0 new messages\n" % USER, "no news")
            m = login(s.ports["imap"])
            compare(look(m), anew, "after a rebuild")
            m.logout()


@case
def folders_in_folders():
    there_and_back("fs", ":LAYOUT=fs", "/")


@case
def utf8_folders():
    there_and_back("utf8", ":UTF-8", ".")


@case
def control_and_index_apart():
    there_and_back("control", ":CONTROL=%s/%%d/%%n/control:INDEX=%s/%%d/%%n/index".replace("%%", "%"), ".")


@case
def all_of_it():
    there_and_back("all", ":LAYOUT=fs:UTF-8:CONTROL=%s/%%d/%%n/control:INDEX=%s/%%d/%%n/index".replace("%%", "%"), "/")


@case
def exported():
    exported_and_back("", ".")


@case
def exported_with_all_of_it():
    exported_and_back(":LAYOUT=fs:UTF-8:CONTROL=%s/%%d/%%n/control:INDEX=%s/%%d/%%n/index".replace("%%", "%"), "/")


main()
