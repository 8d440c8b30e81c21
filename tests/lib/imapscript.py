"""IMAP dialogues as scripts: tests/script/imap/RFC-SECTION[-what].imap, run by tests/check/t_imap_script.py.

    # Anything after # at the start of a line is a remark.
    # main.cf: imap_idle_notify_interval = 1s
    # but this one asks for a line of configuration.
    1! append INBOX simple (\\Seen)      store a message of MESSAGES by APPEND; more words: flags, a "date"
    1> a STORE 1 +FLAGS (\\Deleted)      client 1 sends this line; clients connect and log in when first named
    1< * 1 FETCH (FLAGS (\\Deleted))     the next response of client 1
    1< a OK ...                          "..." is any text
    2< * OK [UIDNEXT $next] ...          $name: what stands there (no space, parenthesis or bracket); the same text ever after
    2> b FETCH $next (UID)
    1-                                   client 1 hears nothing for a moment
    1<EOF                                the server has closed
    1! connect                           a client that has not logged in; more verbs: close, wait SECONDS
    # also RFC 9051 §7.5.1               what the script shows beside what its name says (tools/rfc-map.py)

A response with literals is one line here: {3} \\r\\n abc is written "{3}\\r\\nabc". \\r, \\n, \\0 and \\xHH are those octets in what is
sent, too; a sent line that ends by \\ gets no CRLF. "1<? line" is passed over when it does not come.
Each script has a user of its own.
"""
import re
import socket
import time

from harness import check

MESSAGES = {
    "simple": "From: Ann <ann@example.com>\r\nTo: bob@example.org\r\nSubject: one\r\n"
              "Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nMessage-ID: <1@example.com>\r\n\r\nhello\r\n",
    "second": "From: Carl <carl@example.com>\r\nTo: bob@example.org\r\nCc: dora@example.org\r\nSubject: two two\r\n"
              "Date: Tue, 8 Feb 1994 10:00:00 +0000\r\n\r\nsecond body\r\nwith two lines\r\n",
    "utf8": "From: =?utf-8?q?J=C3=B6rg?= <j@example.com>\r\nSubject: =?utf-8?b?R3LDvMOfZQ==?=\r\n"
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nk=C3=B6ln\r\n",
    "mixed": "From: ann@example.com\r\nSubject: parts\r\nMIME-Version: 1.0\r\n"
             "Content-Type: multipart/mixed; boundary=\"b1\"\r\n\r\npreamble\r\n--b1\r\n"
             "Content-Type: text/plain; charset=us-ascii\r\n\r\npart one\r\n--b1\r\n"
             "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\nFrom: carl@example.com\r\n"
             "Content-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\n"
             "Content-Type: text/plain\r\n\r\ninner plain\r\n--b2\r\nContent-Type: text/html\r\n\r\n<p>inner</p>\r\n--b2--\r\n"
             "\r\n--b1--\r\nepilogue\r\n",
    "lf": "Subject: bare\nFrom: a@example.com\n\nline one\nline two\n",
}
QUIET_S = 0.4


class Mismatch(Exception):
    pass


class Client:
    def __init__(self, address, timeout_s=20):
        self.s = socket.create_connection(address, timeout=timeout_s)
        self.timeout_s = timeout_s
        self.input = b""

    def send(self, octets):
        self.s.sendall(octets)

    def _more(self):
        got = self.s.recv(65536)
        if not got:
            raise EOFError
        self.input += got

    def _line(self):
        while b"\r\n" not in self.input:
            self._more()
        line, _, self.input = self.input.partition(b"\r\n")
        return line

    def response(self):
        """One response with its literals, without the last CRLF."""
        out = self._line()
        while True:
            m = re.search(rb"\{(\d+)\}$", out)
            if not m:
                return out
            n = int(m.group(1))
            while len(self.input) < n:
                self._more()
            out += b"\r\n" + self.input[:n]
            self.input = self.input[n:]
            out += self._line()

    def is_quiet(self):
        self.s.settimeout(QUIET_S)
        try:
            if not self.input:
                self._more()
            return False
        except TimeoutError:
            return True
        finally:
            self.s.settimeout(self.timeout_s)

    def login(self, user, password):
        first = self.response()
        if not first.startswith(b"* OK"):
            raise Mismatch("greeting %r" % first)
        self.send(b'L LOGIN "%s" "%s"\r\n' % (user.encode(), password.encode()))
        while True:
            r = self.response()
            if r.startswith(b"L "):
                if not r.startswith(b"L OK [CAPABILITY IMAP4rev1 "):
                    raise Mismatch("login: %r" % r)
                return r

    def close(self):
        self.s.close()


# ---- what whole-program tests say to a Client ----

def answer(c, tag="t"):
    """(untagged responses, the text behind the tag) of a command that was sent."""
    untagged = []
    while True:
        r = c.response()
        if r.startswith(tag.encode() + b" "):
            return untagged, r[len(tag) + 1:].decode(errors="replace")
        untagged.append(r)


def command(c, text, tag="t"):
    """Send one line, or its octets, and take the answer."""
    c.send(tag.encode() + b" " + (text if isinstance(text, bytes) else text.encode()) + b"\r\n")
    return answer(c, tag)


def ok(c, text):
    """The untagged responses to a command that must be OK."""
    untagged, tagged = command(c, text)
    check(tagged.startswith("OK"), "%r: %s" % (text[:60], tagged))
    return untagged


def append(c, message, mailbox="INBOX"):
    c.send(b"A APPEND %s {%d+}\r\n" % (mailbox.encode(), len(message)) + message + b"\r\n")
    _, tagged = answer(c, "A")
    check(tagged.startswith("OK [APPENDUID"), "APPEND: " + tagged)


def unescape(text):
    text = re.sub(r"\\x([0-9a-fA-F]{2})", lambda m: bytes([int(m.group(1), 16)]).decode("utf-8", "surrogateescape"), text)
    text = text.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0")
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")  # octets that are UTF-8 together


class Script:
    def __init__(self, path, connect, names=None, connect_raw=None):
        """connect(): a Client that is logged in; connect_raw(): one that is not. names: $name values given from outside."""
        self.path, self.connect, self.connect_raw = path, connect, connect_raw
        self.clients, self.names, self.tags, self.trace = {}, dict(names or {}), 0, []

    def client(self, n):
        if n not in self.clients:
            self.clients[n] = self.connect()
        return self.clients[n]

    def substitute(self, text):
        return re.sub(r"\$([a-z][a-z0-9]*)", lambda m: self.names.get(m.group(1), m.group(0)), text)

    def pattern(self, text):
        out, groups = "", []
        for token in re.split(r"(\.\.\.|\$[a-z][a-z0-9]*)", text):
            if token == "...":
                out += r"[\s\S]*?"
            elif re.fullmatch(r"\$[a-z][a-z0-9]*", token):
                name = token[1:]
                if name in self.names:
                    out += re.escape(self.names[name])
                elif name in groups:
                    out += "(?P=%s)" % name
                else:
                    out += r"(?P<%s>[^ ()\[\]]+)" % name
                    groups.append(name)
            else:
                out += re.escape(unescape(token))
        return re.compile(out + r"\Z"), groups

    def expect(self, n, text, optional=False):
        c = self.client(n)
        got = getattr(c, "held", None)
        c.held = None
        if got is None:
            try:
                got = c.response().decode("utf-8", "surrogateescape")
            except EOFError:
                raise Mismatch("client %s: closed, not %r" % (n, text))
            except TimeoutError:
                raise Mismatch("client %s: nothing came, not %r" % (n, text))
        if got.startswith("* OK [MAILBOXID ") and "MAILBOXID" not in text: # only scripts about it name what every SELECT says
            return self.expect(n, text, optional)
        pattern, groups = self.pattern(text)
        m = pattern.match(got)
        self.trace.append("%s< %s" % (n, got))
        if not m and optional:
            c.held = got
            return
        if not m:
            raise Mismatch("client %s: got  %r\n    want %r" % (n, got, text))
        for g in groups:
            self.names[g] = m.group(g)

    def append(self, n, args):
        mailbox, name, *rest = args.split(" ", 2)
        message = MESSAGES[name].encode()
        self.tags += 1
        tag = "A%d" % self.tags
        head = "%s APPEND %s %s{%d+}\r\n" % (tag, mailbox, (rest[0] + " ") if rest else "", len(message))
        c = self.client(n)
        c.send(head.encode() + message + b"\r\n")
        while True:
            r = c.response().decode("utf-8", "surrogateescape")
            if r.startswith(tag + " "):
                m = re.match(tag + r" OK \[APPENDUID (\d+) (\d+)\]", r)
                if not m:
                    raise Mismatch("append: %r" % r)
                return

    def step(self, line):
        m = re.match(r"([1-9])(>|<EOF|<\?|<|!|-)(?: (.*))?$", line)
        if not m:
            raise Mismatch("not a script line: %r" % line)
        n, what, text = m.group(1), m.group(2), m.group(3) or ""
        if what == ">":
            text = self.substitute(text)
            self.trace.append(line)
            end = "" if text.endswith("\\") else "\r\n"
            text = text[:-1] if not end else text
            self.client(n).send(unescape(text).encode("utf-8", "surrogateescape") + end.encode())
        elif what == "<EOF":
            try:
                got = self.client(n).response()
                raise Mismatch("client %s: not closed, but %r" % (n, got))
            except EOFError:
                pass
        elif what == "!":
            verb, _, args = self.substitute(text).partition(" ")
            if verb == "append":
                self.append(n, args)
            elif verb == "connect":
                self.clients[n] = self.connect_raw()
            elif verb == "wait":
                time.sleep(float(args))
            elif verb == "close":
                self.clients.pop(n).close()
            else:
                raise Mismatch("not a verb: %r" % verb)
        elif what == "-":
            if not self.client(n).is_quiet():
                raise Mismatch("client %s: heard %r" % (n, self.client(n).input))
        else:
            self.expect(n, text, optional=what == "<?")

    def run(self):
        with open(self.path, encoding="utf-8") as f:
            lines = f.read().split("\n")
        try:
            for number, line in enumerate(lines, 1):
                if line.strip() == "" or line.startswith("#"):
                    continue
                try:
                    self.step(line)
                except (Mismatch, EOFError, OSError) as e:
                    raise Mismatch("%s:%d: %s %s\n  before: %s" % (self.path, number, type(e).__name__, e,
                                                                  "\n          ".join(self.trace[-6:])))
        finally:
            for c in self.clients.values():
                c.close()
