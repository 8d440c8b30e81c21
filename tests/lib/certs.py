"""Certificates for tests, by openssl(1): an authority of the test's own and what it issues.

    ca = Authority(tmp("ca"))
    cert = ca.issue("mail.example.com", ["mail.example.com", "127.0.0.1"])
    cert.chain, cert.key      files: the certificate and the authority's behind it; its key
    cert.both                 file: key first, then the certificate and its chain, as tls_server_sni_maps wants it
"""
import os
import ssl
import subprocess

from harness import Failed

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]


def openssl(*argv, input=None):
    r = subprocess.run(["openssl", *argv], input=input, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    if r.returncode:
        raise Failed("openssl %s: %s" % (" ".join(argv[:3]), r.stderr.decode(errors="replace")))
    return r.stdout


def read(path):
    with open(path) as f:
        return f.read()


def write(path, text):
    """In one step."""
    with open(path + ".new", "w") as f:
        f.write(text)
    os.rename(path + ".new", path)


class Certificate:
    def __init__(self, folder, name):
        self.name, self.folder = name, folder
        self.chain, self.key, self.both = (os.path.join(folder, n) for n in ("fullchain.pem", "privkey.pem", "both.pem"))
        self.leaf = os.path.join(folder, "cert.pem")

    @property
    def der(self):
        """What a client sees."""
        return ssl.PEM_cert_to_DER_cert(read(self.leaf))


class Authority:
    def __init__(self, folder, name="Test Authority"):
        self.folder, self.n = folder, 0
        os.makedirs(folder, exist_ok=True)
        self.pem, self.key = os.path.join(folder, "ca.pem"), os.path.join(folder, "ca.key")
        openssl("req", "-x509", *EC, "-nodes", "-days", "3650", "-subj", "/O=Test/CN=" + name, "-keyout", self.key, "-out", self.pem,
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name, names=(), folder=None, days=90, new=EC, usage="serverAuth"):
        """days: -1 for one that has expired. new: the kind of its key, as openssl req has it. usage: clientAuth, for a client's."""
        self.n += 1
        folder = folder or os.path.join(self.folder, "%d" % self.n)
        os.makedirs(folder, exist_ok=True)
        c = Certificate(folder, name)
        csr, ext = os.path.join(folder, "csr"), os.path.join(folder, "ext")
        with open(ext, "w") as f:
            f.write("subjectAltName=%s\nkeyUsage=critical,digitalSignature%s\nextendedKeyUsage=%s\nbasicConstraints=CA:FALSE\ncrlDistributionPoints=URI:http://127.0.0.1:1/none.crl\n" % (
                ",".join(("IP:" if n.replace(".", "").isdigit() else "DNS:") + n for n in names or [name]),
                ",keyEncipherment" if "rsa:2048" in new else "", usage))
        openssl("req", *new, "-nodes", "-subj", "/CN=" + name, "-keyout", c.key, "-out", csr)
        openssl("x509", "-req", "-in", csr, "-CA", self.pem, "-CAkey", self.key, "-set_serial", "%d" % (1000 + self.n), "-sha256",
                "-days", str(days), "-extfile", ext, "-out", c.leaf)
        write(c.chain, read(c.leaf) + read(self.pem))
        write(c.both, read(c.key) + read(c.chain))
        for path in (c.key, c.both):
            os.chmod(path, 0o600)
        return c

    def revocations(self, *revoked):
        """PEM of a list of what it has revoked."""
        conf, index = os.path.join(self.folder, "crl.cnf"), os.path.join(self.folder, "index.txt")
        with open(conf, "w") as f:
            f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=%s\ncertificate=%s\nprivate_key=%s\ndefault_md=sha256\ndefault_crl_days=30\n"
                    % (index, self.pem, self.key))
        open(index, "a").close()
        for c in revoked:
            openssl("ca", "-config", conf, "-revoke", c.leaf)
        return openssl("ca", "-config", conf, "-gencrl").decode()
