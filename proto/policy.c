/* proto/policy.c - see policy.h. */
#include "proto/policy.h"

void
policy_add(struct buf *request, const char *name, struct slice value)
{
    buf_addf(request, "%s=", name);
    for (size_t i = 0; i < value.n; i++)
        buf_addc(request, value.p[i] == '\n' || value.p[i] == '\0' ? '?' : value.p[i]);
    buf_addc(request, '\n');
}

void
policy_add_number(struct buf *request, const char *name, uint64_t value)
{
    buf_addf(request, "%s=%llu\n", name, (unsigned long long)value);
}

void
policy_end(struct buf *request)
{
    buf_addc(request, '\n');
}

enum parse_rc
policy_take_reply(struct slice *in, struct slice *action, struct err *e)
{
    struct slice at = *in, line, name, found = { 0 };
    bool has_action = false;

    while (sl_take_until(&at, '\n', &line)) {
        if (in->n - at.n > POLICY_REPLY_OCTETS)
            break;
        if (sl_ends(line, '\r'))
            line.n--;
        if (line.n == 0) {
            if (!has_action)
                return err_parse(e, "missing attribute action");
            *action = found;
            *in = at;
            return PARSE_OK;
        }
        if (!has_action && sl_take_until(&line, '=', &name) && sl_eqz(name, "action")) {
            found = sl_trim(line);
            has_action = true;
        }
    }
    if (in->n >= POLICY_REPLY_OCTETS)
        return err_parse(e, "unreasonably long reply");
    return PARSE_MORE;
}

enum parse_rc
policy_take_request(struct slice *in, struct slice *request, struct err *e)
{
    struct slice at = *in, line;

    while (sl_take_until(&at, '\n', &line)) {
        if (in->n - at.n > POLICY_REQUEST_OCTETS)
            break;
        if (sl_ends(line, '\r'))
            line.n--;
        if (line.n == 0) {
            if ((size_t)(line.p - in->p) == 0)
                return err_parse(e, "empty request");
            *request = sl_n(in->p, (size_t)(line.p - in->p));
            *in = at;
            return PARSE_OK;
        }
        if (sl_find_char(line, '=') == SL_NPOS)
            return err_parse(e, "a line is no name=value");
    }
    if (in->n >= POLICY_REQUEST_OCTETS)
        return err_parse(e, "unreasonably long request");
    return PARSE_MORE;
}

struct slice
policy_attr(struct slice request, const char *name)
{
    struct slice line, key;

    while (sl_take_until(&request, '\n', &line)) {
        if (sl_ends(line, '\r'))
            line.n--;
        if (sl_take_until(&line, '=', &key) && sl_eqz(key, name))
            return line;
    }
    return SL("");
}
