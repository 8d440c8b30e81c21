/* proto/smtp_param.c */
#include "proto/smtp_param.h"

#include "base/buf.h"
#include "base/utf8.h"

static const char no_dsn[] = "501 5.7.1 DSN support is disabled";

static const char *
unsupported(struct arena *a, struct slice word)
{
    const char *r = arena_printf(a, "555 5.5.4 Unsupported option: %.*s", SL_ARG(word));

    return r ? r : "555 5.5.4 Unsupported option";
}

static bool
is_all_digits(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = sl_lower_char(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* xtext (RFC 3461 §4) decoded into the arena. As Postfix does, octets that should have been encoded are taken as they
 * are. False on a broken "+xx", or when a NUL comes out. */
static bool
take_xtext(struct slice in, struct arena *a, struct slice *out)
{
    char *p = arena_alloc(a, in.n + 1);
    size_t n = 0;

    if (p == NULL)
        return false;
    for (size_t i = 0; i < in.n; i++) {
        int c = (unsigned char)in.p[i];

        if (c == '+') {
            int high = i + 2 < in.n ? hex_value(in.p[i + 1]) : -1,
                low = high < 0 ? -1 : hex_value(in.p[i + 2]);

            if (low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        }
        if (c == '\0')
            return false;
        p[n++] = (char)c;
    }
    *out = sl_n(p, n);
    return true;
}

static bool
is_printable(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' ? s.p[i] != '\t' : (unsigned char)s.p[i] > '~')
            return false;
    return s.n > 0;
}

static const char *
mail_param(struct slice word, unsigned offers, struct arena *a, struct smtp_mail_params *m)
{
    struct slice v = word;

    if (sl_ieq(word, SL("BODY=8BITMIME"))) {
        m->body = SMTP_BODY_8BITMIME;
    } else if (sl_ieq(word, SL("BODY=7BIT"))) {
        m->body = SMTP_BODY_7BIT;
    } else if (sl_take_iprefix(&v, SL("SIZE="))) {
        if (!is_all_digits(v))
            return "501 5.5.4 Bad message size syntax";
        if (!sl_to_u64(v, &m->size_octets) || m->size_octets > INT64_MAX)
            return "552 5.3.4 Message size exceeds file system imposed limit";
    } else if ((offers & SMTP_OFFER_UTF8) && sl_ieq(word, SL("SMTPUTF8"))) {
        m->is_utf8 = true;
    } else if ((offers & SMTP_OFFER_AUTH) && sl_take_iprefix(&v, SL("AUTH="))) {
        if (m->auth.n)
            return "503 5.5.4 Error: multiple AUTH= options";
        if (!sl_eq(v, SL("<>")))
            m->auth = v;
    } else if (sl_take_iprefix(&v, SL("RET="))) {
        if (!(offers & SMTP_OFFER_DSN))
            return no_dsn;
        if (m->ret || !(sl_ieq(v, SL("FULL")) || sl_ieq(v, SL("HDRS"))))
            return "501 5.5.4 Bad RET parameter syntax";
        m->ret = sl_ieq(v, SL("FULL")) ? SMTP_RET_FULL : SMTP_RET_HDRS;
    } else if (sl_take_iprefix(&v, SL("ENVID="))) {
        if (!(offers & SMTP_OFFER_DSN))
            return no_dsn;
        if (m->envid.n || !take_xtext(v, a, &m->envid) || !is_printable(m->envid))
            return "501 5.5.4 Bad ENVID parameter syntax";
    } else {
        return unsupported(a, word);
    }
    return NULL;
}

const char *
smtp_mail_params(const struct smtp_words *w, size_t from, unsigned offers, struct arena *a,
                 struct smtp_mail_params *out)
{
    const char *why = NULL;

    *out = (struct smtp_mail_params){ 0 };
    for (size_t i = from; i < w->n && !why; i++)
        why = mail_param(w->w[i].s, offers, a, out);
    return why;
}

/* RFC 3461 §4.1: NEVER stands alone. Empty items are skipped. 0: bad. */
static unsigned
notify_bits(struct slice v)
{
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = { { "NEVER", SMTP_NOTIFY_NEVER },
                  { "SUCCESS", SMTP_NOTIFY_SUCCESS },
                  { "FAILURE", SMTP_NOTIFY_FAILURE },
                  { "DELAY", SMTP_NOTIFY_DELAY } };
    struct slice item;
    unsigned bits = 0;

    while (sl_take_word(&v, ",", &item)) {
        unsigned bit = 0;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (sl_ieqz(item, names[i].name))
                bit = names[i].bit;
        if (bit == 0)
            return 0;
        bits |= bit;
    }
    return (bits & SMTP_NOTIFY_NEVER) && bits != SMTP_NOTIFY_NEVER ? 0 : bits;
}

/* "{E4}" at the front of *in, stepped over. -1: no character that UTF-8 has, or NUL. */
static int32_t
take_unicode(struct slice *in)
{
    struct slice hex;
    int32_t cp = 0;

    if (!sl_take_char(in, '{') || !sl_take_until(in, '}', &hex))
        return -1;
    for (size_t i = 0; i < hex.n; i++) {
        int v = hex_value(hex.p[i]);

        if (v < 0 || (cp = cp * 16 + v) > 0x10ffff)
            return -1;
    }
    return cp == 0 || (cp >= 0xd800 && cp <= 0xdfff) ? -1 : cp;
}

/* As with xtext, what should have been encoded is taken as it is. */
int
smtp_unitext_decode(struct buf *out, struct slice in)
{
    size_t was = out->n;

    while (in.n) {
        int32_t cp = (unsigned char)in.p[0];
        bool is_coded = sl_take_prefix(&in, SL("\\x{"));

        if (is_coded) {
            in = sl_n(in.p - 1, in.n + 1); /* back to the brace */
            cp = take_unicode(&in);
        }
        if (cp <= 0 || (is_coded ? utf8_add(out, (uint32_t)cp) : buf_addc(out, in.p[0]))) {
            buf_truncate(out, was);
            return -1;
        }
        if (!is_coded)
            in = sl_from(in, 1);
    }
    return 0;
}

static bool
take_orcpt(struct slice v, struct arena *a, struct slice *out)
{
    struct slice type, addr = SL(""), coded = v;
    const char *joined;

    if (!sl_take_until(&coded, ';', &type) || !is_printable(type)) /* goes out as it is */
        return false;
    if (sl_ieq(type, SL("utf-8"))) {
        struct buf b = { 0 };
        bool ok = smtp_unitext_decode(&b, coded) == 0;

        if (ok)
            addr = arena_dup(a, buf_slice(&b));
        buf_free(&b);
        if (!ok)
            return false;
    } else if (!take_xtext(coded, a, &addr)) {
        return false;
    }
    joined = arena_printf(a, "%.*s;%.*s", SL_ARG(type), SL_ARG(addr));
    *out = sl_z(joined);
    return joined != NULL;
}

const char *
smtp_rcpt_params(const struct smtp_words *w, size_t from, unsigned offers, struct arena *a,
                 struct smtp_rcpt_params *out)
{
    *out = (struct smtp_rcpt_params){ 0 };
    for (size_t i = from; i < w->n; i++) {
        struct slice word = w->w[i].s, v = word;

        if (sl_take_iprefix(&v, SL("NOTIFY="))) {
            if (!(offers & SMTP_OFFER_DSN))
                return no_dsn;
            if (out->notify || (out->notify = notify_bits(v)) == 0)
                return "501 5.5.4 Error: Bad NOTIFY parameter syntax";
        } else if (sl_take_iprefix(&v, SL("ORCPT="))) {
            if (!(offers & SMTP_OFFER_DSN))
                return no_dsn;
            if (out->orcpt.n || !take_orcpt(v, a, &out->orcpt))
                return "501 5.5.4 Error: Bad ORCPT parameter syntax";
        } else {
            return unsupported(a, word);
        }
    }
    return NULL;
}
