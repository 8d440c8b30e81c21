#!/usr/bin/env python3
# Thunderbird at our IMAP and submission: an account, INBOX read, a message moved, a draft saved, a flag and a new message heard of while
# it idles, a letter sent; and at our POP3, by an app password, leaving messages on the server. Its screenshots are left in build/screens.
# timeout: 600
import imaplib
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import *
from desktop import desktop_env, desktop_program, screens
from marionette import Thunderbird
from stack import Stack

ME, PASSWORD = "u0@example.com", "pass"
N = 30
PREFS = {
    "app.update.enabled": False, "app.donation.eoy.url": "", "datareporting.policy.dataSubmissionEnabled": False,
    "mail.provider.suppress_dialog_on_startup": True, "mail.rights.version": 1, "mailnews.start_page.enabled": False,
    "mail.spotlight.firstRunDone": True, "mail.winsearch.firstRunDone": True, "network.proxy.type": 0,
    "mail.shell.checkDefaultClient": False, "mailnews.database.global.indexer.enabled": False,
    "mail.biff.play_sound": False, "mail.biff.show_alert": False, "mailnews.mark_message_read.delay": False,
    "mail.server.default.use_condstore": True, "mail.server.default.autosync_offline_stores": True,
    "mail.inappnotifications.enabled": False, "app.normandy.enabled": False, "extensions.update.enabled": False,
}
HEAD = r"""
const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const until = async (what, f) => {
  for (let i = 0; i < 400; i++) {
    try { let v = await f(); if (v) return v; } catch (e) { if (i == 399) throw e; }
    await new Promise(r => setTimeout(r, 100));
  }
  throw new Error("timed out: " + what);
};
const root = () => MailServices.accounts.accounts.map(a => a.incomingServer).find(s => s.type == "imap").rootFolder;
const folder = name => name == "INBOX" ? root().getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox)
                                       : root().subFolders.find(f => f.name == name);
const messages = f => [...f.msgDatabase.enumerateMessages()];
const pane = () => Services.wm.getMostRecentWindow("mail:3pane").document.getElementById("tabmail").currentAbout3Pane;
"""
_here = []


def stack():
    if not _here:
        s = Stack(tmp("s"), users=[ME, "u1@example.com", "u2@example.com"]).start()
        at_end(s.stop)
        m = other(s)
        for name in ("Archive", "Drafts", "Sent"):
            m.create(name)
            m.subscribe(name)
        for i in range(1, N + 1):
            equal(m.append("INBOX", "", None, b"From: Ann <ann@example.com>\r\nTo: u0@example.com\r\nMessage-ID: <%d@x>\r\n"
                           b"Date: Mon, 7 Feb 2022 10:%02d:00 +0000\r\nSubject: letter %d\r\nMIME-Version: 1.0\r\n"
                           b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
                           b"<p>This is the <b>text</b> of letter %d: \xc3\xa4\xc3\xb6\xc3\xbc</p>\r\n--b\r\n"
                           b"Content-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nattached\r\n"
                           b"--b--\r\n" % (i, i, i, i))[0], "OK", "APPEND")
        m.logout()
        _here.append(s)
    return _here[0]


def other(s=None):
    m = imaplib.IMAP4_SSL("127.0.0.1", (s or stack()).ports["imaps"])
    m.login(ME, PASSWORD)
    return m


def ids(folder, what=b"MESSAGE-ID"):
    m = other()
    is_empty = m.select(folder, readonly=True)[1] == [b"0"]
    got = [] if is_empty else m.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (%s)])" % what.decode())[1]
    m.logout()
    return {p[1].strip().partition(b": ")[2].decode(): p[0].decode() for p in got if isinstance(p, tuple)}


def run_through(tb, shot):
    s = stack()
    with open(s.cert_file) as f:
        cert = "".join(line for line in f if "-----" not in line).replace("\n", "")
    tb.js(HEAD + """
        let cert = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).constructX509FromBase64(args[4]);
        for (let port of [args[2], args[3]])
            Cc["@mozilla.org/security/certoverride;1"].getService(Ci.nsICertOverrideService)
                .rememberValidityOverride("localhost", port, {}, cert, false);
        let server = MailServices.accounts.createIncomingServer(args[0], "localhost", "imap");
        server.port = args[2]; server.socketType = 3; server.authMethod = 3; server.password = args[1]; server.prettyName = args[0];
        let out = MailServices.outgoingServer.createServer("smtp");
        out.QueryInterface(Ci.nsISmtpServer);
        out.hostname = "localhost"; out.port = args[3]; out.socketType = 3; out.authMethod = 3; out.username = args[0];
        out.password = args[1];
        MailServices.outgoingServer.defaultServer = out;
        let id = MailServices.accounts.createIdentity();
        id.email = args[0]; id.fullName = "Nought"; id.smtpServerKey = out.key; id.composeHtml = false; id.valid = true;
        let account = MailServices.accounts.createAccount();
        account.addIdentity(id); account.incomingServer = server; MailServices.accounts.defaultAccount = account;
        server.valid = true;
        server.performExpand(null);
    """, ME, PASSWORD, s.ports["imaps"], s.ports["submissions"], cert)
    names = tb.js(HEAD + """
        await until("folders", () => folder("INBOX") && folder("Archive") && folder("Drafts"));
        return root().subFolders.map(f => f.name)""")
    log("folders: %s" % names)

    # INBOX, as somebody would look at it.
    got = tb.js(HEAD + """
        let inbox = folder("INBOX");
        await until("the window", () => pane() && pane().displayFolder);
        pane().displayFolder(inbox.URI);
        await until("messages", () => messages(inbox).length == args[0]);
        return messages(inbox).map(h => h.mime2DecodedSubject)""", N)
    equal(sorted(got), sorted("letter %d" % i for i in range(1, N + 1)), "subjects in Thunderbird's INBOX")
    tb.js(HEAD + """
        let tree = await until("rows", () => pane().threadTree && pane().gDBView && pane().gDBView.rowCount == args[0] &&
                               pane().threadTree);
        let row = [...Array(args[0]).keys()].find(i => pane().gDBView.getMsgHdrAt(i).mime2DecodedSubject == "letter 3");
        tree.selectedIndex = row; tree.dispatchEvent(new (pane().CustomEvent)("select"));
        await until("\\\\Seen", () => pane().gDBView.getMsgHdrAt(row).isRead);
        await new Promise(r => setTimeout(r, 1500))""", N)
    tb.screenshot(shot("inbox"))
    wait_for(lambda: "\\Seen" in ids("INBOX")["<3@x>"], 20, "\\Seen at the server")
    text = tb.js(HEAD + """
        let hdr = messages(folder("INBOX")).find(h => h.messageId == "7@x");
        const { MsgHdrToMimeMessage } = ChromeUtils.importESModule("resource:///modules/gloda/MimeMessage.sys.mjs");
        let m = await new Promise(r => MsgHdrToMimeMessage(hdr, null, (h, mm) => r(mm), true, { partsOnDemand: false }));
        return [m.coerceBodyToPlaintext(folder("INBOX")), m.allUserAttachments.map(a => a.name)]""")
    check("text of letter 7: äöü" in text[0].replace("\n", " "), "it read %r" % text)
    equal(text[1], ["a.txt"], "attachments")

    # A message moved.
    tb.js(HEAD + """
        let inbox = folder("INBOX"), to = folder("Archive");
        let hdr = messages(inbox).find(h => h.messageId == "5@x");
        await new Promise((ok, no) => MailServices.copy.copyMessages(inbox, [hdr], to, true,
            { onStartCopy() {}, onProgress() {}, setMessageKey() {}, getMessageId() {},
              onStopCopy(rc) { rc == 0 ? ok() : no(new Error("copy " + rc)); } }, null, false))""")
    wait_for(lambda: "<5@x>" in ids("Archive") and "<5@x>" not in ids("INBOX"), 30, "the message in Archive alone")

    # A draft saved.
    tb.js(HEAD + """
        let p = Cc["@mozilla.org/messengercompose/composeparams;1"].createInstance(Ci.nsIMsgComposeParams);
        p.composeFields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
        p.composeFields.to = "u1@example.com"; p.composeFields.subject = "a draft"; p.composeFields.body = "not yet done";
        p.type = Ci.nsIMsgCompType.New; p.format = Ci.nsIMsgCompFormat.PlainText;
        p.identity = MailServices.accounts.defaultAccount.defaultIdentity;
        MailServices.compose.OpenComposeWindowWithParams(null, p);
        let win = await until("the compose window", () => { let w = Services.wm.getMostRecentWindow("msgcompose");
            return w && w.gMsgCompose && w.composeEditorReady && w; });
        win.SaveAsDraft();
        await until("the draft", () => { folder("Drafts").updateFolder(null); return messages(folder("Drafts")).length == 1; })""")
    tb.screenshot(shot("draft"))
    wait_for(lambda: "a draft" in ids("Drafts", b"SUBJECT"), 30, "the draft at the server")
    check("\\Draft" in ids("Drafts", b"SUBJECT")["a draft"], "it is not \\Draft: %r" % ids("Drafts", b"SUBJECT"))

    # Sent.
    tb.js(HEAD + """
        let win = Services.wm.getMostRecentWindow("msgcompose");
        win.goDoCommand("cmd_sendNow");
        await until("sent", () => !Services.wm.getMostRecentWindow("msgcompose"))""")
    u1 = imaplib.IMAP4_SSL("127.0.0.1", s.ports["imaps"])
    u1.login("u1@example.com", "pass")
    wait_for(lambda: u1.select("INBOX")[1] == [b"1"], 30, "the letter at u1's")
    u1.logout()
    wait_for(lambda: "a draft" in ids("Sent", b"SUBJECT"), 30, "a copy in Sent")
    wait_for(lambda: not ids("Drafts", b"SUBJECT"), 30, "no draft any more")

    # While it idles at INBOX, somebody else works.
    m = other()
    m.append("INBOX", "", None, b"From: ann@example.com\r\nMessage-ID: <new@x>\r\nSubject: brand new\r\n\r\nx\r\n")
    m.select("INBOX")
    m.store("1", "+FLAGS", "(\\Flagged)")
    m.store("2", "+FLAGS", "(\\Deleted)")
    m.expunge()
    m.logout()
    tb.js(HEAD + """
        let inbox = folder("INBOX");
        await until("news", () => { let all = messages(inbox);
            return all.some(h => h.messageId == "new@x") && !all.some(h => h.messageId == "2@x") &&
                   all.find(h => h.messageId == "1@x").isFlagged; });
        await new Promise(r => setTimeout(r, 500))""")
    tb.screenshot(shot("news"))


@case
def thunderbird():
    env, where = desktop_env(tmp("home")), screens("thunderbird")
    with Thunderbird(desktop_program("usr/lib/thunderbird/thunderbird", "thunderbird"), env, tmp("tb"), PREFS) as tb:
        log("Thunderbird %s" % tb.js("return Services.appinfo.version"))
        try:
            run_through(tb, lambda name: os.path.join(where, name + ".png"))
        except Failed:
            try:
                tb.screenshot(os.path.join(where, "failed.png"))
            except Failed as e:
                log(str(e))
            raise


def run_pop3(tb, shot):
    """An account that leaves messages on the server; they come once, also when the server has been started anew, and new ones too."""
    s = stack()
    user = "u2@example.com"
    password = s.postern("user", "app-password", "add", "--label", "Thunderbird", "--services", "pop3", user).split("\n")[0].strip()

    def append(first, n):
        m = imaplib.IMAP4_SSL("127.0.0.1", s.ports["imaps"])
        m.login(user, PASSWORD)
        for i in range(first, first + n):
            m.append("INBOX", "", None, b"From: ann@example.com\r\nMessage-ID: <p%d@x>\r\nSubject: letter %d\r\n\r\n.dot %d\r\n" % (i, i, i))
        m.logout()

    append(1, N)
    with open(s.cert_file) as f:
        cert = "".join(line for line in f if "-----" not in line).replace("\n", "")
    tb.js(HEAD + """
        let cert = Cc["@mozilla.org/security/x509certdb;1"].getService(Ci.nsIX509CertDB).constructX509FromBase64(args[3]);
        Cc["@mozilla.org/security/certoverride;1"].getService(Ci.nsICertOverrideService)
            .rememberValidityOverride("localhost", args[2], {}, cert, false);
        let server = MailServices.accounts.createIncomingServer(args[0], "localhost", "pop3");
        server.port = args[2]; server.socketType = 3; server.authMethod = 3; server.password = args[1]; server.prettyName = args[0];
        server.QueryInterface(Ci.nsIPop3IncomingServer);
        server.leaveMessagesOnServer = true; server.deleteMailLeftOnServer = true;
        let id = MailServices.accounts.createIdentity();
        id.email = args[0]; id.valid = true;
        let account = MailServices.accounts.createAccount();
        account.addIdentity(id); account.incomingServer = server; MailServices.accounts.defaultAccount = account;
        server.valid = true;""", user, password, s.ports["pop3s"], cert)
    fetch = HEAD.replace('"imap"', '"pop3"') + """
        let server = MailServices.accounts.accounts.map(a => a.incomingServer).find(s => s.type == "pop3");
        let inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
        await new Promise((ok, no) => MailServices.pop3.GetNewMail(null, { OnStartRunningUrl() {},
            OnStopRunningUrl(url, rc) { rc == 0 ? ok() : no(new Error("GetNewMail " + rc)); } }, inbox, server));
        return messages(inbox).map(h => h.mime2DecodedSubject)"""

    def visits():
        return re.findall(r"pop3\(%s\).*retr=(\d+)/" % re.escape(user), s.log())

    def get(want, fetched):
        before = len(visits())
        equal(sorted(tb.js(fetch)), sorted("letter %d" % i for i in range(1, want + 1)), "subjects")
        wait_for(lambda: len(visits()) > before, 20, "the session's end in the log")
        equal(int(visits()[-1]), fetched, "messages fetched")

    get(N, N)
    get(N, 0)
    append(N + 1, 2)
    get(N + 2, 2)
    tb.screenshot(shot("pop3"))
    s.process.stop(timeout_s=30)
    s.start()
    get(N + 2, 0)
    check("method=" in s.log() and "user=<%s>" % user in s.log(), "no log-in")


@case
def thunderbird_pop3():
    env, where = desktop_env(tmp("home-pop3")), screens("thunderbird")
    with Thunderbird(desktop_program("usr/lib/thunderbird/thunderbird", "thunderbird"), env, tmp("tb-pop3"), PREFS) as tb:
        run_pop3(tb, lambda name: os.path.join(where, name + ".png"))


main()
