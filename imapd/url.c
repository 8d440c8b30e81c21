/* imapd/url.c - see url.h. Access words: RFC 5092 §6.1.1.3; tokens: §6.1.1.5, RFC 4467 §4. */
#include "imapd/url.h"

#include "auth/auth_client.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/mem.h"
#include "store/metadata.h"
#include "tls/digest.h"

#include <stdlib.h>

struct imap_urls { /* of a command */
    struct imap_cmd *c;
    uint64_t id; /* loop; of the question at authd, 0: none */
    /* who was asked for, and the answer */
    char *asked, *user, *mail, *quota; /* asked NULL: nobody yet; user NULL: no such */
    bool is_answered, is_away;
    /* the last mailbox that was opened; J */
    struct store_user *owner; /* NULL: the session's */
    char *owner_name, *mailbox;
    struct store_view *view;
};

static struct imap_urls *
urls_of(struct imap_cmd *c)
{
    if (c->urls == NULL) {
        c->urls = MEM_NEW(struct imap_urls);
        c->urls->c = c;
    }
    return c->urls;
}

static void
drop_view(struct imap_urls *u)
{
    store_unselect(&u->view);
    free(u->mailbox);
    u->mailbox = NULL;
}

static void
drop_owner(struct imap_urls *u)
{
    drop_view(u);
    store_user_close(&u->owner);
    free(u->owner_name);
    u->owner_name = NULL;
}

void
imap_urls_close(struct imap_cmd *c)
{
    if (c->urls != NULL)
        drop_owner(c->urls);
}

static void
forget_answer(struct imap_urls *u)
{
    free(u->asked);
    free(u->user);
    free(u->mail);
    free(u->quota);
    u->asked = u->user = u->mail = u->quota = NULL;
    u->is_answered = u->is_away = false;
}

void
imap_urls_free(struct imap_cmd *c)
{
    struct imap_urls *u = c->urls;

    if (u == NULL)
        return;
    c->urls = NULL;
    if (u->id)
        id_del(u->id);
    drop_owner(u);
    forget_answer(u);
    free(u);
}

/* ---- whose mail: authd knows ---- */

static void
on_user(uint64_t id, const struct auth_user *a)
{
    struct imap_urls *u = id_get(id);

    if (u == NULL)
        return; /* the command is over */
    id_del(u->id);
    u->id = 0;
    if (!u->c->is_parked || u->c->rc != CMD_ASK)
        return; /* it is cancelled and running: what follows is the job's */
    u->is_answered = true;
    u->is_away = a->found < 0;
    if (a->found == 1) {
        u->user = sl_dupz(a->user);
        u->mail = sl_dupz(a->mail);
        u->quota = sl_dupz(a->quota);
    }
    imap_cmd_resume(u->c);
}

static void
ask_user(struct imap_cmd *c)
{
    struct imap_urls *u = c->urls;

    u->id = id_add(u);
    auth_master_user(imap_auth, sl_z(u->asked), "imap", on_user, u->id);
}

/* 0 answered, 1 ask first. */
static int
look_up(struct imap_cmd *c, const char *name)
{
    struct imap_urls *u = urls_of(c);

    if (u->asked != NULL && strcmp(u->asked, name) == 0 && u->is_answered && !u->is_away)
        return 0;
    if (u->asked != NULL && strcmp(u->asked, name) == 0 && u->is_answered) {
        u->is_answered = false; /* away: told once, asked again the next time */
        return 0;
    }
    forget_answer(u);
    u->asked = mem_dupz(name);
    c->ask = ask_user;
    return 1;
}

/* ---- names ---- */

/* "joe", "joe@example.com" and, where the URL's host is example.com, "joe" of it. */
static bool
is_user(struct slice name, struct slice host, const char *user)
{
    struct slice u = sl_z(user), local;

    if (name.n == 0)
        return false;
    if (sl_ieq(name, u))
        return true;
    return sl_find_char(name, '@') == SL_NPOS && sl_take_until(&u, '@', &local) &&
           sl_ieq(local, name) && sl_ieq(u, host);
}

static bool
is_same_mailbox(struct slice a, struct slice b)
{
    return sl_eq(a, b) || (sl_ieqz(a, "INBOX") && sl_ieqz(b, "INBOX"));
}

bool
imap_has_urlauth(const struct imap_sess *s)
{
    return s->conf->imap_urlauth_host[0] != '\0';
}

static bool
is_our_host(const struct imap_sess *s, const struct imap_url *url)
{
    const char *host = s->conf->imap_urlauth_host;
    int64_t port = url->port ? url->port : IMAP_URL_PORT;

    return strcmp(host, "*") == 0 ||
           (sl_ieqz(url->host, host) && port == s->conf->imap_urlauth_port);
}

/* ---- tokens ---- */

/* Hexadecimal, and a NUL. */
enum { TOKEN_OCTETS = 64 };
static int
make_token(const char *key, const struct imap_url *url, char out[TOKEN_OCTETS + 1], struct err *e)
{
    unsigned char mac[DIGEST_MAX_OCTETS];
    struct buf hex = { 0 };
    size_t n;

    n = digest_hmac(DIGEST_SHA256, sl_z(key), url->rump, mac);
    if (n * 2 != TOKEN_OCTETS)
        return err_set(e, ERR_TEMP, "no HMAC with SHA-256 in this OpenSSL");
    enc_hex(&hex, sl_n((const char *)mac, n));
    memcpy(out, buf_z(&hex), TOKEN_OCTETS + 1);
    buf_free(&hex);
    return 0;
}

/* A wrong token and no mailbox are the same to a stranger: he does not learn what mailboxes there are. */
static int
refuse(struct err *e)
{
    return err_set(e, ERR_CLIENT, "URLAUTH does not authorise this");
}

/* owner NULL: the user that authd has named. Nothing is made for anybody: where there is no key, no token is good. */
static int
check_token(struct imap_cmd *c, struct store_user *owner, const struct imap_url *url, struct err *e)
{
    const struct imap_urls *u = c->urls;
    char key[STORE_META_SECRET_OCTETS + 1], want[TOKEN_OCTETS + 1], got[TOKEN_OCTETS];
    int rc;

    if (url->token.n != TOKEN_OCTETS)
        return refuse(e);
    if (owner != NULL)
        rc = store_meta_known_secret(owner, url->mailbox, key, e);
    else
        rc = store_meta_strangers_secret(
            imapd.store, sl_z(u->user),
            &(struct store_userdb){ .mail = sl_z(u->mail), .quota = sl_z(u->quota) }, url->mailbox,
            key, e);
    if (rc)
        return e->kind == ERR_NOTFOUND || e->kind == ERR_CLIENT ? refuse(e) : -1;
    if (make_token(key, url, want, e))
        return -1;
    for (size_t i = 0; i < TOKEN_OCTETS; i++)
        got[i] = sl_lower_char(url->token.p[i]);
    return digest_equal(want, got, TOKEN_OCTETS) ? 0 : refuse(e);
}

/* May this session's user use it at all? */
static int
check_access(const struct imap_sess *s, const struct imap_url *url, struct err *e)
{
    struct slice submitter = sl_z(s->conf->imap_urlauth_submit_user);
    bool has_user = url->access_user.n > 0;

    if (url->mechanism.p == NULL || url->user.n == 0)
        return err_set(e, ERR_CLIENT, "not a full URLAUTH URL");
    if (!sl_ieqz(url->mechanism, "INTERNAL"))
        return err_set(e, ERR_CLIENT, "URLAUTH mechanism is not known");
    if (url->has_expire && clock_unix_s() > url->expire_unix_s)
        return err_set(e, ERR_CLIENT, "URLAUTH has expired");
    if (!is_our_host(s, url))
        return err_set(e, ERR_CLIENT, "the URL is of another server");
    if (sl_ieqz(url->access, "anonymous") || sl_ieqz(url->access, "authuser"))
        return has_user ? refuse(e) : 0;
    if (sl_ieqz(url->access, "user") && is_user(url->access_user, url->host, s->user))
        return 0;
    if (sl_ieqz(url->access, "submit") && has_user && submitter.n > 0 &&
        sl_ieq(submitter, sl_z(s->user)))
        return 0; /* it acts for whoever it is that submits, and has seen to who that is */
    return refuse(e);
}

/* ---- whose mailbox ---- */

/* The store of the user that authd has named. */
static int
open_owner(struct imap_cmd *c, struct store_user **out, struct err *e)
{
    struct imap_urls *u = c->urls;
    struct store_userdb db = { .mail = sl_z(u->mail), .quota = sl_z(u->quota) };

    if (u->owner == NULL || strcmp(u->owner_name, u->user) != 0) {
        drop_owner(u);
        if (store_user_open(imapd.store, sl_z(u->user), &db, &u->owner, e))
            return -1;
        u->owner_name = mem_dupz(u->user);
    }
    *out = u->owner;
    return 0;
}

/* "joe" is looked for as "joe@host" first: GENURLAUTH takes him as that. 0, 1 ask, -1. *out NULL: he is another. */
static int
find_owner(struct imap_cmd *c, const struct imap_url *url, struct store_user **out, struct err *e)
{
    char *full, *name = sl_dupz(url->user);
    int rc = 0;

    *out = NULL;
    if (sl_find_char(url->user, '@') == SL_NPOS &&
        (c->urls == NULL || c->urls->asked == NULL || strcmp(c->urls->asked, name) != 0)) {
        full = arena_printf(&c->mem, "%.*s@%.*s", SL_ARG(url->user), SL_ARG(url->host));
        rc = full ? look_up(c, full) : err_set(e, ERR_CLIENT, "command too long");
        if (rc == 0 && !c->urls->user && !c->urls->is_away)
            rc = look_up(c, name);
    } else {
        rc = look_up(c, name);
    }
    free(name);
    if (rc)
        return rc;
    if (c->urls->is_away)
        return err_set(e, ERR_TEMP, "authd is away");
    if (!c->urls->user)
        return refuse(e);
    if (strcmp(c->urls->user, c->s->user) == 0) /* some other name of his */
        *out = c->s->store;
    return 0;
}

/* Whose mailbox the URL may reach. 0, 1 ask, -1. */
static int
authorise_url(struct imap_cmd *c, const struct imap_url *url, bool must_auth,
              struct store_user **owner, struct err *e)
{
    bool is_own = is_user(url->user, url->host, c->s->user);
    int rc;

    *owner = c->s->store;
    if (url->access.p == NULL) {
        if (must_auth)
            return err_set(e, ERR_CLIENT, "URL without URLAUTH");
        if (url->is_absolute && !(is_own && is_our_host(c->s, url)))
            return err_set(e, ERR_CLIENT, "the URL is not of this user's mailboxes");
        return 0;
    }
    if (!imap_has_urlauth(c->s))
        return err_set(e, ERR_CLIENT, "URLAUTH is switched off");
    if (check_access(c->s, url, e))
        return -1;
    rc = is_own ? 0 : find_owner(c, url, owner, e);
    if (rc == 0)
        rc = check_token(c, *owner, url, e);
    return rc || *owner != NULL ? rc : open_owner(c, owner, e);
}

/* ---- where it is ---- */

/* The mailbox as it is now: in the selected one when the message is there, else by a view of our own. */
static int
open_view(struct imap_cmd *c, struct store_user *owner, const struct imap_url *url,
          struct store_view **out, struct err *e)
{
    struct imap_urls *u = urls_of(c);
    bool is_own = owner == c->s->store;

    if (is_own && c->s->view && is_same_mailbox(store_view_name(c->s->view), url->mailbox) &&
        store_view_wake(c->s->view, NULL) == 0 && store_view_seq(c->s->view, url->uid) > 0) {
        *out = c->s->view;
        return 0;
    }
    if (is_own && u->owner)
        drop_owner(u);
    if (u->view && is_same_mailbox(sl_z(u->mailbox), url->mailbox) &&
        store_view_seq(u->view, url->uid) > 0) {
        *out = u->view;
        return 0;
    }
    drop_view(u);
    if (store_select(owner, url->mailbox, true, &u->view, e))
        return -1;
    u->mailbox = sl_dupz(url->mailbox);
    *out = u->view;
    return 0;
}

static enum parse_rc
take_item(struct imap_cmd *c, const struct imap_url *url, struct imap_fetch_item *it, struct err *e)
{
    struct slice section = url->section;

    *it = (struct imap_fetch_item){ .kind = IMAP_FETCH_SECTION,
                                    .is_partial = url->is_partial,
                                    .first = url->first,
                                    .count = url->count ? url->count : UINT64_MAX };
    if (imap_take_section(&section, &c->mem, it, e) != PARSE_OK)
        return PARSE_BAD;
    return section.n == 0 ? PARSE_OK : err_parse(e, "the section is not understood");
}

/* The selected mailbox, for relative URLs. */
static void
base_of(const struct imap_cmd *c, struct imap_url *base)
{
    struct store_box box;

    *base = (struct imap_url){ 0 };
    if (!c->s->view)
        return;
    store_view_box(c->s->view, &box);
    base->mailbox = store_view_name(c->s->view);
    base->uidvalidity = box.uidvalidity;
}

static int
parse_url(struct imap_cmd *c, struct slice text, struct imap_url *url, struct imap_fetch_item *it,
          struct err *e)
{
    struct imap_url base;

    base_of(c, &base);
    if (imap_url_parse(text, &base, &c->mem, url, e) != PARSE_OK)
        return -1;
    if (url->mailbox.p == NULL || url->uid == 0 || url->query.p != NULL)
        return err_set(e, ERR_CLIENT, "the URL is not of a message");
    return take_item(c, url, it, e) == PARSE_OK ? 0 : -1;
}

static int
find_place(struct imap_cmd *c, struct store_user *owner, const struct imap_url *url,
           struct imap_url_place *out, struct err *e)
{
    struct store_box box;

    if (open_view(c, owner, url, &out->view, e))
        return -1;
    store_view_box(out->view, &box);
    if (url->uidvalidity && url->uidvalidity != box.uidvalidity)
        return err_set(e, ERR_NOTFOUND, "UIDVALIDITY is another");
    out->seq = store_view_seq(out->view, url->uid);
    return out->seq ? 0 : err_set(e, ERR_NOTFOUND, "there is no such message");
}

int
imap_url_find(struct imap_cmd *c, struct slice text, bool must_auth, struct imap_url_place *out,
              struct err *e)
{
    struct store_user *owner;
    struct imap_url url;
    int rc;

    if (parse_url(c, text, &url, &out->item, e))
        return -1;
    rc = authorise_url(c, &url, must_auth, &owner, e);
    return rc ? rc : find_place(c, owner, &url, out, e);
}

int
imap_url_open(struct imap_cmd *c, struct slice text, struct imap_url_part *out, struct err *e)
{
    struct imap_url_place at;
    int rc;

    *out = (struct imap_url_part){ 0 };
    rc = imap_url_find(c, text, false, &at, e);
    if (rc)
        return rc;
    if (store_file_open(at.view, at.seq, &out->src.file, e))
        return -1;
    if (at.item.n_part > 0 && section_part(&out->src, &at.item) == NULL) {
        imap_url_part_close(out);
        return err_set(e, ERR_NOTFOUND, "there is no such part");
    }
    section_open(&out->section, &out->src, &at.item);
    out->octets = out->section.left;
    return 0;
}

void
imap_url_part_close(struct imap_url_part *p)
{
    section_close(&p->section);
    section_source_close(&p->src);
    p->octets = sl_n(NULL, 0);
}

/* ---- GENURLAUTH ---- */

int
imap_url_authorise(struct imap_cmd *c, struct slice rump, struct buf *out, struct err *e)
{
    char key[STORE_META_SECRET_OCTETS + 1], token[TOKEN_OCTETS + 1];
    struct imap_url_place at;
    struct imap_url url;

    if (parse_url(c, rump, &url, &at.item, e))
        return -1;
    if (url.access.p == NULL || url.mechanism.p != NULL)
        return err_set(e, ERR_CLIENT, "not a URLAUTH rump URL");
    if (!is_user(url.user, url.host, c->s->user))
        return err_set(e, ERR_CLIENT, "URLAUTH is given for one's own mail alone");
    if (!is_our_host(c->s, &url))
        return err_set(e, ERR_CLIENT, "the URL is of another server");
    if (url.has_expire && clock_unix_s() > url.expire_unix_s)
        return err_set(e, ERR_CLIENT, "URLAUTH has expired already");
    if (find_place(c, c->s->store, &url, &at, e) ||
        store_meta_secret(c->s->store, url.mailbox, false, key, e) ||
        make_token(key, &url, token, e))
        return -1;
    buf_adds(out, rump);
    buf_addz(out, ":INTERNAL:");
    buf_addz(out, token);
    return 0;
}
