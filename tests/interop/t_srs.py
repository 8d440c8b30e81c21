#!/usr/bin/env python3
# Rewritten senders: postsrsd and Mail::SRS (Debian's) read ours and we read theirs, with one secret; and a real Postfix
# rewrites by our authd.
import os
import smtplib
import socket
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from outbound import Sink
from refstack import RefStack, fetch
from stack import Stack

SECRETS = ["t0ps3cret with blanks ", "the/old+one"]
SENDERS = ["alice@sender.test", "Al.Ice+x=y@Sender.Test", "a=b=c@sender.test", "SRS0=aBcD=T2=first.test=bob@first.test",
           "SRS0+aBcD=T2=first.test=bob@first.test", "srs0-abcd=t2=first.test=bob@first.test",
           "SRS1=XxYy=first.test==aBcD=T2=far.test=bob@second.test", "x" * 60 + "@" + "d" * 60 + ".test"]


def ask_authd(stack, name, key):
    """By socketmap; None: not found."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(os.path.join(stack.queue_dir, "private", "lookup"))
        q = (name + " " + key).encode()
        s.sendall(b"%d:%s," % (len(q), q))
        got = b""
        while not got.endswith(b","):
            got += s.recv(1000)
    word, _, value = got.split(b":", 1)[1][:-1].decode().partition(" ")
    check(word in ("OK", "NOTFOUND"), "authd answers %r" % got)
    return value if word == "OK" else None


def ask_postsrsd(port, key):
    """By tcp_table(5); None: not found."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(b"get %s\n" % urllib.parse.quote(key, safe="@=+/-.").encode())
        code, _, value = s.makefile().readline().strip().partition(" ")
    return urllib.parse.unquote(value) if code == "200" else None


def ask_perl(verb, secrets, *args):
    script = 'use Mail::SRS; my $s = Mail::SRS->new(Secret => [split /\\n/, shift]); print $s->%s(@ARGV)' % verb
    r = subprocess.run(["perl", "-I", ref("usr/share/perl5"), "-e", script, "\n".join(secrets)] + list(args),
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
    return r.stdout if r.returncode == 0 else None


def write_secret(path, lines):
    with open(path, "w") as f:
        f.write("\n".join(lines) + "\n")


def is_same(a, b):
    return a is not None and b is not None and a.lower() == b.lower()


@case
def one_secret_for_all():
    fetch("postsrsd", "libmail-srs-perl")
    there, back = free_port(), free_port()
    secret = tmp("secret")
    write_secret(secret, SECRETS)
    start([ref("usr/sbin/postsrsd"), "-s" + secret, "-dfwd.test", "-f%d" % there, "-r%d" % back, "-l127.0.0.1"], env=ref_env(),
          name="postsrsd")
    wait_port(there)
    conf = ["virtual_alias_domains = fwd.test", "virtual_alias_maps = inline:{ { x@fwd.test = y@far.test } }",
            "srs_secret_file = " + secret, "srs_domain = fwd.test"]
    with Stack(tmp("s"), extra_conf=conf) as s:
        for sender in SENDERS:
            ours, theirs, perls = (ask_authd(s, "srs_forward", sender), ask_postsrsd(there, sender),
                                   ask_perl("forward", SECRETS, sender, "x@fwd.test"))
            equal(ours, theirs, "postsrsd's, of %s" % sender)
            if not sender.startswith("srs0"):  # Mail::SRS writes the tag anew
                equal(ours, perls, "Mail::SRS's, of %s" % sender)
            for text in (ours, ours.lower(), ours.upper()):
                want = ask_postsrsd(back, text)
                check(want is not None, "postsrsd takes %s" % text)
                check(is_same(ask_authd(s, "srs_reverse", text), want), "back from %s, to %s" % (text, want))
            check(is_same(ask_perl("reverse", SECRETS, ours), ask_authd(s, "srs_reverse", ours)), "Mail::SRS, back from %s" % ours)
        # signed with the second secret, and with none
        old = ask_perl("forward", SECRETS[1:], "alice@sender.test", "x@fwd.test")
        other = ask_perl("forward", ["another"], "alice@sender.test", "x@fwd.test")
        equal(ask_authd(s, "srs_reverse", old), "alice@sender.test", "the second secret")
        equal(ask_postsrsd(back, old), "alice@sender.test", "... so it is for postsrsd")
        equal((ask_authd(s, "srs_reverse", other), ask_postsrsd(back, other)), (None, None), "another's secret")
        with_plus = ask_perl("forward", SECRETS, "alice@sender.test", "x@fwd.test").replace("SRS0=", "SRS0+")
        equal(ask_authd(s, "srs_reverse", with_plus), "alice@sender.test", "another separator")


@case
def postfix_rewrites_by_our_authd():
    sink = Sink(("127.0.0.1", free_port()))
    at_end(sink.server_close)
    at_end(sink.shutdown)
    with Stack(tmp("a"), extra_conf=["myorigin = example.com"]) as s:
        private = os.path.join(s.queue_dir, "private")
        os.chmod(os.path.join(private, "lookup"), 0o666)
        for folder in (s.workdir, s.queue_dir, private):
            os.chmod(folder, 0o755)
        lookup = "socketmap:unix:%s/lookup:" % private
        with RefStack(tmp("r", "x")[:-2] + "w", parts=("postfix",), share=[private], aliases={"fwd@example.com": ["ok@far.test"]},
                      main_cf=["sender_canonical_maps = %ssrs_forward" % lookup, "sender_canonical_classes = envelope_sender",
                               "recipient_canonical_maps = %ssrs_reverse" % lookup, "recipient_canonical_classes = envelope_recipient",
                               "relayhost = [127.0.0.1]:%d" % sink.server_address[1], "smtpd_sender_restrictions =",
                               "smtpd_recipient_restrictions = permit_mynetworks, reject", "smtpd_relay_restrictions ="]) as r:
            def through(to, sender):
                n = len(sink.messages)
                with smtplib.SMTP("127.0.0.1", r.ports["smtp"], local_hostname="client.example.com", timeout=30) as c:
                    c.sendmail(sender, [to], "Subject: x\r\n\r\nx\r\n")
                wait_for(lambda: len(sink.messages) > n, 30, "the message; Postfix says:\n%s" % r.log()[-3000:])
                m = sink.messages[-1]
                return [line.split("<")[1].split(">")[0] for line in (m[0], m[1][0])]

            mine, to = through("fwd@example.com", "alice@sender.test")
            equal(mine, ask_authd(s, "srs_forward", "alice@sender.test"), "the sender")
            equal(to, "ok@far.test", "the recipient")
            equal(through(mine, ""), ["", "alice@sender.test"], "and back")


main()
