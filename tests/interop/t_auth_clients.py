#!/usr/bin/env python3
# Every mechanism by programs that people log in with: curl, swaks, msmtp, mpop, mbsync, mutt, neomutt, getmail6, fetchmail,
# offlineimap, at IMAP, POP3 and SMTP. With the right secret each gets in, by the mechanism that it was told; with a wrong one it
# does not, and says so. A row of the table is a program, a protocol, the program's name of the mechanism and SASL's.
# timeout: 600
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from certs import Authority
from harness import *
from oauthprovider import Signer
from popclients import Mpop
from refstack import fetch
from stack import Stack

USER, OTHER, PASSWORD = "u0@example.com", "u1@example.com", "p%ss w\"ord"  # characters that must be quoted somewhere
SERVICE = {"imap": "imaps", "pop3": "pop3s", "smtp": "submissions"}
_made = {}


def stack():
    if "stack" in _made:
        return _made["stack"]
    ca = Authority(tmp("ca"))
    _made["mine"] = ca.issue(USER, usage="clientAuth")
    _made["others"] = ca.issue("nobody@example.com", usage="clientAuth")
    _made["signer"] = Signer(tmp("keys"), "ES256", "k")
    with open(tmp("jwks.json"), "w") as f:
        f.write('{"keys": [%s]}' % str(_made["signer"].jwk).replace("'", '"'))
    s = Stack(tmp("s"), users={USER: PASSWORD, OTHER: PASSWORD}, extra_conf=[
        "auth_failure_delay = 0", "auth_mechanisms = plain login scram-sha-256 external oauthbearer xoauth2",
        "smtpd_sasl_mechanism_filter = static:all", "smtpd_tls_ask_ccert = yes", "smtpd_tls_CAfile = " + ca.pem,
        "ssl_ca = <" + ca.pem, "ssl_verify_client_cert = yes", "auth_ssl_username_from_cert = yes",
        "smtpd_sasl_authenticated_header = yes", "oauth2_introspection_mode = local", "oauth2_jwks_file = " + tmp("jwks.json"),
        "mail_max_userip_connections = 0"]).start()
    at_end(s.stop)
    _made["stack"] = s
    for proto in ("imap", "pop3"):  # a log-in by password leaves the verifier that SCRAM needs; and there is a letter to fetch
        r = curl(proto, None, "PLAIN", PASSWORD)
        check(r.is_in, "curl: %s" % r.said)
    return s


def token(user, good=True):
    signer = _made["signer"] if good else Signer(tmp("false"), "ES256", "k")
    now = int(time.time())
    return signer.token({"iss": "https://id.example.com", "sub": "1", "email": user, "iat": now, "exp": now + 3600})


class Result:
    def __init__(self, is_in, said):
        self.is_in, self.said = is_in, said


def home(name):
    _made["n"] = _made.get("n", 0) + 1
    at = tmp("%s-%d" % (name, _made["n"]))
    os.makedirs(at)
    return at


def put(path, text, mode=0o600):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as f:
        f.write(text)
    return path


def letter():
    return "From: %s\nTo: %s\nSubject: sent\n\nx\n" % (USER, OTHER)


def result(r, is_in=None):
    said = r.stdout.decode(errors="replace") + r.stderr.decode(errors="replace")
    return Result(r.returncode == 0 if is_in is None else is_in, said)


def port(proto):
    return _made["stack"].ports[SERVICE[proto]]


def cert_file():
    return _made["stack"].cert_file


def client_cert(secret):
    """(certificate, key) when the secret is one."""
    return secret.chain, secret.key


# ------------------------------------------------------------------------------------------ programs
# Each: protocol, its own word for the mechanism, SASL's name, the secret -> Result


def curl(proto, how, mech, secret):
    argv = [need("curl"), "--silent", "--show-error", "--max-time", "30", "--cacert", cert_file()]
    if how:
        argv += ["--login-options", "AUTH=" + mech]
    if how == "with initial response":
        argv += ["--sasl-ir"]
    if mech in ("OAUTHBEARER", "XOAUTH2"):
        argv += ["--user", USER, "--oauth2-bearer", secret]
    elif mech == "EXTERNAL":
        cert, key = client_cert(secret)
        argv += ["--user", USER + ":", "--cert", cert, "--key", key]
    else:
        argv += ["--user", USER + ":" + secret]
    url = "%s://localhost:%d/" % ({"imap": "imaps", "pop3": "pop3s", "smtp": "smtps"}[proto], port(proto))
    if proto == "smtp":
        argv += ["--mail-from", USER, "--mail-rcpt", OTHER, "-T", put(home("curl") + "/m", letter())]
    return result(run(argv + [url]))


def swaks(proto, how, mech, secret):
    return result(run([need("swaks"), "--server", "localhost", "--port", port(proto), "--tlsc", "--from", USER, "--to", OTHER, "--auth",
                       mech, "--auth-user", USER, "--auth-password", secret, "--ehlo", "client.example.net"]))


def msmtp(proto, how, mech, secret):
    at = home("msmtp")
    cert = ""
    if mech == "EXTERNAL":
        cert = "tls_cert_file %s\ntls_key_file %s\n" % client_cert(secret)
        secret = ""
    rc = put(at + "/rc", "account default\nhost localhost\nport %d\nfrom %s\nuser %s\n%sauth %s\ntls on\ntls_starttls off\n"
             "tls_trust_file %s\n%s" % (port(proto), USER, USER, "passwordeval cat %s/secret\n" % at, how, cert_file(), cert))
    put(at + "/secret", secret + "\n")
    return result(run([need("msmtp"), "-C", rc, OTHER], input=letter().encode(), env=dict(os.environ, HOME=at)))


def mpop(proto, how, mech, secret):
    c = Mpop(home("mpop") + "/m", port(proto), cert_file(), USER, "unused", "tls",
             ["auth " + how] + (["tls_cert_file %s" % secret.chain, "tls_key_file %s" % secret.key] if mech == "EXTERNAL" else []))
    put(c.path("secret"), ("" if mech == "EXTERNAL" else secret) + "\n")
    c.options.append("passwordeval cat " + c.path("secret"))
    c.password = '""'
    return result(c.run())


def getmail(proto, how, mech, secret):
    at = home("getmail")
    put(at + "/secret", secret)
    kind = {"pop3": "SimplePOP3SSLRetriever", "imap": "SimpleIMAPSSLRetriever"}[proto]
    put(at + "/rc", "[retriever]\ntype = %s\nserver = localhost\nport = %d\nusername = %s\npassword_command = (\"/bin/cat\", \"%s/secret\")\n"
        "ca_certs = %s\n%s[destination]\ntype = MDA_external\npath = /bin/cat\nallow_root_commands = true\n[options]\ndelete = false\n"
        % (kind, port(proto), USER, at, cert_file(), "use_xoauth2 = true\n" if mech == "XOAUTH2" else ""))
    r = run([need("getmail"), "--getmaildir", at, "--rcfile", "rc"], env=dict(os.environ, HOME=at))
    return result(r, r.returncode == 0 and b"rror" not in r.stdout + r.stderr)


def fetchmail(proto, how, mech, secret):
    at = home("fetchmail")
    cert = "sslcert '%s' sslkey '%s'" % client_cert(secret) if mech == "EXTERNAL" else ""
    put(at + "/rc", "poll localhost protocol %s service %d auth %s\n  user '%s' password '%s' ssl sslcertck sslcertfile '%s' %s keep "
        "mda 'cat >/dev/null'\n" % (proto, port(proto), how, USER, "" if mech == "EXTERNAL" else secret, cert_file(), cert))
    r = run([need("fetchmail"), "-f", at + "/rc", "--nosyslog", "--pidfile", at + "/pid", "-i", at + "/ids"],
            env=dict(os.environ, HOME=at, FETCHMAILHOME=at))
    return result(r, r.returncode in (0, 1))


def mbsync(proto, how, mech, secret):
    at = home("mbsync")
    cert = "ClientCertificate %s\nClientKey %s\n" % client_cert(secret) if mech == "EXTERNAL" else ""
    rc = put(at + "/rc", "IMAPAccount a\nHost localhost\nPort %d\nUser %s\nPassCmd \"cat %s/secret\"\nSSLType IMAPS\n"
             "CertificateFile %s\nAuthMechs %s\n%s\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath %s/m/\nInbox %s/m/INBOX\n\n"
             "Channel c\nFar :far:\nNear :near:\nPatterns INBOX\nCreate Near\nSyncState *\n"
             % (port(proto), USER, at, cert_file(), how, cert, at, at))
    put(at + "/secret", "" if mech == "EXTERNAL" else secret + "\n")
    os.makedirs(at + "/m")
    return result(run([need("mbsync"), "-c", rc, "-a"], env=dict(os.environ, HOME=at)))


def muttlike(command):
    def f(proto, how, mech, secret):
        at = home(command)
        is_token = mech in ("OAUTHBEARER", "XOAUTH2")
        quoted = "" if mech == "EXTERNAL" else secret.replace("\\", "\\\\").replace('"', '\\"')
        url = {"imap": "imaps", "pop3": "pops", "smtp": "smtps"}[proto] + "://%s@localhost:%d/" % (USER.replace("@", "%40"), port(proto))
        key = {"imap": "imap", "pop3": "pop", "smtp": "smtp"}[proto]
        put(at + "/token", "#!/bin/sh\nexec cat %s/secret\n" % at, 0o700)
        put(at + "/secret", quoted)
        lines = ['set ssl_ca_certificates_file="%s"' % cert_file(), 'set certificate_file="%s"' % cert_file(), "set header_cache=", "set copy=no",
                 "set mail_check=0", "set quit=yes", "set wait_key=no", "set use_from=yes", 'set from="%s"' % USER, "set move=no",
                 "set confirmappend=no", 'set folder="%s"' % at, 'set %s_authenticators="%s"' % (key, how), 'set record=""', "set sendmail_wait=0"]
        lines.append('set %s_oauth_refresh_command="%s/token"' % (key, at) if is_token else 'set %s_pass="%s"' % (key, quoted))
        if mech == "EXTERNAL":
            both = put(at + "/both.pem", open(secret.key).read() + open(secret.chain).read())
            lines.append('set ssl_client_cert="%s"' % both)
        if proto == "smtp":
            lines.append('set smtp_url="%s"' % url)
            put(at + "/rc", "\n".join(lines) + "\n")
            return result(run([need(command), "-n", "-F", at + "/rc", "-s", "sent", OTHER], input=b"x\n", env=dict(os.environ, HOME=at)))
        lines.append('set spoolfile="%s%s"' % (url, "INBOX" if proto == "imap" else ""))
        put(at + "/rc", "\n".join(lines) + "\n")
        r = run(["timeout", "-k", "2", "15", "script", "-q", "-e", "-c", "%s -n -F %s/rc -e 'push \"<quit>\"'" % (need(command), at), "/dev/null"],
                env=dict(os.environ, HOME=at, TERM="xterm"), timeout_s=60)
        # what it shows when it is through; with a wrong secret it would sit there and wait for its user
        return result(r, bool(re.search(rb"s://\S* \[Msgs:", r.stdout)))
    f.__name__ = command
    return f


def offlineimap(proto, how, mech, secret):
    fetch("offlineimap3", "python3-distro")
    packed, at = os.path.join(TOP, "build", "ref", "usr"), home("off")
    rc = put(at + "/rc", "[general]\naccounts = a\nui = basic\nmetadata = %s/meta\n[Account a]\nlocalrepository = l\nremoterepository = r\n"
             "[Repository l]\ntype = Maildir\nlocalfolders = %s/m\n[Repository r]\ntype = IMAP\nremotehost = localhost\nremoteport = %d\n"
             "ssl = yes\nsslcacertfile = %s\nremoteuser = %s\n%s\nauth_mechanisms = %s\nfolderfilter = lambda f: f == 'INBOX'\n"
             % (at, at, port(proto), cert_file(), USER,
                "oauth2_access_token = " + secret if mech == "XOAUTH2" else "remotepassfile = %s/secret" % at, how))
    put(at + "/secret", secret + "\n")
    env = dict(os.environ, HOME=at, PYTHONPATH=":".join([packed + "/share/offlineimap3", packed + "/lib/python3/dist-packages"]))
    return result(run([need("python3"), packed + "/bin/offlineimap", "-c", rc, "-o"], env=env, timeout_s=120))


mutt, neomutt = muttlike("mutt"), muttlike("neomutt")

# ------------------------------------------------------------------------------------------ the table

S = "SCRAM-SHA-256"
TABLE = [(curl, p, how, m) for p in SERVICE for m in ("PLAIN", "LOGIN", "EXTERNAL", "OAUTHBEARER")  # OAUTHBEARER is its choice of the two
         for how in ("as it likes", "with initial response")]
TABLE += [(swaks, "smtp", None, m) for m in ("PLAIN", "LOGIN")]
TABLE += [(msmtp, "smtp", m.lower(), m) for m in ("PLAIN", "LOGIN", S, "EXTERNAL", "OAUTHBEARER", "XOAUTH2")]
TABLE += [(mpop, "pop3", m.lower(), m) for m in ("PLAIN", "LOGIN", S, "EXTERNAL", "OAUTHBEARER", "XOAUTH2")] + [(mpop, "pop3", "user", "PLAIN")]
TABLE += [(getmail, "pop3", None, "PLAIN"), (getmail, "imap", None, "PLAIN"), (getmail, "imap", None, "XOAUTH2")]
TABLE += [(fetchmail, "pop3", "password", "PLAIN"), (fetchmail, "imap", "password", "PLAIN"), (fetchmail, "imap", "external", "EXTERNAL")]
TABLE += [(mbsync, "imap", how, m) for how, m in (("PLAIN", "PLAIN"), ("LOGIN", "PLAIN"), (S, S), ("EXTERNAL", "EXTERNAL"))]
BY_PASSWORD, BY_TOKEN = [("plain", "PLAIN"), ("login", "LOGIN")], [("oauthbearer", "OAUTHBEARER"), ("xoauth2", "XOAUTH2")]
BY_SCRAM = [("scram-sha-256", S)]
TABLE += [(mutt, p, how, m) for p in SERVICE for how, m in BY_PASSWORD + BY_SCRAM + BY_TOKEN]
TABLE += [(neomutt, p, how, m) for p in ("imap", "smtp") for how, m in BY_PASSWORD + BY_TOKEN] + [(neomutt, "smtp", *BY_SCRAM[0])]
TABLE += [(neomutt, "pop3", "plain", S), (neomutt, "pop3", *BY_TOKEN[0])]  # its POP3 takes the best that SASL has, whatever it is told
TABLE += [(p, "pop3", "user", "PLAIN") for p in (mutt, neomutt)]
TABLE += [(offlineimap, "imap", m, m) for m in ("PLAIN", "XOAUTH2")] + [(offlineimap, "imap", "LOGIN", "PLAIN")]


def secrets(mech):
    """The right one, and those that are not."""
    if mech == "EXTERNAL":
        return _made["mine"], [_made["others"]]
    if mech in ("OAUTHBEARER", "XOAUTH2"):
        return token(USER), [token(OTHER), token(USER, good=False), "nonsense"]
    return PASSWORD, ["wrong"]


LINES = {"imap": r"imap-login: Login: user=<%s>, method=%s,", "pop3": r"pop3-login: Login: user=<%s>, method=%s,",
         "smtp": r"sasl_method=%s, sasl_username=%s"}


def log_ins(proto, mech):
    words = (mech, re.escape(USER)) if proto == "smtp" else (re.escape(USER), mech)
    return len(re.findall(LINES[proto] % words, stack().log()))


def row(program, proto, how, mech):
    what = "%s, %s, %s%s" % (program.__name__, proto, mech, " (%s)" % how if how else "")
    right, wrong = secrets(mech)
    before = log_ins(proto, mech)
    r = program(proto, how, mech, right)
    if not r.is_in:
        return "%s: does not come in: %s" % (what, r.said[-700:])
    try:
        wait_for(lambda: log_ins(proto, mech) > before, 5, "")
    except Failed:
        return "%s: the log has no log-in by %s" % (what, mech)
    time.sleep(0.05)
    before = log_ins(proto, mech)
    for w in wrong[:1] if program in (mutt, neomutt) else wrong:  # they let one read for seconds what was wrong
        r = program(proto, how, mech, w)
        if r.is_in:
            return "%s: comes in with a wrong secret" % what
    if log_ins(proto, mech) != before:
        return "%s: the log has a log-in with a wrong secret" % what


def add(name):
    def f():
        stack()
        bad = [b for b in (row(*t) for t in TABLE if t[0].__name__ == name) if b]
        check(not bad, "%d of %d:\n%s" % (len(bad), sum(t[0].__name__ == name for t in TABLE), "\n".join(bad)))
    f.__name__ = name
    case(f)


for _name in dict.fromkeys(t[0].__name__ for t in TABLE):
    add(_name)

main()
