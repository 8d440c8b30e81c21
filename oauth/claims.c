/* oauth/claims.c - see claims.h. */
#include "oauth/claims.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>

enum { USER_OCTETS = 255, NAMES_TOLD_OCTETS = 150 };

struct look {
    const struct json *v;
    enum claims_from from;
    const struct conf *conf;
    int64_t now, grace;
    struct claims_verdict *out;
};

/* Sentence of a refusal, control octets out. */
__attribute__((format(printf, 2, 3))) static bool
refuse(const struct look *k, const char *fmt, ...)
{
    struct err e = { 0 };
    char text[ERR_MSG_OCTETS];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&e, ERR_AUTH, "%s", text);
    memcpy(k->out->why, e.msg, sizeof e.msg);
    return false;
}

/* NumericDate (RFC 7519 §2): seconds, of which only the whole ones count. Some providers put them into strings. 1 taken, 0
 * not there, -1 none. */
static int
take_time(const struct json *v, const char *name, int64_t *out)
{
    const struct json *t = json_get(v, name);
    struct slice text;
    uint64_t n;

    if (t == NULL || t->type == JSON_NULL)
        return 0;
    if (t->type != JSON_NUMBER && t->type != JSON_STRING)
        return -1;
    text = t->text;
    if (!sl_take_u64(&text, &n) || n > INT64_MAX / 2)
        return -1;
    if (text.n > 0 && t->type == JSON_NUMBER && sl_take_char(&text, '.'))
        while (text.n > 0 && text.p[0] >= '0' && text.p[0] <= '9')
            text = sl_from(text, 1);
    *out = (int64_t)n;
    return text.n == 0 ? 1 : -1;
}

static bool
is_in_time(const struct look *k)
{
    int64_t t;
    int has = take_time(k->v, "exp", &t);

    if (has == 0 && k->from == CLAIMS_INFO) {
        has = take_time(k->v, "expires_in", &t);
        t = has > 0 ? k->now + t : 0;
    }
    if (has < 0)
        return refuse(k, "exp is no time");
    if (has == 0 && k->from == CLAIMS_TOKEN)
        return refuse(k, "it has no exp");
    if (has > 0) {
        if (k->now >= t + k->grace)
            return refuse(k, "it has expired, %lld seconds ago", (long long)(k->now - t));
        k->out->expires_unix_s = t;
    }
    has = take_time(k->v, "nbf", &t);
    if (has < 0 || (has > 0 && k->now < t - k->grace))
        return refuse(k, has < 0 ? "nbf is no time" : "it is not valid yet (nbf)");
    has = take_time(k->v, "iat", &t);
    if (k->from == CLAIMS_TOKEN && (has < 0 || (has > 0 && k->now < t - k->grace)))
        return refuse(k, has < 0 ? "iat is no time" : "it is from the future (iat)");
    return true;
}

/* A value as text: strings, numbers, true and false. */
static struct slice
text_of(const struct json *v)
{
    if (v && (v->type == JSON_STRING || v->type == JSON_NUMBER))
        return v->text;
    if (v && (v->type == JSON_TRUE || v->type == JSON_FALSE))
        return v->type == JSON_TRUE ? SL("true") : SL("false");
    return sl_n(NULL, 0);
}

static bool
is_active(const struct look *k)
{
    const struct json *active = json_get(k->v, "active"), *error = json_get(k->v, "error"), *own;
    const struct conf *c = k->conf;

    if (error && k->from != CLAIMS_TOKEN)
        return refuse(
            k, "the provider says: %.*s",
            SL_ARG(error->type == JSON_STRING ? sl_head(error->text, 100) : SL("an error")));
    if (k->from == CLAIMS_INTROSPECTION && (active == NULL || active->type != JSON_TRUE))
        return refuse(k, active && active->type == JSON_FALSE
                             ? "it is not active"
                             : "the provider does not say whether it is active");
    if (k->from == CLAIMS_INFO && active && !sl_ieqz(text_of(active), "true"))
        return refuse(k, "it is not active");
    if (c->oauth2_active_attribute[0] == '\0')
        return true;
    own = json_get(k->v, c->oauth2_active_attribute);
    if (own == NULL || own->type == JSON_NULL)
        return refuse(k, "there is no %s", c->oauth2_active_attribute);
    if (c->oauth2_active_value[0] && !sl_eqz(text_of(own), c->oauth2_active_value))
        return refuse(k, "%s is not %s", c->oauth2_active_attribute, c->oauth2_active_value);
    return true;
}

static bool
is_issuer_right(const struct look *k)
{
    struct slice iss = json_string(k->v, "iss");
    const struct conf_list *l = &k->conf->oauth2_issuers;

    for (size_t i = 0; i < l->n; i++)
        if (iss.p && sl_eqz(iss, l->v[i]))
            return true;
    return l->n == 0 || refuse(k, "iss %.*s is none of oauth2_issuers",
                               SL_ARG(iss.p ? sl_head(iss, 100) : SL("(missing)")));
}

/* RFC 7519 §4.1.3. azp, or client_id (RFC 9068), is for whom it was made: a mail program that the operator knows. */
static bool
is_meant_for(const struct look *k, const char *name)
{
    struct slice n = sl_z(name);

    return json_has_string(json_get(k->v, "aud"), n) || sl_eq(json_string(k->v, "azp"), n) ||
           (json_get(k->v, "azp") == NULL && sl_eq(json_string(k->v, "client_id"), n));
}

static bool
is_audience_right(const struct look *k)
{
    const struct conf_list *l = &k->conf->oauth2_audience;
    const char *client = k->conf->oauth2_client_id;

    for (size_t i = 0; i < l->n; i++)
        if (is_meant_for(k, l->v[i]))
            return true;
    if (l->n > 0)
        return refuse(k, "neither aud nor azp is in oauth2_audience");
    if (k->from == CLAIMS_TOKEN && client[0] && !is_meant_for(k, client))
        return refuse(k, "neither aud nor azp is oauth2_client_id");
    return true;
}

/* "scope": words in a string (RFC 8693 §4.2) or an array; "scp" is Microsoft's. */
static bool
has_scope(const struct json *v, const char *wanted)
{
    static const char *const names[] = { "scope", "scp" };
    struct slice words, word;

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (json_has_string(json_get(v, names[i]), sl_z(wanted)))
            return true;
        words = json_string(v, names[i]);
        while (sl_take_word(&words, " ", &word))
            if (sl_eqz(word, wanted))
                return true;
    }
    return false;
}

static bool
has_scopes(const struct look *k)
{
    const struct conf_list *l = &k->conf->oauth2_scope;

    for (size_t i = 0; i < l->n; i++)
        if (!has_scope(k->v, l->v[i])) {
            k->out->is_scope = true;
            return refuse(k, "it lacks the scope %s", l->v[i]);
        }
    return true;
}

/* Which names there are: what an operator must know to choose one. */
static bool
refuse_without_user(const struct look *k)
{
    struct buf names = { .max = NAMES_TOLD_OCTETS };
    struct json const *m = k->v->first;

    for (; m; m = m->next)
        if (buf_addf(&names, "%s%.*s", names.n ? " " : "", SL_ARG(m->name)) != 0)
            break;
    refuse(k, "there is no %s in it, but: %s", k->conf->oauth2_username_attribute, buf_z(&names));
    buf_free(&names);
    return false;
}

static bool
take_user(const struct look *k)
{
    const char *name = k->conf->oauth2_username_attribute;
    const struct json *verified = json_get(k->v, "email_verified");
    struct slice user = text_of(json_get(k->v, name));

    if (user.n == 0)
        return refuse_without_user(k);
    if (user.n > USER_OCTETS)
        return refuse(k, "%s is too long", name);
    for (size_t i = 0; i < user.n; i++)
        if ((unsigned char)user.p[i] <= 0x20 || user.p[i] == 0x7f)
            return refuse(k, "%s is no name", name);
    /* Who may type any address there must not have that mailbox here. */
    if (strcmp(name, "email") == 0 && verified && !sl_ieqz(text_of(verified), "true"))
        return refuse(k, "the provider has not verified the address (email_verified)");
    k->out->user = user;
    return true;
}

void
claims_judge(const struct json *v, enum claims_from from, const struct conf *c, int64_t now_unix_s,
             struct claims_verdict *out)
{
    const struct look k = {
        .v = v,
        .from = from,
        .conf = c,
        .now = now_unix_s,
        .out = out,
        .grace = c->oauth2_token_expire_grace / 1000,
    };
    bool is_good = v && v->type == JSON_OBJECT;

    *out = (struct claims_verdict){ .rc = OAUTH_INVALID };
    if (!is_good)
        refuse(&k, "it is no object");
    is_good = is_good && is_active(&k) && is_in_time(&k) && is_issuer_right(&k) &&
              is_audience_right(&k) && take_user(&k) && has_scopes(&k);
    if (is_good)
        out->rc = OAUTH_OK;
}
