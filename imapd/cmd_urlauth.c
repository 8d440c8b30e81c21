/* imapd/cmd_urlauth.c - GENURLAUTH and RESETKEY (RFC 4467 §7): a user lets others have a message of his by its URL, and takes
 * that back. Mechanism INTERNAL alone. */
#include "imapd/rows.h"
#include "imapd/url.h"

#include "base/mem.h"
#include "store/metadata.h"

enum { URLS_MAX = 1000 };

struct genurlauth_args {
    struct slice *urls; /* in c->mem */
    size_t n;
};

enum parse_rc
imap_parse_genurlauth(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct genurlauth_args *a = ARENA_NEW(&c->mem, struct genurlauth_args);
    struct slice mechanism, at;

    c->args = a;
    a->urls = arena_alloc(&c->mem, URLS_MAX * sizeof(*a->urls));
    do {
        if (a->n == URLS_MAX)
            return err_parse(e, "too many URLs");
        if (imap_take_sp(in, e) != PARSE_OK ||
            imap_take_astring(in, &c->mem, &a->urls[a->n++], e) != PARSE_OK ||
            imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        at = *in;
        if (imap_take_atom(in, &mechanism, e) != PARSE_OK)
            return PARSE_BAD;
        if (!sl_ieqz(mechanism, "INTERNAL")) {
            *in = at;
            return err_parse(e, "the mechanism is not known");
        }
    } while (in->n > 0);
    return PARSE_OK;
}

/* True: replied that there is no URLAUTH. */
static bool
is_off(struct imap_cmd *c)
{
    if (!imap_has_urlauth(c->s))
        imap_bad(c, "BAD URLAUTH disabled.");
    return !imap_has_urlauth(c->s);
}

/* All or nothing. What is no rump URL, or no URL at all, is BAD; what cannot be allowed is NO. */
enum cmd_rc
imap_run_genurlauth(struct imap_cmd *c)
{
    const struct genurlauth_args *a = c->args;
    struct buf out = { 0 }, url = { 0 };
    struct err e = { 0 };

    if (is_off(c))
        return CMD_DONE;
    for (size_t i = 0; i < a->n; i++) {
        buf_reset(&url);
        if (imap_url_authorise(c, a->urls[i], &url, &e) < 0) {
            if (e.kind == ERR_CLIENT || e.kind == ERR_NOTFOUND)
                imap_reply(c, "NO URLAUTH is not given: %s", e.msg);
            else
                imap_fail(c, &e, SL(""), "NONEXISTENT");
            goto out;
        }
        buf_addc(&out, ' ');
        imap_add_astring(&out, buf_slice(&url));
    }
    buf_addz(&c->out, "* GENURLAUTH");
    buf_adds(&c->out, buf_slice(&out));
    buf_addz(&c->out, "\r\n");
    imap_reply(c, "OK GENURLAUTH completed.");
out:
    buf_free(&out);
    buf_free(&url);
    return CMD_DONE;
}

/* ---- RESETKEY ---- */

enum parse_rc
imap_parse_resetkey(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct slice *name = ARENA_NEW(&c->mem, struct slice), mechanism, at;

    c->args = name;
    if (in->n == 0)
        return PARSE_OK; /* name->p NULL: all of them */
    if (imap_take_sp(in, e) != PARSE_OK || imap_take_astring(in, &c->mem, name, e) != PARSE_OK)
        return PARSE_BAD;
    while (in->n > 0) {
        if (imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        at = *in;
        if (imap_take_atom(in, &mechanism, e) != PARSE_OK)
            return PARSE_BAD;
        if (!sl_ieqz(mechanism, "INTERNAL")) {
            *in = at;
            return err_parse(e, "the mechanism is not known");
        }
    }
    return PARSE_OK;
}

static int
reset_all(struct imap_cmd *c, struct err *e)
{
    char key[STORE_META_SECRET_OCTETS + 1];
    struct store_mailboxes all;
    int rc = store_list(c->s->store, &all, e);

    for (size_t i = 0; rc == 0 && i < all.n; i++) {
        if (all.v[i].attrs & (STORE_MB_NONEXISTENT | STORE_MB_NOSELECT))
            continue;
        rc = store_meta_secret(c->s->store, sl_z(all.v[i].name), true, key, e);
        if (rc < 0 && e->kind == ERR_NOTFOUND)
            rc = 0; /* deleted meanwhile, and its key with it */
    }
    store_mailboxes_free(&all);
    return rc;
}

/* The session that has it selected hears of it: RFC 4467 §8. */
static void
tell_selected(struct imap_cmd *c, struct slice name)
{
    if (c->s->view && (name.p == NULL || sl_eq(store_view_name(c->s->view), name)))
        imap_untagged(c, "OK [URLMECH INTERNAL] Key changed.");
}

enum cmd_rc
imap_run_resetkey(struct imap_cmd *c)
{
    const struct slice *raw = c->args;
    char key[STORE_META_SECRET_OCTETS + 1];
    struct slice name = { 0 };
    struct err e = { 0 };

    if (is_off(c) || (raw->p && !imap_name_decode(c, *raw, &name)))
        return CMD_DONE;
    if ((raw->p ? store_meta_secret(c->s->store, name, true, key, &e) : reset_all(c, &e)) < 0) {
        imap_fail(c, &e, name, "NONEXISTENT");
        return CMD_DONE;
    }
    tell_selected(c, name);
    if (raw->p)
        imap_reply(c, "OK [URLMECH INTERNAL] Key removed.");
    else
        imap_reply(c, "OK All keys removed.");
    return CMD_DONE;
}
