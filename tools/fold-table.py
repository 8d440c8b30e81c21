#!/usr/bin/env python3
"""Print base/fold_table.h: RFC 5051's titlecase and decomposition of every character, from Python's Unicode data."""
import unicodedata as u

def title(c):
    t = c.title()
    return t if len(t) == 1 else c  # longer ones are SpecialCasing's, which RFC 5051 does not use

def fold(c):
    c = title(c)
    d = "" if "\uac00" <= c <= "\ud7a3" else u.decomposition(c)
    if not d:
        return c
    return "".join(fold(chr(int(x, 16))) for x in d.split() if not x.startswith("<"))

m = {}
for cp in range(0x110000):
    if 0xd800 <= cp <= 0xdfff: continue
    f = fold(chr(cp))
    if f != chr(cp): m[cp] = f
singles = {c: ord(f) for c, f in m.items() if len(f) == 1 and c > 0x7f}
multis = {c: f for c, f in m.items() if len(f) > 1}
# ranges with step 1 or 2 and constant delta
rows = []
left = dict(singles)
for cp in sorted(singles):
    if cp not in left: continue
    best = None
    for step in (1, 2):
        n = 0
        while cp + n*step in left and left[cp+n*step] - (cp+n*step) == left[cp] - cp: n += 1
        if best is None or n > best[1]: best = (step, n)
    step, n = best
    rows.append((cp, cp+(n-1)*step, step, left[cp]-cp))
    for i in range(n): del left[cp+i*step]

out = []
P = out.append
P("/* base/fold_table.h - made by tools/fold-table.py from Unicode %s: what RFC 5051 makes of each character, titlecase and"
  "\n * decomposition to the end. Runs: first, last, step, what is added. Others: character, how many, which. ASCII and Hangul"
  "\n * are code. */" % u.unidata_version)
P("/* clang-format off */")
P("static const struct {\n    uint32_t first, last;\n    uint8_t step;\n    int32_t delta;\n} fold_runs[] = {")
def lines(items, width=98):
    line = "   "
    for i in items:
        if len(line) + 1 + len(i) > width:
            P(line); line = "   "
        line += " " + i
    P(line)
runs = [r for r in rows if r[0] != r[1]]
lone = {r[0]: (r[0] + r[3],) for r in rows if r[0] == r[1]}
lines("{ 0x%X, 0x%X, %d, %d }," % r for r in runs)
P("};")
other = dict(lone)
other.update({c: tuple(map(ord, f)) for c, f in multis.items()})
P("static const uint32_t fold_others[] = {")
lines("".join("0x%X,%d,%s" % (c, len(t), "".join("0x%X," % x for x in t))) for c, t in sorted(other.items()))
P("};")
P("/* clang-format on */")
print("\n".join(out))
