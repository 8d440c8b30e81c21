/* auth/table_cidr.c - cidr: networks of client addresses, first match wins; "!net" negates, if/endif group, as
 * cidr_table(5) says. */
#include "auth/table_lines.h"

#include "base/mem.h"
#include "core/addr.h"

#include <stdlib.h>

enum cidr_op { CIDR_MATCH, CIDR_IF, CIDR_ENDIF };

struct cidr_rule {
    enum cidr_op op;
    bool is_negated;
    struct addr net;
    unsigned bits;
    char *value;
};
struct cidr_table {
    struct table_file file;
    struct cidr_rule *rules;
    size_t n, cap;
};

/* "192.0.2.0/24", "[2001:db8::]/32", "192.0.2.1". */
static bool
parse_net(struct slice text, struct cidr_rule *r)
{
    size_t slash = sl_rfind_char(text, '/');
    uint32_t bits;

    if (addr_parse_ip(sl_head(text, slash == SL_NPOS ? text.n : slash), 0, &r->net) < 0)
        return false;
    r->bits = addr_family(&r->net) == AF_INET ? 32 : 128;
    if (slash == SL_NPOS)
        return true;
    if (!sl_to_u32(sl_from(text, slash + 1), &bits) || bits > r->bits)
        return false;
    r->bits = bits;
    return true;
}

static int
add_rule(void *state, struct slice line, unsigned number, struct err *e)
{
    struct cidr_table *x = state;
    struct cidr_rule r = { .op = CIDR_MATCH };
    struct slice word;

    if (sl_ieqz(line, "endif")) {
        r.op = CIDR_ENDIF;
    } else {
        sl_take_word(&line, " \t", &word);
        if (sl_ieqz(word, "if")) {
            r.op = CIDR_IF;
            if (!sl_take_word(&line, " \t", &word))
                word = sl_n("", 0);
        }
        r.is_negated = sl_take_char(&word, '!');
        if (word.n == 0 && !sl_take_word(&line, " \t", &word))
            word = sl_n("", 0);
        if (!parse_net(word, &r))
            return err_set(e, ERR_CONFIG, "%s, line %u: bad network \"%.*s\"", x->file.path, number,
                           SL_ARG(word));
        line = sl_trim(line);
        if (r.op == CIDR_MATCH && line.n == 0)
            return err_set(e, ERR_CONFIG, "%s, line %u: a value is missing", x->file.path, number);
        r.value = sl_dupz(line);
    }
    x->rules = mem_grow(x->rules, &x->cap, x->n + 1, sizeof *x->rules);
    x->rules[x->n++] = r;
    return 0;
}

static int
cidr_open(struct table *t, struct err *e)
{
    struct cidr_table *x = MEM_NEW(struct cidr_table);

    t->state = x;
    return table_file_rules(&x->file, t, add_rule, x, e);
}

static enum table_rc
cidr_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    struct cidr_table *x = t->state;
    struct addr a;
    unsigned skip = 0; /* depth of if that did not match */

    (void)e;
    if (addr_parse_ip(key, 0, &a) < 0)
        return TABLE_NOTFOUND;
    for (size_t i = 0; i < x->n; i++) {
        const struct cidr_rule *r = &x->rules[i];
        bool matches;

        if (r->op == CIDR_ENDIF) {
            skip -= skip > 0;
            continue;
        }
        if (skip) {
            skip += r->op == CIDR_IF;
            continue;
        }
        matches = addr_in_net(&a, &r->net, r->bits) != r->is_negated;
        if (r->op == CIDR_IF) {
            skip = !matches;
        } else if (matches) {
            buf_addz(value, r->value);
            return TABLE_FOUND;
        }
    }
    return TABLE_NOTFOUND;
}

static bool
cidr_poll(struct table *t)
{
    return table_file_changed(&((struct cidr_table *)t->state)->file);
}

static void
cidr_close(struct table *t)
{
    struct cidr_table *x = t->state;

    for (size_t i = 0; i < x->n; i++)
        free(x->rules[i].value);
    free(x->rules);
    table_file_close(&x->file);
    free(x);
}

const struct table_type table_cidr = {
    "cidr", cidr_open, cidr_lookup, cidr_poll, cidr_close, true
};
