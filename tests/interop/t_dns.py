#!/usr/bin/env python3
# Where mail goes, and under which TLS, with real DNS: nsd's zones, signed and not, and an unbound that validates.
# RFC 5321 §5.1, RFC 7505, RFC 7671, RFC 7672.
import base64
import hashlib
import os
import re
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import resolver
from harness import *
from outbound import Sink, World

resolver.enter_namespace()

PLAIN, CHAIN, SINGLE, OTHER, GARBAGE, LATE, V6 = ("127.99.0.%d" % n for n in (2, 10, 11, 12, 13, 14, 15))
V6 = "2001:db8::25"
OUTSIDE = "192.0.2.53"  # an address of the resolver that is not loopback


# ------------------------------------------------------------------------------------------- certificates


def openssl(*argv):
    r = run(["openssl", *argv])
    check(r.returncode == 0, "openssl %s: %r" % (argv[0], r.stderr))
    return r.stdout


class Cert:
    """A key and its certificate, by itself or by another's key."""

    def __init__(self, name, names=(), issuer=None, is_ca=False, expired=False):
        self.pem, self.key = tmp("tls", name + ".pem"), tmp("tls", name + ".key")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=" + name,
                "-keyout", self.key, "-out", self.pem + ".csr")
        with open(self.pem + ".ext", "w") as f:
            f.write("basicConstraints=critical,CA:%s\n" % ("TRUE" if is_ca else "FALSE"))
            if names:
                f.write("subjectAltName=%s\n" % ",".join("DNS:" + n for n in names))
        by = ["-CA", issuer.pem, "-CAkey", issuer.key] if issuer else ["-signkey", self.key]
        # a certificate for no days at all ends in the second in which it began
        openssl("x509", "-req", "-in", self.pem + ".csr", *by, "-days", "-1" if expired else "30", "-extfile", self.pem + ".ext",
                "-out", self.pem)
        self.der = openssl("x509", "-in", self.pem, "-outform", "der")
        with open(self.pem, "rb") as f:
            self.text = f.read()
        public = openssl("x509", "-in", self.pem, "-noout", "-pubkey")
        self.spki = base64.b64decode(b"".join(public.splitlines()[1:-1]))

    def tlsa(self, usage, selector, matching):
        data = (self.der, self.spki)[selector]
        return "TLSA %d %d %d %s" % (usage, selector, matching,
                                     (data.hex(), hashlib.sha256(data).hexdigest(), hashlib.sha512(data).hexdigest())[matching])


def context(cert, *more):
    path = cert.pem + ".chain"
    with open(path, "wb") as f:
        f.write(b"".join(c.text for c in (cert, *more)))
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(path, cert.key)
    return c


# ------------------------------------------------------------------------------------------- the zones

SIGNED, BARE = "signed.test", "bare.test"  # bare: nobody signed it


def zones(port):
    """Certificates, zone files and what becomes of mail for each domain: (signed, plain, expectations at level dane)."""
    global CA, LEAF, SELF, OLD
    CA = Cert("ca", is_ca=True)
    LEAF = Cert("leaf", ["mx-ta%s.%s" % (n, SIGNED) for n in ("201", "211", "200", "212")] + ["mx-late." + SIGNED], issuer=CA)
    SELF, OLD, stranger = Cert("elsewhere.example"), Cert("old.example", expired=True), Cert("stranger.example")
    late = Cert("late", ["mx-late." + SIGNED], issuer=CA, expired=True)
    global CONTEXTS
    CONTEXTS = {CHAIN: context(LEAF, CA), SINGLE: context(SELF), OTHER: context(OLD), LATE: context(late, CA), GARBAGE: "garbage"}
    at = "_%d._tcp." % port
    ee, none = SELF.tlsa(3, 1, 1), stranger.tlsa(3, 1, 1)
    short = "TLSA 3 1 1 " + "00" * 16
    s, want = [], {}

    def host(name, address, *tlsa, outcome, spoil=""):
        """A domain with one MX, that host, its records."""
        s.append("%s MX 10 mx-%s" % (name, name))
        s.append("mx-%s %s %s" % (name, "AAAA" if ":" in address else "A", address))
        s.extend("%smx-%s %s" % (at, name, t) for t in tlsa)
        for i, line in enumerate(s):
            if spoil and line.startswith(spoil):
                s[i] = line + " ; spoil"
        want["%s.%s" % (name, SIGNED)] = outcome

    untrusted, refused = "Server certificate not trusted", "TLS is required, but was not offered"
    # DANE-EE: neither names nor dates count (RFC 7672 §3.1.1)
    host("ee311", SINGLE, ee, outcome="tls")
    host("ee301", SINGLE, SELF.tlsa(3, 0, 1), outcome="tls")
    host("ee302", SINGLE, SELF.tlsa(3, 0, 2), outcome="tls")
    host("ee300", SINGLE, SELF.tlsa(3, 0, 0), outcome="tls")
    host("ee310", SINGLE, SELF.tlsa(3, 1, 0), outcome="tls")
    host("eeold", OTHER, OLD.tlsa(3, 1, 1), outcome="tls")
    host("eewrong", SINGLE, none, outcome=untrusted)
    host("eeboth", SINGLE, none, ee, outcome="tls")
    host("eeleaf", CHAIN, LEAF.tlsa(3, 1, 1), outcome="tls")
    # DANE-TA: a chain, a name and dates (RFC 7672 §3.1.2, §3.2.2)
    for usage in ("201", "211", "212", "200"):
        host("ta" + usage, CHAIN, CA.tlsa(*map(int, usage)), outcome="tls")
    host("taname", CHAIN, CA.tlsa(2, 1, 1), outcome=untrusted)
    host("late", LATE, CA.tlsa(2, 1, 1), outcome=untrusted)
    host("tawrong", CHAIN, stranger.tlsa(2, 1, 1), outcome=untrusted)
    # records that cannot be used: TLS, whoever it is (RFC 7672 §2.2, §3.1.3)
    host("pkix", SINGLE, SELF.tlsa(0, 0, 1), SELF.tlsa(1, 0, 1), outcome="tls")
    host("pkixplain", PLAIN, SELF.tlsa(1, 0, 1), outcome=refused)
    host("short", SINGLE, short, outcome="tls")
    host("kind9", SINGLE, "TLSA 3 1 9 " + "00" * 32, outcome="tls")
    host("mixed", SINGLE, SELF.tlsa(1, 0, 1), none, outcome=untrusted)
    # none: as level may
    host("missing", SINGLE, outcome="tls")
    host("missingplain", PLAIN, outcome="clear")
    # records, and no TLS there: somebody may sit in between (RFC 7672 §2.2)
    host("stripped", PLAIN, ee, outcome=refused)
    host("garbage", GARBAGE, ee, outcome="deferred")
    host("garbagemay", GARBAGE, outcome="clear")
    # what does not validate is not there, and nothing goes in the clear
    host("badtlsa", PLAIN, ee, outcome="TLSA lookup error", spoil=at + "mx-badtlsa")
    host("bada", PLAIN, ee, outcome="deferred", spoil="mx-bada")
    host("badmx", PLAIN, ee, outcome="Name service error for name=badmx.signed.test type=MX", spoil="badmx")
    # of the two questions for addresses one fails: the other's answer is as good as ever
    host("half", SINGLE, none, outcome=untrusted)
    s.append("; spoil mx-half NSEC")
    # IPv6 only
    host("six", V6, ee, outcome="tls")
    # names that lead elsewhere
    s.extend(["mxalias MX 10 to-ee311", "to-ee311 CNAME mx-ee311", "mxaliaswrong MX 10 to-eewrong", "to-eewrong CNAME mx-eewrong",
              "domainalias CNAME ee311", "ownalias MX 10 to-bare", "to-bare CNAME mx-wrong.bare.test.", "%sto-bare %s" % (at, none),
              "leadtlsa MX 10 mx-leadtlsa", "mx-leadtlsa A " + SINGLE, "%smx-leadtlsa CNAME %smx-eewrong" % (at, at),
              "noaddress MX 10 nobody", "nobody TXT x", "nomx A " + SINGLE, "%snomx %s" % (at, none), "nomxgood A " + SINGLE,
              "%snomxgood %s" % (at, ee), "wild MX 10 x.wild", "*.wild A " + SINGLE,
              "second MX 10 mx-eewrong", "second MX 20 mx-ee311", "halfbad MX 10 mx-badtlsa", "halfbad MX 20 mx-ee311",
              "nullmx MX 0 ."])
    for name, outcome in (("mxalias", "tls"), ("mxaliaswrong", untrusted), ("domainalias", "tls"), ("ownalias", untrusted),
                          ("leadtlsa", untrusted), ("noaddress", "bounced"), ("nomx", untrusted), ("nomxgood", "tls"),
                          ("wild", "tls"), ("second", "tls"), ("halfbad", "tls"), ("nullmx", "bounced"), ("absent", "bounced")):
        want["%s.%s" % (name, SIGNED)] = outcome
    # nobody signed: what its records say may be anybody's
    b = ["wrong MX 10 mx-wrong", "mx-wrong A " + SINGLE, "%smx-wrong %s" % (at, none), "plain MX 10 mx-plain", "mx-plain A " + PLAIN,
         "%smx-plain %s" % (at, ee), "toright MX 10 mx-ee311.signed.test.", "towrong MX 10 mx-eewrong.signed.test.",
         "tostripped MX 10 mx-stripped.signed.test."]
    for name, outcome in (("wrong", "tls"), ("plain", "clear"), ("toright", "tls"), ("towrong", untrusted), ("tostripped", refused)):
        want["%s.%s" % (name, BARE)] = outcome
    return "\n".join(s) + "\n", "\n".join(b) + "\n", want


class Net:
    """Hosts of every kind, and the world that sends to them."""

    def __init__(self):
        self.port = free_port()
        self.signed, self.plain, self.want = zones(self.port)
        self.sinks = {}

    def __enter__(self):
        resolver.add_address(V6)
        resolver.add_address(OUTSIDE)
        for address, tls in CONTEXTS.items():
            self.sinks[address] = Sink((address, self.port), tls=tls, extensions=("STARTTLS", "8BITMIME"))
        Six = type("Six", (Sink,), {"address_family": 10})
        self.sinks[V6] = Six((V6, self.port), tls=CONTEXTS[SINGLE], extensions=("STARTTLS",))
        self.dns = resolver.Resolver({SIGNED: self.signed}, {BARE: self.plain}, address=OUTSIDE).start()
        return self

    def __exit__(self, *exc):
        self.dns.stop()
        for s in self.sinks.values():
            s.shutdown()
            s.server_close()

    def world(self, name, *conf, resolver_address="127.0.0.1"):
        # a host of our own network is not this host's
        return World(name, ["smtp_tls_loglevel = 1", "inet_interfaces = 127.0.0.1", *conf], port=self.port,
                     resolver="%s:%d" % (resolver_address, self.dns.port))

    def forget(self):
        for s in self.sinks.values():
            s.messages.clear()
            s.under_tls.clear()

    def outcomes(self, w, want, timeout_s=30):
        """want: {domain: "tls", "clear", "deferred", "bounced", or what the reason of a deferral has}"""
        sinks = [*self.sinks.values(), w.sink]
        for d in want:
            w.send("ok@" + d)

        def lines():
            found = {}
            for line in w.stack.log().splitlines():
                m = re.search(r" to=<ok@([^>]+)>.* status=(\w+)", line)
                if m:
                    found.setdefault(m[1], (m[2], line))
            return found
        wait_for(lambda: set(want) <= set(lines()), timeout_s, "an outcome for each of %s" % (set(want) - set(lines())))
        arrived, bad = {}, []
        for s in sinks:
            for (_, to, _), tls in zip(s.messages, s.under_tls):
                arrived.setdefault(re.search("@([^>]+)>", to[0])[1], []).append("tls" if tls else "clear")
        found = lines()
        for d, outcome in want.items():
            status, line = found[d]
            if outcome in ("tls", "clear"):
                good = arrived.get(d) == [outcome] and status == "sent"
            else:
                good = d not in arrived and (status == "bounced" if outcome == "bounced" else
                                             status == "deferred" and (outcome == "deferred" or outcome in line))
            if not good:
                bad.append("%s: wanted %s, arrived %s: %s" % (d, outcome, arrived.get(d), line))
        check(not bad, "%d of %d outcomes are wrong\n%s" % (len(bad), len(want), "\n".join(bad)))


NET = None


def net():
    global NET
    if NET is None:
        NET = Net().__enter__()
        at_end(NET.__exit__)
    NET.forget()
    return NET


@case
def dane():
    n = net()
    with n.world("dane", "smtp_tls_security_level = dane", "smtp_dns_support_level = dnssec") as w:
        n.outcomes(w, n.want)
        text = w.stack.log()
        check("Verified TLS connection established to mx-ee311.signed.test[%s]:%d" % (SINGLE, n.port) in text, "no Verified in the log")
        trusted = [l for l in text.splitlines() if "Trusted TLS connection established to mx-ee311.signed.test[" in l]
        equal(len(trusted), 1, "lines for the host that unsigned MX records named")
        check("Untrusted TLS connection established to mx-missing.signed.test" in text, "no Untrusted in the log")


@case
def dane_only():
    n = net()
    with n.world("only", "smtp_tls_security_level = dane-only", "smtp_dns_support_level = dnssec") as w:
        n.outcomes(w, {"ee311.signed.test": "tls", "ta211.signed.test": "tls", "missing.signed.test": "no TLSA records found",
                       "missingplain.signed.test": "no TLSA records found", "pkix.signed.test": "no usable TLSA records",
                       "eewrong.signed.test": "Server certificate not trusted", "badtlsa.signed.test": "TLSA lookup error",
                       "wrong.bare.test": "deferred", "plain.bare.test": "deferred", "second.signed.test": "tls"})


@case
def hosts_that_unsigned_records_name():
    n = net()
    for policy, wrong, stripped in (("encrypt", "tls", "TLS is required, but was not offered"), ("may", "tls", "clear")):
        n.forget()
        with n.world("mx" + policy, "smtp_tls_security_level = dane", "smtp_dns_support_level = dnssec",
                     "smtp_tls_dane_insecure_mx_policy = " + policy) as w:
            n.outcomes(w, {"towrong.bare.test": wrong, "tostripped.bare.test": stripped, "toright.bare.test": "tls",
                           "eewrong.signed.test": "Server certificate not trusted"})


@case
def a_table_may_want_it():
    n = net()
    with n.world("table", "smtp_tls_security_level = may", "smtp_dns_support_level = dnssec",
                 "smtp_tls_policy_maps = inline:{ { eewrong.signed.test = dane }, { ee311.signed.test = dane-only },"
                 " { [mx-eeboth.signed.test] = dane-only }, { [mx-eeleaf.signed.test] = dane }, { wrong.bare.test = dane-only } }",
                 "transport_maps = inline:{ { toeeboth.test = smtp:[mx-eeboth.signed.test] } { toeeleaf.test = smtp:[mx-eeleaf.signed.test] } }") as w:
        n.outcomes(w, {"eewrong.signed.test": "Server certificate not trusted", "ee311.signed.test": "tls", "tawrong.signed.test": "tls",
                       "wrong.bare.test": "non DNSSEC destination", "toeeboth.test": "tls", "toeeleaf.test": "tls"})


@case
def an_answer_from_elsewhere_is_not_believed():
    n = net()
    check(re.search(r"flags:.* ad[ ;]", run([ref("usr/bin/drill"), "-D", "-p", n.dns.port, "ee311.signed.test", "@" + OUTSIDE, "MX"],
                                           env=ref_env()).stdout.decode()), "no AD from %s" % OUTSIDE)
    with n.world("out", "smtp_tls_security_level = dane", "smtp_dns_support_level = dnssec",
                 "smtp_tls_policy_maps = inline:{ { ee311.signed.test = dane-only } }", resolver_address=OUTSIDE) as w:
        n.outcomes(w, {"eewrong.signed.test": "tls", "stripped.signed.test": "clear", "ee311.signed.test": "deferred"})
        check("TLS level dane is taken as may" in w.stack.log(), "no warning that dane is not possible")


@case
def without_dnssec():
    """Not asked for: dane is may, dane-only waits."""
    n = net()
    with n.world("enabled", "smtp_tls_security_level = dane", "smtp_dns_support_level = enabled",
                 "smtp_tls_policy_maps = inline:{ { ee311.signed.test = dane-only } }") as w:
        n.outcomes(w, {"eewrong.signed.test": "tls", "stripped.signed.test": "clear", "ee311.signed.test": "deferred",
                       "badmx.signed.test": "deferred"})


ORDER = """\
order MX 30 c.order
order MX 10 a.order
order MX 20 b.order
a.order A 127.99.0.91
b.order A 127.99.0.92
c.order A 127.99.0.2
alias CNAME order
aliashost MX 10 to.order
to.order CNAME c.order
aonly A 127.99.0.2
nullmx MX 0 .
nothing TXT "neither MX nor address"
hostless MX 10 nothing
halfhost MX 10 gone.halfhost
halfhost MX 20 c.order
halflame MX 10 mx.lame.test.
halflame MX 20 c.order
lamehost MX 10 mx.lame.test.
silenthost MX 10 mx.silent.test.
six MX 10 mx.six
mx.six AAAA 2001:db8::25
sixdead MX 10 mx.sixdead
mx.sixdead AAAA 2001:db8::26
both A 127.99.0.2
both AAAA 2001:db8::26
literal MX 10 127.99.0.2.
loop1 CNAME loop2
loop2 CNAME loop1
"""


@case
def hosts_of_a_domain():
    resolver.add_address(V6)
    with resolver.Resolver({}, {"mx.test": ORDER}, folder="dns2") as r:
        port = free_port()
        Six = type("Six", (Sink,), {"address_family": 10})
        six = Six((V6, port))
        try:
            with World("hosts", ["inet_interfaces = 127.0.0.1", "smtp_address_preference = ipv4"], port=port,
                       resolver="127.0.0.1:%d" % r.port) as w:
                n = Net.__new__(Net)
                n.sinks = {V6: six}
                n.outcomes(w, {
                    "order.mx.test": "clear", "alias.mx.test": "clear", "aliashost.mx.test": "clear", "aonly.mx.test": "clear",
                    "nullmx.mx.test": "bounced", "nothing.mx.test": "bounced", "hostless.mx.test": "bounced",
                    "halfhost.mx.test": "clear", "halflame.mx.test": "clear", "gone.mx.test": "bounced",
                    "lamehost.mx.test": "Name service error for name=mx.lame.test type=A",
                    "x.lame.test": "Name service error for name=x.lame.test type=MX", "six.mx.test": "clear",
                    "sixdead.mx.test": "deferred", "both.mx.test": "clear", "literal.mx.test": "clear",
                    "loop1.mx.test": "deferred",
                    "x.silent.test": "Name service error for name=x.silent.test type=MX",
                    "silenthost.mx.test": "Name service error for name=mx.silent.test"}, timeout_s=60)
                text = w.stack.log()
                order = [text.find("connect to %s.order.mx.test[127.99.0.%d]" % x) for x in (("a", 91), ("b", 92))]
                check(-1 < order[0] < order[1], "the hosts were not tried by preference: %s" % order)
                check("relay=c.order.mx.test[127.99.0.2]:%d" % port in text, "the host's name in the log")
                check(any("nullMX" in l and "dsn=5.1.10" in l for l in text.splitlines()), "no words about the null MX")
        finally:
            six.shutdown()
            six.server_close()


main()
