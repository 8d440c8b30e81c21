#!/usr/bin/env python3
# URLAUTH between two users (RFC 4467, RFC 5092): a URL with the right token reaches that message and nothing else does.
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from stack import Stack

ANN, BOB, CARL, SUBMIT = "ann@example.com", "bob@example.com", "carl@example.com", "submit@example.com"
SECRET = b"From: ann@example.com\r\nSubject: s\r\n\r\nthe secret\r\n"
_stack = []


def stack():
    if not _stack:
        conf = ["disable_plaintext_auth = no", "imap_urlauth_submit_user = %s" % SUBMIT]
        _stack.append(Stack(tmp("s"), users=[ANN, BOB, CARL, SUBMIT], extra_conf=conf, keep=True).start())
        at_end(_stack[0].stop)
        c = login(ANN)
        for box in (b"INBOX", b"Archive.2026"):
            run(c, b"CREATE " + box)
            check(b"OK" in run(c, b"APPEND %s {%d+}\r\n%s" % (box, len(SECRET), SECRET))[-1], "append")
    return _stack[0]


def login(user):
    c = Client(("127.0.0.1", stack().ports["imap"]))
    c.login(user, "pass")
    return c


def run(c, command):
    """All responses, the tagged one last."""
    c.send(b"t " + command + b"\r\n")
    out = []
    while not out or not out[-1].startswith(b"t "):
        out.append(c.response())
    return out


def generate(c, rump):
    got = run(c, b'GENURLAUTH "%s" INTERNAL' % rump)
    check(got[0].startswith(b"* GENURLAUTH "), got)
    return got[0].split(b" ")[2].strip(b'"')


def fetch(c, url):
    got = run(c, b'URLFETCH "%s"' % url)
    check(len(got) == 2 and got[1].startswith(b"t OK"), got)
    return None if got[0].endswith(b" NIL") else got[0]


RUMP = b"imap://ann%40example.com@localhost/INBOX/;uid=1;urlauth="


@case
def access_words():
    ann, bob, submit = login(ANN), login(BOB), login(SUBMIT)
    rows = [  # access, ann, bob, submit
        (b"anonymous", True, True, True),
        (b"authuser", True, True, True),
        (b"user+bob@example.com", False, True, False),
        (b"user+bob%40example.com", False, True, False),
        (b"USER+BOB@EXAMPLE.COM", False, True, False),
        (b"user+ann@example.com", True, False, False),
        (b"submit+bob@example.com", False, False, True),
        (b"stream", False, False, False),
    ]
    for access, *may in rows:
        url = generate(ann, RUMP + access)
        for c, want, who in zip((ann, bob, submit), may, ("ann", "bob", "submit")):
            got = fetch(c, url)
            check((got is not None) == want, "%s for %s: %r" % (access, who, got))
            check(got is None or got.endswith(SECRET), got)


@case
def the_domain_is_the_host():
    ann, bob = login(ANN), login(BOB)
    url = generate(ann, b"imap://ann@example.com/INBOX/;uid=1;urlauth=authuser")
    check(fetch(ann, url) and fetch(bob, url), "user and host together name the user")
    url = generate(ann, b"imap://ann@example.com/Archive.2026;uidvalidity=%d/;uid=1/;section=TEXT;urlauth=authuser"
                   % uidvalidity(ann, b"Archive.2026"))
    check(fetch(bob, url).endswith(b"the secret\r\n"), "a part")
    check(b"Subject" not in fetch(bob, url), "and no more than that")


def uidvalidity(c, box):
    got = run(c, b"STATUS %s (UIDVALIDITY)" % box)[0]
    return int(got.rsplit(b" ", 1)[1].strip(b")"))


@case
def nothing_but_that():
    """What is a letter away from a good URL, and what never was one."""
    ann, bob = login(ANN), login(BOB)
    good = generate(ann, RUMP + b"user+bob@example.com")
    rump, token = good.rsplit(b":INTERNAL:", 1)
    other = generate(ann, RUMP.replace(b"INBOX", b"Archive.2026") + b"user+bob@example.com").rsplit(b":", 1)[1]
    own = generate(bob_with_mail(bob), RUMP.replace(b"ann", b"bob") + b"user+bob@example.com").rsplit(b":", 1)[1]
    check(fetch(bob, good), "the good one")
    check(fetch(bob, rump + b":INTERNAL:" + token.upper()), "hexadecimal has no case")
    bad = [
        rump,
        rump + b":INTERNAL:" + b"0" * 64,
        rump + b":INTERNAL:" + token[:-2],
        rump + b":INTERNAL:" + token + b"00",
        rump + b":INTERNAL:" + token[:-1] + (b"0" if token[-1:] != b"0" else b"1"),
        rump + b":INTERNAL:" + token[:32],
        rump + b":XSAMPLE:" + token,
        rump + b":INTERNAL:" + other,
        rump + b":INTERNAL:" + own,
        good.replace(b"uid=1", b"uid=2"),
        good.replace(b"uid=1", b"UID=1"),
        good.replace(b"INBOX", b"Archive.2026"),
        good.replace(b"INBOX", b"inbox"),
        good.replace(b"ann%40", b"bob%40"),
        good.replace(b"ann%40", b"nobody%40"),
        good.replace(b"localhost", b"localhost2"),
        good.replace(b"user+bob", b"user+b%6fb"),
        good.replace(b";urlauth", b"/;section=TEXT;urlauth"),
        good.replace(b";urlauth", b";expire=2999-01-01T00:00:00Z;urlauth"),
        good.replace(b"user+bob@example.com", b"authuser"),
        good.replace(b"INBOX", b"../bob/INBOX"),
        good.replace(b"INBOX", b"%2e%2e/%2e%2e/etc"),
        good.replace(b"ann%40example.com", b"..%2fann%40example.com"),
        good.replace(b"imap://", b"//"),
        b"imap://ann%40example.com@localhost/INBOX/;uid=1",
        b"/INBOX/;uid=1",
        b";uid=1",
        b"imap://ann%40example.com@localhost/INBOX/;uid=1;urlauth=authuser:INTERNAL:",
        b"imap:" + b"/" * 3000,
        b"%00" * 100,
    ]
    for url in bad:
        check(fetch(bob, url) is None, url)
    for url in bad:  # and nobody else can make one of his mail
        got = run(bob, b'GENURLAUTH "%s" INTERNAL' % url.split(b":INTERNAL")[0].split(b":XSAMPLE")[0])
        if b"bob%40example.com@localhost/INBOX/;uid=1;" not in url:
            check(not got[0].startswith(b"* GENURLAUTH"), got)
        if got[-1].startswith(b"* BYE"):
            bob = login(BOB)


def bob_with_mail(c):
    run(c, b"APPEND INBOX {6+}\r\na: b\r\n")
    return c


def files_of(name):
    return sorted(os.path.join(folder, x) for folder, dirs, names in os.walk(stack().workdir) for x in dirs + names
                  if name in os.path.join(folder, x))


@case
def a_strangers_url_makes_nothing():
    """A user who never was here gets no Maildir, and a mailbox no key, by what somebody else asks."""
    bob, token = login(BOB), b":INTERNAL:" + b"0" * 64
    before = files_of("carl")
    for name in (b"carl%40example.com@localhost", b"CARL%40example.com@localhost", b"carl@example.com"):
        for box in (b"INBOX", b"Sent", b"a/b"):
            check(fetch(bob, b"imap://%s/%s/;uid=1;urlauth=authuser%s" % (name, box, token)) is None, name)
    equal(files_of("carl"), before, "carl's files")
    ann = login(ANN)
    run(ann, b"CREATE keyless")
    for c in (ann, bob):
        check(fetch(c, RUMP.replace(b"INBOX", b"keyless") + b"authuser" + token) is None, "a key that is not there")
    check(not [f for f in files_of("keyless") if f.endswith("postern-metadata")], "a key was made by URLFETCH")


@case
def a_key_ends_with_its_mailbox():
    ann, bob = login(ANN), login(BOB)
    run(ann, b"CREATE gone")
    run(ann, b"APPEND gone {%d+}\r\n%s" % (len(SECRET), SECRET))
    url = generate(ann, RUMP.replace(b"INBOX", b"gone") + b"authuser")
    check(fetch(bob, url), "while it is there")
    run(ann, b"DELETE gone")
    check(fetch(bob, url) is None, "deleted")
    run(ann, b"CREATE gone")
    run(ann, b"APPEND gone {%d+}\r\n%s" % (len(SECRET), SECRET))
    check(fetch(bob, url) is None, "another of that name")


@case
def keys_survive_index_and_restart():
    ann, bob = login(ANN), login(BOB)
    url = generate(ann, RUMP + b"authuser")
    run(ann, b"LOGOUT")
    run(bob, b"LOGOUT")
    stack().stop()
    removed = 0
    for folder, _, names in os.walk(stack().workdir):
        for name in names:
            if name.startswith("postern-index") and "ann" in folder:
                os.unlink(os.path.join(folder, name))
                removed += 1
            if name == "postern-metadata":
                check(os.stat(os.path.join(folder, name)).st_mode & 0o077 == 0, "nobody else may read keys")
    check(removed > 0, "an index was there")
    stack().start()
    check(fetch(login(BOB), url), "after a restart without the index")


@case
def long_and_many():
    """A message longer than what a command keeps in memory, many URLs, and a client that goes away meanwhile."""
    ann, bob = login(ANN), login(BOB)
    big = b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 200000
    run(ann, b"CREATE big")
    run(ann, b"APPEND big {%d+}\r\n%s" % (len(big), big))
    url = generate(ann, RUMP.replace(b"INBOX", b"big") + b"authuser")
    check(fetch(bob, url).endswith(big), "all of it")
    small = generate(ann, RUMP + b"authuser")
    bob.send(b"m URLFETCH" + b" " + b" ".join([b'"%s"' % small, b'"%s"' % url.replace(b"big", b"none"),
                                                 b'"imap://nobody@localhost/INBOX/;uid=1;urlauth=authuser:INTERNAL:%s"'
                                                 % (b"0" * 64)] * 20) + b"\r\n")
    for _ in range(20):
        check(bob.response().endswith(SECRET), "ann's")
        check(bob.response().endswith(b" NIL"), "no such mailbox")
        check(bob.response().endswith(b" NIL"), "no such user")
    check(bob.response().startswith(b"m OK"), "end")
    gone = login(BOB)
    gone.send(b'g URLFETCH "%s" "%s"\r\n' % (url, small))
    gone.close()
    check(fetch(login(BOB), small), "others go on")


@case
def others_have_their_turn():
    """Commands of many URLs of a large message take turns with those of the user's other sessions."""
    ann, other = login(ANN), login(ANN)
    large = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 500000
    run(ann, b"CREATE large")
    run(ann, b"APPEND large {%d+}\r\n%s" % (len(large), large))
    url = generate(ann, RUMP.replace(b"INBOX", b"large").replace(b";urlauth", b"/;partial=0.1;urlauth") + b"authuser")
    for command in (b"APPEND INBOX CATENATE (" + b" ".join([b"URL /large/;uid=1/;partial=0.1"] * 1500) + b")",
                    b"URLFETCH" + (b" " + url) * 300):
        long = [login(ANN), login(ANN)]  # as many as there are threads for a user
        for c in long:
            c.send(b"l " + command + b"\r\n")
        check(run(other, b"NOOP")[-1].startswith(b"t OK"), "NOOP")
        for c in long:
            c.s.setblocking(False)
            try:
                check(b"l OK" not in c.input + c.s.recv(1 << 20), "%s was over first" % command[:20])
            except BlockingIOError:
                pass
            c.close()


main()
