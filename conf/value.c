/* conf/value.c - the text of a parameter into its type, and the table of parameters itself. */
#include "conf/conf_int.h"

#include <stddef.h>

const struct conf_row conf_rows[] = {
/* Initialisers cannot stand in parentheses. NOLINTBEGIN(bugprone-macro-parentheses) */
#define ROW(name_, T, tname, def_, min_, max_, doc_)                                               \
    { .pub = { #name_, tname, def_, doc_, false, min_, max_ },                                     \
      .type = T,                                                                                   \
      .offset = offsetof(struct conf, name_) },
#define CONF_STR(name, def, doc) ROW(name, CONF_T_STR, "string", def, 0, 0, doc)
#define CONF_STR_AS(field_, name_, def_, doc_)                                                     \
    { .pub = { name_, "string", def_, doc_, false, 0, 0 },                                         \
      .type = CONF_T_STR,                                                                          \
      .offset = offsetof(struct conf, field_) },
#define CONF_RAW(name, def, doc)            ROW(name, CONF_T_RAW, "string", def, 0, 0, doc)
#define CONF_BOOL(name, def, doc)           ROW(name, CONF_T_BOOL, "boolean", def, 0, 0, doc)
#define CONF_INT(name, def, min, max, doc)  ROW(name, CONF_T_INT, "number", def, min, max, doc)
#define CONF_SIZE(name, def, min, max, doc) ROW(name, CONF_T_SIZE, "octets", def, min, max, doc)
#define CONF_TIME(name, def, min, max, doc) ROW(name, CONF_T_TIME, "time", def, min, max, doc)
#define CONF_LIST(name, def, doc)           ROW(name, CONF_T_LIST, "list", def, 0, 0, doc)
#define CONF_NOOP(name_, doc_)                                                                     \
    { .pub = { #name_, "none", "", doc_, true, 0, 0 }, .type = CONF_T_NOOP },
#include "conf/params.def"
#undef ROW
    /* NOLINTEND(bugprone-macro-parentheses) */
};
const size_t conf_n_rows = sizeof(conf_rows) / sizeof(conf_rows[0]);

static int
set_bool(bool *out, struct slice s, struct err *e)
{
    if (sl_ieqz(s, "yes"))
        *out = true;
    else if (sl_ieqz(s, "no"))
        *out = false;
    else
        return err_set(e, ERR_CONFIG, "bad boolean \"%.*s\": yes or no is wanted", SL_ARG(s));
    return 0;
}

/* A compatibility level: "3", "3.6", "3.6.1". What lies between two whole numbers counts as the upper one. */
static int
set_level(int64_t *out, struct slice s, const struct conf_row *row, struct err *e)
{
    uint64_t level = 0, part;
    bool is_between = false;

    if (!sl_take_u64(&s, &level))
        return err_set(e, ERR_CONFIG, "bad compatibility level \"%.*s\"", SL_ARG(s));
    while (sl_take_char(&s, '.') && sl_take_u64(&s, &part))
        is_between = is_between || part > 0;
    if (s.n > 0 || level + is_between > (uint64_t)row->pub.max)
        return err_set(e, ERR_CONFIG, "bad compatibility level: \"%.*s\"", SL_ARG(s));
    *out = (int64_t)(level + is_between);
    return 0;
}

/* "10M", "10 MB", "10MiB": as Dovecot has sizes. Postfix's, which have no letter in their default, are numbers alone. */
static bool
take_size(struct slice s, struct slice def, uint64_t *out)
{
    static const char letters[] = "bkmgt";
    uint64_t unit = 1;

    if (!sl_take_u64(&s, out))
        return false;
    if (def.n == 0 || (def.p[def.n - 1] >= '0' && def.p[def.n - 1] <= '9'))
        return s.n == 0;
    (void)sl_take_char(&s, ' ');
    for (size_t i = 0; s.n && letters[i]; i++, unit *= 1024) {
        struct slice rest = sl_from(s, 1);

        if (sl_lower_char(s.p[0]) != letters[i])
            continue;
        if (*out > INT64_MAX / unit || (rest.n && !sl_ieqz(rest, "b") && !sl_ieqz(rest, "ib")))
            return false;
        *out *= unit;
        return i > 0 || rest.n == 0;
    }
    return s.n == 0;
}

static int
set_number(int64_t *out, struct slice s, const struct conf_row *row, struct err *e)
{
    uint64_t u;

    if (strcmp(row->pub.name, "compatibility_level") == 0)
        return set_level(out, s, row, e);
    if (!take_size(s, sl_z(row->pub.def), &u) || u > INT64_MAX)
        return err_set(e, ERR_CONFIG, "bad number \"%.*s\"", SL_ARG(s));
    if ((int64_t)u < row->pub.min || (int64_t)u > row->pub.max)
        return err_set(e, ERR_CONFIG, "%.*s is outside %lld..%lld", SL_ARG(s),
                       (long long)row->pub.min, (long long)row->pub.max);
    *out = (int64_t)u;
    return 0;
}

static int64_t
unit_ms(char unit)
{
    switch (unit) {
    case 's':
        return 1000;
    case 'm':
        return 60 * 1000;
    case 'h':
        return 3600 * 1000;
    case 'd':
        return 86400 * (int64_t)1000;
    case 'w':
        return 7 * 86400 * (int64_t)1000;
    default:
        return 0;
    }
}

int
conf_parse_time(struct slice s, char unit, int64_t *out, struct err *e)
{
    struct slice at = s;
    int64_t per = unit_ms(unit);
    uint64_t u;

    if (per == 0)
        per = 1000;
    if (!sl_take_u64(&at, &u) || u > INT32_MAX)
        return err_set(e, ERR_CONFIG, "bad time \"%.*s\": a number and s, m, h, d or w is wanted",
                       SL_ARG(s));
    if (at.n == 1)
        per = unit_ms(sl_lower_char(at.p[0]));
    if (at.n > 1 || per == 0)
        return err_set(e, ERR_CONFIG, "bad unit \"%.*s\" of time: s, m, h, d or w is wanted",
                       SL_ARG(at));
    *out = (int64_t)u * per;
    return 0;
}

static int
set_time(int64_t *out, struct slice s, const struct conf_row *row, struct err *e)
{
    struct slice def = sl_z(row->pub.def);

    if (conf_parse_time(s, def.n > 0 ? def.p[def.n - 1] : 's', out, e))
        return -1;
    if (*out < row->pub.min * 1000 || *out > row->pub.max * 1000)
        return err_set(e, ERR_CONFIG, "%.*s is outside %llds..%llds", SL_ARG(s),
                       (long long)row->pub.min, (long long)row->pub.max);
    return 0;
}

/* The next list item: { groups } stay whole without their braces' inner splitting, as Postfix keeps them. */
static bool
take_item(struct slice *in, struct slice *item)
{
    static const char seps[] = ", \t\r\n";
    size_t n = 0, level = 0;

    while (in->n > 0 && strchr(seps, in->p[0]) != NULL)
        *in = sl_from(*in, 1);
    for (; n < in->n; n++) {
        if (in->p[n] == '{')
            level++;
        else if (in->p[n] == '}' && level > 0)
            level--;
        else if (level == 0 && strchr(seps, in->p[n]) != NULL)
            break;
    }
    *item = sl_head(*in, n);
    *in = sl_from(*in, n);
    return n > 0;
}

static void
set_list(struct conf_list *out, struct slice s, struct arena *mem)
{
    struct slice at = s, item;
    const char **v;
    size_t n = 0;

    while (take_item(&at, &item))
        n++;
    v = arena_alloc(mem, (n + 1) * sizeof(*v));
    at = s;
    for (size_t i = 0; take_item(&at, &item); i++)
        v[i] = arena_dupz(mem, item);
    out->v = v;
    out->n = n;
}

int
conf_set_field(struct conf *c, const struct conf_row *row, const char *text, struct arena *mem,
               struct err *e)
{
    void *field = (char *)c + row->offset;
    struct slice s = sl_trim(sl_z(text));

    switch (row->type) {
    case CONF_T_STR:
    case CONF_T_RAW:
        *(const char **)field = arena_dupz(mem, s);
        return 0;
    case CONF_T_BOOL:
        return set_bool(field, s, e);
    case CONF_T_INT:
    case CONF_T_SIZE:
        return set_number(field, s, row, e);
    case CONF_T_TIME:
        return set_time(field, s, row, e);
    case CONF_T_LIST:
        set_list(field, s, mem);
        return 0;
    case CONF_T_NOOP:
        return 0;
    }
    return err_set(e, ERR_BUG, "row %s has no type", row->pub.name);
}

bool
conf_list_has(struct conf_list l, const char *word)
{
    for (size_t i = 0; i < l.n; i++)
        if (sl_ieqz(sl_z(l.v[i]), word))
            return true;
    return false;
}
