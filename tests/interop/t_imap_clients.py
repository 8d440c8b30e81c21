#!/usr/bin/env python3
# IMAP clients that keep what they have seen: offlineimap, mbsync, mutt and neomutt with CONDSTORE, QRESYNC and DEFLATE, alpine. Each
# meets a mailbox twice, with changes by another in between: what it shows then says whether it was told right.
import glob
import imaplib
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from refstack import fetch
from stack import Stack
from terminal import Terminal

N = 40
_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=["%s@example.com" % n for n in ("off", "mb", "mutt", "neomutt", "alpine")],
                            extra_conf=["disable_plaintext_auth = no"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


class Other:
    """Somebody else at the same mailbox."""

    def __init__(self, user):
        self.m = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
        self.m.login(user, "pass")

    def append(self, folder, first, n, text="body"):
        for i in range(first, first + n):
            ok, what = self.m.append(folder, "", None, b"From: ann@example.com\r\nTo: bob@example.com\r\nMessage-ID: <%d.%s@x>\r\n"
                                     b"Date: Mon, 7 Feb 2022 10:%02d:00 +0000\r\nSubject: letter %d\r\n\r\n%s %d\r\n"
                                     % (i, folder.encode(), i % 60, i, text.encode(), i))
            equal(ok, "OK", "APPEND: %r" % what)

    def change(self, folder, *commands):
        self.m.select(folder)
        for c in commands:
            equal(self.m.uid(*c)[0] if c[0] != "EXPUNGE" else self.m.expunge()[0], "OK", " ".join(c))
        self.m.unselect()

    def state(self, folder):
        """{Message-ID: flags}"""
        out = {}
        self.m.select(folder, readonly=True)
        for part in self.m.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")[1]:
            if isinstance(part, tuple):
                flags = set(re.search(rb"FLAGS \(([^)]*)\)", part[0]).group(1).decode().split()) - {"\\Recent"}
                out[re.search(rb"<[^>]*>", part[1]).group().decode()] = flags
        self.m.unselect()
        return out

    def end(self):
        self.m.logout()


LETTERS = {"F": "\\Flagged", "S": "\\Seen", "R": "\\Answered", "T": "\\Deleted", "D": "\\Draft"}


def maildir_state(folder):
    out = {}
    for path in glob.glob(os.path.join(glob.escape(folder), "new", "*")) + glob.glob(os.path.join(glob.escape(folder), "cur", "*")):
        with open(path, "rb") as f:
            m = re.search(rb"(?i)message-id: *(<[^>]*>)", f.read())
        letters = path.rpartition(":2,")[2] if ":2," in path else ""
        out[m.group(1).decode()] = {LETTERS[c] for c in letters if c in LETTERS}
    return out


def fill(user):
    o = Other(user)
    o.m.create("Work.2026")
    o.append("INBOX", 1, N)
    o.append("Work.2026", 1, 5)
    return o


def stir(o):
    """Every kind of change, so that what a client kept is wrong in every way."""
    o.change("INBOX", ("STORE", "1:3", "+FLAGS", "(\\Seen \\Flagged)"), ("STORE", "5", "+FLAGS", "(\\Deleted)"),
             ("STORE", "%d" % N, "+FLAGS", "(\\Deleted)"), ("EXPUNGE",), ("MOVE", "7,9", "Work.2026"))
    o.append("INBOX", N + 1, 3)


def ok(r, what):
    check(r.returncode == 0, "%s: exit status %d\n%s%s" % (what, r.returncode, r.stdout.decode(errors="replace"),
                                                          r.stderr.decode(errors="replace")))


def same(o, folder, near):
    equal(maildir_state(near), o.state(folder), "what is here of %s beside what is there" % folder)


def change_near(near):
    """A flag, a removal and a new message on the client's side."""
    paths = sorted(glob.glob(near + "/cur/*") + glob.glob(near + "/new/*"))
    one = [p for p in paths if "F" not in p.rpartition(":2,")[2]][0]
    base = os.path.basename(one).partition(":2,")[0]
    os.rename(one, os.path.join(near, "cur", base + ":2,FS"))
    os.unlink(paths[-1] if paths[-1] != one else paths[-2])
    with open(os.path.join(near, "cur", "1234.near.here:2,S"), "w") as f:
        f.write("From: bob@example.com\nSubject: from here\nMessage-ID: <near@x>\n\nx\n")


@case
def offlineimap():
    fetch("offlineimap3", "python3-distro")
    packed = os.path.join(TOP, "build", "ref", "usr")
    home = tmp("off", "x")[:-2]
    os.makedirs(home, exist_ok=True)
    with open(home + "/rc", "w") as f:
        f.write("[general]\naccounts = a\nui = basic\nmetadata = %s/meta\nfsync = False\n[Account a]\nlocalrepository = l\n"
                "remoterepository = r\n[Repository l]\ntype = Maildir\nlocalfolders = %s/m\nsep = .\n[Repository r]\ntype = IMAP\n"
                "remotehost = localhost\nremoteport = %d\nssl = yes\nsslcacertfile = %s\nremoteuser = off@example.com\n"
                "remotepass = pass\n" % (home, home, stack().ports["imaps"], stack().cert_file))
    env = dict(os.environ, HOME=home,
               PYTHONPATH=":".join([packed + "/share/offlineimap3", packed + "/lib/python3/dist-packages"]))
    argv = [need("python3"), packed + "/bin/offlineimap", "-c", home + "/rc", "-o"]
    o = fill("off@example.com")
    ok(run(argv, env=env, timeout_s=120), "offlineimap, the first time")
    same(o, "INBOX", home + "/m/INBOX")
    same(o, "Work.2026", home + "/m/Work.2026")
    stir(o)
    ok(run(argv, env=env, timeout_s=120), "offlineimap, after changes there")
    same(o, "INBOX", home + "/m/INBOX")
    same(o, "Work.2026", home + "/m/Work.2026")
    change_near(home + "/m/INBOX")
    ok(run(argv, env=env, timeout_s=120), "offlineimap, after changes here")
    same(o, "INBOX", home + "/m/INBOX")
    check("<near@x>" in o.state("INBOX"), "the new message did not come up")
    o.end()


@case
def mbsync():
    home = tmp("mb", "x")[:-2]
    os.makedirs(home + "/m", exist_ok=True)
    with open(home + "/rc", "w") as f:
        f.write("IMAPAccount a\nHost localhost\nPort %d\nUser mb@example.com\nPass pass\nSSLType IMAPS\nCertificateFile %s\n"
                "PipelineDepth 50\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath %s/m/\nInbox %s/m/INBOX\nSubFolders Verbatim\n"
                "\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n"
                % (stack().ports["imaps"], stack().cert_file, home, home))
    argv = [need("mbsync"), "-c", home + "/rc", "-a"]
    env = dict(os.environ, HOME=home)
    o = fill("mb@example.com")
    ok(run(argv, env=env, timeout_s=120), "mbsync, the first time")
    same(o, "INBOX", home + "/m/INBOX")
    stir(o)
    ok(run(argv, env=env, timeout_s=120), "mbsync, after changes there")
    same(o, "INBOX", home + "/m/INBOX")
    change_near(home + "/m/INBOX")
    ok(run(argv, env=env, timeout_s=120), "mbsync, after changes here")
    same(o, "INBOX", home + "/m/INBOX")
    check("<near@x>" in o.state("INBOX"), "the new message did not come up")
    o.end()


def mutt(command):
    """It keeps headers and MODSEQs in a cache between two visits."""
    user, home = command + "@example.com", tmp(command, "x")[:-2]
    os.makedirs(home + "/cache", exist_ok=True)
    url = "imap://localhost:%d" % stack().ports["imap"]
    with open(home + "/rc", "w") as f:
        f.write('set imap_user="%s"\nset imap_pass="pass"\nset ssl_starttls=no\nset ssl_force_tls=no\nset imap_condstore=yes\n'
                'set imap_qresync=yes\nset imap_deflate=yes\nset header_cache="%s/cache"\nset folder="%s/"\nset spoolfile="%s/INBOX"\n'
                'set mail_check=0\nset confirmappend=no\nset confirmcreate=no\nset delete=yes\nset move=no\nset quit=yes\nset copy=no\n'
                'set wait_key=no\n' % (user, home, url, url))

    def visit(out, pattern, more=""):
        # Tag what matches, save copies to a file, leave.
        keys = 'push "<tag-pattern>%s<enter><tag-prefix><copy-message>%s<enter><untag-pattern>~A<enter>%s<quit>"' % (pattern, out, more)
        r = run(["script", "-q", "-e", "-c", "%s -n -F %s/rc -e '%s'" % (need(command), home, keys), "/dev/null"],
                env=dict(os.environ, HOME=home, TERM="xterm"), timeout_s=60)
        check(os.path.exists(out), "%s saved nothing:\n%s" % (command, r.stdout.decode(errors="replace")))
        with open(out) as f:
            return sorted(int(n) for n in re.findall(r"(?m)^Subject: letter (\d+)$", f.read()))

    o = fill(user)
    equal(visit(home + "/1", "~A"), list(range(1, N + 1)), "what %s sees first" % command)
    stir(o)
    there = sorted(set(range(1, N + 4)) - {5, 7, 9, N})
    equal(visit(home + "/2", "~A"), there, "what %s sees when it comes again" % command)
    equal(visit(home + "/3", "~F"), [1, 2, 3], "what %s sees as flagged" % command)
    # A message removed by it, and one flagged.
    visit(home + "/4", "~A", "<delete-pattern>~s \\\"letter 11$\\\"<enter><tag-pattern>~s \\\"letter 12$\\\"<enter>"
          "<tag-prefix><flag-message><sync-mailbox>")
    there.remove(11)
    state = o.state("INBOX")
    equal(sorted(int(i[1:].partition(".")[0]) for i in state), there, "what %s left there" % command)
    check("\\Flagged" in state["<12.INBOX@x>"], "the flag did not reach the server: %r" % state["<12.INBOX@x>"])
    o.end()


@case
def mutt_qresync():
    mutt("mutt")


@case
def neomutt_qresync():
    mutt("neomutt")


@case
def alpine():
    """Read the newest, which is new to it; save it to a folder; delete and expunge another; leave."""
    fetch("alpine")
    home = tmp("alpine", "x")[:-2]
    os.makedirs(home, exist_ok=True)
    host = "localhost:%d/novalidate-cert/ssl/user=alpine@example.com" % stack().ports["imaps"]
    with open(home + "/rc", "w") as f:
        f.write("inbox-path={%s}INBOX\nfolder-collections=mail {%s}[]\npostponed-folder=postponed\n" % (host, host) +
                "feature-list=enable-msg-view-urls,quell-extra-post-prompt,expunge-without-confirm-everywhere,"
                "quit-without-confirm,save-will-not-delete,signature-at-bottom\ninit-cmd-list=\n"
                "last-version-used=9.99\nnew-version-threshold=99.99\n")
    env = dict(ref_env(), HOME=home, TERM="xterm", LINES="24", COLUMNS="80")
    o = fill("alpine@example.com")
    t = Terminal([ref("usr/bin/alpine"), "-p", home + "/rc", "-P", "/dev/null", "-i"], env)
    t.expect("(?i)password")
    t.send("pass\r")
    t.expect("(?i)preserve")
    t.send("n")
    t.expect("letter")
    t.send("J%d\r" % N)      # jump to message N
    t.read_for(1)
    t.send("\r")
    t.expect("body %d" % N)
    t.send("S")
    t.expect("(?i)save|copy")
    t.send("\x15Work.2026\r")
    t.expect("(?i)copied|saved|\\[.*to folder")
    t.send("D")
    t.read_for(1)
    t.send("<")
    t.read_for(1)
    t.send("X")
    t.expect("(?i)expunged")
    t.send("Q")
    t.end()
    check("<%d.INBOX@x>" % N not in o.state("INBOX"), "it was not expunged")
    check("<%d.INBOX@x>" % N in o.state("Work.2026"), "it was not saved")
    o.end()


main()
