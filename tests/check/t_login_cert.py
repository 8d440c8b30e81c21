#!/usr/bin/env python3
# Client certificates of IMAP and POP3: EXTERNAL is offered to whose certificate names somebody, and nobody comes in by one that
# is another's, expired, of no authority that is trusted, or somebody else's name; auth_ssl_require_client_cert.
# timeout: 60
import base64
import os
import re
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USER, OTHER = "u0@example.com", "u1@example.com"
CONF = ["ssl_verify_client_cert = yes", "auth_mechanisms = plain external", "auth_ssl_username_from_cert = yes", "auth_failure_delay = 0"]


def openssl(*argv):
    r = run(["openssl", *argv])
    check(r.returncode == 0, "openssl %s: %r" % (argv[0], r.stderr))


def certificate(name, ca=None, subject=None, days=30):
    pem, key, csr = (tmp(re.sub(r"\W", "_", name) + end) for end in (".pem", ".key", ".csr"))
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", subject or "/CN=" + name, "-utf8", "-keyout", key]
    if ca:
        openssl("req", *new, "-out", csr)
        openssl("x509", "-req", "-in", csr, "-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial", "-days", str(days), "-out", pem)
    else:
        openssl("req", "-x509", *new, "-days", str(days), "-out", pem)
    return pem, key


class Imap:
    def __init__(self, stack, cert=None, port="imaps", version=None):
        context = ssl._create_unverified_context()
        if version:
            context.maximum_version = version
        if cert:
            context.load_cert_chain(*cert)
        self.sock = socket.create_connection(("127.0.0.1", stack.ports[port]), timeout=20)
        self.f = self.sock.makefile("rwb", buffering=0)
        self.pop = port.startswith("pop3")
        if port in ("imap", "pop3"):
            self.f.readline()
            self.f.write(b"STLS\r\n" if self.pop else b"a STARTTLS\r\n")
            self.f.readline()
        self.sock = context.wrap_socket(self.sock)
        self.f = self.sock.makefile("rwb", buffering=0)
        self.greeting = b"" if port in ("imap", "pop3") else self.f.readline()

    def say(self, *lines):
        """The answer to the last of them: its first line for POP3 and for challenges, else the tagged one."""
        for line in lines:
            self.f.write(line + b"\r\n")
            while True:
                got = self.f.readline()
                if self.pop or not got or got[:2] != b"* ":
                    break
        return got

    def lines(self, command, end):
        self.f.write(command + b"\r\n")
        got = [self.f.readline()]
        while got[-1] and not got[-1].startswith(end):
            got.append(self.f.readline())
        return got


def b64(s):
    return base64.b64encode(s.encode())


_made = {}


def made():
    if not _made:
        ca, stranger = certificate("authority"), certificate("stranger-authority")
        _made.update(ca=ca, user=certificate(USER, ca), nobody=certificate("nobody@example.com", ca), other=certificate(OTHER, stranger),
                     own=certificate(USER + ".self", subject="/CN=" + USER), expired=certificate("expired", ca, "/CN=" + USER, -1),
                     no_name=certificate("no-name", ca, "/O=Example"), mail=certificate("mail", ca, "/CN=x/emailAddress=" + USER),
                     odd=certificate("odd", ca, "/CN=" + USER + "\x01"), two=certificate("two", ca, "/CN=" + USER + "/CN=" + OTHER),
                     pair=certificate("pair", ca, "/CN=%s+CN=%s" % (USER, OTHER)),
                     s=Stack(tmp("s"), users=[USER, OTHER], extra_conf=CONF + ["ssl_ca = <" + ca[0]]).start())
        at_end(_made["s"].stop)
    return _made


@case
def external_is_offered_to_who_can_use_it():
    m = made()
    for name, is_offered in (("user", True), ("nobody", True), ("other", False), ("own", False), ("expired", False), ("no_name", False),
                             ("two", False), (None, False)):
        c = Imap(m["s"], m.get(name))
        check(c.greeting.startswith(b"* OK [CAPABILITY "), "greeting: %r" % c.greeting)
        equal(b"AUTH=EXTERNAL" in c.greeting, is_offered, "offered to %s: %r" % (name, c.greeting))
        check(b"AUTH=PLAIN" in c.greeting, "PLAIN is offered to all under TLS")
        equal(b"EXTERNAL" in b"".join(Imap(m["s"], m.get(name), "pop3s").lines(b"CAPA", b".")), is_offered, "POP3, offered to %s" % name)
    c = Imap(m["s"], m["user"], "imap")
    check(b"AUTH=EXTERNAL" in b"".join(c.lines(b"b CAPABILITY", b"b ")), "after STARTTLS")
    s = socket.create_connection(("127.0.0.1", m["s"].ports["imap"]), timeout=20)
    check(b"EXTERNAL" not in s.recv(1000), "offered in clear")


@case
def who_has_a_good_one_comes_in():
    m = made()
    for version in (None, ssl.TLSVersion.TLSv1_2):
        for port in ("imaps", "imap"):
            for said in (["a AUTHENTICATE EXTERNAL ="], ["a AUTHENTICATE EXTERNAL " + b64(USER).decode()], ["a AUTHENTICATE EXTERNAL", ""],
                         ["a AUTHENTICATE external", b64(USER).decode()]):
                c = Imap(m["s"], m["user"], port, version)
                got = c.say(*[x.encode() for x in said])
                check(got.startswith(b"a OK"), "%s, %r: %r" % (port, said, got))
                c.say(b"b LOGOUT")
    for port in ("pop3s", "pop3"):
        for said in (["AUTH EXTERNAL ="], ["AUTH EXTERNAL", ""]):
            c = Imap(m["s"], m["user"], port)
            got = c.say(*[x.encode() for x in said])
            check(got.startswith(b"+OK Logged in"), "%s, %r: %r" % (port, said, got))
            c.say(b"QUIT")
    wait_for(lambda: re.search(r"imap-login: Login: user=<%s>, method=EXTERNAL, rip=127\.0\.0\.1, lip=127\.0\.0\.1, mpid=\d+, TLS, session=<" %
                               re.escape(USER), m["s"].log()), 5, "the line in the log")


@case
def nobody_else_does():
    m = made()
    for name, want in (("nobody", b"a NO [AUTHENTICATIONFAILED]"), ("other", b"a NO "), ("own", b"a NO "), ("expired", b"a NO "),
                       ("no_name", b"a NO "), ("odd", b"a NO "), ("two", b"a NO "), ("pair", b"a NO "), (None, b"a NO ")):
        for line in (b"a AUTHENTICATE EXTERNAL =", b"a AUTHENTICATE EXTERNAL " + b64(USER)):
            got = Imap(m["s"], m.get(name)).say(line)
            check(got.startswith(want), "%s: %r" % (name, got))
    for who in (OTHER, "u0", USER + "\0", "nobody@example.com", "x" * 3000):
        got = Imap(m["s"], m["user"]).say(b"a AUTHENTICATE EXTERNAL " + b64(who))
        check(got.startswith(b"a NO [AUTHENTICATIONFAILED]"), "as %r: %r" % (who[:40], got))
    c = Imap(m["s"], m["other"])  # a bad certificate is no reason to refuse a password
    check(c.say(b"a LOGIN %s pass" % OTHER.encode()).startswith(b"a OK"), "PLAIN beside a certificate that nobody knows")


@case
def a_resumed_session_has_the_same_certificate():
    """Whether a session is resumed or not, what is offered rests on the certificate of that client."""
    m = made()
    for cert, is_offered in ((m["user"], True), (m["other"], False), (None, False)):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl._create_unverified_context()
            context.maximum_version = version
            if cert:
                context.load_cert_chain(*cert)
            session = None
            for i in range(3):
                s = socket.create_connection(("127.0.0.1", m["s"].ports["imaps"]), timeout=20)
                t = context.wrap_socket(s, session=session)
                greeting = t.recv(1000)
                equal(b"AUTH=EXTERNAL" in greeting, is_offered, "connection %d, resumed %r: %r" % (i, t.session_reused, greeting))
                session = t.session
                t.close()


@case
def the_name_is_in_the_field_that_is_named():
    m = made()
    with Stack(tmp("f"), users=[USER], extra_conf=CONF + ["ssl_ca = " + m["ca"][0], "ssl_cert_username_field = emailAddress"]) as s:
        check(Imap(s, m["mail"]).say(b"a AUTHENTICATE EXTERNAL =").startswith(b"a OK"), "emailAddress")
        check(b"EXTERNAL" not in Imap(s, m["user"]).greeting, "offered without that field")


@case
def where_nobody_comes_in_without():
    m = made()
    with Stack(tmp("r"), users=[USER], extra_conf=[x for x in CONF if "verify" not in x] + [
            "ssl_ca = " + m["ca"][0], "auth_ssl_require_client_cert = yes", "ssl_key = $smtpd_tls_key_file"]) as s:
        for name, is_in in ((None, False), ("other", False), ("expired", False), ("no_name", True), ("user", True)):
            c = Imap(s, m.get(name))
            got = c.say(b"a LOGIN %s pass" % USER.encode())
            equal(got.startswith(b"a OK"), is_in, "password of %s: %r" % (name, got))
            if not is_in:
                check(got.startswith(b"a NO [AUTHENTICATIONFAILED]"), "%r" % got)
            c.sock.close()
        t = socket.create_connection(("127.0.0.1", s.ports["imap"]), timeout=20)
        t.sendall(b"a LOGIN %s pass\r\n" % USER.encode())
        got = b""
        while b"a " not in got:
            got += t.recv(1000)
        check(b"a NO" in got, "in clear on loopback: %r" % got)
        t.close()
        for words in (r"\(client didn't send a cert\): user=<>, method=PLAIN, rip=127\.0\.0\.1, lip=127\.0\.0\.1, TLS, ",
                      r"\(client sent an invalid cert\): ", r"\(cert required, client didn't start TLS\): "):
            wait_for(lambda: re.search(words, s.log()), 5, words + " in the log")


@case
def what_check_says():
    m = made()
    for lines, want in ((["ssl_verify_client_cert = yes"], "ssl_ca: empty"),
                        (["auth_ssl_require_client_cert = yes"], "ssl_ca: empty"),
                        (["ssl_verify_client_cert = yes", "ssl_ca = /nowhere"], "ssl_ca"),
                        (["ssl_cert_username_field = shoeSize"], "is no field of a certificate's subject"),
                        (["login_trusted_networks = 192.0.2.0/33"], "login_trusted_networks")):
        path = tmp("check.cf")
        with open(m["s"].main_cf) as f:
            text = re.sub(r"(?m)^(ssl_verify_client_cert|ssl_ca|auth_ssl_.*|login_trusted.*) = .*\n", "", f.read())
        with open(path, "w") as f:
            f.write(text + "\n".join(lines) + "\n")
        r = run([program("postern"), "-c", path, "check"])
        out = (r.stdout + r.stderr).decode()
        check(r.returncode != 0 and want in out, "%r: exit %d: %s" % (lines, r.returncode, out[-500:]))


main()
