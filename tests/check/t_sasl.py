#!/usr/bin/env python3
# SASL by programs of others (gsasl, curl) at IMAP, POP3 and SMTP: PLAIN, LOGIN, SCRAM-SHA-256; the life of SCRAM's verifiers;
# EXTERNAL; and what authd says to the letter to who speaks Dovecot's protocol with it.
# timeout: 120
import base64
import os
import re
import socket
import sqlite3
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from authdoor import PROTOCOLS, Door, Scram, b64, plain
from harness import *
from stack import Stack

USER, NEW, PASSWORD = "u0@example.com", "u1@example.com", "pass"
MECHS = ("PLAIN", "LOGIN", "SCRAM-SHA-256")
TABLE = "postern_scram_verifiers"
IDN = "u4@b\u00fccher.example"
_stack = []


def stack():
    if not _stack:
        ca = certificate("ca")
        client = certificate(USER, ca)
        s = Stack(tmp("s"), users={USER: PASSWORD, NEW: PASSWORD, "u2@example.com": "p\u00e4ss", "u3@example.com": PASSWORD}, extra_conf=[
            "auth_failure_delay = 0", "auth_mechanisms = plain login scram-sha-256 external", "smtpd_tls_auth_only = no",
            "login_processes = 1", "auth_verbose = yes", "smtpd_sasl_mechanism_filter = static:all", "smtpd_tls_ask_ccert = yes",
            "smtpd_tls_CAfile = " + ca[0], "ssl_ca = <" + ca[0], "ssl_verify_client_cert = yes", "auth_ssl_username_from_cert = yes",
            "auth_master_users = inline:{chief@example.com=nothing}"]).start()
        s.client_certificate = client
        s.other_certificate = certificate("nobody@example.com", ca)
        s.self_signed = certificate(USER)
        s.master_certificate = certificate("chief@example.com", ca)
        _stack.append(s)
        at_end(s.stop)
    return _stack[0]


def certificate(name, ca=None):
    stem = tmp(re.sub(r"\W", "-", name) + ("-signed" if ca else ""))
    pem, key, csr = stem + ".pem", stem + ".key", stem + ".csr"
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=" + name, "-keyout", key]
    todo = [["req", *new, "-out", csr], ["x509", "-req", "-in", csr, "-CA", ca[0], "-CAkey", ca[1], "-CAcreateserial", "-days",
                                         "30", "-out", pem]] if ca else [["req", "-x509", *new, "-days", "30", "-out", pem]]
    for argv in todo:
        r = run(["openssl"] + argv)
        check(r.returncode == 0, "openssl %s: %r" % (argv[0], r.stderr))
    return pem, key


def door(proto, **more):
    return Door(proto, stack().ports[proto], **more)


def verifiers():
    with sqlite3.connect(stack().path("data", "mailserver.db")) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchone():
            return {}
        return {email: verifier for email, verifier in db.execute("SELECT email, verifier FROM " + TABLE)}


def sql(text, *bound, strict=True):
    """strict False: a table whose columns are wider than the guide's."""
    with sqlite3.connect(stack().path("data", "mailserver.db"), timeout=20) as db:
        if not strict:
            db.execute("PRAGMA ignore_check_constraints = 1")
        db.execute(text, bound)


def scram(proto, user, password, **more):
    """One right exchange: the last answer, and the server's first message."""
    d = door(proto)
    x = Scram(user.encode(), password.encode(), **more)
    d.auth("SCRAM-SHA-256", b64(x.first))
    kind, first = d.answer()
    equal(kind, "go", "server-first at %s" % proto)
    d.say(b64(x.final(first)))
    got = d.answer()
    if got[0] == "go":
        equal(got[1], x.server_final, "the server's proof")
        d.say(b"")
        got = d.answer()
    d.close()
    return got, first


def gets_in_by_scram(user, password):
    return scram("imap", user, password)[0][0] == "ok"


# ------------------------------------------------------------------------------------------ programs


def gsasl(proto, mech, user, password, *more):
    argv = ["gsasl", "--quiet", "--" + proto, "--mechanism=" + mech, "--authentication-id=" + user, "--password=" + password, "--authorization-id=",
            "--hostname=localhost", "--starttls", "--x509-ca-file=" + stack().cert_file, "--no-cb",
            "--connect=localhost:%d" % stack().ports[proto], *more]
    return run(argv, input=b"", env=dict(os.environ, LC_ALL="C.UTF-8"))


@case
def gsasl_at_imap_and_smtp():
    need("gsasl")
    stack().postern("user", "password", "--stdin", USER, input=PASSWORD.encode() + b"\n")
    for proto in ("imap", "smtp"):
        for mech in MECHS:
            r = gsasl(proto, mech, USER, PASSWORD)
            equal(r.returncode, 0, "%s at %s: %r" % (mech, proto, r.stderr))
            r = gsasl(proto, mech, USER, "wrong")
            check(r.returncode != 0, "%s at %s with a wrong password" % (mech, proto))
        r = gsasl(proto, "SCRAM-SHA-256", "nobody@example.com", PASSWORD)
        check(r.returncode != 0, "nobody at %s" % proto)


class Gsasl:
    """gsasl as the client's half alone: base64 in, base64 out."""

    def __init__(self, mech, user, password):
        self.p = subprocess.Popen(["gsasl", "--quiet", "--client", "--mechanism=" + mech, "--authentication-id=" + user, "--password=" + password,
                                   "--authorization-id=", "--hostname=localhost", "--service=pop", "--no-client-first"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        at_end(self.p.kill)
        equal(self.p.stdout.readline(), mech.encode() + b"\n", "what gsasl says first")

    def answer(self, challenge):
        self.p.stdin.write(b64(challenge) + b"\n")
        self.p.stdin.flush()
        while True:
            line = self.p.stdout.readline()
            check(line, "gsasl has nothing to say")
            if re.fullmatch(rb"[A-Za-z0-9+/=]*\n", line):
                return line.strip()


@case
def gsasl_at_pop3():
    need("gsasl")
    stack().postern("user", "password", "--stdin", USER, input=PASSWORD.encode() + b"\n")
    for mech in MECHS:
        for password, want in ((PASSWORD, "ok"), ("wrong", "no")):
            d = door("pop3")
            g = Gsasl(mech, USER, password)
            d.auth(mech)
            got = d.answer()
            while got[0] == "go":
                d.say(g.answer(got[1]))
                got = d.answer()
            equal(got[0], want, "%s with %s: %r" % (mech, password, got))
            if want == "ok":
                d.say(b"NOOP")
                equal(d.line()[:3], b"+OK", "the session")
            d.close()


@case
def curl_everywhere():
    need("curl")
    for proto in ("imap", "pop3", "smtp"):
        for mech in ("PLAIN", "LOGIN"):
            for password, want in ((PASSWORD, 0), ("wrong", 67)):
                port = stack().ports[{"imap": "imaps", "pop3": "pop3s", "smtp": "submissions"}[proto]]
                more = ["--mail-from", USER, "--mail-rcpt", USER, "--upload-file", "-"] if proto == "smtp" else []
                r = run(["curl", "-sS", "--cacert", stack().cert_file, "--user", USER + ":" + password, "--login-options",
                         "AUTH=" + mech, "%ss://localhost:%d/" % (proto, port), *more], input=b"Subject: curl\r\n\r\nx\r\n")
                equal(r.returncode, want, "%s at %s with %s: %r" % (mech, proto, password, r.stderr))


# ------------------------------------------------------------------------------------------ verifiers


@case
def a_verifier_comes_and_goes():
    s = stack()
    check(NEW not in verifiers(), "nobody has logged in yet")
    got, _ = scram("imap", NEW, PASSWORD)
    equal(got[0], "no", "SCRAM before there is a verifier")
    check("no SCRAM verifier" in s.log(), "the log says why")
    check(not door("imap").logs_in(NEW.encode(), b"wrong"), "a wrong password")
    check(door("imap").logs_in(NEW.upper().encode(), PASSWORD.encode()), "PLAIN")
    wait_for(lambda: NEW in verifiers(), 10, "a verifier of who has logged in by PLAIN")
    equal(verifiers()[NEW].split(",")[0], "20000", "iterations")
    for proto in PROTOCOLS:
        equal(scram(proto, NEW, PASSWORD)[0][0], "ok", "SCRAM at %s" % proto)
        equal(scram(proto, NEW, "wrong")[0][0], "no", "SCRAM with a wrong password at %s" % proto)
        equal(scram(proto, NEW, PASSWORD, gs2=b"y,,")[0][0], "ok", "a client that could bind the channel, at %s" % proto)
        equal(scram(proto, NEW, PASSWORD, gs2=b"n,a=%s," % NEW.encode())[0][0], "ok", "its own authorization identity at %s" % proto)
        equal(scram(proto, NEW, PASSWORD, gs2=b"n,a=%s," % USER.encode())[0][0], "no", "another's at %s" % proto)
    # Another stored password, by whatever way, makes it void.
    stored = "{PLAIN}other"
    sql("UPDATE virtual_users SET password = ? WHERE email = ?", stored, NEW)
    check(not gets_in_by_scram(NEW, PASSWORD), "the old password after an UPDATE of the new one")
    check(not gets_in_by_scram(NEW, "other"), "the new password before it was used")
    check(door("imap").logs_in(NEW.encode(), b"other"), "the new one by PLAIN")
    wait_for(lambda: gets_in_by_scram(NEW, "other"), 10, "the new one by SCRAM")
    s.postern("user", "password", "--stdin", NEW, input=b"third\n")
    check(gets_in_by_scram(NEW, "third"), "a password of `postern user password`, at once")
    check(not gets_in_by_scram(NEW, "other"), "the one before")
    s.postern("user", "add", "--stdin", "fresh@example.com", input=b"fourth\n")
    check(gets_in_by_scram("fresh@example.com", "fourth"), "a user of `postern user add`")
    s.postern("user", "remove", "fresh@example.com")
    check(not gets_in_by_scram("fresh@example.com", "fourth") and "fresh@example.com" not in verifiers(), "a user who was removed")


@case
def verifiers_that_others_made():
    need("gsasl")
    r = run(["gsasl", "--mkpasswd", "--mechanism=SCRAM-SHA-256", "--password=by gsasl", "--iteration-count=4096"])
    equal(r.returncode, 0, "gsasl --mkpasswd")
    stored = r.stdout.decode().strip()
    check(stored.startswith("{SCRAM-SHA-256}4096,"), stored)
    sql("UPDATE virtual_users SET password = ? WHERE email = 'u3@example.com'", stored, strict=False)
    for password, want in (("by gsasl", True), ("by gsas", False)):
        equal(gets_in_by_scram("u3@example.com", password), want, "SCRAM with %r" % password)
        equal(door("imap").logs_in(b"u3@example.com", password.encode()), want, "PLAIN with %r" % password)
    check("u3@example.com" not in verifiers(), "a second verifier was kept")


@case
def passwords_beyond_ascii():
    need("gsasl")
    user = "u2@example.com"
    check(door("imap").logs_in(user.encode(), "p\u00e4ss".encode()), "PLAIN")
    wait_for(lambda: user in verifiers(), 10, "a verifier")
    equal(gsasl("imap", "SCRAM-SHA-256", user, "p\u00e4ss").returncode, 0, "gsasl's SASLprep and ours")
    # What SASLprep would change is known by PLAIN only.
    stack().postern("user", "password", "--stdin", user, input="p\u00aass\n".encode())
    check(door("imap").logs_in(user.encode(), "p\u00aass".encode()), "PLAIN")
    check(user not in verifiers(), "a verifier of what is not prepared")


@case
def strangers_look_like_users():
    one, two, other = (scram("imap", u, "x")[1] for u in ("nobody@example.com", "NOBODY@example.com", "somebody@example.com"))
    salt = re.compile(rb"r=[!-~]+,s=([A-Za-z0-9+/]{22}==),i=20000$")
    for first in (one, other):
        check(salt.match(first), "server-first: %r" % first)
    equal(salt.match(one).group(1), salt.match(two).group(1), "the salt of a name")
    check(salt.match(one).group(1) != salt.match(other).group(1), "salts of two names")
    # With auth_username_format as it is, too, a user is found by any spelling.
    sql("INSERT INTO virtual_users (domain_id, password, email) VALUES (1, '{PLAIN}pass', ?)", IDN)
    for spellings in (("nobody@b\u00fccher.example", "nobody@xn--bcher-kva.example", "Nobody@B\u00dcCHER.example"),
                      (IDN, IDN.replace("b\u00fccher", "xn--bcher-kva"))):
        equal(len({salt.match(scram("imap", u, "x")[1]).group(1) for u in spellings}), 1, "salts of %r" % (spellings,))
    equal(os.stat(stack().path("data", "scram.secret")).st_mode & 0o777, 0o600, "the secret's mode")
    before = stack().pids_of("authd")
    os.kill(before[0], 9)
    wait_for(lambda: stack().pids_of("authd") not in (before, []), 20, "another authd")
    wait_for(lambda: door("imap").logs_in(USER.encode(), PASSWORD.encode()), 20, "authd at work")
    equal(salt.match(scram("imap", "nobody@example.com", "x")[1]).group(1), salt.match(one).group(1), "the salt after a restart")


@case
def a_database_that_takes_no_verifiers():
    """authd may find that it can only read: whoever knows the password comes in, and the log says it once."""
    with Stack(tmp("ro"), users={USER: PASSWORD}, extra_conf=["auth_failure_delay = 0"]) as s:
        with sqlite3.connect(s.path("data", "mailserver.db")) as db:
            db.execute("CREATE VIEW %s AS SELECT email, '' AS verifier, '' AS made_for FROM virtual_users" % TABLE)
        for i in range(3):
            check(Door("pop3", s.ports["pop3"]).logs_in(USER.encode(), PASSWORD.encode()), "PLAIN")
            if i == 0:
                wait_for(lambda: "SCRAM verifiers are not kept" in s.log(), 10, "the log says so")
        equal(s.log().count("SCRAM verifiers are not kept"), 1, "lines of it")


@case
def a_reader_holds_nobody_up():
    """Whoever reads the database for long lets nobody write: that is no reason to let those wait who come in."""
    with Stack(tmp("rd"), users={u: PASSWORD for u in ("a@example.com", "b@example.com", "c@example.com")},
               extra_conf=["auth_failure_delay = 0"]) as s:
        path = s.path("data", "mailserver.db")
        check(Door("pop3", s.ports["pop3"]).logs_in(b"a@example.com", PASSWORD.encode()), "the first one")

        def kept():
            with sqlite3.connect(path) as db:
                if not db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (TABLE,)).fetchone():
                    return []  # made with the first one
                return sorted(e for e, in db.execute("SELECT email FROM " + TABLE))

        wait_for(lambda: kept() == ["a@example.com"], 10, "his verifier")
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM virtual_users").fetchone()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            began = time.monotonic()
            check(Door("pop3", s.ports["pop3"]).logs_in(b"b@example.com", PASSWORD.encode()), "PLAIN while another reads")
            check(time.monotonic() - began < 0.9, "it took %.1f s" % (time.monotonic() - began))
            time.sleep(0.2)
        equal(kept(), ["a@example.com"], "verifiers while another reads")
        reader.close()

        def later():
            check(Door("pop3", s.ports["pop3"]).logs_in(b"b@example.com", PASSWORD.encode()), "PLAIN")
            return "b@example.com" in kept()

        wait_for(later, 20, "the verifier after all")


# ------------------------------------------------------------------------------------------ EXTERNAL


def with_certificate(proto, cert):
    context = ssl._create_unverified_context()
    if cert:
        context.load_cert_chain(*cert)
    d = Door(proto, stack().ports[{"imap": "imaps", "pop3": "pop3s", "smtp": "submissions"}[proto]], tls=context)
    return d


def offers(d):
    d.say({"imap": b"a CAPABILITY", "pop3": b"CAPA", "smtp": b"EHLO x"}[d.proto])
    lines = []
    end = re.compile(rb"a |\.\r|250 ")
    while True:
        lines.append(d.line())
        check(lines[-1], "%s: the connection ended" % d.proto)
        if end.match(lines[-1]):
            break
    text = b" ".join(lines).decode()
    if d.proto == "imap":
        return re.findall(r"AUTH=(\S+)", text)
    m = re.search(r"(?:250.AUTH|SASL) ([^\r]*)", text)
    return m.group(1).split() if m else []


@case
def external():
    s = stack()
    for proto in PROTOCOLS:
        for what, cert, can in (("none", None, False), ("trusted", s.client_certificate, True), ("self-signed", s.self_signed, False),
                                ("of nobody", s.other_certificate, True)):
            d = with_certificate(proto, cert)
            equal("EXTERNAL" in offers(d), can, "%s: EXTERNAL is offered to a certificate: %s" % (proto, what))
            got = d.steps("EXTERNAL", initial=b"=")
            equal(got[0] == "ok", what == "trusted", "%s: %s: %r" % (proto, what, got))
            d.close()
        for authzid, want in ((USER, "ok"), (USER.upper(), "ok"), (NEW, "no"), ("\0", "no")):
            d = with_certificate(proto, s.client_certificate)
            got = d.steps("EXTERNAL", b64(authzid.encode()))
            equal(got[0], want, "%s: as %r: %r" % (proto, authzid, got))
            d.close()
        for authzid, want in ((USER, "ok"), ("nobody@example.com", "no"), ("", "no")):  # a master, who is nobody himself
            d = with_certificate(proto, s.master_certificate)
            equal(d.steps("EXTERNAL", b64(authzid.encode()))[0], want, "%s: a master as %r" % (proto, authzid))
            d.close()
        d = with_certificate(proto, s.client_certificate)
        equal(d.steps("EXTERNAL", b"")[0], "ok", "%s: asked and answered with nothing" % proto)
        d.close()


@case
def what_is_offered():
    for proto, want in (("imap", ["SCRAM-SHA-256"]), ("pop3", ["SCRAM-SHA-256"]), ("smtp", ["SCRAM-SHA-256"])):
        d = door(proto)
        got = offers(d)
        check(set(want) <= set(got) and "EXTERNAL" not in got, "%s offers %s" % (proto, got))
        d.close()


# ------------------------------------------------------------------------------------------ the protocol


class Peer:
    def __init__(self):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(20)
        self.s.connect(os.path.join(stack().queue_dir, "private", "auth"))
        self.f = self.s.makefile("rb")
        self.s.sendall(b"VERSION\t1\t2\nCPID\t%d\n" % os.getpid())
        self.hello = []
        while not self.hello or self.hello[-1] not in (b"DONE\n", b""):
            self.hello.append(self.f.readline())

    def ask(self, line):
        self.s.sendall(line + b"\n")
        return self.f.readline().rstrip(b"\n")


@case
def to_the_letter():
    stack().postern("user", "password", "--stdin", USER, input=PASSWORD.encode() + b"\n")
    p = Peer()
    mechs = [l.rstrip(b"\n").split(b"\t")[1:] for l in p.hello if l.startswith(b"MECH\t")]
    equal(mechs, [[b"PLAIN", b"plaintext"], [b"LOGIN", b"plaintext"], [b"EXTERNAL"], [b"SCRAM-SHA-256", b"mutual-auth"]], "mechanisms")
    user, good, bad = USER.encode(), plain(USER.encode(), b"pass"), plain(USER.encode(), b"wrong")
    name = b"\tuser=" + user
    # As Postfix 3.7 writes it, and Dovecot's own clients, and with what neither knows.
    for params in (b"service=smtp\tnologin\tlip=127.0.0.1\trip=192.0.2.1\tsecured", b"service=imap\tsecured=tls\tsession=abc\tlip=::1\trip=::1"
                   b"\tlport=143\trport=40000\tlocal_name=x\tclient_id=y\tno-penalty\tdebug\tnologin", b"service=smtp\tnologin\tx=y\tz"):
        equal(p.ask(b"AUTH\t1\tPLAIN\t" + params + b"\tresp=" + good), b"OK\t1" + name, "OK with %r" % params)
        equal(p.ask(b"AUTH\t1\tPLAIN\t" + params + b"\tresp=" + bad), b"FAIL\t1" + name, "the same number again, and FAIL")
    equal(p.ask(b"AUTH\t2\tPLAIN\tservice=smtp\tnologin\tresp=!"), b"FAIL\t2\treason=Invalid base64 data in response\tcode=invalid_base64", "base64")
    equal(p.ask(b"AUTH\t3\tNONE\tservice=smtp"), b"FAIL\t3\treason=Unsupported authentication mechanism", "mechanism")
    equal(p.ask(b"CONT\t4\tAAAA"), b"FAIL\t4\treason=Authentication request timed out", "CONT of nothing")
    equal(p.ask(b"AUTH\t5\tPLAIN\tservice=smtp\tnologin"), b"CONT\t5\t", "asked")
    p.s.sendall(b"CANCEL\t5\nCANCEL\t77\n")
    equal(p.ask(b"AUTH\t5\tLOGIN\tservice=smtp\tnologin"), b"CONT\t5\t" + b64(b"Username:"), "the number of a cancelled one")
    equal(p.ask(b"CONT\t5\t" + b64(user)), b"CONT\t5\t" + b64(b"Password:"), "LOGIN")
    equal(p.ask(b"CONT\t5\t" + b64(b"pass")), b"OK\t5" + name, "LOGIN")
    cookie = re.fullmatch(rb"OK\t6\tuser=%s\tpostern_cookie=[0-9a-f]{32}" % re.escape(user),
                          p.ask(b"AUTH\t6\tPLAIN\tservice=imap\tresp=" + good))
    check(cookie, "a login that will be handed over has a cookie")
    # EXTERNAL: who it is comes from the peer, and only with the word that the certificate is good.
    ext = b"AUTH\t7\tEXTERNAL\tservice=smtp\tnologin\t"
    for params, resp, want in ((b"valid-client-cert\tcert_username=" + user, b"", b"OK\t7" + name),
                               (b"valid-client-cert\tcert_username=" + user, b64(user), b"OK\t7" + name),
                               (b"valid-client-cert\tcert_username=" + user, b64(NEW.encode()), b"FAIL\t7" + name),
                               (b"cert_username=" + user, b"", b"FAIL\t7"), (b"valid-client-cert", b64(user), b"FAIL\t7"),
                               (b"valid-client-cert\tcert_username=", b"", b"FAIL\t7"),
                               (b"valid-client-cert\tcert_username=" + user + b"\0010", b"", b"FAIL\t7"),
                               (b"secured", b64(user), b"FAIL\t7")):
        got = p.ask(ext + params + b"\tresp=" + resp)
        check(got.startswith(want), "EXTERNAL with %r, %r: %r" % (params, resp, got))
    # SCRAM's last word: a challenge of its own, or with OK for who takes it so.
    for more, proven in ((b"", False), (b"final-resp-ok\t", True)):
        x = Scram(user, b"pass")
        kind, number, first = p.ask(b"AUTH\t8\tSCRAM-SHA-256\tservice=smtp\tnologin\t" + more + b"resp=" + b64(x.first)).split(b"\t")
        equal((kind, number), (b"CONT", b"8"), "SCRAM")
        got = p.ask(b"CONT\t8\t" + b64(x.final(base64.b64decode(first))))
        if proven:
            equal(got, b"OK\t8" + name + b"\tresp=" + b64(x.server_final), "OK with the server's proof")
        else:
            equal(got, b"CONT\t8\t" + b64(x.server_final), "the server's proof")
            equal(p.ask(b"CONT\t8\t"), b"OK\t8" + name, "OK")
    x = Scram(user, b"pass")
    first = p.ask(b"AUTH\t9\tSCRAM-SHA-256\tservice=smtp\tnologin\tresp=" + b64(x.first)).split(b"\t")[2]
    p.ask(b"CONT\t9\t" + b64(x.final(base64.b64decode(first))))
    equal(p.ask(b"CONT\t9\t" + b64(b"more")), b"FAIL\t9" + name, "something where nothing is to be said")


@case
def a_peer_out_of_step():
    for what, line in (("a number in use", b"AUTH\t1\tPLAIN\tservice=smtp\tnologin\nAUTH\t1\tPLAIN\tservice=smtp\tnologin\n"),
                       ("no number", b"AUTH\tx\tPLAIN\tservice=smtp\n"), ("a long line", b"AUTH\t1\tPLAIN\tresp=" + b"A" * 20000 + b"\n"),
                       ("a long line without end", b"A" * 40000), ("no verb", b"NOSUCH\t1\n"), ("an empty line", b"\n")):
        p = Peer()
        p.s.sendall(line)
        while True:
            try:
                got = p.f.readline()
            except ConnectionError:
                break
            if got == b"":
                break
            check(got.startswith(b"CONT\t1\t"), "%s: %r" % (what, got))
    p = Peer()
    equal(p.ask(b"AUTH\t1\tPLAIN\tservice=smtp\tnologin\tresp=" + plain(USER.encode(), b"pass")), b"OK\t1\tuser=" + USER.encode(), "the next one")


main()
