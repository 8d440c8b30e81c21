/* session/checks.c - see checks.h. Items of one table that follow one another are one question; what its answer
 * does not reach is the next. */
#include "session/checks.h"

#include "base/mem.h"
#include "core/loop.h"

#include <ctype.h>
#include <stdlib.h>

enum { QUESTION_OCTETS = 64 * 1024, QUESTION_ITEMS = 4096 };

/* ---- what tables say ---- */

static const struct {
    const char *word;
    enum checks_kind kind;
    const char *log_word;
} actions[] = {
    { "REJECT", CHECKS_REJECT, "reject" },
    { "WARN", CHECKS_WARN, "warning" },
    { "INFO", CHECKS_INFO, "info" },
    { "FILTER", CHECKS_FILTER, "filter" },
    { "PASS", CHECKS_PASS, "pass" },
    { "DISCARD", CHECKS_DISCARD, "discard" },
    { "HOLD", CHECKS_HOLD, "hold" },
    { "PREPEND", CHECKS_PREPEND, "prepend" },
    { "REPLACE", CHECKS_REPLACE, "replace" },
    { "REDIRECT", CHECKS_REDIRECT, "redirect" },
    { "BCC", CHECKS_BCC, "bcc" },
    { "STRIP", CHECKS_STRIP, "strip" },
    { "IGNORE", CHECKS_IGNORE, "" },
    { "DUNNO", CHECKS_DUNNO, "" },
    { "OK", CHECKS_DUNNO, "" },
};

void
checks_parse(struct slice value, struct checks_action *out)
{
    size_t n = 0, at;

    while (n < value.n && value.p[n] != ' ' && value.p[n] != '\t')
        n++;
    for (at = n; at < value.n && isspace((unsigned char)value.p[at]);)
        at++;
    *out = (struct checks_action){ CHECKS_UNKNOWN, "", sl_from(value, at) };
    for (size_t i = 0; i < COUNT_OF(actions); i++)
        if (sl_ieqz(sl_head(value, n), actions[i].word)) {
            out->kind = actions[i].kind;
            out->log_word = actions[i].log_word;
        }
}

enum checks_map
checks_map_of(enum header_class class, struct slice name)
{
    static const char *const about_mime[] = { "content-description", "content-disposition",
                                              "content-id",          "content-transfer-encoding",
                                              "content-type",        "mime-version" };

    if (class == HEADER_MIME)
        return CHECKS_MIME;
    for (size_t i = 0; i < COUNT_OF(about_mime); i++)
        if (sl_ieqz(name, about_mime[i]))
            return CHECKS_MIME;
    return class == HEADER_PRIMARY ? CHECKS_HEADER : CHECKS_NESTED;
}

/* ---- which tables ---- */

static const struct {
    const char *prefix, *name[CHECKS_MAPS];
} names[] = {
    { "", { "header_checks", "mime_header_checks", "nested_header_checks", "body_checks" } },
    { "smtp_",
      { "smtp_header_checks", "smtp_mime_header_checks", "smtp_nested_header_checks",
        "smtp_body_checks" } },
    { "lmtp_",
      { "lmtp_header_checks", "lmtp_mime_header_checks", "lmtp_nested_header_checks",
        "lmtp_body_checks" } },
};

static bool
is_same(const struct conf *c, const char *a, const char *b)
{
    const char *x = conf_user_value(c, a), *y = conf_user_value(c, b);

    return x && y && strcmp(x, y) == 0;
}

bool
checks_conf_init(struct checks_conf *k, const struct conf *c, const char *prefix)
{
    bool is_any = false;
    size_t set = 0;

    while (strcmp(names[set].prefix, prefix) != 0)
        set++;
    memset(k, 0, sizeof *k);
    k->body_octets =
        c->body_checks_size_limit > 0 ? (uint64_t)c->body_checks_size_limit : UINT64_MAX;
    for (size_t i = 0; i < CHECKS_MAPS; i++) {
        const char *name = names[set].name[i], *value = conf_user_value(c, name);

        k->name[i] = name;
        if (value == NULL || sl_trim(sl_z(value)).n == 0)
            continue;
        is_any = true;
        k->ask[i] = name;
        for (size_t j = 0; j < i; j++)
            if (k->ask[j] == names[set].name[j] && is_same(c, name, names[set].name[j]))
                k->ask[i] = names[set].name[j];
    }
    return is_any;
}

/* ---- asking ---- */

struct run {
    uint64_t run_id, id;
    struct lookup_client *lookup;
    const struct checks_conf *k;
    const struct checks_item *items;
    const struct checks_ops *ops;
    size_t n;
    size_t from; /* of the question that is out: its first item */
};

static void
end_run(struct run *r)
{
    id_del(r->run_id);
    free(r);
}

static lookup_lines_fn on_answer;

/* The next question from item `from` on. False: there is none. */
static bool
ask_next(struct run *r, size_t from)
{
    const char *table = NULL;
    struct slice *lines;
    size_t n = 0, octets = 0;

    while (from < r->n && r->k->ask[r->items[from].map] == NULL)
        from++;
    if (from == r->n)
        return false;
    table = r->k->ask[r->items[from].map];
    r->from = from;
    lines =
        mem_alloc((r->n - from < QUESTION_ITEMS ? r->n - from : QUESTION_ITEMS) * sizeof *lines);
    while (from + n < r->n && n < QUESTION_ITEMS && octets < QUESTION_OCTETS &&
           r->k->ask[r->items[from + n].map] == table) {
        lines[n] = r->items[from + n].text;
        octets += lines[n++].n;
    }
    lookup_ask_lines(r->lookup, table, lines, n, on_answer, r->run_id);
    free(lines);
    return true;
}

static void
on_answer(uint64_t id, enum lookup_rc rc, size_t n_seen, const struct lookup_hit *hits, size_t n)
{
    struct run *r = id_get(id);
    bool goes_on = true;

    if (id_get(r->id) == NULL) {
        end_run(r);
        return;
    }
    if (rc == LOOKUP_TEMP) {
        r->ops->done(r->id, false, r->items[r->from].map);
        end_run(r);
        return;
    }
    for (size_t i = 0; i < n && goes_on; i++)
        goes_on = r->ops->hit(r->id, r->from + hits[i].i, hits[i].value) && id_get(r->id);
    if (id_get(r->id) == NULL) {
        end_run(r);
        return;
    }
    if (!goes_on || !ask_next(r, r->from + n_seen)) {
        r->ops->done(r->id, true, CHECKS_HEADER);
        end_run(r);
    }
}

bool
checks_start(struct lookup_client *l, const struct checks_conf *k, const struct checks_item *items,
             size_t n, const struct checks_ops *ops, uint64_t id)
{
    struct run *r = MEM_NEW(struct run);

    *r = (struct run){ .lookup = l, .k = k, .items = items, .n = n, .ops = ops, .id = id };
    r->run_id = id_add(r);
    if (ask_next(r, 0))
        return true;
    end_run(r);
    return false;
}
