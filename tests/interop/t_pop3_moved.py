#!/usr/bin/env python3
# POP3 users who leave their mail on the server, moved from a real Dovecot to Postern where their Maildir lies, with the settings
# that they had: getmail6, fetchmail and mpop download nothing again, and new mail once.
# timeout: 600
import imaplib
import os
import poplib
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from popclients import CLIENTS
from refstack import RefStack
from stack import Stack

USER = "u0@example.com"
# name of the case, what dovecot.conf and main.cf both say
SETTINGS = [
    ("default", []),
    ("netscape", ["pop3_uidl_format = %08Xv%08Xu"]),  # dovecot.conf's own list of what other servers used
    ("uw", ["pop3_uidl_format = %08Xu%08Xv"]),
    ("cyrus-old", ["pop3_uidl_format = %u"]),
    ("cyrus", ["pop3_uidl_format = %v.%u"]),
    ("courier", ["pop3_uidl_format = %v-%u"]),
    ("filename", ["pop3_uidl_format = %f"]),
    ("guid", ["pop3_uidl_format = %g"]),
    ("mixed", ["pop3_uidl_format = x%010u_%Xv%%"]),
    ("saved", ["pop3_uidl_format = %08Xu%08Xv", "pop3_save_uidl = yes"]),
    ("saved-guid", ["pop3_uidl_format = %g", "pop3_save_uidl = yes"]),
    ("lasting", ["pop3_uidl_format = %v.%u", "pop3_lock_session = yes", "pop3_no_flag_updates = yes"]),
]


def text(number):
    return b"From: a@example.org\r\nMessage-ID: <%d@x>\r\nSubject: letter %d\r\n\r\nbody %d\r\n" % (number, number, number)


def imap(port):
    m = imaplib.IMAP4("127.0.0.1", port)
    equal(m.login(USER, "pass")[0], "OK", "LOGIN")
    equal(m.select("INBOX")[0], "OK", "SELECT")
    return m


def append(port, first, n):
    m = imap(port)
    for i in range(first, first + n):
        equal(m.append("INBOX", "", None, text(i))[0], "OK", "APPEND")
    m.logout()


def expunge(port, *seqs):
    m = imap(port)
    m.store(",".join(str(s) for s in seqs), "+FLAGS", "(\\Deleted)")
    equal(m.expunge()[0], "OK", "EXPUNGE")
    m.logout()


def drop(maildir, first, n, uid, form):
    """Mail by hand, as other servers name files."""
    for i in range(first, first + n):
        octets = text(i).replace(b"\r\n", b"\n")
        path = os.path.join(maildir, "new", form % (i, i) + (",S=%d" % len(octets) if "V" in form else ""))
        with open(path, "wb") as f:
            f.write(octets)
        os.chown(path, uid, uid)


def numbers(messages):
    out = [int(re.search(rb"(?m)^Subject: letter (\d+)$", m).group(1)) for m in messages]
    equal(len(out), len(set(out)), "letters came twice: %r" % out)
    return sorted(out)


def uidls(port):
    p = poplib.POP3("127.0.0.1", port)
    p.user(USER)
    p.pass_("pass")
    rows = p.uidl()[1]
    p.quit()
    return rows


def moved(name, settings):
    ports = {n: free_port() for n in ("pop3", "imap")}
    kept = tmp(name, "kept", "u0")
    with RefStack(tmp(name, "ref"), ports=ports, parts=("dovecot",), users=[USER], dovecot_conf=["mail_fsync = never"] + settings) as ref:
        maildir = os.path.join(ref.mail_root, "example.com", "u0")
        clients = [k(tmp(name, k.name), ports["pop3"], None, USER) for k in CLIENTS]
        append(ports["imap"], 1, 12)
        drop(maildir, 13, 3, 5000, "1578600%03d.M%dP1.host")
        drop(maildir, 16, 3, 5000, "1578601%03d.M%dP1V000000000000FE00I0000000000000001_0.host")  # Courier's
        for c in clients:
            equal(numbers(c.fetch()), list(range(1, 19)), "%s at Dovecot" % c.name)
        expunge(ports["imap"], 2, 3, 14)
        append(ports["imap"], 19, 4)
        for c in clients:
            equal(numbers(c.fetch()), [19, 20, 21, 22], "%s at Dovecot, again" % c.name)
        old = uidls(ports["pop3"])
        shutil.copytree(maildir, kept)
    with Stack(tmp(name, "ours"), ports=ports, users=[USER], extra_conf=["disable_plaintext_auth = no"] + settings) as s:
        os.makedirs(os.path.dirname(s.maildir(USER)), exist_ok=True)
        shutil.copytree(kept, s.maildir(USER))
        equal(uidls(ports["pop3"]), old, "UIDL")
        for c in clients:
            equal(numbers(c.fetch()), [], "%s at Postern" % c.name)
        drop(s.maildir(USER), 23, 1, os.geteuid(), "1578602%03d.M%dP1.host")
        append(ports["imap"], 24, 2)
        for c in clients:
            equal(numbers(c.fetch()), [23, 24, 25], "%s at Postern, new mail" % c.name)
            equal(numbers(c.fetch()), [], "%s at Postern, once more" % c.name)
        expunge(ports["imap"], 1, 5)
        s.process.stop(timeout_s=30)
        s.process = None
        s.start()
        for c in clients:
            equal(numbers(c.fetch()), [], "%s at Postern started anew" % c.name)


for _name, _settings in SETTINGS:
    def one(name=_name, settings=_settings):
        moved(name, settings)
    one.__name__ = _name
    case(one)


# ------------------------------------------------------------------------------------------ from one form to another


@case
def another_form_for_new_mail_alone():
    """pop3_save_uidl: what Dovecot saved stays, whatever the form is now."""
    ports = {n: free_port() for n in ("pop3", "imap")}
    kept = tmp("form", "kept", "u0")
    with RefStack(tmp("form", "ref"), ports=ports, parts=("dovecot",), users=[USER],
                  dovecot_conf=["pop3_uidl_format = %v-%u", "pop3_save_uidl = yes"]) as ref:
        append(ports["imap"], 1, 5)
        clients = [k(tmp("form", k.name), ports["pop3"], None, USER) for k in CLIENTS]
        for c in clients:
            equal(numbers(c.fetch()), [1, 2, 3, 4, 5], c.name)
        old = uidls(ports["pop3"])
        shutil.copytree(os.path.join(ref.mail_root, "example.com", "u0"), kept)
    with Stack(tmp("form", "ours"), ports=ports, users=[USER],
               extra_conf=["disable_plaintext_auth = no", "pop3_uidl_format = %g", "pop3_save_uidl = yes"]) as s:
        os.makedirs(os.path.dirname(s.maildir(USER)), exist_ok=True)
        shutil.copytree(kept, s.maildir(USER))
        append(ports["imap"], 6, 1)
        new = uidls(ports["pop3"])
        equal(new[:5], old, "UIDL of the old")
        check(len(new) == 6 and len(new[5].split()[1]) > 12, "UIDL of the new: %r" % new)
        for c in clients:
            equal(numbers(c.fetch()), [6], c.name)
        # ours are saved as well
        s.extra_conf[1] = "pop3_uidl_format = %08Xu%08Xv"
        s.write_main_cf()
        s.postern("reload")
        wait_for(lambda: uidls(ports["pop3"]) == new, 10, "the same UIDLs after another change of the form")
        append(ports["imap"], 7, 1)
        for c in clients:
            equal(numbers(c.fetch()), [7], c.name)


main()
