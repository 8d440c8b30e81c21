#!/usr/bin/env python3
"""tests/run.py KIND [NAME...] - run the whole-program tests tests/KIND/t_*.py, or those named.

Two scripts at a time (soak and bench: one; so is a script that says `# alone`), each with a time limit
(`# timeout: SECONDS` in the script says another). A script prints `ok NAME`, `not ok NAME reason`,
`skip NAME reason` (tests/lib/harness.py does that); failing scripts are shown whole. The last line is
`N passed, N failed[, N skipped]`; the status is 1 if anything failed or nothing ran. Output of each
script is kept in the build folder, tests-log/KIND/NAME.log.
"""
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIMIT_S = {"check": 300, "interop": 600, "soak": 3600, "bench": 3600}
PARALLEL = {"soak": 1, "bench": 1}


class Script:
    def __init__(self, kind, path):
        self.path = path
        self.name = os.path.splitext(os.path.basename(path))[0][2:]
        with open(path, encoding="utf-8") as f:
            head = "".join(f.readlines()[:40])
        limit = re.search(r"^# timeout: (\d+)", head, re.M)
        self.limit_s = int(limit.group(1)) if limit else LIMIT_S.get(kind, 600)
        if os.environ.get("SANITIZE", "0") not in ("", "0"):
            self.limit_s *= 2
        self.alone = re.search(r"^# alone\b", head, re.M) is not None
        self.log_path = os.path.join(os.environ.get("POSTERN_BUILD") or os.path.join(TOP, "build"),
                                     "tests-log", kind, self.name + ".log")

    def run(self):
        os.makedirs(os.path.dirname(self.log_path), exist_ok=True)
        began = time.monotonic()
        self.late = False
        with open(self.log_path, "wb") as out:
            self.popen = subprocess.Popen([sys.executable, self.path], cwd=TOP, stdin=subprocess.DEVNULL,
                                          stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                self.status = self.popen.wait(self.limit_s)
            except subprocess.TimeoutExpired:
                self.late = True
                self.end()
                self.status = self.popen.wait()
        self.took_s = time.monotonic() - began
        with open(self.log_path, encoding="utf-8", errors="backslashreplace") as f:
            self.text = f.read()
        self.passed = len(re.findall(r"^ok ", self.text, re.M))
        self.failed = len(re.findall(r"^not ok ", self.text, re.M))
        self.skipped = len(re.findall(r"^skip ", self.text, re.M))
        self.why = None
        if self.late:
            self.why = "time is up after %d s" % self.limit_s
        elif self.status != 0 and not self.failed:
            self.why = "ended with status %d" % self.status
        elif not self.passed + self.failed + self.skipped:
            self.why = "ran no case"
        if self.why:
            self.failed += 1

    def end(self):
        """Ask it to clean up; then end it and all below it, by process id. Its orphans are its own
        children (harness.main), so while it lives the tree is whole."""
        pid = self.popen.pid
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(30)
            return
        except subprocess.TimeoutExpired:
            pass
        self.popen.send_signal(signal.SIGSTOP)
        for _ in range(100):
            below = descendants(pid)
            for p in below:
                try:
                    os.kill(p, signal.SIGKILL)
                except OSError:
                    pass
            if not below:
                break
            time.sleep(0.02)
        self.popen.kill()


def descendants(root):
    parent = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                state, ppid = f.read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state not in "ZX":
            parent[int(pid)] = int(ppid)
    found, todo = [], [root]
    while todo:
        at = todo.pop()
        below = [p for p, pp in parent.items() if pp == at]
        found += below
        todo += below
    return found


def report(script, lock, kind):
    with lock:
        skips = re.findall(r"^skip .*", script.text, re.M)
        if script.failed:
            print("--- %s/%s" % (kind, script.name))
            print(script.text.rstrip("\n"))
        elif kind in ("bench", "soak"):
            print(script.text.rstrip("\n"))
        else:
            for line in skips:
                print("  %s: %s" % (script.name, line))
        print("%s %s/%s: %d passed, %d failed%s (%.1f s)%s" % (
            "not ok" if script.failed else "ok", kind, script.name, script.passed, script.failed,
            ", %d skipped" % script.skipped if script.skipped else "", script.took_s,
            " " + script.why if script.why else ""), flush=True)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    kind, names = sys.argv[1], sys.argv[2:]
    scripts = [Script(kind, p) for p in sorted(glob.glob(os.path.join(TOP, "tests", kind, "t_*.py")))]
    failed = 0
    if names:
        names = [re.sub(r"^(.*/)?(t_)?|\.py$", "", n) for n in names]
        for n in names:
            if not any(s.name == n for s in scripts):
                print("not ok %s: no such script in tests/%s" % (n, kind))
                failed += 1
        scripts = [s for s in scripts if s.name in names]

    lock = threading.Lock()
    todo = [s for s in scripts if not s.alone]

    def worker():
        while True:
            with lock:
                if not todo:
                    return
                script = todo.pop(0)
            script.run()
            report(script, lock, kind)

    threads = [threading.Thread(target=worker) for _ in range(PARALLEL.get(kind, 2))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for script in scripts:
        if script.alone:
            script.run()
            report(script, lock, kind)

    passed = sum(s.passed for s in scripts)
    failed += sum(s.failed for s in scripts)
    skipped = sum(s.skipped for s in scripts)
    if not scripts:
        print("no scripts in tests/%s" % kind)
    elif failed:
        print("failed: %s" % " ".join(s.name for s in scripts if s.failed))
    print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % skipped if skipped else ""))
    sys.exit(1 if failed or not passed else 0)


main()
