#!/usr/bin/env python3
# TLS of all listeners: certificates by name, expiry, protocols, ALPN, tickets, failures. Renewal: t_tls_renew.py.
# timeout: 120
import json
import os
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from certs import Authority, read, write
from harness import *
from stack import PORTS, Stack
from tlsclient import context, plain, shown

_stack, _ca = [], []


def ca():
    if not _ca:
        _ca.append(Authority(tmp("ca")))
    return _ca[0]


def sni_table(rows):
    write(tmp("sni"), "".join("%s\t%s\n" % row for row in rows))


NAMES = {}


def stack():
    if _stack:
        return _stack[0]
    s = Stack(tmp("s"), extra_conf=[
        "smtpd_tls_security_level = may", "smtpd_tls_loglevel = 1", "login_processes = 2", "smtpd_processes = 2",
        "smtpd_starttls_timeout = 3s", "tls_server_sni_maps = texthash:" + tmp("sni"), "legacy_listeners = pop3s, submission"])
    s.configure()
    NAMES["default"] = ca().issue("default.example.com", ["default.example.com", "127.0.0.1"], folder=s.path("tls"))
    for name in ("one.example.com", "below.example.com"):
        NAMES[name] = ca().issue(name)
    sni_table([("one.example.com", NAMES["one.example.com"].both), (".below.example.com", NAMES["below.example.com"].both)])
    _stack.append(s.start())
    at_end(s.stop)
    return s


def logged(s, *words, n=1, timeout_s=10):
    """Lines of the log with all the words; waits for n of them."""
    def lines():
        found = [l for l in s.log().split("\n") if all(w in l for w in words)]
        return found if len(found) >= n else None

    return wait_for(lines, timeout_s, "%d line(s) of the log with %s" % (n, words))


@case
def the_name_asked_for_on_every_listener():
    s = stack()
    for port in PORTS:
        for sni, want in ((None, "default"), ("one.example.com", "one.example.com"), ("ONE.example.com", "one.example.com"),
                          ("a.b.below.example.com", "below.example.com"), ("below.example.com", "default"),
                          ("nobody.example.com", "default")):
            equal(shown(s, port, sni) == NAMES[want].der, True, "the certificate for %s on %s" % (sni, port))
    logged(s, "TLS SNI nobody.example.com from localhost[127.0.0.1] not matched, using default chain")
    logged(s, "TLS connection established from localhost[127.0.0.1] to one.example.com: TLSv1.3 with cipher")


@case
def expiry_is_told():
    over = ca().issue("over.example.com", days=-1)
    soon = ca().issue("soon.example.com", days=5)
    write(tmp("expiring"), "over.example.com %s\nsoon.example.com %s\n" % (over.both, soon.both))
    with Stack(tmp("e"), extra_conf=["tls_server_sni_maps = hash:" + tmp("expiring")]) as s:
        logged(s, "certificate for over.example.com expired 1 days ago (20", "clients refuse it", "renew it")
        logged(s, "certificate for soon.example.com expires in ", " days (20")
        state = {c["sni"]: c for c in json.loads(s.postern("status", "--json"))["certificates"]}
        equal([state[n]["state"] for n in ("over.example.com", "soon.example.com", None)], ["expired", "expires soon", "ok"], "status")
        equal((state["over.example.com"]["days_left"], state["soon.example.com"]["days_left"] in (4, 5)), (-1, True), "days left")
        equal(state[None]["services"], ["smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s"], "services")
        time.sleep(4)  # the next look
        for word in ("expired 1", "expires in "):
            equal(len(logged(s, "certificate for", word)), 1, "lines with " + word)
        text = s.postern("status")
        check("expires soon  " in text and "for who asks for over.example.com" in text, text)
        r = s.postern("check", ok=False)
        equal(r.returncode, 0, "check")
        for words in (b"over.example.com: ", b"expired 1 days ago", b"expires in "):
            check(words in r.stderr, r.stderr)


@case
def a_certificate_of_a_thousand_names_leaves_room_for_others():
    many = ca().issue("many.example.com", ["name%04d.of.a.long.list.example.com" % i for i in range(1500)], days=5)
    one = ca().issue("one.example.com")
    write(tmp("many"), "many.example.com %s\none.example.com %s\n" % (many.both, one.both))
    with Stack(tmp("m"), extra_conf=["tls_server_sni_maps = hash:" + tmp("many")]) as s:
        logged(s, "certificate for name0000.of", " days (20")
        state = {c["sni"]: c for c in json.loads(s.postern("status", "--json"))["certificates"]}
        equal(set(state), {"many.example.com", "one.example.com", None}, "the names asked for")
        names = state["many.example.com"]["names"]
        equal((names[0], names[-1], state["one.example.com"]["state"]), ("name0000.of.a.long.list.example.com", "...", "ok"), "what is shown of it")


@case
def check_tells_what_is_wrong():
    s = Stack(tmp("c"))
    s.configure()
    good, other = ca().issue("mail.example.com"), ca().issue("other.example.com")
    wrong = tmp("wrong-order.pem")
    write(wrong, read(good.leaf) + read(other.leaf) + read(ca().pem))
    open_key = tmp("open.pem")
    write(open_key, read(good.key))
    os.chmod(open_key, 0o644)
    pair = "smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s"
    host = "\nmyhostname = mail.example.com"
    rows = (
        (pair % (good.chain, good.key) + host, 0, None),
        (pair % (good.chain, other.key), 78, "does not belong to the certificate"),
        (pair % (wrong, good.key) + host, 0, "not in order"),
        (pair % (good.leaf, good.key) + host, 0, "holds the certificate alone"),
        (pair % (good.chain, open_key) + host, 0, "can be read by everybody"),
        (pair % (good.chain, good.key) + "\nmyhostname = mx.example.com", 0,
         "is not for myhostname, mx.example.com, but for mail.example.com"),
        ("smtpd_tls_chain_files = " + good.both + host, 0, None),
        ("smtpd_tls_chain_files = " + tmp("nothing"), 78, "No such file"),
        ("tls_server_sni_maps = mysql:/etc/x.cf", 78, "names must be known beforehand"),
        ("tls_server_sni_maps = texthash:" + tmp("nothing"), 78, "No such file"),
        ("tls_server_sni_maps = inline:{ { mail.example.com = %s } }" % tmp("nothing"), 0, "who asks for the name is shown"),
        ("tls_server_sni_maps = inline:{ { mail.example.com = %s } }" % good.both, 0, None),
        ("legacy_listeners = imapx", 78, '"imapx" is no listener'),
        ("legacy_listeners = imaps:1993, pop3", 0, None),
        ("ssl_cipher_list = NONSENSE", 78, "ssl_cipher_list: no cipher is left"),
        ("ssl_curve_list = nonsense", 78, "no curve"),
        ("ssl_cipher_suites = nonsense", 78, "is no list of TLS 1.3"),
        ("tls_medium_cipherlist = NONSENSE", 78, "tls_medium_cipherlist: no cipher is left"),
        ("ssl_min_protocol = TLSv1", 0, "legacy_listeners"),
        ("smtpd_tls_ask_ccert = yes\nsmtpd_tls_CAfile = " + tmp("nothing"), 78, "smtpd_tls_CAfile: "),
        ("ssl_options = no_ticket fast", 78, "no_ticket no_compression"),
    )
    for conf, status, words in rows:
        s.extra_conf = conf.split("\n")
        s.write_main_cf()
        r = s.postern("check", ok=False)
        text = "\n".join(l for l in r.stderr.decode().split("\n") if "overriding" not in l)
        equal(r.returncode, status, "%s: %s" % (conf, text))
        if words:
            check(words in text, "%s: %s" % (conf, text))
        else:
            check("tls_" not in text and "ssl_" not in text, "%s: %s" % (conf, text))


def s_client(s, port, *argv):
    """(did the handshake succeed, output)"""
    start_tls = {"smtp": "smtp", "submission": "smtp", "imap": "imap", "pop3": "pop3"}
    words = ["openssl", "s_client", "-connect", "127.0.0.1:%d" % s.ports[port], "-brief", *argv]
    if port in start_tls:
        words += ["-starttls", start_tls[port]]
    r = run(words, input=b"", timeout_s=30)
    text = (r.stdout + r.stderr).decode(errors="replace")
    return "CONNECTION ESTABLISHED" in text, text


@case
def old_protocols_where_they_are_asked_for_alone():
    s = stack()  # legacy_listeners = pop3s, submission
    old = ["-cipher", "ALL:@SECLEVEL=0"]
    rsa = ["-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"]
    for port in PORTS:
        is_legacy = port in ("pop3s", "submission")
        for argv, want in ((["-tls1", *old], is_legacy), (["-tls1_1", *old], is_legacy), (["-tls1_2"], True), (["-tls1_3"], True)):
            got, text = s_client(s, port, *argv)
            equal(got, want, "%s on %s: %s" % (argv[0], port, text))
        got, text = s_client(s, port, "-tls1_2", "-cipher", "aNULL:@SECLEVEL=0")
        check(not got, "an anonymous cipher on %s: %s" % (port, text))
    # The test's certificates are of EC keys: RSA's key exchange needs one of the other kind.
    rsa_cert = ca().issue("rsa.example.com", new=["-newkey", "rsa:2048"])
    with Stack(tmp("rsa"), extra_conf=["smtpd_tls_cert_file = " + rsa_cert.chain, "smtpd_tls_key_file = " + rsa_cert.key,
                                       "smtpd_tls_security_level = may", "legacy_listeners = imaps:1, pop3s"]) as s:
        for port in PORTS:
            got, text = s_client(s, port, *rsa)
            equal(got, port in ("smtp", "pop3s"), "RSA's key exchange on %s: %s" % (port, text))


@case
def alpn_of_imap_and_pop3():
    s = stack()
    for port, alpn, want in (("imaps", "imap", "imap"), ("imap", "imap", "imap"), ("pop3s", "pop3", "pop3"), ("pop3", "pop3", "pop3"),
                             ("imaps", None, None), ("imaps", "pop3", "alert"), ("pop3s", "imap", "alert"), ("imaps", "h2", "alert"),
                             ("submissions", "h2", None)):
        try:
            with context([alpn] if alpn else ()).wrap_socket(plain(s, port)) as t:
                got = t.selected_alpn_protocol()
        except ssl.SSLError as e:
            got = "alert" if "no application protocol" in str(e).lower().replace("_", " ") else str(e)
        equal(got, want, "%s offered on %s" % (alpn, port))


@case
def tickets_are_good_at_every_worker():
    s = stack()
    for port, program_, want in (("imaps", "login", True), ("submissions", "smtpd", True), ("smtp", "smtpd", False)):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            c = context(version=version)
            session, held, served = None, [], set()
            while len(held) < 200 and len(served) < 2:  # until each of the two workers has served one
                for _ in range(8):
                    t = c.wrap_socket(plain(s, port), session=session)
                    held.append(t)
                    if session:
                        equal(t.session_reused, want, "resumed on %s, %s" % (port, version.name))
                    if port == "smtp":
                        t.sendall(b"NOOP\r\n")
                    t.recv(1)  # what comes first, and what goes before it in TLS 1.3
                    session = t.session
                    equal(bool(session and session.has_ticket), want, "a ticket on %s, %s" % (port, version.name))
                state = json.loads(s.postern("status", "--json"))
                served |= {d["worker"] for d in state["daemons"] if d["name"] == program_ and d["sessions"] > 0}
            equal(len(served), 2, "workers of %s that served one of %d clients" % (program_, len(held)))
            for t in held:
                t.close()


@case
def handshakes_that_fail_are_logged():
    s = stack()
    s_client(s, "smtp", "-tls1", "-cipher", "ALL:@SECLEVEL=0")
    logged(s, "postfix/smtpd", "SSL_accept error from localhost[127.0.0.1]: -1")
    logged(s, "postfix/smtpd", "TLS library problem: error:", "unsupported protocol")
    logged(s, "lost connection after STARTTLS from localhost[127.0.0.1]")
    s_client(s, "imaps", "-tls1", "-cipher", "ALL:@SECLEVEL=0")
    logged(s, "imap-login: Disconnected", "SSL_accept() failed: error:", "unsupported protocol", "TLS handshaking")
    plain(s, "submission").close()
    logged(s, "SSL_accept error from localhost[127.0.0.1]: lost connection")
    # smtpd_starttls_timeout = 3s is for all of the handshake, however its octets come.
    sock, began = plain(s, "smtp"), time.monotonic()
    try:
        for octet in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 40:
            sock.sendall(bytes([octet]))
            time.sleep(0.3)
    except OSError:
        pass
    check(time.monotonic() - began < 11, "a slow handshake goes on")
    logged(s, "SSL_accept error from localhost[127.0.0.1]: Connection timed out")


@case
def nobody_renegotiates():
    s = stack()
    p = subprocess.Popen(["openssl", "s_client", "-connect", "127.0.0.1:%d" % s.ports["imaps"], "-tls1_2"], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    time.sleep(0.5)
    p.stdin.write(b"R\n")
    p.stdin.flush()
    time.sleep(0.5)
    text = p.communicate(b"Q\n", timeout=20)[0].decode(errors="replace")
    check("Compression: NONE" in text and "no renegotiation" in text, text[-500:])


main()
