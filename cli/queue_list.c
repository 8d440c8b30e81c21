/* cli/queue_list.c - see queue_list.h. */
#include "cli/queue_list.h"

#include "base/json.h"
#include "base/mem.h"
#include "proto/smtp_addr.h"

#include <time.h>

enum { FIELDS = 12, REASON_COLUMNS = 76 };

/* ---- reading ---- */

void
queue_list_split(struct slice line, struct slice *f, size_t n)
{
    size_t k = 0;

    while (k < n - 1 && sl_take_until(&line, '\t', &f[k]))
        k++;
    f[k++] = line;
    for (; k < n; k++)
        f[k] = SL("");
}

static uint64_t
number(struct slice s)
{
    uint64_t v = 0;

    (void)sl_to_u64(s, &v);
    return v;
}

static void
end_message(struct queue_list_state *st, const struct queue_list_ops *ops, void *arg)
{
    if (st->in_message && ops->end)
        ops->end(arg);
    st->in_message = false;
}

static void
take_line(const struct slice f[FIELDS], struct queue_list_state *st,
          const struct queue_list_ops *ops, void *arg)
{
    if (sl_eqz(f[0], "M")) {
        struct queue_list_message m = {
            .id = f[1],
            .state = f[2],
            .size = number(f[3]),
            .arrived_s = (int64_t)number(f[4]),
            .sender = f[5],
            .account = f[6],
            .hold = f[7],
            .is_expired = sl_find_char(f[8], 'e') != SL_NPOS,
            .age_s = (int64_t)number(f[9]),
        };

        end_message(st, ops, arg);
        st->in_message = true;
        if (ops->message)
            ops->message(arg, &m);
    } else if (sl_eqz(f[0], "R")) {
        struct queue_list_rcpt r = {
            .i = (unsigned)number(f[1]),
            .state = f[2],
            .due_s = (int64_t)number(f[3]),
            .attempts = (unsigned)number(f[4]),
            .status = f[5],
            .address = f[6],
            .orig = f[7],
            .why = f[8],
            .is_by_hand = sl_find_char(f[10], 'h') != SL_NPOS,
            .hop = f[11],
        };

        if (ops->rcpt)
            ops->rcpt(arg, &r);
    } else if (sl_eqz(f[0], "X")) {
        if (ops->missing)
            ops->missing(arg, f[1]);
    }
}

void
queue_list_parse(struct slice text, struct queue_list_state *st, const struct queue_list_ops *ops,
                 void *arg)
{
    struct slice line, f[FIELDS];

    while (sl_take_until(&text, '\n', &line)) {
        queue_list_split(line, f, FIELDS);
        take_line(f, st, ops, arg);
    }
}

int
queue_list_each(struct queue_source *s, const char *words, const struct queue_list_ops *ops,
                void *arg, struct err *e)
{
    struct queue_page p = { 0 };
    struct queue_list_state st = { 0 };
    int rc;

    do {
        rc = queue_source_ask(s, "list", words, &p, e);
        if (rc == 0)
            queue_list_parse(buf_slice(&p.text), &st, ops, arg);
        if (rc == 0 && ops->page)
            ops->page(arg);
    } while (rc == 0 && p.more);
    end_message(&st, ops, arg);
    buf_free(&p.text);
    return rc;
}

/* ---- mailq ---- */

static const char *
time_of(struct queue_list_out *o, int64_t unix_s)
{
    time_t t = (time_t)unix_s;
    struct tm tm = { 0 }; /* a damaged time may be beyond all years */

    if (o->time[0] == '\0' || o->time_s != unix_s) {
        localtime_r(&t, &tm);
        strftime(o->time, sizeof o->time, "%a %b %e %H:%M:%S", &tm);
        o->time_s = unix_s;
    }
    return o->time;
}

/* As it stands in a header: quoted where it must be. */
static struct slice
quoted(struct queue_list_out *o, struct slice addr)
{
    arena_reset(&o->mem);
    return smtp_addr_quote(addr, &o->mem);
}

static struct slice
sender_of(struct queue_list_out *o, struct slice sender)
{
    return sender.n > 0 ? quoted(o, sender) : SL("MAILER-DAEMON");
}

static void
mailq_message(void *arg, const struct queue_list_message *m)
{
    struct queue_list_out *o = arg;
    char id[64];
    struct slice sender = sender_of(o, m->sender);

    if (o->messages++ == 0)
        fputs("----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------\n", o->to);
    o->octets += m->size;
    snprintf(id, sizeof id, "%.*s%s%s", SL_ARG(m->id),
             sl_eqz(m->state, "active")     ? "*"
             : sl_eqz(m->state, "deferred") ? ""
                                            : "!",
             m->is_expired ? "#" : "");
    fprintf(o->to, "%-17s %8llu %s %.*s\n", id, (unsigned long long)m->size,
            time_of(o, m->arrived_s), SL_ARG(sender));
    buf_reset(&o->why);
}

static void
mailq_rcpt(void *arg, const struct queue_list_rcpt *r)
{
    struct queue_list_out *o = arg;
    struct slice address = quoted(o, r->address);

    if (r->why.n > 0 && !sl_eq(r->why, buf_slice(&o->why))) {
        int room = r->why.n < REASON_COLUMNS ? REASON_COLUMNS - (int)r->why.n : 0;

        fprintf(o->to, "%*s(%.*s)\n", room, "", SL_ARG(r->why));
        buf_reset(&o->why);
        buf_adds(&o->why, r->why);
    }
    fprintf(o->to, "%47s%.*s\n", "", SL_ARG(address));
}

static void
mailq_end(void *arg)
{
    struct queue_list_out *o = arg;

    putc('\n', o->to);
}

static void
page_end(void *arg)
{
    struct queue_list_out *o = arg;

    fflush(o->to);
}

const struct queue_list_ops queue_list_mailq = {
    .message = mailq_message, .rcpt = mailq_rcpt, .end = mailq_end, .page = page_end
};

void
queue_list_mailq_end(struct queue_list_out *o)
{
    if (o->messages == 0)
        fputs("Mail queue is empty\n", o->to);
    else
        fprintf(o->to, "-- %llu Kbytes in %llu Request%s.\n",
                (unsigned long long)(o->octets / 1024), (unsigned long long)o->messages,
                o->messages == 1 ? "" : "s");
}

/* ---- postqueue -j ---- */

static void
json_message(void *arg, const struct queue_list_message *m)
{
    struct queue_list_out *o = arg;

    fputs("{\"queue_name\": ", o->to);
    json_write(o->to, sl_eqz(m->state, "damaged") ? SL("hold") : m->state);
    fputs(", \"queue_id\": ", o->to);
    json_write(o->to, m->id);
    fprintf(o->to,
            ", \"arrival_time\": %lld, \"message_size\": %llu, \"forced_expire\": %s, \"sender\": ",
            (long long)m->arrived_s, (unsigned long long)m->size, m->is_expired ? "true" : "false");
    json_write(o->to, sender_of(o, m->sender));
    fputs(", \"recipients\": [", o->to);
    o->has_rcpt = false;
}

static void
json_rcpt(void *arg, const struct queue_list_rcpt *r)
{
    struct queue_list_out *o = arg;

    fputs(o->has_rcpt ? ", {\"address\": " : "{\"address\": ", o->to);
    json_write(o->to, quoted(o, r->address));
    if (r->why.n > 0) {
        fputs(", \"delay_reason\": ", o->to);
        json_write(o->to, r->why);
    }
    putc('}', o->to);
    o->has_rcpt = true;
}

static void
json_end(void *arg)
{
    struct queue_list_out *o = arg;

    fputs("]}\n", o->to);
}

const struct queue_list_ops queue_list_json = {
    .message = json_message, .rcpt = json_rcpt, .end = json_end, .page = page_end
};

void
queue_list_out_free(struct queue_list_out *o)
{
    buf_free(&o->why);
    arena_free(&o->mem);
}
