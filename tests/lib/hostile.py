"""Messages that are meant to hurt who reads them: HOSTILE[name](n) is one whose size or count grows with n, with CRLF line ends.
By hand: python3 tests/lib/hostile.py NAME N > FILE, or without arguments for the names.
"""
import base64
import sys

TEXT = b"From: a@example.com\r\nSubject: s\r\n\r\n"


def head(*fields):
    return b"From: a@example.com\r\n" + b"".join(f + b"\r\n" for f in fields)


def parts(n):
    return head(b"Content-Type: multipart/mixed; boundary=b") + b"\r\n" + b"--b\r\n\r\nx\r\n" * n + b"--b--\r\n"


def empty_parts(n):
    return head(b"Content-Type: multipart/mixed; boundary=b") + b"\r\n" + b"--b\r\n" * n


def almost_parts(n):
    return head(b"Content-Type: multipart/mixed; boundary=b") + b"\r\n--b\r\n\r\n" + b"--bx\r\n" * n


def depth(n):
    out = [head(b"Content-Type: multipart/mixed; boundary=b0") + b"\r\n"]
    for i in range(n):
        out.append(b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (i, i + 1))
    return b"".join(out) + b"--b%d\r\n\r\ninnermost\r\n" % n


def deep_and_long(n):
    return depth(99) + b"a line of text that every level is made of\r\n" * n


def depth_same_boundary(n):
    return head(b"Content-Type: multipart/mixed; boundary=b") + b"\r\n" + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * n


def depth_of_messages(n):
    return head(b"Content-Type: message/rfc822") + b"\r\n" + b"Subject: s\r\nContent-Type: message/rfc822\r\n\r\n" * n + b"\r\nx"


def digest(n):
    return head(b"Content-Type: multipart/digest; boundary=b") + b"\r\n" + b"--b\r\n\r\nSubject: s\r\nTo: a@b, c@d\r\n\r\nx\r\n" * n


def long_boundary(n):
    return head(b'Content-Type: multipart/mixed; boundary="' + b"b" * 900 + b'"') + b"\r\n" + (b"--" + b"b" * 899 + b"\r\n") * (n // 100)


def many_fields(n):
    return b"".join(b"X-%d: v\r\n" % i for i in range(n)) + b"\r\nx"


def long_field(n):
    return b"Subject: " + b"s" * 10 * n + b"\r\n\r\nx"


def folded_field(n):
    return b"Subject: a" + b"\r\n b" * n + b"\r\n\r\nx"


def empty_folds(n):
    return b"Subject: a" + b"\r\n " * n + b"\r\nTo: " + b"\r\n " * n + b"a@b\r\n\r\nx"


def same_field(n):
    return b"To: a@b\r\n" * n + b"Content-Type: text/plain\r\n" * n + b"\r\nx"


def no_colon(n):
    return b"no field at all\r\n" * n + b"\r\nx"


def no_header(n):
    return b"\r\n" + b"x" * n


def header_alone(n):
    return b"Subject: " + b"x" * n


def nothing(n):
    return b""


def nuls(n):
    return b"Subject: \0a\0\r\nTo: \0 <\0@\0>\r\nContent-Type: text/plain; a=\"\0\"\r\n\r\n" + b"\0" * n


def endless_line(n):
    return TEXT + b"x" * 10 * n


def empty_lines(n):
    return TEXT + b"\r\n" * n


def bare_crs(n):
    return b"Subject: a\rb\r\n\r\n" + b"\r" * n + b"\n"


def rfc2231(n):
    return head(b"Content-Type: text/plain" + b"".join(b";\r\n name*%d=v" % i for i in range(n))) + b"\r\nx"


def rfc2231_encoded(n):
    return head(b"Content-Disposition: attachment" + b"".join(b"; filename*%d*=utf-8''%%41" % i for i in range(n))) + b"\r\nx"


def params(n):
    return head(b"Content-Type: text/plain" + b"; a=b" * n) + b"\r\nx"


def semicolons(n):
    return head(b"Content-Type: text/plain" + b";" * n + b"=" * n) + b"\r\nx"


def boundaries(n):
    return head(b"Content-Type: multipart/mixed" + b"; boundary=b%d" % n * n) + b"\r\n--b\r\n\r\nx"


def languages(n):
    return head(b"Content-Language: " + b"en, " * n) + b"\r\nx"


def addresses(n):
    return head(b"To: " + b",\r\n ".join(b"Name %d <u%d@example.com>" % (i, i) for i in range(n))) + b"\r\nx"


def addresses_everywhere(n):
    every = b", ".join(b"u%d@e" % i for i in range(n))
    return b"".join(f + b": " + every + b"\r\n" for f in (b"From", b"Sender", b"Reply-To", b"To", b"Cc", b"Bcc")) + b"\r\nx"


def groups(n):
    return head(b"To: " + b"g:;" * n) + b"\r\nx"


def open_groups(n):
    return head(b"To: " + b"g:a" * n) + b"\r\nx"


def comments(n):
    return head(b"To: " + b"(" * n + b")" * n + b" a@b", b"Cc: " + b"(c)" * n, b"Date: " + b"(" * n) + b"\r\nx"


def quotes(n):
    return head(b"To: " + b"\"" * n + b"@", b"Cc: " + b"\\" * n, b"Bcc: \"" + b"a\\\"" * n) + b"\r\nx"


def angles(n):
    return head(b"To: " + b"<" * n, b"Cc: " + b"<@a" * n, b"Bcc: " + b"<a@b" * n) + b"\r\nx"


def routes(n):
    return head(b"To: <" + b"@a," * n + b":a@b>", b"Cc: " + b"a.b . " * n) + b"\r\nx"


def encoded_words(n):
    return head(b"Subject: " + b"=?utf-8?Q?a?= " * n, b"To: " + b"=?utf-8?B?YQ==?= <a@b>, " * n) + b"\r\nx"


def word_beginnings(n):
    return head(b"Subject: " + b"=?utf-8?Q?" * n, b"To: " + b"=?" * n) + b"\r\nx"


def stateful_words(n):
    return head(b"Subject: " + b"=?iso-2022-jp?B?GyRC?= " * n, b"From: " + b"=?utf-7?Q?+AAA?= " * n) + b"\r\nx"


CHARSETS = ("iso-2022-jp iso-2022-kr iso-2022-cn utf-7 utf-16 ucs-2 cp1255 cp1258 tcvn euc-jp euc-kr euc-tw gb18030 gbk big5"
            " big5-hkscs shift_jisx0213 euc-jisx0213 koi8-r koi8-u cp437 cp850 cp866 cp932 cp949 iso-8859-2 iso-8859-3 iso-8859-4"
            " iso-8859-5 iso-8859-6 iso-8859-7 iso-8859-8 iso-8859-9 iso-8859-15 macintosh ibm037 ibm1390 ebcdic-us hz uhc").split()


def words_of_all_charsets(n):
    words = [b"=?%s?Q?a=1B=24B=E9?=" % c.encode() for c in CHARSETS]
    every = b" ".join(words[i % len(words)] for i in range(n))
    return head(b"Subject: " + every, b"To: " + every + b" <a@b>") + b"\r\nx"


def utf7(n):
    return head(b"Content-Type: text/plain; charset=utf-7") + b"\r\n" + b"+ADw-+" * n


def iso2022(n):
    return head(b"Content-Type: text/plain; charset=iso-2022-jp") + b"\r\n" + b"\x1b$B\x1b(B" * n


def iso2022_kr(n):
    return head(b"Content-Type: text/plain; charset=iso-2022-kr") + b"\r\n" + b"\x1b$)C" + b"\x0e\x0f\xff" * n


def bad_charset(n):
    return head(b"Content-Type: text/plain; charset=utf-16") + b"\r\n" + b"\xd8\x00" * n


def charset_name(n):
    return head(b"Content-Type: text/plain; charset=" + b"x" * n, b"Subject: =?" + b"y" * n + b"?Q?a?=") + b"\r\nx"


def references(n):
    return head(b"Message-ID: <m@x>", b"References: " + b"\r\n ".join(b"<%d@x>" % i for i in range(n))) + b"\r\nx"


def open_references(n):
    return head(b"References: " + b"<" * n, b"In-Reply-To: " + b"<a " * n, b"Message-ID: <" + b"i" * n + b">") + b"\r\nx"


def subject_blobs(n):
    return head(b"Subject: " + b"[a]" * n) + b"\r\nx"


def subject_res(n):
    return head(b"Subject: " + b"Re[" * n + b"Re: " * n + b"[fwd:" * n + b"]" * n + b"(fwd)" * n) + b"\r\nx"


def html_tags(n):
    return head(b"Content-Type: text/html") + b"\r\n" + b"<div><p>" * n


def html_open(n):
    return head(b"Content-Type: text/html") + b"\r\n" + b"<" * n + b"<a b=\"" * n


def html_comments(n):
    return head(b"Content-Type: text/html") + b"\r\n" + b"<!--" * n + b"<script>" * n


def html_references(n):
    return head(b"Content-Type: text/html") + b"\r\n" + b"&nosuchthing;&#;&" * n


def base64_body(n):
    return head(b"Content-Transfer-Encoding: base64") + b"\r\n" + base64.encodebytes(b"x" * n).replace(b"\n", b"\r\n")


def base64_padding(n):
    return head(b"Content-Transfer-Encoding: base64") + b"\r\n" + b"=" * n


def qp_body(n):
    return head(b"Content-Transfer-Encoding: quoted-printable") + b"\r\n" + b"=" * n + b"= " * n


def qp_blanks(n):
    return head(b"Content-Transfer-Encoding: quoted-printable") + b"\r\n" + b"=" + b" " * n + b"x"


def dates(n):
    return head(b"Date: " + b"(" * n + b"Mon, " * n) + b"\r\nx"


HOSTILE = {name: f for name, f in list(globals().items()) if callable(f) and name not in ("head",) and not name.startswith("_")}

if __name__ == "__main__":
    if len(sys.argv) < 3:
        print("\n".join(HOSTILE))
    else:
        sys.stdout.buffer.write(HOSTILE[sys.argv[1]](int(sys.argv[2])))
