#!/usr/bin/env python3
# Roundcube at our IMAP and submission, as somebody at a browser uses it: log in, read, search, reply, attach, move. Screenshots are left
# in build/screens.
# timeout: 600
import contextlib
import email
import imaplib
import os
import shutil
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from desktop import desktop_env, desktop_program, screens
from refstack import PACKED, fetch
from stack import Stack
from webdriver import Browser

ME, PASSWORD = "u0@example.com", "pass"
N = 60
EXTENSIONS = ("ctype dom fileinfo iconv intl mbstring pdo pdo_sqlite phar posix simplexml sockets sqlite3 tokenizer xml xmlreader "
              "xmlwriter").split()


def unpacked(path):
    """A path of the packages: links in them are as if they were installed."""
    at = os.path.join(PACKED, path.lstrip("/"))
    while os.path.islink(at):
        to = os.readlink(at)
        at = os.path.join(PACKED, to.lstrip("/")) if to.startswith("/") else os.path.join(os.path.dirname(at), to)
    return at


def copy(path, to):
    """A folder of the packages with what its links lead to."""
    at = unpacked(path)
    if not os.path.exists(at):  # what is installed is not unpacked
        at = os.path.join("/", os.path.relpath(at, PACKED))
    if not os.path.isdir(at):
        if os.path.exists(at):
            shutil.copy(at, to)
        return
    os.makedirs(to, exist_ok=True)
    for name in os.listdir(at):
        copy(os.path.relpath(os.path.join(at, name), PACKED if at.startswith(PACKED) else "/"), os.path.join(to, name))


def start_roundcube(s):
    fetch("roundcube-core", "roundcube-sqlite3", "php-cli", "php-sqlite3", "php-xml", "php-mbstring", "php-intl")
    home = tmp("rc")
    copy("usr/share/roundcube", home)
    for path, _, names in os.walk(home):  # the package's own place
        for name in names:
            if name.endswith(".php"):
                with open(os.path.join(path, name)) as f:
                    text = f.read()
                if "/var/lib/roundcube" in text:
                    with open(os.path.join(path, name), "w") as f:
                        f.write(text.replace("/var/lib/roundcube", home))
    for d in ("logs", "temp", "config"):
        os.makedirs(os.path.join(home, d), exist_ok=True)
    for name in ("defaults.inc.php", "mimetypes.php"):
        copy("etc/roundcube/" + name, os.path.join(home, "config", name))
    with contextlib.closing(sqlite3.connect(os.path.join(home, "rc.db"))) as db, open(os.path.join(home, "SQL", "sqlite.initial.sql")) as f:
        db.executescript(f.read())
    options = "array('ssl' => array('verify_peer' => false, 'verify_peer_name' => false))"
    with open(os.path.join(home, "config", "config.inc.php"), "w") as f:
        f.write("<?php\n$config = array();\n")
        for name, value in (("db_dsnw", "'sqlite:///%s/rc.db?mode=0640'" % home), ("imap_host", "'ssl://localhost:%d'" % s.ports["imaps"]),
                            ("imap_conn_options", options), ("smtp_host", "'ssl://localhost:%d'" % s.ports["submissions"]),
                            ("smtp_conn_options", options), ("smtp_user", "'%u'"), ("smtp_pass", "'%p'"),
                            ("des_key", "'0123456789abcdef01234567'"), ("plugins", "array()"), ("skin", "'elastic'"),
                            ("log_dir", "'%s/logs/'" % home), ("temp_dir", "'%s/temp/'" % home), ("imap_debug", "true"),
                            ("language", "'en_US'"), ("create_default_folders", "true"), ("check_all_folders", "true"),
                            ("session_lifetime", "60"), ("ip_check", "false"), ("layout", "'widescreen'")):
            f.write("$config['%s'] = %s;\n" % (name, value))
        f.write("$config['draft_autosave'] = 0;\n$config['mime_types'] = null;\n")
    port = free_port()
    php = [ref("usr/bin/php8.2"), "-n", "-d", "extension_dir=" + ref("usr/lib/php/20220829")]
    for x in EXTENSIONS:
        if os.path.exists(os.path.join(PACKED, "usr/lib/php/20220829", x + ".so")):
            php += ["-d", "extension=" + x]
    php += ["-d", "include_path=.:" + ref("usr/share/php"), "-d", "date.timezone=UTC", "-d", "session.save_path=" + home,
            "-S", "127.0.0.1:%d" % port, "-t", home]
    p = start(php, name="roundcube", env=dict(ref_env(), ROUNDCUBE_CONFIG_DIR=os.path.join(home, "config"), PHP_CLI_SERVER_WORKERS="4"))
    wait_port(port, 20, p)
    return "http://127.0.0.1:%d/" % port, home


def other(s):
    m = imaplib.IMAP4_SSL("127.0.0.1", s.ports["imaps"])
    m.login(ME, PASSWORD)
    return m


def fill(s):
    m = other(s)
    for name in ("Archive", "Projekte &- Gr&APwA3w-e"):
        m.create('"%s"' % name)
        m.subscribe('"%s"' % name)
    for i in range(1, N + 1):
        to = "needle" if i == 17 else "hay"
        equal(m.append("INBOX", "", None, b"From: =?utf-8?q?J=C3=B6rg?= <u1@example.com>\r\nTo: u0@example.com\r\nMessage-ID: <%d@x>\r\n"
                       b"Date: Mon, 7 Feb 2022 10:%02d:00 +0000\r\nSubject: letter %d\r\nMIME-Version: 1.0\r\n"
                       b"Content-Type: text/plain; charset=utf-8\r\n\r\nThis is letter %d with %s: \xc3\xa4\xc3\xb6\xc3\xbc\r\n"
                       % (i, i % 60, i, i, to.encode()))[0], "OK", "APPEND")
    m.logout()


ROWS = "return [...document.querySelectorAll('#messagelist tbody tr')].map(r => r.innerText)"


def run_through(b, s, at, shot):
    b.open(at)
    b.type("#rcmloginuser", ME)
    b.type("#rcmloginpwd", PASSWORD)
    b.click("#rcmloginsubmit")
    rows = b.wait("let r = (() => { %s })(); return r.length >= 10 && r" % ROWS)
    check(any("letter %d" % N in r for r in rows), "the newest letter is not in the list: %r" % rows[:3])
    b.screenshot(shot("1-list"))

    # Read.
    b.js("let u = rcmail.message_list.get_first_row(); rcmail.message_list.select(u); rcmail.show_message(u, false, false)")
    b.wait("return document.body.innerText.includes('This is letter')")
    b.screenshot(shot("2-read"))
    text = b.js("return document.querySelector('#messagebody').innerText")
    check("äöü" in text, "the text is %r" % text)
    m = other(s)
    m.select("INBOX", readonly=True)
    wait_for(lambda: m.noop() and b"\\Seen" in m.fetch(str(N), "(FLAGS)")[1][0], 20, "\\Seen at the server")

    # Reply with an attachment.
    b.js("rcmail.command('reply')")
    b.wait("return rcmail.env.action == 'compose' && !!document.querySelector('#composebody')")
    b.js("document.querySelector('#composebody').value = 'My answer: \\u00e4\\n' + document.querySelector('#composebody').value")
    attached = tmp("a file.txt")
    with open(attached, "w") as f:
        f.write("attached text\n" * 1000)
    b.js("document.querySelector('input[type=file]').style.display = 'block'")
    b.type("input[type=file]", attached)
    b.wait("return !!document.querySelector('#attachment-list li') && !document.querySelector('#attachment-list li.uploading')")
    b.screenshot(shot("3-reply"))
    b.click("#compose-content .formbuttons button.send")
    u1 = imaplib.IMAP4_SSL("127.0.0.1", s.ports["imaps"])
    u1.login("u1@example.com", "pass")
    wait_for(lambda: u1.select("INBOX")[1] == [b"1"], 40, "the answer at u1's")
    got = email.message_from_bytes(u1.fetch("1", "(BODY[])")[1][0][1])
    parts = [p for p in got.walk() if not p.is_multipart()]
    check("My answer: ä" in parts[0].get_payload(decode=True).decode(), "its text: %r" % parts[0])
    equal((parts[1].get_filename(), parts[1].get_payload(decode=True).decode().replace("\r\n", "\n")), ("a file.txt", "attached text\n" * 1000), "attachment")
    u1.logout()
    wait_for(lambda: m.select("Sent", readonly=True)[1] == [b"1"], 20, "a copy in Sent")
    m.select("INBOX", readonly=True)
    wait_for(lambda: m.noop() and b"\\Answered" in m.fetch(str(N), "(FLAGS)")[1][0], 20, "\\Answered at the server")

    # Search in the bodies.
    b.open(at + "?_task=mail&_mbox=INBOX&_search_text=")
    b.wait("let r = (() => { %s })(); return r.length >= 10" % ROWS)
    b.js("rcmail.env.search_mods = { '*': { text: 1 }, INBOX: { text: 1 } };"
         "document.querySelector('#mailsearchform').value = 'needle'; rcmail.command('search')")
    rows = b.wait("let r = (() => { %s })(); return r.length == 1 && r" % ROWS)
    check("letter 17" in rows[0], "found %r" % rows)
    b.screenshot(shot("4-search"))

    # Move what was found, into a folder whose name needs encoding.
    b.js("rcmail.message_list.select_all(); rcmail.move_messages('Projekte &- Gr&APwA3w-e')")
    wait_for(lambda: m.select('"Projekte &- Gr&APwA3w-e"', readonly=True)[1] == [b"1"], 20, "the message in its folder")
    wait_for(lambda: m.select("INBOX", readonly=True)[1] == [b"%d" % (N - 1)], 20, "INBOX without it")
    b.open(at + "?_task=mail&_mbox=" + "Projekte+%26-+Gr%26APwA3w-e")
    rows = b.wait("let r = (() => { %s })(); return r.length == 1 && r" % ROWS)
    check("letter 17" in rows[0], "in the folder: %r" % rows)
    b.screenshot(shot("5-moved"))

    # Threads and sorting, by our THREAD and SORT.
    b.open(at + "?_task=mail&_mbox=INBOX&_sort=subject_ASC")
    b.wait("let r = (() => { %s })(); return r.length >= 10" % ROWS)
    b.screenshot(shot("6-sorted"))
    m.logout()


@case
def roundcube():
    chromium = desktop_program("usr/lib/chromium/chromium", "chromium", "chromium-driver")
    driver = desktop_program("usr/bin/chromedriver", "chromium-driver")
    s = Stack(tmp("s"), users=[ME, "u1@example.com"]).start()
    at_end(s.stop)
    fill(s)
    at, home = start_roundcube(s)
    where = screens("roundcube")
    with Browser(driver, chromium, desktop_env(tmp("home")), tmp("chromium")) as b:
        try:
            run_through(b, s, at, lambda name: os.path.join(where, name + ".png"))
        except Failed:
            b.screenshot(os.path.join(where, "failed.png"))
            raise
    with open(os.path.join(home, "logs", "imap.log")) as f:
        bad = [line for line in f if " BAD " in line]
    equal(bad, [], "BAD answers to Roundcube")
    errors = os.path.join(home, "logs", "errors.log")
    if os.path.exists(errors):
        with open(errors) as f:
            equal([line for line in f if "IMAP" in line], [], "Roundcube's errors")


main()
