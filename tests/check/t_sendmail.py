#!/usr/bin/env python3
# sendmail(1): options, recipients, exit codes, the set-gid postdrop, SMTP on standard input; mail waits while the daemons are
# down; what pickup makes of files that are no messages.
import email
import os
import pwd
import shutil
import stat
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

LIMIT = 300000
ME = pwd.getpwuid(os.getuid()).pw_name
_stack = None


def stack():
    global _stack
    if _stack is None:
        _stack = Stack(tmp("s"), users=["me@example.com", "other@example.com"],
                       aliases={ME + "@example.com": ["me@example.com"], "nobody@example.com": ["me@example.com"]},
                       extra_conf=["message_size_limit = %d" % LIMIT, "queue_minfree = 1000", "smtpd_processes = 1",
                                   "setgid_group = games"] + (
                                   ["front_user = daemon"] if os.geteuid() == 0 else []) + [
                                   "header_checks = regexp:" + tmp("header_checks"),
                                   "authorized_submit_users = !hash:%s, static:all" % tmp("users"),
                                   "alternate_config_directories = " + tmp("s")])
        with open(tmp("header_checks"), "w") as f:
            f.write("/^X-Refuse: (.*)/ REJECT no $1 here\n")
        with open(tmp("users"), "w") as f:
            f.write("mallory x\n")
        _stack.start()
        at_end(_stack.stop)
    return _stack


def drop(name=""):
    return stack().path("queue", "maildrop", name)


def sendmail(*argv, input=b"Subject: x\n\nbody\n", code=0, exe=None):
    stack()
    r = run([exe or program("sendmail"), "-C", stack().main_cf] + list(argv), input=input, timeout_s=60)
    equal(r.returncode, code, "exit code of sendmail %s (%s)" % (" ".join(argv), r.stderr.decode(errors="replace")))
    return r


def inbox(address):
    new = os.path.join(stack().maildir(address), "new")
    for name in sorted(os.listdir(new)) if os.path.isdir(new) else []:
        with open(os.path.join(new, name), "rb") as f:
            yield os.path.join(new, name), f.read()


def receive(address, subject, timeout_s=20):
    """The raw message with that subject, taken out of the inbox."""
    def look():
        for path, raw in inbox(address):
            m = email.message_from_bytes(raw)
            if subject in str(m["Subject"]):
                os.unlink(path)
                return raw, m
    return wait_for(look, timeout_s, "%s in the inbox of %s" % (subject, address))


def body_of(raw):
    return raw.split(b"\n\n", 1)[1]


@case
def one_message():
    sendmail("-f", "alice@example.com", "-F", "Alice, of Example", "me@example.com", input=b"Subject: one\n\nbody\n.\nnot this\n")
    raw, m = receive("me@example.com", "one")
    equal(m["Return-Path"], "<alice@example.com>", "envelope sender")
    equal(m["From"], '"Alice, of Example" <alice@example.com>', "From")
    check(m["Message-Id"] and m["Date"], "Message-Id and Date are added")
    check("by example.com (Postfix, from userid %d)" % os.getuid() in m.get_all("Received")[-1], "Received: %r" % m.get_all("Received"))
    equal(body_of(raw), b"body\n", "body up to the dot")
    wait_for(lambda: not os.listdir(drop()), 5, "an empty maildrop")
    check("uid=%d from=<alice@example.com>" % os.getuid() in stack().log(), "pickup's line in the log")
    check("postfix/pickup[" in stack().log(), "pickup's name in the log")


@case
def default_sender():
    sendmail("me@example.com", input=b"Subject: default\n\n")
    _, m = receive("me@example.com", "default")
    equal(m["Return-Path"], "<%s@example.com>" % ME, "envelope sender")
    check(("%s@example.com" % ME) in m["From"], "From: %s" % m["From"])


@case
def null_sender():
    for i, s in enumerate(("", "<>")):
        sendmail("-f", s, "me@example.com", input=b"Subject: null%d\n\n" % i)
        _, m = receive("me@example.com", "null%d" % i)
        equal(m["Return-Path"], "<>", "envelope sender")


@case
def recipients_of_the_header():
    sendmail("-t", "-i", "-oem", "-oi", input=b"From: A <a@b.example>\nTo: Me <me@example.com>\nCc: x\n <other@example.com>\n"
             b"Bcc: email1@example.com\nSubject: header\n\nline\n.\nlast")
    got = [receive(a, "header") for a in ("me@example.com", "other@example.com", "email1@example.com")]
    for raw, m in got:
        equal(m["From"], "A <a@b.example>", "From")
        check("Bcc" not in m, "Bcc is gone")
        equal(body_of(raw), b"line\n.\nlast\n", "body")


@case
def recipients_of_a_resent_message():
    sendmail("-t", input=b"To: other@example.com\nResent-To: me@example.com\nSubject: resent\n\n")
    receive("me@example.com", "resent")
    time.sleep(0.3)
    check(not [1 for _, raw in inbox("other@example.com") if b"Subject: resent" in raw], "the old To is not asked")


@case
def recipients_of_arguments():
    sendmail("me@example.com, Other <other@example.com>", "--", "email1@example.com", input=b"Subject: args\n\n")
    for a in ("me@example.com", "other@example.com", "email1@example.com"):
        receive(a, "args")
    sendmail("-t", "me@example.com", input=b"To: other@example.com\nSubject: both\n\n")
    for a in ("me@example.com", "other@example.com"):
        receive(a, "both")


@case
def addresses_that_need_quotes():
    """They are quoted on their way; what cannot be an address is told at once, and goes to nobody."""
    sendmail("-f", '"a b"@example.com', "me@example.com", input=b"Subject: quoted\n\n")
    sendmail("-f", "", '"no body"@other.example', input=b"Subject: to be quoted\n\n")
    _, m = receive("me@example.com", "quoted")
    equal(m["Return-Path"], '<"a b"@example.com>', "envelope sender")
    wait_for(lambda: 'to=<"no body"@other.example>' in stack().log() or "to=<no body@other.example>" in stack().log(), 10, "the other recipient")
    equal(os.listdir(stack().path("queue", "corrupt")), [], "files put aside")
    for bad in ("x@b<c", "@", "@example.com", 'x@"a b"'):
        r = sendmail("me@example.com", bad, input=b"Subject: nobody gets this\n\n", code=65)
        check(b"bad address syntax" in r.stderr, "%r" % r.stderr)
    sendmail("-f", "@", "me@example.com", input=b"Subject: nobody gets this\n\n", code=65)
    equal([n for n in os.listdir(drop()) if not n.startswith("new.")], [], "left in maildrop")


@case
def more_recipients_than_a_message_may_have():
    to = b"".join(b",\n r%d@example.com" % i for i in range(10000))
    r = sendmail("-t", input=b"To: me@example.com" + to + b"\nSubject: many\n\n", code=65)
    check(b"too many recipients" in r.stderr, "%r" % r.stderr)
    equal([n for n in os.listdir(drop()) if not n.startswith("new.")], [], "left in maildrop")


@case
def octets_and_lines():
    long = b"x" * 200000
    sendmail("-i", "me@example.com", input=b"Subject: octets\r\n\r\n\xc3\xa4 8bit\r\nnul\0here\r\n" + long + b"\r\n..\r\nend")
    raw, _ = receive("me@example.com", "octets")
    equal(body_of(raw), b"\xc3\xa4 8bit\nnul\0here\n" + long + b"\n..\nend\n", "body")


@case
def long_file():
    body = b"".join(b"%07d 0123456789012345678901234567890123456789\n" % i for i in range(5000))
    sendmail("-i", "me@example.com", input=b"Subject: long\n\n" + body)
    raw, _ = receive("me@example.com", "long")
    check(body_of(raw) == body, "a long body comes as it went")


@case
def reports():
    sendmail("-f", "other@example.com", "-N", "success", "-V", "env17", "-R", "hdrs", "me@example.com", input=b"Subject: notify\n\n")
    receive("me@example.com", "notify")
    _, m = receive("other@example.com", "eliver")
    text = m.as_string()
    check("env17" in text, "the envelope id is in the report")
    check(m["Return-Path"] == "<>", "a report's sender")


@case
def refused_content_comes_back():
    hops = b"".join(b"Received: from h%d.example by h.example; Sun, 22 Nov 2026 10:00:00 +0000\n" % i for i in range(60))
    sendmail("-f", "other@example.com", "me@example.com", input=hops + b"Subject: hops\n\n")
    _, m = receive("other@example.com", "ndeliver")
    check("too many hops" in m.as_string(), "the report says why")
    check(not os.listdir(drop()), "nothing waits")


@case
def checked_content_comes_back():
    sendmail("-f", "other@example.com", "me@example.com", input=b"Subject: checks\nX-Refuse: spam\n\nthe body\n")
    _, m = receive("other@example.com", "ndeliver")
    text = m.as_string()
    check("no spam here" in text and "5.7.1" in text, "the report says why: %s" % text)
    check("X-Refuse: spam" in text and "the body" in text, "and has the message")
    check(not [1 for _, raw in inbox("me@example.com") if b"Subject: checks" in raw], "nothing was delivered")


@case
def a_table_says_who_may_not():
    if os.geteuid() != 0:
        skip("only root can give files away")
    uid = pwd.getpwnam("games").pw_uid
    with open(tmp("users"), "a") as f:
        f.write("games x\n")
    wait_for(lambda: b"x" in run([program("postmap"), "-q", "games", "hash:" + tmp("users")], env=dict(
        os.environ, MAIL_CONFIG=stack().workdir)).stdout, 5, "the table")
    time.sleep(0.3)  # authd looks ten times a second whether a table has changed
    with open(drop("new.t"), "wb") as f:
        f.write(b"postern-drop 1\nS1:a\nR14:me@example.com\nC2:\r\n\nX0:\n")
    os.chown(drop("new.t"), uid, uid)
    os.rename(drop("new.t"), drop("AAA.games"))
    wait_for(lambda: os.listdir(stack().path("queue", "corrupt")), 10, "put aside")
    check("this user may not submit mail" in stack().log(), "the log says why")
    os.unlink(stack().path("queue", "corrupt", "AAA.games"))


@case
def bad_address_comes_back():
    sendmail("-f", "other@example.com", "x@bad..domain", "me@example.com", input=b"Subject: badaddr\n\n")
    receive("me@example.com", "badaddr")
    _, m = receive("other@example.com", "ndeliver")
    check("bad..domain" in m.as_string(), "the report names the recipient")


@case
def exit_codes():
    check(b"Recipient addresses must be specified" in sendmail(code=64).stderr, "no recipients")
    check(b"No recipient addresses found in message header" in sendmail("-t", code=64).stderr, "none in the header")
    sendmail("-bz", code=64)
    check(b"ignored" in sendmail("-N", "often", "me@example.com", input=b"Subject: often\n\n").stderr, "a wrong -N is ignored")
    receive("me@example.com", "often")
    check(b"message file too big" in sendmail("me@example.com", input=b"x\n" * LIMIT, code=69).stderr, "too big")
    check(b"postern serve" in sendmail("-bd", code=64).stderr, "-bd says what to do")
    check(not [n for n in os.listdir(drop()) if n.startswith("new.")], "nothing is left behind")
    r = run([program("sendmail"), "-C", tmp("nowhere"), "me@example.com"], input=b"x\n")
    equal(r.returncode, 75, "without a configuration")
    other = tmp("other", "main.cf")
    with open(other, "w") as f:
        f.write("queue_directory = %s\nmyhostname = a.example.com\n" % tmp("no-such-queue"))
    r = run([program("sendmail"), "-C", other, "me@example.com"], input=b"x\n")
    equal(r.returncode, 75, "without a queue")


@case
def who_may_not():
    other = tmp("strict", "main.cf")
    with open(other, "w") as f:
        f.write("queue_directory = %s\nmyhostname = a.example.com\nauthorized_submit_users = !%s, static:all\n"
                % (stack().queue_dir, ME))
    r = run([program("sendmail"), "-C", other, "me@example.com"], input=b"x\n")
    equal(r.returncode, 77, "exit code")
    check(b"is not allowed to submit mail" in r.stderr, "%r" % r.stderr)


@case
def variable_envelope_senders():
    sendmail("-XV", "-f", "list@example.com", "me@example.com", "other@example.com", input=b"Subject: verp\n\n")
    for a in ("me", "other"):
        _, m = receive(a + "@example.com", "verp")
        equal(m["Return-Path"], "<list+%s=example.com@example.com>" % a, "envelope sender")


def smtp(lines, code=0):
    r = sendmail("-bs", input="".join(x + "\r\n" for x in lines).encode(), code=code)
    return r.stdout.decode().split("\r\n")[:-1]


@case
def smtp_on_standard_input():
    got = smtp(["EHLO me", "MAIL FROM:<a@b.example> BODY=8BITMIME", "RCPT TO:<me@example.com> NOTIFY=NEVER", "RCPT TO:<bad",
                "DATA", "Subject: bs1", "", "..", "x", ".", "MAIL FROM:<>", "RCPT TO:<other@example.com>", "RSET",
                "DATA", "MAIL FROM:<c@d.example>", "DATA", "RCPT TO:<other@example.com>", "data", "Subject: bs2", "", ".",
                "VRFY me@example.com", "HELP", "QUIT", "NOOP"])
    codes = [x[:3] for x in got if x[3:4] != "-"]
    equal(codes, ["220", "250", "250", "250", "501", "354", "250", "250", "250", "250", "503", "250", "554", "250", "354",
                  "250", "252", "500", "221"], "replies %r" % got)
    check(any(x.startswith("250 2.0.0 Ok: queued as ") for x in got), "queued as")
    raw, m = receive("me@example.com", "bs1")
    equal((m["Return-Path"], body_of(raw)), ("<a@b.example>", b".\nx\n"), "the message")
    receive("other@example.com", "bs2")
    got = smtp(["HELO me", "MAIL FROM:<a@b.example>", "RCPT TO:<me@example.com>", "DATA", "Subject: cut", "", "no dot"])
    check(got[-1].startswith("354"), "half a message: %r" % got)
    equal(smtp(["MAIL FROM:<a@b.example>"])[-1][:3], "503", "smtpd_helo_required")
    got = smtp(["HELO me", "MAIL FROM:<a@b.example> SIZE=%d" % (2 * LIMIT), "MAIL FROM:<a@b.example>", "RCPT TO:<me@example.com>",
                "DATA"] + ["x" * 70] * 6000 + [".", "QUIT"])
    equal([x[:9] for x in got][2:], ["552 5.3.4", "250 2.1.0", "250 2.1.5", "354 End d", "552 5.3.4", "221 2.0.0"], "too big")
    time.sleep(0.3)
    check(not [1 for _, raw in inbox("me@example.com") if b"Subject: cut" in raw], "no message without its end")


def put_file(name, content):
    """As postdrop does: whole under its name at once."""
    with open(drop("new." + name), "wb") as f:
        f.write(content)
    os.rename(drop("new." + name), drop(name))


@case
def no_messages():
    bad = {"AAA.garbage": b"hello\n", "AAA.wreck": b"postern-drop 1\nS1:a\nR14:me@example.com\nC5:abc\r\n\n",
           "AAA.empty": b"", "AAA.noend": b"postern-drop 1\nS1:a\nR14:me@example.com\n"}
    stack()
    for name, content in bad.items():
        put_file(name, content)
    os.symlink("/etc/passwd", drop("AAA.link"))
    wait_for(lambda: not os.listdir(drop()), 10, "maildrop empty")
    aside = os.listdir(stack().path("queue", "corrupt"))
    equal(sorted(aside), sorted(list(bad) + ["AAA.link"]), "put aside")
    log = stack().log()
    for name in aside:
        equal(log.count("maildrop/%s: uid=" % name), 1, "lines in the log about " + name)
        os.unlink(stack().path("queue", "corrupt", name))


@case
def a_second_name_is_no_message():
    good = b"postern-drop 1\nS1:a\nR14:me@example.com\nC16:Subject: hard\r\n\n\nX0:\n"
    stack()
    with open(drop("new.h"), "wb") as f:
        f.write(good)
    os.link(drop("new.h"), stack().path("queue", "elsewhere"))
    os.rename(drop("new.h"), drop("AAA.hard"))
    wait_for(lambda: os.listdir(stack().path("queue", "corrupt")), 10, "put aside")
    check("the file has other names" in stack().log(), "the log says why")
    os.unlink(stack().path("queue", "elsewhere"))
    os.unlink(stack().path("queue", "corrupt", "AAA.hard"))


@case
def leftovers_go():
    with open(drop("new.dead"), "w") as f:
        f.write("postern-drop 1\n")
    os.utime(drop("new.dead"), (time.time() - 3600, time.time() - 3600))
    sendmail("me@example.com", input=b"Subject: leftover\n\n")
    receive("me@example.com", "leftover")
    wait_for(lambda: not os.listdir(drop()), 5, "the dead file is gone")


@case
def while_the_daemons_are_down():
    s = stack()
    s.process.stop(timeout_s=30)
    for i in range(3):
        sendmail("me@example.com", "-f", "a@b.example", input=b"Subject: down%d\n\n" % i)
    got = smtp(["HELO me", "MAIL FROM:<a@b.example>", "RCPT TO:<me@example.com>", "DATA", "Subject: downbs", "", ".", "QUIT"])
    check("queued as" in got[5], "-bs: %r" % got)
    names = os.listdir(drop())
    equal(len(names), 4, "files that wait")
    for n in names:
        equal(os.stat(drop(n)).st_uid, os.getuid(), "owner")
    for argv in (["mailq"], ["postern", "-c", s.main_cf, "queue", "list"]):
        r = run([program(argv[0])] + argv[1:], env=dict(os.environ, MAIL_CONFIG=s.workdir))
        check(b"4 more wait in maildrop" in r.stderr, "%s tells what no listing has: %r" % (argv[0], r.stderr))
    s.start()
    for what in ("down0", "down1", "down2", "downbs"):
        receive("me@example.com", what)
    wait_for(lambda: not os.listdir(drop()), 5, "an empty maildrop")


@case
def qmgr_away_is_waited_for():
    s = stack()
    for pid in s.pids_of("qmgr"):
        os.kill(pid, 9)
    sendmail("me@example.com", input=b"Subject: away\n\n")
    receive("me@example.com", "away", 60)
    s.wait_ready()


@case
def the_folder_goes_and_comes_back():
    """As when a backup is put back while the daemons run."""
    s = stack()
    s.extra_conf += ["pickup_interval = 1s"]
    s.write_main_cf()
    s.postern("reload")
    os.rename(drop(), s.path("queue", "elsewhere"))
    wait_for(lambda: "cannot look into" in s.log(), 10, "a line in the log")
    os.mkdir(drop(), 0o700)
    shutil.copystat(s.path("queue", "elsewhere"), drop())
    st = os.stat(s.path("queue", "elsewhere"))
    os.chown(drop(), st.st_uid, st.st_gid)
    os.rmdir(s.path("queue", "elsewhere"))
    sendmail("me@example.com", input=b"Subject: anew\n\n")
    receive("me@example.com", "anew", 10)
    s.extra_conf.remove("pickup_interval = 1s")
    s.write_main_cf()
    s.postern("reload")


@case
def nobody_waits_for_a_flood():
    if os.geteuid() != 0:
        skip("only root can give files away")
    s = stack()
    s.process.stop(timeout_s=30)
    def text(subject):
        c = b"Subject: %s\r\n\r\n" % subject
        return b"postern-drop 1\nS1:a\nR14:me@example.com\nC%d:%s\nX0:\n" % (len(c), c)
    for i in range(400):
        put_file("A%04d.x" % i, text(b"flood%d" % i))
    put_file("Z.nobody", text(b"single"))
    os.chown(drop("Z.nobody"), 65534, 65534)
    s.start()
    wait_for(lambda: not os.listdir(drop()), 60, "an empty maildrop")
    order = [line.split("uid=")[1].split()[0] for line in s.log().splitlines() if "postfix/pickup" in line and "uid=" in line
             and "from=<a>" in line]
    equal(len(order), 401, "messages picked up")
    check(order.index("65534") < 100, "the other user's came as number %d" % order.index("65534"))


# --- as on a real machine: postdrop is set-gid, its user has no rights on the queue


def private_root():
    """Programs that everybody can run, and an /etc of our own that names the test's main.cf."""
    if os.geteuid() != 0:
        skip("only root can install set-gid programs")
    if not shutil.which("unshare") or run(["unshare", "-m", "true"]).returncode != 0:
        skip("no mount namespaces here")
    with open(program("postdrop"), "rb") as f:
        if b"__asan_init" in f.read():
            skip("the kernel lets no sanitizer look into a set-gid program")
    s = stack()
    sbin, etc = tmp("sbin", "x"), tmp("etc", "x")
    sbin, etc = os.path.dirname(sbin), os.path.dirname(etc)
    for name in ("postern", "postdrop"):
        shutil.copy(program(name), os.path.join(sbin, name))
        os.chmod(os.path.join(sbin, name), 0o755)
    for name in ("sendmail", "mailq"):
        if not os.path.lexists(os.path.join(sbin, name)):
            os.symlink("postern", os.path.join(sbin, name))
    import grp
    os.chown(os.path.join(sbin, "postdrop"), 0, grp.getgrnam("games").gr_gid)
    os.chmod(os.path.join(sbin, "postdrop"), 0o2755)
    for name in ("passwd", "group", "nsswitch.conf", "localtime", "ld.so.cache", "ssl"):
        if os.path.exists("/etc/" + name) and not os.path.exists(os.path.join(etc, name)):
            (shutil.copytree if os.path.isdir("/etc/" + name) else shutil.copy)("/etc/" + name, os.path.join(etc, name))
    os.makedirs(os.path.join(etc, "postfix"), exist_ok=True)
    with open(os.path.join(etc, "postfix", "main.cf"), "w") as f:
        f.write("myhostname = a.example.com\nqueue_directory = /nonexistent\nalternate_config_directories = %s\n" % s.workdir)
    return sbin, etc


def as_nobody(etc, *argv, input=b"", env=None, extra="true"):
    cmd = "mount --make-rprivate / && mount --bind %s /etc && %s && exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"" % (etc, extra)
    return run(["unshare", "-m", "sh", "-c", cmd, "sh"] + list(argv), input=input, env=env, timeout_s=60)


@case
def set_gid():
    sbin, etc = private_root()
    s = stack()
    st = os.stat(drop())
    equal(stat.S_IMODE(st.st_mode), 0o1730, "mode of maildrop")
    env = dict(os.environ, MAIL_CONFIG=s.workdir, LD_PRELOAD="/nonexistent.so")
    r = as_nobody(etc, sbin + "/sendmail", "-t", input=b"To: me@example.com\nSubject: nobody\n\n", env=env)
    equal(r.returncode, 0, "exit code: %r" % r.stderr)
    raw, m = receive("me@example.com", "nobody")
    equal(m["Return-Path"], "<nobody@example.com>", "sender")
    check("from userid 65534)" in m.get_all("Received")[-1], "Received: %s" % m.get_all("Received")[-1])
    check("uid=65534 from=<nobody>" in s.log(), "the log tells who")
    r = as_nobody(etc, sbin + "/mailq", env=env)
    equal(r.returncode, 0, "mailq, by way of postdrop: %r" % r.stderr)
    check(b"Queue ID" in r.stdout or r.stdout == b"Mail queue is empty\n", "what mailq prints: %r" % r.stdout)
    # and root, to whom the group gives nothing, may name any main.cf
    elsewhere = tmp("elsewhere", "main.cf")
    shutil.copy(os.path.join(s.workdir, "main.cf"), elsewhere)
    cmd = "mount --make-rprivate / && mount --bind %s /etc && exec %s/sendmail -t" % (etc, sbin)
    r = run(["unshare", "-m", "sh", "-c", cmd], input=b"To: me@example.com\nSubject: root\n\n",
            env=dict(os.environ, MAIL_CONFIG=os.path.dirname(elsewhere)))
    equal(r.returncode, 0, "root's exit code: %r" % r.stderr)
    receive("me@example.com", "root")
    r = as_nobody(etc, "ls", drop())
    check(r.returncode != 0, "nobody cannot look into maildrop")
    r = as_nobody(etc, "touch", drop("x"))
    check(r.returncode != 0, "nobody cannot write into maildrop")


@case
def set_gid_trusts_nobody():
    sbin, etc = private_root()
    evil = tmp("evil", "main.cf")
    with open(evil, "w") as f:
        f.write("queue_directory = %s\nmyhostname = a.example.com\n" % tmp("evilq"))
    os.makedirs(tmp("evilq", "maildrop"), exist_ok=True)
    os.chmod(tmp("evilq", "maildrop"), 0o777)
    for argv in (["-C", os.path.dirname(evil)], ["-C", evil]):
        r = as_nobody(etc, sbin + "/sendmail", *argv, "me@example.com", input=b"x\n")
        equal(r.returncode, 75, "sendmail %s: %r" % (argv, r.stderr))
        check(b"alternate_config_directories" in r.stderr, "it says why: %r" % r.stderr)
    check(not os.listdir(tmp("evilq", "maildrop")), "nothing was written there")


@case
def full_disk():
    private_root()
    s = stack()
    sbin, env = build("bin"), dict(os.environ, MAIL_CONFIG=s.workdir)
    small = "mount -t tmpfs -o size=64k,mode=1777 none " + drop()
    cmd = "mount --make-rprivate / && %s && %s/sendmail me@example.com; echo $?; ls -A %s" % (small, sbin, drop())
    r = run(["unshare", "-m", "sh", "-c", cmd], input=b"Subject: full\n\n" + b"x" * 70 * 2000, env=env)
    equal(r.stdout.split(), [b"75"], "exit code, and nothing left behind: %r" % r.stderr)
    check(b"No space left" in r.stderr, "%r" % r.stderr)
    cmd = cmd.replace("size=64k", "size=8m").replace(drop() + " && " + sbin, drop() + " && sed -i 's/^queue_minfree.*/queue_minfree = 100000000/' " + s.main_cf + " && " + sbin)
    keep = open(s.main_cf).read()
    try:
        r = run(["unshare", "-m", "sh", "-c", cmd], input=b"Subject: minfree\n\n", env=env)
    finally:
        open(s.main_cf, "w").write(keep)
    equal(r.stdout.split(), [b"75"], "exit code below queue_minfree: %r" % r.stderr)


@case
def on_disk_before_it_says_so():
    trace = tmp("trace")
    r = run([need("strace"), "-f", "-qq", "-o", trace, "-e", "trace=write,fsync,syncfs,rename,renameat2,exit_group",
             program("sendmail"), "-C", stack().main_cf, "me@example.com"], input=b"Subject: synced\n\n", env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
    equal(r.returncode, 0, "exit code: %r" % r.stderr)
    receive("me@example.com", "synced")
    with open(trace) as f:
        lines = f.read().splitlines()
    pid = [x.split()[0] for x in lines if "rename" in x][0]
    got = [x.split(None, 1)[1].split("(")[0] for x in lines if x.startswith(pid + " ") and "= -1" not in x]
    equal(got[got.index("fsync"):], ["fsync", "renameat2", "fsync", "write", "exit_group"], "what postdrop does: %s" % got)


@case
def a_killed_sender_leaves_nothing():
    import signal
    import subprocess
    p = subprocess.Popen([program("sendmail"), "-C", stack().main_cf, "me@example.com"], stdin=subprocess.PIPE)
    p.stdin.write(b"Subject: half\n\n" + b"x" * 100 + b"\n")
    p.stdin.flush()
    wait_for(lambda: [n for n in os.listdir(drop()) if n.startswith("new.")], 5, "a file under way")
    p.send_signal(signal.SIGKILL)
    p.stdin.close()
    p.wait()
    wait_for(lambda: not os.listdir(drop()), 5, "the file is gone")
    time.sleep(0.2)
    check(not [1 for _, raw in inbox("me@example.com") if b"Subject: half" in raw], "half a message is none")


main()
