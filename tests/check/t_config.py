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


main()
