#!/usr/bin/env python3
"""tools/rfc-map.py [-v] - which sections of RFCs IMAP's and POP3's code cites that no script of tests/script shows.

A citation is "RFC 7162 §3.2.5" in a comment of the files below; a "§" alone goes on with the RFC before it. A script's name begins with what it shows: 7162-3.2.5-what.imap;
"also RFC 9051 §7.2.1, §7.2.2" in a remark of it adds more. A citation is covered by a script of that section or
of one below it; one without a section by any script of the RFC. tests/script/PROTOCOL/rfc.map says which sections are
the same thing and in which there is nothing to show:

    same 3501 6.3.1 = 9051 6.3.2    what covers the one covers the other
    none 3501 9  the grammar        and why

Exit status 1 when something is not covered. -v: also what covers what, and scripts that nothing cites.
"""
import glob
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = os.path.join(TOP, "tests", "script")
SOURCES = {"imap": ["imapd/*.[ch]", "proto/imap*.[ch]", "login/login_imap*.[ch]"],
           "pop3": ["pop3d/*.[ch]", "proto/pop3*.[ch]", "login/login_pop3*.[ch]"]}
COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|(/\*.*?\*/|//[^\n]*)', re.S)
WORD = re.compile(r"(?:RFCs?\s+(?=\d)|\b(?=\d{4} §))(\d{3,5})|(design|architecture|style)\S*\s+§\S+|§\s?([0-9A-Z](?:[0-9A-Za-z.]*[0-9A-Za-z])?)")
NAME = re.compile(r"(\d{3,5})(?:-([0-9A-Z](?:\.\d+)*))?(?:-[^.].*)?$")


def sections(text, rfc=None):
    """(RFC, section or "", offset) of each citation in one comment."""
    bare = None  # an RFC that no § has followed yet
    for m in WORD.finditer(text):
        if m.group(1):
            if bare:
                yield bare[0], "", bare[1]
            rfc, bare = m.group(1), (m.group(1), m.start())
        elif m.group(3) and rfc:
            yield rfc, m.group(3), m.start()
            bare = None
    if bare:
        yield bare[0], "", bare[1]


def cited(protocol):
    """{(RFC, section): ["file:line", ...]}"""
    out = {}
    for path in sorted(p for s in SOURCES[protocol] for p in glob.glob(os.path.join(TOP, s))):
        if path.endswith("_test.c"):
            continue
        with open(path, encoding="utf-8") as f:
            text = f.read()
        last = None
        for m in COMMENT.finditer(text):
            if not m.group(1):
                continue
            comment = re.sub(r"\n\s*\*?", lambda b: " " * len(b.group()), m.group(1))
            for rfc, section, at in sections(comment, last):
                last = rfc
                where = "%s:%d" % (os.path.relpath(path, TOP), text.count("\n", 0, m.start() + at) + 1)
                out.setdefault((rfc, section), []).append(where)
    return out


def shown(protocol):
    """{(RFC, section): [script, ...]}"""
    out = {}
    for path in sorted(glob.glob(os.path.join(SCRIPTS, protocol, "*." + protocol))):
        name = os.path.basename(path)
        m = NAME.match(name[:-5])
        if not name[0].isdigit():
            continue  # of what no RFC has: gmail-xlist
        if not m:
            sys.exit("rfc-map: %s: a script's name is RFC-SECTION[-what].%s" % (name, protocol))
        out.setdefault((m.group(1), m.group(2) or ""), []).append(name)
        with open(path, encoding="utf-8") as f:
            for line in f:
                also = re.match(r"#.*?\balso (RFC .*)", line, re.I)
                if also:
                    for rfc, section, _ in sections(also.group(1)):
                        out.setdefault((rfc, section), []).append(name)
    return out


def read_map(protocol):
    same, none = {}, {}
    path = os.path.join(SCRIPTS, protocol, "rfc.map")
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.split("#")[0].strip()
            s = re.fullmatch(r"same (\d+) (\S+)((?: = \d+ \S+)+)", line)
            n = re.fullmatch(r"none (\d+) (\S+)\s+(.+)", line)
            if s:
                all_of = [(s.group(1), s.group(2))] + re.findall(r"= (\d+) (\S+)", s.group(3))
                group = set(all_of).union(*(same.get(k, ()) for k in all_of))
                for k in group:
                    same[k] = group
            elif n:
                none[n.group(1), "" if n.group(2) == "-" else n.group(2)] = n.group(3)
            elif line:
                sys.exit("rfc-map: %s:%d: not a line of it" % (path, number))
    return same, none


def covers(of, shown_of, same):
    """The scripts that show a section: of it, of one below it, or of one that is the same."""
    got = []
    for rfc, section in same.get(of, {of}):
        for (r, s), names in shown_of.items():
            if r == rfc and (section in ("", s) or s.startswith(section + ".")):
                got += names
    return sorted(set(got))


def look(protocol, verbose):
    cites, scripts, (same, none) = cited(protocol), shown(protocol), read_map(protocol)
    missing, used = 0, set()

    def key(k):
        return int(k[0]), [int(x) if x.isdigit() else x.lower() for x in re.split(r"[.]", k[1])] if k[1].replace(".", "").isdigit() else []

    for of in sorted(cites, key=key):
        by = covers(of, scripts, same)
        used.update(by)
        name = "RFC %s%s" % (of[0], " §" + of[1] if of[1] else "")
        if by and of in none:
            print("%s: has a script and a line in rfc.map that there is none" % name)
            missing += 1
        elif not by and of not in none:
            print("%s: no script; cited by %s" % (name, ", ".join(cites[of][:4]) + (" ..." if len(cites[of]) > 4 else "")))
            missing += 1
        elif verbose:
            print("%s: %s" % (name, " ".join(by) or "none: " + none[of]))
    if verbose:
        for names in scripts.values():
            for n in names:
                if n not in used:
                    used.add(n)
                    print("%s: nothing cites it" % n)
    print("%s: %d sections cited, %d scripts, %d without one" % (protocol, len(cites),
                                                                len(set(n for v in scripts.values() for n in v)), missing))
    return missing


def main():
    missing = [look(protocol, "-v" in sys.argv[1:]) for protocol in SOURCES]
    return 1 if any(missing) else 0


if __name__ == "__main__":
    sys.exit(main())
