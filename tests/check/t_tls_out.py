#!/usr/bin/env python3
# TLS to other hosts: each security level against a right, a wrong and no certificate; tables of policies.
import os
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from dnsd import Dnsd
from harness import *
from outbound import Sink, World

ZONE = {
    "good.test": {"MX": [[10, "mx.good.test"]]}, "mx.good.test": {"A": ["127.99.0.2"]},
    "wrong.test": {"MX": [[10, "mx.wrong.test"]]}, "mx.wrong.test": {"A": ["127.99.0.2"]},
    "plain.test": {"A": ["127.99.0.4"]},
}
ZONE.update({name + ".test": {"MX": [[10, "mx.good.test"]]} for name in ("twice", "print", "off", "odd", "both", "none", "typo", "empty", "sub.pat")})


def openssl(*argv):
    r = run(["openssl", *argv])
    check(r.returncode == 0, "openssl %s: %r" % (argv[0], r.stderr))
    return r.stdout.decode()


def authority():
    """An authority and a certificate that it gave mx.good.test."""
    global CA, CONTEXT, PRINT, KEY_PRINT
    folder = tmp("ca")
    os.makedirs(folder)
    CA, ca_key, leaf, leaf_key = (os.path.join(folder, n) for n in ("ca.pem", "ca.key", "leaf.pem", "leaf.key"))
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *new, "-days", "30", "-subj", "/CN=Test authority", "-keyout", ca_key, "-out", CA)
    openssl("req", *new, "-subj", "/CN=mx.good.test", "-keyout", leaf_key, "-out", leaf + ".csr")
    with open(leaf + ".ext", "w") as f:
        f.write("subjectAltName=DNS:mx.good.test,DNS:good.test\n")
    openssl("x509", "-req", "-in", leaf + ".csr", "-CA", CA, "-CAkey", ca_key, "-days", "30", "-extfile", leaf + ".ext", "-out", leaf)
    CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CONTEXT.load_cert_chain(leaf, leaf_key)
    PRINT = openssl("x509", "-in", leaf, "-noout", "-fingerprint", "-sha256").strip().split("=")[1]
    spki = subprocess.run("openssl x509 -in %s -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -c" % leaf,
                          shell=True, capture_output=True, text=True, check=True).stdout
    KEY_PRINT = spki.split("= ")[1].strip().upper()


# level and what else main.cf says; for each recipient: delivered under TLS, in clear, or what the log says of the deferral
LEVELS = [
    ("none", [], {"good": "clear", "plain": "clear"}),
    ("may", [], {"good": "tls", "wrong": "tls", "plain": "clear"}),
    ("encrypt", [], {"good": "tls", "wrong": "tls", "plain": "TLS is required, but was not offered"}),
    ("verify", ["smtp_tls_CAfile = $CA"], {"good": "tls", "wrong": "Server certificate not verified", "plain": "TLS is required"}),
    ("verify", [], {"good": "Server certificate not trusted"}),
    ("secure", ["smtp_tls_CAfile = $CA"], {"good": "tls", "wrong": "Server certificate not verified"}),
    ("fingerprint", ["smtp_tls_fingerprint_digest = sha256", "smtp_tls_fingerprint_cert_match = 00:11, $PRINT"], {"good": "tls", "wrong": "tls"}),
    ("fingerprint", ["smtp_tls_fingerprint_digest = sha256", "smtp_tls_fingerprint_cert_match = $KEY"], {"good": "tls"}),
    ("fingerprint", ["smtp_tls_fingerprint_digest = sha256", "smtp_tls_fingerprint_cert_match = 00:11"],
     {"good": "Server certificate fingerprint does not match"}),
    ("secure", ["smtp_tls_CAfile = $CA", "smtp_tls_secure_cert_match ="], {"good": "Server certificate not verified"}),
    ("none", ["smtp_tls_CAfile = $CA", "smtp_tls_fingerprint_digest = sha256", "smtp_tls_policy_maps = inline:{"
              " { twice.test = secure match=mx.good.test match=other.test }, { print.test = fingerprint match=$PRINT match=00:11 },"
              " { off.test = none match=x }, { odd.test = may match=mx.good.test }, { both.test = encrypt ciphers=high ciphers=medium },"
              " { none.test = secure match= }, { typo.test = secure mathc=mx.good.test }, { empty.test = } }, regexp:$RULES"],
     {"twice": "tls", "print": "tls", "off": "clear", "sub.pat": "Server certificate not verified",
      **{name: "TLS policy table: invalid entry" for name in ("odd", "both", "none", "typo", "empty")}}),
    ("none", ["smtp_tls_CAfile = $CA", "smtp_tls_policy_maps = inline:{ { good.test = secure match=mx.good.test }, { .test = encrypt },"
              " { wrong.test = verify match=hostname } }"], {"good": "tls", "wrong": "not verified", "plain": "TLS is required"}),
    ("may", ["smtp_tls_policy_maps = inline:{ good.test=nonsense }"], {"good": "TLS policy table: invalid entry", "wrong": "tls"}),
    ("dane-only", [], {"good": "DANE needs smtp_dns_support_level = dnssec"}),
    ("dane", [], {"good": "tls", "plain": "clear"}),
]


@case
def levels():
    authority()
    rules = tmp("rules")
    with open(rules, "w") as f:
        f.write("/^\\.pat\\.test$/ secure match=other.test\n")
    for i, (level, more, wanted) in enumerate(LEVELS):
        more = [m.replace("$CA", CA).replace("$PRINT", PRINT).replace("$KEY", KEY_PRINT).replace("$RULES", rules) for m in more]
        conf = ["smtp_tls_security_level = " + level, "smtp_tls_loglevel = 1"] + more
        with World("l%d" % i, conf, zone=ZONE, tls=CONTEXT, extensions=("STARTTLS", "8BITMIME")) as w:
            plain = Sink(("127.99.0.4", w.port))
            try:
                for domain, want in wanted.items():
                    w.send("ok@%s.test" % domain)
                for domain, want in wanted.items():
                    outcome(w, plain, "ok@%s.test" % domain, want, "%s %s" % (level, more))
            finally:
                plain.shutdown()
                plain.server_close()


@case
def a_reload_while_dns_is_asked():
    """The TLS of a delivery under way outlives the configuration that it was made of."""
    class Slow(Dnsd):
        def answer(self, *args):
            time.sleep(1)
            return super().answer(*args)

    with World("r", ["smtp_tls_security_level = encrypt"], zone=ZONE, tls=CONTEXT, extensions=("STARTTLS", "8BITMIME")) as w:
        w.dns.__class__ = Slow
        w.send("ok@good.test")
        wait_for(lambda: "queue active" in w.stack.log(), 10, "on its way")
        w.stack.postern("reload")
        w.got(1, timeout_s=30)
        equal(w.sink.under_tls, [True], "sent under TLS")
        check("relayd" not in "".join(l for l in w.stack.log().splitlines() if "killed" in l or "exit" in l), "relayd lives")


@case
def tls_from_the_first_octet():
    """Where DANE finds nothing it is may; on a port that is TLS from the start that is still TLS."""
    port = free_port()
    with World("w", ["smtp_tls_security_level = dane", "smtp_dns_support_level = dnssec",
                     "transport_maps = inline:{ { plain.test = smtps:[127.99.0.4]:%d } }" % port], zone=ZONE) as w:
        plain = Sink(("127.99.0.4", port))
        try:
            w.send("ok@plain.test")
            outcome(w, plain, "ok@plain.test", "Cannot start TLS: handshake failure", "smtps")
            check(not any("HLO" in c for c in plain.commands), "nothing was said in clear")
        finally:
            plain.shutdown()
            plain.server_close()


def outcome(w, plain, address, want, what):
    def arrived(sink):
        return [sink.under_tls[i] for i, m in enumerate(sink.messages) if any(address in t for t in m[1])]

    if want in ("tls", "clear"):
        wait_for(lambda: arrived(w.sink) + arrived(plain), 20, "%s: %s delivered" % (what, address))
        equal(arrived(w.sink) + arrived(plain), [want == "tls"], "%s: %s under TLS" % (what, address))
    else:
        line = "to=<%s>" % address
        wait_for(lambda: [l for l in w.stack.log().splitlines() if line in l and want in l], 20, "%s: %s: %s" % (what, address, want))
        check("status=deferred" in [l for l in w.stack.log().splitlines() if line in l][0], "%s: put off, not bounced" % what)
        equal(arrived(w.sink) + arrived(plain), [], "%s: %s is not delivered" % (what, address))


main()
