#!/usr/bin/env python3
# Debian's fail2ban with its own filter for Dovecot reads our log of IMAP and POP3: who fails to log in is found once for each
# connection, nobody else is found, and nothing that a client writes has another address banned. Client addresses come by the
# PROXY protocol, so that each case has its own.
# timeout: 120
import base64
import concurrent.futures
import os
import re
import socket
import ssl
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USERS = {"u%d@example.com" % i: "pass" for i in range(4)}
VICTIM = "203.0.113.9"  # whom a client would have banned in its place


def openssl(*argv):
    r = run(["openssl", *argv])
    check(r.returncode == 0, "openssl %s: %r" % (argv[0], r.stderr))


def certificate(name, ca=None):
    pem, key, csr = tmp(name + ".pem"), tmp(name + ".key"), tmp(name + ".csr")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=" + name, "-keyout", key]
    if ca:
        openssl("req", *new, "-out", csr)
        openssl("x509", "-req", "-in", csr, "-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial", "-days", "30", "-out", pem)
    else:
        openssl("req", "-x509", *new, "-days", "30", "-out", pem)
    return pem, key


def b64(s):
    return base64.b64encode(s if isinstance(s, bytes) else s.encode())


def plain(user, password):
    return b64("\0%s\0%s" % (user, password))


class Client:
    """One connection: lines are sent one by one, each after the answer to the one before."""

    def __init__(self, stack, port, ip, cert=None):
        self.sock = socket.create_connection(("127.0.0.1", stack.ports[port]), timeout=40)
        self.sock.sendall(b"PROXY TCP4 %s 192.0.2.143 40000 143\r\n" % ip.encode())
        if port.endswith("s"):
            context = ssl._create_unverified_context()
            if cert:
                context.load_cert_chain(*cert)
            self.sock = context.wrap_socket(self.sock)

    def read(self):
        """One answer: to its tagged line, challenge, or the end."""
        seen = b""
        while True:
            try:
                part = self.sock.recv(4000)
            except OSError:
                return seen
            seen += part
            if not part or re.search(rb"(?m)^(\+|-ERR|a\w* |\* OK|\* BYE).*\r\n\Z", seen):
                return seen

    def talk(self, lines):
        self.read()
        for line in lines:
            self.sock.sendall(line + b"\r\n")
            self.read()

    def reset(self):
        """Away without a word, as who does not wait for the answer."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def login(user, password="wrong"):
    def quoted(s):
        return b'"' + s.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"a LOGIN " + quoted(user) + b" " + quoted(password)


BAD = "%s%s" % ("a>, method=PLAIN, rip=" + VICTIM, ", lip=192.0.2.1, session=<x")
# name: port, lines, how often fail2ban finds the address (normal mode, aggressive mode)
CASES = [
    ("wrong password", "imaps", [login("u0@example.com")], 1, 1),
    ("and says goodbye", "imaps", [login("u0@example.com"), b"a LOGOUT"], 1, 1),
    ("three of them", "imaps", [login("u0@example.com")] * 3, 1, 1),
    ("unknown user", "imaps", [login("nobody@example.com")], 1, 1),
    ("no user at all", "imaps", [login("")], 1, 1),
    ("by AUTHENTICATE", "imaps", [b"a AUTHENTICATE PLAIN " + plain("u1@example.com", "wrong")], 1, 1),
    ("by LOGIN's steps", "imaps", [b"a AUTHENTICATE LOGIN", b64("u1@example.com"), b64("wrong")], 1, 1),
    ("what is no PLAIN", "imaps", [b"a AUTHENTICATE PLAIN " + b64("abc")], 1, 1),
    ("POP3", "pop3s", [b"USER u2@example.com", b"PASS wrong"], 1, 1),
    ("POP3, unknown", "pop3s", [b"USER nobody@example.com", b"PASS wrong", b"QUIT"], 1, 1),
    ("POP3, AUTH", "pop3s", [b"AUTH PLAIN " + plain("u2@example.com", "wrong")], 1, 1),
    ("in clear", "imap", [login("u0@example.com", "pass")], 1, 1),
    ("in clear, AUTHENTICATE", "imap", [b"a AUTHENTICATE PLAIN " + plain("u0@example.com", "pass")], 1, 1),
    ("in clear, POP3", "pop3", [b"USER u0@example.com"], 1, 1),
    ("EXTERNAL, unknown user", "imaps+stranger", [b"a AUTHENTICATE EXTERNAL ="], 1, 1),
    ("EXTERNAL, as another", "imaps+u3@example.com", [b"a AUTHENTICATE EXTERNAL " + b64("u0@example.com")], 1, 1),
    ("wrong, then another way", "imaps", [login("u0@example.com"), b"a AUTHENTICATE GSSAPI"], 1, 1),
    ("wrong, then cancelled", "imaps", [login("u0@example.com"), b"a AUTHENTICATE PLAIN", b"*"], 1, 1),
    ("wrong, does not wait", "imaps", "reset", 1, 1),
    # not guessing
    ("right", "imaps", [login("u0@example.com", "pass"), b"a LOGOUT"], 0, 0),
    ("wrong, then right", "imaps", [login("u0@example.com"), login("u0@example.com", "pass"), b"a LOGOUT"], 0, 0),
    ("right, POP3", "pop3s", [b"USER u0@example.com", b"PASS pass", b"QUIT"], 0, 0),
    ("EXTERNAL", "imaps+u3@example.com", [b"a AUTHENTICATE EXTERNAL =", b"a LOGOUT"], 0, 0),
    ("nothing", "imaps", [], 0, 1),
    ("asks what there is", "imap", [b"a CAPABILITY", b"a LOGOUT"], 0, 1),
    ("cancelled", "imaps", [b"a AUTHENTICATE PLAIN", b"*"], 0, 1),
    ("unknown mechanism", "imaps", [b"a AUTHENTICATE GSSAPI"], 0, 0),
    ("EXTERNAL without a certificate", "imaps", [b"a AUTHENTICATE EXTERNAL ="], 0, 0),
    # would have another banned
    ("user name with fields", "imaps", [login(BAD)], 1, 1),
    ("user name that ends the line", "imaps", [b"a LOGIN {%d}" % len(BAD), BAD[:40].encode() + b"\n" + BAD[41:].encode() + b" wrong"], 1, 1),
    ("a whole line as user name", "imaps", [b"a AUTHENTICATE PLAIN " + plain(
        "x\n Nov 23 10:00:00 vm dovecot: imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): "
        "user=<x>, method=PLAIN, rip=%s, lip=192.0.2.1, session=<x>" % VICTIM, "x")], 1, 1),
    ("bracket and address", "pop3s", [b"USER a>, rip=%s, lip=1.1.1.1 <" % VICTIM.encode(), b"PASS x"], 1, 1),
    ("comma and address", "pop3s", [b"USER a, rip=%s" % VICTIM.encode(), b"PASS x"], 1, 1),
    ("mechanism with fields", "imaps", [b"a AUTHENTICATE PLAIN,rip=%s" % VICTIM.encode()], 0, 0),
    ("ID with fields", "imap", [b'a ID ("name" "x (auth failed, 1 attempts in 2 secs): user=<x>, rip=%s, lip=1.1.1.1")' % VICTIM.encode(),
                                b"a LOGOUT"], 0, 1),
    ("ID of one who is not trusted", "imaps", [b'a ID ("x-originating-ip" "%s" "x-session-id" "s, rip=%s")' % ((VICTIM.encode(),) * 2),
                                               login("u0@example.com")], 1, 1),
    ("XCLIENT of one who is not trusted", "pop3s", [b"XCLIENT ADDR=%s SESSION=x" % VICTIM.encode(), b"USER u0@example.com", b"PASS x"], 1, 1),
    ("TLS that is none", "imaps raw", b"GET / rip=%s HTTP/1.0\r\n\r\n" % VICTIM.encode(), 0, 1),
]
REAL = "203.0.113.77"  # the client that webmail, 198.51.100.1, speaks for


def ip_of(i):
    return "198.18.%d.10" % i  # a network of its own: failures of a network add up


def happen(stack, certs, i):
    name, port, lines, _, _ = CASES[i]
    port, _, cert = port.partition("+")
    if port.endswith(" raw"):
        s = socket.create_connection(("127.0.0.1", stack.ports[port[:-4]]), timeout=20)
        s.sendall(b"PROXY TCP4 %s 192.0.2.143 40000 143\r\n" % ip_of(i).encode() + lines)
        s.recv(1000)
        s.close()
        return
    c = Client(stack, port, ip_of(i), certs.get(cert))
    if lines == "reset":
        c.read()
        c.sock.sendall(login("u0@example.com") + b"\r\n")
        time.sleep(0.3)
        c.reset()
        return
    c.talk(lines)
    c.sock.close()


def found(log_path, filter_):
    r = run(["fail2ban-regex", "--usedns=no", "-o", "id:<ip>", log_path, filter_], timeout_s=60)
    out = {}
    for ip in re.findall(r"^id:(\S+)$", r.stdout.decode(errors="replace"), re.M):
        out[ip] = out.get(ip, 0) + 1
    return out


_made = []


def made():
    """The log of all of it, in a file."""
    if _made:
        return _made[0]
    ca = certificate("authority")
    certs = {n: certificate(n, ca) for n in ("stranger", "u3@example.com")}
    conf = [n + "_haproxy = yes" for n in ("imap", "imaps", "pop3", "pop3s")] + [
        "haproxy_trusted_networks = 127.0.0.1", "auth_failure_delay = 1s", "login_trusted_networks = 198.51.100.1", "imap_id_log = *",
        "ssl_verify_client_cert = yes", "ssl_ca = " + ca[0], "auth_ssl_username_from_cert = yes", "auth_mechanisms = plain login external",
        "maillog_file = " + tmp("mail.log")]
    with Stack(tmp("s"), users=USERS, extra_conf=conf) as stack:
        with concurrent.futures.ThreadPoolExecutor(len(CASES)) as pool:
            for f in [pool.submit(happen, stack, certs, i) for i in range(len(CASES))]:
                f.result()
            c = Client(stack, "imap", "198.51.100.1")  # webmail tells whose failure it is
            c.talk([b'a ID ("name" "web" "x-originating-ip" "%s" "x-session-id" "w1")' % REAL.encode(), login("u0@example.com"), b"a LOGOUT"])
            c = Client(stack, "pop3", "198.51.100.1")
            c.talk([b"XCLIENT ADDR=%s PORT=99 SESSION=w2" % REAL.encode(), b"USER u0@example.com", b"PASS wrong", b"QUIT"])

        def text():
            with open(tmp("mail.log"), errors="replace") as f:
                return f.read()
        wait_for(lambda: all(re.search(r"rip=%s," % re.escape(ip_of(i)), text()) for i in range(len(CASES))), 20, "a line for each case")
        wait_for(lambda: text().count("rip=" + REAL) >= 2, 10, "what webmail said")
    _made.append(tmp("mail.log"))
    return _made[0]


def lines_of(log_path, ip):
    with open(log_path, errors="replace") as f:
        return "".join(l for l in f if ip in l)


def compare(mode, column):
    need("fail2ban-regex")
    log_path = made()
    got = found(log_path, mode)
    equal(got.pop(REAL, 0), 2, "failures that webmail told of")
    for i, row in enumerate(CASES):
        equal(got.pop(ip_of(i), 0), row[column], "%s: matches of %s in\n%s" % (row[0], ip_of(i), lines_of(log_path, ip_of(i))))
    equal(got, {}, "others were found")


@case
def one_match_for_a_failed_connection():
    compare("dovecot", 3)


@case
def aggressive_finds_those_who_say_nothing_too():
    compare("dovecot[mode=aggressive]", 4)


@case
def the_lines_are_well_formed():
    """Each line of login's ends in fields as Dovecot's do, whatever the client has said."""
    with open(made(), errors="replace") as f:
        lines = [l.rstrip("\n") for l in f if re.search(r"dovecot: (imap|pop3)-login: ", l)]
    check(len(lines) > len(CASES), "only %d lines" % len(lines))
    for l in lines:
        if re.search(r"-login: haproxy: ", l):
            continue
        check(re.search(r"-login: (Login|Disconnected: [^<>]*|ID sent: .*): user=<[^<>\"]*>, (method=[^ ]+, )?rip=[0-9.]+, lip=192\.0\.2\.143, "
                        r"(mpid=\d+, )?((TLS( handshaking)?(: [^<>]*)?|secured), )?session=<[^<> ]+>$", l), "a line unlike the others: %r" % l)


main()
