"""A log-in by each door of a Stack with Python's own clients: "OK", or what the server answered."""
import base64
import imaplib
import poplib
import smtplib


def imap(ports, user, password, authzid=None):
    """LOGIN, unquoted as imaplib writes it; with an authorization identity AUTHENTICATE PLAIN."""
    c = imaplib.IMAP4("127.0.0.1", ports["imap"])
    try:
        if authzid is None:
            c.login(user, password)
        else:
            c.authenticate("PLAIN", lambda _: ("%s\0%s\0%s" % (authzid, user, password)).encode())
        return "OK"
    except c.error as e:
        return str(e)
    finally:
        c.shutdown()


def pop3(ports, user, password):
    c = poplib.POP3("127.0.0.1", ports["pop3"], timeout=20)
    try:
        c.user(user)
        c.pass_(password)
        return "OK"
    except poplib.error_proto as e:
        return str(e)
    finally:
        c.close()


def smtp(ports, user, password, authzid="", sender=None, recipient=None):
    """AUTH PLAIN under STARTTLS on the submission port; with a sender the answer is that to MAIL and RCPT."""
    with smtplib.SMTP("127.0.0.1", ports["submission"], timeout=20) as c:
        c.starttls()
        c.ehlo()
        code, text = c.docmd("AUTH PLAIN " + base64.b64encode(("%s\0%s\0%s" % (authzid, user, password)).encode()).decode())
        if code == 235 and sender:
            c.mail(sender)
            code, text = c.rcpt(recipient)
        return "OK" if code in (235, 250) else "%d %s" % (code, text.decode())
