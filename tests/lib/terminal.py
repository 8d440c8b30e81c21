"""A program that wants a terminal, by its keys and its screen."""
import os
import pty
import re
import select
import signal
import time

from harness import check, fail


class Terminal:
    """A program on a terminal of 80x24."""

    def __init__(self, argv, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, env)
        self.seen = ""

    def read_for(self, seconds):
        end = time.monotonic() + seconds
        while select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
            try:
                got = os.read(self.fd, 65536)
            except OSError:
                return
            if not got:
                return
            self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>]", "", got.decode(errors="replace"))

    def expect(self, what, seconds=30):
        end = time.monotonic() + seconds
        while not re.search(what, self.seen):
            check(time.monotonic() < end, "no %r on the screen:\n%s" % (what, self.seen[-3000:]))
            self.read_for(0.2)
        self.seen = ""

    def send(self, keys):
        os.write(self.fd, keys.encode())

    def end(self):
        for _ in range(100):
            time.sleep(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            self.read_for(0.2)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        fail("it did not end:\n" + self.seen[-3000:])
