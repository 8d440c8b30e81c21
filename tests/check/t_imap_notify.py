#!/usr/bin/env python3
# NOTIFY (RFC 5465) over the whole stack: mailboxes that are not selected and that lmtpd, pop3d or a foreign program changes; what is
# too much; a client that does not read.
import os
import poplib
import re
import shutil
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from imapscript import Client
from stack import Stack

USERS = ["n%d@example.com" % i for i in range(12)]
WAIT_S = 20
_stack = []
_users = iter(USERS)


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=USERS,
                            extra_conf=["disable_plaintext_auth = no", "imapd_processes = 2", "recipient_delimiter = +",
                                        "lmtp_save_to_detail_mailbox = yes", "lda_mailbox_autocreate = yes"]).start())
        at_end(_stack[0].stop)
    return _stack[0]


class Session(Client):
    def __init__(self, user):
        super().__init__(("127.0.0.1", stack().ports["imap"]), timeout_s=WAIT_S)
        self.login(user, "pass")

    def say(self, line):
        """A command; its untagged responses. It must succeed."""
        self.send(("t %s\r\n" % line).encode())
        out = []
        while True:
            r = self.response().decode()
            if r.startswith("t "):
                check(r.startswith("t OK"), "%s: %s" % (line, r))
                return out
            out.append(r)

    def hears(self, pattern, among=()):
        """The next response that comes unasked; those that match `among` are passed over."""
        while True:
            try:
                r = self.response().decode()
            except TimeoutError:
                fail("nothing came, not %r" % pattern)
            m = re.fullmatch(pattern, r, re.S)
            if m:
                return m
            check(any(re.fullmatch(a, r, re.S) for a in among), "heard %r, not %r" % (r, pattern))

    def hears_nothing(self, seconds=1):
        time.sleep(seconds)
        check(self.is_quiet(), "heard %r" % self.input)


def deliver(*rcpts):
    c = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    c.settimeout(WAIT_S)
    c.connect(os.path.join(stack().queue_dir, "private", "dovecot-lmtp"))
    f = c.makefile("rb")

    def expect(code):
        while True:
            line = f.readline().decode()
            check(line.startswith(code), "expected %s, got %r" % (code, line))
            if line[3:4] == " ":
                return

    expect("220")
    for line in ["LHLO client.test", "MAIL FROM:<s@remote.test>"] + ["RCPT TO:<%s>" % r for r in rcpts]:
        c.sendall((line + "\r\n").encode())
        expect("250")
    c.sendall(b"DATA\r\n")
    expect("354")
    c.sendall(b"Subject: delivered\r\n\r\nx\r\n.\r\n")
    for _ in rcpts:
        expect("250")
    c.close()


def detail(user, folder):
    return user.replace("@", "+%s@" % folder)


def folder(user, name):
    return os.path.join(stack().maildir(user), name)


def write(user, name, file, into="new"):
    """As a foreign program writes into a Maildir."""
    there = os.path.join(folder(user, name), "tmp", file)
    with open(there, "w") as f:
        f.write("Subject: foreign\n\nx\n")
    os.rename(there, os.path.join(folder(user, name), into, file))


def new_folder(user, name, at=None):
    for part in ("tmp", "new", "cur"):
        os.makedirs(os.path.join(at or folder(user, name), part), mode=0o700)
    if at:
        os.rename(at, folder(user, name))


@case
def a_delivery_into_a_folder_is_told():
    user = next(_users)
    with_status = Session(user)
    with_status.say("CREATE Lists")
    told = with_status.say("NOTIFY SET STATUS (PERSONAL (MessageNew MessageExpunge MailboxName))")
    check(any(r.startswith("* STATUS Lists (MESSAGES 0 ") for r in told), "no status: %r" % told)
    deliver(detail(user, "Lists"))
    with_status.hears(r"\* STATUS Lists \(MESSAGES 1 UIDNEXT 2 UNSEEN 1\)")
    # and into one that lmtpd makes
    deliver(detail(user, "Fresh"))
    with_status.hears(r'\* LIST \(\\HasNoChildren\) "\." Fresh')
    with_status.hears(r"\* STATUS Fresh \(MESSAGES 1 .*\)")
    deliver(detail(user, "Fresh"))
    with_status.hears(r"\* STATUS Fresh \(MESSAGES 2 UIDNEXT 3 UNSEEN 2\)")


@case
def a_foreign_program_is_heard():
    user = next(_users)
    s = Session(user)
    s.say("CREATE Work")
    s.say("NOTIFY SET (PERSONAL (MessageNew MessageExpunge FlagChange MailboxName))")
    write(user, ".Work", "1.a")
    s.hears(r"\* STATUS Work \(MESSAGES 1 UIDNEXT 2 UNSEEN 1\)")
    os.rename(os.path.join(folder(user, ".Work"), "new", "1.a"), os.path.join(folder(user, ".Work"), "cur", "1.a:2,S"))
    s.hears(r"\* STATUS Work \(UNSEEN 0\)")
    os.unlink(os.path.join(folder(user, ".Work"), "cur", "1.a:2,S"))
    s.hears(r"\* STATUS Work \(MESSAGES 0 UIDNEXT 2 UNSEEN 0\)")
    # folders
    new_folder(user, ".Theirs", at=os.path.join(stack().maildir(user), "making"))
    s.hears(r'\* LIST \(\\HasNoChildren\) "\." Theirs')
    write(user, ".Theirs", "2.a")
    s.hears(r"\* STATUS Theirs \(MESSAGES 1 .*\)")
    os.rename(folder(user, ".Theirs"), folder(user, ".Others"))
    s.hears(r'\* LIST \(\\HasNoChildren\) "\." Others \("OLDNAME" \(Theirs\)\)')
    write(user, ".Others", "3.a")
    s.hears(r"\* STATUS Others \(MESSAGES 2 .*\)")
    shutil.rmtree(folder(user, ".Others"))
    s.hears(r'\* LIST \(\\NonExistent\) "\." Others', among=[r"\* STATUS Others .*"])
    # INBOX is the folder around all of them
    write(user, "", "4.a")
    s.hears(r"\* STATUS INBOX \(MESSAGES 1 UIDNEXT 2 UNSEEN 1\)")
    s.hears_nothing()


@case
def the_selected_mailbox_is_heard_without_idle():
    user = next(_users)
    s = Session(user)
    s.say("SELECT INBOX")
    s.say("NOTIFY SET (SELECTED (MessageNew (UID FLAGS BODY.PEEK[TEXT]) MessageExpunge FlagChange))")
    deliver(user)
    s.hears(r"\* 1 EXISTS")
    s.hears(r"\* 1 FETCH \(UID 1 FLAGS \(.*\) BODY\[TEXT\] \{3\}\r\nx\r\n\)", among=[r"\* 1 RECENT"])
    deliver(user)
    s.hears(r"\* 2 EXISTS")
    s.hears(r"\* 2 FETCH \(UID 2 .*\)", among=[r"\* . RECENT"])
    pop = poplib.POP3("127.0.0.1", stack().ports["pop3"], timeout=WAIT_S)
    pop.user(user)
    pop.pass_("pass")
    pop.dele(1)
    pop.quit()
    s.hears(r"\* 1 EXPUNGE", among=[r"\* \d FETCH \(UID 1 FLAGS .*\)"])
    # of the one that is selected now
    s.say("CREATE Two")
    s.say("SELECT Two")
    deliver(detail(user, "Two"))
    s.hears(r"\* 1 EXISTS", among=[r"\* . RECENT"])
    s.hears(r"\* 1 FETCH \(UID 1 .*\)", among=[r"\* . RECENT"])
    s.say("UNSELECT")
    deliver(detail(user, "Two"), user)
    s.hears_nothing()


@case
def pop3_takes_messages_from_a_mailbox_that_is_not_selected():
    user = next(_users)
    s = Session(user)
    deliver(user)
    deliver(user)
    s.say("NOTIFY SET STATUS (MAILBOXES INBOX (MessageNew MessageExpunge))")
    pop = poplib.POP3("127.0.0.1", stack().ports["pop3"], timeout=WAIT_S)
    pop.user(user)
    pop.pass_("pass")
    pop.dele(2)
    pop.quit()
    s.hears(r"\* STATUS INBOX \(MESSAGES 1 UIDNEXT 3 UNSEEN 1\)")


def lose_events():
    """What a process says whose datagrams found no room."""
    for name in os.listdir(os.path.join(stack().queue_dir, "private")):
        if name.startswith("imapd-notify-"):
            c = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            c.sendto(b"test\t*\t*\n", os.path.join(stack().queue_dir, "private", name))
            c.close()


@case
def lost_events_are_looked_for_or_nothing_is_told_any_more():
    user = next(_users)
    messages, names = Session(user), Session(user)
    messages.say("CREATE Work")
    messages.say("SELECT INBOX")
    messages.say("NOTIFY SET (SELECTED (MessageNew MessageExpunge)) (PERSONAL (MessageNew MessageExpunge))")
    names.say("SELECT INBOX")
    names.say("NOTIFY SET (SELECTED (MessageNew MessageExpunge)) (PERSONAL (MailboxName))")
    lose_events()
    names.hears(r"\* OK \[NOTIFICATIONOVERFLOW\] .*")
    deliver(user, detail(user, "Work"))
    messages.hears(r"\* 1 EXISTS")
    messages.hears(r"\* STATUS Work \(MESSAGES 1 UIDNEXT 2 UNSEEN 1\)", among=[r"\* 1 RECENT"])
    messages.say("CREATE Mine")
    names.hears_nothing()
    equal(names.say("NOOP"), [])  # as after NOTIFY NONE
    # until it asks again
    told = names.say("NOTIFY SET (SELECTED (MessageNew MessageExpunge)) (PERSONAL (MailboxName))")
    check("* 1 EXISTS" in told, "heard %r" % told)
    messages.say("CREATE More")
    names.hears(r'\* LIST \(\\HasNoChildren\) "\." More')


@case
def too_many_names_are_refused():
    user = next(_users)
    s = Session(user)
    s.send(b"t NOTIFY SET (MAILBOXES (%s) (MessageNew MessageExpunge))\r\n" % b" ".join(b"x%d" % i for i in range(1001)))
    got = s.response().decode()
    check(got.startswith("t NO [NOTIFICATIONOVERFLOW] "), got)
    s.say("NOTIFY SET (MAILBOXES (%s) (MessageNew MessageExpunge))" % " ".join("x%d" % i for i in range(1000)))


@case
def a_client_that_does_not_read_hears_all_of_it_later():
    user = next(_users)
    s, other = Session(user), Session(user)
    boxes = ["b%d" % i for i in range(60)]
    for b in boxes:
        other.say("CREATE " + b)
    s.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    s.say("NOTIFY SET STATUS (PERSONAL (MessageNew MessageExpunge))")
    big = b"x" * 8000000
    other.send(b"t APPEND INBOX {%d+}\r\n%s\r\n" % (len(big), big))
    other.response()
    s.say("SELECT INBOX")
    s.send(b"f FETCH 1 BODY.PEEK[]\r\n")  # its answer fills what there is
    for b in boxes:
        other.send(b"t APPEND %s {4+}\r\nx\r\n\r\n" % b.encode())
        other.response()
    time.sleep(1)
    while not s.response().startswith(b"f OK"):
        pass
    told = set()
    while len(told) < len(boxes):
        told.add(s.hears(r"\* STATUS (\S+) \(MESSAGES 1 .*\)", among=[r"\* STATUS INBOX .*"]).group(1))
    equal(told, set(boxes))


main()
