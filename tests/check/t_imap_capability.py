#!/usr/bin/env python3
# What IMAP clients are offered, before login and after: by default, by imap_capability, by user and by client (ID); what ID
# answers and logs; LITERAL- (RFC 7888 §5).
# timeout: 120
import os
import socket
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USERS = ["u0@example.com", "u1@example.com", "u2@example.org"]
MAPS = "u1@example.com +X-USER -MOVE\n@example.org IMAP4rev1 IDLE\n"


def stack(name, *conf):
    st = Stack(tmp(name), users=USERS, domains=["example.org"], extra_conf=["disable_plaintext_auth = no"] + list(conf))
    st.configure()
    with open(st.path("caps"), "w") as f:
        f.write(MAPS)
    st.start()
    at_end(st.stop)
    return st


class Client:
    def __init__(self, st, port="imap"):
        self.s = socket.create_connection(("127.0.0.1", st.ports[port]), timeout=20)
        if port == "imaps":
            self.s = ssl.create_default_context(cafile=st.cert_file).wrap_socket(self.s, server_hostname="localhost")
        self.f = self.s.makefile("rb")
        self.greeting = self.line()

    def line(self):
        return self.f.readline().decode().rstrip("\r\n")

    def do(self, text, want="OK"):
        self.s.sendall(text.encode() + b"\r\n")
        lines, tag = [self.line()], text.split()[0]
        while lines[-1] and not lines[-1].startswith(tag + " "):
            lines.append(self.line())
        check(lines[-1].startswith("%s %s" % (tag, want)), "%r: %r" % (text, lines))
        return lines

    def capabilities(self):
        return self.do("C CAPABILITY")[0].split()[2:]

    def login(self, user):
        line = self.do("L LOGIN %s pass" % user)[-1]
        names = line[line.index("[CAPABILITY ") + 12:line.index("]")].split()
        equal(names, self.capabilities(), "the same list in LOGIN's reply")
        return names


@case
def by_default():
    st = stack("default")
    c = Client(st)
    before = c.capabilities()
    equal(c.greeting.split("[CAPABILITY ")[1].split("]")[0].split(), before, "the greeting's list")
    for name in ("IMAP4rev1", "IDLE", "LITERAL+", "SASL-IR", "ID", "ENABLE", "STARTTLS", "AUTH=PLAIN"):
        check(before.count(name) == 1, "%s in %r" % (name, before))
    check("LOGINDISABLED" not in before and "NAMESPACE" not in before and "COMPRESS=DEFLATE" not in before, before)
    after = c.login(USERS[0])
    equal(len(after), len(set(after)), "each once: %r" % after)
    for name in ("IMAP4rev1", "COMPRESS=DEFLATE", "UNAUTHENTICATE", "LITERAL+", "MOVE"):
        check(name in after, "%s in %r" % (name, after))
    for name in ("STARTTLS", "AUTH=PLAIN", "QUOTA", "UIDONLY", "LITERAL-", "LOGINDISABLED"):
        check(name not in after, "%s in %r" % (name, after))
    tls = Client(st, "imaps").capabilities()
    check("STARTTLS" not in tls and "AUTH=PLAIN" in tls, tls)
    equal(c.do('a ID ("name" "x")')[0], '* ID ("name" "Postern")', "who we are")
    check("ID sent" not in st.log(), "nothing is logged that nobody asked for")


@case
def by_settings():
    st = stack("set", "imap_capability = -LITERAL+ +LITERAL- +X-ALL -UNSELECT +UIDONLY", "imap_capability_maps = texthash:$config_directory/caps",
               "imap_id_capability = name=\"Out look*\" -SORT +X-OUT; vendor=apple version=1? -IDLE",
               "imap_id_send = name Mailer version 9 os *", "imap_id_log = name version")
    c = Client(st)
    before = c.capabilities()
    check("LITERAL-" in before and "LITERAL+" not in before, before)
    check("X-ALL" not in before and "UIDONLY" not in before, "that is for who is known: %r" % before)
    check(c.do('a ID ("name" "Out Look 16" "os" "x\x01")')[0].startswith('* ID ("name" "Mailer" "version" "9" "os" "Linux"'), "ID")
    names = c.login(USERS[0])
    check(all(x in names for x in ("LITERAL-", "X-ALL", "UIDONLY", "X-OUT", "MOVE")), names)
    check(not any(x in names for x in ("LITERAL+", "UNSELECT", "SORT")), names)
    c.do('b ID ("vendor" "Apple" "version" "12" "name" "mail\x02")')  # the last word counts
    names = c.capabilities()
    check("IDLE" not in names and "SORT" in names and "X-OUT" not in names, names)
    c.do("d ID NIL")
    equal(c.capabilities(), names, "NIL says nothing")
    wait_for(lambda: "imap-login: ID sent: name=Out Look 16: user=<>" in st.log(), 10, "login's log")
    wait_for(lambda: ": ID sent: version=12, name=mail?" in st.log(), 10, "imapd's log")
    # What is not offered works all the same.
    c.do("e SELECT INBOX")
    c.do("f UNSELECT")

    names = Client(st).login(USERS[1])
    check("X-USER" in names and "MOVE" not in names and "X-ALL" in names, names)
    equal(Client(st).login(USERS[2]), ["IMAP4rev1", "IDLE"], "a list of his domain's")


@case
def literals():
    st = stack("minus", "imap_capability = -LITERAL+ +LITERAL-")
    c = Client(st)
    c.login(USERS[0])
    c.do("a APPEND INBOX {4096+}\r\n" + "x" * 4096)
    c.do("b APPEND INBOX {4097+}\r\n" + "x" * 4097, "BAD [TOOBIG]")
    c.do("c CREATE {4097+}\r\n" + "x" * 4097, "BAD [TOOBIG]")
    c.s.sendall(b"d APPEND INBOX {4097}\r\n")
    check(c.line().startswith("+ "), "asked for")
    c.s.sendall(b"x" * 4097 + b"\r\n")
    check(c.line().startswith("d OK"), "and taken")
    # Before login such a literal is no literal of a login: goodbye.
    c = Client(st)
    c.s.sendall(b"a LOGIN {4097+}\r\n")
    check(c.line().startswith("* BYE"), "too long")
    # With LITERAL+ there is no such bound.
    c = Client(stack("plus"))
    c.login(USERS[0])
    c.do("b APPEND INBOX {4097+}\r\n" + "x" * 4097)


@case
def quota_only_where_there_is_one():
    check("QUOTA" in Client(stack("quota", "quota = maildir:User quota", "quota_rule = *:storage=1M")).login(USERS[0]), "with")


@case
def wrong_rules_are_told():
    st = Stack(tmp("wrong"), users=USERS[:1], extra_conf=["imap_id_capability = name=x", "imap_capability = +X]Y"])
    st.configure()
    r = st.postern("check", ok=False)
    check(r.returncode != 0 and b"imap_id_capability" in r.stdout + r.stderr, r)
    check(b"imap_capability: \"+X]Y\" is no name" in r.stdout + r.stderr, r)


main()
