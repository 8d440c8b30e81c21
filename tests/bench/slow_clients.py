#!/usr/bin/env python3
"""slow_clients.py HOST PORT COUNT RCPT - so many SMTP clients that send one octet a second, in one process, until stdin closes.

Half of them are slow from the greeting on (EHLO, then NOOP for ever); the others come to the text of a message at full speed and
are slow there. One that the server hangs up on comes again. A line "?" on stdin is answered by a line of JSON: connected, octets
sent, hang-ups, how late the latest octet of the last seconds was, own CPU seconds. Standard library only.
"""
import collections
import json
import os
import resource
import selectors
import socket
import sys
import time

TICK_S = 0.02
OPEN_A_SECOND = 1000
PRELUDE = (b"EHLO slow.remote.test\r\n", b"MAIL FROM:<slow@remote.test>\r\n", b"RCPT TO:<%s>\r\n", b"DATA\r\n")
SLOW_COMMANDS, SLOW_TEXT = b"EHLO a.test\r\n" + b"NOOP\r\n" * 40, b"Subject: slow\r\n\r\n" + b"a line of text\r\n" * 40


class Client:
    def __init__(self, pool, number):
        self.pool, self.number, self.sock = pool, number, None

    def open(self):
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.connect_ex(self.pool.where)
        self.todo = collections.deque(PRELUDE if self.number % 2 else ())
        self.text, self.at, self.is_slow = SLOW_TEXT if self.number % 2 else SLOW_COMMANDS, 0, False
        self.pool.selector.register(self.sock, selectors.EVENT_READ, self)

    def close(self):
        self.pool.selector.unregister(self.sock)
        self.sock.close()
        if self.is_slow:
            self.pool.connected -= 1
        self.sock, self.is_slow = None, False
        self.pool.hung_up += 1
        self.pool.waiting.append(self)

    def on_input(self):
        try:
            said = self.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self.close()
        elif not self.is_slow and said.endswith(b"\n") and said[said.rfind(b"\n", 0, -1) + 4:][:1] != b"-":
            if self.todo:
                self.send(self.todo.popleft().replace(b"%s", self.pool.rcpt))
            else:
                self.is_slow = True
                self.pool.connected += 1
                self.pool.schedule(self, time.monotonic() + (self.number % 97) / 97)

    def send(self, octets):
        try:
            self.sock.send(octets)
            return True
        except OSError:
            self.close()
            return False

    def slow_octet(self, now):
        if not self.is_slow:
            return
        if self.send(self.text[self.at:self.at + 1]):
            self.at = (self.at + 1) % len(self.text)
            self.pool.sent += 1
            self.pool.schedule(self, now + 1)


class Pool:
    def __init__(self, host, port, count, rcpt):
        self.where, self.rcpt = (host, int(port)), rcpt.encode()
        self.selector = selectors.DefaultSelector()
        self.waiting = collections.deque(Client(self, i) for i in range(int(count)))
        self.turns = collections.defaultdict(list)  # tick: clients whose octet is due
        self.connected = self.sent = self.hung_up = 0
        self.late_s, self.done_tick = 0.0, int(time.monotonic() / TICK_S)

    def schedule(self, client, when):
        self.turns[max(int(when / TICK_S), self.done_tick + 1)].append(client)

    def tick(self):
        now = time.monotonic()
        while self.done_tick < int(now / TICK_S):
            self.done_tick += 1
            due = self.turns.pop(self.done_tick, ())
            if due:
                self.late_s = max(self.late_s, time.monotonic() - self.done_tick * TICK_S)
            for client in due:
                client.slow_octet(self.done_tick * TICK_S)
            for _ in range(min(len(self.waiting), int(OPEN_A_SECOND * TICK_S))):
                self.waiting.popleft().open()

    def report(self):
        used = resource.getrusage(resource.RUSAGE_SELF)
        late, self.late_s = self.late_s, 0.0
        return {"connected": self.connected, "sent": self.sent, "hung_up": self.hung_up, "late_s": round(late, 3),
                "cpu_s": round(used.ru_utime + used.ru_stime, 2)}

    def run(self):
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ, None)
        while True:
            for key, _ in self.selector.select(TICK_S / 2):
                if key.data:
                    key.data.on_input()
                    continue
                asked = os.read(sys.stdin.fileno(), 100)
                if not asked:
                    return
                print(json.dumps(self.report()), flush=True)
            self.tick()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    Pool(*sys.argv[1:]).run()
