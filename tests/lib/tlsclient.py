"""TLS clients of a Stack's listeners, which trust anybody and look at what they are shown."""
import socket
import ssl


def lines_until(f, done):
    while True:
        line = f.readline()
        if not line or done(line):
            return line


def plain(s, port):
    """A connection on which a TLS handshake can begin."""
    sock = socket.create_connection(("127.0.0.1", s.ports[port]), timeout=30)
    if port in ("submissions", "imaps", "pop3s"):
        return sock
    f = sock.makefile("rwb", buffering=0)
    lines_until(f, lambda l: port in ("imap", "pop3") or l[3:4] == b" ")
    if port in ("imap", "pop3"):
        f.write(b"a STARTTLS\r\n" if port == "imap" else b"STLS\r\n")
        lines_until(f, lambda l: l.startswith((b"a OK", b"+OK")))
    else:
        for line in (b"EHLO client.example.net\r\n", b"STARTTLS\r\n"):
            f.write(line)
            lines_until(f, lambda l: l[3:4] == b" ")
    return sock


def context(alpn=(), version=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    if alpn:
        c.set_alpn_protocols(list(alpn))
    if version:
        c.minimum_version = c.maximum_version = version
    return c


def shown(s, port, sni=None):
    with context().wrap_socket(plain(s, port), server_hostname=sni) as t:
        return t.getpeercert(True)
