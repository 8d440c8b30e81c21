/* queue/why.c - what `postern queue why` asks of memory: where a message's recipients are, and what is known of the hosts where
 * others failed. The question is the message's id and, in lines, next hops (listing.h). The answer, fields parted by tabs:
 *
 *   B i state hop                        a recipient in memory: routing, waiting (for its turn), delivering, done
 *   H hop class busy window waiting dead why     a destination with that next hop: class good, new or failing; busy: deliveries
 *                                        under way, of at most `window`; waiting: recipients; dead: seconds until it is tried
 *                                        again, 0: it is not dead; why it is */
#include "queue/qmgr_int.h"

#include "queue/listing.h"

struct slice
sched_hop(const struct dest *d)
{
    struct slice in = sl_z(d->nexthop), how, hop = in;

    if (d->t->is_relay && (!sl_take_word(&in, " ", &how) || !sl_take_word(&in, " ", &hop)))
        return SL("");
    return sl_head(hop, sl_find_char(hop, '|'));
}

static const char *
word_of(enum rcpt_state s)
{
    return s == RS_ROUTING   ? "routing"
           : s == RS_PENDING ? "waiting"
           : s == RS_BUSY    ? "delivering"
                             : "done";
}

static void
tell_rcpts(struct buf *out, uint64_t n)
{
    for (const struct qmsg *m = active_find(n); m; m = m->same)
        for (size_t k = 0; k < m->n_rcpts && out->n < QUEUE_PAGE_OCTETS / 2; k++) {
            const struct qrcpt *r = &m->rcpts[k];
            bool has_dest = r->state == RS_PENDING || r->state == RS_BUSY;

            buf_addf(out, "B\t%u\t%s", r->i, word_of(r->state));
            listing_add_field(out, has_dest ? sched_hop(r->dest) : SL(""));
            buf_addc(out, '\n');
        }
}

/* What sched_each_outlet() gives no argument for. */
static struct {
    struct buf *out;
    struct slice hop;
} asked;

static void
tell_dests(struct outlet *t)
{
    static const char *const classes[DEST_CLASSES] = {
        [DEST_GOOD] = "good", [DEST_FRESH] = "new", [DEST_BAD] = "failing"
    };
    uint64_t now = loop_now_ms();
    size_t it = 0;
    void *v;

    while (map_next(t->dests, &it, NULL, &v)) {
        const struct dest *d = v;
        uint64_t until = d->dead_until_ms;
        const char *why = d->dead_why;

        if (!sl_ieq(sched_hop(d), asked.hop) || asked.out->n > QUEUE_PAGE_OCTETS)
            continue;
        if (t->down_why && t->paused_until_ms > now && t->paused_until_ms > until) {
            until = t->paused_until_ms;
            why = t->down_why;
        }
        buf_addc(asked.out, 'H');
        listing_add_field(asked.out, asked.hop);
        buf_addf(asked.out, "\t%s\t%u\t%u\t%zu\t%llu", classes[d->class], d->busy, d->window.n,
                 d->n_pending, (unsigned long long)(until > now ? (until - now + 999) / 1000 : 0));
        listing_add_field(asked.out, until > now ? sl_z(why) : SL(""));
        buf_addc(asked.out, '\n');
    }
}

void
why_tell(uint64_t client, uint64_t req, struct slice words)
{
    struct buf out = { 0 };
    struct slice id, hop;
    uint64_t n;

    if (!sl_take_until(&words, '\n', &id)) {
        id = words;
        words = SL("");
    }
    if (queue_id_parse(id, NULL, &n, NULL))
        tell_rcpts(&out, n);
    while (words.n > 0) {
        if (!sl_take_until(&words, '\n', &hop)) {
            hop = words;
            words = SL("");
        }
        asked.out = &out;
        asked.hop = hop;
        if (hop.n > 0)
            sched_each_outlet(tell_dests);
    }
    intake_send_page(client, req, false, 0, buf_slice(&out));
    buf_free(&out);
}
