/* mime/structure.c - ENVELOPE, BODY and BODYSTRUCTURE (RFC 3501 §7.4.2). */
#include "mime/mime.h"

#include "base/find.h"

enum {
    QUOTED_MAX = 4096, /* longer strings go as literals: some clients choke on long quoted ones */
    STRING_MAX_OCTETS = 64 * 1024,     /* of one text, name or address; a longer one is cut */
    ADDRESSES_MAX_OCTETS = 512 * 1024, /* of a list; addresses beyond it are left out */
    LANGUAGES_MAX = 100
};

static bool
is_quotable(struct slice s)
{
    return s.n <= QUOTED_MAX && find_ascii(s) == s.n && memchr(s.p, '\r', s.n) == NULL &&
           memchr(s.p, '\n', s.n) == NULL && memchr(s.p, '\0', s.n) == NULL;
}

void
mime_imap_nstring(struct slice s, struct buf *out)
{
    size_t from = 0;

    if (s.p == NULL) {
        buf_addz(out, "NIL");
        return;
    }
    if (is_quotable(s)) {
        buf_addc(out, '"');
        for (size_t i = 0; i < s.n; i++)
            if (s.p[i] == '"' || s.p[i] == '\\') {
                buf_add(out, s.p + from, i - from);
                buf_addc(out, '\\');
                from = i;
            }
        buf_add(out, s.p + from, s.n - from);
        buf_addc(out, '"');
        return;
    }
    /* A literal carries no NUL (RFC 3501 §9, CHAR8): Dovecot puts 0x80 in its place. */
    buf_addf(out, "{%zu}\r\n", s.n);
    while ((from = sl_find_char(s, '\0')) != SL_NPOS) {
        buf_adds(out, sl_head(s, from));
        buf_addc(out, (char)0x80);
        s = sl_from(s, from + 1);
    }
    buf_adds(out, s);
}

/* What nobody reads to its end ends early, behind a whole character. */
static void
add_string(struct slice s, struct buf *out)
{
    size_t n = STRING_MAX_OCTETS;

    if (s.n > n) {
        while (n > STRING_MAX_OCTETS - 4 && ((unsigned char)s.p[n] & 0xc0) == 0x80)
            n--;
        s.n = n;
    }
    mime_imap_nstring(s, out);
}

static void
add_text(struct slice raw, struct buf *out)
{
    struct buf text = { 0 };

    if (raw.p == NULL) {
        buf_addz(out, "NIL");
        return;
    }
    mime_unfold(raw, &text);
    add_string(sl_n(buf_z(&text), buf_slice(&text).n), out);
    buf_free(&text);
}

static void
add_address(const struct mime_address *a, bool *in_group, struct buf *out)
{
    const struct slice *parts[] = { &a->name, &a->route, &a->mailbox, &a->host };
    bool is_end = a->mailbox.p == NULL && a->host.p == NULL;

    if (is_end ? !*in_group : out->n >= ADDRESSES_MAX_OCTETS)
        return;
    *in_group = a->host.p == NULL ? !is_end : *in_group;
    for (size_t k = 0; k < 4; k++) {
        buf_addc(out, k == 0 ? '(' : ' ');
        add_string(*parts[k], out);
    }
    buf_addc(out, ')');
}

static void
add_addresses(struct slice raw, struct buf *out)
{
    struct arena mem = { 0 };
    bool in_group = false;
    size_t n = 0;
    struct mime_address *a = raw.p != NULL ? mime_addresses(raw, &mem, &n) : NULL;

    if (n == 0) {
        buf_addz(out, "NIL");
    } else {
        buf_addc(out, '(');
        for (size_t i = 0; i < n; i++)
            add_address(&a[i], &in_group, out);
        if (in_group) /* its end was left out */
            buf_addz(out, "(NIL NIL NIL NIL)");
        buf_addc(out, ')');
    }
    arena_free(&mem);
}

/* The fields of an envelope, gathered in one pass; the first of each name counts, address fields are joined. */
struct envelope {
    struct slice date, subject, in_reply_to, message_id;
    struct buf from, sender, reply_to, to, cc, bcc;
};

static void
gather(struct slice header, struct envelope *e)
{
    struct {
        const char *name;
        struct slice *one;
        struct buf *many;
    } want[] = { { "date", &e->date, NULL },
                 { "subject", &e->subject, NULL },
                 { "in-reply-to", &e->in_reply_to, NULL },
                 { "message-id", &e->message_id, NULL },
                 { "from", NULL, &e->from },
                 { "sender", NULL, &e->sender },
                 { "reply-to", NULL, &e->reply_to },
                 { "to", NULL, &e->to },
                 { "cc", NULL, &e->cc },
                 { "bcc", NULL, &e->bcc } };
    struct mime_field f;

    while (mime_next_field(&header, &f))
        for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
            if (!sl_ieqz(f.name, want[i].name))
                continue;
            if (want[i].one != NULL) {
                if (want[i].one->p == NULL)
                    *want[i].one = f.value;
            } else {
                if (buf_slice(want[i].many).n > 0)
                    buf_addc(want[i].many, ',');
                buf_adds(want[i].many, f.value);
            }
            break;
        }
}

void
mime_envelope(struct slice header, struct buf *out)
{
    struct envelope e = { 0 };
    struct buf *lists[] = { &e.from, &e.sender, &e.reply_to, &e.to, &e.cc, &e.bcc };
    struct buf from = { 0 };

    gather(header, &e);
    buf_addc(out, '(');
    add_text(e.date, out);
    buf_addc(out, ' ');
    add_text(e.subject, out);
    add_addresses(buf_slice(&e.from), &from);
    for (size_t i = 0; i < 6; i++) {
        struct buf one = { 0 };

        buf_addc(out, ' ');
        add_addresses(buf_slice(lists[i]), &one);
        /* Sender and Reply-To default to From (RFC 3501 §7.4.2). */
        buf_adds(out, (i == 1 || i == 2) && sl_eqz(buf_slice(&one), "NIL") ? buf_slice(&from)
                                                                           : buf_slice(&one));
        buf_free(&one);
        buf_free(lists[i]);
    }
    buf_free(&from);
    buf_addc(out, ' ');
    add_text(e.in_reply_to, out);
    buf_addc(out, ' ');
    add_text(e.message_id, out);
    buf_addc(out, ')');
}

static void
add_params(const struct mime_param *v, size_t n, struct buf *out)
{
    if (n == 0) {
        buf_addz(out, "NIL");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        buf_addc(out, i == 0 ? '(' : ' ');
        add_string(v[i].name, out);
        buf_addc(out, ' ');
        add_string(v[i].value, out);
    }
    buf_addc(out, ')');
}

/* Disposition, language, location: the extension data all parts share. */
static void
add_extension(const struct mime_part *p, struct buf *out)
{
    struct slice lang = p->language, word;
    size_t n = 0;

    if (p->disposition.p == NULL) {
        buf_addz(out, " NIL");
    } else {
        buf_addz(out, " (");
        add_string(p->disposition, out);
        buf_addc(out, ' ');
        add_params(p->disposition_params, p->n_disposition_params, out);
        buf_addc(out, ')');
    }
    buf_addc(out, ' ');
    while (lang.p != NULL && n < LANGUAGES_MAX && sl_take_word(&lang, ", \t", &word)) {
        buf_addc(out, n++ == 0 ? '(' : ' ');
        add_string(word, out);
    }
    buf_addz(out, n == 0 ? "NIL " : ") ");
    add_string(p->location, out);
}

static void
add_leaf(const struct mime_part *p, bool is_extended, struct buf *out)
{
    add_string(p->type, out);
    buf_addc(out, ' ');
    add_string(p->subtype, out);
    buf_addc(out, ' ');
    /* A text part without parameters is US-ASCII (RFC 2045 §5.2), and said so as Dovecot does. */
    if (p->n_params == 0 && sl_ieqz(p->type, "text"))
        buf_addz(out, "(\"charset\" \"us-ascii\")");
    else
        add_params(p->params, p->n_params, out);
    buf_addc(out, ' ');
    add_string(p->id, out);
    buf_addc(out, ' ');
    add_string(p->description, out);
    buf_addc(out, ' ');
    add_string(p->encoding.p != NULL ? p->encoding : SL("7bit"), out);
    buf_addf(out, " %zu", p->body.n);
    if (p->is_message && p->n_kids == 1) {
        buf_addc(out, ' ');
        mime_envelope(p->kids[0].header, out);
        buf_addc(out, ' ');
        mime_bodystructure(&p->kids[0], is_extended, out);
        buf_addf(out, " %u", p->lines);
    } else if (sl_ieqz(p->type, "text")) {
        buf_addf(out, " %u", p->lines);
    }
    if (is_extended) {
        buf_addc(out, ' ');
        add_string(p->md5, out);
        add_extension(p, out);
    }
}

void
mime_bodystructure(const struct mime_part *root, bool is_extended, struct buf *out)
{
    buf_addc(out, '(');
    if (!root->is_multipart) {
        add_leaf(root, is_extended, out);
        buf_addc(out, ')');
        return;
    }
    for (size_t i = 0; i < root->n_kids; i++)
        mime_bodystructure(&root->kids[i], is_extended, out);
    /* The grammar wants at least one part: an empty one where the message has none. */
    if (root->n_kids == 0)
        buf_addz(out, is_extended
                          ? "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0 "
                            "NIL NIL NIL NIL)"
                          : "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0)");
    buf_addc(out, ' ');
    add_string(root->subtype, out);
    if (is_extended) {
        buf_addc(out, ' ');
        add_params(root->params, root->n_params, out);
        add_extension(root, out);
    }
    buf_addc(out, ')');
}
