#!/usr/bin/env python3
# The same POP3 dialogues with a real Dovecot and with Postern, on the same Maildir: what they say, what they log at the end and what
# they leave on the disk must be the same. What we have beyond Dovecot is masked: UTF8, LANG, EXPIRE, IMPLEMENTATION.
# timeout: 600
import base64
import os
import re
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from refstack import RefStack, UIDS
from stack import Stack

USERS = ["u%d@example.com" % i for i in range(30)]
MESSAGES = [
    (b"Subject: one\r\n\r\nbody\r\n", "S"),
    (b"Subject: lf\nX: y\n\nbody\n.dot\n..\n\n.\n", ""),
    (b"Subject: no end of line\r\n\r\nx\r\n.y", ""),
    (b"Subject: no end of header\r\nX: y\r\n", ""),
    (b"Subject: nul\r\n\r\na\0b\r\n\0\r\n", ""),
    (b"Subject: cr\r\n\r\na\rb\r.c\r\n\r\r\n", ""),
    (b"Subject: 8 bit\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nk\xc3\xb6ln\r\n", ""),
    (b"Subject: x-uidl\r\nX-UIDL: mine\r\n\r\n" + b"".join(b"line %d\r\n" % i for i in range(300)), ""),
    (b"\r\n.no header\r\n", "S"),
]
SETTINGS = {
    "plain": [],
    "names": ["pop3_uidl_format = %f", "pop3_reuse_xuidl = yes", "pop3_enable_last = yes"],
    "odd": ["pop3_uidl_format = %02.8Xu%.2v-%Rg", "pop3_uidl_duplicates = rename", "pop3_deleted_flag = POP3Deleted",
            "pop3_client_workarounds = outlook-no-nuls oe-ns-eoh", "pop3_no_flag_updates = yes",
            "pop3_logout_format = top=%t/%p retr=%r/%b del=%d/%m size=%s %{deleted_bytes} %{uidl_change}"],
    "same": ["pop3_uidl_format = %.4g", "pop3_uidl_duplicates = rename", "pop3_save_uidl = yes", "pop3_lock_session = yes",
             "pop3_fast_size_lookups = yes"],
}
DIALOGUES = {
    "numbers": "STAT/STAT 1/LIST/LIST 2/LIST 0/LIST 10/LIST x/LIST 1 2/LIST  1/LIST 1 /LIST -1/LIST 4294967296/LIST 99999999999999999999/"
               "UIDL/UIDL 3/UIDL 0/UIDL 77/UIDL a/UIDL 1 1/noop/NOOP x//FROB/frob 1/QUIT",
    "messages": "RETR 1/RETR 2/RETR 3/RETR 4/RETR 5/RETR 6/RETR 7/RETR 8/RETR 9/RETR/RETR 0/RETR 10/RETR 1 1/rEtR 1/QUIT",
    "top": "TOP 1 0/TOP 1 1/TOP 2 0/TOP 2 1/TOP 2 2/TOP 2 99/TOP 3 1/TOP 3 2/TOP 4 0/TOP 4 7/TOP 5 1/TOP 8 10/TOP 9 0/TOP 9 1/TOP 1/TOP 1 x/"
           "TOP 1 -1/TOP 1 1 1/TOP 1  2/TOP/TOP 1 99999999999999999999/QUIT",
    "deletes": "DELE 2/DELE 2/DELE 0/DELE/DELE 5/STAT/LIST/LIST 2/RETR 2/TOP 5 1/UIDL/UIDL 5/RSET/STAT/DELE 1/RETR 3/DELE 9/LAST/QUIT",
    "last": "LAST/RETR 4/LAST/RETR 2/LAST/RSET/LAST/QUIT",
    "nothing": "QUIT",
    "gone": "DELE 1/RETR 3/UIDL",
    "bad": "/".join(["FROB"] * 19 + ["LIST 99", "STAT", "RETR 99"] + ["FROB"] * 25),
    "many": "/".join("LIST %d" % (i % 12) for i in range(19)) + "/STAT/QUIT",
}
BEFORE = {
    "names": "USER x/STAT/FROB/PASS y/PASS y/USER/QUIT",
    "auth": "AUTH/AUTH /AUTH NONE/AUTH PLAIN/*/QUIT",
    "base64": "AUTH PLAIN/!!!/QUIT",
    "initial-base64": "AUTH PLAIN !!!/QUIT",
    "initial": "auth plain @PLAIN@/STAT/QUIT",
    "continued": "AUTH PLAIN/@PLAIN@/STAT/QUIT",
    "cased": "user @USER@/pass pass/STAT/QUIT",
    "capa": "CAPA/QUIT",
    "quit": "QUIT/STAT",
}
_pairs = {}


def fill(maildir, owner=None):
    for sub in ("tmp", "new", "cur"):
        os.makedirs(os.path.join(maildir, sub), exist_ok=True)
    lines = ["3 V1234567890 N%d G0123456789abcdef0123456789abcdef" % (len(MESSAGES) * 3 + 3)]
    for i, (text, flags) in enumerate(MESSAGES):
        base = "15786%05d.M%dP1.h,S=%d" % (i, i, len(text))
        with open(os.path.join(maildir, "cur", "%s:2,%s" % (base, flags)), "wb") as f:
            f.write(text)
        lines.append("%d %s:%s" % (i * 3 + 2, "Pkept%d " % i if i == 4 else "", base))
    with open(os.path.join(maildir, "dovecot-uidlist"), "w") as f:
        f.write("\n".join(lines) + "\n")
    if owner:
        for folder in (maildir, os.path.dirname(maildir)):
            for at, _, names in os.walk(folder):
                for n in [at] + [os.path.join(at, n) for n in names]:
                    os.chown(n, owner, owner)


def pair(name):
    if name not in _pairs:
        settings = SETTINGS[name]
        ref = RefStack(tmp("r" + name), parts=("dovecot",), users=USERS,
                       dovecot_conf=["disable_plaintext_auth = no", "protocol pop3 {", *settings, "}",
                                     "service anvil {", "unix_listener anvil-auth-penalty {", "mode = 0", "}", "}"]).start()
        at_end(ref.stop)
        ours = Stack(tmp("o" + name), users=USERS, extra_conf=["disable_plaintext_auth = no", *settings]).start()
        at_end(ours.stop)
        _pairs[name] = (ref, ours)
    return _pairs[name]


def talk(port, user, dialogue, login):
    lines = dialogue.split("/")
    if login:
        lines = ["USER " + user, "PASS pass"] + lines
    plain = base64.b64encode(b"\0%s\0pass" % user.encode()).decode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
        f = s.makefile("rb")
        got = f.readline()
        if login:
            s.sendall("\r\n".join(lines).encode() + b"\r\n")
            s.shutdown(socket.SHUT_WR)
            return got + f.read()
        for line in lines:  # one by one: a failed login is answered late
            try:
                s.sendall(line.replace("@USER@", user).replace("@PLAIN@", plain).encode() + b"\r\n")
                s.settimeout(6 if line == "PASS y" else 1.5)
                while piece := s.recv(65536):
                    got += piece
                    s.settimeout(0.3)
            except OSError:
                pass
        return got


def mask(octets):
    text = octets.decode("latin-1").replace("Dovecot (Debian) ready", "Postern ready").replace("Dovecot ready", "Postern ready")
    return re.sub(r"(UTF8 USER|LANG|EXPIRE NEVER|IMPLEMENTATION Postern)\r\n", "", text)


def end_line(log, user):
    found = re.findall(r"pop3\(%s\)<\d+><[^>]+>: (?:Info: )?(Disconnected: .*)" % re.escape(user), log)
    return [re.sub(r" in=\d+, out=\d+.*", "", line) for line in found]


def left(maildir):
    return sorted(re.sub(r",W=\d+", "", n) for sub in ("new", "cur") for n in os.listdir(os.path.join(maildir, sub)))


def both(name, user, dialogue, login=True):
    ref, ours = pair(name)
    theirs_dir = os.path.join(ref.mail_root, *reversed(user.split("@")))
    fill(theirs_dir, UIDS["vmail"])
    fill(ours.maildir(user))
    want = mask(talk(ref.ports["pop3"], user, dialogue, login)).split("\r\n")
    got = mask(talk(ours.ports["pop3"], user, dialogue, login)).split("\r\n")
    for i, (w, g) in enumerate(zip(want + ["(end)"], got + ["(end)"])):
        equal(g, w, "%s: line %d, after %r" % (name, i, want[max(0, i - 3):i]))
    equal(len(got), len(want), "lines")
    if login:
        wait_for(lambda: end_line(ref.log(), user) and end_line(ours.log(), user), 10, "the log lines")
        equal(end_line(ours.log(), user), end_line(ref.log(), user), "log")
        # Without QUIT Dovecot keeps \\Seen in its index until the next sync.
        cut = ":" if "QUIT" not in dialogue else "/"
        equal([n.split(cut)[0] for n in left(ours.maildir(user))], [n.split(cut)[0] for n in left(theirs_dir)], "files")


for setting in SETTINGS:
    for number, dialogue in enumerate(DIALOGUES):
        def one(s=setting, n=number, d=dialogue):
            both(s, USERS[n], DIALOGUES[d])

        one.__name__ = "%s_%s" % (setting, dialogue)
        case(one)

for number, dialogue in enumerate(BEFORE):
    def one(n=number, d=dialogue):
        both("plain", USERS[20 + n], BEFORE[d], login=False)

    one.__name__ = "before_" + dialogue.replace("-", "_")
    case(one)

main()
