#!/usr/bin/env python3
# aliases(5) as a whole: commands, files, lists in files, owners. What is expected is what a real Postfix 3.7 says of the same
# aliases, but for what README and the reference say is different.
# timeout: 240
import glob
import os
import pwd
import re
import smtplib
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USERS = ["u0@example.com", "u1@example.com", "u2@example.com"]
CONF = ["mydestination = localhost, local.test", "virtual_alias_maps =", "recipient_delimiter = +",
        "transport_maps = inline:{ { list.test = discard: } }", "default_transport = error:5.1.2 no way out",
        "smtpd_recipient_restrictions = permit_mynetworks, reject", "mynetworks = 127.0.0.0/8", "mailbox_size_limit = 20000000"]


class Aliases(Stack):
    """aliases: text, with @O for a folder that whoever runs the commands may write to, and @L for one of lists."""

    def __init__(self, name, aliases, lists=(), conf=()):
        super().__init__(tmp(name), users=USERS, extra_conf=CONF + list(conf))
        self.out, self.lists = self.path("out"), self.path("lists")
        self.configure()
        for folder, mode in ((self.out, 0o1777), (self.lists, 0o755)):
            os.makedirs(folder)
            os.chmod(folder, mode)
        os.chmod(self.workdir, 0o755)
        for key, text in dict(lists).items():
            self.put_list(key, text)
        self.put_aliases(aliases)
        self.start()
        at_end(self.stop)

    def fill(self, text):
        return text.replace("@O", self.out).replace("@L", self.lists)

    def put_aliases(self, text):
        with open(self.path("aliases.new"), "w") as f:
            f.write("postmaster: u0\n" + self.fill(text))
        os.rename(self.path("aliases.new"), self.path("aliases"))

    def put_list(self, name, text, mode=0o644):
        with open(os.path.join(self.lists, name), "w") as f:
            f.write(self.fill(text))
        os.chmod(f.name, mode)

    def send(self, *rcpts, sender="u0@example.com", text="Subject: x\r\n\r\nFrom here\r\nbody\r\n", options=()):
        """The queue id, or the refusal."""
        c = smtplib.SMTP("127.0.0.1", self.ports["smtp"], timeout=30)
        c.ehlo("cli.example")
        try:
            c.mail(sender)
            for r in rcpts:
                got = c.rcpt(r, list(options))
                check(got[0] == 250, "RCPT %s: %s" % (r, got))
            code, reply = c.data(text)
        except smtplib.SMTPResponseException as e:
            code, reply = e.smtp_code, e.smtp_error
        finally:
            c.close()
        return re.search(r"queued as (\S+)", reply.decode()).group(1) if code == 250 else "%d %s" % (code, reply.decode())

    def ends(self, qid, n=1, timeout_s=20):
        """[(to, relay, dsn, status and its text)] of a message's n recipients, sorted."""
        find = re.compile(r"%s: to=<([^>]*)>.* relay=([^,]*),.* dsn=([^,]*), status=(.*)" % qid)
        wait_for(lambda: len(find.findall(self.log())) >= n, timeout_s, "%d ends of %s in\n%s" % (n, qid, self.log()[-3000:]))
        return sorted(find.findall(self.log()))

    def end(self, *rcpts, **kw):
        qid = self.send(*rcpts, **kw)
        check(" " not in qid, "accepted, not %s" % qid)
        return self.ends(qid)[0]

    def read(self, name):
        with open(os.path.join(self.out, name), "rb") as f:
            return f.read().decode()

    def write(self, name, text, mode=0o666):
        path = os.path.join(self.out, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def mails(self, user):
        out = []
        for path in glob.glob(os.path.join(self.maildir(user), "new", "*")):
            with open(path, "rb") as f:
                out.append(f.read().decode().replace("\r\n", "\n"))
        return out

    def wait_mail(self, user, text):
        wait_for(lambda: any(text in m for m in self.mails(user)), 20, "%r for %s: %s" % (text, user, self.mails(user)))
        return [m for m in self.mails(user) if text in m][0]


# ------------------------------------------------------------------------------------------- commands

SHOW = r'''#!/bin/sh
{ echo "args: $#: $*"; pwd; id -un; umask; env | sort; echo ---; cat; echo =====; } > "$0.out"
echo some output
'''
COMMANDS = r'''
plain: "|@O/show plain a b"
escaped: "|@O/show \"x y\" z"
e1: "|@O/show exit1; echo oops; exit 1"
e67: "|echo nouser; exit 67"
e64: "|exit 64"
e75: "|echo temporary; exit 75"
edsn: "|echo 5.7.9 my own reason; exit 1"
edsn4: "|echo 4.2.2 my own reason; exit 69"
missing: "|/no/such/prog arg"
missing2: "|nosuchprog arg"
signal: "|kill -9 $$"
slow: "|sleep 30 & sleep 31; echo never"
long: "|yes 0123456789 | head -c 100000; exit 3"
deaf: "|true"
two: "|@O/show first", "|@O/show first", u1@example.com
'''


@case
def commands():
    s = Aliases("c", COMMANDS, conf=["command_time_limit = 2s"])
    s.write("show", SHOW, 0o755)
    check(not s.pids_of("locald"), "locald runs only when there is something to do: %s" % s.pids())
    slow = s.send("slow@local.test")
    to, relay, dsn, status = s.end("plain@local.test")
    equal((to, relay, dsn, status), ("plain@local.test", "local", "2.0.0", "sent (delivered to command: %s)" % s.fill("@O/show plain a b")))
    check(len(s.pids_of("locald")) == 1, "one locald: %s" % s.pids())
    head, _, body = s.read("show.out").partition("---\n")
    lines = head.splitlines()
    equal(lines[0], "args: 3: plain a b")
    equal(lines[1], s.queue_dir)
    equal(lines[3], "0077")
    equal([l for l in lines[4:] if l.split("=")[0] not in ("LANG", "TZ", "PWD", "_", "SHLVL", "OLDPWD")], [
        "CLIENT_ADDRESS=127.0.0.1", "CLIENT_HELO=cli.example", "CLIENT_HOSTNAME=localhost", "CLIENT_PROTOCOL=ESMTP", "DOMAIN=local.test",
        "LOCAL=plain", "LOGNAME=plain", "ORIGINAL_RECIPIENT=plain@local.test", "PATH=/usr/bin:/bin", "RECIPIENT=plain@local.test",
        "SENDER=u0@example.com", "USER=plain"])
    mail = body.splitlines()
    check(re.fullmatch(r"From u0@example\.com  \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", mail[0]), mail[0])
    equal(mail[1:4], ["Return-Path: <u0@example.com>", "X-Original-To: plain@local.test", "Delivered-To: plain@local.test"])
    equal(mail[-4:], ["", "From here", "body", "====="])
    equal(s.end("escaped@local.test")[3], "sent (delivered to command: %s)" % s.fill('@O/show "x y" z'))
    check("args: 2: x y z\n" in s.read("show.out"), s.read("show.out"))

    # an extension, and a sender whose octets a shell must not see
    equal(s.end("plain+ext@local.test", sender='"a$b`c"@example.com')[2], "2.0.0")
    for want in ("EXTENSION=ext\n", "LOCAL=plain+ext\n", "USER=plain\n", "RECIPIENT=plain+ext@local.test\n", "SENDER=_a_b_c_@example.com\n"):
        check(want in s.read("show.out") or want.replace("_a_b_c_", "a_b_c") in s.read("show.out"), "%r in %s" % (want, s.read("show.out")))

    for name, want in [("e1", ("5.3.0", 'bounced (Command died with status 1: "%s". Command output: some output oops)' %
                               s.fill("@O/show exit1; echo oops; exit 1"))),
                       ("e67", ("5.1.1", "bounced (user unknown. Command output: nouser)")),
                       ("e64", ("5.3.0", "bounced (command line usage error)")),
                       ("e75", ("4.3.0", "deferred (temporary failure. Command output: temporary)")),
                       ("edsn", ("5.7.9", "bounced (my own reason)")), ("edsn4", ("4.2.2", "deferred (my own reason)")),
                       ("missing", ("4.3.0", "deferred (temporary failure. Command output: execvp /no/such/prog arg: No such file or directory)")),
                       ("missing2", ("5.3.0", 'bounced (Command died with status 127: "nosuchprog arg". Command output: /bin/sh: 1: nosuchprog: not found)')),
                       ("signal", ("4.3.0", 'deferred (Command died with signal 9: "kill -9 $$")')), ("deaf", ("2.0.0", "sent (delivered to command: true)"))]:
        equal(s.end(name + "@local.test")[2:], want, name)
    long = s.end("long@local.test")
    check(long[2] == "5.3.0" and "0123456789 0123456789" in long[3] and len(long[3]) < 1100, long)

    # the time limit is for all that it has begun
    equal(s.ends(slow)[0][2:], ("5.3.0", 'bounced (Command time limit exceeded: "sleep 30 & sleep 31; echo never")'))
    check(not [p for p, n in s.pids().items() if n == "sleep"], "its children are gone: %s" % s.pids())

    # the report has what the command said; the same command twice is once; others get theirs
    s.wait_mail("u0@example.com", "output: some output oops")
    s.write("show", "#!/bin/sh\necho run >> \"$0.count\"\n", 0o755)
    equal([e[3].split(" (")[0] for e in s.ends(s.send("two@local.test"), 2)], ["sent", "sent"])
    equal(s.read("show.count"), "run\n")
    s.wait_mail("u1@example.com", "body")


@case
def a_command_is_not_broken_off():
    s = Aliases("b", 'slow: "|sleep 2; cat >@O/done"\nfolder: "|pwd >@O/pwd; exit 65"\nshell: "|a b c"\n',
                conf=["command_execution_directory = /usr/$user", "local_command_shell = /bin/echo -n",
                      "allow_mail_to_commands = alias"])
    equal(s.end("folder@local.test")[2:], ("4.3.0", 'deferred (cannot change directory for command: "pwd >%s/pwd; exit 65": No such file or directory)' % s.out))
    s.extra_conf += ["command_execution_directory = /usr/${user?{share}:{lib}}"]
    s.write_main_cf()
    s.postern("reload")
    equal(s.end("shell@local.test")[3], "sent (delivered to command: a b c)")
    s.extra_conf += ["local_command_shell ="]
    s.write_main_cf()
    s.postern("reload")
    equal(s.end("folder@local.test")[2:], ("5.6.0", "bounced (data format error)"))
    equal(s.read("pwd"), "/usr/share\n")
    s.send("slow@local.test")
    wait_for(lambda: [p for p, n in s.pids().items() if n == "sleep"], 10, "the command")
    os.kill(s.pids_of("qmgr")[0], 9)
    wait_for(lambda: os.path.exists(os.path.join(s.out, "done")) and "body" in s.read("done"), 15, "its end")


@case
def who_runs_it():
    """As root: default_privs, with no group of others; never root."""
    if os.geteuid() != 0:
        skip("root only")
    s = Aliases("w", 'id: "|id -u >@O/id; id -G >>@O/id; grep -i groups /proc/self/status >>@O/id"\nf: @O/f\n', conf=["default_privs = nobody"])
    equal(s.end("id@local.test")[2], "2.0.0")
    nobody = pwd.getpwnam("nobody")
    equal(s.read("id").split()[:2], [str(nobody.pw_uid), str(nobody.pw_gid)])
    equal(s.read("id").split("Groups:")[1].split(), [str(nobody.pw_gid)])
    equal(s.end("f@local.test")[2], "2.0.0")
    equal(os.stat(os.path.join(s.out, "f")).st_uid, nobody.pw_uid)
    # users of one group: private/ is open to it
    s.extra_conf += ["front_user = sync"]
    s.write_main_cf()
    r = s.postern("check", ok=False)
    check('"nobody" is in the group of front_user' in (r.stdout + r.stderr).decode(), "check says: %s" % r.stderr.decode())
    s.extra_conf.pop()
    for user, why in (("root", 'default_privs: "root" has root\'s rights'), ("no-such-user", 'default_privs: there is no user "no-such-user"')):
        s.extra_conf += ["default_privs = " + user]
        s.write_main_cf()
        os.unlink(os.path.join(s.out, "id")) if os.path.exists(os.path.join(s.out, "id")) else None
        check(why in s.postern("check", ok=False).stderr.decode() + s.postern("check", ok=False).stdout.decode(), "check says why")
        s.postern("reload")
        end = s.end("id@local.test")
        check(end[2] == "4.3.5" and why in end[3] and end[3].startswith("deferred"), end)
        check(not os.path.exists(os.path.join(s.out, "id")), "nothing was run")
        for pid in s.pids_of("locald"):
            with open("/proc/%d/status" % pid) as f:
                uids = re.search(r"^Uid:\s+(.*)", f.read(), re.M).group(1).split()
            check("0" not in uids, "locald is root: %s" % uids)


# ------------------------------------------------------------------------------------------- files

@case
def files():
    s = Aliases("f", "mbox: @O/mbox\nmd: @O/md/\nnull: /dev/null\nfolder: @O\nfifo: @O/fifo\nlink: @O/link\nhard: @O/hard\nbig: @O/big\n"
                "nodir: @O/none/x\nnomd: @O/none/md/\nspace: \"@O/a b\"\nfull: /dev/full\n"
                "box: @O/box/mbox\nboxmd: @O/box/md/\nprog: @O/prog\nsecond: @O/second\n")
    for i in (1, 2):
        equal(s.end("mbox@local.test", text="Subject: %d\r\n\r\nFrom here\r\n>From there\r\nFro\r\n" % i)[1:],
              ("local", "2.0.0", "sent (delivered to file: %s/mbox)" % s.out))
    mails = s.read("mbox").split("From u0@example.com  ")
    equal(len(mails), 3)
    equal(mails[1].splitlines()[1:4], ["Return-Path: <u0@example.com>", "X-Original-To: mbox@local.test", "Delivered-To: mbox@local.test"])
    check(mails[1].endswith("\n\n>From here\n>From there\nFro\n\n"), mails[1])
    check("\r" not in s.read("mbox"), "LF")
    equal(oct(os.stat(os.path.join(s.out, "mbox")).st_mode & 0o777), "0o600")

    equal(s.end("md@local.test")[3], "sent (delivered to maildir)")
    found = glob.glob(os.path.join(s.out, "md", "new", "*"))
    equal(len(found), 1)
    with open(found[0]) as f:
        text = f.read()
    check(text.startswith("Return-Path: <u0@example.com>\nX-Original-To: md@local.test\nDelivered-To: md@local.test\n") and
          text.endswith("\n\nFrom here\nbody\n"), text)
    equal(os.listdir(os.path.join(s.out, "md", "tmp")), [])

    equal(s.end("null@local.test")[3], "sent (delivered to file: /dev/null)")
    equal(s.end("space@local.test")[3], "sent (delivered to file: %s/a b)" % s.out)
    bad = "bounced (cannot append message to file %s" % s.out
    equal(s.end("folder@local.test")[2:], ("5.2.0", bad + ": cannot open file: Is a directory)"))
    os.mkfifo(os.path.join(s.out, "fifo"))
    os.symlink("/tmp/elsewhere", os.path.join(s.out, "link"))
    if os.geteuid() == 0:
        os.lchown(os.path.join(s.out, "link"), 12345, 12345)
        equal(s.end("link@local.test")[2:], ("5.2.0", bad + "/link: cannot open file: file is a symbolic link)"))
    os.link(s.write("hard0", ""), os.path.join(s.out, "hard"))
    check(s.end("fifo@local.test")[2] == "5.2.0", "a pipe is no file")
    equal(s.end("hard@local.test")[2:], ("5.2.0", bad + "/hard: file has 2 hard links)"))
    equal(s.end("nodir@local.test")[2:], ("5.2.0", bad + "/none/x: cannot open file: No such file or directory)"))
    check(s.end("nomd@local.test")[2] == "5.2.0", "only the Maildir itself is made")
    os.truncate(s.write("big", ""), 19999990)
    equal(s.end("big@local.test")[2:], ("5.2.2", bad + "/big: error writing message: File too large)"))
    equal(os.stat(os.path.join(s.out, "big")).st_size, 19999990)
    # as a drop box: names may be made there, not seen
    os.mkdir(os.path.join(s.out, "box"))
    os.chmod(os.path.join(s.out, "box"), 0o333)
    equal(s.end("box@local.test")[3], "sent (delivered to file: %s/box/mbox)" % s.out)
    equal(s.end("boxmd@local.test")[3], "sent (delivered to maildir)")
    os.chmod(os.path.join(s.out, "box"), 0o777)
    s.write("prog", "#!/bin/sh\n", 0o777)
    equal(s.end("prog@local.test")[2:], ("5.7.1", bad + "/prog: file is executable)"))
    equal(s.read("prog"), "#!/bin/sh\n")
    if os.geteuid() == 0: # root's link, under a second name
        os.symlink(s.write("target", ""), os.path.join(s.out, "first"))
        equal(os.stat(os.path.join(s.out, "target")).st_size, 0)
        os.link(os.path.join(s.out, "first"), os.path.join(s.out, "second"), follow_symlinks=False)
        equal(s.end("second@local.test")[2:], ("5.2.0", bad + "/second: cannot open file: file is a symbolic link)"))
    full = s.end("full@local.test")
    check(full[2] == "4.3.1" and "deferred (cannot append message to file /dev/full" in full[3] and "No space left" in full[3], full)


@case
def locked_files():
    s = Aliases("l", "mbox: @O/mbox\nro: @O/ro/mbox\n", conf=["deliver_lock_attempts = 2", "stale_lock_time = 500s"])
    s.write("mbox.lock", "")
    end = s.end("mbox@local.test")
    check(end[2] == "4.2.0" and "unable to lock for exclusive access" in end[3], end)
    os.unlink(os.path.join(s.out, "mbox.lock"))
    s.write("mbox", "before\n")
    import fcntl
    with open(os.path.join(s.out, "mbox"), "r+") as f:
        fcntl.lockf(f, fcntl.LOCK_EX)
        end = s.end("mbox@local.test")
        check(end[2] == "4.2.0" and "unable to lock for exclusive access" in end[3], end)
    equal(s.end("mbox@local.test")[2], "2.0.0")
    check(s.read("mbox").startswith("before\nFrom u0@"), s.read("mbox"))
    check(not os.path.exists(os.path.join(s.out, "mbox.lock")), "the lock file is gone")
    # many at once: all are there, whole
    ids = [s.send("mbox@local.test", text="Subject: many\r\n\r\n" + ("x" * 70 + "\r\n") * 100) for _ in range(12)]
    for i in ids:
        s.ends(i)
    wait_for(lambda: s.read("mbox").count("Subject: many\n") == 12, 20, "twelve")
    # a lock file cannot be made there: the lock of the file is enough
    if os.geteuid() == 0:
        os.makedirs(os.path.join(s.out, "ro"), 0o755)
        s.write("ro/mbox", "")
        equal(s.end("ro@local.test")[2], "2.0.0")


# ------------------------------------------------------------------------------------------- lists and owners

LISTS = {
    "list": "# comment\nu1@example.com, gone@list.test\n\n  User Two <u2@example.com>\n:include:@L/more\n",
    "more": "a@list.test\nb@list.test\n\"Smith, Joe\" <joe@list.test>\n",
    "empty": "# nobody yet\n",
    "open": "u1@example.com\n",
    "loop": ":include:@L/loop\n",
    "cmd": "u1@example.com\n|@O/show\n",
    "file": "@O/x\n",
    "named": "inner, x@list.test\n",
}


def names(ends):
    return sorted(e[0] for e in ends)


@case
def included_lists():
    s = Aliases("i", "list: :include:@L/list\nboth: :include:@L/more, :include:@L/empty, u1@example.com\nempty: :include:@L/empty\nopen: :include:@L/open\n"
                "loop: :include:@L/loop\nnone: :include:@L/none\nrel: :include:list\ncmd: :include:@L/cmd\nfile: :include:@L/file\n"
                "named: :include:@L/named\ninner: c@list.test\n", LISTS)
    os.chmod(os.path.join(s.lists, "open"), 0o666)
    all_of = ["a@list.test", "b@list.test", "gone@list.test", "joe@list.test", "u1@example.com", "u2@example.com"]
    equal(names(s.ends(s.send("list@local.test"), 6)), all_of)
    equal(names(s.ends(s.send("both@local.test", "list@local.test"), 6)), all_of)
    equal(names(s.ends(s.send("named@local.test"), 2)), ["c@list.test", "x@list.test"])
    # read anew each time
    s.put_list("more", "new@list.test\n")
    equal(names(s.ends(s.send("both@local.test"), 2)), ["new@list.test", "u1@example.com"])
    for name, reply, line in [("open", "451 ", "is world writable"), ("loop", "451 ", "nested deeper than 10"), ("none", "451 ", "No such file or directory"),
                             ("rel", "451 ", ":include:list uses a relative path"),
                             ("cmd", "550 5.7.1 <cmd@local.test>: Recipient address rejected: mail to command is restricted", "mail to command is restricted"),
                             ("file", "550 5.7.1 <file@local.test>: Recipient address rejected: mail to file is restricted", "mail to file is restricted")]:
        got = s.send(name + "@local.test")
        check(got.startswith(reply), "%s: %s" % (name, got))
        check(line in s.log(), "%s in the log" % line)
    # where it is allowed
    s.extra_conf += ["allow_mail_to_commands = include", "allow_mail_to_files = include"]
    s.write_main_cf()
    s.write("show", "#!/bin/sh\ncat >>$0.out\n", 0o755)
    s.postern("reload")
    equal([e[2] for e in s.ends(s.send("cmd@local.test"), 2)], ["2.0.0", "2.0.0"])
    check("body" in s.read("show.out"), "run")
    equal(s.end("file@local.test")[3], "sent (delivered to file: %s/x)" % s.out)
    # a long one: five thousand members, by the way
    s.put_list("list", "".join("m%d@list.test\n" % i for i in range(5000)))
    started = time.time()
    qid = s.send("list@local.test")
    s.ends(qid, 5000, 60)
    log("5000 members in %.1f s" % (time.time() - started))


@case
def who_may_ask_for_a_list():
    """authd reads for nobody what no alias includes."""
    s = Aliases("q", "list: :include:@L/list\n", {**LISTS, "secret": "s\n"})

    def ask(question):
        c = socket.socket(socket.AF_UNIX)
        c.connect(os.path.join(s.queue_dir, "private/lookup"))
        c.sendall(b"%d:%s," % (len(question), question.encode()))
        c.settimeout(10)
        return c.recv(65536).split(b":", 1)[1].decode()

    check(ask(s.fill(":include: list\t@L/list")).startswith("OK u1@example.com, gone@list.test\n"), "the list")
    check(ask(s.fill(":include: list\t@L/list\t@L/more")).startswith("OK a@list.test\n"), "a list of the list")
    for q in ("list\t@L/secret", "list\t/etc/passwd", "list\t@L/list\t@L/secret", "other\t@L/list", "list\t@L/more", "/etc/passwd", "list"):
        check(ask(s.fill(":include: " + q)).startswith("NOTFOUND"), q)


@case
def owners():
    s = Aliases("o", "list: gone@local.test, u1@example.com\nowner-list: u2@example.com\nparent: list, nobody@local.test\nowner-parent: u0@example.com\n"
                "child: gone@local.test\nchildren: child\nowner-children: u2@example.com\ndirect: u1@example.com\nseveral: u1@example.com, u2@example.com\n",
                conf=["myorigin = local.test", "local_recipient_maps ="])
    # failures of members go to the owner, not to who wrote
    s.ends(s.send("list@local.test", sender="u0@example.com"), 2)
    report = s.wait_mail("u2@example.com", "gone@")
    check("multipart/report" in report and "To: owner-list@local.test" in report, report[:3000])
    check("Return-Path: <owner-list@local.test>" in s.wait_mail("u1@example.com", "body"), s.mails("u1@example.com"))
    check(not s.mails("u0@example.com"), "the sender hears nothing of it")
    # of the closest owner; an alias without one has its parent's
    s.ends(s.send("children@local.test"), 1)
    wait_for(lambda: any("To: owner-children@local.test" in m for m in s.mails("u2@example.com")), 20, "a report for the parent's owner")
    # with its sender the list takes over: success is told now, and members are nobody's but the list's
    s.send("list@local.test", options=["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;list@local.test"])
    report = s.wait_mail("u0@example.com", "Action: expanded")
    check("Original-Recipient: rfc822;list@local.test" in report, report[:3000])
    # one to one: the wish goes on; several: expanded
    s.send("direct@local.test", options=["NOTIFY=SUCCESS"])
    s.wait_mail("u0@example.com", "Action: delivered")
    before = len(s.mails("u0@example.com"))
    s.ends(s.send("several@local.test", options=["NOTIFY=SUCCESS"]), 2)
    wait_for(lambda: len(s.mails("u0@example.com")) > before, 20, "a report")
    check([m for m in s.mails("u0@example.com") if "several@local.test" in m and "Action: expanded" in m], s.mails("u0@example.com")[-1])
    # off
    s.extra_conf += ["owner_request_special = no"]
    s.write_main_cf()
    s.postern("reload")
    s.ends(s.send("list@local.test", text="Subject: off\r\n\r\nnot special\r\n"), 2)
    check("Return-Path: <u0@example.com>" in s.wait_mail("u1@example.com", "not special"), "the sender's own")
    s.extra_conf += ["owner_request_special = yes", "expand_owner_alias = yes"]
    s.write_main_cf()
    s.postern("reload")
    s.ends(s.send("list@local.test", text="Subject: off\r\n\r\nled on\r\n"), 2)
    check("Return-Path: <u2@example.com>" in s.wait_mail("u1@example.com", "led on"), "what the owner leads to")


@case
def names_and_loops():
    s = Aliases("n", "a: b\nb: c, a\nc: u1@example.com\nself: self, u1@example.com\nloopa: loopb\nloopb: loopa\nnouser: nosuchuser\n"
                "quoted: \"User, One\" <u1@example.com>\next+x: u2@example.com\next: u1@example.com\nbs: \\\\bs2\nbs2: u2@example.com\nUPPER: u1@example.com\n",
                conf=["local_recipient_maps =", "myorigin = local.test"])
    equal(names(s.ends(s.send("a@local.test"), 2)), ["a@localhost", "u1@example.com"])
    equal(names(s.ends(s.send("self@local.test"), 2)), ["self@localhost", "u1@example.com"])
    equal(s.end("quoted@local.test")[0], "u1@example.com")
    equal(s.end("ext+x@local.test")[0], "u2@example.com")
    equal(s.end("ext+y@local.test")[0], "u1@example.com")
    equal(s.end("upper@local.test")[0], "u1@example.com")
    equal(s.end("bs@local.test")[0], "bs2@localhost")
    # nobody's, and main.cf does not say who is there: it comes back to who wrote, and does not go round
    for name, to in (("nouser", "nosuchuser@localhost"), ("loopa", "loopa@localhost")):
        end = s.end(name + "@local.test")
        check(end[0] == to and end[2] == "5.1.1", end)
    s.extra_conf += ["propagate_unmatched_extensions = virtual, alias"]
    s.write_main_cf()
    s.postern("reload")
    equal(s.end("ext+y@local.test")[0], "u1+y@example.com")


@case
def aliases_that_lead_to_nobody():
    """virtual(5): what would be returned for certain is refused at the end of the data; with somebody else in it, as ever."""
    s = Aliases("nb", "", conf=["virtual_alias_domains = alias.test", "always_bcc = u2@example.com",
                               "virtual_alias_maps = inline:{ { no@alias.test = nosuch@example.com } { out@alias.test = x@nowhere.test }"
                               " { both@alias.test = nosuch@example.com, u1@example.com } { gone@alias.test = gone2@alias.test }"
                               " { good@alias.test = u1@example.com } { nosuch2@example.com = nosuch2@example.com } }"])
    words = "550 %s <%s>: Recipient address rejected: %s"
    no, out = (words % ("5.1.1", "no@alias.test", "User unknown in virtual mailbox table"),
               words % ("5.1.2", "out@alias.test", "no way out"))
    equal(s.send("no@alias.test"), no)
    equal(s.send("out@alias.test"), out)
    equal(s.send("no@alias.test", "out@alias.test"), no)
    equal(s.send("gone@alias.test"), words % ("5.1.1", "gone@alias.test", "User unknown in virtual alias table"))
    equal(s.send("nosuch2@example.com"), words % ("5.1.1", "nosuch2@example.com", "User unknown in virtual mailbox table"))
    equal(s.mails("u2@example.com"), [])
    equal([(e[0], e[2]) for e in s.ends(s.send("both@alias.test"), 3)],
          [("nosuch@example.com", "5.1.1"), ("u1@example.com", "2.0.0"), ("u2@example.com", "2.0.0")])
    equal([(e[0], e[2]) for e in s.ends(s.send("no@alias.test", "good@alias.test"), 3)],
          [("nosuch@example.com", "5.1.1"), ("u1@example.com", "2.0.0"), ("u2@example.com", "2.0.0")])


@case
def restricted():
    s = Aliases("r", 'cmd: "|cat >@O/cmd"\nfile: @O/file\nboth: cmd, u1@example.com\n', conf=["allow_mail_to_commands =", "allow_mail_to_files ="])
    check(not os.path.exists(os.path.join(s.queue_dir, "private/local")), "there is nothing to ask for")
    equal(s.send("cmd@local.test"), "550 5.7.1 <cmd@local.test>: Recipient address rejected: mail to command is restricted")
    equal(s.send("file@local.test"), "550 5.7.1 <file@local.test>: Recipient address rejected: mail to file is restricted")
    equal(s.send("both@local.test"), "550 5.7.1 <both@local.test>: Recipient address rejected: mail to command is restricted")
    equal(s.mails("u1@example.com"), [])
    s.extra_conf += ["allow_mail_to_commands = alias"]
    s.write_main_cf()
    s.postern("reload")
    equal([e[2] for e in s.ends(s.send("both@local.test"), 2)], ["2.0.0", "2.0.0"])
    check("body" in s.read("cmd"), "it has been started since")
    for line, want in (("allow_mail_to_files = aliases", '"aliases" is not known'), ("mailbox_delivery_lock = dot", '"dot" is not known'),
                       ("command_execution_directory = /x/$nobody", "command_execution_directory")):
        conf = list(s.extra_conf)
        s.extra_conf = conf + [line]
        s.write_main_cf()
        r = s.postern("check", ok=False)
        check(r.returncode != 0 and want in (r.stdout + r.stderr).decode(), (line, r.stdout + r.stderr))
        s.extra_conf = conf


main()
