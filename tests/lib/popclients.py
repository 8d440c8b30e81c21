"""Programs that fetch mail by POP3 and remember by UIDL what they have: getmail6, fetchmail, mpop. Each has a home of its own:

    c = Mpop(tmp("mpop"), port, cert_file, "u0@example.com")
    c.fetch()                 # [octets]: what it brought this time, lines ended by LF
    c.fetch(keep=False)       # and deletes at the server what it brings, and what it has brought before

secure: "" (in the clear), "stls", "tls". What they remember belongs to host, port and user: who takes a server's place has
its port.
"""
import glob
import os

from harness import check, need, ref, ref_env, run
from refstack import fetch


class Client:
    name = ""
    secures = ("", "stls", "tls")

    def __init__(self, home, port, cert_file, user, password="pass", secure="", options=()):
        self.home, self.port, self.cert, self.user, self.password = home, port, cert_file, user, password
        self.secure, self.options = secure, list(options)
        self.status = None
        os.makedirs(home)
        for sub in ("in", "in/new", "in/cur", "in/tmp"):
            os.makedirs(os.path.join(home, sub), exist_ok=True)

    def path(self, *inside):
        return os.path.join(self.home, *inside)

    def put(self, name, text, mode=0o600):
        with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as f:
            f.write(text)
        os.chmod(self.path(name), mode)

    def taker(self):
        """A program that takes one message from its standard input."""
        self.put("take", "#!/bin/sh\nat=%s/$$\n[ -e $at ] && at=$at.1\nexec cat >$at\n" % self.path("in", "new"), 0o700)
        return self.path("take")

    def brought(self):
        out = []
        for path in sorted(glob.glob(self.path("in", "new", "*"))):
            with open(path, "rb") as f:
                out.append(f.read().replace(b"\r\n", b"\n"))
            os.unlink(path)
        return out

    def fetch(self, keep=True, timeout_s=120):
        """It must not complain."""
        r = self.run(keep, timeout_s)
        check(self.is_good(r), "%s%s: exit status %d\n%s" % (self.name, " " + self.secure, r.returncode, self.said))
        return self.brought()

    def run(self, keep=True, timeout_s=120):
        r = run(self.argv(keep), env=dict(self.env(), HOME=self.home), timeout_s=timeout_s)
        self.said = r.stdout.decode(errors="replace") + r.stderr.decode(errors="replace")
        return r

    def env(self):
        return os.environ

    def is_good(self, r):
        return r.returncode == 0


class Getmail(Client):
    name = "getmail"
    secures = ("", "tls")

    def argv(self, keep):
        self.put("rc", "[retriever]\ntype = %s\nserver = localhost\nport = %d\nusername = %s\npassword = %s\n%s%s"
                 "[destination]\ntype = MDA_external\npath = %s\nallow_root_commands = true\nunixfrom = false\n[options]\ndelete = %s\nread_all = false\ndelivered_to = false\n"
                 "received = false\nverbose = 1\n"
                 % ({"": "SimplePOP3Retriever", "tls": "SimplePOP3SSLRetriever"}[self.secure], self.port, self.user, self.password,
                    "ca_certs = %s\n" % self.cert if self.secure else "", "".join(o + "\n" for o in self.options),
                    self.taker(), "false" if keep else "true"))
        return [need("getmail"), "--getmaildir", self.home, "--rcfile", "rc"]

    def is_good(self, r):
        return r.returncode == 0 and "rror" not in self.said and "arning" not in self.said


class Fetchmail(Client):
    name = "fetchmail"

    def argv(self, keep):
        tls = {"": "sslproto ''", "stls": "sslproto TLS1.2+ sslcertck sslcertfile '%s'" % self.cert,
               "tls": "ssl sslcertck sslcertfile '%s'" % self.cert}[self.secure]
        self.put("rc", "defaults no rewrite pass8bits no mimedecode\n"
                 "poll localhost protocol pop3 uidl service %d user '%s' password '%s' %s %s mda '%s' %s\n"
                 % (self.port, self.user, self.password, tls, "keep" if keep else "no keep fetchall", self.taker(),
                    " ".join(self.options)))
        return [need("fetchmail"), "-f", self.path("rc"), "--nosyslog", "--pidfile", self.path("pid"), "-i", self.path("ids")]

    def env(self):
        return dict(os.environ, FETCHMAILHOME=self.home)

    def is_good(self, r):
        return r.returncode in (0, 1)  # 1: there was no mail


class Mpop(Client):
    name = "mpop"

    def argv(self, keep):
        fetch("mpop")
        self.put("rc", "account default\nhost localhost\nport %d\nuser %s\npassword %s\ntls %s\ntls_starttls %s\n"
                 "delivery maildir %s\nuidls_file %s\nkeep %s\nreceived_header off\n%s%s"
                 % (self.port, self.user, self.password, "on" if self.secure else "off", "on" if self.secure == "stls" else "off",
                    self.path("in"), self.path("uidls"), "on" if keep else "off",
                    "tls_trust_file %s\n" % self.cert if self.secure else "",
                    "".join(o + "\n" for o in self.options or (["auth user"] if not self.secure else []))))
        return [ref("usr/bin/mpop"), "-C", self.path("rc")]

    def env(self):
        return ref_env()


CLIENTS = (Getmail, Fetchmail, Mpop)
