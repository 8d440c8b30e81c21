"""Mail in a queue database without SMTP: what a Postern that is stopped finds when it starts.

    fill_queue(stack, 100000, lambda i: ["a@d%d.test" % (i % 1000)])

Writes rows as queue/qdb.c does, so it is bound to the schema and to the envelope of session/queue_proto.h.
"""
import os
import sqlite3
import struct
import time
import zlib

DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"


def number(v, base, least):
    out = ""
    while v or len(out) < least:
        v, d = divmod(v, base)
        out = DIGITS[d] + out
    return out


def queue_id(us, counter, db_bits):
    return number(us // 1000000, 52, 6) + number(us % 1000000, 52, 4) + "z" + number(counter << 20 | db_bits, 51, 1)


def text(s):
    return struct.pack("<I", len(s)) + s.encode()


def envelope(qid, sender, rcpts, us):
    head = struct.pack("<BBBQ", 1, 0, 0, us) + b"".join(map(text, (qid, sender, "", "filler.test", "192.0.2.1", "filler.test", "", "ESMTP")))
    return head + struct.pack("<I", len(rcpts)) + b"".join(text(r) + text("") + text("") + b"\0" for r in rcpts)


def fill_queue(stack, count, rcpts_of, sender="email1@example.com", body=b"Subject: waits\r\n\r\n" + b"x" * 480 + b"\r\n", due=0,
               age_s=600, attempts=1, why="connect to dead.test[127.99.0.9]:25: Connection refused"):
    """`count` messages; rcpts_of(i) are the recipients of the i-th. due: the second from which they may be tried, or a
    function of i. The stack is not running, and ran once."""
    path = os.path.join(stack.queue_dir, "queue", "queue.db")
    db = sqlite3.connect(path, isolation_level=None)
    try:
        meta = dict(db.execute("SELECT key, value FROM meta"))
        us, crc, n = int((time.time() - age_s) * 1e6), zlib.crc32(body), meta["next"]
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -200000")
        db.execute("BEGIN")
        for i in range(count):
            qid, rcpts = queue_id(us + i, n, meta["db_bits"]), rcpts_of(i)
            env = envelope(qid, sender, rcpts, us + i)
            db.execute("INSERT INTO message(n, id, arrived, size, env, env_crc, is_file, body_crc, body) VALUES(?,?,?,?,?,?,0,?,?)",
                       (n, qid, (us + i) // 1000000, len(body), env, zlib.crc32(env), crc, body))
            at = due(i) if callable(due) else due
            db.executemany("INSERT INTO rcpt(message, i, due, attempts, flags, status, why) VALUES(?,?,?,?,0,?,?)",
                           [(n, k, at, attempts, "4.4.1" if attempts else None, why if attempts else None) for k in range(len(rcpts))])
            n += 1
        db.execute("UPDATE meta SET value = ? WHERE key = 'next'", (n,))
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        db.close()
