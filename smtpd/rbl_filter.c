/* smtpd/rbl_filter.c - patterns as sets of octets. */
#include "smtpd/rbl_filter.h"

#include "proto/hostname.h"

static bool
take_octet(struct slice *in, unsigned *out)
{
    uint64_t n;

    if (!sl_take_u64(in, &n) || n > 255)
        return false;
    *out = (unsigned)n;
    return true;
}

static void
allow(uint8_t set[32], unsigned from, unsigned to)
{
    for (unsigned i = from; i <= to; i++)
        set[i / 8] |= (uint8_t)(1u << i % 8);
}

/* "2", or "[2;4..11]" */
static bool
take_field(struct slice *in, uint8_t set[32])
{
    unsigned from, to;

    if (!sl_take_char(in, '[')) {
        if (!take_octet(in, &from))
            return false;
        allow(set, from, from);
        return true;
    }
    do {
        if (!take_octet(in, &from))
            return false;
        to = from;
        if (sl_take_prefix(in, SL("..")) && (!take_octet(in, &to) || to < from))
            return false;
        allow(set, from, to);
    } while (sl_take_char(in, ';'));
    return sl_take_char(in, ']');
}

int
rbl_filter_parse(struct slice arg, struct slice *zone, struct rbl_filter *out, struct err *e)
{
    size_t eq = sl_find_char(arg, '=');
    struct slice pattern = sl_from(arg, eq == SL_NPOS ? arg.n : eq + 1), in = pattern;

    *out = (struct rbl_filter){ .has_fields = eq != SL_NPOS };
    *zone = sl_head(arg, eq == SL_NPOS ? arg.n : eq);
    if (zone->n > RBL_ZONE_OCTETS || !hostname_is_valid(*zone))
        return err_set(e, ERR_CONFIG, "\"%.*s\" is no domain name", SL_ARG(*zone));
    for (int i = 0; out->has_fields && i < 4; i++)
        if ((i > 0 && !sl_take_char(&in, '.')) || !take_field(&in, out->bits[i]))
            return err_set(e, ERR_CONFIG,
                           "\"%.*s\" is no pattern of answers like 127.0.0.[2;4..11]",
                           SL_ARG(pattern));
    if (out->has_fields && in.n > 0)
        return err_set(e, ERR_CONFIG, "\"%.*s\" after a pattern of answers", SL_ARG(in));
    return 0;
}

bool
rbl_filter_match(const struct rbl_filter *f, const uint8_t ip[4])
{
    for (int i = 0; f->has_fields && i < 4; i++)
        if (!(f->bits[i][ip[i] / 8] & 1u << ip[i] % 8))
            return false;
    return true;
}

const char *
rbl_answer_error(const uint8_t ip[4])
{
    if (ip[0] != 127)
        return "no list answers so: the zone is gone, or the resolver makes up answers";
    if (ip[1] != 255 || ip[2] != 255)
        return NULL;
    switch (ip[3]) {
    case 252:
        return "the list says that its name is misspelt here";
    case 254:
        return "the list refuses questions from public resolvers: use a resolver of your own";
    case 255:
        return "the list refuses so many questions";
    default:
        return "the list says that it cannot be asked";
    }
}
