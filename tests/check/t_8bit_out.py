#!/usr/bin/env python3
# 8-bit mail to hosts with and without 8BITMIME, by DATA and by BDAT; and LMTP over TCP, where each recipient has its own reply.
# Python's email is the judge of what a converted message says.
import email
import email.policy
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import Sink, SinkSession, World

ZONE = {"there.test": {"A": ["127.99.0.2"]}}
WORDS = "naïve café — Grüße 日本語 =3D equals. . From .dot\ttab trailing ".split(" ")


def random_part(r, depth):
    kind = r.randrange(5 if depth < 3 else 2)
    if kind < 2:
        text = "".join(" ".join(r.choices(WORDS, k=r.randrange(12))) + r.choice(["\r\n", " \r\n", "\r\n\r\n"]) for _ in range(r.randrange(40)))
        body, head = text.encode(), "Content-Type: text/%s; charset=utf-8\r\n" % r.choice(["plain", "html"])
        cte = "8bit" if any(c > 127 for c in body) or r.randrange(2) else "7bit"
        return (head + "Content-Transfer-Encoding: %s\r\n\r\n" % cte).encode() + body
    if kind == 4:
        inner = random_part(r, depth + 1)
        return b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: inner\r\nMIME-Version: 1.0\r\n" + inner
    mark = "=_%d_%x" % (depth, r.getrandbits(64))
    parts = [random_part(r, depth + 1) for _ in range(r.randrange(1, 4))]
    return (b'Content-Type: multipart/%s;\r\n boundary="%s"\r\nContent-Transfer-Encoding: 8bit\r\n\r\npreamble\r\n' % (r.choice([b"mixed", b"alternative"]), mark.encode())
            + b"".join(b"--" + mark.encode() + b"\r\n" + p + b"\r\n" for p in parts) + b"--" + mark.encode() + b"--\r\nepilogue\r\n")


def leaves(octets):
    out = []
    for part in email.message_from_bytes(octets, policy=email.policy.compat32).walk():
        if not part.is_multipart():
            out.append((part.get_content_type(), part.get_param("charset"), part.get_payload(decode=True).replace(b"\r\n", b"\n")))
    return out


FIELDS = b"From: email1@example.com\r\nDate: Sun, 22 Nov 2026 19:57:55 +0000\r\nMessage-Id: <1@example.com>\r\n"


def send(w, message, **kw):
    """With all the fields that smtpd would add."""
    w.send("ok@there.test", FIELDS + message, **kw)


def content(octets):
    """Without those, and the trace fields that were added."""
    return octets[octets.index(b"Subject: "):]


@case
def messages_of_all_shapes():
    r = random.Random(6152)
    messages = [b"Subject: m%d\r\nMIME-Version: 1.0\r\n" % i + random_part(r, 0) for i in range(60)]
    messages.append(b"Subject: big\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
                    + ("Grüße %s\r\n" % ("ü" * 60)).encode() * 3000)
    for extensions in (("PIPELINING",), ("PIPELINING", "CHUNKING"), ("CHUNKING",)):
        with World("x" + "".join(e[0] for e in extensions), zone=ZONE, extensions=extensions) as w:
            for m in messages[::1 if extensions == ("PIPELINING",) else 6]:
                before = len(w.sink.messages)
                send(w, m, mail_options=["BODY=8BITMIME"])
                frm, _, got = w.got(before + 1)[before]
                check("BODY=" not in frm, frm)
                got = content(got)
                check(max(got) < 128, "8-bit octets went out: %r" % got[:300])
                check(max(map(len, got.split(b"\r\n"))) <= 998, "a long line")
                equal(leaves(got), leaves(m), "what the parts say")
            equal([c for c in w.sink.commands if c.startswith("BARE LF")], [], "bare line feeds")
            equal(any(c.startswith("BDAT") for c in w.sink.commands), "CHUNKING" in extensions, "BDAT where it is offered")


@case
def mail_that_is_no_mime_and_mail_that_goes_as_it_is():
    plain = "Subject: plain\r\n\r\nGrüße\r\n".encode()
    with World("bare", zone=ZONE, extensions=()) as w:
        send(w, plain)  # no BODY=8BITMIME: what it holds counts
        got = content(w.got(1)[0][2])
        check(b"MIME-Version: 1.0\r\n" in got and b"charset=unknown-8bit" in got and b"quoted-printable" in got, got)
        equal(got.split(b"\r\n\r\n")[1], b"Gr=C3=BC=C3=9Fe\r\n", "its text")
    mime = "Subject: m\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n".encode()
    with World("eight", zone=ZONE, extensions=("8BITMIME", "CHUNKING")) as w:
        send(w, mime, mail_options=["BODY=8BITMIME"])
        frm, _, got = w.got(1)[0]
        equal(content(got), mime, "where 8BITMIME is offered")
        check(frm.endswith(" BODY=8BITMIME"), frm)
        long_lines = b"Subject: l\r\n\r\n" + b"x" * 3000 + b"\r\n.\r\n..\r\n"
        send(w, long_lines)
        equal(content(w.got(2)[1][2]), b"Subject: l\r\n\r\n" + b"x" * 998 + b"\r\n " + b"x" * 997 + b"\r\n " + b"x" * 997 + b"\r\n " + b"x" * 8 + b"\r\n.\r\n..\r\n",
              "long lines by BDAT")
    with World("off", ["disable_mime_output_conversion = yes", "smtp_discard_ehlo_keywords = 8bitmime, chunking"], zone=ZONE,
               extensions=("8BITMIME", "CHUNKING")) as w:
        send(w, mime, mail_options=["BODY=8BITMIME"])
        frm, _, got = w.got(1)[0]
        equal(content(got), mime, "where main.cf says so")
        check("discarding EHLO keywords: 8BITMIME CHUNKING" in w.stack.log(), "the log says so")
        check("BODY=" not in frm and not any(c.startswith("BDAT") for c in w.sink.commands), "discarded keywords are not used")


class LmtpSession(SinkSession):
    def keep(self, state, body):
        super().keep(state, body)
        replies = []
        for t in state["to"]:
            local = t.split("<")[1].split("@")[0]
            replies.append({"full": "452 4.2.2 over quota", "gone": "550 5.1.1 gone at the end"}.get(local, "250 2.1.5 saved for " + local))
        return "\r\n".join(replies)


class LmtpSink(Sink):
    Session = LmtpSession


@case
def lmtp_over_tcp():
    for extensions in (("PIPELINING",), ("PIPELINING", "CHUNKING"), ()):
        with World("lmtp" + "".join(e[0] for e in extensions), zone=ZONE, kind=LmtpSink, greeting="220 sink LMTP", extensions=extensions) as w:
            w.stack.stop()
            w.stack.extra_conf.append("transport_maps = inline:{ { there.test = lmtp:inet:127.99.0.2:%d } }" % w.port)
            w.stack.configured = False
            w.stack.start()
            w.send(["ok@there.test", "full@there.test", "nobody@there.test", "gone@there.test", "ok2@there.test"])
            w.got(1)
            wait_for(lambda: w.stack.log().count("status=") >= 5, 10, "five outcomes")
            log_text = w.stack.log()
            for want in ("to=<ok@there.test>", "status=sent (250 2.1.5 saved for ok)", "status=sent (250 2.1.5 saved for ok2)",
                         "dsn=4.2.2, status=deferred (host 127.99.0.2[127.99.0.2] said: 452 4.2.2 over quota (in reply to end of DATA command))",
                         "status=bounced (host 127.99.0.2[127.99.0.2] said: 550 5.1.1 gone at the end (in reply to end of DATA command))",
                         "status=bounced (host 127.99.0.2[127.99.0.2] said: 550 5.1.1 no such user here (in reply to RCPT TO command))"):
                check(want in log_text, "%s: %s" % (extensions, want))
            check(w.sink.commands[0].startswith("LHLO "), w.sink.commands[0])
            w.reports(1)
            wait_for(lambda: [r["address"] for m in w.queue() for r in m["recipients"]] == ["full@there.test"], 10, "one is left")


main()
