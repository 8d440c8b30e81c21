/* smtpd/restrict_names.c - the lists of main.cf against the table of verbs, without a server: what both the daemon and
 * `postern check` read them with. Kept apart from the evaluation so that a checker does not need it. */
#include "smtpd/policy_arg.h"
#include "smtpd/restrict.h"

#include "base/mem.h"
#include "smtpd/rbl_filter.h"

#include <stddef.h>
#include <stdlib.h>

static const struct {
    const char *name;
    unsigned needs;
} verbs[] = {
#define RESTRICT(name, needs, fn) { name, needs },
#include "smtpd/restrict.def"
};

static const struct {
    const char *param;
    size_t offset;
} lists[RESTRICT_LISTS] = {
#define L(id, name) [id] = { #name, offsetof(struct conf, name) }
    L(RESTRICT_CLIENT, smtpd_client_restrictions),
    L(RESTRICT_HELO, smtpd_helo_restrictions),
    L(RESTRICT_SENDER, smtpd_sender_restrictions),
    L(RESTRICT_RELAY, smtpd_relay_restrictions),
    L(RESTRICT_RECIPIENT, smtpd_recipient_restrictions),
    L(RESTRICT_DATA, smtpd_data_restrictions),
    L(RESTRICT_END_OF_DATA, smtpd_end_of_data_restrictions),
    L(RESTRICT_ETRN, smtpd_etrn_restrictions),
#undef L
};

const char *
restrict_list_name(enum restrict_list_id id)
{
    return lists[id].param;
}

struct conf_list
restrict_conf_list(const struct conf *c, enum restrict_list_id id)
{
    const char *at = (const char *)c + lists[id].offset;

    /* At compatibility level 0 the default is empty, as it was before there were relay restrictions - but a file that
     * has neither list must not make an open relay. */
    if (id == RESTRICT_RELAY && c->compatibility_level < 1 &&
        conf_line_of(c, lists[id].param) == 0 && c->smtpd_recipient_restrictions.n > 0)
        return (struct conf_list){ 0 };
    return *(const struct conf_list *)(const void *)at;
}

int
restrict_verb_of(struct slice name)
{
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        if (sl_ieqz(name, verbs[i].name))
            return (int)i;
    return -1;
}

unsigned
restrict_verb_needs(int verb)
{
    return verbs[verb].needs;
}

static const struct restrict_class *
class_of(const struct restrict_set *s, struct slice name)
{
    for (size_t i = 0; i < s->n_classes; i++)
        if (sl_eqz(name, s->classes[i].name))
            return &s->classes[i];
    return NULL;
}

/* ---- words ---- */

bool
restrict_take_word(struct slice *in, struct slice *word)
{
    static const char seps[] = ", \t\r\n";
    size_t n = 0, level = 0;

    while (in->n > 0 && strchr(seps, in->p[0]) != NULL && in->p[0] != '\0')
        *in = sl_from(*in, 1);
    for (; n < in->n; n++) {
        char c = in->p[n];

        if (c == '{')
            level++;
        else if (c == '}' && level > 0)
            level--;
        else if (level == 0 && c != '\0' && strchr(seps, c) != NULL)
            break;
    }
    *word = sl_head(*in, n);
    *in = sl_from(*in, n);
    return n > 0;
}

static bool
has_colon(struct slice s)
{
    return sl_find_char(s, ':') != SL_NPOS;
}

/* ---- tables ---- */

/* authd's questions are "name key": a name goes without its blanks. */
static const char *
bare_name(struct slice name, struct arena *mem)
{
    char *out = arena_alloc(mem, name.n + 1);
    size_t n = 0;

    for (size_t i = 0; out && i < name.n; i++)
        if (name.p[i] != ' ' && name.p[i] != '\t')
            out[n++] = name.p[i];
    return out;
}

static int
take_search(struct slice words, struct restrict_table *t, struct err *e)
{
    struct slice word;
    size_t n = 0;

    while (sl_take_word(&words, ", \t", &word)) {
        char code = sl_eqz(word, "cert_fingerprint")     ? 'c'
                    : sl_eqz(word, "pubkey_fingerprint") ? 'k'
                                                         : '\0';

        if (code == '\0' || n == sizeof(t->search) - 1)
            return err_set(e, ERR_CONFIG, "unknown search type \"%.*s\"", SL_ARG(word));
        t->search[n++] = code;
    }
    t->search[n] = '\0';
    return 0;
}

/* "{ type:table, { search = a, b } }" or "search = a" without inner braces. */
static int
take_options(struct slice in, struct restrict_table *t, struct err *e)
{
    struct slice word, name;

    while (restrict_take_word(&in, &word)) {
        if (sl_starts(word, '{') && sl_ends(word, '}'))
            word = sl_trim(sl_n(word.p + 1, word.n - 2));
        if (!sl_take_until(&word, '=', &name)) {
            /* "search = a": three words. */
            struct slice eq = sl_trim(in);

            name = word;
            if (!sl_take_char(&eq, '='))
                return err_set(e, ERR_CONFIG, "\"%.*s\" is no name = value", SL_ARG(word));
            in = eq;
            if (!restrict_take_word(&in, &word))
                word = SL("");
        } else if (word.n == 0 && !restrict_take_word(&in, &word)) {
            word = SL("");
        }
        if (!sl_eqz(sl_trim(name), "search"))
            return err_set(e, ERR_CONFIG, "unknown map attribute \"%.*s\"", SL_ARG(sl_trim(name)));
        if (take_search(word, t, e))
            return -1;
    }
    return 0;
}

static int
take_table(struct slice arg, bool is_ccert, struct arena *mem, struct restrict_table *t,
           struct err *e)
{
    struct slice name = arg;

    *t = (struct restrict_table){ .search = "ck" };
    if (sl_starts(arg, '{')) {
        struct slice in = sl_n(arg.p + 1, arg.n - (sl_ends(arg, '}') ? 2u : 1u));

        if (!sl_ends(arg, '}') || !restrict_take_word(&in, &name))
            return err_set(e, ERR_CONFIG, "malformed map specification: \"%.*s\"", SL_ARG(arg));
        if (sl_trim(in).n && !is_ccert)
            return err_set(e, ERR_CONFIG, "\"%.*s\": this restriction's table has no options",
                           SL_ARG(arg));
        if (take_options(in, t, e))
            return -1;
    }
    if (!has_colon(name))
        return err_set(e, ERR_CONFIG, "bad argument \"%.*s\": need maptype:mapname", SL_ARG(name));
    t->name = bare_name(name, mem);
    return t->name ? 0 : err_set(e, ERR_TEMP, "too much memory wanted");
}

/* ---- steps ---- */

static bool
is_number(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

static int
check_arg(struct restrict_step *out, struct slice arg, struct arena *mem, struct err *e)
{
    unsigned needs = out->needs;
    struct err why = { 0 };
    struct rbl_filter filter;
    struct slice zone;

    out->arg = arena_dupz(mem, arg);
    if (out->arg == NULL)
        return err_set(e, ERR_TEMP, "too much memory wanted");
    if ((needs & ARG_TABLE) == ARG_TABLE &&
        take_table(sl_z(out->arg), needs & ARG_CCERT, mem, &out->table, &why))
        return err_set(e, why.kind, "restriction %s: %s", out->name, why.msg);
    if ((needs & ARG_COLON) == ARG_COLON && !has_colon(arg))
        return err_set(e, ERR_CONFIG,
                       "restriction %s must be followed by transport:server, not \"%.*s\"",
                       out->name, SL_ARG(arg));
    if ((needs & ARG_ZONE) == ARG_ZONE && rbl_filter_parse(arg, &zone, &filter, &why))
        return err_set(e, ERR_CONFIG, "restriction %s: %s", out->name, why.msg);
    if ((needs & ARG_COLON) == ARG_COLON && policy_arg_check(out->arg, &why))
        return err_set(e, why.kind, "restriction %s: %s", out->name, why.msg);
    if ((needs & ARG_NUMBER) == ARG_NUMBER && !is_number(arg))
        return err_set(e, ERR_CONFIG, "restriction %s must be followed by a number, not \"%.*s\"",
                       out->name, SL_ARG(arg));
    return 0;
}

int
restrict_take_step(const struct restrict_set *s, struct slice *text, struct arena *mem,
                   struct restrict_step *out, struct err *e)
{
    struct slice word, arg;

    *out = (struct restrict_step){ 0 };
    if (!restrict_take_word(text, &word))
        return 0;
    if (sl_ieqz(word, "warn_if_reject")) {
        *out = (struct restrict_step){ .kind = RESTRICT_WARN, .name = "warn_if_reject" };
        return 1;
    }
    if (has_colon(word) || sl_starts(word, '{')) {
        out->kind = RESTRICT_BARE;
        out->needs = ARG_TABLE;
        out->name = "a table";
        return check_arg(out, word, mem, e) ? -1 : 1;
    }
    out->verb = restrict_verb_of(word);
    if (out->verb >= 0) {
        out->kind = RESTRICT_VERB;
        out->needs = verbs[out->verb].needs;
        out->name = verbs[out->verb].name;
        if (!(out->needs & NEEDS_ARG))
            return 1;
        if (!restrict_take_word(text, &arg)) {
            err_set(e, ERR_CONFIG, "restriction %s needs an argument", out->name);
            return -1;
        }
        return check_arg(out, arg, mem, e) ? -1 : 1;
    }
    out->cls = class_of(s, word);
    if (out->cls) {
        out->kind = RESTRICT_CLASS;
        out->name = out->cls->name;
        return 1;
    }
    err_set(e, ERR_CONFIG, "unknown smtpd restriction: \"%.*s\"", SL_ARG(word));
    return -1;
}

int
restrict_parse(const struct restrict_set *s, struct slice text, struct arena *mem,
               struct restrict_list *out, struct err *e)
{
    struct slice at = text, word;
    size_t cap = 0;
    int rc;

    *out = (struct restrict_list){ 0 };
    while (restrict_take_word(&at, &word))
        cap++;
    if (cap > RESTRICT_WORDS_MAX)
        return err_set(e, ERR_CONFIG, "more than %d words in a list", RESTRICT_WORDS_MAX);
    out->v = arena_alloc(mem, (cap + 1) * sizeof(*out->v));
    if (out->v == NULL)
        return err_set(e, ERR_TEMP, "too much memory wanted");
    while ((rc = restrict_take_step(s, &text, mem, &out->v[out->n], e)) > 0)
        out->n++;
    return rc;
}

/* ---- a configuration's lists ---- */

static int
read_classes(struct restrict_set *s, const struct conf *c, struct err *e)
{
    struct conf_list names = c->smtpd_restriction_classes;

    s->classes = arena_alloc(&s->mem, (names.n + 1) * sizeof(*s->classes));
    s->n_classes = names.n;
    for (size_t i = 0; i < names.n; i++)
        s->classes[i].name = names.v[i];
    for (size_t i = 0; i < names.n; i++) {
        const char *text = conf_user_value(c, names.v[i]);
        struct err why = { 0 };

        if (text == NULL)
            return err_set(e, ERR_CONFIG, "restriction class `%s' needs a definition", names.v[i]);
        if (restrict_parse(s, sl_z(text), &s->mem, &s->classes[i].list, &why))
            return err_set(e, ERR_CONFIG, "%s: %s", names.v[i], why.msg);
    }
    return 0;
}

int
restrict_set_init(struct restrict_set *s, const struct conf *c, struct err *e)
{
    *s = (struct restrict_set){ 0 };
    if (read_classes(s, c, e))
        goto bad;
    for (int id = 0; id < RESTRICT_LISTS; id++) {
        struct conf_list l = restrict_conf_list(c, (enum restrict_list_id)id);
        struct buf text = { 0 };
        struct err why = { 0 };
        int rc;

        for (size_t i = 0; i < l.n; i++)
            buf_addf(&text, "%s%s", i ? " " : "", l.v[i]);
        rc = restrict_parse(s, buf_slice(&text), &s->mem, &s->lists[id], &why);
        buf_free(&text);
        if (rc) {
            err_set(e, ERR_CONFIG, "%s: %s", lists[id].param, why.msg);
            goto bad;
        }
    }
    return 0;
bad:
    restrict_set_free(s);
    return -1;
}

void
restrict_set_free(struct restrict_set *s)
{
    arena_free(&s->mem);
    *s = (struct restrict_set){ 0 };
}
