"""Other people's servers as places where our mail goes: Postfix, Exim, OpenSMTPD by SMTP, Dovecot and Cyrus by LMTP, all out of
Debian's packages, in one root folder and one namespace (tests/lib/refstack.py).

    with Peers(tmp("peers"), relay_to=PORT) as p:
        p.route                                # {domain: transport}, as transport_maps has them
        p.messages("ok1@exim.test")            # [octets] of every message that address has, lines ended by LF

Addresses: ok1 to ok9 at postfix.test, exim.test, osmtpd.test, dovecot.test, cyrus.test. Nobody else exists there.
The SMTP servers send what they have for example.com (their reports) to the port relay_to.
"""
import glob
import os
import subprocess

from harness import free_port, wait_for, wait_port
from refstack import UIDS, RefStack, fetch

LOCALS = ["ok%d" % i for i in range(1, 10)]
UID = 61020  # of whom the others run as, and their users

EXIM = """\
primary_hostname = exim.test
domainlist ours = exim.test
daemon_smtp_ports = %(port)d
local_interfaces = 127.0.0.1
tls_advertise_hosts = *
tls_certificate = %(live)s/fullchain.pem
tls_privatekey = %(live)s/privkey.pem
log_file_path = /var/log/exim/%%slog
log_selector = +tls_cipher
spool_directory = /var/spool/exim4
acl_smtp_rcpt = check_rcpt
dsn_advertise_hosts = *
host_lookup =
rfc1413_hosts =
keep_environment =
never_users =
message_size_limit = 20M
begin acl
check_rcpt:
  accept domains = +ours
         local_parts = %(locals)s
  deny message = no such user here
begin routers
ours:
  driver = accept
  local_parts = %(locals)s
  transport = maildir
others:
  driver = manualroute
  domains = example.com
  route_list = * 127.0.0.1::%(back)d
  self = send
  transport = smtp
begin transports
maildir:
  driver = appendfile
  directory = /var/mail/exim/$local_part_data
  maildir_format
  user = Debian-exim
smtp:
  driver = smtp
"""
OSMTPD = """\
pki osmtpd.test cert "/etc/osmtpd.pem"
pki osmtpd.test key "/etc/osmtpd.key"
listen on 127.0.0.1 port %(port)d tls pki osmtpd.test hostname osmtpd.test
action "local" maildir "/var/mail/osmtpd/%%{user.username}"
action "back" relay host "smtp://127.0.0.1:%(back)d"
match from any for domain "osmtpd.test" action "local"
match from local for domain "example.com" action "back"
"""
CYRUS = """\
START {
  recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -r"
}
SERVICES {
  lmtpunix cmd="/usr/lib/cyrus/bin/lmtpd" listen="/run/cyrus/socket/lmtp" prefork=1
  lmtp cmd="/usr/lib/cyrus/bin/lmtpd -a" listen="127.0.0.1:%d" prefork=0
}
EVENTS {
}
"""
IMAPD = """\
configdirectory: /var/lib/cyrus
proc_path: /run/cyrus/proc
mboxname_lockpath: /run/cyrus/lock
defaultpartition: default
partition-default: /var/spool/cyrus/mail
mboxlist_db: twoskip
admins: cyrus
virtdomains: off
unixhierarchysep: no
altnamespace: no
autocreate_post: 1
autocreate_quota: 0
autocreate_users: %s
lmtpsocket: /run/cyrus/socket/lmtp
duplicatesuppression: 0
sasl_pwcheck_method: auxprop
"""


class Peers(RefStack):
    def __init__(self, workdir, relay_to):
        self.relay_to = relay_to
        self.exim, self.osmtpd, self.dovecot, self.cyrus = (free_port() for _ in range(4))
        super().__init__(workdir, parts=("dovecot", "postfix"), users={"%s@dovecot.test" % n: "pass" for n in LOCALS},
                         main_cf=["myhostname = postfix.test", "mydestination =", "virtual_mailbox_domains = postfix.test",
                                  "virtual_mailbox_base = /var/mail/vhosts", "virtual_transport = virtual", "virtual_alias_maps =",
                                  "virtual_mailbox_maps = inline:{%s}" % ", ".join("{ %s@postfix.test = postfix.test/%s/ }" % (n, n) for n in LOCALS),
                                  "virtual_uid_maps = static:%d" % UIDS["vmail"], "virtual_gid_maps = static:%d" % UIDS["vmail"],
                                  "smtpd_tls_received_header = yes", "relayhost = [127.0.0.1]:%d" % relay_to,
                                  "message_size_limit = 20000000", "virtual_mailbox_limit = 0",
                                  "smtpd_sender_restrictions =", "smtpd_helo_restrictions =",
                                  "smtpd_recipient_restrictions =", "maximal_queue_lifetime = 0"],
                         dovecot_conf=["service lmtp {\n  inet_listener lmtp {\n    address = 127.0.0.1\n    port = %d\n  }\n}" % self.dovecot])

    @property
    def route(self):
        return {"postfix.test": "smtp:[127.0.0.1]:%d" % self.ports["smtp"], "exim.test": "smtp:[127.0.0.1]:%d" % self.exim,
                "osmtpd.test": "smtp:[127.0.0.1]:%d" % self.osmtpd, "dovecot.test": "lmtp:inet:127.0.0.1:%d" % self.dovecot,
                "cyrus.test": "lmtp:inet:127.0.0.1:%d" % self.cyrus}

    cyrus_socket = property(lambda s: s.path("run/cyrus/socket/lmtp"))

    def build_system(self):
        super().build_system()
        accounts = [("Debian-exim", UID, "/var/spool/exim4"), ("opensmtpd", UID + 1, "/var/lib/opensmtpd/empty"),
                    ("opensmtpq", UID + 2, "/var/lib/opensmtpd/empty"), ("cyrus", UID + 3, "/var/spool/cyrus")]
        accounts += [(n, UID + 10 + i, "/home/" + n) for i, n in enumerate(LOCALS)]
        with open(self.path("etc/passwd"), "a") as f:
            f.writelines("%s:x:%d:%d::%s:/bin/sh\n" % (n, uid, uid if n != "cyrus" else 8, home) for n, uid, home in accounts)
        with open(self.path("etc/group"), "a") as f:
            f.writelines("%s:x:%d:\n" % (n, uid) for n, uid, _ in accounts)
        for n, uid, home in accounts:
            if n in LOCALS:
                self.own(home[1:], uid)
        live = {"back": self.relay_to, "live": "/etc/letsencrypt/live/example.com", "locals": " : ".join(LOCALS)}
        self.own("var/log/exim", UID)
        self.own("var/spool/exim4", UID)
        self.own("var/mail/exim", UID)
        os.chmod(self.path("etc/letsencrypt/live/example.com/privkey.pem"), 0o640)
        os.chown(self.path("etc/letsencrypt/live/example.com/privkey.pem"), 0, UID)
        self.put("etc/exim4/exim4.conf", EXIM % dict(live, port=self.exim))
        # its process that keeps the key knows no other kind
        openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=osmtpd.test",
                   "-keyout", self.path("etc/osmtpd.key"), "-out", self.path("etc/osmtpd.pem")]
        subprocess.run(openssl, check=True, stderr=subprocess.DEVNULL)
        os.chmod(self.path("etc/osmtpd.key"), 0o600)
        self.own("var/lib/opensmtpd/empty", 0, 0o711)
        for d, uid, mode in (("", 0, 0o711), ("/purge", UID + 2, 0o700), ("/queue", UID + 2, 0o700), ("/corrupt", UID + 2, 0o700),
                             ("/temporary", UID + 2, 0o700), ("/incoming", UID + 2, 0o700), ("/offline", 0, 0o770)):
            self.own("var/spool/smtpd" + d, uid, mode)
        os.chown(self.path("var/spool/smtpd/offline"), 0, UID + 2)
        self.own("var/mail/osmtpd", 0, 0o1777)
        os.symlink("../run", self.path("var/run"))
        self.put("etc/smtpd.conf", OSMTPD % dict(live, port=self.osmtpd))
        for d in ("var/lib/cyrus", "var/spool/cyrus", "var/spool/cyrus/mail", "run/cyrus", "run/cyrus/socket", "run/cyrus/proc", "run/cyrus/lock",
                  *("var/lib/cyrus/" + d for d in ("db", "msg", "log", "proc", "ptclient", "quota", "socket", "user"))):
            self.own(d, UID + 3)
        self.put("etc/cyrus.conf", CYRUS % self.cyrus)
        self.put("etc/imapd.conf", IMAPD % " ".join(LOCALS))

    def own(self, inside, uid, mode=0o755):
        self.folder(inside, mode=mode)
        os.chown(self.path(inside), uid, {UID + 2: 0, UID + 3: 8}.get(uid, uid))

    def start(self):
        fetch("exim4-daemon-light", "exim4-config", "opensmtpd", "cyrus-imapd", "tzdata")
        super().start()
        try:
            self.spawn("exim4", "-bdf", "-q1h")
            self.spawn("/packed/usr/sbin/smtpd", "-d")
            self.spawn("cyrmaster")
            for port in (self.exim, self.osmtpd, self.dovecot, self.cyrus):
                wait_port(port, 20)
            wait_for(lambda: os.path.exists(self.cyrus_socket), 20, "Cyrus' socket")
            os.chmod(self.cyrus_socket, 0o777)
        except BaseException as e:
            print(self.log())
            self.stop()
            raise
        return self

    def log(self):
        out = super().log()
        for f in ("var/log/exim/mainlog", "var/log/exim/paniclog", "var/log/spawn.log"):
            if os.path.exists(self.path(f)):
                with open(self.path(f), errors="replace") as h:
                    out += h.read()
        return out

    def messages(self, address):
        name, domain = address.split("@")
        if domain == "cyrus.test":
            folder = self.run("/usr/lib/cyrus/bin/mbpath", "-l", "user." + name, check=False).strip()
            return self.read(folder.lstrip("/") + "/[0-9]*.") if folder.startswith("/") else []
        where = {"postfix.test": "var/mail/vhosts/postfix.test/%s/new/*", "exim.test": "var/mail/exim/%s/new/*",
                 "osmtpd.test": "var/mail/osmtpd/%s/new/*", "dovecot.test": "var/mail/vhosts/dovecot.test/%s/new/*"}[domain]
        return self.read(where % name)

    def read(self, pattern):
        out = []
        for path in glob.glob(self.path(pattern)):
            with open(path, "rb") as f:
                out.append(f.read().replace(b"\r\n", b"\n"))
        return out

    __enter__ = start
