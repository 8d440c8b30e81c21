#!/usr/bin/env python3
# The users' database from outside: postern sql, domain, user and alias, and what authd makes of it while it runs.
# timeout: 240
import base64
import contextlib
import json
import os
import pty
import re
import select
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack, guide

_stack = []


def stack():
    if not _stack:
        s = Stack(tmp("s"), extra_conf=["auth_failure_delay = 0", "auth_verbose = yes"]).start()
        _stack.append(s)
        at_end(s.stop)
    return _stack[0]


@contextlib.contextmanager
def idle(name, users=True):
    """A configuration that nobody serves; users: with the guide's in it."""
    s = Stack(tmp(name), aliases={})
    s.configure()
    if not users:
        shutil.rmtree(s.path("data"))
    yield s
    shutil.rmtree(s.workdir)


def refused(s, status, words, *argv, input=None):
    r = s.postern(*argv, input=input, ok=False)
    equal(r.returncode, status, "exit status of postern %s" % " ".join(argv))
    text = r.stderr.decode()
    check(words in text, "%r in %r" % (words, text))


# ------------------------------------------------------------------------------------------- authd's sockets


def door(name):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(os.path.join(stack().queue_dir, "private", name))
    return s


def lookup(*asked):
    """What private/lookup answers to these "name key" questions, asked at once."""
    with door("lookup") as s:
        s.sendall(b"".join(b"%d:%s," % (len(q), q) for q in (a.encode() for a in asked)))
        got = b""
        answers = []
        while len(answers) < len(asked):
            at = got.find(b":")
            if at < 0 or len(got) < at + 2 + int(got[:at]):
                more = s.recv(65536)
                check(more, "authd goes on answering")
                got += more
                continue
            n = int(got[:at])
            answers.append(got[at + 1:at + 1 + n].decode())
            got = got[at + 2 + n:]
    return answers if len(answers) > 1 else answers[0]


class Auth:
    def __enter__(self):
        self.s = door("auth")
        self.f = self.s.makefile("rwb")
        self.n = 0
        while self.f.readline() != b"DONE\n":
            pass
        self.f.write(b"VERSION\t1\t2\nCPID\t1\n")
        return self

    def __exit__(self, *exc):
        self.f.close()
        self.s.close()

    def send(self, user, password, rip="127.0.0.1"):
        self.n += 1
        resp = base64.b64encode(b"\0" + user.encode() + b"\0" + password.encode()).decode()
        self.f.write(("AUTH\t%d\tPLAIN\tservice=smtp\tnologin\tsecured\trip=%s\tresp=%s\n" % (self.n, rip, resp)).encode())
        self.f.flush()

    def reply(self):
        return self.f.readline().decode().rstrip("\n").split("\t")

    def plain(self, user, password, **more):
        self.send(user, password, **more)
        return self.reply()


# ------------------------------------------------------------------------------------------- postern sql


@case
def the_guides_sql_runs_as_it_is_and_not_twice():
    with idle("guide") as s:
        equal(s.postern("sql", "--batch", "-e", "SELECT id, name FROM virtual_domains ORDER BY id"),
              "id\tname\n1\texample.com\n2\thostname.example.com\n3\thostname\n4\tlocalhost.example.com\n")
        rows = json.loads(s.postern("sql", "--json", "-e", "SELECT * FROM `mailserver`.`virtual_users`"))
        equal([r["email"] for r in rows], ["email1@example.com", "email2@example.com"])
        check(all(re.fullmatch(r"\$6\$[0-9a-f]{16}\$[./0-9A-Za-z]{86}", r["password"]) for r in rows), "SHA512-CRYPT")
        check(rows[0]["password"] != rows[1]["password"], "two salts")
        refused(s, 65, "line 1, CREATE: ", "sql", input=guide("mailserver.sql").encode())
        equal(s.postern("sql", "-B", "-e", "SELECT COUNT(*) AS n FROM virtual_domains"), "n\n4\n")


@case
def a_wrong_line_changes_nothing():
    with idle("wrong") as s:
        refused(s, 65, "line 3: no statement begins with 'FROB'", "sql",
                input=b"DELETE FROM virtual_aliases;\nDELETE FROM virtual_users;\nFROB;\n")
        refused(s, 65, "line 2, INSERT", "sql", input=b"DELETE FROM virtual_aliases;\nINSERT INTO nowhere VALUES (1);\n")
        equal(s.postern("sql", "-B", "-e", "SELECT COUNT(*) AS n FROM virtual_aliases"), "n\n1\n")
        refused(s, 65, "No such file", "sql", "/nonexistent/file")
        refused(s, 64, "-e needs a statement", "sql", "-e")


@case
def a_dump_replaces_the_tables():
    dump = """-- MySQL dump 10.13
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
DROP TABLE IF EXISTS `virtual_aliases`;
CREATE TABLE `virtual_aliases` (
  `id` int NOT NULL AUTO_INCREMENT, `domain_id` int NOT NULL, `source` varchar(100) NOT NULL,
  `destination` varchar(100) NOT NULL, PRIMARY KEY (`id`), KEY `domain_id` (`domain_id`),
  CONSTRAINT `virtual_aliases_ibfk_1` FOREIGN KEY (`domain_id`) REFERENCES `virtual_domains` (`id`) ON DELETE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=2 DEFAULT CHARSET=utf8mb3;
LOCK TABLES `virtual_aliases` WRITE;
/*!40000 ALTER TABLE `virtual_aliases` DISABLE KEYS */;
INSERT INTO `virtual_aliases` VALUES (1,7,'o\\'brien@new.example','x@new.example');
UNLOCK TABLES;
DROP TABLE IF EXISTS `virtual_domains`;
CREATE TABLE `virtual_domains` (`id` int NOT NULL AUTO_INCREMENT, `name` varchar(50) NOT NULL, PRIMARY KEY (`id`)) ENGINE=InnoDB;
INSERT INTO `virtual_domains` VALUES (7,'new.example');
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
"""
    with idle("dump") as s:
        for _ in range(2):
            r = s.postern("sql", input=dump.encode(), ok=False)
            equal(r.returncode, 0, "import: %r" % r.stderr)
            check(b"virtual_users has rows whose domain does not exist" in r.stderr, "orphans are told: %r" % r.stderr)
            equal(s.postern("alias", "list", "--json").split(), '[ {"alias": "o\'brien@new.example", "destination": '
                  '"x@new.example"} ]'.split())


# ------------------------------------------------------------------------------------------- domain, user, alias


@case
def commands_and_their_exit_status():
    with idle("cmd", users=False) as s:
        refused(s, 69, "postern domain add", "user", "list")
        s.postern("domain", "add", "Example.ORG", "b.example")
        equal([d["domain"] for d in json.loads(s.postern("domain", "list", "--json"))], ["b.example", "example.org"])
        refused(s, 65, "there already", "domain", "add", "new.example", "EXAMPLE.org")
        equal(len(json.loads(s.postern("domain", "list", "--json"))), 2, "domains after a half wrong command")
        refused(s, 65, "no domain name", "domain", "add", "a b")
        refused(s, 64, "a name is missing", "domain", "add")
        refused(s, 64, "is not known", "domain", "rename")
        s.postern("user", "add", "--stdin", "Anna@example.org", input=b"secret\n")
        refused(s, 65, "there already", "user", "add", "--stdin", "anna@EXAMPLE.org", input=b"x\n")
        refused(s, 67, "postern domain add c.example", "user", "add", "--stdin", "a@c.example", input=b"x\n")
        refused(s, 65, "is no address", "user", "add", "--stdin", "anna", input=b"x\n")
        refused(s, 65, "the password is empty", "user", "add", "--stdin", "bob@example.org", input=b"\n")
        refused(s, 64, "too many names", "user", "add", "bob@example.org", "password")
        refused(s, 65, "no terminal", "user", "add", "bob@example.org")
        refused(s, 67, "there is no user", "user", "password", "--stdin", "bob@example.org", input=b"x\n")
        s.postern("alias", "add", "@b.example", "anna@example.org", "x@elsewhere.example")
        refused(s, 65, "already", "alias", "add", "@b.example", "anna@example.org")
        refused(s, 67, "not hosted", "alias", "add", "a@c.example", "anna@example.org")
        equal(len(json.loads(s.postern("alias", "list", "--json", "b.example"))), 2)
        s.postern("alias", "remove", "@b.example", "x@elsewhere.example")
        refused(s, 67, "there is no alias", "alias", "remove", "@b.example", "x@elsewhere.example")
        refused(s, 65, "1 users and 0 aliases", "domain", "remove", "example.org")
        s.postern("domain", "remove", "--force", "example.org")
        equal(s.postern("user", "list", "--json").strip(), "[]")
        refused(s, 67, "there is no domain", "domain", "remove", "example.org")
        equal(os.stat(s.path("data", "mailserver.db")).st_mode & 0o777, 0o600, "mode of the database")


def type_at(argv, lines):
    """Run at a terminal, typing each line after a prompt; what was shown, and the exit status."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(argv[0], argv)
    shown = b""
    for line in lines:
        until = time.monotonic() + 20
        while not shown.rstrip(b" ").endswith(b":") and time.monotonic() < until:
            if select.select([fd], [], [], 1)[0]:
                shown += os.read(fd, 4096)
        time.sleep(0.05)  # echo is off by now
        os.write(fd, line)
        shown += b"|"
    with contextlib.suppress(OSError):
        while True:
            more = os.read(fd, 4096)
            if not more:
                break
            shown += more
    os.close(fd)
    return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@case
def a_password_is_asked_for_without_echo():
    with idle("tty") as s:
        argv = [program("postern"), "-c", s.main_cf, "user", "add", "anna@example.com"]
        shown, status = type_at(argv, [b"geheim1\n", b"geheim2\n"])
        equal(status, 65, "two passwords that differ")
        check(b"not the same" in shown and b"geheim" not in shown, "what was shown: %r" % shown)
        shown, status = type_at(argv, [b"geheim1\n", b"geheim1\n"])
        equal(status, 0, "status; %r" % shown)
        check(b"geheim" not in shown, "what was shown: %r" % shown)
        stored = s.postern("sql", "-B", "-e", "SELECT password FROM virtual_users WHERE email = 'anna@example.com'").split()[1]
        want = subprocess.run(["openssl", "passwd", "-6", "-salt", stored.split("$")[2], "geheim1"], stdout=subprocess.PIPE,
                              text=True, check=True).stdout.strip()
        equal(stored, want, "stored hash, beside openssl's")


# ------------------------------------------------------------------------------------------- check


@case
def check_stops_where_all_mail_would_be_refused():
    with idle("check") as s:
        s.postern("check")
        with open(s.path("mysql-virtual-mailbox-maps.cf")) as f:
            good = f.read()
        with open(s.path("mysql-virtual-mailbox-maps.cf"), "w") as f:
            f.write(good.replace("127.0.0.1", "db.example.net"))
        refused(s, 78, "db.example.net", "check")
        refused(s, 78, "mysql_tables = embedded", "serve")
        with open(s.path("mysql-virtual-mailbox-maps.cf"), "w") as f:
            f.write(good.replace("virtual_users", "no_such_table"))
        refused(s, 78, "no_such_table", "check")
        with open(s.path("mysql-virtual-mailbox-maps.cf"), "w") as f:
            f.write(good)
        s.postern("check")
        s.postern("sql", "-e", "DELETE FROM virtual_domains")
        refused(s, 78, "has no domain in it", "check")
        os.unlink(s.path("data", "mailserver.db"))
        refused(s, 78, "mysqldump mailserver | postern sql", "serve")
        check(not os.path.exists(s.path("data", "mailserver.db")), "nothing was made")


# ------------------------------------------------------------------------------------------- while it runs


@case
def changes_are_in_force_at_once():
    s = stack()
    equal(lookup("virtual_mailbox_maps new@example.com"), "NOTFOUND ")
    s.postern("user", "add", "--stdin", "new@example.com", input=b"first\n")
    wait_for(lambda: lookup("virtual_mailbox_maps new@example.com") == "OK 1", 2, "the new user")
    with Auth() as a:
        equal(a.plain("NEW@example.com", "first"), ["OK", "1", "user=new@example.com"])
        equal(a.plain("new@example.com", "second")[0], "FAIL")
        s.postern("user", "password", "--stdin", "new@example.com", input=b"second\n")
        wait_for(lambda: a.plain("new@example.com", "second")[0] == "OK", 2, "the new password")
        equal(a.plain("new@example.com", "first")[0], "FAIL")
        s.postern("user", "remove", "new@example.com")
        wait_for(lambda: a.plain("new@example.com", "second")[0] == "FAIL", 2, "the user's end")


@case
def a_database_that_turns_empty_or_is_locked_bounces_nothing():
    s = stack()
    path = s.path("data", "mailserver.db")
    shutil.copy(path, path + ".old")
    equal(lookup("virtual_mailbox_domains example.com", "virtual_mailbox_domains nowhere.example"), ["OK 1", "NOTFOUND "])
    s.postern("sql", "-e", "DELETE FROM virtual_domains")
    wait_for(lambda: lookup("virtual_mailbox_domains example.com").startswith("TEMP "), 3, "451 with no domain left")
    os.rename(path + ".old", path)  # put back under authd's feet
    wait_for(lambda: lookup("virtual_mailbox_domains example.com") == "OK 1", 5, "the file put back")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        time.sleep(0.2)  # answers stand for a tenth of a second
        began = time.monotonic()
        answers = lookup(*["virtual_mailbox_domains example.com"] * 100)
        check(all(a.startswith("TEMP ") for a in answers), "answers while locked: %r" % answers[:2])
        check(time.monotonic() - began < 5, "one of them waited, not each: %.1f s" % (time.monotonic() - began))
        with Auth() as a:
            reply = a.plain("email1@example.com", "password")
            check(reply[0] == "FAIL" and "temp" in reply, "login while locked: %r" % reply)
        db.execute("ROLLBACK")
    wait_for(lambda: lookup("virtual_mailbox_domains example.com") == "OK 1", 5, "the lock's end")
    check("database is locked" in s.log(), "a log line about the lock")


@case
def who_guesses_waits_behind_himself():
    with Auth() as a:
        for i in range(100):
            a.send("guess%d@example.com" % i, "x", rip="192.0.2.%d" % (i + 1))
        a.send("email1@example.com", "password", rip="198.51.100.7")
        replies = [a.reply() for _ in range(101)]
    refused_unhashed = [r for r in replies if "temp" in r]
    check(20 <= len(refused_unhashed) < 100, "%d of 100 were turned away unhashed" % len(refused_unhashed))
    good = [r for r in replies if r[0] == "OK"]
    equal(good, [["OK", "101", "user=email1@example.com"]], "the login from elsewhere")
    behind = len(replies) - replies.index(good[0]) - 1
    log("%d guesses were turned away unhashed; %d that came before the login from elsewhere were checked after it" %
        (len(refused_unhashed), behind))
    # At least what a network with failures may have waiting (HASH_SUSPECT_PER_SOURCE_MAX), but those that had begun.
    check(behind >= 6, "it did not wait for the guesses: only %d came after it" % behind)


@case
def a_name_that_is_not_there_costs_what_a_wrong_password_costs():
    took = {"wrong password": [], "no such user": []}
    with Auth() as a:
        for _ in range(60):
            for what, user in (("wrong password", "email1@example.com"), ("no such user", "nobody@example.com")):
                began = time.perf_counter()
                equal(a.plain(user, "guess")[0], "FAIL")
                took[what].append((time.perf_counter() - began) * 1000)
    # The fast ones: the machine's other work only ever adds.
    wrong, nobody = (statistics.quantiles(took[w], n=10)[0] for w in ("wrong password", "no such user"))
    log("fastest tenth: wrong password %.2f ms, no such user %.2f ms" % (wrong, nobody))
    check("nobody@example.com,127.0.0.1): unknown user" in stack().log(), "the log tells which it was")
    check(0.7 < nobody / wrong < 1.4, "the two cost the same: %.2f ms and %.2f ms" % (wrong, nobody))


main()
