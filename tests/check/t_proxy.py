#!/usr/bin/env python3
# Listeners behind a proxy (PROXY protocol 1 and 2): whose connection it is, on 25 and on 465 under TLS; who is not believed;
# headers that are broken, slow, or followed at once by the client's own octets. IMAP and POP3 likewise.
# timeout: 120
import os
import re
import socket
import ssl
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from stack import Stack

ZONE = dict(SMTP_CASES_ZONE, **{"1.2.0.192.in-addr.arpa": {"PTR": ["client.test"]}, "client.test": {"A": ["192.0.2.1"]}})
CONF = ["smtpd_upstream_proxy_protocol = haproxy", "smtpd_upstream_proxy_hosts = 127.0.0.1", "smtpd_upstream_proxy_timeout = 2s",
        "submission_upstream_proxy_protocol =", "mynetworks = 127.0.0.0/8, 198.51.100.7, [2001:db8:7::]/48",
        "smtpd_helo_restrictions =", "imap_haproxy = yes", "imaps_haproxy = yes", "pop3s_haproxy = yes",
        "haproxy_trusted_networks = 127.0.0.1", "haproxy_timeout = 2s"]
V2 = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.1 192.0.2.25 4711 25\r\n"
_stack = []


def stack():
    if not _stack:
        dns = Dnsd(ZONE)
        dns.start()
        at_end(dns.stop)
        s = Stack(tmp("a"), resolver="127.0.0.1:%d" % dns.port, extra_conf=CONF)
        s.start()
        at_end(s.stop)
        _stack.append(s)
    return _stack[0]


def v2(client, server, cport=4711, sport=25, command=1, family=None, more=b""):
    kind = socket.AF_INET6 if ":" in client else socket.AF_INET
    body = socket.inet_pton(kind, client) + socket.inet_pton(kind, server) + struct.pack(">HH", cport, sport) + more
    code = family if family is not None else 0x21 if kind == socket.AF_INET6 else 0x11
    return V2 + bytes([0x20 | command, code]) + struct.pack(">H", len(body)) + body


class Raw:
    def __init__(self, s, source="127.0.0.1", port="smtp"):
        self.sock = socket.create_connection(("127.0.0.1", s.ports[port]), timeout=20, source_address=(source, 0))
        self.file = self.sock.makefile("rb")

    def send(self, octets):
        self.sock.sendall(octets)

    def tls(self):
        self.sock = ssl._create_unverified_context().wrap_socket(self.sock)
        self.file = self.sock.makefile("rb")

    def reply(self):
        while True:
            try:
                line = self.file.readline().decode(errors="replace").rstrip("\r\n")
            except ConnectionError:
                return ""
            if line[3:4] != "-":
                return line

    def want(self, *starts):
        for start in starts:
            got = self.reply()
            check(got.startswith(start) and (start or not got), "expected %r, got %r" % (start, got))

    def say(self, line, start):
        self.send(line.encode() + b"\r\n")
        self.want(start)


def log_line(s, pattern):
    wait_for(lambda: re.search(pattern, s.log()), 10, "a log line like " + pattern)


def swaks(s, *argv, port="smtp", to="x@aonly.test"):
    r = run([need("swaks"), "--server", "127.0.0.1", "--port", str(s.ports[port]), "--from", "x@remote.test", "--to", to,
             "--helo", "probe.test", "--timeout", "20", "--quit-after", "RCPT", *argv])
    return r.stdout.decode(errors="replace")


def told(client, server="192.0.2.25", version=1, port=25, **more):
    six = ":" in client
    family = ("TCP6" if six else "TCP4") if version == 1 else "AF_INET6" if six else "AF_INET"
    argv = ["--proxy-version", str(version), "--proxy-family", family, "--proxy-source", client, "--proxy-source-port", "4711",
            "--proxy-dest", server, "--proxy-dest-port", str(port)]
    for k, v in more.items():
        argv += ["--proxy-" + k, v]
    return argv


@case
def swaks_on_25():
    s = stack()
    for version in (1, 2):
        out = swaks(s, *told("192.0.2.1", version=version))
        check("554 5.7.1 <x@aonly.test>: Relay access denied" in out, "the proxy's own rights are the client's: " + out)
        out = swaks(s, *told("198.51.100.7", version=version))
        check("<-  250 2.1.5 Ok" in out, "mynetworks does not see the client: " + out)
        out = swaks(s, *told("2001:db8:7::1", "2001:db8::25", version=version))
        check("<-  250 2.1.5 Ok" in out, "mynetworks does not see the client: " + out)
    log_line(s, r"smtpd\[\d+\]: connect from client\.test\[192\.0\.2\.1\]\n")
    log_line(s, r"disconnect from unknown\[2001:db8:7::1\] ehlo=1")
    out = swaks(s, *told("192.0.2.1"), to="email1@[192.0.2.25]")
    check("Relay access denied" not in out, "the address that the client sees is not ours: " + out)
    out = swaks(s, *told("192.0.2.1"), to="email1@[192.0.2.26]")
    check("554 5.7.1 <email1@[192.0.2.26]>: Relay access denied" in out, out)
    # the proxy for itself; swaks writes its LOCAL as command 2 and without a length
    for header in (v2("192.0.2.1", "192.0.2.25", command=0), V2 + b"\x20\0\0\0", V2 + b"\x21\0\0\x01x"):
        c = Raw(s)
        c.send(header)
        c.want("220 ")
        c.say("HELO x.test", "250")
        c.say("MAIL FROM:<x@remote.test>", "250")
        c.say("RCPT TO:<x@aonly.test>", "250")
    out = swaks(s, "--proxy", "UNKNOWN")
    check("<-  250 2.1.5 Ok" in out, out)


@case
def swaks_on_465_under_tls():
    s = stack()
    auth = ["--tlsc", "--auth", "PLAIN", "--auth-user", "email1@example.com", "--auth-password", "password"]
    for version in (1, 2):
        out = swaks(s, *auth, *told("192.0.2.1", version=version, port=465), port="submissions")
        check("<~  250 2.1.5 Ok" in out, out)
    log_line(s, r"smtps/smtpd\[\d+\]: \w+: client=client\.test\[192\.0\.2\.1\], sasl_method=PLAIN, sasl_username=email1@example\.com")
    out = swaks(s, *auth, port="submissions")
    check("250 2.1.5" not in out, "no header, and yet served: " + out)
    # 587 has its own say: none
    auth[0] = "--tls"
    out = swaks(s, *auth, port="submission")
    check("<~  250 2.1.5 Ok" in out, out)


@case
def whoever_is_not_listed_is_not_believed():
    s = stack()
    c = Raw(s, "127.0.0.9")
    c.want("421 4.3.0 example.com Server local error", "")
    c = Raw(s, "127.0.0.9", "submissions")
    c.want("")
    log_line(s, r"connection from \[127\.0\.0\.9\] refused: not in smtpd_upstream_proxy_hosts")


@case
def broken_headers():
    s = stack()
    for i, header in enumerate((b"EHLO x\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.25 4711 70000\r\n", b"PROXY TCP4 x y 1 2\r\n",
                                b"PROXY TCP4 192.0.2.1 192.0.2.25 4711 25\n", b"PROXY " + b"x" * 200,
                                v2("192.0.2.1", "192.0.2.25", family=0x12), v2("192.0.2.1", "192.0.2.25", family=0x31),
                                v2("192.0.2.1", "192.0.2.25", command=2), V2 + b"\x21\x11\xff\xff", V2 + b"\x11\x11\0\0",
                                V2 + b"\x21\x21\0\x0c" + bytes(12))):
        c = Raw(s)
        c.send(header)
        c.want("421 4.3.0 example.com Server local error", "")
        wait_for(lambda: len(re.findall("warning: haproxy read: .*: from proxy \\[127.0.0.1\\]", s.log())) > i, 10, "log line %d" % i)
    c = Raw(s, port="submissions")
    c.send(b"EHLO x\r\n")
    c.want("")
    check("connect from" not in s.log().rpartition("from proxy [127.0.0.1]")[2], "a session began")


@case
def slow_headers():
    s = stack()
    for header in (V1, v2("192.0.2.1", "192.0.2.25", more=b"\x04\0\x03xyz")):
        c = Raw(s)
        for octet in header:
            c.send(bytes([octet]))
            time.sleep(0.005)
        c.want("220 example.com")
        c.say("HELO x.test", "250")
        c.say("QUIT", "221")
    began = time.monotonic()
    trickle, silent = Raw(s), Raw(s)
    trickle.sock.settimeout(0.3)
    for octet in V1:  # 40 octets would take 12 s
        try:
            trickle.send(bytes([octet]))
            if trickle.sock.recv(200):
                break
        except socket.timeout:
            continue
        except ConnectionError:
            break
    took = time.monotonic() - began
    check(1 < took < 8, "a header that trickles in was ended after %.1f s" % took)
    silent.want("421 4.3.0", "")
    log_line(s, r"warning: haproxy read: timeout: from proxy \[127\.0\.0\.1\]")
    Raw(s).sock.close()
    log_line(s, r"warning: haproxy read: lost connection")


@case
def what_follows_the_header_is_the_clients():
    s = stack()
    # a proxy passes on what the client says before it is greeted: that is early talk, whatever segment it comes in
    c = Raw(s)
    c.send(v2("198.51.100.7", "192.0.2.25", more=b"\x04\0\x03xyz") + b"EHLO x.test\r\n")
    c.want("554 5.5.0 Error: SMTP protocol synchronization", "")
    log_line(s, r"improper command pipelining after CONNECT from unknown\[198\.51\.100\.7\]: EHLO x\.test\\r\\n")
    # the client's first TLS record in the header's segment
    raw = Raw(s, port="submissions")
    out, coming = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl._create_unverified_context().wrap_bio(coming, out)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    raw.send(V1 + out.read())
    greeting = b""
    end = time.monotonic() + 20
    while b"\n" not in greeting and time.monotonic() < end:
        coming.write(raw.sock.recv(65536))
        try:
            tls.do_handshake()
            greeting += tls.read(1000)
        except ssl.SSLWantReadError:
            pass
        raw.send(out.read())
    check(greeting.startswith(b"220 example.com ESMTP"), "greeting: %r" % greeting)
    # a client that leaves with the header
    c = Raw(s)
    c.send(V1)
    c.sock.shutdown(socket.SHUT_WR)
    log_line(s, r"lost connection after CONNECT from client\.test\[192\.0\.2\.1\]")


@case
def imap_and_pop3():
    s = stack()
    c = Raw(s, port="imaps")
    c.send(v2("192.0.2.1", "192.0.2.25", sport=993))
    c.tls()
    c.want("* OK ")
    c.say("a LOGIN email1@example.com password", "a OK ")
    log_line(s, r"imap-login: Login: user=<email1@example\.com>, method=PLAIN, rip=192\.0\.2\.1, lip=192\.0\.2\.25, .*TLS")
    c = Raw(s, port="imap")
    c.send(V1 + b"a NOOP\r\n")
    c.want("* OK ", "a OK ")
    c.say("b LOGIN email1@example.com password", "* BAD [ALERT] Plaintext")  # it is no client on loopback
    c.want("b NO [PRIVACYREQUIRED]")
    c = Raw(s, port="pop3s")
    c.send(V1)
    c.tls()
    c.want("+OK")
    c.say("USER email1@example.com", "+OK")
    c.say("PASS password", "+OK")
    log_line(s, r"pop3-login: Login: user=<email1@example\.com>, method=PLAIN, rip=192\.0\.2\.1, lip=192\.0\.2\.25")
    c = Raw(s, port="pop3")
    c.want("+OK")  # this one wants no header
    c = Raw(s, "127.0.0.9", "imap")
    c.want("")
    log_line(s, r"imap-login: .*haproxy: Client not trusted \(rip=127\.0\.0\.9\)")
    c = Raw(s, port="imap")
    c.send(b"a LOGIN email1@example.com password\r\n")
    c.want("")
    log_line(s, r"imap-login: .*haproxy: Client disconnected: neither version 1 nor version 2 \(rip=127\.0\.0\.1\)")
    c = Raw(s, port="pop3s")
    c.want("")
    log_line(s, r"pop3-login: .*haproxy: Client disconnected: timeout \(rip=127\.0\.0\.1\)")


main()
