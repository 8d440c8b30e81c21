#!/bin/sh
# tools/fetch-peer.sh [-d FOLDER] PACKAGE... - unpack Debian packages into FOLDER (default build/ref)
# without installing them: nothing on the machine changes, no daemon starts, conflicting mail servers
# stand side by side. Libraries and programs that a package depends on and the machine lacks are
# unpacked too. What is there already is not fetched again.
# Run a program from it with LD_LIBRARY_PATH; tests/lib/harness.py has ref() and ref_env() for that.
set -eu
cd "$(dirname "$0")/.."
dir=build/ref
[ "${1-}" = -d ] && { dir=$2; shift 2; }
[ $# -gt 0 ] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
mkdir -p build "$dir/.have"
if [ -z "${POSTERN_DEPS_LOCKED-}" ] && command -v flock >/dev/null; then
    export POSTERN_DEPS_LOCKED=1
    exec flock build/.deps.lock "$0" -d "$dir" "$@"
fi

want=
for p; do [ -e "$dir/.have/$p" ] || want="$want $p"; done
[ -n "$want" ] || exit 0
command -v apt-get >/dev/null || { echo "fetch-peer: no apt-get here; cannot fetch:$want" >&2; exit 1; }
echo "fetch-peer: unpacking$want into $dir"

apt=$PWD/build/apt
mkdir -p "$apt/debs"
if [ "$(id -u)" = 0 ]; then
    apt_get() { apt-get -q -o APT::Sandbox::User=root -o DPkg::Lock::Timeout=300 "$@"; }
else # lists of our own: those of the machine are not ours to refresh
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial"
    apt_get() {
        apt-get -q -o Debug::NoLocking=1 -o Dir::State="$apt/state" -o Dir::Cache="$apt/cache" \
            -o Dir::State::status=/var/lib/dpkg/status "$@"
    }
fi
# the packages, and whatever they depend on that is not installed; --simulate needs no rights. One by one: apt would not
# have two mail servers on one machine
# shellcheck disable=SC2086
fetch() {
    list=$(for p in $want; do apt_get --simulate --no-install-recommends install "$p" || exit 1; done) || return 1
    need=
    for p in $want $(printf '%s\n' "$list" | sed -n 's/^Inst \([^ ]*\) .*/\1/p'); do
        case " $need " in *" $p "*) continue ;; esac
        [ -e "$dir/.have/${p%%:*}" ] || need="$need $p"
    done
    (cd "$apt/debs" && rm -f -- *.deb && apt_get download $need)
}
if ! fetch >"$apt/log" 2>&1; then
    { apt_get update && fetch; } >>"$apt/log" 2>&1 || { sleep 5; apt_get update && fetch; } >>"$apt/log" 2>&1 || {
        tail -n 20 "$apt/log" >&2
        echo "fetch-peer: cannot fetch$want" >&2
        exit 1
    }
fi
for deb in "$apt"/debs/*.deb; do
    dpkg-deb -x "$deb" "$dir"
done
# A -dev package links to a library that the machine may have in its own folders.
find "$dir" -name '*.so*' -type l ! -exec test -e {} \; -print | while read -r link; do
    name=$(basename "$(readlink "$link")")
    for at in /lib /usr/lib /lib/*-linux-gnu* /usr/lib/*-linux-gnu*; do
        [ -e "$at/$name" ] && { ln -sf "$at/$name" "$link"; break; }
    done
done
for deb in "$apt"/debs/*.deb; do
    : >"$dir/.have/$(dpkg-deb -f "$deb" Package)"
done
rm -f "$apt"/debs/*.deb
for p in $want; do
    [ -e "$dir/.have/$p" ] || { echo "fetch-peer: $p did not arrive" >&2; exit 1; }
done
