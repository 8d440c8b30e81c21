#!/bin/sh
# fetch-peer.sh - unpack Debian packages into build/ref/root, installing nothing.
#
#   tools/fetch-peer.sh PACKAGE...
#
# Downloads each package, and whatever it depends on that this machine has not installed, with apt's own
# client, and unpacks them (never their maintainer scripts) into build/ref/root. The tests and the benchmark
# run real mail servers out of that folder. A package already unpacked is not looked up again: the second
# run takes milliseconds and needs no network. REF_DIR=DIR puts everything somewhere else than build/ref.
# Prints the root folder. Exit: 0 all there, 1 something could not be fetched, 2 usage.
set -eu

[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
top=$(cd "$(dirname "$0")/.." && pwd)
ref=${REF_DIR:-$top/build/ref}
root=$ref/root
mkdir -p "$ref/stamp" "$ref/deb"
for d in bin sbin lib lib64; do # one /usr, as on every Debian since 12: packages still ship /lib and /bin
    mkdir -p "$root/usr/$d"
    [ -e "$root/$d" ] || ln -s "usr/$d" "$root/$d"
done

missing() {
    for p; do
        [ -e "$ref/stamp/$p" ] || echo "$p"
    done
}

exec 9>"$ref/lock"
command -v flock >/dev/null && flock 9
want=$(missing "$@")
[ -n "$want" ] || { echo "$root"; exit 0; }
command -v apt-get >/dev/null || { echo "fetch-peer: apt-get not found, cannot fetch: "$want >&2; exit 1; }

# One simulated installation says what is needed beside the packages; a machine that has never seen the
# package lists gets them once.
# shellcheck disable=SC2086  # $want and $need are lists
plan() { apt-get install --simulate --no-install-recommends -q $want 2>"$ref/plan.err"; }
if ! out=$(plan); then
    [ "$(id -u)" = 0 ] && apt-get update -q >"$ref/update.log" 2>&1 || true
    out=$(plan) || { cat "$ref/plan.err" >&2; exit 1; }
fi
need=$(printf '%s\n' "$out" | awk '$1 == "Inst" { print $2 }')
need=$(missing $(printf '%s\n' $want $need | sort -u)) # what was asked for is fetched even if installed

cd "$ref/deb"
rm -f ./*.deb
fetch() { apt-get download -q -o APT::Sandbox::User= $need >"$ref/download.log" 2>&1; }
if ! fetch; then # lists older than the mirror: try once with new ones
    [ "$(id -u)" = 0 ] && apt-get update -q >"$ref/update.log" 2>&1 || true
    fetch || { tail -n 5 "$ref/download.log" >&2; exit 1; }
fi
for deb in ./*.deb; do
    name=$(dpkg-deb -f "$deb" Package)
    # dpkg-deb -x would replace the /lib link with a folder
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink --no-same-owner
    dpkg-deb -f "$deb" Version >"$ref/stamp/$name"
    rm -f "$deb"
done
cd "$top"
left=$(missing "$@")
[ -z "$left" ] || { echo "fetch-peer: not fetched: "$left >&2; exit 1; }
echo "$root"
