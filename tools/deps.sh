#!/bin/sh
set -eu
[ "$1" = build ] && {
  mkdir -p "$(dirname "$2")"
  { echo DEPS_READY := yes; echo DEPS_CFLAGS := $(pkg-config --cflags openssl sqlite3 libuv libcrypt libcares zlib)
  awk '!/^#/ && $3 {print $2, $3}' tools/layers.list | while read f m; do echo "DEPS_LIBS_$f := $(pkg-config --libs $m)"; done; } > $2.tmp
  mv $2.tmp $2
}
