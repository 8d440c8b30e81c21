"""The rows `outbound`, `queue` and `fair` of bench.py: mail that leaves, and what waits.

outbound  smtp-source submits, smtp-sink takes; from the first connect until smtp-sink has the last message. One destination (a
          relay host), and a hundred (transport_maps). Both sides write to the same disk as they do in life.
queue     a million recipients for dead hosts (connections are refused), in messages of ten, all due when qmgr starts: how long until
          it answers, until a new message is delivered, and the most its memory is (PSS, looked at twice a second) until then and
          while it tries them.
fair      50,000 messages for a dead destination, in the queue when it starts; messages for a living one are sent one by one, for
          longer than a connection that hangs is waited for: how long each takes from the client's 250 until the other host has it. The destination refuses connections, or hangs in
          connect, or the messages are for as many hosts that hang.
"""
import contextlib
import os
import re
import smtplib
import socket
import statistics
import subprocess
import threading
import time

import harness
from dnsd import Dnsd
from fillqueue import fill_queue
from outbound import Sink
from refstack import _tool, pss_kib, smtp_source_start
from harness import free_port, ref_env, wait_for, wait_port

MIB_MOST = 256
FAIR_MS_MOST = 100
RELAY = ["smtpd_sender_restrictions =", "smtpd_recipient_restrictions =",
         "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination", "mynetworks = 127.0.0.0/8",
         "smtpd_client_connection_count_limit = 0", "smtpd_client_connection_rate_limit = 0"]


# --- outbound


class Counter:
    """smtp-sink, and how many messages it has taken."""

    def __init__(self):
        self.port, self.n, self.p = free_port(), 0, None

    def read(self):
        tail = b""
        while chunk := os.read(self.p.stdout.fileno(), 65536):
            tail = (tail + chunk)[-200:]
            got = re.findall(rb"mesg=\s*(\d+)", tail)
            if got:
                self.n = int(got[-1])

    def __enter__(self):
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.p = subprocess.Popen([_tool("smtp-sink"), "-c", "-m", "900", *user, "0.0.0.0:%d" % self.port, "1000"], env=ref_env(),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self.read, daemon=True).start()
        wait_port(self.port, 10)
        return self

    def __exit__(self, *exc):
        self.p.terminate()
        self.p.wait(10)


def table_of(port):
    return "/^(.*@)?d([0-9]+)\\.test$/ smtp:[127.99.1.$2]:%d\n" % port


def ref_conf(port):
    return RELAY + ["relayhost = [127.99.1.1]:%d" % port, "transport_maps = regexp:/etc/postfix/ways"]


@contextlib.contextmanager
def sides_up(a, sides, sink):
    """{side: stack}, both running."""
    from refstack import RefStack
    from stack import Stack

    with contextlib.ExitStack() as up:
        out = {}
        for s in sides:
            where = os.path.join(a.dir, "o" + s[0])
            os.mkdir(where)
            os.chmod(where, 0o755)
            if s == "ref":
                stack = RefStack(os.path.join(where, "w"), parts=("postfix",), main_cf=ref_conf(sink.port))
                build = stack.build_postfix

                def build_all():
                    build()
                    stack.put("etc/postfix/ways", table_of(sink.port))
                stack.build_postfix = build_all
            else:
                ways = os.path.join(where, "ways")
                with open(ways, "w") as f:
                    f.write(table_of(sink.port))
                stack = Stack(os.path.join(where, "w"), extra_conf=RELAY + ["relayhost = [127.99.1.1]:%d" % sink.port,
                                                                            "transport_maps = regexp:" + ways])
            up.callback(stack.stop)
            stack.start()
            out[s] = stack
        yield out


def outbound(stack, sink, destinations, count, clients=20):
    before, began = sink.n, time.monotonic()
    if destinations == 1:
        running = [smtp_source_start("127.0.0.1", stack.ports["smtp"], count, "a@d1.test", sessions=clients)]
    else:
        running = [smtp_source_start("127.0.0.1", stack.ports["smtp"], count // destinations, "a@d%d.test" % (i + 1))
                   for i in range(destinations)]
        count = count // destinations * destinations
    said = {c.communicate()[0].strip() for c in running}
    if said != {""} or any(c.returncode for c in running):
        raise harness.Failed("smtp-source: %s" % said)
    accepted = time.monotonic() - began
    wait_for(lambda: sink.n - before >= count, 900, "%d messages at smtp-sink" % count)
    return count / (time.monotonic() - began), count / accepted


def rows_outbound(a, sides, table):
    with Counter() as sink, sides_up(a, sides, sink) as stacks:
        for s in sides:
            outbound(stacks[s], sink, 1, 50)
        for destinations in (1, 100):
            what = "outbound, %d destination%s" % (destinations, "" if destinations == 1 else "s")
            for _ in range(a.pairs):
                for s in sides:
                    left, accepted = outbound(stacks[s], sink, destinations, a.outbound_messages)
                    table.add(what, "msg/s", s, left, 0, "more")
                    table.add(what + ", accepted", "msg/s", s, accepted, 0, "more")
                    time.sleep(1)


# --- what waits


class TimedSink(Sink):
    """Says when each message came."""

    def __init__(self, address, **kw):
        super().__init__(address, **kw)
        times = self.times = []

        class Kept(list):
            def append(self, what):
                times.append(time.monotonic())
                super().append(what)
        self.messages = Kept()


class Hanging:
    """A port whose connections are never made: its backlog is full."""

    def __init__(self, address):
        self.address = address

    def __enter__(self):
        self.held = [socket.socket()]
        self.held[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.held[0].bind(self.address)
        self.held[0].listen(0)
        for _ in range(8):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(self.address)
            self.held.append(s)
        return self

    def __exit__(self, *exc):
        for s in self.held:
            s.close()


class Waiting:
    """A stack whose queue was filled before it started, a living host at live.test, dead ones below refused.test and hangs.test."""

    def __init__(self, workdir, conf=()):
        self.workdir, self.conf, self.port = workdir, list(conf), free_port()

    def __enter__(self):
        from stack import Stack

        self.up = contextlib.ExitStack()
        self.sink = TimedSink(("127.99.0.2", self.port))
        self.up.callback(self.sink.server_close)
        self.up.callback(self.sink.shutdown)
        self.up.enter_context(Hanging(("127.99.0.8", self.port)))
        dns = Dnsd({"live.test": {"A": ["127.99.0.2"]}, "*.live.test": {"A": ["127.99.0.2"]},
                    "refused.test": {"A": ["127.99.0.9"]}, "*.refused.test": {"A": ["127.99.0.9"]},
                    "hangs.test": {"A": ["127.99.0.8"]}, "*.hangs.test": {"A": ["127.99.0.8"]}}, "127.0.0.1", free_port())
        self.up.enter_context(dns)
        self.stack = Stack(self.workdir, extra_conf=RELAY + ["smtp_tcp_port = %d" % self.port] + self.conf,
                           resolver="127.0.0.1:%d" % dns.port)
        self.up.callback(self.end)
        self.stack.start()
        self.stack.process.stop(30)
        return self

    def end(self):
        """Without the seconds that deliveries under way are given."""
        if self.stack.process is not None and self.stack.process.alive():
            self.stack.process.kill()
        self.stack.process = None
        self.stack.stop()

    def start(self):
        self.began = time.monotonic()
        self.stack.start()
        return time.monotonic() - self.began

    def __exit__(self, *exc):
        self.up.close()

    def qmgr_mib(self):
        return pss_kib(self.stack.pids_of("qmgr")) / 1024

    def send_one(self, to="a@live.test", timeout_s=60):
        """Seconds from the client's 250 until the other host has it."""
        before = len(self.sink.times)
        with smtplib.SMTP("127.0.0.1", self.stack.ports["smtp"], local_hostname="c.example.com", timeout=timeout_s) as c:
            c.sendmail("email1@example.com", [to], "Subject: new\r\n\r\nhello\r\n")
            said = time.monotonic()
            wait_for(lambda: len(self.sink.times) > before, timeout_s, "a new message at the living host")
        return self.sink.times[before] - said


class Peak:
    """The most memory that qmgr has while the block runs."""

    def __init__(self, waiting):
        self.waiting, self.mib, self.is_over = waiting, 0, threading.Event()

    def watch(self):
        while not self.is_over.wait(0.5):
            with contextlib.suppress(Exception):
                self.mib = max(self.mib, self.waiting.qmgr_mib())

    def __enter__(self):
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.is_over.set()
        self.thread.join()


def rows_queue(a, sides, table):
    if "postern" not in sides:
        return
    with Waiting(os.path.join(a.dir, "q")) as w:
        fill_queue(w.stack, a.queued // 10, lambda i: ["u%d@d%d.refused.test" % (k, (i * 10 + k) % 1000) for k in range(10)])
        ready = w.start()
        table.add("queue of %d recipients: ready" % a.queued, "s", "postern", ready, 0, "less")
        with Peak(w) as peak:
            w.send_one(timeout_s=300)
            table.add("... first new message delivered", "s", "postern", time.monotonic() - w.began, 0, "less")
            time.sleep(a.queue_seconds)
        table.add("... qmgr's memory, most", "MiB", "postern", peak.mib, 0, "less")
        harness.check(peak.mib <= MIB_MOST, "qmgr has %.0f MiB, %d at most were to be" % (peak.mib, MIB_MOST))


def fair(w, count, pause_s):
    return [w.send_one() * 1000 for _ in range(count) if time.sleep(pause_s) is None]


def rows_fair(a, sides, table):
    if "postern" not in sides:
        return
    for n, (what, domain, attempts) in enumerate([
            ("a host that refuses", lambda i: "refused.test", 1), ("a host that hangs", lambda i: "hangs.test", 1),
            ("the same, not tried yet", lambda i: "hangs.test", 0), ("as many that hang", lambda i: "d%d.hangs.test" % i, 1)]):
        with Waiting(os.path.join(a.dir, "f%d" % n)) as w:
            fill_queue(w.stack, a.fair_queued, lambda i: ["u%d@%s" % (i, domain(i))], attempts=attempts)
            w.start()
            name = "beside %d messages for %s" % (a.fair_queued, what)
            table.add(name + ": the first", "ms", "postern", w.send_one() * 1000, 0, "less")
            got = fair(w, a.fair_messages, a.fair_pause)
            for ms in got:
                table.add(name, "ms", "postern", ms, 0, "less")
            mid = statistics.median(got)
            harness.check(mid <= FAIR_MS_MOST, "%s: %.0f ms, %d at most were to be" % (name, mid, FAIR_MS_MOST))
