"""The row `slow` of bench.py: what 500 clients deliver while 4,500 others send one octet a second, and what that costs in memory.

Only ours is measured: the reference has a process for each client, 100 at most. With and without the slow ones in turn, in one run of
one stack; each client address may have as many connections as it likes.
"""
import json
import os
import resource
import select
import statistics
import subprocess
import sys
import time

import harness
from refstack import count_messages, messages, pss_kib, smtp_source_start

HERE = os.path.dirname(os.path.abspath(__file__))
PROCESSES = 20  # of smtp-source; together `fast` connections
CONF = ["smtpd_client_connection_count_limit = 0"]
LEAST_RATIO = 0.5
MOST_KIB_EACH = 32  # of all our processes, for each slow connection; 9 when this was written


class SlowClients:
    def __init__(self, port, count):
        self.count = count
        self.p = subprocess.Popen([sys.executable, os.path.join(HERE, "slow_clients.py"), "127.0.0.1", str(port), str(count),
                                   "u0@example.com"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self):
        self.p.stdin.write("?\n")
        self.p.stdin.flush()
        if not select.select([self.p.stdout], [], [], 30)[0]:
            raise harness.Failed("the slow clients do not answer")
        return json.loads(self.p.stdout.readline())

    def wait_connected(self, timeout_s=90):
        end = time.monotonic() + timeout_s
        while self.ask()["connected"] < self.count:
            if time.monotonic() > end:
                raise harness.Failed("the slow clients: %s" % self.ask())
            time.sleep(0.5)

    def __enter__(self):
        try:
            self.wait_connected()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.p.stdin.close()
        self.p.wait(30)
        self.p.stdout.close()


def fast(stack, connections, count):
    """Messages a second from the first connect to the last file in a Maildir."""
    here = count_messages(stack.mail_root)
    each = count // PROCESSES
    began = time.time()
    clients = [smtp_source_start("127.0.0.1", stack.ports["smtp"], each, "u%d@example.com" % i, size=4096,
                                 sessions=connections // PROCESSES) for i in range(PROCESSES)]
    said = {c.communicate()[0].strip() for c in clients}
    if said != {""} or any(c.returncode for c in clients):
        raise harness.Failed("smtp-source: %s" % said)
    end = time.monotonic() + 300
    while count_messages(stack.mail_root) < here + each * PROCESSES:
        if time.monotonic() > end:
            raise harness.Failed("%d of %d delivered" % (count_messages(stack.mail_root) - here, each * PROCESSES))
        time.sleep(0.1)
    return each * PROCESSES / (max(e.stat().st_ctime for e in messages(stack.mail_root)) - began)


def own_cpu_s():
    t = resource.getrusage(resource.RUSAGE_CHILDREN)
    return t.ru_utime + t.ru_stime


def one_pair(stack, a, table, empty):
    """(messages a second without, with the slow ones, KiB for each slow one)"""
    empty(stack.mail_root)
    cpu = own_cpu_s()
    alone = fast(stack, a.fast, a.fast_messages)
    table.add("delivered, %d connections" % a.fast, "msg/s", "postern", alone, own_cpu_s() - cpu, "more")
    empty(stack.mail_root)
    before = pss_kib(stack.pids())
    with SlowClients(stack.ports["smtp"], a.slow) as slow:
        first, at, cpu = slow.ask(), time.monotonic(), own_cpu_s()
        beside = fast(stack, a.fast, a.fast_messages)
        cpu = own_cpu_s() - cpu
        least = slow.ask()
        took = time.monotonic() - at
        after = pss_kib(stack.pids())
        sent = (least["sent"] - first["sent"]) / took
        table.add("delivered, %d slow ones beside" % a.slow, "msg/s", "postern", beside, cpu, "more")
        table.add("memory, %d slow ones beside" % a.slow, "MiB", "postern", after / 1024, least["cpu_s"], "less")
        table.add("memory, each slow one", "KiB", "postern", (after - before) / a.slow, least["cpu_s"], "less")
        table.add("slow ones connected at the end", "", "postern", least["connected"], least["cpu_s"], "more")
        table.add("octets a second of them", "1/s", "postern", sent, least["cpu_s"], "more")
        table.add("latest octet of them", "s", "postern", least["late_s"], least["cpu_s"], "less")
    if least["connected"] < 0.99 * a.slow or sent < 0.9 * a.slow:
        raise harness.Failed("the slow clients were no load: %s, %.0f octets/s" % (least, sent))
    return alone, beside, (after - before) / a.slow


def rows(a, up, table, empty):
    """up(name, users, conf): the running stack as a context. empty(root): the Maildirs without messages."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with up("postern", CONF) as stack:
        fast(stack, a.fast, a.fast)  # first of each process, first file of each Maildir
        pairs = [one_pair(stack, a, table, empty) for _ in range(a.pairs)]
    ratio = statistics.median(b / x for x, b, _ in pairs)
    kib = max(k for _, _, k in pairs)
    table.add("delivered beside slow ones / alone", "", "postern", ratio, 0, "more")
    if ratio < LEAST_RATIO:
        raise harness.Failed("%.2f of what is delivered without slow clients; %.1f is asked" % (ratio, LEAST_RATIO))
    if kib > MOST_KIB_EACH:
        raise harness.Failed("%.1f KiB for a slow client; at most %d are asked" % (kib, MOST_KIB_EACH))
