#!/usr/bin/env python3
# check_policy_service: what a policy server is told, what its answers do, what becomes of servers that are slow, closed, mad
# or away, and Debian's postgrey. And what an account may submit before its mail is held.
# timeout: 240
import glob
import os
import pwd
import smtplib
import socket
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from refstack import ALIASES
from stack import Stack

ATTRIBUTES = """request protocol_state protocol_name client_address client_name client_port reverse_client_name server_address
server_port helo_name sender recipient recipient_count queue_id instance size etrn_domain stress sasl_method sasl_username
sasl_sender ccert_subject ccert_issuer ccert_fingerprint ccert_pubkey_fingerprint encryption_protocol encryption_cipher
encryption_keysize policy_context compatibility_level mail_version""".split()
_dns = []


def dns():
    if not _dns:
        _dns.append(Dnsd(SMTP_CASES_ZONE))
        _dns[0].start()
        at_end(_dns[0].stop)
    return "127.0.0.1:%d" % _dns[0].port


def start_stack(name, *conf):
    s = Stack(tmp(name), users=["u0@example.com", "u1@example.com"], resolver=dns(),
              aliases={**ALIASES, "postmaster@example.com": ["email1@example.com"]},
              extra_conf=["mynetworks = 127.0.0.8/32", "smtpd_processes = 1"] + list(conf))
    s.start()
    at_end(s.stop)
    return s


class Policy:
    """A policy server; answer is a text after "action=", or a function (connection, request) that returns octets to send
    (None: hang up)."""

    def __init__(self, path=None):
        self.path, self.answer, self.requests, self.conns = path, "DUNNO", [], []
        self.listen()

    def listen(self, port=0):
        if self.path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.bind(self.path)
            os.chmod(self.path, 0o666)
        else:
            self.sock = socket.socket()
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind(("127.0.0.1", port or free_port()))
            self.port = self.sock.getsockname()[1]
        self.sock.listen(50)
        threading.Thread(target=self.accept, args=(self.sock,), daemon=True).start()

    def accept(self, sock):
        while True:
            try:
                c = sock.accept()[0]
            except OSError:
                return
            self.conns.append(c)
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        lines, f = [], c.makefile("rb")
        try:
            for line in f:
                if line != b"\n":
                    lines.append(line.decode().rstrip("\n").split("=", 1))
                    continue
                self.requests.append(lines)
                lines = []
                out = self.answer(c, self.requests[-1]) if callable(self.answer) else b"action=%s\n\n" % self.answer.encode()
                if out is None:
                    break
                c.sendall(out)
        except OSError:
            pass
        f.close()
        c.close()

    def stop(self):
        for s in [self.sock] + self.conns:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()
        self.conns = []

    def last(self):
        return dict(self.requests[-1])


class Smtp:
    def __init__(self, s, port="smtp", helo="c.remote.test"):
        self.sock = socket.create_connection(("127.0.0.1", s.ports[port]), timeout=30)
        self.file = self.sock.makefile("rb")
        self.expect("220 ")
        self.say("EHLO " + helo, "250 ")

    def reply(self):
        while True:
            line = self.file.readline().decode(errors="replace")
            if not line or line[3:4] != "-":
                return line.rstrip("\r\n")

    def expect(self, start):
        got = self.reply()
        check(got.startswith(start), "expected %r, got %r" % (start, got))
        return got

    def say(self, line, start):
        self.sock.sendall(line.encode() + b"\r\n")
        return self.expect(start)

    def rcpt(self, start, rcpt="u0@example.com"):
        self.say("RSET", "250")
        self.say("MAIL FROM:<x@remote.test> SIZE=123", "250")
        return self.say("RCPT TO:<%s>" % rcpt, start)

    def message(self, text):
        self.say("DATA", "354")
        return self.say("Subject: %s\r\n\r\nbody\r\n." % text, "250 2.0.0 Ok: queued as ")


def messages(s, address, text):
    found = []
    for sub in ("new", "cur"):
        for path in glob.glob(os.path.join(s.maildir(address), sub, "*")):
            with open(path, "rb") as f:
                data = f.read().replace(b"\r\n", b"\n").decode(errors="replace")
            if text in data:
                found.append(data)
    return found


def log_has(s, text):
    wait_for(lambda: text in s.log(), 10, "in the log: " + text)


def connect_tls(s, user, password="pass"):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    c = smtplib.SMTP("127.0.0.1", s.ports["submission"], local_hostname="[127.0.0.1]", timeout=30)
    c.starttls(context=context)
    c.login(user, password)
    return c


@case
def what_is_told_and_what_answers_do():
    p, other = Policy(), Policy()
    s = start_stack("a", "smtpd_recipient_restrictions = check_policy_service { inet:localhost:%d, timeout=3s, policy_context=ctx }"
                    " reject_unauth_destination" % p.port,
                    "smtpd_end_of_data_restrictions = check_policy_service inet:127.0.0.1:%d" % other.port,
                    "submission_recipient_restrictions = check_policy_service inet:127.0.0.1:%d, reject_unauth_destination" % p.port)
    c = Smtp(s)
    c.rcpt("250 2.1.5")
    equal([n for n, _ in p.requests[0]], ATTRIBUTES, "names and order of attributes")
    told = p.last()
    first_instance = told["instance"]
    for name, want in (("request", "smtpd_access_policy"), ("protocol_state", "RCPT"), ("protocol_name", "ESMTP"),
                       ("client_address", "127.0.0.1"), ("client_name", "localhost"), ("reverse_client_name", "localhost"),
                       ("client_port", str(c.sock.getsockname()[1])), ("server_address", "127.0.0.1"),
                       ("server_port", str(s.ports["smtp"])), ("helo_name", "c.remote.test"), ("sender", "x@remote.test"),
                       ("recipient", "u0@example.com"), ("recipient_count", "0"), ("queue_id", ""), ("size", "123"),
                       ("sasl_username", ""), ("encryption_protocol", ""), ("encryption_keysize", "0"), ("policy_context", "ctx")):
        equal(told[name], want, name)
    c.say("RCPT TO:<u1@example.com>", "250")
    equal(p.last()["instance"], first_instance, "the same message's instance")
    check(p.last()["queue_id"], "no queue id for the second recipient")
    queued = c.message("told").split()[-1]
    told = other.last()
    for name, want in (("protocol_state", "END-OF-MESSAGE"), ("recipient", ""), ("recipient_count", "2"), ("queue_id", queued),
                       ("instance", first_instance), ("policy_context", "")):
        equal(told[name], want, name + " at the end of data")
    check(20 < int(told["size"]) < 60, "size at the end of data: " + told["size"])
    equal(len(p.conns), 1, "connections for two requests")

    for action, want in (
            ("REJECT", "554 5.7.1 <u0@example.com>: Recipient address rejected: Access denied"),
            ("reject go away", "554 5.7.1 <u0@example.com>: Recipient address rejected: go away"),
            ("550 5.1.1 nobody", "550 5.1.1 <u0@example.com>: Recipient address rejected: nobody"),
            ("451 4.7.1 later", "451 4.7.1 <u0@example.com>: Recipient address rejected: later"),
            ("DEFER soon", "450 4.7.1 <u0@example.com>: Recipient address rejected: soon"),
            ("DEFER_IF_PERMIT maybe", "450 4.7.1 <u0@example.com>: Recipient address rejected: maybe"),
            ("DEFER_IF_REJECT maybe", "250 2.1.5"), ("OK", "250 2.1.5"), ("PERMIT", "250 2.1.5"), ("WARN look", "250 2.1.5"),
            ("INFO look", "250 2.1.5"), ("reject_unauth_destination", "250 2.1.5"), ("dunno", "250 2.1.5"),
            ("nonsense_verb", "451 4.3.5")):
        p.answer = action
        c.rcpt(want)
    check(p.last()["instance"] != first_instance, "another message has another instance")
    log_has(s, "warn: RCPT from localhost[127.0.0.1]: look")
    p.answer = "PREPEND X-Policy: yes"
    c.rcpt("250")
    c.message("prepended")
    wait_for(lambda: messages(s, "u0@example.com", "prepended"), 20, "the message with a header more")
    check("\nX-Policy: yes\n" in messages(s, "u0@example.com", "prepended")[0], "no header was prepended")
    p.answer = "HOLD suspicious"
    c.rcpt("250")
    held = c.message("held").split()[-1]
    check(held in s.postern("queue", "list") and "hold" in s.postern("queue", "list"), "not on hold: " + s.postern("queue", "list"))
    p.answer = "DISCARD quietly"
    c.rcpt("250")
    c.message("discarded")
    p.answer = "REDIRECT u1@example.com"
    c.rcpt("250")
    c.message("redirected")
    wait_for(lambda: messages(s, "u1@example.com", "redirected"), 20, "the redirected message")
    check(not messages(s, "u0@example.com", "redirected") and not messages(s, "u0@example.com", "discarded") and
          not messages(s, "u0@example.com", "held"), "u0 has what was redirected, held or discarded")

    p.answer = "DUNNO"
    with connect_tls(s, "u0@example.com") as m:
        m.sendmail("u0@example.com", ["u1@example.com"], "Subject: s\r\n\r\nx\r\n", mail_options=["AUTH=<>"])
    told = [dict(r) for r in p.requests if dict(r)["sasl_username"]][-1]
    for name, want in (("sasl_username", "u0@example.com"), ("sasl_method", "PLAIN"), ("encryption_protocol", "TLSv1.3"),
                       ("server_port", str(s.ports["submission"]))):
        equal(told[name], want, name)
    check(int(told["encryption_keysize"]) >= 128 and told["encryption_cipher"].startswith("TLS_"), "cipher: %r" % told)


def certificate(name, *sign):
    pem, key = tmp(name + ".pem"), tmp(name + ".key")
    r = run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
             "-subj", "/CN=" + name, "-keyout", key, "-out", pem, *sign])
    check(r.returncode == 0, "openssl: %r" % r.stderr)
    return pem, key


@case
def what_is_told_of_certificates():
    p, ca = Policy(), certificate("ca")
    s = start_stack("g", "smtpd_tls_ask_ccert = yes", "smtpd_tls_CAfile = " + ca[0], "compatibility_level = 3.6",
                    "smtpd_relay_restrictions = reject_unauth_destination",
                    "smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:%d" % p.port)
    for cert, subject, issuer in ((certificate("bad client"), "", ""), (certificate("good client", "-CA", ca[0], "-CAkey", ca[1]), "good+20client", "ca")):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(*cert)
        c = smtplib.SMTP("127.0.0.1", s.ports["smtp"], local_hostname="c.remote.test", timeout=30)
        c.starttls(context=context)
        c.ehlo()
        c.mail("x@remote.test")
        equal(c.rcpt("u0@example.com")[0], 250, "RCPT")
        told = p.last()
        equal((told["ccert_subject"], told["ccert_issuer"]), (subject, issuer), "names, which anybody can write into a certificate")
        equal(told["ccert_fingerprint"].count(":"), 31, "colons in a fingerprint")
        equal(told["compatibility_level"], "3.6", "compatibility_level")
        c.close()


@case
def servers_that_fail():
    p = Policy()
    s = start_stack("b", "smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:%d, reject_unauth_destination" % p.port,
                    "smtpd_policy_service_timeout = 1s")
    name = "127.0.0.1:%d" % p.port
    refused = "451 4.3.5 <u0@example.com>: Recipient address rejected: Server configuration problem"
    c = Smtp(s)
    c.rcpt("250")

    def after(answer):
        p.answer = answer
        asked, began = len(p.requests), time.monotonic()
        c.rcpt(refused)
        equal(len(p.requests) - asked, 2, "attempts")
        return time.monotonic() - began

    check(0.9 < after(lambda *_: None) < 3, "hanging up: not tried again after a second")
    log_has(s, "warning: problem talking to server %s: Application error" % name)
    after(lambda *_: b"asdf asdf\n\n")
    log_has(s, "warning: missing attribute action in input from " + name)
    after(lambda *_: b"\0\xff" * 20000)
    log_has(s, "warning: unreasonably long reply in input from " + name)
    after(lambda *_: b"\n")
    took = after(lambda *_: time.sleep(3) or b"action=OK\n\n")
    check(2.5 < took < 6, "two time-outs of 1 s took %.1f s" % took)
    log_has(s, "warning: problem talking to server %s: Connection timed out" % name)

    def drip(conn, _):
        for _ in range(100):
            conn.sendall(b"x=y\n")
            time.sleep(0.1)
    check(after(drip) < 6, "an endless reply is waited for")

    # a reply that fails once only; a server that is started again between two requests
    count = []
    p.answer = lambda *_: count.append(1) or (None if len(count) == 1 else b"action=DUNNO\n\n")
    c.rcpt("250")
    p.stop()
    p.answer = "DUNNO"
    p.listen(p.port)
    c.rcpt("250")
    p.stop()
    c.rcpt(refused)
    log_has(s, "warning: connect to %s: Connection refused" % name)
    p.listen(p.port)
    c.rcpt("250")


@case
def default_action_and_sharing():
    path = tmp("sock", "policy")
    p = Policy(path)
    s = start_stack("c", "smtpd_policy_service_default_action = 450 4.7.9 Policy is away",
                    "smtpd_recipient_restrictions = check_policy_service { unix:%s, try_limit=1, timeout=2s }" % path,
                    "  check_policy_service { unix:/nonexistent, try_limit=1, default_action=DUNNO }", "  reject_unauth_destination")
    # many sessions at a time share connections; each answer finds its own question
    p.answer = lambda _, r: time.sleep(0.3) or b"action=550 5.7.1 %s\n\n" % dict(r)["recipient"].encode()
    clients = [Smtp(s) for _ in range(12)]
    for i, c in enumerate(clients):
        c.sock.sendall(b"MAIL FROM:<x@remote.test>\r\nRCPT TO:<r%d@example.com>\r\n" % i)
    for i, c in enumerate(clients):
        c.expect("250")
        c.expect("550 5.7.1 <r%d@example.com>: Recipient address rejected: r%d@example.com" % (i, i))
    made = len(p.conns)
    check(1 < made <= 12, "%d connections for 12 requests at a time" % made)
    for i, c in enumerate(clients):
        c.rcpt("550", "z%d@example.com" % i)
    equal(len(p.conns), made, "connections after 12 requests one by one")
    p.answer = "DUNNO"
    clients[0].rcpt("250")
    p.stop()
    clients[0].rcpt("450 4.7.9 <u0@example.com>: Recipient address rejected: Policy is away")


@case
def a_bad_argument_is_refused():
    s = Stack(tmp("d"), extra_conf=["smtpd_recipient_restrictions =", "  check_policy_service inet:127.0.0.1:1000000",
                                    "  reject_unauth_destination"], resolver=dns())
    s.configure()
    with open(s.main_cf) as f:
        lines = f.read().split("\n")
    line = len(lines) - lines[::-1].index("smtpd_recipient_restrictions =")
    for bad, why in (("inet:127.0.0.1:1000000", "a port is a number"), ("{ inet:127.0.0.1:10, tmeout=3s }", "unknown option"),
                     ("private/policy", "transport:server"), ("tcp:127.0.0.1:10", "neither unix nor inet")):
        with open(s.main_cf) as f:
            text = f.read().split("\n")
        text[line] = "  check_policy_service " + bad
        with open(s.main_cf, "w") as f:
            f.write("\n".join(text))
        r = s.postern("check", ok=False)
        out = r.stdout.decode() + r.stderr.decode()
        equal(r.returncode, 78, "postern check's status")
        found = [l for l in out.splitlines() if why in l and "check_policy_service" in l]
        check(found and "main.cf:%d" % line in found[0].replace(", line ", ":"), "%s: %s" % (bad, out))


@case
def postgrey():
    program_path = need("postgrey")
    port, db = free_port(), tmp("postgrey", "db")
    os.makedirs(db)
    user = "postgrey" if any(e.pw_name == "postgrey" for e in pwd.getpwall()) else "nobody"
    if os.geteuid() == 0:
        os.chown(db, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    g = start([program_path, "--inet=127.0.0.1:%d" % port, "--dbdir=" + db, "--delay=2", "--user=" + user, "--group=nogroup",
               "--greylist-text=Greylisted, come back later"], name="postgrey")
    wait_port(port, 20, g)
    s = start_stack("e", "smtpd_recipient_restrictions = reject_unauth_destination check_policy_service inet:127.0.0.1:%d" % port)
    c = Smtp(s)
    c.rcpt("450 4.2.0 <u0@example.com>: Recipient address rejected: Greylisted, come back later")
    log_has(s, "NOQUEUE: reject: RCPT from localhost[127.0.0.1]: 450 4.2.0 <u0@example.com>: Recipient address rejected: "
            "Greylisted, come back later; from=<x@remote.test> to=<u0@example.com> proto=ESMTP helo=<c.remote.test>")
    time.sleep(2.5)
    c.rcpt("250")
    c.message("grey no more")
    wait_for(lambda: messages(s, "u0@example.com", "grey no more"), 20, "the message")
    check("X-Greylist: delayed " in messages(s, "u0@example.com", "grey no more")[0], "postgrey's header is not there")


@case
def an_account_has_limits():
    s = start_stack("f", "submission_account_message_limit_hour = 2", "submission_account_recipient_limit_day = 6",
                    "submission_account_limit_exceptions = email2@example.com", "recipient_delimiter = +")

    def send(user, text, to=("u1@example.com",), password="pass"):
        with connect_tls(s, user, password) as c:
            c.sendmail(user, list(to), "Subject: %s\r\n\r\nx\r\n" % text)

    def held():
        return [l for l in s.postern("queue", "list").splitlines() if "  hold " in l]

    for i in range(4):
        send("u0@example.com", "number-%d" % i)
    for i in range(3):
        send("email2@example.com", "free-%d" % i, password="password")
    wait_for(lambda: all(messages(s, "u1@example.com", t) for t in ("number-0", "number-1", "free-2")), 20, "what is within limits")
    equal(len(held()), 2, "messages on hold: " + s.postern("queue", "list"))
    check("submission_account_message_limit_hour = 2 is exceeded" in s.postern("queue", "list"), s.postern("queue", "list"))
    # postmaster (an alias of email1) was told once
    wait_for(lambda: messages(s, "email1@example.com", "Mail of u0@example.com is put on hold"), 20, "the notice")
    equal(len(messages(s, "email1@example.com", "is put on hold")), 1, "notices")
    check("Return-Path: <double-bounce@" in messages(s, "email1@example.com", "is put on hold")[0], "the notice has a sender")
    log_has(s, "u0@example.com: submission_account_message_limit_hour = 2 is exceeded (3)")
    # another account has its own counts; authd's restart forgets nothing
    send("u1@example.com", "other", ["u0@example.com"] * 1)
    time.sleep(3.5)
    old = s.pids_of("authd")
    os.kill(old[0], 9)
    wait_for(lambda: s.pids_of("authd") and s.pids_of("authd") != old, 20, "a new authd")
    send("u0@example.com", "after the restart")
    wait_for(lambda: len(held()) == 3, 10, "a third message on hold")
    equal(len(messages(s, "email1@example.com", "is put on hold")), 1, "notices after the restart")
    # too many recipients at once
    send("u1@example.com", "wide", ["u0@example.com", "u1@example.com", "email1@example.com", "email2@example.com",
                                    "alias@example.com", "all@example.com"])
    wait_for(lambda: len(held()) == 4, 10, "the wide message on hold")
    # one account's mail is let go
    check("3 recipients" in s.postern("queue", "release", "account=u0@example.com"), "released another number")
    wait_for(lambda: all(messages(s, "u1@example.com", t) for t in ("number-2", "number-3", "after the restart")), 20, "released mail")
    equal(len(held()), 1, "messages on hold after the release")
    check("1 message" in s.postern("queue", "delete", "account=u1@example.com"), "deleted another number")
    equal(held(), [], "messages on hold at the end")
    # an address cannot write the rest of the line
    with connect_tls(s, "u0@example.com") as c:
        equal(c.docmd('MAIL FROM:<"u0+> to=<y"@example.com>')[0], 250, "MAIL")
        equal(c.docmd("RCPT TO:<u1@example.com>")[0], 250, "RCPT")
        equal(c.data("Subject: odd\r\n\r\nx\r\n")[0], 250, "DATA")
    log_has(s, ' from=<"u0+> to=<y"@example.com> to=<u1@example.com> proto=ESMTP')


main()
