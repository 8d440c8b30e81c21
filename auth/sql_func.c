/* auth/sql_func.c - see sql_func.h. An argument that is NULL makes the result NULL, as in MySQL, unless told otherwise.
 * Lengths and places are in characters, UTF-8. */
#include "auth/sql_func.h"

#include "auth/password.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"
#include "tls/digest.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { REGEX_TEXT_OCTETS = 4096 };

static bool
has_null(const struct db_call *c)
{
    for (size_t i = 0; i < db_call_count(c); i++)
        if (db_call_is_null(c, i))
            return true;
    return false;
}

/* ---- text ---- */

static void
fn_concat(struct db_call *c, void *arg)
{
    struct buf out = { 0 };

    (void)arg;
    if (has_null(c))
        return;
    for (size_t i = 0; i < db_call_count(c); i++)
        buf_adds(&out, db_call_text(c, i));
    db_result_text(c, buf_slice(&out));
    buf_free(&out);
}

/* The separator first; NULLs among the rest are left out. */
static void
fn_concat_ws(struct db_call *c, void *arg)
{
    struct buf out = { 0 };
    bool has_one = false;

    (void)arg;
    if (db_call_count(c) == 0 || db_call_is_null(c, 0))
        return;
    for (size_t i = 1; i < db_call_count(c); i++) {
        if (db_call_is_null(c, i))
            continue;
        if (has_one)
            buf_adds(&out, db_call_text(c, 0));
        buf_adds(&out, db_call_text(c, i));
        has_one = true;
    }
    db_result_text(c, buf_slice(&out));
    buf_free(&out);
}

static size_t
count_chars(struct slice s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

/* Offset of character number `at`, or the end. */
static size_t
char_offset(struct slice s, size_t at)
{
    size_t i = 0;

    for (; i < s.n; i++)
        if (((unsigned char)s.p[i] & 0xc0) != 0x80 && at-- == 0)
            break;
    return i;
}

static void
give_chars(struct db_call *c, struct slice s, size_t from, size_t n)
{
    struct slice tail = sl_from(s, char_offset(s, from));

    db_result_text(c, sl_head(tail, char_offset(tail, n)));
}

/* SUBSTRING(s, from [, n]): from counts from 1, or from the end when negative; 0 gives nothing. */
static void
fn_substring(struct db_call *c, void *arg)
{
    struct slice s;
    int64_t from, n = INT32_MAX, chars;

    (void)arg;
    if (has_null(c) || db_call_count(c) < 2)
        return;
    s = db_call_text(c, 0);
    from = db_call_int(c, 1);
    if (db_call_count(c) > 2)
        n = db_call_int(c, 2);
    chars = (int64_t)count_chars(s);
    if (from < 0)
        from = chars + from + 1;
    if (from <= 0 || from > chars || n <= 0) {
        db_result_text(c, sl_n("", 0));
        return;
    }
    give_chars(c, s, (size_t)from - 1, (size_t)n);
}

static void
fn_left(struct db_call *c, void *arg)
{
    (void)arg;
    if (!has_null(c))
        give_chars(c, db_call_text(c, 0), 0, db_call_int(c, 1) > 0 ? (size_t)db_call_int(c, 1) : 0);
}

static void
fn_right(struct db_call *c, void *arg)
{
    size_t chars, n;

    (void)arg;
    if (has_null(c))
        return;
    chars = count_chars(db_call_text(c, 0));
    n = db_call_int(c, 1) > 0 ? (size_t)db_call_int(c, 1) : 0;
    give_chars(c, db_call_text(c, 0), n < chars ? chars - n : 0, chars);
}

/* SUBSTRING_INDEX(s, delimiter, n): all before the n-th delimiter, or after the n-th from the end. */
static void
fn_substring_index(struct db_call *c, void *arg)
{
    struct slice s, delim;
    int64_t n;
    size_t at = 0;

    (void)arg;
    if (has_null(c))
        return;
    s = db_call_text(c, 0);
    delim = db_call_text(c, 1);
    n = db_call_int(c, 2);
    if (n == 0 || delim.n == 0) {
        db_result_text(c, sl_n("", 0));
        return;
    }
    if (n < 0) { /* count them all, then from the front */
        int64_t total = 0;

        for (struct slice rest = s; (at = sl_find(rest, delim)) != SL_NPOS;
             rest = sl_from(rest, at + delim.n))
            total++;
        for (n = total + n + 1; n > 0 && (at = sl_find(s, delim)) != SL_NPOS; n--)
            s = sl_from(s, at + delim.n);
        db_result_text(c, s);
        return;
    }
    for (at = 0; n > 0; n--) {
        size_t next = sl_find(sl_from(s, at), delim);

        if (next == SL_NPOS) {
            db_result_text(c, s);
            return;
        }
        at += next + (n > 1 ? delim.n : 0);
    }
    db_result_text(c, sl_head(s, at));
}

static void
fn_locate(struct db_call *c, void *arg)
{
    size_t at;

    (void)arg;
    if (has_null(c))
        return;
    at = sl_ifind(db_call_text(c, 1), db_call_text(c, 0));
    db_result_int(c, at == SL_NPOS ? 0 : (int64_t)count_chars(sl_head(db_call_text(c, 1), at)) + 1);
}

static void
fn_octets(struct db_call *c, void *arg)
{
    (void)arg;
    if (!has_null(c))
        db_result_int(c, (int64_t)db_call_text(c, 0).n);
}

/* X REGEXP Y is regexp(Y, X) to SQLite; MySQL's comparison ignores case. */
static void
fn_regexp(struct db_call *c, void *arg)
{
    char *pattern, *text;
    regex_t re;

    (void)arg;
    if (has_null(c))
        return;
    if (db_call_text(c, 0).n > REGEX_TEXT_OCTETS || db_call_text(c, 1).n > REGEX_TEXT_OCTETS) {
        db_result_error(c, "REGEXP: the pattern or the text is too long");
        return;
    }
    pattern = sl_dupz(db_call_text(c, 0));
    text = sl_dupz(db_call_text(c, 1));
    if (regcomp(&re, pattern, REG_EXTENDED | REG_ICASE | REG_NOSUB) == 0) {
        db_result_int(c, regexec(&re, text, 0, NULL, 0) == 0);
        regfree(&re);
    } else {
        db_result_error(c, "REGEXP: malformed pattern");
    }
    free(pattern);
    free(text);
}

/* ---- digests and passwords ---- */

static void
give_hex(struct db_call *c, enum digest_kind kind)
{
    unsigned char md[DIGEST_MAX_OCTETS];
    struct buf hex = { 0 };
    size_t n;

    if (has_null(c))
        return;
    n = digest(kind, db_call_text(c, 0), md);
    if (n == 0) {
        db_result_error(c, "this digest is switched off");
        return;
    }
    enc_hex(&hex, sl_n((char *)md, n));
    db_result_text(c, buf_slice(&hex));
    buf_free(&hex);
}

static void
fn_md5(struct db_call *c, void *arg)
{
    (void)arg;
    give_hex(c, DIGEST_MD5);
}

static void
fn_sha1(struct db_call *c, void *arg)
{
    (void)arg;
    give_hex(c, DIGEST_SHA1);
}

static void
fn_sha2(struct db_call *c, void *arg)
{
    int64_t bits = has_null(c) ? 0 : db_call_int(c, 1);

    (void)arg;
    if (bits == 0 || bits == 256)
        give_hex(c, DIGEST_SHA256);
    else if (bits == 512)
        give_hex(c, DIGEST_SHA512);
    else
        db_result_error(c, "SHA2: 256 or 512 bits only");
}

/* crypt(3). Without a salt MySQL takes a random one; ours is the scheme that is safe today. */
static void
fn_encrypt(struct db_call *c, void *arg)
{
    char out[PASSWORD_HASH_OCTETS];
    struct err e;

    (void)arg;
    if (db_call_count(c) < 1 || db_call_count(c) > 2) {
        db_result_error(c, "ENCRYPT() takes one or two arguments");
        return;
    }
    if (has_null(c))
        return;
    if (db_call_count(c) == 2 ? password_crypt(db_call_text(c, 0), db_call_text(c, 1), out) == 0
                              : password_make(db_call_text(c, 0), "SHA512-CRYPT", out, &e) == 0)
        db_result_text(c, sl_z(out));
    mem_wipe(out, sizeof out);
}

/* ---- chance and time ---- */

static void
fn_rand(struct db_call *c, void *arg)
{
    (void)arg;
    db_result_real(c, (double)(rand_u64() >> 11) / 9007199254740992.0); /* 2^53 */
}

static void
fn_uuid(struct db_call *c, void *arg)
{
    char hex[33], out[37];

    (void)arg;
    rand_hex(hex, 32);
    snprintf(out, sizeof out, "%.8s-%.4s-4%.3s-a%.3s-%.12s", hex, hex + 8, hex + 13, hex + 17,
             hex + 20);
    db_result_text(c, sl_z(out));
}

/* The local time; the first n octets of "2026-11-22 15:00:00". */
static void
give_time(struct db_call *c, size_t n)
{
    time_t now = clock_unix_s();
    struct tm tm;
    char text[32];

    localtime_r(&now, &tm);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
    db_result_text(c, sl_head(sl_z(text), n));
}

static void
fn_now(struct db_call *c, void *arg)
{
    (void)arg;
    give_time(c, sizeof "2026-11-22 15:00:00" - 1);
}

static void
fn_curdate(struct db_call *c, void *arg)
{
    (void)arg;
    give_time(c, sizeof "2026-11-22" - 1);
}

static void
fn_unix_timestamp(struct db_call *c, void *arg)
{
    (void)arg;
    db_result_int(c, clock_unix_s());
}

static void
fn_database(struct db_call *c, void *arg)
{
    (void)arg;
    db_result_text(c, SL("mailserver"));
}

static const struct {
    const char *name;
    int n_args;
    bool is_pure;
    void (*fn)(struct db_call *c, void *arg);
} functions[] = {
    { "concat", -1, true, fn_concat },
    { "concat_ws", -1, true, fn_concat_ws },
    { "mysql_substring", 2, true, fn_substring },
    { "mysql_substring", 3, true, fn_substring },
    { "mysql_left", 2, true, fn_left },
    { "mysql_right", 2, true, fn_right },
    { "substring_index", 3, true, fn_substring_index },
    { "locate", 2, true, fn_locate },
    { "octet_length_of", 1, true, fn_octets },
    { "regexp", 2, true, fn_regexp },
    { "md5", 1, true, fn_md5 },
    { "sha", 1, true, fn_sha1 },
    { "sha1", 1, true, fn_sha1 },
    { "sha2", 2, true, fn_sha2 },
    { "encrypt", -1, false, fn_encrypt },
    { "rand", 0, false, fn_rand },
    { "mysql_uuid", 0, false, fn_uuid },
    { "now", 0, false, fn_now },
    { "curdate", 0, false, fn_curdate },
    { "unix_timestamp", 0, false, fn_unix_timestamp },
    { "mysql_database", 0, false, fn_database },
};

int
sql_add_functions(struct db *d, struct err *e)
{
    for (size_t i = 0; i < COUNT_OF(functions); i++)
        if (db_add_function(d, functions[i].name, functions[i].n_args, functions[i].is_pure,
                            functions[i].fn, NULL, e) < 0)
            return -1;
    return 0;
}
