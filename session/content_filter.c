/* session/content_filter.c - see content_filter.h. Where an answer is awaited everything behind it waits, so order is kept
 * without further thought. */
#include "session/content_filter.h"

#include "base/mem.h"
#include "core/loop.h"
#include "proto/smtp_words.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    /* What actions make of a batch of fields: a table that says REPLACE $1$1$1... */
    GROWN_MAX_OCTETS = 16 * HEADER_BATCH_OCTETS,
    WARN_OCTETS = 512,
    /* Of what has gathered: then it is looked whether a batch is full. */
    TAKE_OCTETS = 16 * 1024
};

enum state {
    IN_HEADER,
    AT_HEADER_END, /* all fields have come; the last of them may be out */
    IN_BODY
};

struct item {
    size_t at, n;        /* in f->text: a field's lines, or a line with its end */
    unsigned char end_n; /* octets of the line's end */
    unsigned char map;   /* enum checks_map */
    bool is_field, is_start;
};

/* A field whose text is asked about; NULL once it is dropped. */
struct place {
    struct header_field *field;
};

struct content_filter {
    uint64_t id;
    const struct content_filter_conf *conf;
    const struct content_filter_ops *ops;
    void *arg;
    enum state state;
    struct header_split split;
    struct buf rest; /* of the header: the body's beginning */
    struct header batch;
    struct mime_walk *walk;
    /* the body's batch */
    struct buf text;
    struct item *items;
    size_t n_items, cap_items, n_out; /* out: so many of them are passed on */
    /* what is asked for */
    struct checks_item *asked;
    struct place *fields; /* of the batch: what asked[i] is */
    struct header checked;
    size_t n_fields, at_field;
    struct buf kept;
    bool is_waiting, is_running, is_over, is_walk_over, is_off, is_dropped;
    void (*done)(void *arg);
};

static void go_on(struct content_filter *f);

void
content_filter_drop(struct content_filter *f)
{
    f->is_dropped = true;
}

static void
fail(struct content_filter *f, const char *map, const struct err *e)
{
    if (!f->is_dropped)
        f->ops->failed(f->arg, map, e);
    f->is_dropped = true;
}

/* ---- what a table says ---- */

static void warn(struct content_filter *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void
warn(struct content_filter *f, const char *fmt, ...)
{
    char text[WARN_OCTETS];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    f->ops->warn(f->arg, text);
}

/* PREPEND, REPLACE: is there a text that can be put there? */
static bool
has_text(struct content_filter *f, const struct filter_line *l, const char *word)
{
    if (l->action.text.n == 0) {
        warn(f, "%s action without text in %s map", word, l->map);
        return false;
    }
    if (l->is_header && !smtp_word_is_header(l->action.text)) {
        warn(f, "bad %s header text \"%.*s\" in %s map -- need \"headername: headervalue\"", word,
             SL_ARG(sl_head(l->action.text, 200)), l->map);
        return false;
    }
    return true;
}

enum fate { FATE_KEEP, FATE_DROP, FATE_REPLACE, FATE_PREPEND };

/* False: nothing more is asked. */
static bool
decide(struct content_filter *f, struct filter_line *l, enum fate *fate)
{
    enum filter_verdict v = FILTER_KEEP;

    *fate = FATE_KEEP;
    checks_parse(l->value, &l->action);
    switch (l->action.kind) {
    case CHECKS_DUNNO:
        return true;
    case CHECKS_IGNORE:
        *fate = FATE_DROP;
        return true;
    case CHECKS_STRIP:
        *fate = FATE_DROP;
        break;
    case CHECKS_REPLACE:
        if (!has_text(f, l, "REPLACE"))
            return true;
        *fate = FATE_REPLACE;
        break;
    case CHECKS_PREPEND:
        if (!has_text(f, l, "PREPEND"))
            return true;
        *fate = FATE_PREPEND;
        break;
    case CHECKS_INFO:
    case CHECKS_WARN:
        break;
    default:
        v = l->action.kind == CHECKS_UNKNOWN || f->ops->act == NULL ? FILTER_UNKNOWN
                                                                    : f->ops->act(f->arg, l);
        if (v == FILTER_UNKNOWN)
            warn(f, "%s command in %s map: %.*s", f->ops->act ? "unknown" : "unsupported", l->map,
                 SL_ARG(sl_head(l->value, 200)));
        f->is_off = f->is_off || v == FILTER_OFF || v == FILTER_END;
        f->is_dropped = f->is_dropped || v == FILTER_END;
        return !f->is_off;
    }
    f->ops->log(f->arg, l);
    return true;
}

static struct filter_line
line_of(const struct content_filter *f, size_t i, struct slice value)
{
    enum checks_map map = f->asked[i].map;

    return (struct filter_line){ .is_header = map != CHECKS_BODY,
                                 .map = f->conf->checks->name[map],
                                 .text = f->asked[i].text,
                                 .value = value };
}

static void
after_wait(struct content_filter *f)
{
    f->is_waiting = false;
    if (!f->is_running)
        go_on(f);
}

/* ---- the header's batches ---- */

static void
on_staged(uint64_t id, int rc, struct header *h, const struct err *e)
{
    struct content_filter *f = id_get(id);

    if (rc)
        fail(f, NULL, e);
    for (struct header_field *x = h->first; x && !f->is_dropped; x = x->next)
        f->ops->field(f->arg, buf_slice(&x->text), x->is_fixed);
    after_wait(f);
}

static void
run_stages(struct content_filter *f)
{
    header_run_start(&f->batch, f->conf->stages, f->conf->n_stages, on_staged, f->id);
}

/* Fields before `to` need no more looking at. */
static void
pass_fields(struct content_filter *f, size_t to)
{
    for (; f->at_field < to; f->at_field++) {
        struct header_field *x = f->fields[f->at_field].field;

        if (x == NULL)
            continue;
        header_push(&f->checked, x);
    }
}

static bool
on_field_hit(uint64_t id, size_t i, struct slice value)
{
    struct content_filter *f = id_get(id);
    struct filter_line l = line_of(f, i, value);
    struct header_field *x = f->fields[i].field;
    enum fate fate;
    bool goes_on;

    pass_fields(f, i);
    goes_on = decide(f, &l, &fate);
    if (fate == FATE_DROP) {
        f->fields[i].field = NULL;
        header_field_free(x);
    } else if (fate == FATE_PREPEND) {
        header_add(&f->checked, l.action.text)->is_fixed = true;
    } else if (fate == FATE_REPLACE) {
        header_field_set(x, l.action.text);
    }
    if (f->checked.octets > GROWN_MAX_OCTETS) {
        fail(f, l.map, NULL);
        goes_on = false;
    }
    return goes_on;
}

static void
forget_asked(struct content_filter *f)
{
    free(f->asked);
    free(f->fields);
    f->asked = NULL;
    f->fields = NULL;
    f->n_fields = 0;
}

static void
on_fields_done(uint64_t id, bool good, enum checks_map map)
{
    struct content_filter *f = id_get(id);

    pass_fields(f, f->n_fields);
    f->batch = f->checked;
    if (f->batch.first == NULL)
        f->batch.end = &f->batch.first;
    header_init(&f->checked);
    forget_asked(f);
    if (!good)
        fail(f, f->conf->checks->name[map], NULL);
    run_stages(f);
}

static const struct checks_ops field_ops = { on_field_hit, on_fields_done };

static bool
check_fields(struct content_filter *f)
{
    size_t n = 0;

    f->asked = mem_alloc(f->batch.n * sizeof *f->asked);
    f->fields = mem_alloc(f->batch.n * sizeof *f->fields);
    for (struct header_field *x = f->batch.first; x; x = x->next, n++) {
        f->fields[n].field = x;
        f->asked[n] = (struct checks_item){ buf_slice(&x->text),
                                            checks_map_of(HEADER_PRIMARY, header_field_name(x)) };
    }
    if (checks_start(f->conf->lookup, f->conf->checks, f->asked, n, &field_ops, f->id)) {
        f->n_fields = n;
        f->at_field = 0;
        header_init(&f->batch); /* they are in f->fields */
        return true;
    }
    forget_asked(f);
    return false;
}

static void
send_fields(struct content_filter *f)
{
    if (f->batch.n == 0)
        return;
    f->is_waiting = true;
    if (f->conf->checks == NULL || f->is_off || !check_fields(f))
        run_stages(f);
}

/* ---- the body's batches ---- */

void
content_filter_lines(struct slice text, struct buf *out)
{
    struct slice line;
    bool is_first = true;

    do {
        if (!sl_take_until(&text, '\n', &line)) {
            line = text;
            text = SL("");
        }
        if (!is_first && line.n > 0 && line.p[0] != ' ' && line.p[0] != '\t')
            buf_addc(out, '\t');
        is_first = false;
        buf_adds(out, line);
        buf_addz(out, "\r\n");
    } while (text.n > 0);
}

static void
put_lines(struct content_filter *f, struct slice text)
{
    struct buf out = { 0 };

    content_filter_lines(text, &out);
    f->ops->body(f->arg, buf_slice(&out));
    buf_free(&out);
}

static struct slice
item_text(const struct content_filter *f, const struct item *x)
{
    return sl_n(f->text.p + f->text.off + x->at, x->n);
}

/* Items before `to` stay as they are. */
static void
pass_items(struct content_filter *f, size_t to)
{
    while (f->n_out < to) {
        const struct item *x = &f->items[f->n_out];
        size_t from = x->at, end = from;

        if (x->is_field) {
            put_lines(f, item_text(f, x));
            f->n_out++;
            continue;
        }
        for (; f->n_out < to && !f->items[f->n_out].is_field; f->n_out++)
            end += f->items[f->n_out].n;
        f->ops->body(f->arg, sl_n(f->text.p + f->text.off + from, end - from));
    }
}

/* What is put in the place of a line, or before it. */
static void
put_text(struct content_filter *f, const struct item *x, struct slice text, bool with_end)
{
    if (x->is_field) {
        put_lines(f, text);
        return;
    }
    f->ops->body(f->arg, text);
    if (with_end)
        f->ops->body(f->arg, SL("\r\n"));
}

static bool
on_item_hit(uint64_t id, size_t i, struct slice value)
{
    struct content_filter *f = id_get(id);
    struct filter_line l = line_of(f, i, value);
    const struct item *x = &f->items[i];
    enum fate fate;
    bool goes_on;

    pass_items(f, i);
    goes_on = decide(f, &l, &fate);
    if (fate == FATE_PREPEND) {
        put_text(f, x, l.action.text, true);
    } else if (fate != FATE_KEEP) {
        f->n_out++;
        if (fate == FATE_REPLACE)
            put_text(f, x, l.action.text, x->end_n > 0);
        else if (!x->is_field && !x->is_start && x->end_n > 0) /* the rest of a long line */
            f->ops->body(f->arg, SL("\r\n"));
    }
    return goes_on;
}

static void
items_are_out(struct content_filter *f)
{
    if (!f->is_dropped)
        pass_items(f, f->n_items);
    f->n_items = f->n_out = 0;
    buf_reset(&f->text);
    forget_asked(f);
}

static void
on_items_done(uint64_t id, bool good, enum checks_map map)
{
    struct content_filter *f = id_get(id);

    if (!good)
        fail(f, f->conf->checks->name[map], NULL);
    items_are_out(f);
    after_wait(f);
}

static const struct checks_ops item_ops = { on_item_hit, on_items_done };

static void
send_items(struct content_filter *f)
{
    if (f->n_items == 0)
        return;
    f->asked = mem_alloc(f->n_items * sizeof *f->asked);
    for (size_t i = 0; i < f->n_items; i++) {
        const struct item *x = &f->items[i];

        f->asked[i] = (struct checks_item){ sl_head(item_text(f, x), x->n - x->end_n),
                                            (enum checks_map)x->map };
    }
    if (!f->is_off &&
        checks_start(f->conf->lookup, f->conf->checks, f->asked, f->n_items, &item_ops, f->id))
        f->is_waiting = true;
    else
        items_are_out(f);
}

static enum checks_map
map_or_none(const struct content_filter *f, enum checks_map map)
{
    const struct checks_conf *k = f->conf->checks;

    return f->is_off || k == NULL || k->ask[map] == NULL ? CHECKS_NONE : map;
}

static void
add_item(struct content_filter *f, const struct item *x, struct slice text, struct slice end)
{
    struct item *last = f->n_items ? &f->items[f->n_items - 1] : NULL;
    size_t at = f->text.n;

    buf_adds(&f->text, text);
    buf_adds(&f->text, end);
    if (last && x->map == CHECKS_NONE && last->map == CHECKS_NONE && !x->is_field &&
        !last->is_field) {
        last->n += text.n + end.n;
        last->end_n = 0;
        return;
    }
    f->items = mem_grow(f->items, &f->cap_items, f->n_items + 1, sizeof *f->items);
    f->items[f->n_items] = *x;
    f->items[f->n_items].at = at;
    f->items[f->n_items].n = text.n + end.n;
    f->items[f->n_items++].end_n = (unsigned char)end.n;
}

static void
on_line(void *arg, struct slice text, struct slice end, bool is_start, uint64_t offset)
{
    struct content_filter *f = arg;
    struct item x = { .map = CHECKS_NONE, .is_start = is_start };

    if (f->is_dropped)
        return;
    if (text.n > 0 && f->conf->checks && offset < f->conf->checks->body_octets)
        x.map = (unsigned char)map_or_none(f, CHECKS_BODY);
    if (f->n_items == 0 && x.map == CHECKS_NONE) {
        f->ops->body(f->arg, text);
        f->ops->body(f->arg, end);
    } else {
        add_item(f, &x, text, end);
    }
}

static void
on_inner_field(void *arg, enum header_class class, struct slice text, bool is_cut)
{
    struct content_filter *f = arg;
    struct item x = { .is_field = true, .is_start = true };

    if (f->is_dropped)
        return;
    if (is_cut)
        f->ops->cut(f->arg, text);
    x.map =
        (unsigned char)map_or_none(f, checks_map_of(class, sl_head(text, sl_find_char(text, ':'))));
    if (f->n_items == 0 && x.map == CHECKS_NONE)
        put_lines(f, text);
    else
        add_item(f, &x, text, SL(""));
}

static void
on_error(void *arg, enum mime_error e, struct slice where)
{
    struct content_filter *f = arg;

    if (!f->is_dropped)
        f->ops->mime_error(f->arg, e, where);
}

static const struct mime_walk_ops walk_ops = { on_line, on_inner_field, on_error };

/* ---- the stream ---- */

static void
on_field(void *arg, struct slice text, bool is_cut)
{
    struct content_filter *f = arg;

    if (is_cut)
        f->ops->cut(f->arg, text);
    if (f->walk)
        mime_walk_field(f->walk, text);
    content_filter_add(f, text);
}

void
content_filter_add(struct content_filter *f, struct slice text)
{
    if (f->conf->checks == NULL && f->conf->n_stages == 0)
        f->ops->field(f->arg, text, false);
    else
        header_add(&f->batch, text);
}

static void
take_header(struct content_filter *f, struct slice *in)
{
    struct slice piece = sl_head(*in, TAKE_OCTETS);
    size_t n = piece.n;

    if (header_split_take(&f->split, &piece, &f->rest))
        f->state = AT_HEADER_END;
    *in = sl_from(*in, n - piece.n);
    if (f->state == AT_HEADER_END || f->batch.octets >= HEADER_BATCH_OCTETS ||
        f->batch.n >= HEADER_BATCH_FIELDS)
        send_fields(f);
}

/* All of the header is through. */
static void
begin_body(struct content_filter *f)
{
    struct slice in = buf_slice(&f->rest);

    f->ops->end_header(f->arg);
    header_split_free(&f->split);
    f->state = IN_BODY;
    if (f->walk) {
        mime_walk_begin(f->walk);
        while (in.n > 0)
            mime_walk_take(f->walk, &in);
    } else if (in.n > 0) {
        f->ops->body(f->arg, in);
    }
    buf_free(&f->rest);
}

static void
take_body(struct content_filter *f, struct slice *in)
{
    if (f->walk) {
        mime_walk_take(f->walk, in);
    } else {
        f->ops->body(f->arg, *in);
        *in = sl_from(*in, in->n);
    }
}

/* As much as can be now. */
static void
take(struct content_filter *f, struct slice *in)
{
    f->is_running = true;
    while (!f->is_waiting && !f->is_dropped) {
        if (f->state == AT_HEADER_END)
            begin_body(f);
        else if (f->text.n >= CONTENT_BATCH_OCTETS || f->n_items >= CONTENT_BATCH_ITEMS)
            send_items(f);
        else if (in->n == 0)
            break;
        else if (f->state == IN_HEADER)
            take_header(f, in);
        else
            take_body(f, in);
    }
    f->is_running = false;
}

/* All has been taken: what is still held. False: it waits. */
static bool
flush(struct content_filter *f)
{
    struct slice none = SL("");

    f->is_running = true;
    if (f->state == IN_HEADER && !f->is_dropped) {
        header_split_end(&f->split, &f->rest);
        f->state = AT_HEADER_END;
        send_fields(f);
    }
    take(f, &none);
    f->is_running = true;
    if (!f->is_waiting && !f->is_dropped) {
        if (f->walk && !f->is_walk_over)
            mime_walk_end(f->walk);
        f->is_walk_over = true;
        send_items(f);
    }
    f->is_running = false;
    return f->is_dropped || !f->is_waiting;
}

static void
finish(struct content_filter *f)
{
    void (*done)(void *arg) = f->done;

    if (!flush(f))
        return;
    f->done = NULL;
    done(f->arg);
}

/* After a wait. */
static void
go_on(struct content_filter *f)
{
    struct slice in = buf_slice(&f->kept);
    size_t n = in.n;

    take(f, &in);
    buf_consume(&f->kept, f->is_dropped ? n : n - in.n);
    if (f->done && f->kept.n == 0)
        finish(f);
    else if (f->ops->moved)
        f->ops->moved(f->arg);
}

void
content_filter_write(struct content_filter *f, struct slice in)
{
    if (f->is_dropped)
        return;
    if (f->kept.n == 0)
        take(f, &in);
    if (!f->is_dropped)
        buf_adds(&f->kept, in);
}

void
content_filter_end(struct content_filter *f, void (*done)(void *arg))
{
    f->done = done;
    if (f->is_dropped || (!f->is_waiting && f->kept.n == 0))
        finish(f);
}

size_t
content_filter_kept(const struct content_filter *f)
{
    return f->kept.n;
}

struct content_filter *
content_filter_new(const struct content_filter_conf *c, const struct content_filter_ops *ops,
                   void *arg)
{
    struct content_filter *f = MEM_NEW(struct content_filter);

    f->id = id_add(f);
    f->conf = c;
    f->ops = ops;
    f->arg = arg;
    f->split.limit = c->mime.field_limit;
    f->split.field = on_field;
    f->split.arg = f;
    f->split.is_primary = true;
    header_init(&f->batch);
    header_init(&f->checked);
    if (c->has_walk)
        f->walk = mime_walk_new(&c->mime, &walk_ops, f);
    return f;
}

void
content_filter_free(struct content_filter **fp)
{
    struct content_filter *f = *fp;

    if (f == NULL)
        return;
    id_del(f->id);
    for (size_t i = f->at_field; i < f->n_fields; i++)
        header_field_free(f->fields[i].field);
    forget_asked(f);
    header_split_free(&f->split);
    header_clear(&f->batch);
    header_clear(&f->checked);
    mime_walk_free(&f->walk);
    buf_free(&f->rest);
    buf_free(&f->text);
    buf_free(&f->kept);
    free(f->items);
    free(f);
    *fp = NULL;
}
