/* conf/syntax.c - main.cf as lines: comments, continuation, name = value (postconf(5)). */
#include "conf/conf_int.h"

#include "base/mem.h"

/* A name of main.cf: letters, digits, underscore; "-" and "." in those that begin with the name of a service of master.cf,
 * as policyd-spf_time_limit does. */
static bool
is_name(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!sl_is_alnum_char(s.p[i]) && (s.p[i] == '\0' || !strchr("_-.", s.p[i])))
            return false;
    return s.n > 0;
}

static void
add_entry(struct slice logical, unsigned line_no, const char *file, struct arena *mem,
          struct map *by_name, struct conf_problems *ps)
{
    size_t eq = sl_find_char(logical, '=');
    struct slice name = sl_trim(sl_head(logical, eq == SL_NPOS ? logical.n : eq));
    struct conf_entry *old, *en;

    if (eq == SL_NPOS) {
        conf_problem_add(ps, true, file, line_no, "missing '=' after parameter name: \"%.*s\"",
                         SL_ARG(name));
        return;
    }
    if (!is_name(name)) {
        conf_problem_add(ps, true, file, line_no, "bad parameter name: \"%.*s\"", SL_ARG(name));
        return;
    }
    old = map_get(by_name, name);
    if (old != NULL)
        conf_problem_add(ps, false, file, line_no, "overriding earlier entry: %s (line %u)",
                         old->name, old->line);
    en = ARENA_NEW(mem, struct conf_entry);
    en->name = arena_dupz(mem, name);
    en->value = arena_dupz(mem, sl_trim(sl_from(logical, eq + 1)));
    en->line = line_no;
    map_set(by_name, name, en);
}

void
conf_read_entries(struct slice text, const char *file, struct arena *mem, struct map *by_name,
                  struct conf_problems *ps)
{
    struct buf logical = { .max = CONF_VALUE_MAX_OCTETS };
    unsigned at = 0, start = 0;
    struct slice line;

    while (sl_take_line(&text, &line)) {
        struct slice bare = sl_trim(line);

        at++;
        if (memchr(line.p, '\0', line.n) != NULL) {
            conf_problem_add(ps, true, file, at, "a NUL octet in the text");
            continue;
        }
        /* Blank lines and comments may stand inside a value and do not end it. */
        if (bare.n == 0 || sl_starts(bare, '#'))
            continue;
        if (line.p[0] == ' ' || line.p[0] == '\t') {
            if (start == 0)
                conf_problem_add(ps, true, file, at,
                                 "a continuation line with nothing before it: \"%.*s\"",
                                 SL_ARG(bare));
            else if (buf_addc(&logical, ' ') < 0 || buf_adds(&logical, bare) < 0)
                conf_problem_add(ps, true, file, at, "value longer than %d octets",
                                 CONF_VALUE_MAX_OCTETS);
            continue;
        }
        if (start != 0)
            add_entry(buf_slice(&logical), start, file, mem, by_name, ps);
        buf_reset(&logical);
        start = at;
        if (buf_adds(&logical, bare) < 0)
            conf_problem_add(ps, true, file, at, "value longer than %d octets",
                             CONF_VALUE_MAX_OCTETS);
    }
    if (start != 0)
        add_entry(buf_slice(&logical), start, file, mem, by_name, ps);
    buf_free(&logical);
}
