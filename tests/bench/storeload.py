"""A mailbox of 100,000 messages (482 MB) as people have them, the same in each run: plain text, HTML beside it, attachments, threads,
charsets. Kept under the build folder."""
import base64
import os
import quopri
import random
import shutil
import time

VERSION = 1
TOTAL_OCTETS = 482_000_000
COUNT = 100_000
BODY_WORD = "xylophone"     # in the text of one message in 200, however it is encoded
SUBJECT_WORD = "quarterly"  # in one subject in 100
START = 1_500_000_000
WORDS = ("the of and to in is that it was for on are as with they at be this have from or one had by word but not what all were we "
         "when your can said there use an each which she do how their if will up other about out many then them these so some her "
         "would make like him into time has look two more write go see number no way could people my than first water been call who "
         "oil its now find long down day did get come made may part meeting report invoice project server deadline budget").split()
NAMES = ("Anna Berg", "Bob Miller", "Chloé Dubois", "Dmitri Иванов", "Eva Müller", "Frank O'Neil", "Gül Şahin", "Hiro 田中", "Ines Peña",
         "Jan de Vries", "Karl Heinz", "Lucía Gómez", "Mia", "Nils Åberg", "Olga Петрова", "Paul")


def encoded(text, charset="utf-8"):
    if text.isascii():
        return text
    return "=?%s?B?%s?=" % (charset, base64.b64encode(text.encode(charset)).decode())


class Maker:
    def __init__(self, count):
        self.count, self.rng = count, random.Random(VERSION)
        self.noise = base64.b64encode(self.rng.randbytes(300_000)).decode()
        self.paragraphs = [self.paragraph() for _ in range(400)]
        self.spent = 0

    def paragraph(self):
        words, lines, line = [self.rng.choice(WORDS) for _ in range(self.rng.randrange(30, 120))], [], ""
        for w in words:
            if len(line) + len(w) > 72:
                lines.append(line)
                line = ""
            line = (line + " " + w) if line else w
        return "\n".join(lines + [line]) + "\n"

    def text(self, octets, i):
        out = []
        while sum(map(len, out)) < octets:
            out.append(self.rng.choice(self.paragraphs))
        if i % 200 == 7:
            out.append("and then there was a %s.\n" % BODY_WORD)
        return "\n".join(out)

    def head(self, i):
        r = self.rng
        who = r.choice(NAMES)
        date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(START + i * 700 + r.randrange(600)))
        subject = " ".join(r.choice(WORDS) for _ in range(r.randrange(2, 8)))
        if i % 100 == 3:
            subject += " " + SUBJECT_WORD
        if r.random() < 0.12:
            subject += r.choice((" für Sie", " déjà vu", " привет", " 会議"))
        lines = ["Return-Path: <s%d@lists%d.example.net>" % (i % 977, i % 40), "Delivered-To: bench@example.com",
                 "Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\n\tby mail.example.com (Postfix) with ESMTPS id %08X\n"
                 "\tfor <bench@example.com>; %s" % (i % 40, i % 40, i % 250, i, date)]
        if i > 0 and r.random() < 0.45:  # a reply to one of late
            to = max(0, i - 1 - int(r.expovariate(0.02)))
            refs = self.refs[to][-9:] + [to]
            subject = "Re: " + self.subjects[to].removeprefix("Re: ")
            lines += ["In-Reply-To: <%d.bench@example.net>" % to, "References: " + "\n ".join("<%d.bench@example.net>" % x for x in refs)]
        else:
            refs = []
        self.refs.append(refs)
        self.subjects.append(subject)
        if r.random() < 0.3:
            lines += ["List-Id: <list%d.example.net>" % (i % 40), "X-Mailer: bench 1.%d" % (i % 10),
                      "DKIM-Signature: v=1; a=rsa-sha256; d=example.net; s=k%d;\n\tb=%s" % (i % 3, self.noise[i:i + 300])]
        lines += ["From: %s <s%d@example.net>" % (encoded(who), i % 977), "To: Bench <bench@example.com>"]
        if r.random() < 0.2:
            lines.append("Cc: %s" % ", ".join("%s <c%d@example.org>" % (encoded(r.choice(NAMES)), r.randrange(500)) for _ in range(3)))
        lines += ["Subject: " + encoded(subject), "Date: " + date, "Message-ID: <%d.bench@example.net>" % i, "MIME-Version: 1.0"]
        return lines

    def message(self, i):
        r, dice = self.rng, self.rng.random()
        # What is left to spend, over those that are left, keeps the sum at the aim.
        aim = max(1200, (TOTAL_OCTETS * self.count // COUNT - self.spent) // (self.count - i))
        lines = self.head(i)
        if dice < 0.55:
            charset = ("us-ascii", "utf-8", "iso-8859-1", "koi8-r")[int(r.random() * 4)]
            more = {"utf-8": "Grüße, 会議\n", "iso-8859-1": "Grüße\n", "koi8-r": "привет\n"}.get(charset, "")
            body = self.text(min(aim, 20000) * r.uniform(0.1, 0.5), i) + more
            if charset == "us-ascii":
                out = "\n".join(lines + ["Content-Type: text/plain", "", body]).encode()
            elif charset == "iso-8859-1":
                head = lines + ["Content-Type: text/plain; charset=" + charset, "Content-Transfer-Encoding: quoted-printable", "", ""]
                out = "\n".join(head).encode() + quopri.encodestring(body.encode(charset))
            else:
                head = lines + ["Content-Type: text/plain; charset=" + charset, "Content-Transfer-Encoding: 8bit", "", ""]
                out = "\n".join(head).encode() + body.encode(charset)
        elif dice < 0.92:
            text = self.text(min(aim, 20000) * r.uniform(0.1, 0.3), i)
            html = "<html><head><style>p { color: #333 }</style></head><body>%s</body></html>\n" % "".join(
                "<p class=\"a\">%s</p>\n" % p for p in text.split("\n\n"))
            out = "\n".join(lines + ["Content-Type: multipart/alternative; boundary=\"b%d\"" % i, "", "--b%d" % i,
                                     "Content-Type: text/plain; charset=utf-8", "", text, "--b%d" % i,
                                     "Content-Type: text/html; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", "",
                                     quopri.encodestring(html.encode()).decode(), "--b%d--" % i, ""]).encode()
        else:
            text, n = self.text(600, i), min(int(aim * r.uniform(2, 12)), 250_000)
            at = r.randrange(0, len(self.noise) - n)
            blob = "\n".join(self.noise[at + k:at + min(k + 76, n)] for k in range(0, n, 76))
            out = "\n".join(lines + ["Content-Type: multipart/mixed; boundary=\"b%d\"" % i, "", "--b%d" % i,
                                     "Content-Type: text/plain; charset=utf-8", "", text, "--b%d" % i,
                                     "Content-Type: application/pdf; name=\"report %d.pdf\"" % i,
                                     "Content-Disposition: attachment; filename=\"report %d.pdf\"" % i,
                                     "Content-Transfer-Encoding: base64", "", blob, "--b%d--" % i, ""]).encode()
        self.spent += len(out)
        return out

    def make(self, folder):
        self.refs, self.subjects = [], []
        for i in range(self.count):
            out = self.message(i)
            at = START + i * 700
            name = "%d.M%dP1.bench,S=%d,W=%d:2,%s" % (at, i % 1000000, len(out), len(out) + out.count(b"\n"), "S" if i % 10 else "")
            path = os.path.join(folder, name)
            with open(path, "wb") as f:
                f.write(out)
            os.chmod(path, 0o600)
            os.utime(path, (at, at))


def mailbox(parent, count=COUNT):
    """A folder of so many files, made once."""
    folder = os.path.join(parent, "bench-mail", "v%d-%d" % (VERSION, count))
    if not os.path.isdir(folder):
        new = folder + ".new"
        shutil.rmtree(new, ignore_errors=True)
        os.makedirs(new)
        Maker(count).make(new)
        os.rename(new, folder)
    return folder
