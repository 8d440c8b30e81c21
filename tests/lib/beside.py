"""A real Postfix beside Postern, with one configuration and one users' database, and dialogues with both.

    with Pair(tmp("b"), dns) as pair:
        pair.configure(["smtpd_delay_reject = no"])
        for d in pair.compare(dialogues): print(d.name, d.differences)

Postfix is Debian's: the installed one, or the one that `make interop` has unpacked under build/ref. It asks our authd for
passwords and hands what it accepts to our lmtpd, so that it needs nothing else. Dialogues come from *.cases files (see
tests/smtp-beside/README.md); each has a client address of its own, by which the log lines of both are told apart.
"""
import concurrent.futures
import difflib
import glob
import os
import re
import shutil
import socket
import sys
import time

from dnsd import SMTP_CASES_ZONE
from harness import TOP, Failed, Skip, wait_for
from refstack import PACKED, RefStack
from stack import Stack

sys.path.insert(0, os.path.join(TOP, "tests", "smtp-cases"))
import smtpdiff

CASES = os.path.join(TOP, "tests", "smtp-beside")
SAMPLE = os.path.join(TOP, "tests", "smtp-cases", "cases")
USERS = ["u%d@example.com" % i for i in range(200)]
JOBS = 12
# Each dialogue's own address: 127.101.x.y, or 127.102.x.y which the configuration trusts.
NETWORKS = {"untrusted": "127.101", "trusted": "127.102"}
LISTENERS = {"mx": "smtp", "submission": "submission", "submissions": "submissions"}


def postfix_folder():
    """Where the packed Postfix is: "/" when it is installed, build/ref when it is unpacked there. Skips the case without."""
    for folder in ("/", PACKED):
        if os.path.exists(os.path.join(folder, "usr/lib/postfix/sbin/master")):
            return folder
    raise Skip("no Postfix: it is neither installed nor unpacked in build/ref (make interop does that)")


# --------------------------------------------------------------------------------------------------- dialogues


class Dialogue(smtpdiff.Case):
    """A case of smtpdiff's that stands in a file with others."""

    def __init__(self, path, name, meta, lines, first):
        self.path, self.name, self.meta, self.first = path, name, meta, first
        self.text, self.category = "\n".join(lines), os.path.basename(path)[:-len(".cases")]
        self.meta.setdefault("name", name)
        self.contains, self.steps, self.open_mode = [], [], "normal"
        try:
            self.parse_body(self.unroll([(first + k, line.rstrip()) for k, line in enumerate(lines, 1)]))
        except (smtpdiff.CaseError, ValueError) as e:
            raise Failed("%s: %s: %s" % (path, name, e)) from None
        self.uses_token = "{token}" in self.text or "MSG" in lines


class Config:
    """A file of dialogues: lines for main.cf, then the dialogues."""

    def __init__(self, path):
        self.path, self.name = path, os.path.basename(path)[:-len(".cases")]
        self.main_cf, self.flags, self.dialogues = [], set(), []
        with open(path, encoding="utf-8") as f:
            lines = f.read().splitlines()
        at = next((i for i, line in enumerate(lines) if line.startswith("== ")), len(lines))
        for line in lines[:at]:
            if line.startswith("flags:"):
                self.flags = set(line[len("flags:"):].split())
            elif line.strip() and not line.startswith("#"):
                self.main_cf.append(line)
        while at < len(lines):
            end = next((i for i in range(at + 1, len(lines)) if lines[i].startswith("== ")), len(lines))
            self.dialogues.append(self.dialogue(lines[at], lines[at + 1:end], at + 1))
            at = end
        names = [d.name for d in self.dialogues]
        if len(set(names)) != len(names):
            raise Failed("%s: a name is used twice: %s" % (path, sorted(n for n in names if names.count(n) > 1)))

    def dialogue(self, head, lines, first):
        m = re.match(r"== (\S+)((?: (?:mx|submission|submissions|trusted|untrusted|codes|nolog|nomail|at=[\d.]+))*)(?:: (.*))?$", head)
        if not m:
            raise Failed("%s:%d: cannot read %r" % (self.path, first, head))
        words = m.group(2).split()
        meta = {"listener": next((w for w in words if w in LISTENERS), "mx"),
                "trust": "trusted" if "trusted" in words else "untrusted", "about": m.group(3) or ""}
        d = Dialogue(self.path, "%s/%s" % (self.name, m.group(1)), meta, lines, first)
        d.codes_only, d.no_log, d.no_mail = ("codes" in words, "nolog" in words, "nomail" in words)
        d.source = next((w[3:] for w in words if w.startswith("at=")), None)
        return d


def configs(only=()):
    return [Config(p) for p in sorted(glob.glob(os.path.join(CASES, "*.cases")))
            if not only or os.path.basename(p)[:-len(".cases")] in only]


def recorded(spread):
    """Of the recorded dialogues the first of each category, and every so many of all. Those that wait are left out."""
    found, seen = [], set()
    for k, c in enumerate(smtpdiff.load_cases(SAMPLE)):
        if c.name == "alias-and-target":
            continue  # behind the recording was Dovecot's LMTP, which made one of two copies
        if cost(c) < 100 and (c.category not in seen or k % spread == 0):
            seen.add(c.category)
            found.append(c)
    return found


# --------------------------------------------------------------------------------------------------- what is compared

QUEUE_ID = r"\b(?:[0-9A-F]{8,15}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20})\b"
MASKS = [(r"queued as %s" % QUEUE_ID, "queued as ID"),
         (r"smtpdiff-[0-9a-f]{20}", "TOKEN"),
         (r"<[0-9A-Za-z.]+\.%s@" % QUEUE_ID, "<MESSAGE-ID@"),
         (r"(with E?SMTPS?A? id )%s" % QUEUE_ID, r"\1ID"),
         (r"(?m)^(\tid )[0-9a-f]{16}\.\d+", r"\1ID"),
         (r"^(warning: )%s: " % QUEUE_ID, r"\1ID: "),
         (r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), +\d+ \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4} \([^()]*\)", "DATE"),
         (r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), +\d+ \w{3} \d{4} \d\d:\d\d:\d\d [-+]\d{4}", "DATE")]


# What a Postfix without compatibility_level says of that at every turn.
UNSAID = "using backwards-compatible default setting "


# For the dialogues of other configurations: clients with and without names, block lists, mail and name servers.
ZONE = {
    **SMTP_CASES_ZONE,
    "5.200.101.127.in-addr.arpa": {"PTR": ["good.client.test"]}, "good.client.test": {"A": ["127.101.200.5"]},
    "6.200.101.127.in-addr.arpa": {"PTR": ["bad.client.test"]}, "bad.client.test": {"A": ["127.99.0.9"]},
    "7.200.101.127.in-addr.arpa": "SERVFAIL",
    "8.200.101.127.in-addr.arpa": {"PTR": ["noforward.client.test"]},
    "9.200.101.127.in-addr.arpa": {"PTR": ["tempforward.client.test"]}, "tempforward.client.test": "SERVFAIL",
    "13.200.101.127.in-addr.arpa": {"PTR": ["mxbad.test"]},
    "14.200.101.127.in-addr.arpa": {"PTR": ["spam.test"]},
    "5.200.101.127.rbl.test": {"A": ["127.0.0.2"], "TXT": ["listed, see http://rbl.test/?127.101.200.5"]},
    "6.200.101.127.rbl.test": {"A": ["127.0.0.10"]},
    "8.200.101.127.rbl.test": "SERVFAIL",
    "9.200.101.127.dnswl.test": {"A": ["127.0.5.1"]}, "9.200.101.127.rbl.test": {"A": ["127.0.0.2"]},
    "10.200.101.127.dnswl.test": {"A": ["127.0.5.3"]}, "10.200.101.127.rbl.test": {"A": ["127.0.0.2"]},
    "11.200.101.127.rbl2.test": {"A": ["127.0.0.4"]},
    "12.200.101.127.rbl2.test": {"A": ["127.0.0.4"], "TXT": ["one reason", "another reason"]},
    "15.200.101.127.rbl3.test": {"A": ["127.0.0.4"], "TXT": ["only a warning"]},
    "16.200.101.127.dnswl.test": "SERVFAIL",
    "spam.test.rhsbl.test": {"A": ["127.0.0.2"], "TXT": ["spam domain"]}, "softspam.test.rhsbl.test": "SERVFAIL",
    "spam.test.rhsbl2.test": {"A": ["127.0.0.3"]},
    "rbl.test": {}, "rbl2.test": {}, "rbl3.test": {}, "rhsbl.test": {}, "rhsbl2.test": {}, "dnswl.test": {},
    "spam.test": {"A": ["127.101.200.14"]}, "softspam.test": {"A": ["127.99.0.4"]}, "act.test": {"A": ["127.99.0.5"]},
    "nullmx.test": {"MX": [[0, "."]]}, "mxnx.test": {"MX": [[10, "nx.test"]]}, "mxtemp.test": {"MX": [[10, "tempfail.test"]]},
    "mxbad.test": {"MX": [[10, "mx.bad.test"]]}, "mx.bad.test": {"A": ["127.99.0.6"]},
    "mxaddr.test": {"MX": [[10, "mx1.mxaddr.test"]]}, "mx1.mxaddr.test": {"A": ["127.66.0.1"]},
    "mxlater.test": {"MX": [[10, "mx1.mxlater.test"]]}, "mx1.mxlater.test": {"A": ["127.66.0.3"]},
    "nsbad.test": {"NS": ["ns.bad.test"], "A": ["127.99.0.7"]}, "ns.bad.test": {"A": ["127.99.0.8"]},
    "sub.nsbad.test": {"A": ["127.99.0.7"]},
    "nsaddr.test": {"NS": ["ns1.nsaddr.test"], "A": ["127.99.0.7"]}, "ns1.nsaddr.test": {"A": ["127.66.0.2"]},
    "abad.test": {"A": ["127.66.0.1"]}, "relay.test": {"A": ["127.99.0.3"]}, "valias.test": {"A": ["127.99.0.3"]},
}


def mask(text):
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text)
    return text


def reply_lines(rep):
    """Lines of a reply as they are compared. EHLO: without order, and without what Postfix has not (RFC 9422)."""
    lines = [mask(line) for line in rep["text"]]
    if rep.get("ehlo") is not None:
        lines = lines[:1] + sorted(re.sub(r"^(\d\d\d)[- ]", r"\1 ", line) for line in lines[1:] if line[4:10] != "LIMITS")
    return lines


def compare_steps(case, want, got):
    """Where two runs of a dialogue differ: a list of lines."""
    out = []
    for i in range(max(len(want["steps"]), len(got["steps"]))):
        w = want["steps"][i] if i < len(want["steps"]) else None
        g = got["steps"][i] if i < len(got["steps"]) else None
        spec = case.steps[i - 1] if 1 <= i <= len(case.steps) else None
        if spec and g and spec.require:
            if not smtpdiff.matches(spec.require, g):
                return ["step %d `%s`: required %s, got %s" % (i, g["step"], smtpdiff.alts_text(spec.require), show(g))]
            continue
        if w and g and (spec is None or not spec.accept) and not case.codes_only:
            if w["end"] == g["end"] and [reply_lines(r) for r in w["replies"]] == [reply_lines(r) for r in g["replies"]]:
                continue
        elif w and g and smtpdiff.same_step(w, g, smtpdiff.MUST_KEYWORDS):
            continue
        if spec and g and smtpdiff.matches(spec.accept, g):
            continue
        if spec and g and smtpdiff.matches(spec.accept_end, g):
            return out
        out += ["step %d `%s`:" % (i, (w or g)["step"][:120]), "    Postfix  %s" % show(w, g), "    Postern  %s" % show(g, w)]
        if w is None or g is None or w["end"] != g["end"]:
            break
    return out


def show(step, beside=None):
    """The replies of a step; of a long row only those that differ from the other side's."""
    if step is None:
        return "(not reached)"
    rows = [" | ".join(reply_lines(r)) for r in step["replies"]]
    other = [" | ".join(reply_lines(r)) for r in (beside or {"replies": ()})["replies"]]
    if len(rows) > 4:
        rows = ["#%d %s" % (k, r) for k, r in enumerate(rows) if k >= len(other) or other[k] != r][:4] + ["%d replies" % len(rows)]
    text = " // ".join(rows)
    return (text if len(text) < 700 else text[:340] + " ... " + text[-340:]) + \
        ("" if step["end"] == "open" else " [%s]" % step["end"])


def log_lines(text):
    """{client address: [what was logged of it]} of smtpd's lines; a Postfix's log or ours."""
    found, ids = {}, {}
    for line in text.splitlines():
        m = re.search(r"(?:postfix(?:/[\w.-]+)?/smtpd|smtpd)\[\d+\]: (.*)$", line) or \
            re.search(r"postfix(?:/[\w.-]+)?/cleanup\[\d+\]: (\w+: \w+: (?:header|body|mime-error) .*)$", line)
        if not m:
            continue
        said = m.group(1)
        q = re.match(r"(%s): " % QUEUE_ID, said)
        a = re.search(r"\[(127\.10[12]\.\d+\.\d+)\](?::\d+)?", said)
        if q and a:
            ids[q.group(1)] = a.group(1)
        address = a.group(1) if a else ids.get(q.group(1)) if q else None
        if address and not said.startswith(UNSAID):
            if q:
                said = "ID" + said[len(q.group(1)):]
            said = re.sub(r"\\[0-3]\d\d", "?", "".join("?" * len(c.encode()) if c > "\x7f" else c for c in said))
            said = re.sub(r"(SSL_accept error from .*\]): .*", r"\1", said)
            said = re.sub(r"(reject: .* helo=<[^>]*>) sasl_username=<[^>]*>$", r"\1", said)  # newer than Debian's Postfix
            found.setdefault(address, []).append(mask(re.sub(r"(?<=\]):\d+(?=[,;: ]|$)", "", said)))
    return found


def compare_logs(want, got):
    if want == got:
        return []
    lines = difflib.unified_diff(want, got, "Postfix", "Postern", lineterm="", n=0)
    return ["log: " + line for line in list(lines)[2:] if not line.startswith("@@")]


def message_lines(data):
    """A delivered message as it is compared."""
    return mask(data.decode("utf-8", "backslashreplace")).splitlines()


def compare_mail(want, got):
    if sorted(want.get("deliver", {}).items()) != sorted(got.get("deliver", {}).items()):
        return ["delivered: Postfix to %s, Postern to %s" % (smtpdiff.boxes_text(want.get("deliver", {})),
                                                           smtpdiff.boxes_text(got.get("deliver", {})))]
    a, b = (sorted(message_lines(f) for f in r.get("files", ())) for r in (want, got))
    out = []
    for x, y in zip(a, b):
        if x != y:
            lines = difflib.unified_diff(x, y, "Postfix", "Postern", lineterm="", n=0)
            out += ["message: " + line for line in list(lines)[2:] if not line.startswith("@@")]
    return out[:40]


# --------------------------------------------------------------------------------------------------- the two servers


class Pair:
    """
    workdir   a short path; holds our whole stack, Postfix's root folder and the tables that both read
    dns       a running Dnsd on port 53 of some loopback address
    """

    def __init__(self, workdir, dns):
        self.workdir, self.dns = os.path.abspath(workdir), dns
        self.maps = os.path.join(self.workdir, "maps")
        self.count = 0            # configurations so far; the number is in the greeting
        self.address = 0          # addresses given out so far
        networks = "127.0.0.8/32, " + ", ".join("%s.0.0/16" % n for t, n in NETWORKS.items() if t == "trusted")
        # A submitted message is made whole wherever it comes from.
        self.base = ["mynetworks = " + networks, "smtputf8_enable = yes",
                     "local_header_rewrite_clients = permit_inet_interfaces, permit_sasl_authenticated"]
        os.makedirs(self.maps)
        os.chmod(self.workdir, 0o755)
        self.ours = Stack(os.path.join(self.workdir, "o"), users=USERS, extra_conf=self.base,
                          resolver="%s:%d" % (dns.address, dns.port))
        q = self.ours.queue_dir
        self.ref = RefStack(os.path.join(self.workdir, "r"), parts=("postfix",), users=USERS, aliases=self.ours.aliases,
                            packed=postfix_folder(), share=[q, self.maps], resolver=dns.address,
                            main_cf=self.base + self.ref_only())

    def ref_only(self):
        q = self.ours.queue_dir
        # Ours leaves long lines alone, and has the defaults of a current Postfix against smuggling.
        return ["lmtp_line_length_limit = 0", "smtpd_forbid_bare_newline = normalize",
                "smtpd_forbid_unauth_pipelining = yes",
                "smtpd_sasl_path = %s/private/auth" % q,
                "virtual_transport = lmtp:unix:%s/private/dovecot-lmtp" % q]

    def start(self):
        # Postfix first: it knows by itself whether it can run here, and the folder it shares must be there for the other.
        os.makedirs(self.ours.queue_dir, exist_ok=True)
        try:
            self.ref.start()
            self.ours.made = True
            self.ours.start()
            for name in ("auth", "dovecot-lmtp"):
                os.chmod(os.path.join(self.ours.queue_dir, "private", name), 0o666)
            for folder in (self.ours.workdir, self.ours.queue_dir, os.path.join(self.ours.queue_dir, "private")):
                os.chmod(folder, os.stat(folder).st_mode | 0o011)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        self.ref.stop()
        self.ours.stop()

    __enter__ = start

    def __exit__(self, *exc):
        self.stop()

    def configure(self, main_cf=()):
        """Both reread main.cf with these lines at its end. @maps@ in them is the folder of the tables."""
        self.count += 1
        for name in sorted(os.listdir(os.path.join(CASES, "maps"))):
            shutil.copy(os.path.join(CASES, "maps", name), self.maps)
        lines = [line.replace("@maps@", self.maps).replace("@queue@", self.ours.queue_dir) for line in main_cf]
        for table in sorted(set(re.findall(r"hash:(%s/[\w.-]+)" % re.escape(self.maps), "\n".join(lines)))):
            self.ref.run("postmap", "hash:" + table)
        banner = ["smtpd_banner = $myhostname ESMTP $mail_name (%d)" % self.count]
        self.ref.main_cf = self.base + self.ref_only() + banner + lines
        self.ref.write_main_cf()
        self.ref.reread()
        self.ours.extra_conf = self.base + banner + lines
        self.ours.write_main_cf()
        self.ours.postern("reload")
        for ports in (self.ours.ports, self.ref.ports):
            for name in ("smtp", "submission"):
                wait_for(lambda p=ports[name]: self.is_new(p), 20, "the new configuration")

    def is_new(self, port):
        """Whether three greetings in a row, or refusals to greet, are of the newest configuration."""
        for _ in range(3):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=("127.0.0.8", 0)) as s:
                    said = s.makefile("rb").readline().decode(errors="replace")
                    s.sendall(b"QUIT\r\n")
            except OSError:
                return False
            if said.startswith("220 ") and "(%d)" % self.count not in said:
                return False
        return True

    def sides(self):
        return {"ref": self.ref.ports, "ours": self.ours.ports}

    def config_for(self, ports, case):
        """What smtpdiff.run_case() wants; the client address is this dialogue's own."""
        own = getattr(case, "source", None) or "%s.%d.%d" % (NETWORKS[case.meta["trust"]], case.number // 250, case.number % 250 + 1)
        return {"host": "127.0.0.1", "ports": {k: ports[v] for k, v in LISTENERS.items()}, "trusted_source": own,
                "untrusted_source": own, "fresh_sources": "none"}, own

    def compare(self, dialogues, logs=True, mail_s=10.0, jobs=JOBS):
        """Hold the dialogues with both; [(dialogue, [differences])]."""
        results, sources = {"ref": {}, "ours": {}}, {}
        for d in dialogues:
            self.address += 1
            d.number = self.address
        boxes = smtpdiff.Maildirs(self.ours.mail_root)
        before = len(self.ref.log()), len(self.ours.log())
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            waiting = {}
            for d in sorted(dialogues, key=lambda d: -cost(d)):
                for side, ports in self.sides().items():
                    cfg, sources[d.name] = self.config_for(ports, d)
                    waiting[pool.submit(smtpdiff.run_case, d, cfg)] = (side, d.name)
            for f, (side, name) in waiting.items():
                results[side][name] = f.result()
        self.wait_for_mail(dialogues, results, boxes, mail_s)
        self.wait_for_logs(set(sources.values()), before)
        ref_log, our_log = (log_lines(t[n:]) for t, n in zip((self.ref.log(), self.ours.log()), before))
        out = []
        for d in dialogues:
            want, got = results["ref"][d.name], results["ours"][d.name]
            if hasattr(d, "codes_only"):
                said = compare_steps(d, want, got)
                if not said and logs and not d.no_log and list(sources.values()).count(sources[d.name]) == 1:
                    said = compare_logs(ref_log.get(sources[d.name], []), our_log.get(sources[d.name], []))
                said += compare_mail(want, got) if not d.no_mail else []
            else:  # one of the recorded ones: their own rules
                why, _ = smtpdiff.compare(d, want, got, smtpdiff.MUST_KEYWORDS, False)
                said = [why] if why else []
            out.append((d, said))
        return out

    def wait_for_logs(self, addresses, before, limit_s=3.0):
        """Until both logs tell of the end of each session: Postfix's comes by way of postlogd."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            texts = [t[n:] for t, n in zip((self.ref.log(), self.ours.log()), before)]
            if all("disconnect from" in t and all(re.search(r"disconnect from \S*\[%s\]" % re.escape(a), t) for a in addresses)
                   for t in texts):
                return
            time.sleep(0.1)

    @staticmethod
    def wait_for_mail(dialogues, results, boxes, limit_s):
        """Adds what was delivered to the results. Both sides deliver into the same Maildirs; tokens tell them apart."""
        with_mail = [d for d in dialogues if d.uses_token]
        accepted = [(d.name, side) for d in with_mail for side in results
                    if any(r["code"] == 250 and "queued as" in " ".join(r["text"]) for s in results[side][d.name]["steps"]
                           for r in s["replies"])]
        end, last, quiet = time.monotonic() + limit_s, None, time.monotonic()
        while with_mail and time.monotonic() < end:
            boxes.scan()
            arrived = {n: len(boxes.content.get(results[side][n]["token"], ())) for n, side in accepted}
            total = sum(len(f) for f in boxes.content.values())
            if total != last:
                last, quiet = total, time.monotonic()
            missing = [k for k, v in arrived.items() if not v]
            if time.monotonic() - quiet > (0.5 if not missing else 3.0):
                break
            time.sleep(0.1)
        for side in results:
            for d in with_mail:
                r = results[side][d.name]
                r["deliver"] = dict(sorted(boxes.found.get(r["token"], {}).items()))
                r["files"] = boxes.content.get(r["token"], [])
                r["content"] = [all((smtpdiff.render(t, {"token": r["token"], "i": 0, "src": ""}) in f) == want
                                    for f in r["files"]) if r["files"] else None for want, t in d.contains]


def cost(case):
    return len(case.steps) + sum(100 for s in case.steps if s.kind in ("wait", "silent"))
