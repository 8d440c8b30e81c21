#!/usr/bin/env python3
# ssl_ca holds lists of what authorities have revoked; a new list is noticed without a reload, and garbage in its place is not.
# timeout: 60
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from certs import Authority, read, write
from harness import *
from stack import Stack
from tlsclient import context, plain


@case
def a_revoked_client_is_nobody():
    clients = Authority(tmp("clients"))
    c = clients.issue("email1@example.com", ["client.example.com"], usage="clientAuth")
    trusted = tmp("trusted.pem")
    write(trusted, read(clients.pem) + clients.revocations())
    with Stack(tmp("r"), extra_conf=["ssl_ca = <" + trusted, "ssl_verify_client_cert = yes", "auth_mechanisms = plain external",
                                     "auth_ssl_username_from_cert = yes"]) as s:
        def is_trusted():
            client = context()
            client.load_cert_chain(c.leaf, c.key)
            with client.wrap_socket(plain(s, "imaps")) as t:
                return b"AUTH=EXTERNAL" in t.recv(4096)

        check(is_trusted(), "a client that is in no list")
        write(trusted, read(clients.pem) + clients.revocations(c))
        wait_for(lambda: not is_trusted(), 40, "the revoked certificate")
        write(trusted, "garbage")
        wait_for(lambda: "cannot be renewed: ssl_ca: " in s.log(), 40, "garbage in the log")
        check(not is_trusted(), "the list is forgotten")


main()
