# shellcheck shell=sh
# tools/env.sh - sourced from the top folder: use what tools/deps.sh unpacked into build/deps, if it
# had to. What is installed on the machine comes first.
if [ -d build/deps/usr ]; then
    for postern_dir in "$PWD"/build/deps/usr/lib/*-linux-gnu* "$PWD"/build/deps/lib/*-linux-gnu*; do
        [ -d "$postern_dir" ] || continue
        LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$postern_dir"
        PKG_CONFIG_PATH="${PKG_CONFIG_PATH:+$PKG_CONFIG_PATH:}$postern_dir/pkgconfig"
        for postern_perl in "$postern_dir"/perl5/*; do
            [ -d "$postern_perl" ] && PERL5LIB="${PERL5LIB:+$PERL5LIB:}$postern_perl"
        done
    done
    PERL5LIB="${PERL5LIB:+$PERL5LIB:}$PWD/build/deps/usr/share/perl5"
    PATH="$PATH:$PWD/build/deps/usr/bin:$PWD/build/deps/usr/sbin"
    export PATH LD_LIBRARY_PATH PKG_CONFIG_PATH PERL5LIB
    unset postern_dir postern_perl
fi
