/* store/location.c - see names.h. The words and variables of Dovecot's mail_location. */
#include "store/names.h"

#include "base/mem.h"

#include <stdlib.h>

enum { HOME_DEPTH_MAX = 1 };

/* Can this be one component of a path, and nothing but that? Empty is allowed: Dovecot gives an empty %d to a user
 * without a domain. */
static bool
component_is_safe(struct slice s)
{
    if (sl_eqz(s, ".") || sl_eqz(s, "..") || s.n > 255)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c < ' ' || c == 0x7f || c == '/')
            return false;
    }
    return true;
}

static void
split_user(struct slice user, struct slice *local, struct slice *domain)
{
    size_t at = sl_rfind_char(user, '@');

    *local = at == SL_NPOS ? user : sl_head(user, at);
    *domain = at == SL_NPOS ? sl_n(NULL, 0) : sl_from(user, at + 1);
}

bool
location_user_is_safe(struct slice user)
{
    struct slice local, domain;

    split_user(user, &local, &domain);
    return local.n > 0 && component_is_safe(local) && component_is_safe(domain) &&
           component_is_safe(user);
}

static void
add_folded(struct buf *out, struct slice s, char modifier)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (modifier == 'L')
            c = sl_lower_char(c);
        else if (modifier == 'U' && c >= 'a' && c <= 'z')
            c = (char)(c - 32);
        buf_addc(out, c);
    }
}

/* Expand the variables of text. depth: %h inside mail_home itself stands for nothing. */
static int
expand(const struct conf *c, struct slice text, struct slice user, unsigned depth, struct buf *out,
       struct err *e)
{
    struct slice local, domain;

    split_user(user, &local, &domain);
    while (text.n > 0) {
        char modifier = 0, what;

        if (!sl_take_char(&text, '%')) {
            buf_addc(out, text.p[0]);
            text = sl_from(text, 1);
            continue;
        }
        if (text.n > 1 && (text.p[0] == 'L' || text.p[0] == 'U')) {
            modifier = text.p[0];
            text = sl_from(text, 1);
        }
        if (text.n == 0)
            return err_set(e, ERR_CONFIG, "mail_location: '%%' at the end");
        what = text.p[0];
        text = sl_from(text, 1);
        switch (what) {
        case '%':
            buf_addc(out, '%');
            break;
        case 'u':
            add_folded(out, user, modifier);
            break;
        case 'n':
            add_folded(out, local, modifier);
            break;
        case 'd':
            add_folded(out, domain, modifier);
            break;
        case 'h':
            if (depth >= HOME_DEPTH_MAX || c->mail_home[0] == '\0')
                return err_set(e, ERR_CONFIG,
                               "mail_location names the home, and mail_home is not set");
            if (expand(c, sl_z(c->mail_home), user, depth + 1, out, e))
                return -1;
            break;
        default:
            return err_set(e, ERR_CONFIG, "mail_location: variable %%%c is not known", what);
        }
    }
    return 0;
}

/* The path of a location without driver and options. */
static int
location_path(struct slice location, struct slice *path, struct err *e)
{
    struct slice rest = sl_trim(location);

    if (!sl_take_iprefix(&rest, SL("maildir:")) && !sl_starts(rest, '/') && !sl_starts(rest, '~'))
        return err_set(e, ERR_CONFIG, "mail_location: only maildir: is supported, not \"%.*s\"",
                       SL_ARG(location));
    if (!sl_take_until(&rest, ':', path)) {
        *path = rest;
        rest = sl_n(NULL, 0);
    }
    if (rest.n > 0)
        return err_set(e, ERR_CONFIG, "mail_location: option \"%.*s\" is not supported",
                       SL_ARG(rest));
    if (path->n == 0)
        return err_set(e, ERR_CONFIG, "mail_location: no path");
    return 0;
}

int
location_resolve(const struct conf *c, struct slice user, struct slice mail, char **root,
                 struct err *e)
{
    struct buf out = { .max = LOCATION_MAX_OCTETS };
    struct slice path = { 0 }, home = SL("%h");

    *root = NULL;
    if (!location_user_is_safe(user))
        return err_set(e, ERR_PERM, "user name \"%.*s\" is not allowed", SL_ARG(user));
    if (location_path(mail.n > 0 ? mail : sl_z(c->mail_location), &path, e))
        return -1;
    if (sl_eqz(path, "~") || sl_has_prefix(path, SL("~/"))) {
        if (expand(c, home, user, 0, &out, e))
            goto bad;
        path = sl_from(path, 1);
    }
    if (expand(c, path, user, 0, &out, e))
        goto bad;
    while (out.n > 1 && sl_ends(buf_slice(&out), '/'))
        buf_truncate(&out, out.n - 1);
    if (out.n + 1 >= LOCATION_MAX_OCTETS || !sl_starts(buf_slice(&out), '/')) {
        err_set(e, ERR_CONFIG, "mail_location gives no absolute path: \"%.*s\"",
                SL_ARG(buf_slice(&out)));
        goto bad;
    }
    *root = sl_dupz(buf_slice(&out));
    buf_free(&out);
    return 0;
bad:
    buf_free(&out);
    return -1;
}

char *
location_common(const struct conf *c)
{
    struct slice path = { 0 };
    size_t at;

    if (location_path(sl_z(c->mail_location), &path, NULL) || !sl_starts(path, '/'))
        return NULL;
    at = sl_find_char(path, '%');
    if (at != SL_NPOS)
        path = sl_head(path, at);
    at = sl_rfind_char(path, '/');
    return at == 0 || at == SL_NPOS ? NULL : sl_dupz(sl_head(path, at));
}
