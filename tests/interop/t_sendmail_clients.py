#!/usr/bin/env python3
# The programs that know sendmail(1) and mailq(1) by name, unchanged and at their usual places, with ours in /usr/sbin: cron, PHP,
# git send-email, bsd-mailx, mutt, logwatch; and pflogsumm reads the log of it. In a mount namespace: /usr is Debian's packages
# (build/ref) over the machine's, /etc is one of our own.
# timeout: 300
import email
import email.policy
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from refstack import fetch
from stack import Stack

PACKAGES = ("bsd-mailx", "cron", "php-cli", "logwatch", "git-email", "libmailtools-perl")
_stack = None


def stack():
    global _stack
    if _stack is None:
        if os.geteuid() != 0:
            skip("only root can make a mount namespace")
        fetch(*PACKAGES)
        _stack = Stack(tmp("s"), users=["me@example.com", "other@example.com"],
                       aliases={"root@example.com": ["me@example.com"]},
                       extra_conf=["queue_minfree = 1000", "maillog_file = " + tmp("mail.log")])
        _stack.configure()
        make_system()
        _stack.start()
        at_end(_stack.stop)
    return _stack


def make_system():
    sbin, etc = tmp("usr", "sbin", "sendmail"), tmp("etc", "postfix", "main.cf")
    for name, to in (("sbin/sendmail", "sendmail"), ("bin/mailq", "mailq"), ("bin/newaliases", "newaliases"),
                     ("lib/sendmail", "sendmail")):
        os.symlink(build("bin", to), tmp("usr", *name.split("/")))
    shutil.copy(_stack.main_cf, etc)
    for name in ("passwd", "group", "nsswitch.conf", "localtime", "ld.so.cache", "mailname", "hosts", "ssl", "alternatives", "perl"):
        if os.path.exists("/etc/" + name):
            (shutil.copytree if os.path.isdir("/etc/" + name) else shutil.copy)("/etc/" + name, tmp("etc", name), **(
                {"symlinks": True} if os.path.isdir("/etc/" + name) else {}))
    for name in ("logwatch", "php", "cron.d"):
        if os.path.isdir(ref("etc")) and os.path.isdir(os.path.join(TOP, "build/ref/etc", name)):
            shutil.copytree(os.path.join(TOP, "build/ref/etc", name), tmp("etc", name), symlinks=True)
    with open(tmp("etc", "pam.d", "cron"), "w") as f:
        f.write("".join("%s required pam_permit.so\n" % x for x in ("auth", "account", "session")))
    for name in ("run", "cron"):
        os.makedirs(tmp(name, "x"), exist_ok=True)


def there(*argv, input=b"", cwd=None, env=None):
    """Run it on that machine; its standard output."""
    r = run(command(argv), input=input, cwd=cwd, env=env, timeout_s=60)
    check(r.returncode == 0, "%s exits with %d: %s%s" % (argv[0], r.returncode, r.stdout.decode(errors="replace"),
                                                       r.stderr.decode(errors="replace")))
    return r.stdout.decode(errors="replace")


def command(argv):
    stack()
    mounts = ("mount --make-rprivate / && mount -t overlay -o lowerdir=%s:%s:/usr none /usr && mount --bind %s /etc && "
              "mount -t tmpfs none /run && mount -t tmpfs none /var/spool && mkdir -p /var/spool/cron/crontabs && "
              "mount -t tmpfs none /var/cache && mkdir -p /var/cache/logwatch && mount --bind %s /mnt && exec \"$@\""
              % (tmp("usr"), os.path.join(TOP, "build/ref/usr"), tmp("etc"), os.path.dirname(tmp("x"))))
    return ["unshare", "-m", "sh", "-c", mounts, "sh"] + list(argv)


def receive(address, subject, timeout_s=30):
    new = os.path.join(stack().maildir(address), "new")

    def look():
        for name in os.listdir(new) if os.path.isdir(new) else []:
            with open(os.path.join(new, name), "rb") as f:
                m = email.message_from_bytes(f.read(), policy=email.policy.default)
            if subject in m["Subject"]:
                os.unlink(os.path.join(new, name))
                return m
    return wait_for(look, timeout_s, "mail with the subject %r" % subject)


@case
def bsd_mailx():
    there("bsd-mailx", "-s", "from mailx", "-c", "other@example.com", "me@example.com", input=b"hello\n")
    m = receive("me@example.com", "from mailx")
    equal(m["To"], "me@example.com", "To")
    equal(m.get_content(), "hello\n", "body")
    receive("other@example.com", "from mailx")


@case
def mutt():
    with open(tmp("picture.bin"), "wb") as f:
        f.write(bytes(range(256)))
    there("mutt", "-F", "/dev/null", "-e", "set copy=no realname='M' from=sender@example.com use_from=yes use_envelope_from=yes",
          "-s", "from mutt \xe4", "-a", "/mnt/picture.bin", "--", "me@example.com", input="hällo\n".encode(),
          env=dict(os.environ, HOME="/run", LC_ALL="C.UTF-8"))
    m = receive("me@example.com", "from mutt")
    equal(m["Return-Path"], "<sender@example.com>", "-f")
    parts = list(m.iter_parts())
    equal((parts[0].get_content(), parts[1].get_content()), ("hällo\n", bytes(range(256))), "text and attachment")


@case
def php_mail():
    there("php8.2", "-r", "exit(mail('me@example.com', 'from PHP', \"line\\n.\\nlast\", "
          "['From' => 'shop@example.com', 'Bcc' => 'other@example.com'], '-fbounce@example.com') ? 0 : 1);")
    m = receive("me@example.com", "from PHP")
    equal((m["From"], m["Return-Path"], m["Bcc"]), ("shop@example.com", "<bounce@example.com>", None), "header")
    check("line\n.\nlast" in m.get_content(), "body %r" % m.get_content())
    receive("other@example.com", "from PHP")


@case
def php_mail_fails_when_the_mail_does():
    conf = tmp("etc", "postfix", "main.cf")
    with open(conf) as f:
        keep = f.read()
    try:
        with open(conf, "a") as f:
            f.write("message_size_limit = 1000\n")
        there("php8.2", "-r", "exit(@mail('me@example.com', 'too big', str_repeat('x', 5000)) ? 1 : 0);")
    finally:
        with open(conf, "w") as f:
            f.write(keep)


@case
def git_send_email():
    repo = tmp("repo", "x")
    repo = os.path.dirname(repo)
    env = dict(os.environ, HOME="/run", GIT_AUTHOR_NAME="A U Thor", GIT_AUTHOR_EMAIL="other@example.com",
               GIT_COMMITTER_NAME="C", GIT_COMMITTER_EMAIL="me@example.com", GIT_CONFIG_NOSYSTEM="1")
    with open(os.path.join(repo, "file"), "w") as f:
        f.write("text\n")
    at = "/mnt/repo"
    script = ("cd %s && git init -q . && git add file && git commit -qm 'A change for git' && git send-email "
              "--confirm=never --from=author@example.com --envelope-sender=bounce@example.com "
              "--smtp-server=/usr/sbin/sendmail --to=me@example.com --cc=other@example.com --root -1 2>&1" % at)
    there("sh", "-c", script, env=env)
    m = receive("me@example.com", "[PATCH] A change for git")
    equal(m["Return-Path"], "<bounce@example.com>", "envelope sender")
    check("+text" in m.get_content(), "the patch")
    receive("other@example.com", "[PATCH] A change for git")


@case
def cron():
    with open(tmp("etc", "crontab"), "w") as f:
        f.write("MAILTO=me@example.com\n@reboot root echo this is a job\n")
    stack()
    p = start(command(["cron", "-f"]), name="cron")
    m = receive("me@example.com", "echo this is a job")
    equal(m.get_content(), "this is a job\n", "what the job printed")
    equal(m["From"], "root@example.com", "From")
    equal(m["Return-Path"], "<root@example.com>", "sender")
    p.stop()


@case
def logwatch():
    with open(tmp("mail.log")) as f:
        check("postfix/pickup" in f.read(), "a log to look at")
    there("logwatch", "--output", "mail", "--mailto", "me@example.com", "--service", "postfix", "--logfile", "maillog",
          "--archives", "no", "--range", "all", "--logdir", "/mnt")
    m = receive("me@example.com", "Logwatch for")
    text = m.get_content()
    check("ostfix" in text, "it tells of postfix: %s" % text[:500])


@case
def mailq_is_empty_in_the_end():
    wait_for(lambda: "Mail queue is empty" in there("/usr/bin/mailq"), 10, "an empty queue, said so by mailq")
    there("/usr/bin/newaliases")


@case
def pflogsumm():
    r = run([need("pflogsumm"), tmp("mail.log")])
    equal(r.returncode, 0, "exit code")
    text = r.stdout.decode()
    check("delivered" in text and "me@example.com" in text, "%s" % text[:600])


main()
