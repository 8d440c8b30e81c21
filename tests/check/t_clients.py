#!/usr/bin/env python3
# Programs that nobody here wrote, each against every door it knows: swaks, curl, mbsync, mutt, neomutt, fetchmail, getmail,
# msmtp. The stack runs from the guide's own main.cf and SQL.
# timeout: 300
import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from stack import Stack

USER, PASSWORD = "email1@example.com", "password"
OTHER = "email2@example.com"
_stack = []


def stack():
    """One for the whole script."""
    if not _stack:
        _stack.append(Stack(tmp("s"), users=["u0@example.com", "u1@example.com", "u2@example.com"], extra_conf=[
            "smtpd_sender_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_non_fqdn_sender"]).start())
    return _stack[0]


def bodies(address, folder=""):
    """The text of all messages in a user's INBOX, or in a folder such as ".Sent"."""
    found = []
    for path in sorted(glob.glob(os.path.join(stack().maildir(address), folder, "new", "*")) +
                       glob.glob(os.path.join(stack().maildir(address), folder, "cur", "*"))):
        try:
            with open(path, "rb") as f:
                found.append(f.read().decode(errors="replace"))
        except FileNotFoundError:  # renamed from new to cur meanwhile
            pass
    return found


def arrived(address, what, folder=""):
    wait_for(lambda: any(what in b for b in bodies(address, folder)), 20, "a message with %r for %s" % (what, address))


def ok(r, what):
    check(r.returncode == 0, "%s: exit status %d\n%s%s" % (what, r.returncode, r.stdout.decode(errors="replace"),
                                                          r.stderr.decode(errors="replace")))
    return r.stdout.decode(errors="replace")


def deliver(token, to=USER, n=1):
    for i in range(n):
        ok(run([need("swaks"), "--server", "127.0.0.1", "--port", stack().ports["smtp"], "--from", "x@example.com",
                "--to", to, "--header", "Subject: %s %d" % (token, i), "--body", "body of " + token, "--silent", "2"]), "swaks")
    wait_for(lambda: sum("body of " + token in b for b in bodies(to)) >= n, 20, "%d messages" % n)


def swaks(port, *more):
    token = "swaks-" + os.urandom(6).hex()
    ok(run([need("swaks"), "--server", "127.0.0.1", "--port", stack().ports[port], "--from", USER, "--to", OTHER,
            "--header", "Subject: " + token, *more]), "swaks to " + port)
    arrived(OTHER, token)


@case
def swaks_25():
    swaks("smtp")


@case
def swaks_25_starttls():
    swaks("smtp", "--tls")


@case
def swaks_587():
    swaks("submission", "--tls", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD)


@case
def swaks_587_login():
    swaks("submission", "--tls", "--auth", "LOGIN", "--auth-user", USER, "--auth-password", PASSWORD)


@case
def swaks_465():
    swaks("submissions", "--tlsc", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD)


@case
def swaks_wrong_password():
    r = run([need("swaks"), "--server", "127.0.0.1", "--port", stack().ports["submission"], "--from", USER, "--to", OTHER,
             "--tls", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", "wrong"])
    check(b"535 5.7.8" in r.stdout, "no 535 5.7.8 in:\n" + r.stdout.decode())


@case
def swaks_no_relay():
    """A stranger (not in mynetworks) may not relay."""
    r = run([need("swaks"), "--server", "127.0.0.1", "--port", stack().ports["submission"], "--from", USER,
             "--to", "a@remote.test", "--tls"])
    check(r.returncode != 0 and b"554 5.7.1" in r.stdout, r.stdout.decode())


def curl(*argv):
    return ok(run([need("curl"), "--silent", "--show-error", "--cacert", stack().cert_file, *argv]), "curl " + argv[-1])


def curl_reads(scheme, port, path, *more):
    token = "curl-" + os.urandom(6).hex()
    deliver(token, "u0@example.com")
    out = curl("--user", "u0@example.com:pass", "--resolve", "localhost:%d:127.0.0.1" % stack().ports[port], *more,
               "%s://localhost:%d/%s" % (scheme, stack().ports[port], path))
    check("body of " + token in out, "curl did not show the message:\n" + out)


@case
def curl_imap():
    curl_reads("imap", "imap", "INBOX;MAILINDEX=*")


@case
def curl_imap_starttls():
    curl_reads("imap", "imap", "INBOX;MAILINDEX=*", "--ssl-reqd")


@case
def curl_imaps():
    curl_reads("imaps", "imaps", "INBOX;MAILINDEX=*")


@case
def curl_imaps_append_and_list():
    token = "append-" + os.urandom(6).hex()
    path = tmp("append.eml")
    with open(path, "w") as f:
        f.write("From: u0@example.com\r\nSubject: %s\r\n\r\nx\r\n" % token)
    curl("--user", "u0@example.com:pass", "-T", path, "imaps://localhost:%d/Sent" % stack().ports["imaps"])
    arrived("u0@example.com", token, ".Sent")
    out = curl("--user", "u0@example.com:pass", "imaps://localhost:%d/" % stack().ports["imaps"])
    check("Sent" in out and "INBOX" in out, out)


def last_pop3(scheme, port, *more):
    token = "curl-" + os.urandom(6).hex()
    deliver(token, "u0@example.com")
    where = "%s://localhost:%d/" % (scheme, stack().ports[port])
    n = len(curl("--user", "u0@example.com:pass", *more, where).split("\n")) - 1
    out = curl("--user", "u0@example.com:pass", *more, where + str(n))
    check("body of " + token in out, "the last of %d messages is another:\n%s" % (n, out))


@case
def curl_pop3():
    last_pop3("pop3", "pop3")


@case
def curl_pop3_stls():
    last_pop3("pop3", "pop3", "--ssl-reqd")


@case
def curl_pop3s():
    last_pop3("pop3s", "pop3s")


@case
def curl_smtps_submits():
    token = "curl-" + os.urandom(6).hex()
    path = tmp("submit.eml")
    with open(path, "w") as f:
        f.write("From: u0@example.com\r\nTo: %s\r\nSubject: %s\r\n\r\nx\r\n" % (OTHER, token))
    curl("--user", "u0@example.com:pass", "--mail-from", "u0@example.com", "--mail-rcpt", OTHER, "-T", path,
         "smtps://localhost:%d/host.example.com" % stack().ports["submissions"])
    arrived(OTHER, token)


def mbsync_config(home):
    path = os.path.join(home, "mbsyncrc")
    with open(path, "w") as f:
        f.write("IMAPAccount a\nHost localhost\nPort %d\nUser u1@example.com\nPass pass\nSSLType IMAPS\nCertificateFile %s\n\n"
                "IMAPStore far\nAccount a\n\nMaildirStore near\nPath %s/m/\nInbox %s/m/INBOX\nSubFolders Verbatim\n\n"
                "Channel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n"
                % (stack().ports["imaps"], stack().cert_file, home, home))
    return path


@case
def mbsync_both_ways():
    home = tmp("mbsync", "x")[:-2]
    os.makedirs(home + "/m", exist_ok=True)
    token = "mbsync-" + os.urandom(6).hex()
    deliver(token, "u1@example.com", 5)
    argv = [need("mbsync"), "-c", mbsync_config(home), "-a", "-V"]
    ok(run(argv, env=dict(os.environ, HOME=home)), "mbsync down")
    near = glob.glob(home + "/m/INBOX/new/*") + glob.glob(home + "/m/INBOX/cur/*")
    equal(len(near), 5, "messages that mbsync brought")
    # A new message and a flag here, and a message away there: each must reach the other side.
    os.makedirs(home + "/m/INBOX/cur", exist_ok=True)
    with open(home + "/m/INBOX/cur/1234.up.here:2,S", "w") as f:
        f.write("From: u1@example.com\nSubject: up-%s\n\nfrom the near side\n" % token)
    os.rename(near[0], re.sub(r"(/new/|/cur/)([^:]*).*", r"/cur/\2:2,FS", near[0]))
    os.unlink(near[1])
    ok(run(argv, env=dict(os.environ, HOME=home)), "mbsync up")
    arrived("u1@example.com", "up-" + token)
    names = [os.path.basename(p) for p in glob.glob(stack().maildir("u1@example.com") + "/cur/*")]
    equal(len(names) + len(glob.glob(stack().maildir("u1@example.com") + "/new/*")), 5, "messages on the server")
    check(any(re.search(r":2,.*F.*S", n) for n in names), "no flagged and seen message: %r" % names)


def mutt_reads(command):
    token = command + "-" + os.urandom(6).hex()
    deliver(token, "u1@example.com")
    home = tmp(command, "x")[:-2]
    rc = os.path.join(home, "rc")
    url = "imaps://localhost:%d" % stack().ports["imaps"]
    with open(rc, "w") as f:
        f.write('set imap_user="u1@example.com"\nset imap_pass="pass"\nset ssl_ca_certificates_file="%s"\n'
                'set certificate_file="%s"\nset folder="%s/"\nset spoolfile="%s/INBOX"\nset header_cache=\nset mail_check=0\n'
                'set confirmappend=no\nset confirmcreate=no\nset delete=yes\nset move=no\nset quit=yes\nset copy=no\nset wait_key=no\n'
                % (stack().cert_file, stack().cert_file, url, url))
    # Tag what matches, save a copy to a file, leave. mutt needs a terminal of a kind.
    out = os.path.join(home, "out")
    keys = 'push "<tag-pattern>~s %s<enter><tag-prefix><copy-message>%s<enter><quit>"' % (token, out)
    r = run(["script", "-q", "-e", "-c", "%s -n -F %s -e '%s'" % (need(command), rc, keys), "/dev/null"],
            env=dict(os.environ, HOME=home, TERM="xterm"), timeout_s=60)
    check(os.path.exists(out), "%s saved nothing:\n%s" % (command, r.stdout.decode(errors="replace")))
    with open(out) as f:
        check("body of " + token in f.read(), "%s saved another message" % command)


@case
def mutt_reads_a_folder():
    mutt_reads("mutt")


@case
def neomutt_reads_a_folder():
    mutt_reads("neomutt")


@case
def fetchmail_empties_a_mailbox():
    token = "fetchmail-" + os.urandom(6).hex()
    deliver(token, "u2@example.com", 3)
    home = tmp("fetchmail", "x")[:-2]
    rc, out = os.path.join(home, "rc"), os.path.join(home, "out")
    with open(os.open(rc, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
        f.write('poll localhost protocol pop3 service %d user "u2@example.com" password "pass" ssl sslcertck sslcertfile "%s"\n'
                '  no keep mda "cat >>%s"\n' % (stack().ports["pop3s"], stack().cert_file, out))
    ok(run([need("fetchmail"), "-f", rc, "--nosyslog", "--pidfile", home + "/pid"], env=dict(os.environ, HOME=home,
                                                                                           FETCHMAILHOME=home)), "fetchmail")
    with open(out) as f:
        equal(f.read().count("body of " + token), 3, "messages that fetchmail brought")
    equal(len(bodies("u2@example.com")), 0, "messages left")


@case
def getmail_empties_a_mailbox():
    token = "getmail-" + os.urandom(6).hex()
    deliver(token, "u2@example.com", 3)
    home = tmp("getmail", "x")[:-2]
    out = os.path.join(home, "out")
    with open(home + "/getmailrc", "w") as f:
        f.write("[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\nport = %d\nusername = u2@example.com\n"
                "password = pass\nca_certs = %s\n[destination]\ntype = MDA_external\npath = %s\narguments = ('-a', '%s')\n"
                "allow_root_commands = true\n[options]\ndelete = true\n"
                % (stack().ports["pop3s"], stack().cert_file, need("tee"), out))
    ok(run([need("getmail"), "--getmaildir", home, "--rcfile", "getmailrc"], env=dict(os.environ, HOME=home)), "getmail")
    with open(out) as f:
        equal(f.read().count("body of " + token), 3, "messages that getmail brought")
    equal(len(bodies("u2@example.com")), 0, "messages left")


def msmtp(*how):
    token = "msmtp-" + os.urandom(6).hex()
    home = tmp("msmtp", "x")[:-2]
    message = "From: %s\nTo: %s\nSubject: %s\n\nx\n.\n.. dots\n" % (USER, OTHER, token)
    ok(run([need("msmtp"), "--file=/dev/null", "--host=localhost", "--auth=on", "--user=" + USER,
            "--passwordeval=echo " + PASSWORD, "--tls=on", "--tls-trust-file=" + stack().cert_file, "--from=" + USER, *how, OTHER],
           input=message.encode(), env=dict(os.environ, HOME=home)), "msmtp")
    arrived(OTHER, token)
    got = [b for b in bodies(OTHER) if token in b][0]
    check(got.endswith("\nx\n.\n.. dots\n"), "the dots did not survive: %r" % got[-40:])


@case
def msmtp_starttls():
    msmtp("--port=%d" % stack().ports["submission"], "--tls-starttls=on")


@case
def msmtp_tls():
    msmtp("--port=%d" % stack().ports["submissions"], "--tls-starttls=off")


main()
