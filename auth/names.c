/* auth/names.c - see names.h. */
#include "auth/names.h"

#include "base/mem.h"
#include "base/percent.h"
#include "proto/idn.h"

#include <string.h>

enum { VAR_USER, VAR_USERNAME, VAR_DOMAIN, VAR_FIRST, VAR_LAST };
static const struct percent_var vars[] = {
    [VAR_USER] = { 'u', "user" },         [VAR_USERNAME] = { 'n', "username" },
    [VAR_DOMAIN] = { 'd', "domain" },     [VAR_FIRST] = { '\0', "domain_first" },
    [VAR_LAST] = { '\0', "domain_last" },
};

static struct slice
behind(struct slice s, size_t at)
{
    return sl_from(s, at == SL_NPOS ? s.n : at + 1);
}

static struct slice
before(struct slice s, size_t at)
{
    return sl_head(s, at == SL_NPOS ? s.n : at);
}

static void
add_value(void *arg, size_t i, struct buf *out)
{
    struct slice name = *(struct slice *)arg;
    size_t first = sl_find_char(name, '@'); /* as Dovecot; a domain has none */

    switch (i) {
    case VAR_USER:
        break;
    case VAR_USERNAME:
        name = before(name, first);
        break;
    case VAR_LAST:
        name = behind(name, sl_rfind_char(name, '@'));
        break;
    default:
        name = behind(name, first);
        if (i == VAR_FIRST)
            name = before(name, sl_find_char(name, '@'));
    }
    buf_adds(out, name);
}

int
auth_format_check(const char *format, struct err *e)
{
    const char *fault = percent_check(sl_z(format), vars, COUNT_OF(vars));
    bool has_name = percent_has(sl_z(format), vars, COUNT_OF(vars), VAR_USER) ||
                    percent_has(sl_z(format), vars, COUNT_OF(vars), VAR_USERNAME);

    if (fault == NULL && format[0] && !has_name)
        fault = "nothing in it that tells users apart (%u or %n)";
    return fault ? err_set(e, ERR_CONFIG, "%s", fault) : 0;
}

void
auth_format_name(const char *format, struct slice name, struct buf *out)
{
    if (*format == '\0')
        buf_adds(out, name);
    else
        percent_expand(out, sl_z(format), vars, COUNT_OF(vars), add_value, &name);
}

/* ---- what clients say ---- */

/* "from" and "to" in turns: "#@/@" makes '#' and '/' an '@'. The last of equal ones counts, as in Dovecot. */
static char
translate(const char *pairs, char c)
{
    char to = c;

    for (; pairs[0] && pairs[1]; pairs += 2)
        if (pairs[0] == c)
            to = pairs[1];
    return to;
}

bool
auth_name_of_client(const struct conf *c, struct slice name, struct buf *out, const char **why)
{
    struct buf said = { 0 };
    size_t was = out->n;

    *why = NULL;
    buf_adds(&said, name);
    if (c->auth_default_realm[0] && name.n && sl_find_char(name, '@') == SL_NPOS)
        buf_addf(&said, "@%s", c->auth_default_realm);
    for (size_t i = 0; i < said.n; i++) {
        char *p = said.p + said.off + i;

        *p = translate(c->auth_username_translation, *p);
        if (c->auth_username_chars[0] && (*p == '\0' || !strchr(c->auth_username_chars, *p)))
            *why = "Username character disallowed by auth_username_chars";
    }
    auth_format_name(c->auth_username_format, buf_slice(&said), out);
    if (out->n == was)
        *why = "Empty username";
    buf_free(&said);
    return *why == NULL;
}

bool
auth_names_of_client(const struct conf *c, struct slice said, struct slice authzid,
                     struct buf *user, struct buf *other, const char **why)
{
    const char separator = c->auth_master_user_separator[0], *of_other = NULL;
    struct slice wanted = sl_n(NULL, 0), rest = said;
    bool is_name;

    if (separator && sl_take_until(&rest, separator, &wanted))
        said = rest;
    else
        wanted = sl_n(NULL, 0);
    if (authzid.n > 0)
        wanted = authzid;
    is_name = auth_name_of_client(c, said, user, why);
    if (wanted.p && !auth_name_of_client(c, wanted, other, &of_other)) {
        is_name = false;
        *why = *why ? *why : of_other;
    }
    if (sl_eq(buf_slice(other), buf_slice(user)))
        buf_reset(other);
    return is_name;
}

void
auth_name_key(struct slice name, struct buf *out)
{
    struct slice domain = sl_from(name, sl_rfind_char(name, '@') + 1);
    size_t at = out->n;
    struct idn d;

    if (idn_forms(domain, &d)) {
        buf_adds(out, sl_head(name, name.n - domain.n));
        buf_addz(out, d.ascii);
    } else {
        buf_adds(out, name);
    }
    for (; at < out->n; at++)
        out->p[out->off + at] = sl_lower_char(out->p[out->off + at]);
}
