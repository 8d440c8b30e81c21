"""Postern as a whole, started from the guide's own main.cf and SQL, for tests and benchmarks.

    with Stack(tmp("stack"), users=["u0@example.com"]) as s:
        smtplib.SMTP("127.0.0.1", s.ports["smtp"])

WORKDIR holds everything: main.cf is the guide's file unchanged with ports, paths and certificate files in trailing lines,
the users' database is made by `postern sql` from the guide's SQL unchanged. Listens on 127.0.0.1 (and what `listen_host`
says). Runs as whoever runs the test.
"""
import os
import shutil
import subprocess

from harness import TOP, Failed, check, free_port, program, run, start, wait_for
from refstack import ALIASES, count_messages, hash_password, pss_kib

GUIDE = os.path.join(TOP, "tests", "guide")
PORTS = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")
MAPS = {
    "mysql-virtual-mailbox-domains.cf": "SELECT 1 FROM virtual_domains WHERE name='%s'",
    "mysql-virtual-mailbox-maps.cf": "SELECT 1 FROM virtual_users WHERE email='%s'",
    "mysql-virtual-alias-maps.cf": "SELECT destination FROM virtual_aliases WHERE source='%s'",
    "mysql-virtual-email2email.cf": "SELECT email FROM virtual_users WHERE email='%s'",
}
MAP_HEAD = "user = mailuser\npassword = mailuserpass\nhosts = 127.0.0.1\ndbname = mailserver\n"
START_S = 60  # a sanitizer build on a busy machine


def guide(name):
    with open(os.path.join(GUIDE, name)) as f:
        return f.read()


def make_certificate(folder, names=("example.com", "localhost", "127.0.0.1")):
    """A self-signed certificate; (chain, key) paths."""
    os.makedirs(folder, exist_ok=True)
    chain, key = os.path.join(folder, "fullchain.pem"), os.path.join(folder, "privkey.pem")
    alt = ",".join(("IP:" if n.replace(".", "").isdigit() else "DNS:") + n for n in names)
    r = run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
             "-subj", "/CN=" + names[0], "-addext", "subjectAltName=" + alt, "-keyout", key, "-out", chain])
    check(r.returncode == 0, "openssl req: %r" % r.stderr)
    return chain, key


class Stack:
    """
    workdir   made if absent, removed by stop() if it was made here; sockets below it need a short path
    users     {address: password} or a list of addresses (password "pass"), beside the guide's email1 and email2
    aliases   {source: [destination, ...]} beside the guide's alias@; None: those of the recorded dialogues
    domains   hosted domains beside the guide's
    extra_conf  lines put last into main.cf
    resolver  "address:port" of the DNS server (tests/lib/dnsd.py), or None for the system's
    ports     {name: number} for any of PORTS; the others are chosen
    wrapper   words put before `postern`, e.g. ["strace", "-f", "-o", FILE]
    """

    def __init__(self, workdir, users=(), aliases=None, domains=(), extra_conf=(), resolver=None, ports=None, keep=False,
                 listen_host="127.0.0.1", wrapper=()):
        self.workdir = os.path.abspath(workdir)
        self.users = dict(users) if isinstance(users, dict) else {u: "pass" for u in users}
        self.aliases = dict(ALIASES if aliases is None else aliases)
        self.domains = list(domains)
        self.extra_conf = [extra_conf] if isinstance(extra_conf, str) else list(extra_conf)
        self.resolver, self.keep, self.host, self.wrapper = resolver, keep, listen_host, list(wrapper)
        self.ports = {n: (ports or {}).get(n) or free_port() for n in PORTS}
        self.process = None
        self.made = False
        self.configured = False

    def path(self, *inside):
        return os.path.join(self.workdir, *inside)

    main_cf = property(lambda s: s.path("main.cf"))
    mail_root = property(lambda s: s.path("mail"))
    queue_dir = property(lambda s: s.path("queue"))
    cert_file = property(lambda s: s.path("tls", "fullchain.pem"))

    def maildir(self, address):
        user, domain = address.lower().split("@")
        return os.path.join(self.mail_root, domain, user)

    # ------------------------------------------------------------------------------------- files

    def trailing_lines(self):
        chain, key = self.certificate
        lines = ["", "# Ports, paths and certificates of this test; above is the guide's file, unchanged."]
        lines += ["listen_%s = %s:%d" % (n, self.host, self.ports[n]) for n in PORTS]
        lines += ["queue_directory = " + self.queue_dir, "data_directory = " + self.path("data"),
                  "config_directory = " + self.workdir, "mail_location = maildir:%s/%%d/%%n" % self.mail_root,
                  "alias_maps = hash:%s" % self.path("aliases"), "alias_database = $alias_maps",
                  "smtpd_tls_cert_file = " + chain, "smtpd_tls_key_file = " + key]
        lines += ["virtual_mailbox_domains = mysql:%s" % self.path("mysql-virtual-mailbox-domains.cf"),
                  "virtual_mailbox_maps = mysql:%s" % self.path("mysql-virtual-mailbox-maps.cf"),
                  "virtual_alias_maps = mysql:%s, mysql:%s" % (self.path("mysql-virtual-alias-maps.cf"),
                                                              self.path("mysql-virtual-email2email.cf"))]
        if self.resolver:
            lines.append("dns_resolvers = " + self.resolver)
        return lines + self.extra_conf

    def sql_users(self):
        def text(s):
            return "'" + s.replace("\\", "\\\\").replace("'", "\\'") + "'"

        out = ["INSERT INTO virtual_domains (name) VALUES (%s);" % text(d) for d in self.domains]
        for address, password in self.users.items():
            out.append("INSERT INTO virtual_users (domain_id, password, email) VALUES ((SELECT id FROM virtual_domains"
                       " WHERE name = %s), %s, %s);" % (text(address.split("@")[1]), text(hash_password(password)), text(address)))
        for source, to in self.aliases.items():
            for d in to:
                out.append("INSERT INTO virtual_aliases (domain_id, source, destination) VALUES ((SELECT id FROM"
                           " virtual_domains WHERE name = %s), %s, %s);" % (text(source.split("@")[1]), text(source), text(d)))
        return "\n".join(out) + "\n"

    def configure(self):
        """Write everything; start() does so when nobody has."""
        self.made = not os.path.isdir(self.workdir)
        os.makedirs(self.workdir, exist_ok=True)
        for folder in ("mail", "queue", "data"):
            os.makedirs(self.path(folder), exist_ok=True)
        for name, query in MAPS.items():
            with open(self.path(name), "w") as f:
                f.write(MAP_HEAD + "query = " + query + "\n")
        with open(self.path("aliases"), "w") as f:
            f.write("postmaster: email1@example.com\nroot: email1@example.com\n")
        self.certificate = make_certificate(self.path("tls"))
        self.write_main_cf()
        self.postern("sql", input=guide("mailserver.sql").encode())
        if self.users or self.aliases or self.domains:
            self.postern("sql", input=self.sql_users().encode())
        self.configured = True

    def write_main_cf(self):
        """Again after extra_conf was changed, and before postern("reload")."""
        with open(self.main_cf, "w") as f:
            f.write(guide("main.cf") + "\n".join(self.trailing_lines()) + "\n")

    # ------------------------------------------------------------------------------------- running

    def postern(self, *argv, input=None, ok=True, timeout_s=60):
        """Run `postern -c main.cf ARGV`; its output as text. ok: any other exit status than 0 fails."""
        r = run([program("postern"), "-c", self.main_cf] + list(argv), input=input, timeout_s=timeout_s)
        if ok and r.returncode != 0:
            raise Failed("postern %s exited with %d: %s%s" % (" ".join(argv), r.returncode, r.stdout.decode(errors="replace"),
                                                            r.stderr.decode(errors="replace")))
        return r.stdout.decode(errors="replace") if ok else r

    def start(self):
        if not self.configured:
            self.configure()
        self.process = start(self.wrapper + [program("postern"), "-c", self.main_cf, "serve"], name="postern")
        self.wait_ready()
        return self

    def is_ready(self):
        if not self.process.alive():
            raise Failed("postern serve ended with %s:\n%s" % (self.process.popen.returncode, self.process.text()))
        return subprocess.run([program("postern"), "-c", self.main_cf, "status"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def wait_ready(self, timeout_s=START_S):
        wait_for(self.is_ready, timeout_s, "postern ready")

    def log(self):
        return self.process.text()

    def pids(self):
        """{pid: program name} of the supervisor and all it started."""
        found, todo = {}, [self.process.pid]
        while todo:
            pid = todo.pop()
            try:
                with open("/proc/%d/comm" % pid) as f:
                    found[pid] = f.read().strip()
                tasks = os.listdir("/proc/%d/task" % pid)
            except OSError:
                continue
            for task in tasks:
                try:
                    with open("/proc/%d/task/%s/children" % (pid, task)) as f:
                        todo += [int(p) for p in f.read().split()]
                except OSError:
                    pass
        return found

    def pids_of(self, name):
        return [pid for pid, n in self.pids().items() if n == name]

    def pss_kib(self):
        return pss_kib(self.pids())

    def count_messages(self):
        return count_messages(self.mail_root)

    def wait_delivered(self, count, timeout_s=60):
        wait_for(lambda: self.count_messages() >= count, timeout_s, "%d messages in the Maildirs" % count)

    def stop(self):
        status = None
        if self.process is not None:
            if self.wrapper and self.process.alive():  # strace keeps SIGTERM to itself
                self.postern("stop", ok=False)
                status = self.process.wait(60)
            else:
                status = self.process.stop(timeout_s=30)
            self.process = None
        if self.made and not self.keep:
            shutil.rmtree(self.workdir, ignore_errors=True)
        return status

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()
