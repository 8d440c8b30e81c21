"""Real DNS for tests: Debian's nsd answers for zones, signed or not, and Debian's unbound asks it and validates.

    enter_namespace()                       # at the top of the script: loopback and whatever addresses it likes, nobody's ports
    with Resolver(signed={"signed.test": TEXT}, plain={"plain.test": TEXT}) as r:
        ... dns_resolvers = "127.0.0.1:%d" % r.port

TEXT is a zone file without SOA and NS. The signature of a line that ends in "; spoil", and what "; spoil NAME TYPE" names, is
wrong. Names under lame.test get SERVFAIL, those under silent.test no answer.
"""
import contextlib
import fcntl
import os
import re
import shutil
import socket
import struct
import sys

from harness import Failed, Skip, check, free_port, ref, ref_env, run, start, tmp, wait_for

NSD = "127.55.0.1"
MARK = "POSTERN_TEST_NETNS"


def enter_namespace():
    """Go on in a network namespace of our own, if this machine lets us. It ends with the script."""
    if in_namespace():
        loopback_up()
        return
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return
    r = run(["unshare", "-n", "true"])
    if r.returncode == 0:
        os.environ[MARK] = "1"
        os.execvp("unshare", ["unshare", "-n", sys.executable] + sys.argv)


def in_namespace():
    return bool(os.environ.get(MARK))


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x8 | 0x40))  # SIOCSIFFLAGS: UP, LOOPBACK, RUNNING


def add_address(address):
    """Give the namespace's loopback interface one more address."""
    if not in_namespace():
        raise Skip("no network namespace of our own")
    index = socket.if_nametoindex("lo")
    if ":" in address:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:  # struct in6_ifreq
            with contextlib.suppress(FileExistsError):
                fcntl.ioctl(s, 0x8916, struct.pack("16sIi", socket.inet_pton(socket.AF_INET6, address), 128, index))
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:  # SIOCSIFADDR of an alias
            fcntl.ioctl(s, 0x8916, struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(address)))


HEAD = """$ORIGIN %s.
$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.55.0.1
"""


class Resolver:
    """
    signed, plain  {zone: text}
    address        where unbound listens beside 127.0.0.1
    """

    def __init__(self, signed=None, plain=None, address=None, folder="dns"):
        self.signed, self.plain, self.address, self.folder = signed or {}, plain or {}, address, folder
        self.port = self.nsd_port = None
        self.processes = []

    def path(self, *inside):
        return tmp(self.folder, *inside)

    def tool(self, *argv):
        r = run([ref("usr/bin/" + argv[0]), *argv[1:]], env=ref_env(), cwd=self.path("x")[:-2])
        check(r.returncode == 0, "%s: %r %r" % (argv[0], r.stdout, r.stderr))
        return r.stdout.decode().strip()

    def sign(self, zone, text):
        with open(self.path(zone), "w") as f:
            f.write(HEAD % zone + text)
        key = self.tool("ldns-keygen", "-a", "ECDSAP256SHA256", zone)
        self.tool("ldns-signzone", "-o", zone, "-f", zone + ".signed", zone, key)
        with open(self.path(zone + ".signed")) as f:
            signed = f.read()
        for line in text.splitlines():
            record, _, word = line.partition("; spoil")
            if _:
                signed = self.spoil(signed, record.split() or word.split(), zone)
        with open(self.path(zone + ".signed"), "w") as f:
            f.write(signed)
        return self.path(key + ".key")

    @staticmethod
    def spoil(signed, words, zone):
        """The signature of that record becomes another."""
        words = [words[0], words[1] if len(words) < 3 or words[1] in ("MX", "A", "AAAA", "TLSA", "CNAME") else words[2]]
        pattern = r"(?m)^(%s\.\s+\d+\s+IN\s+RRSIG\s+%s .* )(\S)(\S+==)$" % (re.escape("%s.%s" % (words[0], zone)), words[1])
        out, n = re.subn(pattern, lambda m: m[1] + ("A" if m[2] != "A" else "B") + m[3], signed)
        if n != 1:
            raise Failed("%d signatures of %r" % (n, words))
        return out

    def start_nsd(self):
        user = "root" if os.geteuid() == 0 else ""
        zones = [(z, z + ".signed") for z in self.signed] + [(z, z) for z in self.plain]
        with open(self.path("nsd.conf"), "w") as f:
            f.write('server:\n  ip-address: %s@%d\n  username: "%s"\n  chroot: ""\n  zonesdir: "%s"\n  database: ""\n  pidfile: "%s"\n'
                    '  xfrdfile: "%s"\n  zonelistfile: "%s"\n  cookie-secret-file: "%s"\n  server-count: 1\n  hide-version: yes\n'
                    'remote-control:\n  control-enable: no\n'
                    % (NSD, self.nsd_port, user, self.path("x")[:-2], self.path("nsd.pid"), self.path("xfrd"), self.path("zonelist"),
                       self.path("cookie")))
            for zone, file in zones:
                f.write('zone:\n  name: "%s"\n  zonefile: "%s"\n' % (zone, file))
        self.processes.append(start([ref("usr/sbin/nsd"), "-d", "-c", self.path("nsd.conf")], name="nsd", env=ref_env()))

    def start_unbound(self, keys):
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # bound, and never read
        silent.bind((NSD, 0))
        self.silent = silent
        stubs = [(z, self.nsd_port) for z in list(self.signed) + list(self.plain) + ["lame.test"]]
        stubs.append(("silent.test", silent.getsockname()[1]))
        with open(self.path("unbound.conf"), "w") as f:
            f.write('server:\n  username: ""\n  chroot: ""\n  directory: "%s"\n  pidfile: "%s"\n  use-syslog: no\n  logfile: ""\n'
                    '  interface: 127.0.0.1@%d\n  do-not-query-localhost: no\n  module-config: "validator iterator"\n  do-ip6: no\n'
                    '  local-zone: "test." nodefault\n  qname-minimisation: no\n  num-threads: 1\n  verbosity: 1\n  do-daemonize: no\n'
                    '  infra-cache-max-rtt: 2000\n  val-log-level: 1\n' % (self.path("x")[:-2], self.path("unbound.pid"), self.port))
            if self.address:
                f.write("  interface: %s@%d\n  access-control: %s/32 allow\n" % (self.address, self.port, self.address))
            for k in keys:
                f.write('  trust-anchor-file: "%s"\n' % k)
            f.write("remote-control:\n  control-enable: no\n")
            for zone, port in stubs:
                f.write('stub-zone:\n  name: "%s."\n  stub-addr: %s@%d\n  stub-prime: no\n' % (zone, NSD, port))
        self.processes.append(start([ref("usr/sbin/unbound"), "-d", "-p", "-c", self.path("unbound.conf")], name="unbound", env=ref_env()))

    def dig(self, name, rtype="A"):
        """drill(1)'s text."""
        r = run([ref("usr/bin/drill"), "-D", "-p", self.port, name, "@127.0.0.1", rtype], env=ref_env())
        return r.stdout.decode(errors="replace")

    def is_ready(self):
        for p in self.processes:
            if not p.alive():
                raise Failed("%s ended:\n%s" % (p.name, p.text()))
        return all("rcode: NOERROR" in self.dig("ns." + z) for z in list(self.signed) + list(self.plain))

    def start(self):
        ref("usr/sbin/unbound"), ref("usr/sbin/nsd"), ref("usr/bin/ldns-signzone")
        self.nsd_port, self.port = free_port(), free_port()
        keys = [self.sign(z, text) for z, text in self.signed.items()]
        for zone, text in self.plain.items():
            with open(self.path(zone), "w") as f:
                f.write(HEAD % zone + text)
        self.start_nsd()
        self.start_unbound(keys)
        try:
            wait_for(self.is_ready, 20, "nsd and unbound")
        except Failed as e:
            raise Failed("%s\n%s" % (e, "\n".join(p.text() for p in self.processes))) from None
        for z in self.signed:
            check(re.search(r"flags:.* ad[ ;]", self.dig("ns." + z)), "%s is not validated:\n%s" % (z, self.dig("ns." + z)))
        return self

    def stop(self):
        for p in reversed(self.processes):
            p.stop()
        self.processes = []
        self.silent.close()

    __enter__ = start

    def __exit__(self, *exc):
        self.stop()
