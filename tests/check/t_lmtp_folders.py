#!/usr/bin/env python3
# Where lmtpd's copies go: folders named by the detail of an address, and one file for several recipients.
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USERS = ["u0@example.com", "u1@example.com", "u2@example.com"]
_stack = {}


def stack(*conf):
    if conf not in _stack:
        s = Stack(tmp("s%d" % len(_stack)), users=USERS, extra_conf=["recipient_delimiter = +"] + list(conf))
        s.start()
        at_end(s.stop)
        _stack[conf] = s
    return _stack[conf]


def send(s, rcpts, *header):
    c = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    c.settimeout(20)
    c.connect(os.path.join(s.queue_dir, "private", "dovecot-lmtp"))
    f = c.makefile("rb")

    def expect(code):
        while True:
            line = f.readline().decode()
            check(line.startswith(code), "expected %s, got %r" % (code, line))
            if line[3:4] == " ":
                return line

    expect("220")
    for line in ["LHLO client.test", "MAIL FROM:<s@remote.test>"] + ["RCPT TO:<%s>" % r for r in rcpts]:
        c.sendall((line + "\r\n").encode())
        expect("250")
    c.sendall(b"DATA\r\n")
    expect("354")
    c.sendall(("\r\n".join(list(header) + ["", "x", ".", ""])).encode())
    for _ in rcpts:
        expect("250")
    c.close()


def files(s, address, folder=""):
    place = os.path.join(s.maildir(address), folder, "new")
    return [os.path.join(place, f) for f in os.listdir(place)] if os.path.isdir(place) else []


def text_of(path):
    with open(path) as f:
        return f.read()


@case
def the_detail_is_a_folder():
    s = stack("lmtp_save_to_detail_mailbox = yes", "lda_mailbox_autocreate = yes", "lda_mailbox_autosubscribe = yes")
    send(s, ["u0+Lists@example.com", "u0@example.com", "u0+a..b@example.com"], "Subject: detail")
    equal(len(files(s, USERS[0], ".Lists")), 1)
    equal(len(files(s, USERS[0])), 2)  # a name that is none is INBOX, too
    with open(os.path.join(s.maildir(USERS[0]), "subscriptions")) as f:
        check("Lists" in f.read().split("\n"), "not subscribed")


@case
def an_absent_folder_is_not_made_unasked():
    s = stack("lmtp_save_to_detail_mailbox = yes")
    send(s, ["u1+Lists@example.com"], "Subject: detail")
    equal(len(files(s, USERS[1])), 1)
    check(not os.path.exists(os.path.join(s.maildir(USERS[1]), ".Lists")), "it was made")
    for part in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(s.maildir(USERS[1]), ".Lists", part), mode=0o700)
    send(s, ["u1+Lists@example.com"], "Subject: detail")
    equal(len(files(s, USERS[1], ".Lists")), 1)
    equal(len(files(s, USERS[1])), 1)


@case
def without_the_parameter_it_is_inbox():
    s = stack()
    send(s, ["u2+Trash@example.com"], "Subject: plain")
    equal(len(files(s, USERS[2])), 1)
    check("Delivered-To: u2@example.com\n" in text_of(files(s, USERS[2])[0]), "no Delivered-To")


@case
def delivered_to_as_it_came():
    s = stack("lmtp_hdr_delivery_address = original")
    send(s, ["U0+x@example.com"], "Subject: original")
    check("Delivered-To: U0+x@example.com\n" in text_of(files(s, USERS[0])[0]), "another Delivered-To")


@case
def copies_that_are_equal_are_one_file():
    s = stack("lmtp_hdr_delivery_address = none")
    send(s, USERS, "Subject: for all")
    paths = [files(s, u)[0] for u in USERS]
    text = text_of(paths[0])
    check("Delivered-To:" not in text and "\tfor <" not in text, "a copy tells whose it is: %r" % text)
    equal(len(set(os.stat(p).st_ino for p in paths)), 1)
    os.unlink(paths[0])
    equal(text_of(paths[1]), text)
    # with the address in them they are not equal
    s = stack()
    send(s, USERS, "Subject: for each")
    paths = [max(files(s, u), key=os.path.getmtime) for u in USERS]
    equal(len(set(os.stat(p).st_ino for p in paths)), 3)


main()
