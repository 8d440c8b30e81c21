/* auth/table_cf.c - see table_cf.h. */
#include "auth/table_cf.h"

#include "base/mem.h"

#include <stdlib.h>

enum { CF_MEM_OCTETS = 256 * 1024 };

/* ---- the file ---- */

struct legacy {
    char *table, *select_field, *where_field, *additional;
};

static void
set_value(struct table_cf *cf, struct legacy *l, struct slice name, struct slice value)
{
    const struct {
        const char *name;
        char **to;
    } rows[] = {
        { "query", &cf->query },
        { "result_format", &cf->result_format },
        { "hosts", &cf->hosts },
        { "dbname", &cf->dbname },
        { "dbpath", &cf->dbpath },
        { "domain", &cf->domain },
        { "table", &l->table },
        { "select_field", &l->select_field },
        { "where_field", &l->where_field },
        { "additional_conditions", &l->additional },
    };

    if (sl_eqz(name, "expansion_limit"))
        sl_to_u64(value, &cf->expansion_limit);
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (sl_eqz(name, rows[i].name))
            *rows[i].to = arena_dupz(&cf->mem, value);
}

int
table_cf_open(struct table_cf *cf, const struct table *t, struct err *e)
{
    struct buf text = { 0 };
    struct table_lines lines = { 0 };
    struct legacy l = { 0 };
    struct slice line;
    int rc;

    cf->mem.cap = CF_MEM_OCTETS;
    rc = table_file_open(&cf->file, t, &text, e);
    lines.in = buf_slice(&text);
    while (rc == 0 && table_lines_next(&lines, &line)) {
        size_t eq = sl_find_char(line, '=');

        if (eq == SL_NPOS)
            rc = err_set(e, ERR_CONFIG, "%s, line %u: expected name = value", cf->file.path,
                         lines.line);
        else
            set_value(cf, &l, sl_trim(sl_head(line, eq)), sl_trim(sl_from(line, eq + 1)));
    }
    table_lines_free(&lines);
    buf_free(&text);
    if (rc == 0 && cf->query == NULL && l.table && l.select_field && l.where_field)
        cf->query = arena_printf(&cf->mem, "SELECT %s FROM %s WHERE %s='%%s' %s", l.select_field,
                                 l.table, l.where_field, l.additional ? l.additional : "");
    if (rc == 0 && (cf->query == NULL || !*cf->query))
        rc = err_set(e, ERR_CONFIG, "%s: no query", cf->file.path);
    return rc;
}

void
table_cf_close(struct table_cf *cf)
{
    table_file_close(&cf->file);
    arena_free(&cf->mem);
}

bool
table_cf_is_local(const struct table_cf *cf, struct slice *which)
{
    static const char *const names[] = { "localhost", "127.0.0.1", "::1", "[::1]",
                                         "localhost.localdomain" };
    struct slice in = sl_z(cf->hosts), host;

    while (sl_take_word(&in, ", \t", &host)) {
        struct slice h = host;
        bool is_local = sl_has_prefix(h, SL("unix:")) || sl_starts(h, '/');
        size_t colon;

        sl_take_prefix(&h, SL("inet:"));
        colon = sl_rfind_char(h, ':');
        if (colon != SL_NPOS && sl_find_char(h, ':') == colon)
            h = sl_head(h, colon); /* a port */
        for (size_t i = 0; i < COUNT_OF(names) && !is_local; i++)
            is_local = sl_ieqz(h, names[i]);
        if (!is_local) {
            if (which)
                *which = host;
            return false;
        }
    }
    return true;
}

bool
table_cf_wants(const struct table_cf *cf, struct slice key)
{
    struct slice in = sl_z(cf->domain), d, item;
    size_t at = sl_rfind_char(key, '@');

    if (in.n == 0)
        return true;
    if (at == SL_NPOS)
        return false; /* the list is for addresses */
    d = sl_from(key, at + 1);
    while (sl_take_word(&in, ", \t", &item))
        if (sl_ieq(item, d))
            return true;
    return false;
}

/* ---- expansion ---- */

/* The n-th label of a domain from the right, 1 the last. */
static bool
domain_label(struct slice domain, unsigned n, struct slice *out)
{
    while (n-- > 0) {
        size_t dot = sl_rfind_char(domain, '.');

        if (domain.n == 0)
            return false;
        *out = dot == SL_NPOS ? domain : sl_from(domain, dot + 1);
        domain = sl_head(domain, dot == SL_NPOS ? 0 : dot);
    }
    return out->n > 0;
}

static bool
expand(char letter, struct slice key, struct slice *out)
{
    size_t at = sl_rfind_char(key, '@');

    switch (letter) {
    case 's':
    case 'S':
        *out = key;
        return key.n > 0;
    case 'u':
    case 'U':
        *out = sl_head(key, at == SL_NPOS ? key.n : at);
        return out->n > 0;
    case 'd':
    case 'D':
        *out = sl_from(key, at == SL_NPOS ? key.n : at + 1);
        return out->n > 0;
    default:
        return at != SL_NPOS && domain_label(sl_from(key, at + 1), (unsigned)(letter - '0'), out);
    }
}

bool
table_cf_param(char letter, struct slice key, struct arena *mem, struct slice *out)
{
    struct slice raw, local;
    size_t at = sl_rfind_char(key, '@');

    if (!expand(letter, key, &raw))
        return false;
    *out = raw;
    if (letter != 'u' && letter != 'U' && !(letter == 's' || letter == 'S'))
        return true;
    /* A quoted local part is looked up by what it means: "a b"@example.com is a b@example.com. */
    local = sl_head(key, at == SL_NPOS ? key.n : at);
    if (local.n >= 2 && sl_starts(local, '"') && sl_ends(local, '"')) {
        struct buf b = { 0 };

        for (size_t i = 1; i + 1 < local.n; i++) {
            i += local.p[i] == '\\' && i + 2 < local.n;
            buf_addc(&b, local.p[i]);
        }
        if (letter == 's' || letter == 'S')
            buf_adds(&b, sl_from(key, local.n));
        *out = arena_dup(mem, buf_slice(&b));
        buf_free(&b);
    }
    return out->n > 0;
}

void
table_cf_result(const struct table_cf *cf, struct slice key, struct slice value, struct buf *out)
{
    const char *format = cf->result_format ? cf->result_format : "%s";
    struct buf one = { 0 };
    bool is_whole = true;

    for (const char *p = format; *p && is_whole; p++) {
        struct slice part = sl_n(NULL, 0);

        if (p[0] != '%' || p[1] == '\0') {
            buf_addc(&one, *p);
            continue;
        }
        p++;
        if (*p == '%')
            buf_addc(&one, '%');
        else if (strchr("SUD", *p))
            is_whole = expand(*p, key, &part); /* upper case: of the key */
        else if (strchr("sud", *p) || (*p >= '1' && *p <= '9'))
            is_whole = expand(*p, value, &part);
        if (part.n)
            buf_adds(&one, part);
    }
    if (is_whole && value.n && one.n) {
        if (out->n)
            buf_addc(out, ',');
        buf_adds(out, buf_slice(&one));
    }
    buf_free(&one);
}

int
table_cf_bind_text(const char *query, struct buf *out, char params[SQL_PARAMS_MAX],
                   size_t *n_params, struct err *e)
{
    bool in_string = false;

    *n_params = 0;
    for (const char *p = query; *p; p++) {
        if (*p == '\'')
            in_string = !in_string;
        if (p[0] != '%' || p[1] == '\0' ||
            !((p[1] >= '1' && p[1] <= '9') || strchr("suUdDS%", p[1]))) {
            buf_addc(out, *p);
            continue;
        }
        p++;
        if (*p == '%') {
            buf_addc(out, '%');
            continue;
        }
        if (*n_params == SQL_PARAMS_MAX)
            return err_set(e, ERR_CONFIG, "more than %d parameters in a query", SQL_PARAMS_MAX);
        params[(*n_params)++] = *p;
        buf_addf(out, "%s?%zu%s", in_string ? "'||" : "", *n_params, in_string ? "||'" : "");
    }
    return 0;
}
