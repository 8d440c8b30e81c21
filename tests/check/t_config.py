#!/usr/bin/env python3
# `postern config` and `postern check` beside the files they speak of: the guide's main.cf, the sample, the parameter table.
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *

GUIDE = os.path.join(TOP, "tests", "guide", "main.cf")
SAMPLE = os.path.join(TOP, "etc", "main.cf.sample")


def config(*argv, file=GUIDE):
    r = run([program("postern"), "-c", file, "config", *argv])
    equal(r.returncode, 0, "exit status of config %s: %s" % (argv, r.stderr.decode()))
    return r.stdout.decode()


def names_in(path):
    with open(path) as f:
        return set(re.findall(r"^([a-z]\w*) *=", f.read(), re.M))


@case
def every_parameter_of_the_guide_is_known():
    known = json.loads(config("--json"))
    missing = names_in(GUIDE) - set(known)
    check(not missing, "not known: %r" % missing)
    equal(names_in(GUIDE), set(re.findall(r"^(\w+) =", config("-n"), re.M)), "what config -n shows")


@case
def values_are_as_postfix_has_them():
    got = json.loads(config("--json"))
    equal(got["smtpd_recipient_limit"], "40", "smtpd_recipient_limit")
    equal(got["maximal_backoff_time"], "3h", "maximal_backoff_time")
    equal(json.loads(config("-d", "--json", "smtpd_recipient_limit"))["smtpd_recipient_limit"], "1000", "its default")


@case
def the_reference_names_every_parameter():
    text = config("--reference")
    for name in json.loads(config("--json")):
        check(re.search(r"^%s \(.*\)\n    \S" % name, text, re.M), "%s is not explained" % name)
    check("default: ${stress?{10}:{300}}s" in config("--reference", "smtpd_timeout"), "one parameter alone")


@case
def the_sample_uses_only_what_there_is():
    known = json.loads(config("--json"))
    missing = names_in(SAMPLE) - set(known)
    check(not missing, "not known: %r" % missing)
    r = run([program("postern"), "-c", SAMPLE, "config", "-n"])
    equal(r.returncode, 0, "the sample: %s" % r.stderr.decode())


@case
def an_unknown_parameter_is_told():
    r = run([program("postern"), "-c", GUIDE, "config", "smtpd_tiemout"])
    check(r.returncode == 65 and b"smtpd_tiemout" in r.stderr, repr(r))


# What files of guides for Postfix have, and what an operator must hear of it: in this order, each at its line.
OF_A_GUIDE = """\
myhostname = mail.example.com
milter_protocol = 6
smtpd_milters = inet:127.0.0.1:11332
daemon_directory = /usr/lib/postfix/sbin
smtpd_restriction_classes = greylist
greylist = check_sender_access hash:/nowhere/senders
submission_sender_restrictions = check_sender_access hash:/nowhere/submitters
smtpd_recipient_restrictions = reject_unauth_destination, check_policy_service unix:private/policyd-spf
policyd-spf_time_limit = 3600
transport_maps = hash:/nowhere/transport
virtual_transport = dovecot
dns_resolvers = 192.0.2.1
smtp_tls_security_level = dane
smtp_dns_support_level = dnssec
max_use = 100
smtpd_bannner = hello
"""
TOLD = ((2, "milter_protocol, smtpd_milters (line 3): milters are not supported"),
        (4, "daemon_directory: there is no /usr/lib/postfix/sbin/authd"),
        (6, "greylist: hash:/nowhere/senders: cannot open"),
        (7, "submission_sender_restrictions: hash:/nowhere/submitters: cannot open"),
        (8, "smtpd_recipient_restrictions: check_policy_service unix:private/policyd-spf: there is no socket"),
        (9, "policyd-spf_time_limit: master.cf is not read"),
        (10, "transport_maps: hash:/nowhere/transport: cannot open"),
        (11, "virtual_transport: there is no transport \"dovecot\""),
        (13, "smtp_tls_security_level = dane needs a validating resolver on this host, not 192.0.2.1 (dns_resolvers)"),
        (16, "unused parameter: smtpd_bannner"))


@case
def a_file_for_postfix_is_told_by_line():
    path = tmp("main.cf")
    with open(path, "w") as f:
        f.write(OF_A_GUIDE)
    r = run([program("postern"), "-c", path, "check"])
    got = [(int(m[0]), m[1]) for m in re.findall(r":(\d+): (?:warning|error): (.*)", r.stderr.decode())]
    equal([n for n, _ in got], [n for n, _ in TOLD], "lines: %s" % r.stderr.decode())
    for (_, text), (n, want) in zip(got, TOLD):
        check(text.startswith(want), "line %d: %s" % (n, text))


TELLING = [  # a line, what `postern check` says of it
    ("auth_mechanisms =", "error: auth_mechanisms: empty"),
    ("auth_mechanisms = plain external", "warning: auth_mechanisms: external is offered to nobody"),
    ("auth_scram_iterations = 0\nauth_mechanisms = plain scram-sha-256", "warning: auth_scram_iterations: 0: no new password"),
    ("auth_default_realm = @example.com", "error: auth_default_realm: "),
    ("auth_default_realm = example.com example.org", "error: auth_default_realm: "),
    ("auth_master_user_separator = @", "error: auth_master_user_separator: .*taken for masters"),
    ("auth_master_users = passwd-file:%s/masters" % tmp(), r"masters:2: warning: auth_master_users: name:password"),
    ("auth_master_users = passwd-file:%s/masters" % tmp(), r"masters:4: warning: auth_master_users: .*SCHEME"),
    ("auth_master_users = passwd-file:%s/masters" % tmp(), r"masters:5: warning: auth_master_users: there is no password"),
    ("auth_username_format = joe", "error: auth_username_format: .*tells users apart"),
    ("oauth2_introspection_url = https://id.example.com/", "warning: oauth2_introspection_url: nobody asks"),
    ("oauth2_jwks_file = /nowhere", "warning: oauth2_jwks_file: nobody asks"),
    ("auth_mechanisms = xoauth2", "error: oauth2_introspection_url: "),
    ("ssl_ca = /nowhere", "warning: ssl_ca: has no meaning without ssl_verify_client_cert"),
    ("ssl_key = /nowhere", "warning: ssl_key: is not read"),
    ("ssl_min_protocol = SSLv3", "warning: ssl_min_protocol: "),
    ("legacy_listeners = imap:99", "warning: legacy_listeners: imap:99: there is no such listener"),
    ("legacy_listeners = imap:143, pop3s", ""),
    ("pop3_deleted_flag = gone away", "error: pop3_deleted_flag: .*blanks"),
    ("pop3_deleted_flag = $POP3Deleted", ""),
    ("login_log_format =", "warning: login_log_format: "),
    ("login_log_format = %Q %$: %s", "warning: login_log_format: behind %"),
    ("login_log_format_elements = user=<%u> %{nonsense}", "warning: login_log_format_elements: "),
    ("login_log_format_elements = user=<%u> 100%% %{session} %r", ""),
]


@case
def what_has_no_meaning_is_told_with_its_line():
    with open(tmp("masters"), "w") as f:
        f.write("# masters\nadmin\ngood:{SHA512-CRYPT}$6$x$y:1000::\nbad:{NOPE}x\nnone:{PLAIN}\nplain:abc\n")
    for line, want in TELLING:
        with open(tmp("telling.cf"), "w") as f:
            f.write("myhostname = mail.example.com\n%s\n" % line)
        r = run([program("postern"), "-c", tmp("telling.cf"), "check"])
        names = re.findall(r"^(\w+) =", line, re.M)
        said = [x for x in r.stderr.decode().splitlines() if re.search(": (%s|oauth2_\\w+): " % "|".join(names), x)]
        check(any(re.search((r"" if "masters:" in want else r"telling\.cf:[23]: ") + want, x) for x in said) if want else not said, "%s: %s" % (line, said))


main()
