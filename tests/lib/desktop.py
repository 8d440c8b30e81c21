"""Programs with windows, unpacked under build/desktop by tools/fetch-peer.sh: they need no screen, as each has a headless mode."""
import os
import subprocess

from harness import TOP, skip

PACKED = os.path.join(TOP, "build", "desktop")


def desktop_fetch(*packages):
    r = subprocess.run([os.path.join(TOP, "tools", "fetch-peer.sh"), "-d", PACKED, *packages], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True)
    if r.returncode != 0:
        skip("fetch-peer.sh: %s" % (r.stdout.strip().splitlines() or ["failed"])[-1])


def desktop_program(path, *packages):
    """A program by its path in the packages, which are fetched."""
    desktop_fetch(*packages)
    at = os.path.join(PACKED, path)
    return at if os.path.exists(at) else skip("no %s" % at)


def desktop_env(home):
    os.makedirs(home, exist_ok=True)
    libs = [p for p, _, _ in os.walk(PACKED) if p.endswith(("-linux-gnu", "-linux-gnu/pulseaudio"))]
    return dict(os.environ, LD_LIBRARY_PATH=":".join(libs), HOME=home, XDG_CONFIG_HOME=os.path.join(home, ".config"),
                XDG_CACHE_HOME=os.path.join(home, ".cache"), XDG_RUNTIME_DIR=home, LANG="C.UTF-8")


def screens(what):
    """The folder that screenshots are left in."""
    at = os.path.join(TOP, "build", "screens", what)
    os.makedirs(at, exist_ok=True)
    return at
