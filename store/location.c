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

/* The parts of a location as they are written. */
struct parts {
    struct slice path, control, index;
    enum location_layout layout;
    bool is_utf8;
};

static int
take_option(struct slice option, struct parts *out, struct err *e)
{
    struct slice key, value = option;

    if (!sl_take_until(&value, '=', &key)) {
        key = option;
        value = sl_n(NULL, 0);
    }
    if (sl_ieqz(key, "UTF-8") && value.n == 0)
        out->is_utf8 = true;
    else if (sl_ieqz(key, "CONTROL") && value.n > 0)
        out->control = value;
    else if (sl_ieqz(key, "INDEX") && value.n > 0 && !sl_ieqz(value, "MEMORY"))
        out->index = value;
    else if (sl_ieqz(key, "LAYOUT") && sl_ieqz(value, "Maildir++"))
        out->layout = LAYOUT_MAILDIRPP;
    else if (sl_ieqz(key, "LAYOUT") && sl_ieqz(value, "fs"))
        out->layout = LAYOUT_FS;
    else
        return err_set(e, ERR_CONFIG, "mail_location: option \"%.*s\" is not supported",
                       SL_ARG(option));
    return 0;
}

static int
location_parts(struct slice location, struct parts *out, struct err *e)
{
    struct slice rest = sl_trim(location), option;

    memset(out, 0, sizeof(*out));
    if (!sl_take_iprefix(&rest, SL("maildir:")) && !sl_starts(rest, '/') && !sl_starts(rest, '~'))
        return err_set(e, ERR_CONFIG, "mail_location: only maildir: is supported, not \"%.*s\"",
                       SL_ARG(location));
    if (!sl_take_until(&rest, ':', &out->path)) {
        out->path = rest;
        rest = sl_n(NULL, 0);
    }
    while (rest.n > 0) {
        if (!sl_take_until(&rest, ':', &option)) {
            option = rest;
            rest = sl_n(NULL, 0);
        }
        if (option.n > 0 && take_option(option, out, e))
            return -1;
    }
    if (out->path.n == 0)
        return err_set(e, ERR_CONFIG, "mail_location: no path");
    return 0;
}

/* A path with its variables, absolute. */
static int
resolve_path(const struct conf *c, struct slice user, struct slice path, char **to, struct err *e)
{
    struct buf out = { .max = LOCATION_MAX_OCTETS };
    int rc = 0;

    if (sl_eqz(path, "~") || sl_has_prefix(path, SL("~/"))) {
        rc = expand(c, SL("%h"), user, 0, &out, e);
        path = sl_from(path, 1);
    }
    if (rc == 0)
        rc = expand(c, path, user, 0, &out, e);
    while (out.n > 1 && sl_ends(buf_slice(&out), '/'))
        buf_truncate(&out, out.n - 1);
    if (rc == 0 && (out.n + 1 >= LOCATION_MAX_OCTETS || !sl_starts(buf_slice(&out), '/')))
        rc = err_set(e, ERR_CONFIG, "mail_location gives no absolute path: \"%.*s\"",
                     SL_ARG(buf_slice(&out)));
    if (rc == 0)
        *to = sl_dupz(buf_slice(&out));
    buf_free(&out);
    return rc;
}

int
location_resolve(const struct conf *c, struct slice user, struct slice mail, struct location *out,
                 struct err *e)
{
    struct parts p;

    memset(out, 0, sizeof(*out));
    if (!location_user_is_safe(user))
        return err_set(e, ERR_PERM, "user name \"%.*s\" is not allowed", SL_ARG(user));
    if (location_parts(mail.n > 0 ? mail : sl_z(c->mail_location), &p, e))
        return -1;
    out->layout = p.layout;
    out->is_utf8 = p.is_utf8;
    out->separator = p.layout == LAYOUT_FS ? '/' : '.';
    if (resolve_path(c, user, p.path, &out->root, e) ||
        resolve_path(c, user, p.control.n > 0 ? p.control : p.path, &out->control, e) ||
        resolve_path(c, user, p.index.n > 0 ? p.index : p.path, &out->index, e)) {
        location_free(out);
        return -1;
    }
    return 0;
}

void
location_free(struct location *l)
{
    free(l->root);
    free(l->control);
    free(l->index);
    memset(l, 0, sizeof(*l));
}

char *
location_common(const struct conf *c)
{
    struct parts p;
    struct slice path;
    size_t at;

    if (location_parts(sl_z(c->mail_location), &p, NULL) || !sl_starts(p.path, '/'))
        return NULL;
    path = p.path;
    at = sl_find_char(path, '%');
    if (at != SL_NPOS)
        path = sl_head(path, at);
    at = sl_rfind_char(path, '/');
    return at == 0 || at == SL_NPOS ? NULL : sl_dupz(sl_head(path, at));
}
