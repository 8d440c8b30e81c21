#!/usr/bin/env python3
# The hosts of a destination: which are tried, in which order, and what is said when there is none. What is wanted here is what
# Postfix 3.7 was seen to do with the same zone, save where a comment says otherwise.
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import World

OK, DEAD, OWN = "127.99.0.2", "127.99.0.91", "127.0.0.1"
NOT_FOUND = "Host or domain name not found. Name service error for name=%s type=%s: %s"
NX, NODATA, AGAIN = "Host not found", "Host found but no data record of requested type", "Host not found, try again"
LOOPS = "mail for %s loops back to myself"
NULL = "Domain %s does not accept mail (nullMX)"

HOSTS = {"mx.ok.test": {"A": [OK]}, "h.fail.test": "SERVFAIL", "fail.test": "SERVFAIL", "h.nodata.test": {"TXT": ["x"]},
         "wide.ok.test": {"A": [OK] + ["127.99.8.%d" % i for i in range(1, 11)]}, "gone.test": "NXDOMAIN", "own.own.test": {"A": [OWN]}, "dead.dead.test": {"A": [DEAD]}, "example.com": {"A": [OK]},
         "c.alias.test": {"CNAME": ["mx.ok.test"]}, "h.afail.test": {"A": "SERVFAIL", "TXT": ["x"]},
         "h.sixfail.test": {"AAAA": "SERVFAIL", "TXT": ["x"]}, "h.half.test": {"A": [OK], "AAAA": "SERVFAIL"}}


def mx(*hosts):
    return {"MX": [[10 * i, h] for i, h in enumerate(hosts, 1)]}


# domain: (what DNS has, status, dsn, relay's host or what is said)
ROWS = {
    "ok.test": (mx("mx.ok.test"), "sent", "2.0.0", "mx.ok.test"),
    "alone.test": ({"A": [OK]}, "sent", "2.0.0", "alone.test"),
    "a_b.test": ({"A": [OK]}, "sent", "2.0.0", "a_b.test"),
    "nx.test": ("NXDOMAIN", "bounced", "5.4.4", NOT_FOUND % ("nx.test", "AAAA", NX)),
    "none.test": ({"TXT": ["x"]}, "bounced", "5.4.4", NOT_FOUND % ("none.test", "AAAA", NODATA)),
    "servfail.test": ("SERVFAIL", "deferred", "4.4.3", NOT_FOUND % ("servfail.test", "MX", AGAIN)),
    "mxservfail.test": ({"MX": "SERVFAIL", "A": [OK]}, "deferred", "4.4.3", NOT_FOUND % ("mxservfail.test", "MX", AGAIN)),
    "tonx.test": (mx("gone.test"), "bounced", "5.4.4", NOT_FOUND % ("gone.test", "AAAA", NX)),
    "tonone.test": (mx("h.nodata.test"), "bounced", "5.4.4", NOT_FOUND % ("h.nodata.test", "AAAA", NODATA)),
    "tofail.test": (mx("h.fail.test"), "deferred", "4.4.3", NOT_FOUND % ("h.fail.test", "AAAA", AGAIN)),
    "nxfail.test": (mx("gone.test", "h.fail.test"), "deferred", "4.4.3", NOT_FOUND % ("h.fail.test", "AAAA", AGAIN)),
    "failnx.test": (mx("h.fail.test", "gone.test"), "deferred", "4.4.3", NOT_FOUND % ("h.fail.test", "AAAA", AGAIN)),  # Postfix: 4.4.4, gone
    "toafail.test": (mx("h.afail.test"), "deferred", "4.4.3", NOT_FOUND % ("h.afail.test", "A", AGAIN)),
    "tosixfail.test": (mx("h.sixfail.test"), "deferred", "4.4.3", NOT_FOUND % ("h.sixfail.test", "AAAA", AGAIN)),
    "tohalf.test": (mx("h.half.test"), "sent", "2.0.0", "h.half.test"),
    "nxok.test": (mx("gone.test", "mx.ok.test"), "sent", "2.0.0", "mx.ok.test"),
    "deadok.test": (mx("dead.dead.test", "mx.ok.test"), "sent", "2.0.0", "mx.ok.test"),
    "cname.test": ({"CNAME": ["ok.test"]}, "sent", "2.0.0", "mx.ok.test"),
    "cnamenx.test": ({"CNAME": ["gone.test"]}, "bounced", "5.4.4", NOT_FOUND % ("cnamenx.test", "AAAA", NX)),
    "tocname.test": (mx("c.alias.test"), "sent", "2.0.0", "c.alias.test"),
    "number.test": (mx(OK), "sent", "2.0.0", OK),
    "numbers.test": (mx(DEAD, OK), "sent", "2.0.0", OK),
    # RFC 7505; Postfix 3.7 says 5.1.0, and takes "." beside others for a null MX too
    "null.test": ({"MX": [[0, "."]]}, "bounced", "5.1.10", NULL % "null.test"),
    "null10.test": ({"MX": [[10, "."]]}, "bounced", "5.1.10", NULL % "null10.test"),
    "nullok.test": ({"MX": [[0, "."], [10, "mx.ok.test"]]}, "sent", "2.0.0", "mx.ok.test"),
    # this host among them
    "own.test": (mx("own.own.test"), "bounced", "5.4.6", LOOPS % "own.test"),
    "owna.test": ({"A": [OWN]}, "bounced", "5.4.6", LOOPS % "owna.test"),
    "ownnumber.test": (mx(OWN), "bounced", "5.4.6", LOOPS % "ownnumber.test"),
    "ownfirst.test": (mx("own.own.test", "mx.ok.test"), "bounced", "5.4.6", LOOPS % "ownfirst.test"),
    "equal.test": ({"MX": [[10, "mx.ok.test"], [10, "own.own.test"]]}, "bounced", "5.4.6", LOOPS % "equal.test"),
    **{"wide%d.test" % i: ({"MX": [[10, "wide.ok.test"], [10, "own.own.test"]]}, "bounced", "5.4.6", LOOPS % "wide%d.test" % i)
       for i in range(6)},  # whichever of the two is asked for first
    "backup.test": (mx("dead.dead.test", "own.own.test", "mx.ok.test"), "deferred", "4.4.1",
                    "connect to dead.dead.test[%s]:PORT: Connection refused" % DEAD),
    "backupok.test": (mx("mx.ok.test", "own.own.test"), "sent", "2.0.0", "mx.ok.test"),
    "backupnx.test": (mx("gone.test", "own.own.test"), "deferred", "4.4.4", "unable to find primary relay for backupnx.test"),
    "backupfail.test": (mx("h.fail.test", "own.own.test"), "deferred", "4.4.4", "unable to find primary relay for backupfail.test"),
    # our name at another's address is not us: that the EHLO tells
    "ourname.test": (mx("example.com"), "sent", "2.0.0", "example.com"),
}


def outcomes(text):
    """{domain: (status, dsn, relay, words)}"""
    out = {}
    for line in text.splitlines():
        m = re.search(r" to=<ok@(.+?)>, .*?relay=(\S+), .*?dsn=([\d.]+), status=(\w+) \((.*)\)$", line)
        if m:
            out.setdefault(m[1], (m[4], m[3], m[2], m[5]))
    return out


def send_to(w, domains, timeout_s=30):
    for d in domains:
        w.send("ok@" + d)
    wait_for(lambda: set(outcomes(w.stack.log())) >= set(domains), timeout_s,
             "an outcome for each: %s" % (set(domains) - set(outcomes(w.stack.log()))))
    return outcomes(w.stack.log())


@case
def hosts():
    zone = dict(HOSTS, **{d: row[0] for d, row in ROWS.items()})
    with World("hosts", ["inet_interfaces = 127.0.0.1", "proxy_interfaces ="], zone=zone) as w:
        found, bad = send_to(w, ROWS), []
        for d, (_, status, dsn, what) in ROWS.items():
            got = found[d]
            want = (status, dsn, "%s[%s]:%d" % (what, OK, w.port), got[3]) if status == "sent" else \
                (status, dsn, "none", what.replace("PORT", str(w.port)))
            if got != want:
                bad.append("%s:\n  %s, wanted\n  %s" % (d, got, want))
        check(not bad, "%d of %d\n%s" % (len(bad), len(ROWS), "\n".join(bad)))
        check("numeric domain name in resource data of MX record for number.test: %s" % OK in w.stack.log(), "no warning of a number")


def tried(text, pattern):
    """The addresses that were connected to in vain, in that order; the last is told again with the recipient."""
    return re.findall(r"(?m)^(?!.* to=<).*connect to \S+\[(%s)\]" % pattern, text)


MANY = {"many.test": mx(*["h%d.many.test" % i for i in range(1, 9)]), "flat.test": {"A": ["127.99.2.%d" % i for i in range(1, 9)]},
        "same.test": {"MX": [[10, "s%d.same.test" % i] for i in range(1, 5)]},
        "both.test": {"A": ["127.99.4.%d" % i for i in range(1, 7)], "AAAA": ["2001:db8::4:%d" % i for i in range(1, 7)]},
        "lone.test": {"MX": [[10, "six.lone.test"], [20, "four.lone.test"]]},
        "six.lone.test": {"AAAA": ["2001:db8::5:%d" % i for i in range(1, 7)]}, "four.lone.test": {"A": ["127.99.5.1"]},
        **{"r%d.test" % i: {"A": ["127.99.6.%d" % k for k in range(1, 7)]} for i in range(8)},
        **{"h%d.many.test" % i: {"A": ["127.99.1.%d" % i]} for i in range(1, 9)},
        **{"s%d.same.test" % i: {"A": ["127.99.3.%d" % i]} for i in range(1, 5)}}


@case
def how_many_and_in_which_order():
    with World("many", ["smtp_address_preference = ipv6"], zone=MANY) as w:
        send_to(w, ["many.test", "flat.test", "same.test", "both.test", "lone.test"])
        text = w.stack.log()
        equal(tried(text, r"127\.99\.1\.\d"), ["127.99.1.%d" % i for i in range(1, 6)], "by preference, smtp_mx_address_limit of them")
        equal(len(set(tried(text, r"127\.99\.2\.\d"))), 5, "addresses of one host")
        equal(sorted(tried(text, r"127\.99\.3\.\d")), ["127.99.3.%d" % i for i in range(1, 5)], "hosts of equal preference")
        # smtp_balance_inet_protocols: two of five places are the other family's; one that needs one has one
        equal([len(tried(text, p)) for p in (r"2001:db8::4:\d", r"127\.99\.4\.\d", r"2001:db8::5:\d", r"127\.99\.5\.\d")], [3, 2, 4, 1], "families")
        check(text.index("[2001:db8::4:") < text.index("[127.99.4."), "the preferred family is not the first")
    with World("few", ["smtp_mx_address_limit = 3", "smtp_balance_inet_protocols = no", "smtp_address_preference = ipv4",
                       "minimal_backoff_time = 600s"], zone=MANY) as w:
        send_to(w, ["both.test", "many.test"])
        equal([len(tried(w.stack.log(), p)) for p in (r"2001:db8::4:\d", r"127\.99\.4\.\d", r"127\.99\.1\.\d")], [0, 3, 3], "limits")
        send_to(w, ["r%d.test" % i for i in range(8)])
        seen = tried(w.stack.log(), r"127\.99\.6\.\d")
        equal(len(seen), 24, "tries")
        orders = {n: tuple(tried("\n".join(l for l in w.stack.log().splitlines() if "r%d.test[" % n in l), r"127\.99\.6\.\d")) for n in range(8)}
        check(len(set(orders.values())) > 1, "always in the same order: %s" % orders)
    with World("listed", ["smtp_randomize_addresses = no"], zone=MANY) as w:
        send_to(w, ["flat.test"])
        equal(tried(w.stack.log(), r"127\.99\.2\.\d"), ["127.99.2.%d" % i for i in range(1, 6)], "smtp_randomize_addresses = no")


@case
def next_hops_by_name_and_number():
    with World("hops", ["inet_protocols = ipv4", "transport_maps = inline:{ { name.test = smtp:[mx.ok.test] }, { number.test = smtp:[%s] },"
                        " { nobody.test = smtp:[gone.test] }, { six.test = smtp:[IPv6:::1]:1 }, { own.test = smtp:[127.0.0.1] },"
                        " { domain.test = smtp:ok.test }, { bad.test = smtp:[mx.ok.test } }" % OK],
               zone=dict(HOSTS, **{"ok.test": mx("mx.ok.test"), "v4.test": {"TXT": ["x"]}})) as w:
        found = send_to(w, ["name.test", "number.test", "nobody.test", "six.test", "own.test", "domain.test", "bad.test", "v4.test"])
        relay = "[%s]:%d" % (OK, w.port)
        equal([found[d + ".test"][:3] for d in ("name", "number", "domain")],
              [("sent", "2.0.0", "mx.ok.test" + relay), ("sent", "2.0.0", OK + relay), ("sent", "2.0.0", "mx.ok.test" + relay)], "sent")
        equal(found["nobody.test"][0::3], ("bounced", NOT_FOUND % ("gone.test", "A", NX)), "a name that is not there")
        equal(found["v4.test"][0::3], ("bounced", NOT_FOUND % ("v4.test", "A", NODATA)), "inet_protocols = ipv4 asks for A only")
        equal(found["own.test"][0::3], ("bounced", LOOPS % "127.0.0.1"), "ourselves by number")
        equal(found["six.test"][0::3], ("deferred", "connect to ::1[::1]:1: Connection refused"), "an IPv6 address")
        check(found["bad.test"][0] == "deferred" and "bad next hop" in found["bad.test"][3], found["bad.test"])


main()
