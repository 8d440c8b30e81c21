/* oauth/check.c - see check.h. Equal tokens that come while one is being asked about (a mail program with five connections)
 * share its answer. Only digests of tokens are kept. */
#include "oauth/check.h"

#include "oauth/claims.h"
#include "oauth/http.h"
#include "oauth/jwt.h"
#include "oauth/keys.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/loop.h"
#include "tls/digest.h"

#include <stdlib.h>

enum { DIGEST_OCTETS = 32, SECRET_OCTETS = 4096, ANSWER_ARENA_OCTETS = 4 * 1024 * 1024 };

struct asker {
    check_fn *cb;
    uint64_t id, number;
};

struct check {
    struct list waits; /* in ck.for_keys */
    unsigned char digest[DIGEST_OCTETS];
    uint64_t id;
    struct conf *conf;
    struct buf token;
    struct buf first; /* what tokeninfo has said */
    uint64_t began_ms;
    struct asker *askers;
    size_t n, cap;
};

struct known { /* a good token */
    struct list link;
    unsigned char digest[DIGEST_OCTETS];
    uint64_t until_ms;
    struct slice user; /* in the same allocation */
};

static struct {
    struct conf *conf;
    struct dns *dns;
    struct tls_ctx *tls;
    struct http_client *http;
    struct keys *keys;
    struct url tokeninfo, introspection;
    struct buf client_id, secret;
    struct err trouble;   /* msg[0]: why nobody can be asked */
    struct map *running;  /* digest -> struct check */
    struct list for_keys; /* checks */
    struct map *known;    /* digest -> struct known */
    struct list by_age;   /* of those */
} ck;

static void introspect(struct check *c);

static struct slice
digest_slice(const unsigned char *d)
{
    return sl_n((const char *)d, DIGEST_OCTETS);
}

/* ---- the cache ---- */

static void
forget(struct known *k)
{
    map_del(ck.known, digest_slice(k->digest));
    list_remove(&k->link);
    free(k);
}

static void
remember(const struct check *c, const struct claims_verdict *v, int64_t now)
{
    uint64_t ttl_ms = (uint64_t)c->conf->oauth2_cache_ttl;
    struct known *k;

    if (v->expires_unix_s != 0 && v->expires_unix_s <= now)
        return; /* good by oauth2_token_expire_grace alone */
    if (v->expires_unix_s != 0 && (uint64_t)(v->expires_unix_s - now) < ttl_ms / 1000)
        ttl_ms = (uint64_t)(v->expires_unix_s - now) * 1000;
    if (ttl_ms == 0 || c->conf != ck.conf)
        return;
    k = map_get(ck.known, digest_slice(c->digest));
    if (k)
        forget(k);
    if (map_count(ck.known) >= CHECK_CACHE_MAX)
        forget(CONTAINER_OF(ck.by_age.next, struct known, link));
    k = mem_zalloc(sizeof *k + v->user.n);
    memcpy(k->digest, c->digest, DIGEST_OCTETS);
    memcpy(k + 1, v->user.p, v->user.n);
    k->user = sl_n((const char *)(k + 1), v->user.n);
    k->until_ms = loop_now_ms() + ttl_ms;
    map_set(ck.known, digest_slice(k->digest), k);
    list_push_back(&ck.by_age, &k->link);
}

static bool
is_known(const unsigned char *digest, struct slice *user)
{
    struct known *k = map_get(ck.known, digest_slice(digest));

    if (k == NULL)
        return false;
    if (loop_now_ms() >= k->until_ms) {
        forget(k);
        return false;
    }
    *user = k->user;
    return true;
}

static void
forget_all(void)
{
    while (!list_is_empty(&ck.by_age))
        forget(CONTAINER_OF(ck.by_age.next, struct known, link));
}

/* ---- ends of a check ---- */

static void
finish(struct check *c, const struct oauth_result *r)
{
    map_del(ck.running, digest_slice(c->digest));
    list_remove(&c->waits);
    id_del(c->id);
    for (size_t i = 0; i < c->n; i++)
        c->askers[i].cb(c->askers[i].id, c->askers[i].number, r);
    buf_wipe(&c->token);
    buf_free(&c->first); /* r may be of it */
    conf_unref(&c->conf);
    free(c->askers);
    free(c);
}

static void
finish_temporarily(struct check *c, const char *what, const char *why)
{
    struct buf text = { 0 };

    buf_addf(&text, "%s%s%s", what, what[0] ? ": " : "", why);
    log_warn("oauth.trouble", LOG_F(LF_Z("why", buf_z(&text))), "a token cannot be checked: %s",
             buf_z(&text));
    finish(c, &(struct oauth_result){ .rc = OAUTH_TEMP, .why = buf_slice(&text) });
    buf_free(&text);
}

static void
finish_invalid(struct check *c, const char *why, bool is_scope)
{
    finish(c,
           &(struct oauth_result){ .rc = OAUTH_INVALID, .why = sl_z(why), .is_scope = is_scope });
}

static void
finish_judged(struct check *c, const struct claims_verdict *v)
{
    if (v->rc == OAUTH_OK)
        finish(c, &(struct oauth_result){ .rc = OAUTH_OK, .user = v->user });
    else
        finish_invalid(c, v->why, v->is_scope);
}

/* ---- signed tokens ---- */

static void
check_signature(struct check *c)
{
    struct arena mem = { .cap = JWT_ARENA_OCTETS };
    const struct json *claims;
    struct claims_verdict v;
    struct err e = { 0 };
    const char *why;
    const struct jwks *keys = keys_now(ck.keys, &why);

    if (keys == NULL) {
        finish_temporarily(c, "oauth2_jwks_file", why);
    } else if (jwt_verify(buf_slice(&c->token), keys, &mem, &claims, &e) != 0) {
        finish_invalid(c, e.msg, false);
    } else {
        claims_judge(claims, CLAIMS_TOKEN, c->conf, clock_unix_s(), &v);
        finish_judged(c, &v);
    }
    arena_free(&mem);
}

static void
on_keys(void)
{
    struct list *next;

    while ((next = list_pop_front(&ck.for_keys)) != NULL)
        check_signature(CONTAINER_OF(next, struct check, waits));
}

/* ---- asking the provider ---- */

static bool
is_mode(const struct check *c, const char *mode)
{
    return sl_ieqz(sl_z(mode), c->conf->oauth2_introspection_mode);
}

/* Not 200: is that about the token, or about us and them? */
static void
finish_refused(struct check *c, bool is_post, unsigned status)
{
    char text[100];
    bool is_redirect = status >= 300 && status < 400;

    snprintf(text, sizeof text, "it answers %u%s", status,
             is_redirect                ? " (a redirect: the URL must be the final one)"
             : is_post && status == 401 ? " (oauth2_client_id or oauth2_client_secret is wrong)"
                                        : "");
    if (!is_post && (status == 400 || status == 401 || status == 403))
        finish_invalid(c, text, status == 403);
    else
        finish_temporarily(c, "the provider", text);
}

/* What both answers say, the later one first: json_get() finds that. */
static const struct json *
join(const struct json *later, const struct json *earlier, struct arena *mem)
{
    struct json *all = ARENA_NEW(mem, struct json);
    const struct json **link = &all->first;

    if (all == NULL)
        return later;
    all->type = JSON_OBJECT;
    for (const struct json *from = later; from; from = from == later ? earlier : NULL)
        for (const struct json *m = from->first; m; m = m->next) {
            struct json *copy = ARENA_NEW(mem, struct json);

            if (copy == NULL)
                return later;
            *copy = *m;
            copy->next = NULL;
            *link = copy;
            link = &copy->next;
        }
    return all;
}

/* is_last: nobody is asked after this. */
static void
judge(struct check *c, struct slice body, bool is_last)
{
    struct arena mem = { .cap = ANSWER_ARENA_OCTETS };
    const struct json *j = NULL, *first = NULL;
    enum claims_from from = is_last && is_mode(c, "post") && ck.introspection.target
                                ? CLAIMS_INTROSPECTION
                                : CLAIMS_INFO;
    struct claims_verdict v;
    struct err e = { 0 };
    int64_t now = clock_unix_s();

    if (json_parse(body, &mem, &j, &e) != 0 ||
        (c->first.n > 0 && json_parse(buf_slice(&c->first), &mem, &first, &e) != 0)) {
        finish_temporarily(c, "the provider's answer", e.msg);
    } else {
        if (first && first->type == JSON_OBJECT && j->type == JSON_OBJECT)
            j = join(j, first, &mem);
        claims_judge(j, from, c->conf, now, &v);
        if (!is_last && (v.rc != OAUTH_OK || c->conf->oauth2_force_introspection)) {
            buf_adds(&c->first, body);
            introspect(c);
        } else {
            if (v.rc == OAUTH_OK)
                remember(c, &v, now);
            finish_judged(c, &v);
        }
    }
    arena_free(&mem);
}

static void
on_answer(uint64_t id, const struct http_answer *a, bool is_last)
{
    struct check *c = id_get(id);

    if (c == NULL)
        return;
    if (c->conf != ck.conf) /* rules and provider have changed meanwhile */
        finish_temporarily(c, "", "main.cf has changed");
    else if (a->status == 0)
        finish_temporarily(c, "the provider", a->why);
    else if (a->status != 200)
        finish_refused(c, is_last && is_mode(c, "post") && ck.introspection.target, a->status);
    else
        judge(c, a->body, is_last);
}

static void
on_tokeninfo(uint64_t id, const struct http_answer *a)
{
    on_answer(id, a, ck.introspection.target == NULL);
}

static void
on_introspection(uint64_t id, const struct http_answer *a)
{
    on_answer(id, a, true);
}

/* What is left of oauth2_timeout. */
static uint64_t
left_ms(const struct check *c)
{
    uint64_t limit = (uint64_t)c->conf->oauth2_timeout, gone = loop_now_ms() - c->began_ms;

    return gone < limit ? limit - gone : 1;
}

/* RFC 6749 §2.3.1 */
static void
add_basic(struct buf *out)
{
    struct buf login = { 0 };

    http_add_escaped(&login, buf_slice(&ck.client_id));
    buf_addc(&login, ':');
    http_add_escaped(&login, buf_slice(&ck.secret));
    buf_addz(out, "Basic ");
    enc_b64(out, buf_slice(&login));
    buf_wipe(&login);
}

static void
introspect(struct check *c)
{
    struct buf auth = { 0 }, suffix = { 0 }, form = { 0 };
    struct http_ask ask = { .url = &ck.introspection, .timeout_ms = left_ms(c) };

    if (is_mode(c, "post")) {
        buf_reserve(&form, c->token.n * 3 + 64);
        buf_addz(&form, "token=");
        http_add_escaped(&form, buf_slice(&c->token));
        buf_addz(&form, "&token_type_hint=access_token");
        ask.form = buf_slice(&form);
        if (ck.client_id.n > 0)
            add_basic(&auth);
    } else if (is_mode(c, "get")) {
        http_add_escaped(&suffix, buf_slice(&c->token));
        ask.suffix = buf_slice(&suffix);
    } else {
        buf_reserve(&auth, c->token.n + 16);
        buf_addz(&auth, "Bearer ");
        buf_adds(&auth, buf_slice(&c->token));
    }
    ask.authorization = buf_slice(&auth);
    http_client_ask(ck.http, &ask, on_introspection, c->id);
    buf_wipe(&auth);
    buf_wipe(&suffix);
    buf_wipe(&form);
}

static void
ask_tokeninfo(struct check *c)
{
    struct buf suffix = { 0 };
    struct http_ask ask = { .url = &ck.tokeninfo, .timeout_ms = left_ms(c) };

    http_add_escaped(&suffix, buf_slice(&c->token));
    ask.suffix = buf_slice(&suffix);
    http_client_ask(ck.http, &ask, on_tokeninfo, c->id);
    buf_wipe(&suffix);
}

static void
run(struct check *c)
{
    if (ck.trouble.msg[0]) {
        finish_temporarily(c, "", ck.trouble.msg);
    } else if (is_mode(c, "local")) {
        if (keys_are_ready(ck.keys))
            check_signature(c);
        else
            list_push_back(&ck.for_keys, &c->waits);
    } else if (ck.tokeninfo.target) {
        ask_tokeninfo(c);
    } else {
        introspect(c);
    }
}

void
check_token(struct slice token, check_fn *cb, uint64_t id, uint64_t number)
{
    unsigned char sum[DIGEST_MAX_OCTETS];
    struct slice user;
    struct check *c;
    bool is_new;

    if (digest(DIGEST_SHA256, token, sum) != DIGEST_OCTETS) {
        cb(id, number, &(struct oauth_result){ .rc = OAUTH_TEMP, .why = SL("no SHA-256 here") });
        return;
    }
    if (is_known(sum, &user)) {
        cb(id, number, &(struct oauth_result){ .rc = OAUTH_OK, .user = user });
        return;
    }
    c = map_get(ck.running, digest_slice(sum));
    is_new = c == NULL;
    if (is_new) {
        c = MEM_NEW(struct check);
        memcpy(c->digest, sum, DIGEST_OCTETS);
        list_init(&c->waits);
        c->id = id_add(c);
        c->conf = conf_ref(ck.conf);
        c->began_ms = loop_now_ms();
        buf_adds(&c->token, token);
        map_set(ck.running, digest_slice(c->digest), c);
    }
    c->askers = mem_grow(c->askers, &c->cap, c->n + 1, sizeof *c->askers);
    c->askers[c->n++] = (struct asker){ cb, id, number };
    if (is_new)
        run(c);
}

/* ---- what main.cf says ---- */

void
check_init(void)
{
    list_init(&ck.for_keys);
    list_init(&ck.by_age);
    ck.running = map_new();
    ck.known = map_new();
    ck.http = http_client_new();
    ck.keys = keys_new(on_keys);
}

/* oauth2_client_secret, or what is in the file that it names, without the line's end. */
static int
take_secret(const struct conf *c, struct err *e)
{
    const char *text = c->oauth2_client_secret;

    buf_wipe(&ck.secret);
    ck.secret.max = SECRET_OCTETS;
    if (text[0] != '<') {
        buf_addz(&ck.secret, text);
        return 0;
    }
    if (fs_read_file(text + 1, &ck.secret, e) != 0)
        return err_prefix(e, "oauth2_client_secret");
    while (ck.secret.n > 0 && strchr("\r\n", ck.secret.p[ck.secret.off + ck.secret.n - 1]))
        ck.secret.n--;
    return 0;
}

static int
take_url(const char *name, const char *text, struct url *out, struct err *e)
{
    url_free(out);
    return text[0] && url_parse(text, out, e) != 0 ? err_prefix(e, "%s", name) : 0;
}

static int
take_provider(const struct conf *c, struct err *e)
{
    const struct tls_client_opts o = {
        .protocols = ">=TLSv1.2",
        .ca_file = c->oauth2_tls_ca_cert_file,
        .system_ca = c->oauth2_tls_ca_cert_file[0] == '\0',
    };

    if (take_url("oauth2_tokeninfo_url", c->oauth2_tokeninfo_url, &ck.tokeninfo, e) != 0 ||
        take_url("oauth2_introspection_url", c->oauth2_introspection_url, &ck.introspection, e) !=
            0 ||
        take_secret(c, e) != 0 || dns_new(&c->dns_resolvers, &ck.dns, e) != 0 ||
        tls_client_new(&o, &ck.tls, e) != 0)
        return -1;
    buf_reset(&ck.client_id);
    buf_addz(&ck.client_id, c->oauth2_client_id);
    if (ck.introspection.user) {
        buf_reset(&ck.client_id);
        buf_addz(&ck.client_id, ck.introspection.user);
        buf_wipe(&ck.secret);
        buf_addz(&ck.secret, ck.introspection.password);
    }
    return 0;
}

int
check_set(const struct conf *c, struct err *e)
{
    struct dns *old_dns = ck.dns;
    struct tls_ctx *old_tls = ck.tls;
    struct conf *old = ck.conf;
    struct list *next;
    bool is_local = sl_ieqz(SL("local"), c->oauth2_introspection_mode);
    int rc = 0;

    ck.dns = NULL;
    ck.tls = NULL;
    ck.conf = conf_ref(c);
    ck.trouble = (struct err){ 0 };
    forget_all();
    if (!is_local) /* there nobody is asked */
        rc = take_provider(c, &ck.trouble);
    if (rc != 0 && e)
        *e = ck.trouble;
    http_client_set(ck.http, ck.dns, ck.tls, (unsigned)c->oauth2_max_parallel_connections);
    keys_set(ck.keys, is_local ? c->oauth2_jwks_file : "");
    while ((next = list_pop_front(&ck.for_keys)) != NULL)
        finish_temporarily(CONTAINER_OF(next, struct check, waits), "", "main.cf has changed");
    dns_free(&old_dns); /* whom it would have answered ends by its time limit */
    tls_unref(&old_tls);
    conf_unref(&old);
    return rc;
}
