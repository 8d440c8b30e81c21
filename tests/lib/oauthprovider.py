"""An OAuth provider for tests: introspection (RFC 7662), userinfo and tokeninfo over HTTPS, which can be told to lie; and an
issuer of signed tokens (RFC 7515), by openssl(1).

    p = Provider(certificate)
    p.tokens["abc"] = {"email": "joe@example.com"}
    p.url("introspect"), p.asked
    p.lie = "slow"

    k = Signer(tmp("k"), "RS256", "key1")
    k.token({"email": ..., "exp": ...}), k.jwk
"""
import base64
import json
import os
import socket
import ssl
import threading
import time
import urllib.parse

from certs import openssl

CLIENT, SECRET = "postern id", "s%c:ret&x"  # what must be escaped in Basic (RFC 6749 2.3.1)


def http(status, body, *fields):
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    head = ["HTTP/1.1 " + status, "Content-Type: application/json"] + list(fields)
    if not any(f.startswith(("Content-Length", "Transfer-Encoding")) for f in fields):
        head.append("Content-Length: %d" % len(body))
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked(body, size=7):
    parts = [body[i:i + size] for i in range(0, len(body), size)]
    return b"".join(b"%X;x=y\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\nTrailer: x\r\n\r\n"


# What the answer is in place of the right one. None: nothing, and the connection stays.
LIES = {
    "silent": lambda right: None,
    "closes": lambda right: b"",
    "half": lambda right: right[:-5],
    "longer": lambda right: right.replace(b"Content-Length: ", b"Content-Length: 9"),
    "two lengths": lambda right: right.replace(b"\r\n", b"\r\nContent-Length: 1\r\n", 1),
    "length and chunks": lambda right: right.replace(b"\r\n", b"\r\nTransfer-Encoding: chunked\r\n", 1),
    "huge": lambda right: http("200 OK", b"[" + b"0," * 1000000 + b"0]"),
    "huge without a length": lambda right: b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 3000000,
    "huge header": lambda right: b"HTTP/1.1 200 OK\r\nX: " + b"x" * 3000000,
    "endless fields": lambda right: b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300000,
    "redirect": lambda right: http("302 Found", b"", "Location: https://localhost/else"),
    "no JSON": lambda right: http("200 OK", b"<html>Sign in</html>"),
    "half JSON": lambda right: http("200 OK", b'{"active":true,"email":"email1@example.com"'),
    "deep JSON": lambda right: http("200 OK", b'{"a":' * 10000 + b"1" + b"}" * 10000),
    "no HTTP": lambda right: b"220 mail.example.com ESMTP\r\n",
    "500": lambda right: http("500 Oops", {"error": "oops"}),
    "429": lambda right: http("429 Too Many Requests", b""),
    "compressed": lambda right: right.replace(b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1),
    "switches": lambda right: b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + right,
}
# Odd, and right all the same.
ODD = {
    "chunked": lambda right: http("200 OK", chunked(right.partition(b"\r\n\r\n")[2]), "Transfer-Encoding: chunked"),
    "until it closes": lambda right: b"HTTP/1.0 200 OK\r\n\r\n" + right.partition(b"\r\n\r\n")[2],
    "bare LF": lambda right: right.replace(b"\r\n", b"\n"),
    "hints first": lambda right: b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + right,
    "drop by drop": lambda right: [right[i:i + 1] for i in range(len(right))],
}


class Provider:
    def __init__(self, certificate=None, host="localhost"):
        """certificate None: plain HTTP."""
        self.tokens, self.asked, self.lie, self.delay_s, self.host = {}, [], None, 0, host
        self.context = None
        self.use(certificate)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.held = []
        threading.Thread(target=self.accept, daemon=True).start()

    def use(self, certificate):
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate.chain, certificate.key)

    def url(self, path):
        return "http%s://%s:%d/%s" % ("s" if self.context else "", self.host, self.port, path)

    def stop(self):
        self.listener.close()

    def accept(self):
        while True:
            try:
                c = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        try:
            c.settimeout(30)
            if self.context:
                c = self.context.wrap_socket(c, server_side=True)
            self.one(c)
            c.shutdown(socket.SHUT_RDWR)
            c.close()
        except (OSError, ssl.SSLError):
            pass

    def one(self, c):
        f = c.makefile("rb")
        first = f.readline()
        if not first:
            return  # it did not like our certificate
        method, target, _ = first.decode().split()
        fields = {}
        for line in iter(f.readline, b"\r\n"):
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
        body = f.read(int(fields.get("content-length", 0))).decode()
        self.asked.append((method, target, fields, body))
        if self.delay_s:
            time.sleep(self.delay_s)
        out = self.answer(method, target, fields, body)
        if self.lie:
            out = (LIES.get(self.lie) or ODD[self.lie])(out)
        if out is None:
            self.held.append(c)
            time.sleep(20)
            return
        for piece in out if isinstance(out, list) else [out]:
            c.sendall(piece)

    def answer(self, method, target, fields, body):
        path, _, query = target.partition("?")
        if path == "/introspect":
            basic = ":".join(urllib.parse.quote(x, safe="") for x in (CLIENT, SECRET))
            if method != "POST" or fields.get("authorization") != "Basic " + base64.b64encode(basic.encode()).decode():
                return http("401 Unauthorized", {"error": "invalid_client"})
            claims = self.tokens.get(urllib.parse.parse_qs(body, strict_parsing=True)["token"][0])
            return http("200 OK", {"active": False} if claims is None else {"active": True, **claims})
        if path == "/userinfo":
            claims = self.tokens.get(fields.get("authorization", "").partition("Bearer ")[2])
            return http("401 Unauthorized", b"") if claims is None else http("200 OK", claims)
        if path in ("/tokeninfo", "/get"):
            claims = self.tokens.get(urllib.parse.parse_qs(query)["t"][0])
            if path == "/tokeninfo" and claims is not None:
                claims = claims.get("tokeninfo", claims)
            return http("400 Bad Request", {"error": "invalid_token"}) if claims is None else http("200 OK", claims)
        return http("404 Not Found", b"")


def b64url(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


class Signer:
    KINDS = {"RS": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "PS": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
             "ES": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "Ed": ["-algorithm", "ED25519"]}

    def __init__(self, folder, alg, kid):
        os.makedirs(folder, exist_ok=True)
        self.alg, self.kid, self.folder = alg, kid, folder
        self.key = os.path.join(folder, kid + ".key")
        openssl("genpkey", *self.KINDS[alg[:2]], "-out", self.key)
        der = openssl("pkey", "-in", self.key, "-pubout", "-outform", "DER")
        self.pem = openssl("pkey", "-in", self.key, "-pubout")
        self.jwk = {"kid": kid, "use": "sig", "alg": alg}
        if alg[1] == "S" and alg[0] != "E":
            modulus = openssl("rsa", "-in", self.key, "-noout", "-modulus").strip().partition(b"=")[2]
            self.jwk.update(kty="RSA", n=b64url(bytes.fromhex(modulus.decode())), e="AQAB")
        elif alg[0:2] == "ES":
            self.jwk.update(kty="EC", crv="P-256", x=b64url(der[-64:-32]), y=b64url(der[-32:]))
        else:
            self.jwk.update(kty="OKP", crv="Ed25519", x=b64url(der[-32:]))

    def sign(self, text):
        path = os.path.join(self.folder, "text")
        with open(path, "wb") as f:
            f.write(text)
        if self.alg == "EdDSA":
            return openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.key, "-in", path)
        more = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if self.alg[:2] == "PS" else []
        out = openssl("dgst", "-sha256", "-sign", self.key, *more, path)
        return self.raw(out) if self.alg[:2] == "ES" else out

    @staticmethod
    def raw(der):
        """R and S side by side out of SEQUENCE { INTEGER, INTEGER }."""
        numbers, at = b"", 2
        for _ in range(2):
            n = der[at + 1]
            numbers += der[at + 2:at + 2 + n].lstrip(b"\0").rjust(32, b"\0")
            at += 2 + n
        return numbers

    def token(self, claims, **header):
        head = {"typ": "JWT", "alg": self.alg, "kid": self.kid, **header}
        text = b64url(json.dumps(head).encode()) + "." + b64url(json.dumps(claims).encode())
        return text + "." + b64url(self.sign(text.encode()))
