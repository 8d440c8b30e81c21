"""POP3 dialogues as scripts: tests/script/pop3/RFC-SECTION[-what].pop3, run by tests/check/t_pop3_script.py. The language is that of
tests/lib/imapscript.py, with these differences: a response is a line, and the verbs are

    1! put simple                        store a message of MESSAGES in the user's INBOX, as a delivery would
    1! connect                           a client that has not logged in; its greeting is the first response
    1! starttls                          the client's side of the handshake
    1! close                             the connection ends
    1<. +OK ...                          a whole multi-line reply: its first line; the others, without the dot, follow as
    1|  1 17                             lines; "1| ..." stands for any number of lines
"""
import os
import re
import ssl

import imapscript
from imapscript import Mismatch

MESSAGES = {
    **imapscript.MESSAGES,
    "dots": "Subject: dots\r\n\r\n.\r\n..\r\n.a\r\nb.\r\n",
    "noend": "Subject: no end",
    "lines": "Subject: lines\r\nTo: a@example.com\r\n\r\none\r\ntwo\r\nthree\r\n",
    "utf8head": "From: J\u00f6rg <j@example.com>\r\nSubject: Gr\u00fc\u00dfe\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nk\u00f6ln\r\n",
    "utf8body": "Subject: plain\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nk\u00f6ln\r\n",
}


class Client(imapscript.Client):
    def response(self):
        return self._line()

    def login(self, user, password):
        for line in (None, "USER " + user, "PASS " + password):
            if line:
                self.send(line.encode() + b"\r\n")
            r = self.response()
            if not r.startswith(b"+OK"):
                raise Mismatch("%s: %r" % (line, r))

    def lines(self):
        """What follows a "+OK" up to the dot, unstuffed."""
        out = []
        while (line := self.response()) != b".":
            out.append(line[1:] if line.startswith(b".") else line)
        return out

    def starttls(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.s = context.wrap_socket(self.s)


class Script(imapscript.Script):
    def __init__(self, path, connect, names, connect_raw, maildir):
        super().__init__(path, connect, names, connect_raw)
        self.maildir, self.n_put, self.got = maildir, 0, []

    def put(self, name):
        self.n_put += 1
        for sub in ("tmp", "new", "cur"):
            os.makedirs(os.path.join(self.maildir, sub), exist_ok=True)
        with open(os.path.join(self.maildir, "new", "157860%04d.M%dP1.h" % (self.n_put, self.n_put)), "wb") as f:
            f.write(MESSAGES[name].encode())

    def step(self, line):
        m = re.match(r"([1-9])(!|<\.|\|)(?: (.*))?$", line)
        n, what, text = m.groups() if m else (None, None, "")
        text = text or ""
        if self.got and what != "|":
            raise Mismatch("lines that are not expected: %r" % self.got)
        if what == "!" and text.startswith("put "):
            self.put(text[4:])
        elif what == "!" and text == "starttls":
            self.client(n).starttls()
        elif what == "<.":
            self.expect(n, text)
            self.got = [l.decode("utf-8", "surrogateescape") for l in self.client(n).lines()]
        elif what == "|" and text == "...":
            self.got = []
        elif what == "|":
            pattern, groups = self.pattern(text.removeprefix(" "))
            got = self.got.pop(0) if self.got else None
            found = got is not None and pattern.match(got)
            if not found:
                raise Mismatch("client %s: line %r\n    want %r" % (n, got, text))
            self.names.update({g: found.group(g) for g in groups})
        else:
            super().step(line)
