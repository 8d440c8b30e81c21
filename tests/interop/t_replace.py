#!/usr/bin/env python3
# Piece by piece: a real Postfix delivers into our lmtpd and authenticates against our authd and looks users up there; our smtpd
# authenticates against a real Dovecot.
# timeout: 300
import base64
import os
import smtplib
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from authdoor import Door, Scram, b64
from harness import *
from refstack import RefStack
from stack import Stack


RESOLVER = "127.53.0.7"


def insecure():
    c = ssl.create_default_context()
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    return c


def submit(port, user, password, to, token):
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.com", timeout=30) as s:
        s.starttls(context=insecure())
        s.login(user, password)
        s.sendmail(user, [to], "Subject: %s\r\n\r\nx\r\n" % token)


def texts(root):
    for folder, _, names in os.walk(root):
        if os.path.basename(folder) in ("new", "cur"):
            for n in names:
                try:
                    with open(os.path.join(folder, n), "rb") as f:
                        yield f.read().decode(errors="replace")
                except FileNotFoundError:
                    pass


def open_to_others(s):
    """Sockets that a Postfix under another user id may use, as an operator's group rights would allow."""
    for name in ("private/auth", "private/lookup", "private/dovecot-lmtp"):
        os.chmod(os.path.join(s.queue_dir, name), 0o666)
    for folder in (s.workdir, s.queue_dir, os.path.join(s.queue_dir, "private")):
        os.chmod(folder, 0o755)


@case
def postfix_with_our_lmtpd_authd_and_lookup():
    with Stack(tmp("s"), users=["u0@example.com"]) as s:
        open_to_others(s)
        private = os.path.join(s.queue_dir, "private")
        lookup = "socketmap:unix:%s/lookup:" % private
        with Dnsd(SMTP_CASES_ZONE, RESOLVER, 53), RefStack(tmp("r", "x")[:-2] + "w", parts=("postfix",), share=[private],
                      resolver=RESOLVER,
                      main_cf=["virtual_transport = lmtp:unix:%s/dovecot-lmtp" % private,
                               "smtpd_sasl_path = %s/auth" % private,
                               "virtual_mailbox_domains = %svirtual_mailbox_domains" % lookup,
                               "virtual_mailbox_maps = %svirtual_mailbox_maps" % lookup,
                               "virtual_alias_maps = %svirtual_alias_maps" % lookup]) as r:
            token = "replace-" + os.urandom(6).hex()
            submit(r.ports["submission"], "email1@example.com", "password", "u0@example.com", token)
            wait_for(lambda: any(token in t for t in texts(s.maildir("u0@example.com"))), 30,
                     "the message in our Maildir; Postfix says:\n%s" % r.log()[-3000:])
            submit(r.ports["submission"], "email1@example.com", "password", "alias@example.com", token + "-alias")
            wait_for(lambda: any(token + "-alias" in t for t in texts(s.maildir("email1@example.com"))), 30, "by the alias")
            try:
                submit(r.ports["submission"], "email1@example.com", "wrong", "u0@example.com", token)
                fail("a wrong password was taken")
            except smtplib.SMTPAuthenticationError as e:
                equal(e.smtp_code, 535, "reply to a wrong password")
            try:
                submit(r.ports["submission"], "email1@example.com", "password", "nobody@example.com", token)
                fail("an unknown user was taken")
            except smtplib.SMTPRecipientsRefused as e:
                equal(list(e.recipients.values())[0][0], 550, "reply for an unknown user")


def by_scram(port, user, password):
    """The last answer at a port with TLS from the first octet."""
    d = Door("smtp", port, tls=insecure())
    x = Scram(user.encode(), password.encode())
    d.auth("SCRAM-SHA-256", b64(x.first))
    kind, first = d.answer()
    equal(kind, "go", "server-first: %r" % first)
    d.say(b64(x.final(first)))
    kind, last = d.answer()
    if kind == "go":
        equal(last, x.server_final, "the server's proof")
        d.say(b"")
        kind, last = d.answer()
    d.close()
    return kind


@case
def postfix_with_our_authd_by_scram():
    with Stack(tmp("s3"), extra_conf=["auth_mechanisms = plain login scram-sha-256", "auth_failure_delay = 0"]) as s:
        open_to_others(s)
        private = os.path.join(s.queue_dir, "private")
        s.postern("user", "password", "--stdin", "email1@example.com", input=b"password\n")
        with RefStack(tmp("r3", "x")[:-2] + "w", parts=("postfix",), share=[private],
                      main_cf=["smtpd_sasl_path = %s/auth" % private]) as r:
            for password, want in (("password", "ok"), ("wrong", "no"), ("password", "ok")):
                equal(by_scram(r.ports["submissions"], "email1@example.com", password), want, "SCRAM with %s" % password)
            equal(by_scram(r.ports["submissions"], "nobody@example.com", "password"), "no", "SCRAM as nobody")
            # In its own log it is who authd says.
            wait_for(lambda: "SASL SCRAM-SHA-256 authentication failed" in r.log(), 10, "Postfix's line of the failure")


@case
def our_smtpd_with_dovecots_auth_by_scram():
    need("gsasl")
    folder = tmp("d4", "x")[:-2]
    os.chmod(folder, 0o755)
    sock = os.path.join(folder, "auth")
    stored = run(["gsasl", "--mkpasswd", "--mechanism=SCRAM-SHA-256", "--password=pass", "--iteration-count=4096"]).stdout.decode().strip()
    with RefStack(tmp("r4", "x")[:-2] + "w", parts=("dovecot",), auth_socket=sock, dovecot_conf=[
            "auth_mechanisms = plain login scram-sha-256", "passdb {", "  driver = static", "  args = password=" + stored, "}"]):
        with Stack(tmp("s4"), extra_conf=["smtpd_sasl_path = " + sock]) as s:
            for password, want in (("pass", "ok"), ("wrong", "no")):
                equal(by_scram(s.ports["submissions"], "someone@example.org", password), want, "SCRAM with %s" % password)


@case
def our_smtpd_with_dovecots_auth():
    folder = tmp("d", "x")[:-2]
    os.chmod(folder, 0o755)
    sock = os.path.join(folder, "auth")
    with RefStack(tmp("rr", "x")[:-2] + "w", parts=("dovecot",), users={"u0@example.com": "pass"}, auth_socket=sock):
        with Stack(tmp("s2"), users={"u0@example.com": "not the password that Dovecot knows"},
                   extra_conf=["smtpd_sasl_path = " + sock]) as s:
            token = "dovecot-" + os.urandom(6).hex()
            submit(s.ports["submission"], "u0@example.com", "pass", "email1@example.com", token)
            wait_for(lambda: any(token in t for t in texts(s.maildir("email1@example.com"))), 30, "the message")
            with smtplib.SMTP_SSL("127.0.0.1", s.ports["submissions"], context=insecure(), timeout=30) as c:
                c.ehlo("client.example.com")
                code, _ = c.docmd("AUTH LOGIN")
                equal(code, 334, "AUTH LOGIN")
                equal(c.docmd(base64.b64encode(b"u0@example.com").decode())[0], 334, "after the name")
                equal(c.docmd(base64.b64encode(b"pass").decode())[0], 235, "after the password")
            try:
                submit(s.ports["submission"], "u0@example.com", "not the password that Dovecot knows", "email1@example.com", token)
                fail("the password of our own database was taken")
            except smtplib.SMTPAuthenticationError as e:
                equal(e.smtp_code, 535, "reply to a wrong password")


main()
