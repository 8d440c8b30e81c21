#!/usr/bin/env python3
# Login at other hosts: each mechanism, right and wrong passwords, which are used where, and what TLS changes.
import base64
import hashlib
import os
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import World
from outbound_auth import PASSWORD, USER, AuthSession, AuthSink
from stack import make_certificate

ZONE = {"there.test": {"A": ["127.99.0.2"]}}


def world(name, conf=(), password=PASSWORD, **sink):
    secrets = "smtp_sasl_password_maps = inline:{ { there.test = %s:%s } }" % (USER, password)
    return World(name, ["smtp_sasl_auth_enable = yes", secrets] + list(conf), zone=ZONE, kind=AuthSink, **sink)


PLAIN_TOO = "smtp_sasl_security_options = noanonymous"
# what the server offers and does, what main.cf says: the mechanism by which mail goes, or what the log says of its deferral
RULES = [
    ("AUTH PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256", {}, [], "SCRAM-SHA-256"),
    ("AUTH PLAIN SCRAM-SHA-1 CRAM-MD5", {}, [], "SCRAM-SHA-1"),
    ("AUTH PLAIN LOGIN CRAM-MD5", {}, [], "CRAM-MD5"),
    ("AUTH=PLAIN LOGIN", {}, [PLAIN_TOO], "PLAIN"),
    ("AUTH GSSAPI LOGIN", {}, [PLAIN_TOO], "LOGIN"),
    ("AUTH PLAIN LOGIN", {}, [], "dsn=4.7.0, status=deferred (SASL authentication failed; cannot authenticate to server "
     "there.test[127.99.0.2]: no mechanism available)"),
    ("AUTH CRAM-MD5", {}, ["smtp_sasl_security_options = mutual_auth"], "no mechanism available"),
    ("AUTH CRAM-MD5 SCRAM-SHA-1", {}, ["smtp_sasl_mechanism_filter = !scram-sha-1, static:rest"], "CRAM-MD5"),
    ("AUTH PLAIN", {}, ["smtp_sasl_mechanism_filter = cram-md5"], "dsn=4.7.0, status=deferred (SASL authentication failed: server "
     "there.test[127.99.0.2] offered no compatible authentication mechanisms for this type of connection security)"),
    ("", {}, [], None),  # not offered: mail goes without
    ("AUTH SCRAM-SHA-256", {}, ["smtp_discard_ehlo_keywords = auth"], None),
    ("AUTH SCRAM-SHA-256", {"does": "lies"}, [], "cannot authenticate to server there.test[127.99.0.2]: the server does not know the password"),
    ("AUTH SCRAM-SHA-256", {"does": "hurries"}, [], "the server has not proved that it knows the password"),
    ("AUTH SCRAM-SHA-256", {"iterations": 100}, [], "SCRAM iteration count out of bounds"),
    ("AUTH SCRAM-SHA-256", {"iterations": 2000000000}, [], "SCRAM iteration count out of bounds"),
    ("AUTH SCRAM-SHA-256", {"does": "garbage"}, [], "malformed challenge"),
    ("AUTH LOGIN", {"does": "454 4.7.0 later"}, [PLAIN_TOO], "dsn=4.7.0, status=deferred (SASL authentication failed; server "
     "there.test[127.99.0.2] said: 454 4.7.0 later)"),
    ("AUTH PLAIN", {"password": "wrong"}, [PLAIN_TOO], "dsn=4.7.8, status=deferred (SASL authentication failed; server "
     "there.test[127.99.0.2] said: 535 5.7.8 Error: authentication failed: who are you)"),
    ("AUTH SCRAM-SHA-1", {"password": "wrong"}, [], "dsn=4.7.8, status=deferred"),
    ("AUTH PLAIN", {"password": "wrong"}, [PLAIN_TOO, "smtp_sasl_auth_soft_bounce = no"], "dsn=5.7.8, status=bounced (SASL"),
    ("AUTH PLAIN", {"does": "421 4.3.2 closing"}, [PLAIN_TOO], "said: 421 4.3.2 closing)"),
]


def outcome(w, want, what, to="ok@there.test", sink=None):
    sink = sink or w.sink
    w.send(to)
    if want is None or " " not in want:
        wait_for(lambda: sink.messages, 10, "%s: delivered" % what)
        equal(sink.logged_in, [want], "%s: login" % what)
    else:
        wait_for(lambda: [l for l in w.stack.log().splitlines() if to in l and want in l], 10, "%s: %r in the log" % (what, want))
        equal(sink.messages, [], "%s: nothing was sent" % what)
    shown = w.stack.log()
    check(PASSWORD not in shown and base64.b64encode(PASSWORD.encode()).decode() not in shown, "%s: the password is in the log" % what)


@case
def mechanisms():
    """One World for each configuration, one server for each rule."""
    for conf in {tuple(r[2]): None for r in RULES}:
        rules = [r for r in RULES if tuple(r[2]) == conf]
        port = free_port()
        zone = {"there%d.test" % i: {"A": ["127.99.1.%d" % (i + 1)]} for i in range(len(rules))}
        secrets = " ".join("{ there%d.test = %s:%s }" % (i, USER, r[1].get("password", PASSWORD)) for i, r in enumerate(rules))
        sinks = [AuthSink(("127.99.1.%d" % (i + 1), port), r[0], r[1].get("does", "right"), r[1].get("iterations", 4096)) for i, r in enumerate(rules)]
        try:
            with World("m%d" % port, ["smtp_sasl_auth_enable = yes", "smtp_sasl_password_maps = inline:{ %s }" % secrets] + list(conf),
                       zone=zone, port=port) as w:
                for i, (offer, does, _, want) in enumerate(rules):
                    want = want and want.replace("there.test[127.99.0.2]", "there%d.test[127.99.1.%d]" % (i, i + 1))
                    outcome(w, want, "%s %s %s" % (offer, does, conf), "ok@there%d.test" % i, sinks[i])
        finally:
            for sink in sinks:
                sink.shutdown()
                sink.server_close()


@case
def tls_permits_more():
    chain, key = make_certificate(tmp("cert"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    conf = ["smtp_sasl_tls_security_options = noanonymous", "smtp_tls_security_level = may"]
    with world("tls", conf, mechanisms="AUTH PLAIN", tls=context) as w:
        outcome(w, "PLAIN", "PLAIN under TLS")
        equal(w.sink.tried, [("PLAIN", True)], "under TLS")
    verified = ["smtp_sasl_tls_verified_security_options = noanonymous", "smtp_tls_security_level = encrypt"]
    with world("unverified", verified, mechanisms="AUTH PLAIN", tls=context) as w:
        outcome(w, "no mechanism available", "TLS with anybody")
    print_of = ["smtp_sasl_tls_verified_security_options = noanonymous", "smtp_tls_security_level = fingerprint",
                "smtp_tls_fingerprint_digest = sha256", "smtp_tls_fingerprint_cert_match = %s" % fingerprint(chain)]
    with world("verified", print_of, mechanisms="AUTH PLAIN", tls=context) as w:
        outcome(w, "PLAIN", "TLS with the right one")
    # who breaks the handshake does not get the mail, and not the login, in the clear
    with world("broken", ["smtp_tls_security_level = may"], mechanisms="AUTH CRAM-MD5", tls="garbage") as w:
        outcome(w, "Cannot start TLS: handshake failure", "a broken handshake")
        equal(w.sink.tried, [], "no login in the clear")


def fingerprint(chain):
    with open(chain) as f:
        der = ssl.PEM_cert_to_DER_cert(f.read().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
    digits = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digits[i:i + 2] for i in range(0, len(digits), 2))


@case
def wrapper_and_dummy_parameter():
    chain, key = make_certificate(tmp("cert2"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    class Wrapped(AuthSession):
        def setup(self):
            self.request = context.wrap_socket(self.request, server_side=True)
            super().setup()

    class WrappedSink(AuthSink):
        Session = Wrapped

    secrets = "smtp_sasl_password_maps = inline:{ { there.test = %s:%s } }" % (USER, PASSWORD)
    conf = ["smtp_sasl_auth_enable = yes", secrets, "smtp_tls_wrappermode = yes", "smtp_tls_security_level = encrypt", "smtp_tls_loglevel = 1",
            "smtp_sasl_tls_security_options = noanonymous", "smtp_send_dummy_mail_auth = yes"]
    with World("wrapper", conf, zone=ZONE, kind=WrappedSink, mechanisms="AUTH PLAIN") as w:
        w.send("ok@there.test")
        w.got(1)
        equal(w.sink.logged_in, ["PLAIN"], "login")
        check(w.sink.messages[0][0].endswith(" AUTH=<>"), w.sink.messages[0][0])
        check("Untrusted TLS connection established to there.test[127.99.0.2]" in w.stack.log(), "the log tells of TLS")
    with World("nowrapper", conf, zone=ZONE) as w:  # the other side speaks first, in the clear
        w.send("ok@there.test")
        wait_for(lambda: "status=deferred (Cannot start TLS: handshake failure" in w.stack.log(), 10, "put off")
        equal(w.sink.messages, [], "nothing was sent")


@case
def a_login_is_told_to_its_host_alone():
    """The second hop, and a host that stands in for all, have no password in the table: they hear none."""
    for name, conf in (("list", ["relayhost = there.test, [127.99.0.4]:$P"]),
                       ("fallback", ["relayhost = there.test", "smtp_fallback_relay = [127.99.0.4]:$P"])):
        port = free_port()
        other = AuthSink(("127.99.0.4", port), mechanisms="AUTH PLAIN")
        try:
            with World(name, ["smtp_sasl_auth_enable = yes", PLAIN_TOO, "smtp_connect_timeout = 1s",
                              "smtp_sasl_password_maps = inline:{ { there.test = %s:%s } }" % (USER, PASSWORD)] +
                       [c.replace("$P", str(port)) for c in conf], zone={"there.test": {"A": ["127.99.0.9"]}}, kind=AuthSink) as w:
                w.send("ok@else.test")
                wait_for(lambda: other.messages, 10, "%s: delivered at the second hop" % name)
                equal(other.logged_in, [None], "%s: login at the second hop" % name)
        finally:
            other.shutdown()
            other.server_close()


main()
