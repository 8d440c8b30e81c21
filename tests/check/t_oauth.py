#!/usr/bin/env python3
# OAUTHBEARER and XOAUTH2: tokens that a provider says are good, or a key does; at every door, by raw exchanges and by curl;
# and a provider that is away, slow, or lies.
# timeout: 300
import hashlib
import hmac
import json
import os
import re
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from authdoor import Door, b64
from certs import Authority
from harness import *
from oauthprovider import CLIENT, LIES, ODD, SECRET, Provider, Signer, b64url
from stack import Stack

USER, OTHER = "email1@example.com", "email2@example.com"
STARRED = "email1*u0@example.com"
TLS = ssl._create_unverified_context()
_made = {}


def once(f):
    def get():
        if f.__name__ not in _made:
            _made[f.__name__] = f()
        return _made[f.__name__]
    return get


@once
def authority():
    return Authority(tmp("ca"))


@once
def provider():
    p = Provider(authority().issue("localhost"))
    at_end(p.stop)
    return p


BASE = ["auth_mechanisms = plain oauthbearer xoauth2", "auth_failure_delay = 0", "oauth2_scope = mail",
        "oauth2_openid_configuration_url = https://id.example.com/.well-known/openid-configuration"]


def asking(*lines):
    """Configuration of who asks the provider."""
    return BASE + ["oauth2_tls_ca_cert_file = " + authority().pem, "oauth2_timeout = 2s"] + list(lines)


def posting(*lines):
    with open(tmp("secret"), "w") as f:
        f.write(SECRET + "\n")
    return asking("oauth2_introspection_mode = post", "oauth2_introspection_url = " + provider().url("introspect"),
                  "oauth2_client_id = " + CLIENT, "oauth2_client_secret = <" + tmp("secret"), *lines)


@once
def stack():
    s = Stack(tmp("s"), users=["u0@example.com", STARRED], extra_conf=posting()).start()
    at_end(s.stop)
    return s


def change(lines):
    """Another configuration for the one stack."""
    if stack().extra_conf == lines:
        return
    stack().extra_conf = lines
    stack().write_main_cf()
    before = stack().log().count("reload")
    stack().postern("reload")
    wait_for(lambda: stack().log().count("reload") > before, 10, "the reload in the log")
    time.sleep(0.3)  # each daemon has it a moment later


def door(proto):
    return Door("smtp", stack().ports["submissions"], tls=TLS) if proto == "smtp" else Door(proto, stack().ports[proto])


def bearer(user, token):
    return b64(b"n,a=%s,\1host=localhost\1port=143\1auth=Bearer %s\1\1" % (user.encode(), token.encode()))


def xoauth2(user, token):
    return b64(b"user=%s\1auth=Bearer %s\1\1" % (user.encode(), token.encode()))


EXCHANGES = {"OAUTHBEARER": (bearer, b64(b"\1")), "XOAUTH2": (xoauth2, b"")}


def log_in(proto, mech, user, token):
    """("ok", None); or what it was in the end, and what the challenge before that said."""
    make, dummy = EXCHANGES[mech]
    d = door(proto)
    got = d.steps(mech, initial=make(user, token))
    said = None
    if got[0] == "go":
        said = json.loads(got[1])
        d.say(dummy)
        got = d.answer()
    d.close()
    return got[0], said


def logged(text, timeout_s=5):
    wait_for(lambda: re.search(text, stack().log()), timeout_s, "log line %s" % text)


def token(claims, name=None):
    name = name or b64url(os.urandom(24))
    provider().tokens[name] = claims
    return name


def mail(user=USER, **more):
    return {"email": user, "scope": "openid mail", **more}


# ------------------------------------------------------------------------------------------ asking by POST


@case
def a_good_token_opens_every_door():
    change(posting())
    for proto in ("imap", "pop3", "smtp"):
        for mech in EXCHANGES:
            equal(log_in(proto, mech, USER, token(mail())), ("ok", None), "%s %s" % (proto, mech))
    method, target, fields, body = provider().asked[-1]
    check("token_type_hint=access_token" in body and fields["accept"] == "application/json", "the question: %r" % body)


@case
def a_token_makes_nobody_a_master():
    """Not even of who is one; and a letter that parts names elsewhere is one of the name."""
    for master in (USER, STARRED, "u0@example.com"):
        change(posting("auth_master_user_separator = *", "auth_master_users = inline:{%s=x}" % master))
        for mech in EXCHANGES:
            equal(log_in("imap", mech, STARRED, token(mail(STARRED))), ("ok", None), "%s: the whole name" % mech)
            logged("Login: user=<%s>, method=%s" % (re.escape(STARRED), mech))
            equal(log_in("imap", mech, STARRED, token(mail("u0@example.com")))[0], "no", "%s: the token of a part" % mech)
            equal(log_in("imap", mech, STARRED, token(mail(USER)))[0], "no", "%s: the token of the other" % mech)


@case
def curl_logs_in():
    ports, t = stack().ports, token(mail())
    for url in ("imap://127.0.0.1:%d/INBOX" % ports["imap"], "imaps://127.0.0.1:%d/INBOX" % ports["imaps"],
                "pop3://127.0.0.1:%d/" % ports["pop3"], "pop3s://127.0.0.1:%d/" % ports["pop3s"]):
        for mech in EXCHANGES:
            r = run(["curl", "-sSkv", "--login-options", "AUTH=" + mech, "--oauth2-bearer", t, "-u", USER + ":", url])
            equal(r.returncode, 0, "curl %s %s: %s" % (mech, url, r.stderr.decode(errors="replace")))
    message = tmp("message")
    with open(message, "w") as f:
        f.write("From: %s\nTo: %s\nSubject: by a token\n\nhello\n" % (USER, USER))
    r = run(["curl", "-sSkv", "--oauth2-bearer", t, "-u", USER + ":", "--mail-from", USER, "--mail-rcpt", USER, "-T", message,
             "smtps://127.0.0.1:%d/client.example.net" % ports["submissions"]])
    equal(r.returncode, 0, "curl smtps: %s" % r.stderr.decode(errors="replace"))
    logged(r"imap-login: Login: user=<email1@example\.com>, method=OAUTHBEARER")
    logged(r"pop3-login: Login: user=<email1@example\.com>, method=XOAUTH2")
    logged(r"sasl_method=OAUTHBEARER, sasl_username=email1@example\.com")
    bad = run(["curl", "-sSk", "--oauth2-bearer", "nosuchtoken", "-u", USER + ":", "imap://127.0.0.1:%d/INBOX" % ports["imap"]])
    equal(bad.returncode, 67, "curl with a bad token")


@case
def msmtp_logs_in():
    change(posting())
    ports, t = stack().ports, token(mail())
    for mech in ("oauthbearer", "xoauth2"):
        r = run([need("msmtp"), "--file=/dev/null", "--host=localhost", "--port=%d" % ports["submissions"], "--tls=on", "--tls-starttls=off",
                 "--tls-certcheck=off", "--auth=" + mech, "--user=" + USER, "--passwordeval=echo " + t, "--from=" + USER, USER],
                input=b"Subject: by a token\n\nhello\n", env=dict(os.environ, HOME=tmp()))
        equal(r.returncode, 0, "msmtp %s: %s" % (mech, r.stderr.decode(errors="replace")))
        logged("sasl_method=%s, sasl_username=email1@example" % mech.upper())


@case
def a_bad_token_opens_none():
    change(posting())
    now = int(time.time())
    rows = [  # token, name that is said, status in the challenge
        ("nobody's", "nosuchtoken", USER, "invalid_token", "it is not active"),
        ("another's", token(mail(OTHER)), USER, "invalid_token", "of another user: email2@example.com"),
        ("expired", token(mail(exp=now - 3600)), USER, "invalid_token", "it has expired"),
        ("not yet", token(mail(nbf=now + 3600)), USER, "invalid_token", "not valid yet"),
        ("without the scope", token(mail(scope="openid")), USER, "insufficient_scope", "lacks the scope mail"),
        ("a longer scope", token(mail(scope="mailing")), USER, "insufficient_scope", "lacks the scope mail"),
        ("without a name", token({"sub": "1", "scope": "mail"}), USER, "invalid_token", "no email in it, but: active sub scope"),
        ("not verified", token(mail(email_verified=False)), USER, "invalid_token", "not verified the address"),
    ]
    change(posting("auth_verbose = yes"))
    for what, t, user, status, why in rows:
        for mech in EXCHANGES:
            got, said = log_in("imap", mech, user, t)
            equal(got, "no", what)
            equal(said["status"], status if mech == "OAUTHBEARER" else "401", "%s: what %s hears" % (what, mech))
            equal(said["scope"], "mail", "scope")
            if mech == "OAUTHBEARER":
                equal(said["openid-configuration"], "https://id.example.com/.well-known/openid-configuration", "configuration")
        logged(re.escape(why))
    for proto in ("pop3", "smtp"):
        for mech in EXCHANGES:
            got, said = log_in(proto, mech, USER, "nosuchtoken")
            check(got == "no" and said, "%s %s: %s" % (proto, mech, got))
    nobody = token(mail("nobody@example.com"))
    equal(log_in("imap", "XOAUTH2", "nobody@example.com", nobody)[0], "no", "no mailbox here")


@case
def names_are_compared_as_they_are_meant():
    change(posting())
    equal(log_in("imap", "XOAUTH2", "EMAIL1@Example.COM", token(mail()))[0], "ok", "case")
    equal(log_in("imap", "XOAUTH2", USER, token(mail("Email1@EXAMPLE.com")))[0], "ok", "case of the token's")
    d = door("imap")
    equal(d.steps("OAUTHBEARER", initial=b64(b"n,,\1auth=Bearer %s\1\1" % token(mail()).encode()))[0], "ok", "no name: the token's")
    d.close()
    change(posting("oauth2_username_validation_format = %n", "oauth2_username_attribute = preferred_username"))
    t = token({"preferred_username": "email1", "scope": "mail"})
    equal(log_in("imap", "XOAUTH2", USER, t)[0], "ok", "%n")
    equal(log_in("imap", "XOAUTH2", OTHER, t)[0], "no", "%n of another")
    equal(door("imap").steps("OAUTHBEARER", b64(b"\1"), initial=b64(b"n,,\1auth=Bearer %s\1\1" % t.encode()))[0], "no", "no name, and %n")


@case
def exchanges_are_held_to_the_grammar():
    change(posting())
    t = token(mail()).encode()
    good = b"n,a=email1@example.com,\1auth=Bearer " + t + b"\1\1"
    rows = [
        ("OAUTHBEARER", good, "ok"),
        ("OAUTHBEARER", good.replace(b"n,", b"y,", 1), "ok"),
        ("OAUTHBEARER", good.replace(b"Bearer ", b"bearer   "), "ok"),
        ("OAUTHBEARER", good.replace(b"\1auth", b"\1x=y\1auth"), "ok"),
        ("OAUTHBEARER", b"n,a=email1@example.com,\1\1", "go"),
        ("OAUTHBEARER", b"\1", "go"),
        ("OAUTHBEARER", good.replace(b"n,", b"p=tls-unique,", 1), "no"),
        ("OAUTHBEARER", good.replace(b"n,", b"", 1), "no"),
        ("OAUTHBEARER", good.replace(b"a=email1", b"email1"), "no"),
        ("OAUTHBEARER", good.replace(b"email1", b"email=1"), "no"),
        ("OAUTHBEARER", good[:-1], "no"),
        ("OAUTHBEARER", good[:-2], "no"),
        ("OAUTHBEARER", good + b"x", "no"),
        ("OAUTHBEARER", good.replace(b"Bearer", b"Basic"), "no"),
        ("OAUTHBEARER", good[:-1] + b"auth=Bearer x\1\1", "no"),
        ("OAUTHBEARER", good.replace(b"auth=", b"a0=x\1auth="), "no"),
        ("OAUTHBEARER", good.replace(t, t + b"\0"), "no"),
        ("OAUTHBEARER", good.replace(t, t[:8] + b" " + t[8:]), "go"),
        ("OAUTHBEARER", b"user=email1@example.com\1auth=Bearer " + t + b"\1\1", "no"),
        ("OAUTHBEARER", b"", "no"),
        ("XOAUTH2", b"user=email1@example.com\1auth=Bearer " + t + b"\1\1", "ok"),
        ("XOAUTH2", b"user=\1auth=Bearer " + t + b"\1\1", "no"),
        ("XOAUTH2", b"auth=Bearer " + t + b"\1\1", "no"),
        ("XOAUTH2", good, "no"),
        ("XOAUTH2", b"user=email1@example.com\0\1auth=Bearer " + t + b"\1\1", "no"),
    ]
    for mech, response, want in rows:
        d = door("imap")
        equal(d.steps(mech, initial=b64(response) or b"=")[0], want, "%s %r" % (mech, response))
        d.close()
    for proto in ("imap", "pop3", "smtp"):  # the response in a line of its own; the dummy response given up
        d = door(proto)
        equal(d.steps("OAUTHBEARER", b64(good))[0], "ok", proto)
        d = door(proto)
        check(d.steps("OAUTHBEARER", b64(good.replace(t, b"x")), b"*")[0] in ("no", "bad"), "given up at " + proto)
        equal(d.steps("OAUTHBEARER", b64(good))[0], "ok", "and again")
        d = door(proto)
        equal(d.steps("OAUTHBEARER", b64(good.replace(t, b"x")), b64(good))[0], "no", "another token in place of the dummy")
        d.close()


@case
def long_tokens_come_through():
    change(posting())
    for n in (4096, 5500):
        t = token(mail(), "x" * n)
        for proto in ("imap", "pop3", "smtp"):
            for how in ({"initial": xoauth2(USER, t)}, {}):
                d = door(proto)
                equal(d.steps("XOAUTH2", *([] if how else [xoauth2(USER, t)]), **how)[0], "ok", "%d octets at %s, %s" % (n, proto, list(how)))
                d.close()
    for proto in ("imap", "pop3", "smtp"):
        for how in ({"initial": xoauth2(USER, "x" * 20000)}, {}):
            got = door(proto).steps("XOAUTH2", *([] if how else [xoauth2(USER, "x" * 20000)]), **how)[0]
            check(got in ("no", "bad", "gone"), "20,000 octets at %s: %s" % (proto, got))
    equal(log_in("imap", "XOAUTH2", USER, token(mail()))[0], "ok", "afterwards")


@case
def equal_tokens_are_asked_for_once():
    change(posting())
    t = token(mail())
    before = len(provider().asked)
    provider().delay_s = 0.5
    got = []
    threads = [threading.Thread(target=lambda: got.append(log_in("imap", "XOAUTH2", USER, t)[0])) for _ in range(5)]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    provider().delay_s = 0
    equal(got, ["ok"] * 5, "five at once")
    equal(log_in("pop3", "XOAUTH2", USER, t)[0], "ok", "and one more")
    equal(len(provider().asked) - before, 1, "questions")
    equal(log_in("imap", "XOAUTH2", OTHER, t)[0], "no", "another name with a token that is kept")
    short = token(mail(exp=int(time.time()) + 2))
    equal(log_in("imap", "XOAUTH2", USER, short)[0], "ok", "a short one")
    before = len(provider().asked)
    wait_for(lambda: log_in("imap", "XOAUTH2", USER, short) and len(provider().asked) > before, 10, "it is asked for again at its end")
    change(posting("oauth2_cache_ttl = 0"))
    for _ in range(2):
        equal(log_in("imap", "XOAUTH2", USER, t)[0], "ok", "without a cache")
    del provider().tokens[t]
    equal(log_in("imap", "XOAUTH2", USER, t)[0], "no", "revoked")


# ------------------------------------------------------------------------------------------ a provider in trouble


@case
def a_provider_that_lies_is_no_wrong_password():
    change(posting("oauth2_timeout = 1s"))
    for lie in LIES:
        t = token(mail())
        provider().lie = lie
        got = log_in("imap", "OAUTHBEARER", USER, t)
        provider().lie = None
        equal(got, ("temp", None), "a provider that lies: " + lie)
        equal(log_in("imap", "OAUTHBEARER", USER, t), ("ok", None), "and comes to its senses: " + lie)
    for proto in ("pop3", "smtp"):
        provider().lie = "500"
        equal(log_in(proto, "XOAUTH2", USER, token(mail())), ("temp", None), proto)
        provider().lie = None
    logged(r"oauth: .*it answers 302 \(a redirect")
    logged(r"no answer in time")
    equal(len(stack().pids_of("oauthd")), 1, "oauthd goes on")


@case
def an_odd_provider_is_understood():
    change(posting())
    for odd in ODD:
        provider().lie = odd
        got = log_in("imap", "OAUTHBEARER", USER, token(mail()))
        provider().lie = None
        equal(got, ("ok", None), odd)


@case
def a_slow_provider_holds_up_nobody_else():
    change(posting())
    provider().delay_s = 1
    slow = threading.Thread(target=log_in, args=("imap", "XOAUTH2", USER, token(mail())))
    slow.start()
    check(door("imap").logs_in(b"u0@example.com", b"pass"), "a password meanwhile")
    check(slow.is_alive(), "the answer came while the provider was asked")
    slow.join()
    provider().delay_s = 0


@case
def who_it_is_that_answers_is_checked():
    for what, certificate, want in (
            ("expired", authority().issue("localhost", days=-1), "certificate has expired"),
            ("of another name", authority().issue("other.example.com"), "hostname mismatch"),
            ("of another authority", Authority(tmp("ca2")).issue("localhost"), "not trusted")):
        p = Provider(certificate)
        p.tokens["abc"] = mail()
        change(posting("oauth2_introspection_url = " + p.url("introspect")))
        equal(log_in("imap", "XOAUTH2", USER, "abc"), ("temp", None), what)
        logged(want)
        equal(p.asked, [], "nothing was said to it: " + what)
        p.stop()
    change(posting("oauth2_introspection_url = https://localhost:%d/" % free_port()))
    equal(log_in("imap", "XOAUTH2", USER, "abc"), ("temp", None), "nobody there")
    change(posting("oauth2_client_secret = wrong"))
    equal(log_in("imap", "XOAUTH2", USER, "abc"), ("temp", None), "a wrong secret is ours to mend")
    logged("oauth2_client_secret is wrong")


# ------------------------------------------------------------------------------------------ the other ways to ask


@case
def userinfo_and_tokeninfo():
    t, wrong = token(mail()), "nosuchtoken"
    rows = {
        "auth": ["oauth2_introspection_mode = auth", "oauth2_introspection_url = " + provider().url("userinfo")],
        "get": ["oauth2_introspection_mode = get", "oauth2_introspection_url = " + provider().url("get?t=")],
        "tokeninfo": ["oauth2_tokeninfo_url = " + provider().url("tokeninfo?t=")],
    }
    for what, lines in rows.items():
        change(asking(*lines))
        equal(log_in("imap", "OAUTHBEARER", USER, t), ("ok", None), what)
        equal(log_in("imap", "OAUTHBEARER", USER, wrong)[0], "no", what)
        equal(log_in("imap", "OAUTHBEARER", OTHER, t)[0], "no", what)
    change(asking(*rows["tokeninfo"], *rows["auth"], "oauth2_audience = mailapp other"))
    both = token({"email": USER, "tokeninfo": {"aud": "mailapp", "scope": "mail", "expires_in": "3599"}})
    equal(log_in("imap", "OAUTHBEARER", USER, both), ("ok", None), "scope from one, name from the other")
    equal([a[1].partition("?")[0] for a in provider().asked[-2:]], ["/tokeninfo", "/userinfo"], "who was asked")
    theirs = token({"email": USER, "tokeninfo": {"aud": "game", "scope": "mail"}})
    equal(log_in("imap", "OAUTHBEARER", USER, theirs)[0], "no", "a token that was made for something else")
    plain = Provider(host="127.0.0.1")
    plain.tokens["abc"] = mail()
    change(asking("oauth2_introspection_mode = auth", "oauth2_introspection_url = " + plain.url("userinfo")))
    equal(log_in("imap", "OAUTHBEARER", USER, "abc"), ("ok", None), "http on this host")


# ------------------------------------------------------------------------------------------ signed tokens


def keys_file(*signers):
    with open(tmp("jwks.json.new"), "w") as f:
        json.dump({"keys": [s.jwk for s in signers]}, f)
    os.rename(tmp("jwks.json.new"), tmp("jwks.json"))
    return tmp("jwks.json")


@once
def signers():
    return {a: Signer(tmp("keys"), a, "key-" + a) for a in ("RS256", "PS256", "ES256", "EdDSA")}


def local(*lines):
    return BASE + ["oauth2_introspection_mode = local", "oauth2_jwks_file = " + tmp("jwks.json"),
                   "oauth2_issuers = https://id.example.com", "oauth2_client_id = mailapp", "auth_verbose = yes"] + list(lines)


def claims(user=USER, **more):
    now = int(time.time())
    return {"iss": "https://id.example.com", "aud": ["x", "mailapp"], "iat": now, "exp": now + 300, **mail(user), **more}


@case
def signed_tokens():
    keys_file(*signers().values())
    change(local())
    for alg, s in signers().items():
        for proto in ("imap", "pop3", "smtp"):
            equal(log_in(proto, "OAUTHBEARER", USER, s.token(claims())), ("ok", None), "%s at %s" % (alg, proto))
    s, now = signers()["RS256"], int(time.time())
    good = s.token(claims())
    head, body, signature = good.split(".")

    def without(*names):
        return {k: v for k, v in claims().items() if k not in names}

    bare = b64url(b'{"alg":"RS256"}') + "." + body
    hs = b64url(json.dumps({"alg": "HS256", "kid": s.kid}).encode()) + "." + body
    hs += "." + b64url(hmac.new(s.pem, hs.encode(), hashlib.sha256).digest())
    rows = [
        ("within the grace", s.token(claims(exp=now - 30)), "ok"),
        ("azp in place of aud", s.token(claims(aud="else", azp="mailapp")), "ok"),
        ("a fraction", s.token(claims(exp=now + 100.5)), "ok"),
        ("no kid", bare + "." + b64url(s.sign(bare.encode())), "ok"),
        ("expired", s.token(claims(exp=now - 120)), "no"),
        ("no exp", s.token(without("exp")), "no"),
        ("not yet", s.token(claims(nbf=now + 120)), "no"),
        ("from the future", s.token(claims(iat=now + 120)), "no"),
        ("another issuer", s.token(claims(iss="https://evil.example.com")), "no"),
        ("no issuer", s.token(without("iss")), "no"),
        ("for somebody else", s.token(claims(aud="else", azp="game")), "no"),
        ("for nobody", s.token(without("aud")), "no"),
        ("no scope", s.token(without("scope")), "no"),
        ("another user", s.token(claims(OTHER)), "no"),
        ("changed", ".".join([head, b64url(json.dumps(claims(OTHER)).encode()), signature]), "no"),
        ("alg none", b64url(b'{"alg":"none"}') + "." + body + ".", "no"),
        ("HS256 with the public key", hs, "no"),
        ("ES256 by the RSA key", s.token(claims(), alg="ES256"), "no"),
        ("RS384", s.token(claims(), alg="RS384"), "no"),
        ("an unknown kid", s.token(claims(), kid="other"), "no"),
        ("crit", s.token(claims(), crit=["exp"]), "no"),
        ("a logout token", s.token(claims(), typ="logout+jwt"), "no"),
        ("no signature", head + "." + body + ".", "no"),
        ("two parts", head + "." + body, "no"),
        ("four", good + ".x", "no"),
        ("no JSON", s.token("joe"), "no"),
    ]
    for what, t, want in rows:
        equal(log_in("imap", "OAUTHBEARER", USER, t)[0], want, what)
    equal(log_in("imap", "OAUTHBEARER", OTHER, s.token(claims(OTHER)))[0], "ok", "and the other's own")
    logged("alg HS256 is none for public keys")
    logged("alg none is none for public keys")


@case
def keys_come_and_go():
    old, new = signers()["ES256"], Signer(tmp("keys"), "ES256", "key-new")
    keys_file(old)
    change(local())
    wait_for(lambda: log_in("imap", "XOAUTH2", USER, old.token(claims()))[0] == "ok", 10, "the old key")
    equal(log_in("imap", "XOAUTH2", USER, new.token(claims()))[0], "no", "a key that is not there yet")
    keys_file(new)
    wait_for(lambda: log_in("imap", "XOAUTH2", USER, new.token(claims()))[0] == "ok", 10, "the new key")
    equal(log_in("imap", "XOAUTH2", USER, old.token(claims()))[0], "no", "the key that is gone")
    with open(tmp("jwks.json"), "w") as f:
        f.write("{ half")
    logged_before = stack().log().count("the keys of before hold")
    wait_for(lambda: log_in("imap", "XOAUTH2", USER, new.token(claims()))[0] == "ok" and
             stack().log().count("the keys of before hold") > logged_before, 10, "a broken file in the log")
    equal(log_in("imap", "XOAUTH2", USER, new.token(claims()))[0], "ok", "and the keys of before")


# ------------------------------------------------------------------------------------------ when, and who


@case
def tokens_are_not_for_everybody_to_read():
    change(posting("login_trusted_networks ="))
    d = Door("smtp", stack().ports["submission"])  # no TLS, and it must be
    got = d.steps("XOAUTH2", xoauth2(USER, token(mail())))
    check(got[0] == "bad", "AUTH in clear text: %r" % (got,))
    d.close()


@case
def oauthd_runs_only_where_it_is_wanted():
    change(BASE[1:2])
    wait_for(lambda: not stack().pids_of("oauthd"), 10, "oauthd is gone")
    d = door("imap")
    check(d.steps("OAUTHBEARER", initial=bearer(USER, "x"))[0] in ("no", "bad"), "a mechanism that is not offered")
    check(not stack().pids_of("oauthd"), "oauthd runs")
    change(posting())
    equal(log_in("imap", "OAUTHBEARER", USER, token(mail())), ("ok", None), "and again")
    pid = stack().pids_of("oauthd")[0]
    os.kill(pid, 9)
    wait_for(lambda: log_in("imap", "OAUTHBEARER", USER, token(mail())) == ("ok", None), 10, "after oauthd was killed")
    for secret in (SECRET, "Bearer "):
        check(secret not in stack().log(), "a secret in the log")


CHECKED = [  # lines, what `postern check` says: "" nothing about them
    (["auth_mechanisms = plain"], ""),
    (["auth_mechanisms = plain", "oauth2_introspection_mode = post"], "warning: oauth2_introspection_mode: nobody asks"),
    (["auth_mechanisms = xoauth2"], "error: oauth2_introspection_url: .*nobody says what a token is worth"),
    (["oauth2_introspection_mode = put"], 'error: oauth2_introspection_mode: "put" is none of'),
    (["oauth2_introspection_url = https://id.example.com/"], "error: oauth2_introspection_mode: how is"),
    (["oauth2_introspection_mode = post", "oauth2_introspection_url = https://id.example.com/"], ""),
    (["oauth2_introspection_mode = post", "oauth2_introspection_url = http://id.example.com/"],
     "error: oauth2_introspection_url: http sends tokens for everybody to read"),
    (["oauth2_introspection_mode = post", "oauth2_introspection_url = http://127.0.0.1:8080/"], ""),
    (["oauth2_introspection_mode = post", "oauth2_introspection_url = id.example.com"], "error: oauth2_introspection_url: no URL"),
    (["oauth2_tokeninfo_url = https://id.example.com/x y", "oauth2_scope = mail"], "error: oauth2_tokeninfo_url: no URL"),
    (["oauth2_tokeninfo_url = https://id.example.com/x"], "warning: oauth2_audience: a token that the provider made for any other"),
    (["oauth2_tokeninfo_url = https://id.example.com/x", "oauth2_scope = mail"], ""),
    (["oauth2_introspection_mode = local", "oauth2_scope = mail"], "error: oauth2_jwks_file: mode local has no keys"),
    (["oauth2_introspection_mode = local", "oauth2_scope = mail", "oauth2_jwks_file = /nowhere"], "error: oauth2_jwks_file: .*No such file"),
    (["oauth2_introspection_mode = local", "oauth2_scope = mail", "oauth2_jwks_file = TMP/bad.json"],
     "error: oauth2_jwks_file: .*no JSON: .* at octet 3"),
    (["oauth2_introspection_mode = local", "oauth2_scope = mail", "oauth2_jwks_file = TMP/secret.json"],
     "warning: oauth2_jwks_file: has secret keys"),
    (["oauth2_introspection_mode = local", "oauth2_scope = mail", "oauth2_jwks_file = TMP/good.json"], ""),
    (["oauth2_introspection_mode = post", "oauth2_introspection_url = https://id.example.com/", "oauth2_client_id = x",
      "oauth2_client_secret = </nowhere"], "error: oauth2_client_secret: .*No such file"),
    (["oauth2_introspection_mode = post", "oauth2_introspection_url = https://id.example.com/", "oauth2_client_secret = x"],
     "error: oauth2_client_secret: is nobody's"),
    (["oauth2_introspection_mode = post", "oauth2_introspection_url = https://id.example.com/", "oauth2_tls_ca_cert_file = /nowhere"],
     "error: oauth2_tls_ca_cert_file: .*No such file"),
    (["oauth2_tokeninfo_url = https://id.example.com/x", "oauth2_scope = mail", "oauth2_active_value = 1"], "error: oauth2_active_value"),
    (["oauth2_tokeninfo_url = https://id.example.com/x", "oauth2_scope = mail", "oauth2_username_validation_format = %{nonsense}"],
     "error: oauth2_username_validation_format"),
]


@case
def check_says_what_is_wrong():
    s = signers()["ES256"]
    for name, text in ("bad", "{ half"), ("good", json.dumps(s.jwk)), ("secret", json.dumps({"keys": [{**s.jwk, "d": "AA"}]})):
        with open(tmp(name + ".json"), "w") as f:
            f.write(text)
    for lines, want in CHECKED:
        if not any(line.startswith("auth_mechanisms") for line in lines):
            lines = ["auth_mechanisms = plain oauthbearer"] + lines
        with open(tmp("check.cf"), "w") as f:
            f.write("\n".join(lines).replace("TMP", tmp()) + "\n")
        r = run([program("postern"), "-c", tmp("check.cf"), "check"])
        said = "\n".join(line for line in r.stderr.decode().splitlines() if "oauth2_" in line)
        check(re.search(want, said) if want else not said, "%s: %s" % (lines, said))


main()
