#!/usr/bin/env python3
# The supervisor: what dies is started again on the same sockets, reload adds, takes away and renews, stop leaves nothing.
# timeout: 240
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import PORTS, Stack, make_certificate

_stack = []


def stack():
    if not _stack:
        _stack.append(Stack(tmp("s"), users=["u0@example.com"]).start())
    return _stack[0]


def connect(port):
    s = socket.create_connection(("127.0.0.1", port), 10)
    s.settimeout(20)
    return s


def greeting(name):
    with connect(stack().ports[name]) as s:
        return s.recv(200)


def status():
    return json.loads(stack().postern("status", "--json"))


def rewrite(f):
    """main.cf through f, and back at the end of the with block."""
    class Change:
        def __enter__(self):
            with open(stack().main_cf) as file:
                self.good = file.read()
            with open(stack().main_cf, "w") as file:
                file.write(f(self.good))

        def __exit__(self, *exc):
            with open(stack().main_cf, "w") as file:
                file.write(self.good)
    return Change()


@case
def status_tells_every_daemon():
    st = status()
    equal(st["state"], "ready")
    equal(st["pid"], stack().process.pid)
    names = {d["name"] for d in st["daemons"]}
    equal(names, {"authd", "qmgr", "lmtpd", "relayd", "imapd", "pop3d", "login", "smtpd"})
    check(all(d["state"] == "ready" and d["restarts"] == 0 for d in st["daemons"]), st)
    with connect(stack().ports["smtp"]) as s:
        s.recv(100)
        equal(sum(d["sessions"] for d in status()["daemons"] if d["name"] == "smtpd"), 1, "sessions of smtpd")


@case
def each_daemon_killed_is_started_again():
    before = status()["daemons"]
    for d in before:
        os.kill(d["pid"], signal.SIGKILL)

    def again():
        r = stack().postern("status", "--json", ok=False)
        now = json.loads(r.stdout)["daemons"]
        return r.returncode == 0 and not {d["pid"] for d in now} & {d["pid"] for d in before}
    wait_for(again, 20, "all daemons again")
    check(all(d["restarts"] >= 1 for d in status()["daemons"]), "no restart is counted")
    check("killed by signal 9" in stack().log(), "no line in the log")
    for name in ("smtp", "submission", "imap", "pop3"):
        check(greeting(name)[:1] in b"2*+", "no greeting on " + name)


@case
def one_that_dies_at_once_is_not_started_all_the_time():
    before = {(d["name"], d["worker"]): d["restarts"] for d in status()["daemons"]}
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        r = stack().postern("status", "--json", ok=False)
        for d in json.loads(r.stdout)["daemons"]:
            if d["name"] == "pop3d" and d["pid"]:
                try:
                    os.kill(d["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    pass
        time.sleep(0.02)
    wait_for(lambda: stack().postern("status", ok=False).returncode == 0, 20, "pop3d again")
    restarts = sum(d["restarts"] - before[d["name"], d["worker"]] for d in status()["daemons"])
    check(1 <= restarts <= 4, "%d restarts" % restarts)
    check("throttling" in stack().log(), "no line in the log")


@case
def a_rotated_log_is_opened_again():
    s = stack()
    path = s.path("mail.log")
    with rewrite(lambda t: t + "\nmaillog_file = %s\n" % path):
        s.postern("reload")
        greeting("smtp")
        wait_for(lambda: os.path.exists(path) and "postfix/smtpd" in open(path).read(), 10, "lines in maillog_file")
        os.rename(path, path + ".1")
        pids = [d["pid"] for d in status()["daemons"]]
        os.kill(s.process.pid, signal.SIGUSR1)
        wait_for(lambda: os.path.exists(path), 10, "the new file")
        new = os.stat(path).st_ino

        def holders():
            n = 0
            for pid in pids:
                fds = "/proc/%d/fd" % pid
                n += any(os.stat(os.path.join(fds, x)).st_ino == new for x in os.listdir(fds))
            return n
        wait_for(lambda: holders() == len(pids), 10, "every daemon at the new file")
        greeting("smtp")
        wait_for(lambda: "postfix/smtpd" in open(path).read(), 10, "smtpd's lines in the new file")
    s.postern("reload")


@case
def a_reload_adds_and_removes_ports():
    s, more = stack(), free_port()
    old = "listen_pop3 = 127.0.0.1:%d" % s.ports["pop3"]
    with connect(s.ports["pop3"]) as session:
        check(session.recv(100).startswith(b"+OK"), "no greeting")
        with rewrite(lambda t: t.replace(old, "listen_pop3 = 127.0.0.1:%d" % more)):
            s.postern("reload")
            wait_port(more)
            with connect(more) as other:
                check(other.recv(100).startswith(b"+OK"), "no greeting on the new port")

            def refused():
                try:
                    connect(s.ports["pop3"]).close()
                    return False
                except ConnectionRefusedError:
                    return True
            wait_for(refused, 10, "the old port closed")
            session.sendall(b"CAPA\r\n")  # who was there stays
            check(session.recv(100).startswith(b"+OK"), "the old session is gone")
    s.postern("reload")
    wait_port(s.ports["pop3"])


@case
def a_reload_that_cannot_bind_changes_nothing():
    s = stack()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with rewrite(lambda t: t + "\nlisten_imap = 127.0.0.1:%d\n" % port):
            r = s.postern("reload", ok=False)
    check(r.returncode != 0 and b"127.0.0.1:%d" % port in r.stderr and b"listen_imap" in r.stderr, r.stderr)
    check(greeting("imap").startswith(b"* OK"), "the old port is gone")


def serial(service="imaps"):
    with connect(stack().ports[service]) as raw:
        with ssl._create_unverified_context().wrap_socket(raw) as s:
            return ssl.DER_cert_to_PEM_cert(s.getpeercert(True))


def s_path_made(name):
    path = stack().path(name)
    os.makedirs(path)
    make_certificate(path)
    return path


@case
def renewed_certificates_are_handed_down():
    s, before = stack(), serial()
    make_certificate(s.path("tls"))
    s.postern("reload")
    wait_for(lambda: serial() != before, 10, "the new certificate")
    with open(s.path("tls", "fullchain.pem"), "w") as f:
        f.write("half of a file")
    r = s.postern("reload", ok=False)
    equal(r.returncode, 78, "exit status of a reload with a broken certificate")
    check(serial() != before, "the broken certificate was taken")
    make_certificate(s.path("tls"))


@case
def imap_may_have_a_certificate_of_its_own():
    s, other = stack(), s_path_made("imap-tls")
    with open(s.path("tls", "fullchain.pem")) as f:
        ours = f.read()
    s.postern("reload")
    wait_for(lambda: serial("imaps") == serial("submissions") == ours, 10, "one certificate for all")
    with rewrite(lambda t: t + "\nssl_cert = <%s/fullchain.pem\nssl_key = <%s/privkey.pem\n" % (other, other)):
        s.postern("reload")
        wait_for(lambda: serial("imaps") != ours, 10, "the other certificate on 993")
        time.sleep(0.2)
        equal(serial("submissions"), ours, "the certificate on 465")
    s.postern("reload")
    wait_for(lambda: serial("imaps") == ours, 10, "the common certificate on 993 again")


@case
def a_killed_supervisor_takes_all_with_it_and_leaves_the_ports():
    s = stack()
    pids = s.pids()
    os.kill(s.process.pid, signal.SIGKILL)

    def gone():
        for pid in pids:
            try:
                with open("/proc/%d/stat" % pid) as f:
                    if f.read().rsplit(")", 1)[1].split()[0] not in "ZX":
                        return False
            except OSError:
                pass
        return True
    wait_for(gone, 10, "no daemon left")
    s.process = None
    s.start()
    check(greeting("smtp").startswith(b"220"), "no greeting after a new start")


@case
def stop_ends_sessions_politely_and_leaves_nothing():
    s = stack()
    with connect(s.ports["imap"]) as imap, connect(s.ports["smtp"]) as smtp:
        imap.recv(200)
        smtp.recv(200)
        began = time.monotonic()
        stopper = subprocess.Popen([program("postern"), "-c", s.main_cf, "stop"])
        said = imap.recv(200), smtp.recv(200)
        check(said[0].startswith(b"* BYE") and said[1].startswith(b"421"), said)
    equal(stopper.wait(30), 0, "exit status of postern stop")
    wait_for(lambda: not s.process.alive(), 5, "the supervisor ended")
    equal(s.process.popen.returncode, 0, "exit status of postern serve")
    check(time.monotonic() - began < 20, "it took too long")
    s.process = None
    left = [n for n in os.listdir(s.queue_dir + "/private") if "notify" not in n]
    equal(left, [], "left in private/")
    equal(s.postern("status", ok=False).returncode, 69, "exit status of postern status")
    for name in PORTS:
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", s.ports[name]))


main()
