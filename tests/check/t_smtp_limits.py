#!/usr/bin/env python3
# smtpd's limits and manners: what one client may do, clients that do not wait, busy servers, words, footers, certificates.
# timeout: 240
import os
import signal
import socket
import ssl
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from stack import Stack

_dns = []
HOST = "example.com"


def start_stack(name, *conf, files=()):
    if not _dns:
        _dns.append(Dnsd(SMTP_CASES_ZONE))
        _dns[0].start()
        at_end(_dns[0].stop)
    s = Stack(tmp(name), users=["u0@example.com"], resolver="127.0.0.1:%d" % _dns[0].port,
              extra_conf=["mynetworks = 127.0.0.8/32"] + list(conf))
    s.configure()
    for file, text in files:
        with open(s.path(file), "w") as f:
            f.write(text)
    s.start()
    at_end(s.stop)
    return s


class Smtp:
    def __init__(self, s, source="127.0.0.1", port="smtp", greeting="220 ", first=b"", helo=None):
        self.sock = socket.create_connection(("127.0.0.1", s.ports[port]), timeout=30, source_address=(source, 0))
        self.file = self.sock.makefile("rb")
        if first:
            self.sock.sendall(first)
        if greeting is not None:
            self.expect(greeting)
        if helo:
            self.say("EHLO " + helo, "250 ")

    def reply(self):
        """All lines of one reply, joined by '|'."""
        lines = []
        while True:
            line = self.file.readline().decode(errors="replace")
            if line:
                lines.append(line.rstrip("\r\n"))
            if line[3:4] != "-":
                return "|".join(lines)

    def expect(self, *starts):
        for start in starts:
            got = self.reply()
            last = got.split("|")[-1]
            check((last.startswith(start) or got.startswith(start)) and (start or not got), "expected %r, got %r" % (start, got))
        return got

    def send(self, *lines):
        self.sock.sendall("".join(l + "\r\n" for l in lines).encode("latin-1"))

    def say(self, line, *starts):
        self.send(line)
        return self.expect(*starts)

    def starttls(self, context):
        self.say("STARTTLS", "220 2.0.0 Ready to start TLS")
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.file = self.sock.makefile("rb")

    def close(self):
        self.file.close()
        self.sock.close()


def client_context(cert=None, newest=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    if newest:
        c.maximum_version = newest
    if cert:
        c.load_cert_chain(*cert)
    return c


def logged(s, *texts):
    for t in texts:
        wait_for(lambda: t in s.log(), 10, "the log to say: " + t)


@case
def clients_are_counted():
    s = start_stack("a", "smtpd_client_connection_count_limit = 3", "smtpd_client_message_rate_limit = 2",
                    "smtpd_client_recipient_rate_limit = 3", "smtpd_client_auth_rate_limit = 2",
                    "smtpd_client_new_tls_session_rate_limit = 2", "submission_client_connection_rate_limit = 2",
                    "smtpd_processes = 2", "anvil_status_update_time = 2s")
    # connections at a time: over both workers, and counted down again
    open_ = [Smtp(s, "127.0.1.1") for _ in range(3)]
    c = Smtp(s, "127.0.1.1", greeting="421 4.7.0 example.com Error: too many connections from 127.0.1.1")
    c.expect("")
    logged(s, "warning: Connection concurrency limit exceeded: 4 from unknown[127.0.1.1] for service smtp")
    open_.pop().say("QUIT", "221")
    wait_for(lambda: Smtp(s, "127.0.1.1", greeting=None).reply().startswith("220"), 10, "room for one more")
    many = [Smtp(s, "127.0.0.8") for _ in range(6)]  # in $mynetworks
    check(len(many) == 6, "an exception")

    c = Smtp(s, "127.0.1.2", helo="c.remote.test")
    for _ in range(2):
        c.say("MAIL FROM:<x@remote.test>", "250")
        c.say("RSET", "250")
    c.say("MAIL FROM:<x@remote.test>", "450 4.7.1 Error: too much mail from 127.0.1.2")
    logged(s, "warning: Message delivery request rate limit exceeded: 3 from unknown[127.0.1.2] for service smtp")
    Smtp(s, "127.0.1.22", helo="c.remote.test").say("MAIL FROM:<x@remote.test>", "250")  # another client

    c = Smtp(s, "127.0.1.3", helo="c.remote.test")
    c.send("MAIL FROM:<x@remote.test>", *(["RCPT TO:<u0@example.com>"] * 4))
    c.expect("250", "250", "250", "250", "450 4.7.1 Error: too many recipients from 127.0.1.3")
    logged(s, "warning: Recipient address rate limit exceeded: 4 from unknown[127.0.1.3] for service smtp")

    c = Smtp(s, "127.0.1.4", helo="c.remote.test")
    c.say("AUTH NOSUCH", "503")
    c.say("AUTH NOSUCH", "503")
    c.say("AUTH NOSUCH", "450 4.7.1 Error: too many AUTH commands from 127.0.1.4")
    logged(s, "warning: AUTH command rate limit exceeded: 3 from unknown[127.0.1.4] for service smtp")

    for n in range(3):
        c = Smtp(s, "127.0.1.5", helo="c.remote.test")
        c.starttls(client_context())
        if n < 2:
            c.say("EHLO c.remote.test", "250 ")
        else:
            c.expect("421 4.7.0 example.com Error: too many new TLS sessions from unknown[127.0.1.5]", "")
        c.close()
    c = Smtp(s, "127.0.1.5", helo="c.remote.test")
    c.say("STARTTLS", "454 4.7.0 Error: too many new TLS sessions from unknown[127.0.1.5]")
    logged(s, "warning: New TLS session rate limit exceeded: 3 from unknown[127.0.1.5] for service smtp",
           "warning: Refusing STARTTLS request from unknown[127.0.1.5] for service smtp")

    for n in range(2):
        Smtp(s, "127.0.1.6", port="submission").close()
    Smtp(s, "127.0.1.6", port="submission", greeting="421 4.7.0 example.com Error: too many connections from 127.0.1.6")
    Smtp(s, "127.0.1.6")  # each service counts for itself
    logged(s, "warning: Connection rate limit exceeded: 3 from unknown[127.0.1.6] for service submission",
           "statistics: max connection count 4 for (smtp:127.0.1.1) at ", "statistics: max connection rate ",
           "statistics: max message rate 3/60s for (smtp:127.0.1.2) at ")

    # authd hangs: the client has to wait a while, and passes
    authd = [p for p, name in s.pids().items() if name == "authd"]
    equal(len(authd), 1, "authd")
    os.kill(authd[0], signal.SIGSTOP)
    try:
        Smtp(s, "127.0.1.7")
    finally:
        os.kill(authd[0], signal.SIGCONT)
    logged(s, "warning: problem talking to server private/anvil: clients are not limited")


@case
def clients_that_do_not_wait():
    s = start_stack("b", "smtpd_greet_wait = 1s", "smtpd_client_port_logging = yes",
                    "submission_forbid_unauth_pipelining = no", "submission_greet_wait = 0", "submission_tls_security_level = may",
                    "submission_client_restrictions = permit_mynetworks",
                    "submission_data_restrictions = reject_unauth_pipelining")
    c = Smtp(s, first=b"EHLO early\r\n", greeting="554 5.5.0 Error: SMTP protocol synchronization")
    port = c.sock.getsockname()[1]
    c.expect("")
    logged(s, "improper command pipelining after CONNECT from localhost[127.0.0.1]:%d: EHLO early\\r\\n" % port)
    began = time.monotonic()
    Smtp(s, "127.0.0.8")
    check(time.monotonic() - began < 0.9, "one of mynetworks had to wait")
    began = time.monotonic()
    c = Smtp(s)
    check(time.monotonic() - began > 0.9, "a stranger did not have to wait")
    c.send("EHLO c.remote.test", "MAIL FROM:<x@remote.test>")
    c.expect("554 5.5.0 Error: SMTP protocol synchronization", "")
    c = Smtp(s, "127.0.0.8")  # not ESMTP: nothing may be sent ahead
    c.say("HELO c.remote.test", "250 ")
    c.send("MAIL FROM:<x@remote.test>", "RCPT TO:<u0@example.com>")
    c.expect("554 5.5.0 Error: SMTP protocol synchronization", "")
    c = Smtp(s, "127.0.0.8", helo="c.remote.test")
    c.send("MAIL FROM:<x@remote.test>", "RCPT TO:<u0@example.com>", "DATA")
    c.expect("250", "250", "354")
    c.send("Subject: x", "", ".", "QUIT")
    c.expect("250", "221", "")
    c = Smtp(s, "127.0.0.8", helo="c.remote.test")
    c.send("MAIL FROM:<x@remote.test>", "RCPT TO:<u0@example.com>", "DATA", "Subject: x", "", ".")
    c.expect("250", "250", "554 5.5.0 Error: SMTP protocol synchronization", "")
    # a password that comes too soon is in no log
    c = Smtp(s, "127.0.0.8")
    c.send("EHLO c.remote.test", "AUTH PLAIN AHUwAHNlY3JldA==")
    c.expect("554 5.5.0 Error: SMTP protocol synchronization", "")
    c = Smtp(s, "127.0.0.8")
    c.say("HELO c.remote.test", "250 ")
    c.send("AUTH LOGIN", "dTA=", "c2VjcmV0")
    c.expect("554 5.5.0 Error: SMTP protocol synchronization", "")
    logged(s, ": AUTH ...\n")
    wait_for(lambda: "pipelining after AUTH from " in s.log(), 10, "pipelining after AUTH")
    check("AHUwAH" not in s.log() and "c2VjcmV0" not in s.log(), "a password is in the log")
    # only noted, for the restriction
    c = Smtp(s, "127.0.0.8", port="submission", helo="c.remote.test")
    c.send("MAIL FROM:<x@remote.test>", "RCPT TO:<u0@example.com>", "DATA", "NOOP")
    c.expect("250", "250", "503 5.5.0 <DATA>: Data command rejected: Improper use of SMTP command pipelining", "250")
    logged(s, "improper command pipelining after DATA from unknown[127.0.0.8]:")
    # nothing that was sent in clear counts under TLS
    c = Smtp(s, "127.0.0.8", helo="c.remote.test")
    c.send("STARTTLS", "RSET")
    c.expect("220 2.0.0 Ready to start TLS")
    c.sock = client_context().wrap_socket(c.sock, server_hostname="localhost")
    c.file = c.sock.makefile("rb")
    c.say("NOOP", "250 2.0.0 Ok")
    c.say("QUIT", "221", "")
    logged(s, "connect from unknown[127.0.0.8]:")


@case
def a_busy_server():
    s = start_stack("c", "smtpd_processes = 1", "smtpd_session_limit = 10", "smtpd_timeout = ${stress?{2}:{60}}s",
                    "smtpd_hard_error_limit = ${stress?{1}:{20}}", "smtpd_client_connection_count_limit = 0")
    calm = [Smtp(s) for _ in range(8)]
    logged(s, "connect from")
    busy = Smtp(s)
    calm[0].say("NOSUCH", "500")
    calm[0].say("NOOP", "250")
    busy.say("NOSUCH", "500")
    busy.expect("421 4.7.0 example.com Error: too many errors", "")
    logged(s, "warning: service \"smtp\" is near its session limit \"10\": new clients are served under stress=yes")
    began = time.monotonic()
    slow = Smtp(s)
    for c in "EHLO a.slow.client":  # something comes all the time, yet not a command
        time.sleep(0.25)
        try:
            slow.sock.sendall(c.encode())
        except OSError:
            break
    slow.expect("421 4.4.2 example.com Error: timeout exceeded", "")
    check(1.5 < time.monotonic() - began < 12, "cut off after %.1f s" % (time.monotonic() - began))
    rest = [Smtp(s) for _ in range(2)]
    full = Smtp(s, greeting="421 4.3.2 example.com Error: all server ports are busy")
    full.expect("")
    logged(s, "warning: all server ports are busy: 10 sessions, [127.0.0.1] is turned away")
    for c in calm + rest:
        c.close()
    calm_again = lambda: Smtp(s, greeting=None).reply().startswith("220") and "is well below" in s.log()
    wait_for(calm_again, 10, "room again")
    logged(s, "service \"smtp\" is well below its session limit \"10\" again")
    c = Smtp(s)
    for _ in range(3):
        c.say("NOSUCH", "500")


@case
def words_and_footers():
    s = start_stack("d", "smtpd_noop_commands = FROB, !MAIL", "smtpd_command_filter = regexp:$config_directory/filter",
                    "smtpd_forbidden_commands = CONNECT, !hash:$config_directory/spared, regexp:{{/^XQ/ Bogus}}, regexp:{{/^[^A-Z]/ Bogus}}, hash:$config_directory/words",
                    "smtpd_discard_ehlo_keywords = dsn", "smtpd_discard_ehlo_keyword_address_maps = hash:$config_directory/ehlo",
                    "smtpd_sasl_exceptions_networks = 127.0.0.7", "broken_sasl_auth_clients = yes", "smtpd_tls_auth_only = no", "smtpd_sasl_security_options = noanonymous",
                    "smtpd_reject_footer = \\c. Ask $server_name.\\nYou are ${client_address}, $helo_name.",
                    "smtpd_reject_footer_maps = regexp:$config_directory/footers",
                    "smtpd_junk_command_limit = 3", "smtpd_hard_error_limit = 4",
                    files=[("filter", "/^PING(.*)/ NOOP$1\n/^AUTH WRONG(.*)/ AUTH PLAIN$1\n/^RCPT TO:<u99@/ RCPT TO:<u0@example.com>\n"), ("words", "post x\n"), ("spared", "xqa x\n"),
                           ("ehlo", "127.0.0.7 silent-discard, pipelining limits\n"),
                           ("footers", "/^501 5\\.5\\.4/ \\nCall $recipient from $sender.\n/<nobody@/ Who is $recipient?\n")])
    c = Smtp(s)
    got = c.say("EHLO c.remote.test", "250 ")
    for k in ("AUTH PLAIN LOGIN", "AUTH=PLAIN LOGIN", "LIMITS RCPTMAX=40", "PIPELINING"):
        check("250-%s|" % k in got or "250 " + k in got, "%s is not in %s" % (k, got))
    check("DSN" not in got, got)
    logged(s, "discarding EHLO keywords: dsn")
    got = Smtp(s, "127.0.0.7").say("EHLO c.remote.test", "250 ")
    check("DSN" in got and "AUTH" not in got and "PIPELINING" not in got and "LIMITS" not in got, got)
    equal(s.log().count("discarding EHLO keywords"), 1, "lines about discarded keywords")

    c.say("FROB it", "250 2.0.0 Ok")
    c.say("PING me", "250 2.0.0 Ok")
    logged(s, 'localhost[127.0.0.1]: replacing command "PING me" with "NOOP me"')
    Smtp(s, helo="d.remote.test").say("AUTH WRONG AHUwAHNlY3JldA==", "5")
    logged(s, 'replacing command "AUTH ..." with "AUTH ..."')
    check("AHUwAH" not in s.log(), "a password is in the log")
    equal(c.say("NOSUCH", "500"), "500-5.5.2 Error: command not recognized. Ask example.com.|500 5.5.2 You are 127.0.0.1, c.remote.test.",
          "a footer")
    c.say("MAIL FROM:<x@remote.test>", "250")
    c.say("RCPT TO:<u99@example.com>", "250")
    got = c.say("RCPT TO:<nobody@example.com>", "550 5.1.1 Who is nobody@example.com?")
    check(got.startswith("550-5.1.1 <nobody@example.com>: Recipient address rejected: "), got)
    got = c.say("DATA x", "501 5.5.4 Call  from x@remote.test.")
    equal(got.split("|")[:2], ["501-5.5.4 Syntax: DATA", "501-5.5.4 "], "a footer of three lines")
    c.send("NOSUCH", "RSET", "NOOP")  # refusals wait for tables; what follows waits for them. NOOP is the hard limit's
    c.expect("500 5.5.2 You are", "421 4.7.0 You are", "")

    for line in ("GET / HTTP/1.1", "X-Header: y", "\x16\x03\x01", "POST /", "connect x:25", "XQA", "XQB"):
        c = Smtp(s)
        if line in ("GET / HTTP/1.1", "XQA"):  # not in this list; in a table that is negated
            c.say(line, "500 ")
            continue
        c.say(line, "221 2.7.0 Error: I can break rules, too. Goodbye.", "")
    logged(s, "warning: non-SMTP command from localhost[127.0.0.1]: POST /")
    c = Smtp(s, helo="c.remote.test")  # NOOP and its like without mail
    for _ in range(4):
        c.say("FROB", "250")
    c.send(*(["FROB"] * 4))
    text = c.file.read().decode()
    check("421-4.7.0 example.com Error: too many errors. Ask example.com." in text, text)
    c = Smtp(s, helo="c.remote.test")
    c.say("ETRN localhost", "250 Queuing started")
    got = c.say("ETRN far.test", "459 ")
    check(got.startswith("459-<far.test>: service unavailable. Ask"), got)
    logged(s, "warning: reject: ETRN far.test... from localhost[127.0.0.1]")


def make_certs(folder):
    """A CA, and a certificate for a client from it: (ca, (cert, key), (self-signed cert, key))."""
    os.makedirs(folder, exist_ok=True)
    at = lambda n: os.path.join(folder, n)

    def openssl(*argv):
        r = run(["openssl", *argv])
        check(r.returncode == 0, "openssl %s: %r" % (argv[0], r.stderr))
        return r.stdout.decode()

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
    for who in ("ca", "own"):
        openssl("req", "-x509", *new, "-subj", "/CN=the %s" % who, "-keyout", at(who + ".key"), "-out", at(who + ".pem"))
    openssl("req", *new, "-subj", "/CN=client.remote.test", "-keyout", at("c.key"), "-out", at("c.csr"))
    openssl("x509", "-req", "-in", at("c.csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "30",
            "-out", at("c.pem"))
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=rsa", "-keyout", at("rsa.key"),
            "-out", at("rsa.pem"))
    print_ = openssl("x509", "-in", at("c.pem"), "-noout", "-fingerprint", "-sha256").split("=")[1].strip()
    return at("ca.pem"), (at("c.pem"), at("c.key")), (at("own.pem"), at("own.key")), print_


@case
def certificates_of_clients():
    ca, good, own, fingerprint = make_certs(tmp("certs"))
    s = start_stack("e", "smtpd_tls_eccert_file = " + tmp("certs", "rsa.pem"), "smtpd_tls_eckey_file = " + tmp("certs", "rsa.key"),
                    "smtpd_tls_ask_ccert = yes", "smtpd_tls_CAfile = " + ca, "smtpd_tls_loglevel = 1", "log_format = kv",
                    "smtpd_tls_fingerprint_digest = sha256", "submission_tls_req_ccert = yes", "submissions_tls_req_ccert = yes",
                    "smtpd_tls_ciphers = high", "smtpd_tls_exclude_ciphers = aNULL, ECDHE-ECDSA-AES256-GCM-SHA384",
                    "submission_client_connection_count_limit = 100")
    for cert, word in ((None, ""), (good, fingerprint), (own, "cn=\"the own\"")):
        c = Smtp(s, helo="c.remote.test")
        c.starttls(client_context(cert))
        c.say("EHLO c.remote.test", "250 ")
        c.say("QUIT", "221")
        logged(s, word)
    # demanded where TLS is mandatory
    for cert, why in ((None, "No client certificate presented"), (own, "Client certificate not trusted"), (good, None)):
        c = Smtp(s, port="submission", helo="c.remote.test")
        c.starttls(client_context(cert))
        if why:
            c.say("EHLO c.remote.test", "421 4.7.1 example.com Error: " + why, "")
        else:
            c.say("EHLO c.remote.test", "250 ")
        sock = client_context(cert).wrap_socket(socket.create_connection(("127.0.0.1", s.ports["submissions"]), timeout=30))
        got = sock.makefile("rb").readline().decode()
        check(got.startswith("421 4.7.1 example.com Error: " + why if why else "220 "), got)
    # two certificates of the server's, by kind of key (here the other one is EC)
    for kind in ("RSA", "ECDSA"):
        context = client_context(None, ssl.TLSVersion.TLSv1_2)
        context.set_ciphers("ECDHE-%s-AES128-GCM-SHA256" % kind)
        c = Smtp(s, helo="c.remote.test")
        c.starttls(context)
        c.say("EHLO c.remote.test", "250 ")
    # no tickets on port 25, and none where certificates are asked for: who comes again shows his anew (t_tls has the others)
    for port in ("smtp", "submission"):
        c = Smtp(s, port=port, helo="c.remote.test")
        c.starttls(client_context(good, ssl.TLSVersion.TLSv1_2))
        check(not c.sock.session.has_ticket, "a session ticket on %s" % port)
        check(c.sock.cipher()[0] != "ECDHE-ECDSA-AES256-GCM-SHA384" or port != "smtp", "an excluded cipher")


@case
def wrong_values_are_told():
    rows = [("smtpd_forbidden_commands = regexp:{{/^[/ x}}", "the pattern \"^[\" is none"),
            ("smtpd_reject_footer = Call $nobody", "unknown macro name \"nobody\""),
            ("smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = /nonexistent/ca.pem", "smtpd_tls_CAfile: /nonexistent/ca.pem"),
            ("smtpd_client_event_limit_exceptions = 192.0.2.0/99", "\"192.0.2.0/99\" is no address"),
            ("submission_sasl_exceptions_networks = 1.2.3", "1.2.3"),
            ("smtpd_tls_ciphers = strong", "smtpd_tls_ciphers: unknown cipher grade"),
            ("smtpd_tls_fingerprint_digest = md77", "smtpd_tls_fingerprint_digest: digest algorithm"),
            ("smtpd_timeout = ${stress?{soon}:{30s}}", "smtpd_timeout: bad time \"soon\""),
            ("smtpd_sasl_mechanism_filter = !external, hash:/etc/mechs", "smtpd_sasl_mechanism_filter: tables are not asked here"),
            ("smtpd_greet_wait = 2h", "outside")]
    s = Stack(tmp("w"))
    s.configure()
    with open(s.main_cf) as f:
        base = f.read()
    for lines, says in rows:
        with open(s.main_cf, "w") as f:
            f.write(base + lines + "\n")
        number = (base + lines).count("\n") + 1
        r = s.postern("check", ok=False)
        told = [l for l in (r.stdout + r.stderr).decode().splitlines() if "error: " in l and says in l]
        check(r.returncode != 0 and told and told[0].startswith("%s:%d: " % (s.main_cf, number)),
              "%s: %s" % (lines, (r.stdout + r.stderr).decode()))


main()
