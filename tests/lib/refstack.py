"""The guide's set-up as it really is: Postfix, Dovecot and MariaDB out of Debian's packages, for tests and benchmarks.

    with RefStack("/tmp/ref", users={"u0@example.com": "pass"}) as ref:
        smtp_source("127.0.0.1", ref.ports["smtp"], 20, rcpt="u0@example.com")
        ref.wait_delivered(20)

Nothing is installed: tools/fetch-peer.sh unpacks the packages, and the servers run in a root folder of their own
(WORKDIR/root) with its own /etc/passwd, in private mount and process namespaces. TCP ports are the machine's, on 127.0.0.1.
The first process of the namespace waits on a pipe from this one: when that closes, by stop() or because the test was killed,
the kernel kills whatever is in it. Needs root; without it start() raises harness.Skip.
"""
import contextlib
import glob
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

from harness import TOP, Failed, Skip, free_port, ref_env, wait_for, wait_port

GUIDE = os.path.join(TOP, "tests", "guide")
PACKED = os.path.join(TOP, "build", "ref")

PACKAGES = {
    "postfix": ["postfix", "postfix-mysql", "postfix-sqlite"],
    "dovecot": ["dovecot-core", "dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd", "dovecot-mysql", "dovecot-sqlite"],
    "mariadb": ["mariadb-server-core", "mariadb-client-core"],
}
PORTS = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "mysql")
# Numbers that no account of the machine is likely to have; vmail's is the guide's.
UIDS = {"vmail": 5000, "postfix": 61001, "dovecot": 61003, "dovenull": 61004, "mysql": 61006}
POSTDROP_GID = 61002
ALIASES = {"all@example.com": ["u0@example.com", "u1@example.com", "u2@example.com"],
           "fwd@example.com": ["someone@remote.test"],
           "loop1@example.com": ["loop2@example.com"], "loop2@example.com": ["loop1@example.com"]}
MAPS = {
    "mysql-virtual-mailbox-domains.cf": "SELECT 1 FROM virtual_domains WHERE name='%s'",
    "mysql-virtual-mailbox-maps.cf": "SELECT 1 FROM virtual_users WHERE email='%s'",
    "mysql-virtual-alias-maps.cf": "SELECT destination FROM virtual_aliases WHERE source='%s'",
    "mysql-virtual-email2email.cf": "SELECT email FROM virtual_users WHERE email='%s'",
}

# The machine's own programs and libraries are at /host/usr; the unpacked packages are /usr.
ENTER = r"""set -e
root=$1; packed=$2; shift 2
bind() { mkdir -p "$2"; mount --bind "$1" "$2"; }
bind "$packed/usr" "$root/usr"; mount -o remount,bind,ro "$root/usr"
bind "$packed" "$root/packed"; mount -o remount,bind,ro "$root/packed"
bind /usr "$root/host/usr"; mount -o remount,bind,ro "$root/host/usr"
for d in "$root"/host/usr/lib/*-linux-gnu/gconv; do
    at=$root/usr/${d#"$root"/host/usr/}
    if [ -d "$at" ]; then mount --bind "$d" "$at"; fi
done
for d; do bind "$d" "$root$d"; done
for n in null zero full random urandom tty; do
    : >"$root/dev/$n"; mount --bind "/dev/$n" "$root/dev/$n"
done
mount -t proc proc "$root/proc"
exec chroot "$root" /bin/sh -c 'ldconfig; echo ready; read -r end || :'
"""


def fetch(*packages):
    """Unpack packages into build/ref; quick when they are there."""
    r = subprocess.run([os.path.join(TOP, "tools", "fetch-peer.sh"), *packages], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True)
    if r.returncode != 0:
        raise Skip("fetch-peer.sh: %s" % (r.stdout.strip().splitlines() or ["failed"])[-1])


def hash_password(password, _known={}):
    """SHA512-CRYPT, as the guide's ENCRYPT() makes them. One hash for each distinct password."""
    if password not in _known:
        _known[password] = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=password + "\n",
                                          stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return _known[password]


def pss_kib(pids):
    """Proportional set size of these processes, in KiB. One that ends meanwhile counts nothing."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open("/proc/%d/smaps_rollup" % pid) as f:
            for line in f:
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def messages(mail_root):
    """The files in new/ and cur/ of every ROOT/domain/user, as os.DirEntry."""
    for sub in ("new", "cur"):
        for folder in glob.iglob(os.path.join(mail_root, "*", "*", sub)):
            yield from os.scandir(folder)


def count_messages(mail_root):
    return sum(1 for _ in messages(mail_root))


class RefStack:
    """
    workdir      made if absent, and removed by stop() if it was made here; sockets below it need a short path
    ports        {name: number} for any of PORTS; the others are chosen
    parts        which of "mariadb", "postfix", "dovecot" to start. Without MariaDB, users and aliases come from files with the
                 same content
    users        {address: password} or a list of addresses (password "pass"), beside the guide's email1 and email2
    aliases      {source: [destination, ...]} beside the guide's alias@
    main_cf      lines put after the guide's main.cf, e.g. ["virtual_transport = lmtp:inet:127.0.0.1:2424"]
    dovecot_conf lines put after the reference dovecot.conf
    auth_socket, lmtp_socket   further paths for Dovecot's services, outside the root folder (mode 0666)
    share        folders of the machine that the servers see under the same path (for sockets of the server under test)
    resolver     address of the DNS server, which must be on port 53; tests/lib/dnsd.py can be on 127.53.x.y
    packed       "/" takes the programs that are installed; by default they are unpacked under build/ref
    """

    def __init__(self, workdir, ports=None, parts=("mariadb", "postfix", "dovecot"), users=(), aliases=None, main_cf=(),
                 dovecot_conf=(), auth_socket=None, lmtp_socket=None, share=(), resolver=None, keep=False, packed=PACKED):
        self.workdir = os.path.abspath(workdir)
        self.root = os.path.join(self.workdir, "root")
        self.parts = tuple(parts)
        self.ports = {n: (ports or {}).get(n) or free_port() for n in PORTS}
        self.users = dict(users) if isinstance(users, dict) else {u: "pass" for u in users}
        self.aliases = dict(aliases or {})
        self.main_cf, self.dovecot_conf = list(main_cf), list(dovecot_conf)
        self.auth_socket, self.lmtp_socket = auth_socket, lmtp_socket
        self.share = sorted({os.path.abspath(p) for p in share} |
                            {os.path.dirname(os.path.abspath(p)) for p in (auth_socket, lmtp_socket) if p})
        self.resolver = resolver
        self.keep = keep
        self.packed = packed
        self.init = None          # the first process of the namespace, as this side numbers it
        self.holder = None        # unshare(1), which holds it
        self.made = False

    mail_root = property(lambda s: os.path.join(s.root, "var/mail/vhosts"))
    cert_file = property(lambda s: os.path.join(s.root, "etc/letsencrypt/live/example.com/fullchain.pem"))
    queue_dir = property(lambda s: os.path.join(s.root, "var/spool/postfix"))

    # ------------------------------------------------------------------------------------- files

    def path(self, inside):
        return os.path.join(self.root, inside.lstrip("/"))

    def put(self, inside, text, mode=0o644, owner=None):
        path = self.path(inside)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        if owner:
            os.chown(path, UIDS[owner], UIDS[owner])

    def folder(self, inside, owner=None, mode=0o755, gid=None):
        path = self.path(inside)
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        if owner:
            os.chown(path, UIDS[owner], UIDS[owner] if gid is None else gid)

    @staticmethod
    def guide(name):
        with open(os.path.join(GUIDE, name)) as f:
            return f.read()

    def build_system(self):
        """/etc and the empty folders of a small Debian."""
        for d in ("dev", "proc", "run", "host", "packed", "usr", "root"):
            self.folder(d)
        self.folder("tmp", mode=0o1777)
        self.folder("var/tmp", mode=0o1777)
        for d in ("bin", "sbin", "lib", "lib64"):
            os.symlink("host/usr/" + d, self.path(d))
        names = ["root:x:0:0::/root:/bin/sh", "nobody:x:65534:65534::/:/bin/false"]
        groups = ["root:x:0:", "mail:x:8:", "nogroup:x:65534:", "postdrop:x:%d:" % POSTDROP_GID]
        for n, uid in UIDS.items():
            names.append("%s:x:%d:%d::/:/bin/false" % (n, uid, uid))
            groups.append("%s:x:%d:" % (n, uid))
        self.put("etc/passwd", "\n".join(names) + "\n")
        self.put("etc/group", "\n".join(groups) + "\n")
        self.put("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n")
        self.put("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
        self.put("etc/services", "smtp 25/tcp mail\nlmtp 24/tcp\nsubmission 587/tcp\nsubmissions 465/tcp\n"
                                 "imap2 143/tcp imap\nimaps 993/tcp\npop3 110/tcp\npop3s 995/tcp\nmysql 3306/tcp\n")
        if self.resolver:
            self.put("etc/resolv.conf", "nameserver %s\n" % self.resolver)
        elif os.path.exists("/etc/resolv.conf"):
            shutil.copy("/etc/resolv.conf", self.path("etc/resolv.conf"))
        dirs = [os.path.relpath(d, "/") for d in glob.glob("/usr/lib/*-linux-gnu")]
        libs = ["/%s\n/packed/%s\n/host/%s\n" % (d, d[len("usr/"):], d) for d in dirs]
        self.put("etc/ld.so.conf", "".join(libs) + "/host/usr/lib\n")
        for d in dirs if self.packed != "/" else ():  # mount points
            os.makedirs(os.path.join(self.packed, d, "gconv"), exist_ok=True)
        self.put("etc/aliases", "postmaster: root\n")
        self.put("etc/mailname", "example.com\n")
        live = "etc/letsencrypt/live/example.com"
        self.folder(live)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "30", "-subj", "/CN=example.com", "-addext",
                        "subjectAltName=DNS:example.com,DNS:localhost,IP:127.0.0.1", "-keyout", self.path(live + "/privkey.pem"),
                        "-out", self.path(live + "/fullchain.pem")], check=True, stderr=subprocess.DEVNULL)
        self.folder("var/mail/vhosts", "vmail")

    def all_users(self):
        return {"email1@example.com": "password", "email2@example.com": "password", **self.users}

    def all_aliases(self):
        return {"alias@example.com": ["email1@example.com"], **self.aliases}

    def build_postfix(self):
        for d in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"):
            self.folder("var/spool/postfix/" + d, "postfix", 0o700)
        self.folder("var/spool/postfix/maildrop", "postfix", 0o730, POSTDROP_GID)
        self.folder("var/spool/postfix/public", "postfix", 0o710, POSTDROP_GID)
        self.folder("var/spool/postfix/pid")
        self.folder("var/lib/postfix", "postfix", 0o700)
        self.folder("etc/postfix")
        for f in ("postfix-files", "postfix-script", "post-install"):
            shutil.copy(os.path.join(self.packed, "etc/postfix", f), self.path("etc/postfix"))
        shutil.copy(os.path.join(self.packed, "usr/share/postfix/dynamicmaps.cf"), self.path("etc/postfix"))
        master = self.guide("reference/master.cf")
        for service, name in (("smtp", "smtp"), ("submission", "submission"), ("smtps", "submissions")):
            master, n = re.subn(r"(?m)^%s(\s+inet\s)" % service, r"127.0.0.1:%d\1" % self.ports[name], master)
            assert n == 1, service
        self.put("etc/postfix/master.cf", master)
        for f, query in MAPS.items():
            self.put("etc/postfix/" + f, "user = mailuser\npassword = mailuserpass\nhosts = inet:127.0.0.1:%d\n"
                     "dbname = mailserver\nquery = %s\n" % (self.ports["mysql"], query))
        if "mariadb" not in self.parts:
            users = list(self.all_users())
            domains = {"example.com", "hostname.example.com", "hostname", "localhost.example.com"}
            for name, rows in (("domains", [(d, "1") for d in sorted(domains)]), ("users", [(u, "1") for u in users]),
                               ("aliases", [(s, ", ".join(d)) for s, d in self.all_aliases().items()]),
                               ("email2email", [(u, u) for u in users])):
                self.put("etc/postfix/" + name, "".join("%s %s\n" % r for r in rows))
        self.folder("var/log")
        self.write_main_cf()

    def write_main_cf(self):
        """Again after main_cf was changed, and before postfix("reload")."""
        extra = ["maillog_file = /var/log/mail.log", "maillog_file_prefixes = /var"]
        if "mariadb" not in self.parts:
            extra += ["virtual_mailbox_domains = texthash:/etc/postfix/domains",
                      "virtual_mailbox_maps = texthash:/etc/postfix/users",
                      "virtual_alias_maps = texthash:/etc/postfix/aliases, texthash:/etc/postfix/email2email"]
        self.put("etc/postfix/main.cf", self.once(self.guide("main.cf") + "\n# tests\n" + "\n".join(extra + self.main_cf) + "\n"))
        old = time.time() - 10  # every process of Postfix waits a second or two while the file is new
        os.utime(self.path("etc/postfix/main.cf"), (old, old))

    @staticmethod
    def once(text):
        """Only the last setting of each name. Postfix warns of the others, and a handful of such warnings from every
        process that starts fills postlogd's socket before postlogd, which has warnings of its own to send there, reads it:
        nothing greets any more."""
        entries = re.split(r"\n(?![ \t])", text)
        last = {e.split("=")[0].strip(): i for i, e in enumerate(entries)}
        return "\n".join(e for i, e in enumerate(entries) if "=" not in e or e.startswith("#") or last[e.split("=")[0].strip()] == i)

    def build_dovecot(self):
        sql = self.guide("reference/dovecot-sql.conf.ext")
        if "mariadb" in self.parts:
            sql = sql.replace("host=127.0.0.1", "host=127.0.0.1 port=%d" % self.ports["mysql"])
        else:
            sql = re.sub(r"(?m)^connect = .*$", "connect = /etc/dovecot/mailserver.db",
                         sql.replace("driver = mysql", "driver = sqlite"))
            self.folder("etc/dovecot")
            with contextlib.closing(sqlite3.connect(self.path("etc/dovecot/mailserver.db"))) as db, db:
                db.execute("CREATE TABLE virtual_users (email TEXT PRIMARY KEY COLLATE NOCASE, password TEXT)")
                db.executemany("INSERT INTO virtual_users VALUES (?, ?)",
                               [(u, hash_password(p)) for u, p in self.all_users().items()])
        self.put("etc/dovecot/dovecot-sql.conf.ext", sql)
        extra = []
        for service, names in (("imap-login", ("imap", "imaps")), ("pop3-login", ("pop3", "pop3s"))):
            extra.append("service %s {" % service)
            extra += ["  inet_listener %s {\n    port = %d\n  }" % (n, self.ports[n]) for n in names]
            extra.append("}")
        for service, path in (("auth", self.auth_socket), ("lmtp", self.lmtp_socket)):
            if path:
                extra.append("service %s {\n  unix_listener %s {\n    mode = 0666\n  }\n}" % (service, os.path.abspath(path)))
        text = self.guide("reference/dovecot.conf").replace("DIR", "/etc/dovecot")
        self.put("etc/dovecot/dovecot.conf", text + "# tests\n" + "\n".join(extra + self.dovecot_conf) + "\n")
        self.folder("etc/dovecot/log")
        self.folder("var/lib/dovecot")
        self.folder("var/spool/postfix/private", "postfix", 0o700)

    def sql_users(self):
        """The guide's SQL as it stands, and the rows that the caller asked for."""
        def text(s):
            return "'%s'" % s.replace("\\", "\\\\").replace("'", "\\'")
        out = ["CREATE DATABASE mailserver;",
               "GRANT SELECT ON mailserver.* TO 'mailuser'@'127.0.0.1' IDENTIFIED BY 'mailuserpass';",
               "FLUSH PRIVILEGES;", "USE mailserver;", self.guide("mailserver.sql")]
        rows = ["(1, %s, %s)" % (text(hash_password(p)), text(u)) for u, p in self.users.items()]
        for i in range(0, len(rows), 500):
            out.append("INSERT INTO virtual_users (domain_id, password, email) VALUES %s;" % ",".join(rows[i:i + 500]))
        for source, dests in self.aliases.items():
            out += ["INSERT INTO virtual_aliases (domain_id, source, destination) VALUES (1, %s, %s);" % (text(source), text(d))
                    for d in dests]
        return "\n".join(out) + "\n"

    # ------------------------------------------------------------------------------------- processes

    def run(self, *argv, check=True, timeout=120, input=""):
        """Run a program inside; its output is returned as text."""
        cmd = ["nsenter", "-t", str(self.init), "-m", "-p", "-r", "-w", "--", "/host/usr/bin/env", "-i",
               "PATH=/usr/sbin:/usr/bin:/host/usr/sbin:/host/usr/bin", "LANG=C.UTF-8", *argv]
        with tempfile.TemporaryFile("w+") as put, tempfile.TemporaryFile("w+", errors="replace") as out:
            put.write(input)  # files: a daemon would keep a pipe open for ever
            put.seek(0)
            code = subprocess.run(cmd, stdin=put, stdout=out, stderr=subprocess.STDOUT, timeout=timeout).returncode
            out.seek(0)
            text = out.read()
        if check and code != 0:
            raise Failed("%s: exit %d: %s\n%s" % (argv[0], code, text.strip()[-2000:], self.log()[-2000:]))
        return text

    def sql(self, text):
        """Run SQL as the database's root."""
        return self.run("mariadb", "-N", "-B", "mailserver", input=text)

    def pids(self):
        """Every process of the stack, without the one that only holds the namespace."""
        try:
            mine = os.readlink("/proc/%d/ns/pid" % self.init)
        except (OSError, TypeError):
            return []
        out = []
        for p in os.listdir("/proc"):
            if p.isdigit() and int(p) != self.init:
                with contextlib.suppress(OSError):
                    if os.readlink("/proc/%s/ns/pid" % p) == mine:
                        out.append(int(p))
        return out

    def pss_kib(self):
        return pss_kib(self.pids())

    def log(self):
        out = ""
        for f in ("var/log/mail.log", "etc/dovecot/log/dovecot.log", "var/log/mariadb.log"):
            with contextlib.suppress(OSError), open(self.path(f), errors="replace") as h:
                out += h.read()
        return out

    def start(self):
        if os.geteuid() != 0:
            raise Skip("needs root, for a root folder and namespaces of its own")
        if self.packed != "/":
            fetch(*(p for part in ("postfix", "dovecot", "mariadb") if part in self.parts for p in PACKAGES[part]))
        self.made = not os.path.exists(self.workdir)
        os.makedirs(self.root)
        os.chmod(self.workdir, 0o755)  # mkdtemp's 0700 would keep vmail out
        try:
            self.build_system()
            for part in self.parts:
                if part != "mariadb":
                    getattr(self, "build_" + part)()
            self.enter()
            for part in ("mariadb", "dovecot", "postfix"):
                if part in self.parts:
                    getattr(self, "start_" + part)()
        except BaseException:
            self.stop()
            raise
        return self

    def enter(self):
        for d in self.share:
            os.makedirs(d, exist_ok=True)
        self.holder = subprocess.Popen(
            ["unshare", "-m", "-p", "-f", "--propagation", "private", "--kill-child=KILL", "sh", "-c", ENTER, "enter",
             self.root, self.packed, *self.share], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "ready\n":
            err = self.holder.communicate()[1].strip()
            if err.startswith("unshare:"):
                raise Skip("cannot make namespaces here: %s" % err)
            raise Failed("the reference's root folder: %s" % err)
        for p in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if p.isdigit():
                    with open("/proc/%s/stat" % p) as f:
                        if int(f.read().rpartition(")")[2].split()[1]) == self.holder.pid:
                            self.init = int(p)
        if self.init is None:
            raise Failed("the namespace's first process is not to be found")

    def start_mariadb(self):
        self.folder("var/lib/mysql", "mysql", 0o700)
        self.folder("run/mysqld", "mysql")
        self.folder("var/log")
        # Debian's 50-server.cnf says no more than this that matters here
        self.put("etc/mysql/my.cnf", "[mysqld]\nuser = mysql\nbasedir = /usr\ndatadir = /var/lib/mysql\ntmpdir = /tmp\n"
                 "pid-file = /run/mysqld/mysqld.pid\nsocket = /run/mysqld/mysqld.sock\nbind-address = 127.0.0.1\n"
                 "port = %d\nexpire_logs_days = 10\ncharacter-set-server = utf8mb4\ncollation-server = utf8mb4_general_ci\n"
                 "log_error = /var/log/mariadb.log\n"
                 "[client]\nsocket = /run/mysqld/mysqld.sock\n" % self.ports["mysql"])
        self.put("var/log/mariadb.log", "", owner="mysql")
        self.run("mariadb-install-db", "--user=mysql", "--datadir=/var/lib/mysql", "--skip-test-db",
                 "--auth-root-authentication-method=socket", "--skip-name-resolve")
        self.spawn("mariadbd")
        self.wait_port("mysql", 60)
        self.run("mariadb", input=self.sql_users())

    def wait_port(self, name, timeout_s):
        try:
            wait_port(self.ports[name], timeout_s)
        except Failed as e:
            raise Failed("%s: %s\n%s" % (name, e, self.log()[-2000:])) from None

    def spawn(self, *argv):
        """Start a program inside that stays in the foreground."""
        script = '"$@" </dev/null >>/var/log/spawn.log 2>&1 &'
        self.run("sh", "-c", script, "sh", *argv)

    def start_dovecot(self):
        self.run("dovecot", "-c", "/etc/dovecot/dovecot.conf")
        self.wait_port("imap", 20)

    def start_postfix(self):
        self.run("postalias", "/etc/aliases")
        self.run("/usr/lib/postfix/sbin/master", "-w")
        self.wait_port("smtp", 20)

    def postfix(self, verb):
        """postfix reload, flush, ..."""
        return self.run("postfix", verb)

    def reread(self):
        """Have Postfix read main.cf again: what `postfix reload` does in the end, without the second it takes to get there."""
        for pid in self.pids():
            with contextlib.suppress(OSError), open("/proc/%d/comm" % pid) as f:
                if f.read().strip() == "master":
                    os.kill(pid, signal.SIGHUP)

    def queue_length(self):
        n = 0
        for q in ("maildrop", "incoming", "active", "deferred"):
            for _, _, files in os.walk(os.path.join(self.queue_dir, q)):
                n += len(files)
        return n

    def wait_delivered(self, count, timeout=60):
        """Wait until so many messages are in the Maildirs; the number that are."""
        end = time.monotonic() + timeout
        while True:
            n = count_messages(self.mail_root)
            if n >= count or time.monotonic() > end:
                return n
            time.sleep(0.1)

    def stop(self):
        """End every process and remove what start() made. Can be called twice."""
        if self.holder:
            left = self.pids()
            with contextlib.suppress(OSError):
                self.holder.stdin.close()  # the first process ends, and the kernel kills the rest
            try:
                self.holder.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.holder.kill()
                self.holder.wait()
            end = time.monotonic() + 10
            while any(os.path.exists("/proc/%d" % p) for p in left) and time.monotonic() < end:
                time.sleep(0.02)
            self.holder.stdout.close()
            self.holder.stderr.close()
            self.holder = self.init = None
        if not self.keep:
            gone = self.workdir if self.made else self.root
            subprocess.run(["rm", "-rf", "--one-file-system", gone], check=False)

    __enter__ = start

    def __exit__(self, *exc):
        self.stop()


# ----------------------------------------------------------------------------------------- Postfix's load tools

def _tool(name):
    path = os.path.join(PACKED, "usr/sbin", name)
    if not os.path.exists(path):
        fetch("postfix")
    return path


def _target(host, port):
    return host if host.startswith("unix:") else "%s:%d" % (host, port)


def smtp_source_args(host, port, count, rcpt, sender="sender@example.com", size=4096, sessions=1, keep_open=True, lmtp=False,
                     extra=()):
    """The command line of smtp-source(1). host may be "unix:PATH"."""
    return [*(["-L"] if lmtp else []), *(["-d"] if keep_open else []), "-s", str(sessions), "-m", str(count), "-l", str(size),
            "-f", sender, "-t", rcpt, *extra, _target(host, port)]


def smtp_source(host, port, count, rcpt, timeout=600, **kw):
    """Send `count` messages with smtp-source(1). Returns {seconds, cpu_s, output, ok}; it stops at the first refusal."""
    path = _tool("smtp-source")
    before, at = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    r = subprocess.run([path, *smtp_source_args(host, port, count, rcpt, **kw)], env=ref_env(), stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=timeout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": time.monotonic() - at, "output": r.stdout.strip(),
            "cpu_s": after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime,
            "ok": r.returncode == 0 and "fatal" not in r.stdout and "warning" not in r.stdout}


def smtp_source_start(host, port, count, rcpt, **kw):
    """The same as a running process, for several at a time."""
    path = _tool("smtp-source")
    return subprocess.Popen([path, *smtp_source_args(host, port, count, rcpt, **kw)], env=ref_env(), stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


@contextlib.contextmanager
def smtp_sink(port, host="127.0.0.1", backlog=256, extra=()):
    """Run smtp-sink(1) while the block runs. extra: its options, e.g. ["-L"] for LMTP or ["-q", "DATA"]."""
    path = _tool("smtp-sink")
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    p = subprocess.Popen([path, *user, *extra, _target(host, port), str(backlog)], env=ref_env(), stdout=subprocess.DEVNULL,
                         stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        if not host.startswith("unix:"):
            wait_port(port, 10, host=host)
        else:
            wait_for(lambda: os.path.exists(host[len("unix:"):]), 10, "smtp-sink's socket")
            os.chmod(host[len("unix:"):], 0o666)
        yield p
    finally:
        p.send_signal(signal.SIGTERM)
        p.wait(10)
        p.stderr.close()
