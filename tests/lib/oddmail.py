"""Mail as it comes, for comparing searches, sorting and threads: odd subjects, charsets, encodings, dates and references. The same
seed gives the same mail."""
import base64
import quopri
import random

WORDS = {
    "us-ascii": "the quick brown fox jumps over lazy dog meeting report invoice budget hello world".split(),
    "utf-8": "Größe straße Äpfel café naïve ŽLUŤOUČKÝ kůň привет Москва ΣΊΣΥΦΟΣ 日本語 한국어 가나다".split(),
    "iso-8859-1": "für Öl Überraschung garçon señor".split(),
    "iso-8859-2": "źdźbło łódź".split(),
    "koi8-r": "привет мир письмо".split(),
    "windows-1252": "naïve “quoted” – dash".split(),
    "iso-2022-jp": "日本語 会議".split(),
    "shift_jis": "日本 東京".split(),
}
SUBJECTS = ["hello", "Hello", "meeting on monday", "budget 2020", "Überraschung", "привет мир", "日本語 テスト", "café", "a",
            "invoice 17", "[announce]", "re", "fwd: nothing", "straße", "Zebra", "zebra", "", "  spaced   out  ", "Ärger"]
PREFIXES = ["", "", "", "", "Re: ", "RE: ", "re : ", "Fwd: ", "FW: ", "Re: Re: ", "[list] ", "Re: [list] ", "[list] Re: ",
            "Fwd: [x] Re: ", "Re[2]: ", "[a][b] "]
SUFFIXES = ["", "", "", "", "", " (fwd)", " (FWD)(fwd)", " (fwd) "]
NAMES = ["Alice Adams", "bob", "Zoë Ångström", "Иван", '"Quoted, Name"', "日本 太郎", "", "carol", "Ärgerlich, Max", "anton"]
LOCALS = ["alice", "Bob", "carol", "dave", "anton", "ZOE", "zoe", '"odd local"', "x.y+tag"]


def word(text, charset, how):
    """An encoded word of RFC 2047."""
    octets = text.encode(charset)
    if how == "B":
        return "=?%s?B?%s?=" % (charset, base64.b64encode(octets).decode())
    return "=?%s?Q?%s?=" % (charset, "".join(chr(c) if chr(c).isalnum() and c < 128 else "=%02X" % c for c in octets))


class OddMail:
    def __init__(self, seed):
        self.r = random.Random(seed)
        self.ids = []

    def encoded(self, text):
        r = self.r
        if text.isascii():
            return text if r.random() < .9 or not text else word(text, "utf-8", r.choice("QB"))
        for charset in r.sample(["utf-8", "utf-8", "iso-8859-1", "koi8-r", "iso-2022-jp", "windows-1252"], 6):
            try:
                return word(text, charset, r.choice("QB"))
            except UnicodeEncodeError:
                pass
        raise AssertionError(text)

    def subject(self):
        r = self.r
        text = r.choice(SUBJECTS)
        if r.random() < .1:
            text = " ".join(r.sample(WORDS["us-ascii"], 3))
        s = r.choice(PREFIXES) + self.encoded(text) + r.choice(SUFFIXES)
        if r.random() < .1 and " " in s.strip():
            s = s.replace(" ", "\n ", 1) if not s.startswith(" ") else s
        return s

    def address(self):
        r = self.r
        name = r.choice(NAMES)
        at = "%s@%s" % (r.choice(LOCALS), r.choice(["example.com", "Example.ORG", "x.test"]))
        if not name:
            return at if r.random() < .5 else "<%s>" % at
        if not name.isascii():
            name = self.encoded(name)
        return "%s <%s>" % (name, at)

    def addresses(self):
        return ",\n ".join(self.address() for _ in range(self.r.choice([1, 1, 1, 2, 3])))

    def date(self):
        r = self.r
        text = "%d %s %d %02d:%02d:%02d" % (r.randint(1, 28), r.choice("Jan Feb Mar".split()), r.choice([2019, 2020]), r.randint(0, 23),
                                            r.randint(0, 59), r.randint(0, 59))
        zone = r.choice(["+0000", "+0100", "-0500", "+0930", "-1100", "GMT", "EST"])
        return r.choice(["", "Mon, "]) + text + " " + zone + r.choice(["", "", " (comment)"])

    def text(self, n):
        """Lines, and the charset they are in."""
        r = self.r
        charset = r.choice(list(WORDS))
        words = WORDS[charset] + (WORDS["us-ascii"] if charset != "utf-16" else [])
        lines = [" ".join(r.choice(words) for _ in range(r.randint(3, 12))) for _ in range(n)]
        return "\n".join(lines) + "\n", charset

    def leaf(self, n=4):
        """(header, body) of a text part."""
        r = self.r
        text, charset = self.text(n)
        subtype = "plain"
        octets = text.encode(charset)
        ascii_only = all(c < 128 for c in octets)
        how = r.choice(["quoted-printable", "base64"] + (["7bit", "8bit"] if ascii_only or charset != "shift_jis" else []))
        if how == "7bit" and not ascii_only:
            how = "8bit"
        if how == "quoted-printable":
            octets = quopri.encodestring(octets)
        elif how == "base64":
            octets = base64.encodebytes(octets)
        quote = r.choice(['"', ""])
        return (b"Content-Type: text/%s; charset=%s%s%s\nContent-Transfer-Encoding: %s\n"
                % (subtype.encode(), quote.encode(), charset.encode(), quote.encode(), how.encode()), octets)

    def body(self, depth=0):
        r = self.r
        kind = r.random()
        if kind < .6 or depth > 2:
            return self.leaf(r.randint(1, 12))
        if kind < .65:
            return b"", self.text(3)[0].encode("ascii", "ignore")
        if kind < .9:
            mark = "b%d" % r.randrange(10 ** 9)
            out = b"preamble words\n"
            for _ in range(r.randint(1, 3)):
                header, body = self.body(depth + 1)
                if r.random() < .2:
                    header += b"Content-Description: partly described\n"
                out += b"--" + mark.encode() + b"\n" + header + b"\n" + body + b"\n"
            out += b"--" + mark.encode() + b"--\nepilogue words\n"
            return b'Content-Type: multipart/mixed; boundary="%s"\n' % mark.encode(), out
        if kind < .95:
            return b"Content-Type: application/octet-stream; name=report.bin\nContent-Transfer-Encoding: base64\n", base64.encodebytes(
                b"quick brown unsearchable")
        return b"Content-Type: message/rfc822\n", self.message(is_inner=True)

    def message(self, is_inner=False):
        r = self.r
        fields = []
        if r.random() < .97:
            fields.append("From: " + self.address())
        if r.random() < .9:
            fields.append("To: " + self.addresses())
        if r.random() < .3:
            fields.append("Cc: " + self.addresses())
        if r.random() < .05:
            fields.append("Bcc: " + self.address())
        if r.random() < .95:
            fields.append("Subject: " + self.subject())
        if r.random() < .9:
            fields.append("Date: " + self.date())
        elif r.random() < .5:
            fields.append("Date: yesterday")
        if not is_inner:
            fields += self.references()
        if r.random() < .2:
            fields.append("X-Spam-Status: No, score=%d" % r.randint(-3, 3))
        r.shuffle(fields)
        header, body = self.body(1 if is_inner else 0)
        return "\n".join(fields).encode() + b"\nMIME-Version: 1.0\n" + header + b"\n" + body

    def references(self):
        r = self.r
        me = "<%d.%s@%s>" % (len(self.ids), r.choice("abc"), r.choice(["x.test", "Y.test"]))
        out = []
        kind = r.random()
        near = self.ids[-60:]
        if near and kind < .55:
            chain = sorted(r.sample(range(len(near)), min(len(near), r.randint(1, 6))))
            ids = [near[i] for i in chain]
            if r.random() < .1:
                ids.insert(r.randint(0, len(ids)), "<gone%d@x.test>" % r.randrange(40))
            if r.random() < .03:
                ids.append(me)
            if r.random() < .05:
                r.shuffle(ids)
            out.append("References: " + r.choice([" ", "\n ", "\n\t"]).join(ids))
            if r.random() < .5:
                out.append("In-Reply-To: " + ids[-1])
        elif near and kind < .7:
            out.append("In-Reply-To: " + r.choice(near))
        elif kind < .75:
            out.append("In-Reply-To: your message of yesterday")
        elif kind < .78:
            out.append("References: <later%d.x@x.test>" % r.randrange(30))
        if r.random() < .04:
            me = r.choice(near) if near else me  # an id twice
        elif r.random() < .03:
            me = "<later%d.x@x.test>" % r.randrange(30)
        if r.random() < .97:
            out.append("Message-ID: " + me)
            self.ids.append(me)
        return out


def write_maildir(folder, count, seed):
    """count messages in folder/cur; their names and times give them an order."""
    import os
    odd = OddMail(seed)
    r = random.Random(seed + 1)
    for part in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(folder, part), exist_ok=True)
    for i in range(count):
        flags = "".join(sorted(f for f in "DFRST" if r.random() < .2))
        path = os.path.join(folder, "cur", "%d.M%06dP1.host:2,%s" % (1500000000 + i, i, flags))
        with open(path, "wb") as f:
            f.write(odd.message())
        when = 1577000000 + r.randrange(3 * 86400)
        os.utime(path, (when, when))
