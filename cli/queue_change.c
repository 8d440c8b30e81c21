/* cli/queue_change.c - see queue_change.h. */
#include "cli/queue_change.h"

#include "base/clock.h"
#include "cli/queue_list.h"
#include "queue/select.h"
#include "session/queue_id.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    FIELDS = 5,
    STAT_FIELDS = 8, /* those that are wanted, and room for what comes behind them */
    GROUP_IDS = SELECT_IDS_MAX / 2,
    BAR_AFTER_MS = 500,
    BAR_EVERY_MS = 100,
    BAR_COLUMNS = 40
};

/* ---- the bar ---- */

struct bar {
    const char *verb;
    bool is_on, is_drawn;
    uint64_t since_ms, drawn_ms;
    uint64_t done, all; /* of what the whole is measured in */
};

static void
bar_draw(struct bar *b, uint64_t messages)
{
    uint64_t now = clock_mono_ms();
    unsigned parts, percent;
    char line[BAR_COLUMNS + 1];

    if (!b->is_on || b->all == 0 || now - b->since_ms < BAR_AFTER_MS ||
        now - b->drawn_ms < BAR_EVERY_MS)
        return;
    b->drawn_ms = now;
    b->is_drawn = true;
    percent = (unsigned)(b->done >= b->all ? 100 : b->done * 100 / b->all);
    parts = percent * BAR_COLUMNS / 100;
    for (unsigned i = 0; i < BAR_COLUMNS; i++)
        line[i] = i < parts ? '#' : '.';
    line[BAR_COLUMNS] = '\0';
    fprintf(stderr, "\r%s [%s] %3u%% %llu messages ", b->verb, line, percent,
            (unsigned long long)messages);
}

static void
bar_end(struct bar *b)
{
    if (b->is_drawn)
        fprintf(stderr, "\r%*s\r", (int)(sizeof "delete [] 100%  messages " + BAR_COLUMNS + 24),
                "");
}

/* ---- steps ---- */

static uint64_t
number(struct slice s)
{
    uint64_t v = 0;

    (void)sl_to_u64(s, &v);
    return v;
}

/* Returns the number of the message that the step ended with. */
static uint64_t
take_page(struct slice text, struct queue_change *c)
{
    struct slice line, f[FIELDS];
    uint64_t at = 0;

    while (sl_take_until(&text, '\n', &line)) {
        queue_list_split(line, f, FIELDS);
        if (sl_eqz(f[0], "N")) {
            c->messages += number(f[1]);
            c->recipients += number(f[2]);
            c->looked_at += number(f[3]);
            at = number(f[4]);
        } else if (sl_eqz(f[0], "T") && c->touched) {
            c->touched(c->arg, f[1], sl_eqz(f[2], "1"), sl_eqz(f[3], "1"));
        } else if (sl_eqz(f[0], "X") && c->missing) {
            c->missing(c->arg, f[1]);
        }
    }
    return at;
}

/* The queue's ends by number; the bar goes from one to the other. */
static void
find_ends(struct queue_source *s, uint64_t *first, uint64_t *last)
{
    struct queue_page p = { 0 };
    struct slice f[STAT_FIELDS], line, text;
    struct err e = { 0 };

    *first = *last = 0;
    if (queue_source_ask(s, "stat", "", &p, &e) == 0) {
        text = buf_slice(&p.text);
        if (sl_take_until(&text, '\n', &line)) {
            queue_list_split(line, f, STAT_FIELDS);
            *first = number(f[4]);
            *last = number(f[5]);
        }
    }
    buf_free(&p.text);
}

static int
run_group(struct queue_source *s, const char *verb, const char *words, struct queue_change *c,
          struct bar *bar, uint64_t first, struct err *e)
{
    struct queue_page p = { 0 };
    int rc;

    do {
        rc = queue_source_ask(s, verb, words, &p, e);
        if (rc == 0) {
            uint64_t at = take_page(buf_slice(&p.text), c);

            if (first > 0 && at >= first)
                bar->done = at - first;
            bar_draw(bar, c->messages);
        }
    } while (rc == 0 && p.more);
    buf_free(&p.text);
    return rc;
}

static struct slice
next_word(struct slice *words)
{
    struct slice w;

    if (!sl_take_until(words, '\n', &w)) {
        w = *words;
        *words = SL("");
    }
    return w;
}

int
queue_change_run(struct queue_source *s, const char *verb, struct slice words,
                 struct queue_change *c, struct err *e)
{
    struct bar bar = { .verb = verb,
                       .is_on = c->has_bar && isatty(STDERR_FILENO),
                       .since_ms = clock_mono_ms() };
    struct buf conditions = { 0 }, group = { 0 };
    uint64_t ids = 0, first = 0, last = 0, n;
    struct slice left = words, w;
    int rc = 0;

    while (left.n > 0) {
        w = next_word(&left);
        if (queue_id_parse(w, NULL, NULL, NULL))
            ids++;
        else if (w.n > 0)
            buf_addf(&conditions, "%.*s\n", SL_ARG(w));
    }
    if (ids == 0) {
        if (bar.is_on)
            find_ends(s, &first, &last);
        bar.all = last > first ? last - first : 0;
        rc = run_group(s, verb, buf_z(&conditions), c, &bar, first, e);
    }
    bar.all = ids > 0 ? ids : bar.all;
    for (left = words; ids > 0 && rc == 0 && left.n > 0;) {
        buf_reset(&group);
        buf_adds(&group, buf_slice(&conditions));
        n = 0;
        while (n < GROUP_IDS && left.n > 0) {
            w = next_word(&left);
            if (queue_id_parse(w, NULL, NULL, NULL)) {
                buf_addf(&group, "%.*s\n", SL_ARG(w));
                bar.done++;
                n++;
            }
        }
        if (n > 0) /* conditions alone would mean more than was said */
            rc = run_group(s, verb, buf_z(&group), c, &bar, 0, e);
    }
    bar_end(&bar);
    buf_free(&conditions);
    buf_free(&group);
    return rc;
}
