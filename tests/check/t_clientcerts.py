#!/usr/bin/env python3
# Clients that may relay by their certificates: permit_tls_clientcerts, permit_tls_all_clientcerts.
# timeout: 60
import os
import socket
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import SMTP_CASES_ZONE, Dnsd
from harness import *
from stack import Stack

dns = Dnsd(SMTP_CASES_ZONE)
dns.start()


def openssl(*argv, input=None):
    r = run(["openssl", *argv], input=input)
    check(r.returncode == 0, "openssl %s: %r" % (argv[0], r.stderr))
    return r.stdout


def certificate(name, ca=None):
    """(certificate, key, its fingerprint, its key's), signed by ca or by itself."""
    pem, key, csr = tmp(name + ".pem"), tmp(name + ".key"), tmp(name + ".csr")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=" + name, "-keyout", key]
    if ca:
        openssl("req", *new, "-out", csr)
        openssl("x509", "-req", "-in", csr, "-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial", "-days", "30", "-out", pem)
    else:
        openssl("req", "-x509", *new, "-days", "30", "-out", pem)
    print_ = openssl("x509", "-in", pem, "-noout", "-fingerprint", "-sha256").decode().split("=")[1].strip()
    der = openssl("pkey", "-pubin", "-outform", "DER", input=openssl("x509", "-in", pem, "-noout", "-pubkey"))
    key_print = openssl("dgst", "-sha256", "-c", input=der).decode().split("= ")[1].strip().upper()
    return pem, key, print_, key_print


def relays(s, cert):
    """The reply to RCPT for another host's address."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if cert:
        context.load_cert_chain(cert[0], cert[1])
    sock = socket.create_connection(("127.0.0.1", s.ports["smtp"]), timeout=30)

    def say(line):
        if line:
            sock.sendall(line.encode() + b"\r\n")
        while True:
            got = file.readline().decode()
            if got[3:4] != "-":
                return got.rstrip("\r\n")

    file = sock.makefile("rb")
    for line in ("", "EHLO client.remote.test", "STARTTLS"):
        say(line)
    sock = context.wrap_socket(sock)
    file = sock.makefile("rb")
    for line in ("EHLO client.remote.test", "MAIL FROM:<x@remote.test>"):
        say(line)
    return say("RCPT TO:<y@remote.test>")


@case
def relaying_by_certificate():
    ca = certificate("ca")
    known, by_key, trusted, other = certificate("known"), certificate("by-key"), certificate("trusted", ca), certificate("other")
    with open(tmp("prints"), "w") as f:
        f.write("%s known\n%s by-key\n" % (known[2], by_key[3]))
    denied = "554 5.7.1 <y@remote.test>: Relay access denied"
    for verb, ask, allowed in (("permit_tls_clientcerts", "yes", (known, by_key)),
                               ("permit_tls_all_clientcerts", "yes", (known, by_key, trusted)),
                               ("permit_tls_clientcerts", "no", ())):
        s = Stack(tmp(verb[11:14] + ask), users=["u0@example.com"], resolver="127.0.0.1:%d" % dns.port, extra_conf=[
            "mynetworks = 127.0.0.8/32", "smtpd_tls_ask_ccert = " + ask, "smtpd_tls_CAfile = " + ca[0],
            "smtpd_tls_fingerprint_digest = sha256", "relay_clientcerts = texthash:" + tmp("prints"),
            "smtpd_recipient_restrictions =", "smtpd_relay_restrictions = %s, reject_unauth_destination" % verb])
        with s:
            for name, cert in (("none", None), ("known", known), ("by-key", by_key), ("trusted", trusted), ("other", other)):
                equal(relays(s, cert), "250 2.1.5 Ok" if cert in allowed else denied, "%s, ask %s: %s" % (verb, ask, name))
            check(('%s is requested, but "smtpd_tls_ask_ccert = no"' % verb in s.log()) == (ask == "no"), s.log()[-500:])


main()
