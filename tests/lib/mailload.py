"""Mail of every kind, and an account of it: what was answered "yes" must be somewhere.

    book = Ledger(mark=journal.mark)
    load = Load(stack, sink, book); load.run(seconds)
    missing = book.missing(until, found)

A message bears its token and its length in the subject, and its body can be told from them, so that what is found can be
compared with what was sent. Each event is in the ledger in order, with the number that `mark` gave it:

    try   about to send the last octet         ok     accepted: `to` says where it must be, `id` is its queue id
    sink  the other host is about to say 250   gone   about to be deleted from a mailbox
    told  what an IMAP server said             seen   a MODSEQ, UIDNEXT or UIDVALIDITY that it said
"""
import hashlib
import json
import os
import random
import re
import smtplib
import socket
import ssl
import subprocess
import threading
import time

from harness import *

USERS = ["u%d@example.com" % i for i in range(8)]
READERS = ["r%d@example.com" % i for i in range(2)]
ALIASES = {"list@example.com": ["u0@example.com", "u1@example.com"], "out@example.com": ["away@sink.test"],
           "both@example.com": ["u2@example.com", "ok@sink.test"]}
LARGE = (70 * 1024, 300 * 1024)
PASSWORD = "pass"
TOKEN = re.compile(rb"^Subject: (pc-[0-9a-z-]+) (\d+)\r?$", re.M)


def text_of(token, lines):
    """The message, CRLF lines, without the header fields that are added under way."""
    head = "Subject: %s %d\r\nFrom: <a@example.com>\r\nTo: <b@example.com>\r\n\r\n" % (token, lines)
    return head + body_of(token, lines)


def body_of(token, lines):
    return "".join("%06d %s %s\r\n" % (i, token, "x" * 40) for i in range(lines)) + "end of %s\r\n" % token


def digest(text):
    return hashlib.sha1(text.encode()).hexdigest()


_bodies = {}


def whole(raw):
    """(token, is whole) of a message as it is in a Maildir or came to the sink; (None, None) when it is not ours."""
    raw = raw.replace(b"\r\n", b"\n")
    head, _, body = raw.partition(b"\n\n")
    m = TOKEN.search(head)
    if not m:
        return None, None
    token, lines = m.group(1).decode(), int(m.group(2))
    key = (token, lines)
    if key not in _bodies:
        _bodies[key] = hashlib.sha1(body_of(token, lines).replace("\r\n", "\n").encode()).digest()
    return token, hashlib.sha1(body).digest() == _bodies[key]


class Ledger:
    def __init__(self, mark=None):
        self.lock = threading.Lock()
        self.events = []  # (seq, kind, fields)
        self.mark, self.count = mark, 0

    def note(self, kind, **fields):
        with self.lock:
            self.count += 1
            seq = self.mark(json.dumps([kind, fields])) if self.mark else self.count
            self.events.append((seq, kind, fields))
        return seq

    def until(self, seq, *kinds):
        return [(k, f) for s, k, f in self.events if s <= seq and (not kinds or k in kinds)]

    def expected(self, seq):
        """{(place, token)} that must be found if everything stopped at seq. Places: an address, (address, folder),
        "sink", ("report", address)."""
        want = set()
        for kind, f in self.until(seq, "ok", "gone"):
            if kind == "ok":
                want |= {(_place(p), f["token"]) for p in f["to"]}
            else:
                want -= {(_place(p), f["token"]) for p in f["to"]}
        return want

    def sunk(self, seq):
        return [f["token"] for k, f in self.until(seq, "sink")]

    def ids(self, seq):
        return {f["id"] for k, f in self.until(seq, "ok") if f.get("id")}


def _place(p):
    return tuple(p) if isinstance(p, list) else p


# ---------------------------------------------------------------------------------------------- the other host


class Sink(threading.Thread):
    """An SMTP server. Local parts that begin with "no" are refused, those with "late" the first few times."""

    def __init__(self, book, host="127.0.0.1", port=0):
        super().__init__(daemon=True)
        self.book, self.listener = book, socket.create_server((host, port), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.late = {}  # None: nobody has to come back
        self.found = []  # (token, is whole)
        self.start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def rcpt(self, line):
        local = line.split("<")[1].split("@")[0]
        if local.startswith("no"):
            return "550 5.1.1 no such user here"
        if local.startswith("late") and self.late is not None:
            self.late[line] = self.late.get(line, 0) + 1
            if self.late[line] < 3:
                return "450 4.2.1 come back"
        return "250 2.1.5 Ok"

    def serve(self, s):
        try:
            self.talk(s.makefile("rwb"))
        except OSError:
            pass
        finally:
            s.close()

    def talk(self, f):
        def say(text):
            f.write(text.encode() + b"\r\n")
            f.flush()

        n = 0
        say("220 sink ESMTP")
        while raw := f.readline():
            verb = raw.split(b" ")[0].strip().upper()
            if verb == b"EHLO":
                say("250-sink\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250 DSN")
            elif verb == b"MAIL":
                n = 0
                say("250 2.1.0 Ok")
            elif verb == b"RCPT":
                answer = self.rcpt(raw.decode("latin-1"))
                n += answer.startswith("250")
                say(answer)
            elif verb == b"DATA":
                say("354 go on" if n else "554 5.5.1 no recipients")
                if n:
                    self.take(f, say, n)
            elif verb == b"QUIT":
                say("221 bye")
                return
            else:
                say("250 Ok")

    def take(self, f, say, n):
        body = []
        while True:
            line = f.readline()
            if not line:
                return
            if line == b".\r\n":
                break
            body.append(line[1:] if line.startswith(b".") else line)
        token, is_whole = whole(b"".join(body))
        self.found.append((token, is_whole))
        if is_whole:
            for _ in range(n):
                self.book.note("sink", token=token)
        say("250 2.0.0 Ok: queued as %d" % len(self.found))


# ---------------------------------------------------------------------------------------------- who sends


class Client(threading.Thread):
    """Does one thing after another until it is told to stop; a failure is no news: what was not accepted was not."""

    def __init__(self, load, name, seed):
        super().__init__(daemon=True)
        self.load, self.stack, self.book = load, load.stack, load.book
        self.name, self.random, self.n = name, random.Random("%s-%s" % (seed, name)), 0
        self.trouble = None

    def token(self):
        self.n += 1
        return "pc-%s-%d-%s" % (self.name, self.n, "%08x" % self.random.getrandbits(32))

    def lines(self):
        if self.random.random() < 0.12:
            return self.random.randrange(*LARGE) // 70
        return self.random.choice((0, 3, 20, 60))

    def run(self):
        while not self.load.ended.is_set():
            try:
                self.session()
            except (OSError, EOFError, smtplib.SMTPException, subprocess.SubprocessError) as e:
                self.trouble = e
                time.sleep(0.05)

    def done(self):
        return self.load.ended.wait(self.load.pause_s * self.random.random())

    def places(self, recipients, sender):
        """Where a message to these must be in the end."""
        out = []
        for r in recipients:
            for to in ALIASES.get(r, [r]):
                local, domain = to.split("@")
                if domain == "example.com":
                    out.append(to)
                elif local.startswith("no"):
                    out.append(["report", sender])
                else:
                    out.append("sink")
        return out


class Smtp(Client):
    """Port 25: local users, aliases, hosts far away."""

    def recipients(self):
        r = self.random
        to = [r.choice(USERS + READERS)]
        if r.random() < 0.2:
            to = r.sample(USERS, 3)
        if r.random() < 0.15:
            to.append(r.choice(list(ALIASES)))
        return list(dict.fromkeys(to))

    sender = "a@example.com"

    def connect(self):
        c = smtplib.SMTP("127.0.0.1", self.stack.ports["smtp"], local_hostname="client.example.com", timeout=20)
        c.ehlo()
        return c

    def session(self):
        with self.connect() as c:
            for _ in range(self.random.randrange(1, 30)):
                if self.done():
                    return
                self.send(c, self.sender, self.recipients())

    def send(self, c, sender, to):
        token, lines = self.token(), self.lines()
        code, text = c.mail(sender)
        if code != 250:
            raise smtplib.SMTPException(text)
        taken = [r for r in to if c.rcpt(r)[0] == 250]
        if not taken:
            c.rset()
            return
        self.book.note("try", token=token)
        code, text = c.data(text_of(token, lines))
        if code == 250:
            m = re.search(rb"queued as (\S+)", text)
            self.book.note("ok", token=token, to=self.places(taken, sender), id=m.group(1).decode(),
                           is_large=lines * 70 > LARGE[0])


class Submission(Smtp):
    """Port 587 with a password: mostly to other hosts, some of which say no, later, or nothing."""

    def __init__(self, load, name, seed):
        super().__init__(load, name, seed)
        self.sender = self.random.choice(USERS)

    def recipients(self):
        return [self.random.choice(("ok@sink.test", "late-%d@sink.test" % self.n, "no@sink.test", "x%d@dead.test" % self.n,
                                    "out@example.com", self.random.choice(USERS)))]

    def connect(self):
        c = smtplib.SMTP("127.0.0.1", self.stack.ports["submission"], local_hostname="client.example.com", timeout=20)
        try:
            c.starttls(context=ssl._create_unverified_context())
            c.login(self.sender, PASSWORD)
        except BaseException:
            c.close()
            raise
        return c


class Command(Client):
    """sendmail(1)."""

    def session(self):
        if not self.done():
            self.submit()

    def submit(self):
        to = [self.random.choice(USERS + ["ok@sink.test", "both@example.com"])]
        token, lines = self.token(), self.lines()
        self.book.note("try", token=token)
        p = subprocess.run(self.load.sendmail + ["-i", "-f", "u0@example.com"] + to, timeout=30, env=self.load.env,
                           input=text_of(token, lines).replace("\r\n", "\n").encode(), stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, cwd="/")
        if p.returncode == 0:
            self.book.note("ok", token=token, to=self.places(to, "u0@example.com"))
        else:
            self.trouble = p.stderr


# ---------------------------------------------------------------------------------------------- who reads


class Imap:
    """As much of an IMAP client as the tests here want."""

    def __init__(self, port, user):
        self.sock = socket.create_connection(("127.0.0.1", port), 20)
        self.file, self.n = self.sock.makefile("rwb"), 0
        self.line()
        self.cmd('LOGIN "%s" "%s"' % (user, PASSWORD))

    def close(self):
        self.file.close()
        self.sock.close()

    def line(self):
        out = b""
        while True:
            got = self.file.readline()
            if not got.endswith(b"\n"):
                raise EOFError("the server has hung up")
            out += got
            m = re.search(rb"\{(\d+)\}\r\n$", got)
            if not m:
                return out
            out += self.file.read(int(m.group(1)))

    def cmd(self, text, literal=None, ok=True):
        """(tagged line, untagged lines)."""
        self.n += 1
        tag = b"t%d" % self.n
        raw = tag + b" " + text.encode()
        if literal is not None:
            raw += b" {%d+}\r\n" % len(literal) + literal
        self.file.write(raw + b"\r\n")
        self.file.flush()
        lines = []
        while True:
            got = self.line()
            if got.startswith(tag + b" "):
                if ok and not got.startswith(tag + b" OK"):
                    raise EOFError("%s: %r" % (text, got))
                return got.decode("latin-1"), [x.decode("latin-1") for x in lines]
            lines.append(got)


    def select(self, folder):
        """UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ."""
        lines = "".join(self.cmd("SELECT " + folder)[1])
        return [int(re.search(r"\[%s (\d+)\]" % w, lines).group(1)) for w in ("UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ")]

    def subjects(self, uids="1:*"):
        """[(uid, token or None, flags)]."""
        out = []
        for line in self.cmd("UID FETCH %s (UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])" % uids)[1]:
            uid, flags = re.search(r"UID (\d+)", line), re.search(r"FLAGS \(([^)]*)\)", line)
            token = TOKEN.search(line.encode("latin-1"))
            if uid:
                out.append((int(uid.group(1)), token and token.group(1).decode(),
                            sorted(f for f in flags.group(1).split() if f != "\\Recent") if flags else []))
        return out


def uid_list(text):
    out = []
    for part in text.split(","):
        a, _, b = part.partition(":")
        out += range(int(a), int(b or a) + 1)
    return out


class Reader(Client):
    """An IMAP user who files, copies, moves, marks and deletes mail, and remembers what he was told."""

    folders = ("INBOX", "Work", "Done")

    def session(self):
        self.user = self.name
        self.imap = Imap(self.stack.ports["imap"], self.user)
        try:
            for f in self.folders[1:]:
                self.imap.cmd("CREATE " + f, ok=False)
            while not self.done():
                self.visit(self.random.choice(self.folders[:2]))
        finally:
            self.imap.close()

    def saw(self, folder, **fields):
        self.book.note("seen", user=self.user, folder=folder, **fields)

    def told(self, folder, validity, uid, token):
        self.book.note("told", user=self.user, folder=folder, validity=validity, uid=uid, token=token)

    def visit(self, folder):
        self.known = {}
        self.uidvalidity, self.uidnext, self.highestmodseq = self.imap.select(folder)
        self.folder = folder
        self.saw(folder, validity=self.uidvalidity, uidnext=self.uidnext, modseq=self.highestmodseq)
        self.learn("1:*")
        for _ in range(self.random.randrange(3, 10)):
            if self.done():
                return
            self.random.choice((self.append, self.append, self.copy, self.move, self.store, self.store, self.expunge))()
            if len(self.known) > 300:
                self.expunge(len(self.known) // 2)

    def learn(self, uids):
        for uid, token, _flags in self.imap.subjects(uids):
            if token:
                self.known[uid] = token
                self.told(self.folder, self.uidvalidity, uid, token)

    def some(self, most=6):
        uids = sorted(self.known)
        return self.random.sample(uids, min(len(uids), self.random.randrange(1, most))) if uids else []

    def append(self):
        token, lines = self.token().replace("@", "-").replace(".", "-"), self.lines()
        self.book.note("try", token=token)
        answer = self.imap.cmd("APPEND %s (\\Seen)" % self.folder, text_of(token, lines).encode())[0]
        validity, uid = (int(n) for n in re.search(r"\[APPENDUID (\d+) (\d+)\]", answer).groups())
        self.known[uid] = token
        self.told(self.folder, validity, uid, token)
        self.book.note("ok", token=token, to=[self.user, [self.user, self.folder]])

    def copied(self, answer, lines, to):
        m = re.search(r"\[COPYUID (\d+) (\S+) (\S+)\]", answer + "".join(lines))
        if not m:
            return
        for a, b in zip(uid_list(m.group(2)), uid_list(m.group(3))):
            token = self.known.get(a)
            if token:
                self.told(to, int(m.group(1)), b, token)
                self.book.note("ok", token=token, to=[self.user, [self.user, to]])

    def copy(self):
        uids = self.some(60)
        if uids:
            answer, lines = self.imap.cmd("UID COPY %s Work" % ",".join(map(str, uids)))
            self.copied(answer, lines, "Work")

    def move(self):
        uids = self.some()
        if not uids:
            return
        for uid in uids:
            self.book.note("gone", token=self.known[uid], to=[[self.user, self.folder]])
        answer, lines = self.imap.cmd("UID MOVE %s Done" % ",".join(map(str, uids)))
        self.copied(answer, lines, "Done")
        for uid in uids:
            del self.known[uid]

    def store(self):
        uids = self.some(20)
        if uids:
            word = self.random.choice(("\\Flagged", "\\Answered", "$Later", "\\Seen", "Own%d" % self.random.randrange(5)))
            self.imap.cmd("UID STORE %s %sFLAGS (%s)" % (",".join(map(str, uids)), self.random.choice("+-"), word))

    def expunge(self, n=3):
        uids = self.some(n + 1)
        if not uids:
            return
        for uid in uids:
            self.book.note("gone", token=self.known[uid], to=[self.user, [self.user, self.folder]])
        self.imap.cmd("UID STORE %s +FLAGS.SILENT (\\Deleted)" % ",".join(map(str, uids)))
        self.imap.cmd("UID EXPUNGE %s" % ",".join(map(str, uids)))
        for uid in uids:
            self.known.pop(uid, None)


# ---------------------------------------------------------------------------------------------- all of it


def conf(sink_port, dead_port=1):
    """Lines of main.cf for this: where mail to other hosts goes, and soon again."""
    return ["smtpd_sender_restrictions =", "smtpd_recipient_restrictions =", "smtpd_client_restrictions =",
            "smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
            "transport_maps = inline:{ {sink.test = smtp:[127.0.0.1]:%d} {dead.test = smtp:[127.0.0.1]:%d} }"
            % (sink_port, dead_port),
            "minimal_backoff_time = 2s", "queue_run_delay = 1s", "maximal_backoff_time = 3s", "smtp_connect_timeout = 5s",
            "submission_account_message_limit_hour = 0", "submission_account_message_limit_day = 0",
            "submission_account_recipient_limit_hour = 0", "submission_account_recipient_limit_day = 0",
            "disable_plaintext_auth = no", "mail_max_userip_connections = 100", "smtpd_client_connection_rate_limit = 0"]


class Load:
    """pause_s: the longest rest between two things of one client."""

    def __init__(self, stack, book, seed=1, pause_s=0.02, env=None, smtp=4, submission=2, command=2, readers=2):
        self.stack, self.book, self.pause_s, self.env = stack, book, pause_s, env
        self.ended = threading.Event()
        self.sendmail = [build("bin", "sendmail"), "-C", stack.main_cf]
        self.clients = [Smtp(self, "in%d" % i, seed) for i in range(smtp)]
        self.clients += [Submission(self, "sub%d" % i, seed) for i in range(submission)]
        if os.path.exists(self.sendmail[0]):
            self.clients += [Command(self, "cmd%d" % i, seed) for i in range(command)]
        self.clients += [Reader(self, r, seed) for r in READERS[:readers]]

    def start(self):
        for c in self.clients:
            c.start()

    def stop(self, timeout_s=60):
        self.ended.set()
        for c in self.clients:
            c.join(timeout_s)
            check(not c.is_alive(), "%s does not end" % c.name)

    def run(self, seconds):
        self.start()
        time.sleep(seconds)
        self.stop()


# ---------------------------------------------------------------------------------------------- what is there


class Mailboxes:
    """What lies in the Maildirs below root. look() reads what is new there."""

    def __init__(self, root):
        self.root, self.read = root, {}

    def look(self):
        """{(place, token): how often}; files that are as long as their name says but not what was sent are in .broken."""
        found, self.broken = {}, []
        for domain in _names(self.root):
            for user in _names(os.path.join(self.root, domain)):
                address, top = user + "@" + domain, os.path.join(self.root, domain, user)
                self.folder(found, address, "INBOX", top)
                for name in _names(top):
                    if name.startswith("."):
                        self.folder(found, address, name[1:], os.path.join(top, name))
        return found

    def folder(self, found, address, name, path):
        bases = set()
        for part in ("new", "cur"):
            for file in _names(os.path.join(path, part)):
                at = os.path.join(path, part, file)
                base = file.split(":")[0]
                if base in bases:
                    continue
                for place, token in self.file(at, base, address, name):
                    bases.add(base)
                    found[(place, token)] = found.get((place, token), 0) + 1

    def file(self, at, base, address, folder):
        key = (os.path.dirname(os.path.dirname(at)), base)
        if key not in self.read:
            try:
                with open(at, "rb") as f:
                    raw = f.read()
            except OSError:
                return []
            size = re.search(r",S=(\d+)", base)
            if size and len(raw) < int(size.group(1)):
                return []  # a wreck: nothing
            self.read[key] = self.judge(raw, address, folder)
        if self.read[key] is None:
            self.broken.append(at)
            return []
        return self.read[key]

    @staticmethod
    def judge(raw, address, folder):
        token, is_whole = whole(raw)
        if token:
            return [(address, token), ((address, folder), token)] if is_whole else None
        if not raw.strip(b"\0"):
            return None
        return [(("report", address), m.group(1).decode()) for m in TOKEN.finditer(raw)]


def _names(path):
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []
