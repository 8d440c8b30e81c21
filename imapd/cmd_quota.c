/* imapd/cmd_quota.c - GETQUOTA and GETQUOTAROOT (RFC 9208 §4.1). There is one quota root, the user's, by the name that `quota`
 * gives it; limits are set by the operator (`postern quota`), so QUOTASET is not offered. */
#include "imapd/rows.h"

#include "base/mem.h"
#include "store/quota.h"

enum parse_rc
imap_parse_getquota(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct slice *root = ARENA_NEW(&c->mem, struct slice);

    c->args = root;
    return imap_take_sp(in, e) != PARSE_OK ? PARSE_BAD : imap_take_astring(in, &c->mem, root, e);
}

/* In RFC 9208's units: storage is counted in 1024 octets, whatever is begun counts. */
static void
add_resource(struct imap_cmd *c, const char *name, int64_t used, int64_t limit, int64_t unit,
             bool *has_any)
{
    if (limit <= 0)
        return;
    buf_addf(&c->out, "%s%s %lld %lld", *has_any ? " " : "", name,
             (long long)((used + unit - 1) / unit), (long long)((limit + unit - 1) / unit));
    *has_any = true;
}

/* "* QUOTA root (STORAGE 10 512)"; false: it is answered already. */
static bool
tell_quota(struct imap_cmd *c, const struct store_userdb *db, const char *root)
{
    struct quota_usage u;
    struct err e = { 0 };
    bool has_any = false;

    if (quota_usage(imapd.store, sl_z(c->s->user), db, &u, &e) < 0) {
        imap_fail(c, &e, SL(""), "NONEXISTENT");
        return false;
    }
    buf_addz(&c->out, "* QUOTA ");
    imap_add_astring(&c->out, sl_z(root));
    buf_addz(&c->out, " (");
    add_resource(c, "STORAGE", u.octets, u.limit.octets, 1024, &has_any);
    add_resource(c, "MESSAGE", u.messages, u.limit.messages, 1, &has_any);
    buf_addz(&c->out, ")\r\n");
    return true;
}

static struct quota_rules *
rules_of(struct imap_cmd *c, const struct store_userdb *db)
{
    struct quota_rules *r = NULL;
    struct err e = { 0 };

    if (quota_rules_new(c->s->conf, db->quota, &r, &e) < 0) {
        e.kind = ERR_TEMP; /* the operator's, not the client's */
        imap_fail(c, &e, SL(""), "NONEXISTENT");
    }
    return r;
}

static struct store_userdb
db_of(const struct imap_cmd *c)
{
    return (struct store_userdb){ .mail = sl_z(c->s->mail), .quota = sl_z(c->s->quota) };
}

enum cmd_rc
imap_run_getquota(struct imap_cmd *c)
{
    const struct slice *root = c->args;
    struct store_userdb db = db_of(c);
    struct quota_rules *r;

    if (!quota_is_on(c->s->conf)) {
        imap_reply(c, "NO [NONEXISTENT] Quota root doesn't exist");
        return CMD_DONE;
    }
    r = rules_of(c, &db);
    if (r && !sl_eqz(*root, quota_rules_root(r)))
        imap_reply(c, "NO [NONEXISTENT] Quota root doesn't exist");
    else if (r && tell_quota(c, &db, quota_rules_root(r)))
        imap_reply(c, "OK Getquota completed.");
    quota_rules_free(&r);
    return CMD_DONE;
}

/* A mailbox that does not count has no root. It need not exist. */
enum cmd_rc
imap_run_getquotaroot(struct imap_cmd *c)
{
    const struct slice *mailbox = c->args;
    struct store_userdb db = db_of(c);
    struct quota_rules *r = NULL;
    struct quota_limit limit;
    struct slice name;
    bool has_root = false, is_good = true;

    if (!imap_name_decode(c, *mailbox, &name))
        return CMD_DONE;
    if (quota_is_on(c->s->conf)) {
        r = rules_of(c, &db);
        if (r == NULL)
            return CMD_DONE;
        if (sl_ieqz(name, "INBOX"))
            name = SL("INBOX");
        has_root = quota_rules_limit(r, name, store_separator(c->s->store), &limit);
    }
    buf_addz(&c->out, "* QUOTAROOT ");
    if (imap_is_utf8(c->s))
        imap_add_utf8_astring(&c->out, *mailbox);
    else
        imap_add_astring(&c->out, *mailbox);
    if (has_root) {
        buf_addc(&c->out, ' ');
        imap_add_astring(&c->out, sl_z(quota_rules_root(r)));
    }
    buf_addz(&c->out, "\r\n");
    if (has_root)
        is_good = tell_quota(c, &db, quota_rules_root(r));
    if (is_good)
        imap_reply(c, "OK Getquotaroot completed.");
    quota_rules_free(&r);
    return CMD_DONE;
}
