/* cli/cmd_queue_list.c - `postern queue list` and `show`. */
#include "cli/cmd_queue.h"

#include "base/json.h"
#include "cli/queue_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct listing {
    uint64_t messages, octets;
    bool has_rcpt, is_missing;
};

const char *
queue_time(int64_t unix_s, char out[QUEUE_TIME_OCTETS])
{
    time_t t = (time_t)unix_s;
    struct tm tm = { 0 }; /* a damaged time may be beyond all years */

    localtime_r(&t, &tm);
    strftime(out, QUEUE_TIME_OCTETS, "%Y-%m-%d %H:%M:%S", &tm);
    return out;
}

static void
missing(void *arg, struct slice id)
{
    struct listing *l = arg;

    fprintf(stderr, "postern queue: %.*s: no such message in the queue\n", SL_ARG(id));
    l->is_missing = true;
}

/* ---- for people ---- */

static void
text_message(void *arg, const struct queue_list_message *m)
{
    struct listing *l = arg;
    char text[QUEUE_TIME_OCTETS];

    l->messages++;
    l->octets += m->size;
    printf("%.*s  %-8.*s %9" PRIu64 "  %s  %.*s%s\n", SL_ARG(m->id), SL_ARG(m->state), m->size,
           queue_time(m->arrived_s, text),
           SL_ARG(m->sender.n > 0 ? m->sender : SL("MAILER-DAEMON")),
           m->is_expired ? "  (to be returned)" : "");
}

static void
text_rcpt(void *arg, const struct queue_list_rcpt *r)
{
    char text[QUEUE_TIME_OCTETS];

    (void)arg;
    printf("    %.*s", SL_ARG(r->address));
    if (sl_eqz(r->state, "deferred"))
        printf("  (next try %s)", queue_time(r->due_s, text));
    putchar('\n');
    if (r->why.n > 0)
        printf("        %.*s\n", SL_ARG(r->why));
}

static void
text_end(void *arg)
{
    (void)arg;
    putchar('\n');
}

static void
page(void *arg)
{
    (void)arg;
    fflush(stdout);
}

static const struct queue_list_ops text_ops = {
    .message = text_message, .rcpt = text_rcpt, .end = text_end, .missing = missing, .page = page
};

/* ---- JSON: an object a line ---- */

static void
member(const char *name, struct slice value)
{
    if (value.n == 0)
        return;
    printf(",\"%s\":", name);
    json_write(stdout, value);
}

static void
json_message(void *arg, const struct queue_list_message *m)
{
    struct listing *l = arg;

    l->has_rcpt = false;
    printf("{\"queue_id\":");
    json_write(stdout, m->id);
    member("queue_name", m->state);
    printf(",\"message_size\":%" PRIu64 ",\"arrival_time\":%" PRId64
           ",\"forced_expire\":%s,\"sender\":",
           m->size, m->arrived_s, m->is_expired ? "true" : "false");
    json_write(stdout, m->sender);
    member("account", m->account);
    member("hold_reason", m->hold);
    printf(",\"recipients\":[");
}

static void
json_rcpt(void *arg, const struct queue_list_rcpt *r)
{
    struct listing *l = arg;

    printf("%s{\"address\":", l->has_rcpt ? "," : "");
    json_write(stdout, r->address);
    if (!sl_eq(r->orig, r->address))
        member("original", r->orig);
    member("state", r->state);
    printf(",\"attempts\":%u", r->attempts);
    if (sl_eqz(r->state, "deferred"))
        printf(",\"next_attempt\":%" PRId64, r->due_s);
    member("status", r->status);
    member("delay_reason", r->why);
    member("next_hop", r->hop);
    putchar('}');
    l->has_rcpt = true;
}

static void
json_end(void *arg)
{
    (void)arg;
    fputs("]}\n", stdout);
}

static const struct queue_list_ops json_ops = {
    .message = json_message, .rcpt = json_rcpt, .end = json_end, .missing = missing, .page = page
};

int
queue_list(struct queue_source *s, const char *words, bool is_json)
{
    struct listing l = { 0 };
    struct err e = { 0 };

    if (queue_list_each(s, words, is_json ? &json_ops : &text_ops, &l, &e) != 0)
        return queue_fail(&e);
    if (!is_json && l.messages == 0 && !l.is_missing)
        printf(strcmp(words, "ALL\n") == 0 ? "The queue is empty.\n" : "No such message.\n");
    else if (!is_json && l.messages > 0)
        printf("%" PRIu64 " message%s, %" PRIu64 " KiB.\n", l.messages, l.messages == 1 ? "" : "s",
               (l.octets + 1023) / 1024);
    return l.is_missing ? EXIT_FAILED : EXIT_OK;
}

/* A message that has left meanwhile is none. */
static int
show_one(struct queue_source *s, const char *id, bool is_json, struct err *e)
{
    static const struct queue_list_ops text_one = { .message = text_message,
                                                    .rcpt = text_rcpt,
                                                    .end = text_end };
    static const struct queue_list_ops json_one = { .message = json_message,
                                                    .rcpt = json_rcpt,
                                                    .end = json_end };
    struct queue_page p = { 0 };
    struct listing l = { 0 };
    int rc = queue_list_each(s, id, is_json ? &json_one : &text_one, &l, e);
    bool has_more = rc == 0 && !is_json && l.messages > 0;

    while (has_more) {
        rc = queue_source_ask(s, "content", id, &p, e);
        if (rc == 0)
            fwrite(buf_slice(&p.text).p, 1, p.text.n, stdout);
        has_more = rc == 0 && p.more;
    }
    buf_free(&p.text);
    return rc;
}

struct wanted {
    struct listing l; /* first: missing() is given it */
    struct buf ids;
};

static void
note_id(void *arg, const struct queue_list_message *m)
{
    struct wanted *w = arg;

    buf_addf(&w->ids, "%.*s\n", SL_ARG(m->id));
}

int
queue_show(struct queue_source *s, const char *words, bool is_json)
{
    static const struct queue_list_ops ops = { .message = note_id, .missing = missing };
    struct wanted w = { 0 };
    struct slice ids, id;
    struct err e = { 0 };
    int rc = queue_list_each(s, words, &ops, &w, &e);

    ids = buf_slice(&w.ids);
    while (rc == 0 && sl_take_until(&ids, '\n', &id)) {
        char *z = sl_dupz(id);

        rc = show_one(s, z, is_json, &e);
        free(z);
    }
    buf_free(&w.ids);
    return rc != 0 ? queue_fail(&e) : w.l.is_missing ? EXIT_FAILED : EXIT_OK;
}
