#!/usr/bin/env python3
# Programs that fetch mail by POP3, in the clear, after STLS and over TLS: getmail6, fetchmail, mpop; curl; mutt and alpine, which
# show a mailbox. Every message comes whole and once: what was left on the server is not fetched again, whatever IMAP does there.
# timeout: 600
import imaplib
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from popclients import CLIENTS, Fetchmail, Getmail, Mpop
from refstack import fetch
from stack import Stack
from terminal import Terminal

LARGE_OCTETS = 10 * 1000 * 1000
MANY = 1000
BODIES = [
    b"a line\n",
    b"",
    b"\n\n\n",
    b".\n..\n...\n.a\n. \nb.\n.\n",
    b".",
    b"no line end",
    b"na\xc3\xafve \xe4\xf6\xfc \xff\xfe\n",
    b"x" * 5000 + b"\n" + b"." + b"y" * 998 + b"\n",
    b"From the beginning\n>From the past\n",
    b"+OK 7 octets\n-ERR no\n",
    b"tab\tand trailing blanks  \n\x0c\n",
]
_stack = []
_users = iter("u%d@example.com" % i for i in range(100))


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=["u%d@example.com" % i for i in range(100)],
                            extra_conf=["disable_plaintext_auth = no"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


def put(user, number, body):
    for sub in ("new", "cur", "tmp"):
        os.makedirs(os.path.join(stack().maildir(user), sub), exist_ok=True)
    name = "15786%05d.M%dP1.host" % (number, number)
    with open(os.path.join(stack().maildir(user), "tmp", name), "wb") as f:
        f.write(b"From: Ann <ann@example.org>\nTo: %s\nDate: Mon, 7 Feb 2022 10:00:00 +0000\nMessage-ID: <%d@x>\n"
                b"Subject: letter %d\n\n" % (user.encode(), number, number) + body)
    os.rename(os.path.join(stack().maildir(user), "tmp", name), os.path.join(stack().maildir(user), "new", name))


def fill(user, bodies):
    for i, b in enumerate(bodies):
        put(user, i, b)


def known(messages):
    """{number: body}; a number that came twice is a failure."""
    out = {}
    for m in messages:
        head, _, body = m.partition(b"\n\n")
        number = int(re.search(rb"(?m)^Subject: letter (\d+)$", head).group(1))
        check(number not in out, "letter %d came twice" % number)
        out[number] = body
    return out


def ended(body):
    """As a client must have it: a last line without an end gets one on the way."""
    return body if not body or body.endswith(b"\n") else body + b"\n"


def same(got, want, what):
    equal(sorted(got), sorted(want), what + ": letters")
    for i, body in want.items():
        if got[i] != ended(body):
            at = next((k for k, (a, b) in enumerate(zip(got[i], ended(body))) if a != b), min(len(got[i]), len(body)))
            fail("%s: letter %d is another from octet %d on: %r, want %r (%d octets, want %d)"
                 % (what, i, at, got[i][at:at + 40], ended(body)[at:at + 40], len(got[i]), len(ended(body))))


def imap(user):
    m = imaplib.IMAP4("127.0.0.1", stack().ports["imap"])
    m.login(user, "pass")
    m.select("INBOX")
    return m


def stir(user, number):
    """What IMAP may do to a mailbox between two visits: flags, two messages gone, one moved away and one back again (which is a new
    message to all), two that are new. The numbers of those that must be fetched are returned."""
    m = imap(user)
    m.create("Away")
    uids = m.uid("SEARCH", "ALL")[1][0].split()
    for command in (("STORE", b",".join(uids[:4]), "+FLAGS", "(\\Seen \\Flagged)"), ("STORE", uids[2], "-FLAGS", "(\\Seen)"),
                    ("STORE", uids[5] + b"," + uids[6], "+FLAGS.SILENT", "(\\Deleted)"), ("EXPUNGE", uids[5] + b"," + uids[6]),
                    ("MOVE", uids[7], "Away"), ("MOVE", uids[8], "Away")):
        equal(m.uid(*command)[0], "OK", str(command))
    m.select("Away")
    equal(m.uid("MOVE", "2", "INBOX")[0], "OK", "MOVE back")
    equal(m.append("INBOX", "(\\Seen)", None, b"Subject: letter %d\r\n\r\nby IMAP\r\n" % number)[0], "OK", "APPEND")
    m.logout()
    put(user, number + 1, b"by hand\n")
    return {8: BODIES[8], number: b"by IMAP\n", number + 1: b"by hand\n"}


def leaves(client, secure):
    """Left on the server, then deleted."""
    user = next(_users)
    bodies = BODIES + [b"%d.%d\n" % (i, i * i) for i in range(20)]
    fill(user, bodies)
    port = stack().ports["pop3s" if secure == "tls" else "pop3"]
    c = client(tmp(user, client.name), port, stack().cert_file, user, secure=secure)
    what = "%s %s" % (client.name, secure or "in the clear")
    same(known(c.fetch()), dict(enumerate(bodies)), what)
    equal(c.fetch(), [], what + ": the second time")
    new = stir(user, len(bodies))
    same(known(c.fetch()), new, what + ": after changes by IMAP")
    equal(c.fetch(), [], what + ": the fourth time")
    m = imap(user)
    equal(len(m.uid("SEARCH", "ALL")[1][0].split()), len(bodies) - 3 + 2, what + ": messages left")
    m.logout()
    put(user, 900, b"the last\n")
    got = known(c.fetch(keep=False))
    equal(got.get(900), b"the last\n", what + ": the last")
    m = imap(user)
    equal(m.uid("SEARCH", "ALL")[1][0].split(), [], what + ": messages at the end")
    m.logout()


@case
def getmail():
    for secure in Getmail.secures:
        leaves(Getmail, secure)


@case
def fetchmail():
    for secure in Fetchmail.secures:
        leaves(Fetchmail, secure)


@case
def mpop():
    for secure in Mpop.secures:
        leaves(Mpop, secure)


@case
def large():
    """A message of ten megabytes, one of stuffed lines alone, and lines as long as the client takes them."""
    line = b".%07d of a large message\n"
    for client, longest in ((Getmail, 500000), (Fetchmail, 5000), (Mpop, 3000000)):
        user = next(_users)
        bodies = [b"".join(line % i for i in range(LARGE_OCTETS // 28)), b".\n" * 1000000, (b"." + b"z" * longest + b"\n") * 2]
        fill(user, bodies)
        c = client(tmp(user, client.name), stack().ports["pop3s"], stack().cert_file, user, secure="tls")
        same(known(c.fetch()), dict(enumerate(bodies)), client.name)
        equal(c.fetch(), [], client.name + ": again")


@case
def many():
    """A thousand, and one more."""
    for client in CLIENTS:
        user = next(_users)
        bodies = [b"body %d\n" % i for i in range(MANY)]
        fill(user, bodies)
        c = client(tmp(user, client.name), stack().ports["pop3s"], stack().cert_file, user, secure="tls")
        same(known(c.fetch(timeout_s=300)), dict(enumerate(bodies)), client.name)
        put(user, MANY, b"one more\n")
        same(known(c.fetch()), {MANY: b"one more\n"}, client.name + ": one more")
        c.fetch(keep=False)
        m = imap(user)
        equal(m.uid("SEARCH", "ALL")[1][0].split(), [], client.name + ": messages at the end")
        m.logout()


@case
def two_at_a_time():
    """Two clients at one mailbox, each with a memory of its own; what one deletes the other does not miss."""
    user = next(_users)
    fill(user, BODIES)
    one, two = (k(tmp(user, k.name), stack().ports["pop3s"], stack().cert_file, user, secure="tls") for k in (Mpop, Getmail))
    same(known(one.fetch()), dict(enumerate(BODIES)), "one")
    same(known(two.fetch()), dict(enumerate(BODIES)), "two")
    put(user, 50, b"new\n")
    one.fetch(keep=False)
    put(user, 51, b"newer\n")
    same(known(two.fetch()), {51: b"newer\n"}, "two, after one has deleted")


# ------------------------------------------------------------------------------------------ curl


def curl(secure, user, path, *more, status=0):
    port = stack().ports["pop3s" if secure == "tls" else "pop3"]
    argv = [need("curl"), "--silent", "--show-error", "--cacert", stack().cert_file, "--user", user + ":pass", *more]
    argv += ["--ssl-reqd"] if secure == "stls" else []
    r = run(argv + ["%s://localhost:%d/%s" % ("pop3s" if secure == "tls" else "pop3", port, path)])
    equal(r.returncode, status, "curl %s %r %r" % (path, more, r.stderr))
    return r.stdout


@case
def with_curl():
    for secure in ("", "stls", "tls"):
        user = next(_users)
        fill(user, BODIES)
        rows = curl(secure, user, "").split(b"\r\n")[:-1]
        equal([int(r.split()[0]) for r in rows], list(range(1, len(BODIES) + 1)), "LIST")
        uidls = [r.split()[1] for r in curl(secure, user, "", "-X", "UIDL").split(b"\r\n")[:-1]]
        equal(len(set(uidls)), len(BODIES), "UIDLs")
        for i, body in enumerate(BODIES):
            got = curl(secure, user, str(i + 1))
            equal(len(got), int(rows[i].split()[1]) + (0 if not body or body.endswith(b"\n") else 2), "octets of letter %d" % i)
            head, _, text = got.partition(b"\r\n\r\n")
            check(head.endswith(b"Subject: letter %d" % i), "letter %d: %r" % (i, head))
            equal(text, ended(body).replace(b"\n", b"\r\n"), "letter %d" % i)
        top = curl(secure, user, "", "-X", "TOP 4 2")
        equal(top.partition(b"\r\n\r\n")[2], b".\r\n..\r\n", "TOP 4 2")
        curl(secure, user, "1", "-X", "DELE", "-I")
        equal([r.split()[1] for r in curl(secure, user, "", "-X", "UIDL").split(b"\r\n")[:-1]], uidls[1:], "UIDLs after DELE 1")
        curl(secure, user, "99", status=8)


# ------------------------------------------------------------------------------------------ those that show a mailbox


def mutt(command):
    user, home = next(_users), tmp(command, "x")[:-2]
    os.makedirs(home + "/cache", exist_ok=True)
    fill(user, BODIES)
    with open(home + "/rc", "w") as f:
        f.write('set pop_user="%s"\nset pop_pass="pass"\nset ssl_ca_certificates_file="%s"\nset certificate_file="%s"\n'
                'set spoolfile="pops://localhost:%d/"\nset pop_delete=yes\nset header_cache="%s/cache"\nset mail_check=0\n'
                'set confirmappend=no\nset confirmcreate=no\nset delete=yes\nset move=no\nset quit=yes\nset copy=no\nset wait_key=no\n'
                % (user, stack().cert_file, stack().cert_file, stack().ports["pop3s"], home))

    def visit(out, n, more=""):  # one by one: of several that are tagged it copies the first alone from POP3
        keys = 'push "%s%s<quit>"' % ("".join("<jump>%d<enter><copy-message>%s<enter>" % (i + 1, out) for i in range(n)), more)
        r = run(["script", "-q", "-e", "-c", "%s -n -F %s/rc -e '%s'" % (need(command), home, keys), "/dev/null"],
                env=dict(os.environ, HOME=home, TERM="xterm"), timeout_s=60)
        check(os.path.exists(out), "%s saved nothing:\n%s" % (command, r.stdout.decode(errors="replace")))
        with open(out, "rb") as f:
            return sorted(int(n) for n in re.findall(rb"(?m)^Subject: letter (\d+)$", f.read()))

    every = list(range(len(BODIES)))
    equal(visit(home + "/1", len(every)), every, "what %s sees" % command)
    put(user, 50, b"new\n")
    equal(visit(home + "/2", len(every) + 1, "<delete-pattern>~s \\\"letter 5$\\\"<enter><sync-mailbox>"), every + [50], "what %s sees the second time" % command)
    every.remove(5)
    equal(visit(home + "/3", len(every) + 1), every + [50], "what %s sees after it deleted one" % command)


@case
def with_mutt():
    mutt("mutt")


@case
def with_neomutt():
    mutt("neomutt")


@case
def with_alpine():
    """It opens the mailbox as its INBOX, reads one message, saves it near, deletes and expunges it."""
    fetch("alpine")
    user, home = next(_users), tmp("alpine", "x")[:-2]
    os.makedirs(home + "/mail", exist_ok=True)
    fill(user, BODIES + [b"what alpine shall read\n"])
    n = len(BODIES) + 1
    with open(home + "/rc", "w") as f:
        f.write("inbox-path={localhost:%d/pop3/ssl/novalidate-cert/user=%s}INBOX\nfolder-collections=mail %s/mail/[]\n"
                "feature-list=enable-msg-view-urls,quell-extra-post-prompt,expunge-without-confirm-everywhere,"
                "quit-without-confirm,save-will-not-delete,signature-at-bottom\ninit-cmd-list=\n"
                "last-version-used=9.99\nnew-version-threshold=99.99\n" % (stack().ports["pop3s"], user, home))
    t = Terminal([ref("usr/bin/alpine"), "-p", home + "/rc", "-P", "/dev/null", "-i"],
                 dict(ref_env(), HOME=home, TERM="xterm", LINES="24", COLUMNS="80"))
    t.expect("(?i)password")
    t.send("pass\r")
    t.expect("(?i)preserve")
    t.send("n")
    t.expect("letter")
    t.send("J%d\r" % n)
    t.read_for(1)
    t.send("\r")
    t.expect("what alpine shall read")
    t.send("S")
    t.expect("(?i)save|copy")
    t.send("\x15%s/near\r" % home)
    t.expect("(?s)Y.*Yes")  # that it may be made
    t.send("Y")
    t.expect("(?i)copied|saved")
    t.send("D")
    t.read_for(1)
    t.send("<")
    t.read_for(1)
    t.send("X")
    t.expect("(?i)expunged|will be expunged|marked")
    t.send("Q")
    t.end()
    m = imap(user)
    subjects = [p[1] for p in m.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1] if isinstance(p, tuple)]
    m.logout()
    equal(len(subjects), n - 1, "messages left")
    check(not any(b"letter %d\r" % (n - 1) in s for s in subjects), "the message that it deleted is still there")
    with open(home + "/near", "rb") as f:
        check(b"what alpine shall read" in f.read(), "what alpine saved")


main()
