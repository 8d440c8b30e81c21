#!/bin/sh
# tools/deps.sh GROUP [MAKEFILE] - see that what a group of tools/packages.list names is there.
#   build    what compiling needs; writes the compiler's options for it to MAKEFILE
#   test     python3 and the mail clients that `make check` runs
#   quickstart  python3
#   interop  the reference servers, unpacked in build/ref
#   fuzz     a clang with libFuzzer
# What is missing is installed by apt-get, as root or by sudo without a password. Without such rights it
# is unpacked into build/deps and used from there. interop always unpacks: the machine's own mail
# server is left alone.
set -eu
cd "$(dirname "$0")/.."
group=${1:?which group} mk=${2-}
. tools/env.sh

row_is_there() {
    case $group:$1 in
    interop:*) [ -e "build/ref/.have/$2" ] ;;
    fuzz:*) [ -n "$(tools/fuzz-cc)" ] ;;
    *:perl:*) perl -M"${1#perl:}" -e 1 2>/dev/null ;;
    test:* | quickstart:* | build:pkg-config) command -v "$1" >/dev/null 2>&1 ;;
    build:*) pkg-config --exists "$1" 2>/dev/null ;;
    esac
}
find_missing() {
    missing=$(grep "^$group " tools/packages.list | while read -r _ what package; do
        row_is_there "$what" "$package" || printf ' %s' "$package"
    done)
}
# Debian starts a daemon when it installs one unless policy-rc.d says no.
apt_install() {
    no_start=/usr/sbin/policy-rc.d
    if [ ! -e $no_start ]; then
        trap '$sudo rm -f $no_start' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' | $sudo tee $no_start >/dev/null
        $sudo chmod 755 $no_start
    fi
    # shellcheck disable=SC2086
    {
        try() {
            $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 \
                install -y --no-install-recommends $missing
        }
        $sudo apt-get -q update || :
        try || { sleep 5; $sudo apt-get -q update || :; try; }
    } >build/apt.log 2>&1 || { tail -n 20 build/apt.log >&2; return 1; }
}
get_missing() {
    find_missing
    [ -n "$missing" ] || return 0
    if [ "$group" != interop ]; then
        sudo=none
        if ! command -v apt-get >/dev/null; then
            echo "deps: no apt-get here; please install what Debian calls$missing" >&2
            return 1
        elif [ "$(id -u)" = 0 ]; then
            sudo=
        elif sudo -n true 2>/dev/null; then
            sudo='sudo -n'
        fi
        if [ "$sudo" != none ]; then
            echo "deps: installing$missing (for $group)"
            apt_install
        else
            echo "deps: no right to install$missing (for $group); unpacking into build/deps instead"
            # shellcheck disable=SC2086
            tools/fetch-peer.sh -d build/deps $missing
            . tools/env.sh
        fi
    else
        # shellcheck disable=SC2086
        tools/fetch-peer.sh $missing
    fi
    find_missing
    [ -z "$missing" ] || { echo "deps: still missing:$missing" >&2; return 1; }
}
# Compiler options for what the rows of tools/layers.list name, a line each.
write_makefile() {
    deps=$PWD/build/deps
    echo "# by tools/deps.sh; make deps writes it again"
    modules=$(awk '!/^#/ && $3 != "" { print $3 }' tools/layers.list)
    # shellcheck disable=SC2086
    flags=$(pkg-config --cflags-only-other $modules)
    ldflags=
    if [ -d "$deps/usr/include" ]; then
        for at in "$deps/usr/include" "$deps"/usr/include/*-linux-gnu*; do
            [ -d "$at" ] && flags="$flags -isystem $at"
        done
        for at in "$deps"/usr/lib/*-linux-gnu* "$deps"/lib/*-linux-gnu*; do
            [ -d "$at" ] && ldflags="$ldflags -L$at -Wl,-rpath,$at"
        done
    else
        # shellcheck disable=SC2086
        flags="$flags $(pkg-config --cflags-only-I $modules)"
        # shellcheck disable=SC2086
        ldflags=$(pkg-config --libs-only-L $modules)
    fi
    echo "DEPS_CFLAGS := $flags"
    echo "DEPS_LDFLAGS := $ldflags"
    awk '!/^#/ && $3 != "" { print $2, $3 }' tools/layers.list | while read -r folder module; do
        echo "DEPS_LIBS_$folder := $(pkg-config --libs-only-l "$module")"
    done
    echo "DEPS_READY := yes"
}

find_missing
if [ -n "$missing" ]; then
    mkdir -p build
    if [ -z "${POSTERN_DEPS_LOCKED-}" ] && command -v flock >/dev/null; then
        export POSTERN_DEPS_LOCKED=1
        exec flock build/.deps.lock "$0" "$@"
    fi
    get_missing
fi
if [ -n "$mk" ]; then
    mkdir -p "$(dirname "$mk")"
    write_makefile >"$mk.$$"
    mv "$mk.$$" "$mk"
fi
