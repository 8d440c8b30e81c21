#!/usr/bin/env python3
"""make quickstart: a mail server for trial in ./run, one message sent through it and read back, then serving until Ctrl-C.

    quickstart.py BINDIR        ONCE=1 in the environment: stop after the round trip, with its exit status

Uses the programs in BINDIR and Python's own SMTP, IMAP and POP3 clients. Everything is in ./run and belongs to whoever runs
this; ./run is kept, and the next run goes on with it.
"""
import email
import email.utils
import imaplib
import os
import poplib
import secrets
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RUN = os.path.join(TOP, "run")
DOMAIN = "example.com"
USERS = ("alice@example.com", "bob@example.com")
ALIASES = (("postmaster@example.com", "alice@example.com"), ("root@example.com", "alice@example.com"))
# (parameter, port to try first, what a person calls it)
LISTENERS = (("smtp", 2525, "SMTP from other hosts"), ("submission", 2587, "submission, STARTTLS"),
             ("submissions", 2465, "submission, TLS"), ("imap", 2143, "IMAP, STARTTLS"), ("imaps", 2993, "IMAP, TLS"),
             ("pop3", 2110, "POP3, STARTTLS"), ("pop3s", 2995, "POP3, TLS"))
START_S = 30
DELIVER_S = 20


class Problem(Exception):
    pass


def say(text=""):
    print(text, flush=True)


def at(*path):
    return os.path.join(RUN, *path)


def postern(*argv, give=None):
    r = subprocess.run([PROGRAM, "-c", at("main.cf"), *argv], input=give, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       **({} if give is not None else {"stdin": subprocess.DEVNULL}))
    if r.returncode != 0:
        raise Problem("postern %s: exit status %d\n%s" % (" ".join(argv), r.returncode, r.stdout.decode(errors="replace")))
    return r.stdout.decode(errors="replace")


def free_port(first, taken):
    for port in list(range(first, first + 50)) + [0]:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            port = s.getsockname()[1]
            if port not in taken:
                return port
    raise Problem("no free port near %d" % first)


def write(path, text, mode=0o644):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as f:
        f.write(text)


def make_config(ports):
    maps = {"domains": "SELECT 1 FROM virtual_domains WHERE name='%s'",
            "users": "SELECT 1 FROM virtual_users WHERE email='%s'",
            "aliases": "SELECT destination FROM virtual_aliases WHERE source='%s'"}
    for name, query in maps.items():
        write(at("virtual-%s.cf" % name), "dbpath = %s\nquery = %s\n" % (at("data", "mailserver.db"), query))
    write(at("aliases"), "postmaster: alice@example.com\nroot: alice@example.com\n")
    lines = ["# Written by make quickstart, anew each time. A real host's file: etc/main.cf.sample",
             "myhostname = localhost.example.com", "mydomain = example.com", "myorigin = $mydomain",
             "mydestination = localhost", "mynetworks = 127.0.0.0/8 [::1]/128", "inet_interfaces = loopback-only",
             "queue_directory = " + at("queue"), "data_directory = " + at("data"), "config_directory = " + RUN,
             "mail_location = maildir:%s/%%d/%%n" % at("mail"), "users_database = $data_directory/mailserver.db",
             "alias_maps = hash:" + at("aliases"), "alias_database = $alias_maps",
             "virtual_mailbox_domains = sqlite:" + at("virtual-domains.cf"),
             "virtual_mailbox_maps = sqlite:" + at("virtual-users.cf"),
             "virtual_alias_maps = sqlite:" + at("virtual-aliases.cf"),
             "virtual_transport = lmtp:unix:private/dovecot-lmtp",
             "smtpd_tls_cert_file = " + at("tls", "fullchain.pem"), "smtpd_tls_key_file = " + at("tls", "privkey.pem"),
             "smtpd_tls_security_level = may", "smtpd_tls_auth_only = yes", "smtpd_sasl_auth_enable = yes",
             "smtpd_sasl_security_options = noanonymous, noplaintext", "smtpd_sasl_tls_security_options = noanonymous",
             "smtpd_recipient_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
             "maillog_file = " + at("mail.log")]
    lines += ["listen_%s = 127.0.0.1:%d" % (n, ports[n]) for n, _, _ in LISTENERS]
    write(at("main.cf"), "\n".join(lines) + "\n")


def make_users():
    """Accounts with passwords that only this ./run knows; kept in ./run/passwords for the next time."""
    known = {}
    if os.path.exists(at("passwords")):
        with open(at("passwords")) as f:
            known = dict(line.split() for line in f if line.strip())
    if not known:
        with open(os.path.join(TOP, "etc", "schema.sql"), "rb") as f:
            postern("sql", give=f.read())
        postern("domain", "add", DOMAIN)
        for user in USERS:
            known[user] = secrets.token_urlsafe(9)
            postern("user", "add", user, "--stdin", give=known[user].encode() + b"\n")
        for alias in ALIASES:
            postern("alias", "add", *alias)
        write(at("passwords"), "".join("%s %s\n" % item for item in known.items()), 0o600)
    return known


def start():
    server = subprocess.Popen([PROGRAM, "-c", at("main.cf"), "serve"], stdin=subprocess.DEVNULL)
    end = time.monotonic() + START_S
    while True:
        if server.poll() is not None:
            raise Problem("postern serve ended with exit status %d; see %s" % (server.returncode, at("mail.log")))
        r = subprocess.run([PROGRAM, "-c", at("main.cf"), "status"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        if r.returncode == 0:
            return server
        if time.monotonic() > end:
            server.kill()
            raise Problem("the daemons are not ready after %d s; see %s" % (START_S, at("mail.log")))
        time.sleep(0.05)


def submit(ports, tls, sender, password, to, subject):
    msg = email.message.EmailMessage()
    msg["From"], msg["To"], msg["Subject"] = sender, to, subject
    msg["Date"], msg["Message-ID"] = email.utils.formatdate(), email.utils.make_msgid(domain=DOMAIN)
    msg.set_content("Sent by make quickstart over submission with STARTTLS and SASL.\n")
    with smtplib.SMTP("127.0.0.1", ports["submission"], local_hostname="localhost.localdomain", timeout=30) as s:
        s._host = "localhost"  # the name that the certificate is checked for
        s.starttls(context=tls)
        s.login(sender, password)
        s.send_message(msg)


def read_imap(ports, tls, user, password, subject):
    imap = imaplib.IMAP4_SSL("localhost", ports["imaps"], ssl_context=tls)
    imap.login(user, password)
    end = time.monotonic() + DELIVER_S
    while True:
        imap.select("INBOX")
        found = imap.search(None, "SUBJECT", '"%s"' % subject)[1][0].split()
        if found:
            break
        if time.monotonic() > end:
            raise Problem("the message did not arrive within %d s" % DELIVER_S)
        time.sleep(0.05)
    body = imap.fetch(found[0], "(BODY.PEEK[])")[1][0][1]
    imap.logout()
    return body


def read_pop3(ports, tls, user, password, subject):
    pop = poplib.POP3_SSL("localhost", ports["pop3s"], context=tls, timeout=30)
    pop.user(user)
    pop.pass_(password)
    for n in range(pop.stat()[0], 0, -1):
        body = b"\r\n".join(pop.retr(n)[1])
        if email.message_from_bytes(body)["Subject"] == subject:
            pop.quit()
            return body
    raise Problem("POP3 does not show the message that IMAP showed")


def round_trip(ports, passwords):
    tls = ssl.create_default_context(cafile=at("tls", "fullchain.pem"))
    sender, to = USERS
    subject = "quickstart %s" % secrets.token_hex(6)
    began = time.monotonic()
    submit(ports, tls, sender, passwords[sender], to, subject)
    say("submitted   port %d, STARTTLS, AUTH as %s: accepted" % (ports["submission"], sender))
    by_imap = read_imap(ports, tls, to, passwords[to], subject)
    say("read back   port %d, IMAP over TLS as %s: %d octets, %.0f ms after submitting"
        % (ports["imaps"], to, len(by_imap), 1000 * (time.monotonic() - began)))
    by_pop3 = read_pop3(ports, tls, to, passwords[to], subject)
    say("read back   port %d, POP3 over TLS as %s: the same message" % (ports["pop3s"], to))
    if email.message_from_bytes(by_imap).get_payload().split() != email.message_from_bytes(by_pop3).get_payload().split():
        raise Problem("IMAP and POP3 show different messages")


def tell(ports, passwords):
    say()
    say("Accounts")
    for user in USERS:
        say("    %-20s password %s" % (user, passwords[user]))
    for alias in ALIASES:
        say("    %-20s goes to  %s" % alias)
    say("Ports on 127.0.0.1")
    for name, _, what in LISTENERS:
        say("    %5d  %s" % (ports[name], what))
    say("To connect a mail client: server localhost, user name the whole address, IMAP port %d with TLS," % ports["imaps"])
    say("outgoing port %d with TLS; it will ask about the self-signed certificate %s." % (ports["submissions"],
                                                                                        at("tls", "fullchain.pem")))
    say("Configuration %s, log %s, mail below %s." % (at("main.cf"), at("mail.log"), at("mail")))
    say("More users:  %s -c %s user add carol@example.com" % (PROGRAM, at("main.cf")))


def main():
    os.makedirs(at("tls"), exist_ok=True)  # the other folders are made by those who write there
    ports = {}
    for name, first, _ in LISTENERS:
        ports[name] = free_port(first, ports.values())
    make_config(ports)
    if not os.path.exists(at("tls", "privkey.pem")):
        postern("cert", "self-signed", "--out", at("tls"), "localhost", "127.0.0.1", "localhost.example.com")
    passwords = make_users()
    say("postern     everything is in %s" % RUN)
    server = start()
    status = 0
    try:
        say("started     every daemon, as %s" % (os.environ.get("USER") or "uid %d" % os.getuid()))
        round_trip(ports, passwords)
        tell(ports, passwords)
        if os.environ.get("ONCE", "0") in ("", "0"):
            say("\nServing. Ctrl-C stops it.")
            status = server.wait()
    except KeyboardInterrupt:
        say("\nstopping")
    finally:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                raise Problem("the server did not stop within 30 s")
    return status


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    PROGRAM = os.path.join(os.path.abspath(sys.argv[1]), "postern")
    try:
        sys.exit(main())
    except (Problem, OSError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto) as e:
        sys.exit("quickstart: %s" % e)
