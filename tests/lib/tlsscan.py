"""What sslscan and testssl.sh say of a Stack's listeners.

The certificate is of an authority that testssl is told of, has a key of each kind there should be and a place where a list of
revoked ones could be, so what is left are findings about the server. Accepted: INFO, OK, LOW. On port 25, and nowhere else,
there are ciphers without forward secrecy, for old senders; CBC is LOW ("LUCKY13", "cipherlist_AVERAGE"). WARN is what the tool
could not try ("RC4": this OpenSSL has none) and is printed.
"""
import json
import subprocess
import time
import xml.etree.ElementTree

from certs import Authority
from harness import check, equal, log, need, tmp
from stack import Stack

STARTTLS = {"smtp": "smtp", "submission": "smtp", "imap": "imap", "pop3": "pop3"}
BAD = ("MEDIUM", "HIGH", "CRITICAL")


def stack():
    """(a stack, its authority)"""
    need("sslscan"), need("testssl")
    ca = Authority(tmp("ca"))
    c = ca.issue("localhost", ["localhost", "127.0.0.1"], new=["-newkey", "rsa:2048"])
    return Stack(tmp("s"), extra_conf=["smtpd_tls_security_level = may", "smtpd_tls_cert_file = " + c.chain,
                                       "smtpd_tls_key_file = " + c.key]), ca


def testssl(s, ca, port, *checks):
    """Findings as dictionaries; fails for bad ones."""
    out, began = tmp("testssl", port + ".json"), time.monotonic()
    argv = ["testssl", "--add-ca", ca.pem, "--jsonfile", out, "--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none",
            *checks]
    if port in STARTTLS:
        argv += ["-t", STARTTLS[port]]
    r = subprocess.run(argv + ["localhost:%d" % s.ports[port]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=1500)
    with open(out) as f:
        found = json.load(f)
    by_id = {x["id"]: x for x in found}
    check("offered" in by_id.get("TLS1_3", {}).get("finding", ""), "testssl did not come to its end: %s" % r.stdout[-2000:])
    notable = [(x["severity"], x["id"], x["finding"]) for x in found if x["severity"] not in ("INFO", "OK")]
    log("testssl on %-11s %3.0f s, %3d findings; above INFO: %s" % (
        port, time.monotonic() - began, len(found), ", ".join("%s %s" % n[:2] for n in notable) or "none"))
    equal([n for n in notable if n[0] in BAD], [], "testssl on " + port)
    return found


def sslscan(s, port):
    out = tmp("sslscan", port + ".xml")
    argv = ["sslscan", "--no-colour", "--xml=" + out]
    if port in STARTTLS:
        argv.append("--starttls-" + STARTTLS[port])
    r = subprocess.run(argv + ["localhost:%d" % s.ports[port]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=300)
    test = xml.etree.ElementTree.parse(out).getroot().find("ssltest")
    check(test is not None, "sslscan on %s: %s" % (port, r.stdout[-1000:]))
    on = sorted("%s %s" % (p.get("type").upper(), p.get("version")) for p in test.findall("protocol") if p.get("enabled") == "1")
    equal(on, ["TLS 1.2", "TLS 1.3"], "protocols on " + port)
    ciphers = [(c.get("cipher"), int(c.get("bits"))) for c in test.findall("cipher")]
    check(len(ciphers) > 5, "sslscan found too few ciphers on %s: %s" % (port, ciphers))
    for name, bits in ciphers:
        check(bits >= 128 and not any(w in name for w in ("NULL", "ADH", "AECDH", "EXP", "RC4", "DES", "MD5", "PSK", "SRP")),
              "%s on %s" % (name, port))
        check(port == "smtp" or name.startswith(("TLS_", "ECDHE-", "DHE-")), "%s on %s has no forward secrecy" % (name, port))
    for weak in test.findall("heartbleed"):
        equal(weak.get("vulnerable"), "0", "heartbleed on " + port)
    equal(test.find("renegotiation").get("supported"), "0", "renegotiation on " + port)
    log("sslscan on %-11s %d ciphers" % (port, len(ciphers)))
