"""What every whole-program test stands on: cases, a temporary folder, free ports, processes.

A script is tests/KIND/t_NAME.py (KIND: check, interop, soak, bench) and looks like this:

    #!/usr/bin/env python3
    # What is tested. (A line `# timeout: 900` gives it longer, `# alone` runs it by itself.)
    import os, sys
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
    from harness import *

    @case
    def greets_first():
        equal(first_line(), b"220 ...", "greeting")

    main()

`make check TEST=NAME` runs it; so does `python3 tests/check/t_NAME.py [CASE...]` after `make`.
Cases run in the order of the file and print `ok NAME`, `not ok NAME reason` or `skip NAME reason`.
Everything begun with start() is ended by its process id when the script ends, whatever happens, with
all that it forked; what one of our own programs leaves behind is a failure, and so is a sanitizer's
report. POSTERN_KEEP=1 keeps the temporary folder. Python 3 standard library only.
"""
import ctypes
import itertools
import os
import re
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

__all__ = ["TOP", "Failed", "Process", "Skip", "at_end", "build", "case", "check", "equal", "fail",
           "forget", "free_port", "helper", "is_sanitized", "log", "main", "need", "program", "ref", "ref_env", "run", "skip",
           "start", "tmp", "wait_for", "wait_port"]

TOP = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
_script = os.path.splitext(os.path.basename(sys.argv[0] or "test"))[0]
_cases = []
_processes = []
_number = itertools.count()
_at_end = []
_ports = []
_tmp = None


class Failed(Exception):
    """A check did not hold."""


class Skip(Exception):
    """The case cannot be tried here."""


# --- cases and checks


def case(f):
    """Register f(); its name, underscores as hyphens, is the case's name."""
    _cases.append((f.__name__.replace("_", "-"), f))
    return f


def log(*words):
    print("   ", *words, flush=True)


def fail(why):
    raise Failed(why)


def skip(why):
    raise Skip(why)


def check(holds, what):
    if not holds:
        raise Failed(what)
    return holds


def equal(got, want, what="value"):
    if got != want:
        raise Failed("%s: got %r, want %r" % (what, got, want))


def wait_for(ready, timeout_s=10, what="condition"):
    """Call ready() until it returns something true; return that."""
    end = time.monotonic() + timeout_s
    while True:
        got = ready()
        if got:
            return got
        if time.monotonic() > end:
            raise Failed("%s: not within %g s" % (what, timeout_s))
        time.sleep(0.02)


# --- where things are


def build(*path):
    """A path in the build folder under test."""
    return os.path.join(os.environ.get("POSTERN_BUILD") or os.path.join(TOP, "build"), *path)


def program(name):
    """Path of one of our programs, build/bin/NAME."""
    path = build("bin", name)
    return path if os.path.exists(path) else fail("no program %s; run make" % path)


_is_sanitized = {}


def is_sanitized(name):
    """Is that program of ours built with a sanitizer? Its memory is that of the sanitizer then, which keeps what is freed
    (256 MiB of it): no bound on it tells anything."""
    if name not in _is_sanitized:
        with open(program(name), "rb") as f:
            octets = f.read()
        _is_sanitized[name] = any(b"__%s_init" % kind in octets for kind in (b"asan", b"tsan", b"msan"))
    return _is_sanitized[name]


def helper(name):
    """Path of the helper program tests/D/X_main.c, called D/X."""
    path = build("tests", name)
    return path if os.path.exists(path) else fail("no program %s; run make helpers" % path)


def need(command):
    """Path of a command of the machine; the case is skipped without it."""
    return shutil.which(command) or skip("no %s on this machine" % command)


def ref(path):
    """Path of a file of the reference servers, e.g. ref("usr/sbin/smtp-source")."""
    at = os.path.join(TOP, "build", "ref", path)
    return at if os.path.lexists(at) else skip("no %s; make interop fetches it" % at)


def ref_env(**more):
    """Environment for programs of the reference servers."""
    root = os.path.join(TOP, "build", "ref")
    libs = [os.path.join(root, "usr/lib/postfix"), os.path.join(root, "usr/lib/dovecot")]
    for lib in ("usr/lib", "lib"):
        at = os.path.join(root, lib)
        libs += [os.path.join(at, d) for d in (os.listdir(at) if os.path.isdir(at) else [])
                 if "-linux-gnu" in d]
    old = [os.environ["LD_LIBRARY_PATH"]] if os.environ.get("LD_LIBRARY_PATH") else []
    return dict(os.environ, LD_LIBRARY_PATH=":".join(libs + old), **more)


def tmp(*path):
    """A path in the script's temporary folder (short enough for unix sockets); parents are made."""
    global _tmp
    if _tmp is None:
        _tmp = tempfile.mkdtemp(prefix=_script[:24] + "-")
        os.chmod(_tmp, 0o755)  # daemons that drop their rights must get through
    at = os.path.join(_tmp, *path)
    os.makedirs(os.path.dirname(at), exist_ok=True)
    return at


def free_port():
    """A TCP port that nobody uses and no other test will be given while this script runs.
    Below the ports that the kernel gives to outgoing connections."""
    for _ in range(2000):
        port = random.randrange(10000, 32000)
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind("\0postern-test-port-%d" % port)  # gone with this process
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                try:
                    probe = socket.socket(family)
                except OSError:
                    continue  # no IPv6 here
                with probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    try:
                        probe.bind((host, port))
                    except OSError as e:
                        if e.errno != 99:  # EADDRNOTAVAIL: no such address here
                            raise
        except OSError:
            claim.close()
            continue
        _ports.append(claim)
        return port
    raise Failed("no free port")


def wait_port(port, timeout_s=10, process=None, host="127.0.0.1"):
    """Until a connection to the port is accepted, or the process has ended."""
    def accepted():
        if process and not process.alive():
            raise Failed("%s ended with %s:\n%s" % (process.name, process.popen.returncode, process.text()))
        try:
            socket.create_connection((host, port), 1).close()
            return True
        except OSError:
            return False
    wait_for(accepted, timeout_s, "port %d" % port)


# --- processes


class Process:
    """A program that runs until the script ends or stop() is called; output goes to .log_path."""

    def __init__(self, argv, name, env, cwd, stdin):
        self.name = name
        self.log_path = tmp("log", "%s.%d" % (name, next(_number)))
        with open(self.log_path, "wb") as out:
            self.popen = subprocess.Popen(argv, stdin=stdin, stdout=out, stderr=subprocess.STDOUT,
                                          env=_env(env), cwd=cwd, start_new_session=True)
        self.pid = self.popen.pid
        _processes.append(self)

    def alive(self):
        return self.popen.poll() is None

    def text(self):
        with open(self.log_path, "rb") as f:
            return f.read().decode("utf-8", "backslashreplace")

    def wait(self, timeout_s=10):
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Failed("%s (pid %d) did not end within %g s" % (self.name, self.pid, timeout_s)) from None

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def kill(self):
        """kill -9, only this process."""
        self.signal(signal.SIGKILL)
        return self.wait()

    def stop(self, timeout_s=10):
        """SIGTERM, wait; SIGKILL and failure when that does not help. Returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.wait(timeout_s)
        except Failed:
            self.kill()
            raise


def start(argv, name=None, env=None, cwd=None, stdin=subprocess.DEVNULL):
    return Process([str(a) for a in argv], name or os.path.basename(str(argv[0])), env, cwd, stdin)


def forget(process):
    """One that has ended, and whose log nobody will want."""
    if process in _processes and not process.alive():
        _processes.remove(process)


def run(argv, input=None, timeout_s=60, env=None, cwd=None):
    """Run to the end; returns subprocess.CompletedProcess with .stdout and .stderr as bytes."""
    stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
    try:
        return subprocess.run([str(a) for a in argv], timeout=timeout_s, env=_env(env), cwd=cwd,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **stdin)
    except subprocess.TimeoutExpired:
        raise Failed("%s did not end within %g s" % (argv[0], timeout_s)) from None


def at_end(f, *args):
    """Call f(*args) before processes are ended, last registered first."""
    _at_end.append((f, args))


def _env(env):
    """Sanitizers report to files, where _sanitizer_reports() finds them."""
    env = dict(os.environ if env is None else env)
    folder = tmp("san", "x")[:-2]
    os.chmod(folder, 0o1777)
    for key, more in (("ASAN", ""), ("UBSAN", ":print_stacktrace=1"), ("TSAN", ""), ("LSAN", "")):
        own = env.get(key + "_OPTIONS")
        env[key + "_OPTIONS"] = "log_path=%s/%s%s%s" % (folder, key.lower(), more, ":" + own if own else "")
    return env


def _descendants():
    """Living processes under this one: [(pid, exe)]. Orphans come to us, see main()."""
    parent = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % pid) as f:
                state, ppid = f.read().rsplit(")", 1)[1].split()[:2]
            if state not in "ZX":
                parent[int(pid)] = int(ppid)
        except OSError:
            pass
    found, todo = [], [os.getpid()]
    while todo:
        at = todo.pop()
        for pid in [p for p, pp in parent.items() if pp == at]:
            try:
                exe = os.readlink("/proc/%d/exe" % pid)
            except OSError:
                exe = "?"
            found.append((pid, exe))
            todo.append(pid)
    return found


def _end_processes():
    """End what was started, newest first, then whatever that left. Returns complaints."""
    for p in reversed(_processes):
        try:
            p.stop()
        except Failed:
            pass  # a hang that matters is told by a case that calls stop()
    ours = os.path.realpath(build("bin")) + os.sep
    end = time.monotonic() + 3  # workers see their supervisor go
    while any(exe.startswith(ours) for _, exe in _descendants()) and time.monotonic() < end:
        time.sleep(0.05)
    left = _descendants()
    for _ in range(100):
        for pid, _exe in _descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:  # what is dead is buried too
                pass
        except ChildProcessError:
            break
        time.sleep(0.02)
    return ["%s (pid %d) was left behind" % (exe, pid) for pid, exe in left if exe.startswith(ours)]


# What a leak check says, and nothing more, when its process is killed in the middle of it (our daemons are killed
# when their supervisor is gone before them): the lack of a finding, not one.
_CUT_OFF = re.compile(r"(==\d+==Unable to get registers from thread \d+\.\n)+")


def _sanitizer_reports():
    reports = []
    folder = tmp("san", "x")[:-2]
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as f:
            text = f.read().decode("utf-8", "backslashreplace")
        if not _CUT_OFF.fullmatch(text):
            reports.append((name, text))
    for p in _processes:  # who may not write the file writes here
        text = p.text()
        if "Sanitizer:" in text or ": runtime error: " in text:
            reports.append((p.name, text))
    return reports


def _run_case(name, f, count):
    began = time.monotonic()
    try:
        f()
        count["ok"] += 1
        print("ok %s" % name, flush=True)
        return
    except Skip as e:
        count["skip"] += 1
        print("skip %s %s" % (name, e), flush=True)
        return
    except Failed as e:
        where = [x for x in traceback.extract_tb(e.__traceback__) if x.filename != __file__]
        why = "%s [%s]" % (e, ", ".join("%s:%d" % (os.path.basename(x.filename), x.lineno) for x in where))
    except Exception as e:  # noqa: BLE001 - a broken case must not take the others along
        traceback.print_exc(file=sys.stdout)
        why = "%s: %s" % (type(e).__name__, e)
    first, _, rest = why.partition("\n")
    count["not ok"] += 1
    print("not ok %s %s (after %.1f s)" % (name, first, time.monotonic() - began), flush=True)
    for line in rest.splitlines():
        log(line)


def main():
    """Run the cases (those named on the command line, or all) and exit."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become our children
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    count = {"ok": 0, "not ok": 0, "skip": 0}
    wanted = sys.argv[1:]
    for w in wanted:
        if not any(w == name for name, _ in _cases):
            print("not ok %s no such case" % w)
            count["not ok"] += 1
    try:
        for name, f in _cases:
            if not wanted or name in wanted:
                _run_case(name, f, count)
    finally:
        bad = count["not ok"]
        for f, args in reversed(_at_end):
            _run_at_end(f, args, count)
        for why in _end_processes():
            print("not ok nothing-left-behind %s" % why)
            count["not ok"] += 1
        for name, text in _sanitizer_reports():
            print("not ok sanitizer %s reported:" % name)
            print(text)
            count["not ok"] += 1
        if count["not ok"] > bad or bad:
            for p in _processes:
                print("--- log of %s (pid %d)" % (p.name, p.pid))
                print("\n".join(p.text().splitlines()[-200:]))
        if os.environ.get("POSTERN_KEEP"):
            print("kept: %s" % _tmp)
        elif _tmp:
            shutil.rmtree(_tmp, ignore_errors=True)
        print("%d passed, %d failed%s" % (count["ok"], count["not ok"],
                                          ", %d skipped" % count["skip"] if count["skip"] else ""), flush=True)
    sys.exit(1 if count["not ok"] else 0)


def _run_at_end(f, args, count):
    try:
        f(*args)
    except Exception as e:  # noqa: BLE001
        traceback.print_exc(file=sys.stdout)
        print("not ok %s at the end: %s" % (f.__name__, e))
        count["not ok"] += 1
