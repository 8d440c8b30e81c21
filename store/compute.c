/* store/compute.c - everything that is ever asked of a message, from one parse. */
#include "store/cache.h"

#include "base/fold.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "mime/mime.h"
#include "mime/text.h"

/* What clients ask for when they list a mailbox; the fields of lists are among them by their common beginning. */
static const struct slice usual[] = {
    SL_INIT("From"),
    SL_INIT("To"),
    SL_INIT("Cc"),
    SL_INIT("Bcc"),
    SL_INIT("Reply-To"),
    SL_INIT("Sender"),
    SL_INIT("Subject"),
    SL_INIT("Date"),
    SL_INIT("Message-ID"),
    SL_INIT("In-Reply-To"),
    SL_INIT("References"),
    SL_INIT("Newsgroups"),
    SL_INIT("Followup-To"),
    SL_INIT("Mail-Followup-To"),
    SL_INIT("Mail-Reply-To"),
    SL_INIT("Content-Type"),
    SL_INIT("Content-Transfer-Encoding"),
    SL_INIT("Content-Disposition"),
    SL_INIT("Content-Class"),
    SL_INIT("MIME-Version"),
    SL_INIT("Priority"),
    SL_INIT("X-Priority"),
    SL_INIT("X-MSMail-Priority"),
    SL_INIT("Importance"),
    SL_INIT("Sensitivity"),
    SL_INIT("Return-Path"),
    SL_INIT("Delivered-To"),
    SL_INIT("X-Original-To"),
    SL_INIT("Envelope-To"),
    SL_INIT("Disposition-Notification-To"),
    SL_INIT("Return-Receipt-To"),
    SL_INIT("Auto-Submitted"),
    SL_INIT("Precedence"),
    SL_INIT("Resent-From"),
    SL_INIT("Resent-To"),
    SL_INIT("Resent-Date"),
    SL_INIT("X-Mailer"),
    SL_INIT("User-Agent"),
    SL_INIT("X-Spam-Flag"),
    SL_INIT("X-Spam-Status"),
    SL_INIT("X-Spam-Level"),
    SL_INIT("X-Draft-Info"),
    SL_INIT("X-Identity-Key"),
    SL_INIT("X-K9mail-Identity"),
    SL_INIT("X-Forwarded-Message-Id"),
    SL_INIT("X-Uniform-Type-Identifier"),
    SL_INIT("X-Universally-Unique-Identifier"),
    SL_INIT("Chat-Version"),
};

bool
store_caches_field(struct slice name)
{
    for (size_t i = 0; i < COUNT_OF(usual); i++)
        if (sl_ieq(name, usual[i]))
            return true;
    return sl_has_iprefix(name, SL("List-"));
}

/* ---- fields ---- */

struct fields { /* values of the first of each name; p NULL: none */
    struct slice subject, date, from, to, cc, message_id, in_reply_to, references;
};

/* One way through the header. What is longer than is kept goes on growing no more. */
static void
gather(struct slice header, struct fields *out, struct buf *headers)
{
    const struct {
        struct slice name;
        struct slice *to;
    } want[] = { { SL("Subject"), &out->subject },
                 { SL("Date"), &out->date },
                 { SL("From"), &out->from },
                 { SL("To"), &out->to },
                 { SL("Cc"), &out->cc },
                 { SL("Message-ID"), &out->message_id },
                 { SL("In-Reply-To"), &out->in_reply_to },
                 { SL("References"), &out->references } };
    struct mime_field f;

    while (mime_next_field(&header, &f)) {
        if (!store_caches_field(f.name))
            continue;
        for (size_t i = 0; i < COUNT_OF(want); i++)
            if (want[i].to->p == NULL && sl_ieq(f.name, want[i].name))
                *want[i].to = f.value;
        if (headers->n > CACHE_HEADERS_MAX_OCTETS)
            continue;
        buf_adds(headers, f.whole);
        if (!sl_ends(f.whole, '\n')) /* the message ends in it */
            buf_addz(headers, "\r\n");
    }
}

/* ---- sort row ---- */

/* At most so many octets, and whole characters. */
static void
cut(struct buf *b, size_t max)
{
    size_t n = max;

    if (b->n <= max)
        return;
    while (n > 0 && ((unsigned char)buf_slice(b).p[n] & 0xc0) == 0x80)
        n--;
    buf_truncate(b, n);
}

static void
fold_into(struct buf *text, struct buf *out)
{
    cut(text, CACHE_KEY_MAX_OCTETS);
    fold_text(out, buf_slice(text));
    cut(out, CACHE_KEY_MAX_OCTETS);
    buf_free(text);
}

static void
sort_key(struct slice raw, void (*get)(struct slice, struct buf *), struct buf *out)
{
    struct buf text = { 0 };

    get(raw, &text);
    fold_into(&text, out);
}

static void
all_ids(struct slice raw, struct buf *out)
{
    struct buf id = { 0 };

    while (mime_next_message_id(&raw, &id)) {
        if (out->n > 0)
            buf_addc(out, '\n');
        buf_adds(out, buf_slice(&id));
    }
    buf_free(&id);
}

/* The first one, which names the thread, and as many of the last, which are the nearest. */
static void
pick_refs(struct slice all, struct buf *out)
{
    size_t first = sl_find_char(all, '\n'), at, room, n = 1;
    struct slice rest;

    if (first == SL_NPOS) {
        buf_adds(out, all);
        return;
    }
    buf_adds(out, sl_head(all, first));
    room = CACHE_REFS_MAX_OCTETS - out->n;
    rest = sl_from(all, first + 1);
    for (at = rest.n; at > 0 && n < CACHE_REFS_MAX; n++) {
        size_t lf = sl_rfind_char(sl_head(rest, at - 1), '\n');
        size_t start = lf == SL_NPOS ? 0 : lf;

        if (rest.n - start + 1 > room)
            break;
        at = start;
    }
    if (at == rest.n)
        return;
    rest = sl_from(rest, at);
    if (!sl_starts(rest, '\n'))
        buf_addc(out, '\n');
    buf_adds(out, rest);
}

static void
refs_of(const struct fields *in, struct buf *out)
{
    struct buf all = { 0 };
    struct slice from;

    if (in->references.p != NULL)
        all_ids(in->references, &all);
    if (all.n == 0 && in->in_reply_to.p != NULL) {
        from = in->in_reply_to;
        mime_next_message_id(&from, &all);
    }
    pick_refs(buf_slice(&all), out);
    buf_free(&all);
}

static void
make_sort(const struct fields *in, struct forms *out)
{
    struct buf text = { 0 };
    struct slice from = in->message_id;

    out->is_reply = mime_base_subject(in->subject, &text);
    fold_into(&text, &out->sort[SORT_SUBJECT]);
    sort_key(in->from, mime_sort_mailbox, &out->sort[SORT_FROM_KEY]);
    sort_key(in->to, mime_sort_mailbox, &out->sort[SORT_TO_KEY]);
    sort_key(in->cc, mime_sort_mailbox, &out->sort[SORT_CC_KEY]);
    sort_key(in->from, mime_sort_name, &out->sort[SORT_FROM_NAME]);
    sort_key(in->to, mime_sort_name, &out->sort[SORT_TO_NAME]);
    mime_next_message_id(&from, &out->sort[SORT_MESSAGE_ID]);
    refs_of(in, &out->sort[SORT_REFS]);
    out->has_sent =
        in->date.p != NULL && mime_parse_date(in->date, &out->sent_unix_s, &out->sent_tz);
}

/* ---- all ---- */

void
forms_compute(struct slice message, struct forms *out)
{
    struct arena mem = { 0 };
    const struct mime_part *root = mime_parse(message, &mem);
    struct fields in = { 0 };

    memset(out, 0, sizeof(*out));
    out->crlf = (int64_t)message.n;
    mime_envelope(root->header, &out->form[FORM_ENVELOPE]);
    mime_bodystructure(root, true, &out->form[FORM_BODYSTRUCTURE]);
    mime_bodystructure(root, false, &out->form[FORM_BODY]);
    mime_preview(root, &out->form[FORM_PREVIEW]);
    gather(root->header, &in, &out->form[FORM_HEADERS]);
    make_sort(&in, out);
    arena_free(&mem);
}

void
forms_free(struct forms *f)
{
    for (int i = 0; i < FORMS; i++)
        buf_free(&f->form[i]);
    for (int i = 0; i < SORT_TEXTS; i++)
        buf_free(&f->sort[i]);
}

size_t
forms_octets(const struct forms *f)
{
    size_t n = sizeof(*f);

    for (int i = 0; i < FORMS; i++)
        n += f->form[i].cap;
    for (int i = 0; i < SORT_TEXTS; i++)
        n += f->sort[i].cap;
    return n;
}

bool
form_is_kept(const struct forms *f, enum form i)
{
    return f->form[i].n <= (i == FORM_HEADERS ? CACHE_HEADERS_MAX_OCTETS : CACHE_TEXT_MAX_OCTETS);
}
