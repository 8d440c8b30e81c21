"""Fuzz targets (tests/fuzz) as cases: each runs from its seeds for some seconds; whatever it finds is shown as base64
and fails the case. Put the octets into a file and give it to build/fuzz/tests/fuzz/NAME to see it again; once mended,
a small one belongs into tests/fuzz/corpus/NAME/.
"""
import base64
import glob
import os
import re
import shutil
import subprocess
import tempfile

from harness import TOP, case, check, fail, log, tmp

FOLDER = os.environ.get("POSTERN_FUZZ") or os.path.join(TOP, "build", "fuzz")
SHOWN_OCTETS = 4096  # of an input that breaks something
MEMORY_MIB = 1024
INPUT_S = 10  # one input that takes longer is a failure
GRACE_S = 120  # to read the seeds on a busy machine


def targets():
    return sorted(os.path.basename(p)[len("fuzz_"):-len(".c")]
                  for p in glob.glob(os.path.join(TOP, "tests", "fuzz", "fuzz_*.c")))


def fuzz_case(name, seconds, octets):
    def run():
        run_target(name, seconds, octets)
    run.__name__ = name
    case(run)


def run_target(name, seconds, octets):
    program = os.path.join(FOLDER, "tests", "fuzz", name)
    seeds = os.path.join(TOP, "tests", "fuzz", "corpus", name)
    words = os.path.join(TOP, "tests", "fuzz", name + ".dict")
    check(os.path.exists(program), "no program %s; run make fuzz" % program)
    check(os.path.isdir(seeds), "no seeds in %s" % seeds)
    work, found = tmp(name, "corpus", "x")[:-2], tmp(name, "found", "x")[:-1]
    argv = [program, "-max_total_time=%d" % seconds, "-rss_limit_mb=%d" % MEMORY_MIB, "-timeout=%d" % INPUT_S,
            "-max_len=%d" % octets, "-artifact_prefix=" + found, work, seeds]
    if os.path.exists(words):
        argv.insert(1, "-dict=" + words)
    # in memory where that can be: imapd's mailboxes are synced again and again
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    scratch = tempfile.mkdtemp(prefix="t_fuzz-", dir=memory)
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              cwd=tmp(name, "x")[:-2], timeout=seconds + GRACE_S,
                              env=dict(os.environ, TMPDIR=scratch))
    except subprocess.TimeoutExpired:
        fail("did not end after %d s" % (seconds + GRACE_S))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    text = done.stdout.decode("utf-8", "backslashreplace")
    shutil.rmtree(work, ignore_errors=True)
    if done.returncode != 0:
        fail("\n".join(["status %d" % done.returncode] + essence(text) + inputs(found) + ["full run: " + " ".join(argv)]))
    runs = re.search(r"^(Done \d+ runs|replayed \d+ inputs)", text, re.M)
    check(runs, "no word of how many inputs were tried:\n" + text[-2000:])
    log(name + ":", runs.group(1).lower())


def essence(text):
    """The report without libFuzzer's progress."""
    return [line for line in text.splitlines()
            if not re.match(r"#\d+\s|INFO: |Base64: |artifact_prefix|\tNEW|MS: |0x[0-9a-f,x]+$", line)][-80:]


def inputs(folder):
    lines = []
    for path in sorted(glob.glob(folder + "*")):
        with open(path, "rb") as f:
            octets = f.read()
        lines.append("input %s, %d octets, base64%s:" % (
            os.path.basename(path), len(octets), "" if len(octets) <= SHOWN_OCTETS else " of the first %d" % SHOWN_OCTETS))
        lines.append(base64.b64encode(octets[:SHOWN_OCTETS]).decode())
    return lines
