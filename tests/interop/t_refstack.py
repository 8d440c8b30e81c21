#!/usr/bin/env python3
# Does the reference stack (Postfix, Dovecot, MariaDB as the guide sets them up) stand, deliver and go away
# again, whole and in parts? The last case replays tests/smtp-cases against it: proof of the set-up, not of Postern.
import imaplib
import os
import smtplib
import socket
import ssl
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import dnsd
from harness import *
from refstack import ALIASES, RefStack, smtp_sink, smtp_source

RESOLVER = "127.53.0.2"


def resolver():
    if os.geteuid() != 0:
        skip("port 53 needs root")
    return dnsd.Dnsd(dnsd.SMTP_CASES_ZONE, RESOLVER, 53)


def sent_all(result):
    check(result["ok"], "smtp-source: " + result["output"])


@case
def whole_stack():
    with resolver(), RefStack(tmp("all"), users=["u0@example.com"], resolver=RESOLVER) as ref:
        sent_all(smtp_source("127.0.0.1", ref.ports["smtp"], 20, "u0@example.com", sessions=4))
        equal(ref.wait_delivered(20), 20, "messages in the Maildir")
        with imaplib.IMAP4("127.0.0.1", ref.ports["imap"]) as m:
            m.login("u0@example.com", "pass")
            equal(m.select(), ("OK", [b"20"]), "SELECT")
        tls = ssl.create_default_context(cafile=ref.cert_file)
        with imaplib.IMAP4_SSL("localhost", ref.ports["imaps"], ssl_context=tls) as m:
            equal(m.login("email1@example.com", "password")[0], "OK", "the guide's own user")
        check(50_000 < ref.pss_kib() < 1_000_000, "PSS %d KiB" % ref.pss_kib())
        left, ports = ref.pids(), ref.ports.values()
    equal([p for p in left if os.path.exists("/proc/%d" % p)], [], "processes left")
    check(not os.path.exists(ref.workdir), "folder left")
    equal([p for p in ports if socket.socket().connect_ex(("127.0.0.1", p)) == 0], [], "ports left")


@case
def postfix_alone_delivers_to_a_foreign_socket():
    out = tmp("sink", "x")[:-2]
    os.chmod(out, 0o777)
    path = os.path.join(out, "lmtp")
    with RefStack(tmp("pf"), parts=("postfix",), users=["u0@example.com"], share=[out],
                  main_cf=["virtual_transport = lmtp:unix:" + path]) as ref, \
            smtp_sink(None, "unix:" + path, extra=["-L", "-d", os.path.join(out, "%M.")]):
        sent_all(smtp_source("127.0.0.1", ref.ports["smtp"], 3, "u0@example.com"))
        wait_for(lambda: len(os.listdir(out)) == 4 and ref.queue_length() == 0, 20,
                 "three messages in %s" % os.listdir(out))


@case
def dovecot_alone_listens_on_foreign_sockets():
    auth, lmtp = tmp("dv-sock", "auth"), tmp("dv-sock", "lmtp")
    with RefStack(tmp("dv"), parts=("dovecot",), users=["u0@example.com"], auth_socket=auth, lmtp_socket=lmtp) as ref:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(auth)
            check(s.makefile("rb").readline().startswith(b"VERSION\t1\t"), "no VERSION from auth")
        sent_all(smtp_source("unix:" + lmtp, None, 3, "u0@example.com", lmtp=True))
        equal(ref.wait_delivered(3, 20), 3, "messages in the Maildir")
        with imaplib.IMAP4("127.0.0.1", ref.ports["imap"]) as m:
            equal(m.login("u0@example.com", "pass")[0], "OK", "LOGIN")


@case
def postfix_and_dovecot_apart():
    """The same two sockets that join them in the guide, but in a folder between two stacks."""
    user, auth, lmtp = "u0@example.com", tmp("between", "auth"), tmp("between", "lmtp")
    lines = ["smtpd_sasl_path = " + auth, "virtual_transport = lmtp:unix:" + lmtp]
    with RefStack(tmp("d"), parts=("dovecot",), users=[user], auth_socket=auth, lmtp_socket=lmtp) as dovecot, \
            RefStack(tmp("p"), parts=("postfix",), users=[user], share=[os.path.dirname(auth)], main_cf=lines) as postfix:
        with smtplib.SMTP("127.0.0.1", postfix.ports["submission"], timeout=20) as s:
            s.starttls()
            s.login(user, "pass")
            s.sendmail(user, [user], "Subject: apart\r\n\r\nBody.\r\n")
        with smtplib.SMTP_SSL("127.0.0.1", postfix.ports["submissions"], timeout=20) as s:
            try:
                s.login(user, "wrong")
                fail("a wrong password was taken")
            except smtplib.SMTPAuthenticationError as e:
                equal(e.smtp_code, 535, "answer to a wrong password")
        equal(dovecot.wait_delivered(1, 20), 1, "messages in the Maildir")


@case
def answers_as_recorded():
    users = ["u%d@example.com" % i for i in range(200)]
    lines = ["smtputf8_enable = yes", "mynetworks = 127.0.0.8/32"]
    with resolver(), RefStack(tmp("dlg"), users=users, aliases=ALIASES, main_cf=lines, resolver=RESOLVER) as ref:
        cases = os.path.join(TOP, "tests", "smtp-cases")
        r = subprocess.run([sys.executable, os.path.join(cases, "smtpdiff.py"), "check", "-q", "--as-reference",
                            "--golden", os.path.join(cases, "golden.json"), "--mx-port", str(ref.ports["smtp"]),
                            "--submission-port", str(ref.ports["submission"]), "--deliver-check", ref.mail_root,
                            "--submissions-port", str(ref.ports["submissions"])], stdout=subprocess.PIPE, text=True)
        log(r.stdout.strip())
        check(r.returncode == 0, r.stdout.strip().splitlines()[-1])


main()
