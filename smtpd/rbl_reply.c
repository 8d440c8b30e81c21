/* smtpd/rbl_reply.c - what a listed client hears: the list's own template of rbl_reply_maps, or default_rbl_reply. */
#include "smtpd/rbl.h"

#include "base/log.h"
#include "base/mem.h"
#include "smtpd/attr.h"

#include <stdio.h>

struct reply {
    struct slice arg, zone, what, reason;
    const char *reply_class;
    bool asked_zone; /* rbl_reply_maps were asked for the zone without its filter */
};

int
rbl_split_reply(struct slice reply, const char *reply_class, int64_t *code,
                char esc[ACCESS_ESC_OCTETS], struct slice *text)
{
    struct slice in = reply;
    size_t esc_n;
    uint64_t n;

    if (reply.n < 4 || reply.p[3] != ' ' || !sl_take_u64(&in, &n) || n < 400 || n > 599)
        return -1;
    *code = (int64_t)n;
    in = sl_trim(in);
    esc_n = access_dsn_length(in);
    snprintf(esc, ACCESS_ESC_OCTETS, "%.*s", SL_ARG(esc_n ? sl_head(in, esc_n) : SL("4.7.1")));
    access_dsn_fix(esc, reply_class);
    in = sl_trim(sl_from(in, esc_n));
    *text = in.n > 0 ? in : SL("Service unavailable");
    return 0;
}

/* ---- the template ---- */

static bool
look_up(void *arg, struct slice name, struct buf *out)
{
    const struct check *c = arg;
    const struct reply *r = c->own;

    if (sl_eqz(name, "rbl_code"))
        buf_addf(out, "%d", (int)c->s->cfg->conf->maps_rbl_reject_code);
    else if (sl_eqz(name, "rbl_domain"))
        buf_adds(out, r->zone);
    else if (sl_eqz(name, "rbl_reason") || sl_eqz(name, "rbl_txt"))
        buf_adds(out, r->reason);
    else if (sl_eqz(name, "rbl_what"))
        buf_adds(out, r->what);
    else if (sl_eqz(name, "rbl_class"))
        buf_addz(out, r->reply_class);
    else
        return smtpd_attr(c->s, &c->about, name, out);
    return true;
}

/* Refuse with this template; false when it is no good. */
static bool
refuse_with(struct check *c, struct slice template)
{
    const struct reply *r = c->own;
    struct conf_template t = { .look_up = look_up, .arg = c, .allowed = c->s->cfg->expansion_set };
    struct buf out = { 0 };
    struct slice text;
    struct err e = { 0 };
    int64_t code;
    char esc[ACCESS_ESC_OCTETS];

    if (conf_expand_template(template, &t, &out, &e) < 0) {
        log_event(LOG_LV_WARN, c->s->cfg->ident, "rbl.template", LOG_F(LF_S("zone", r->zone)),
                  "bad rbl reply template for domain %.*s: %.*s (%s)", SL_ARG(r->zone),
                  SL_ARG(template), e.msg);
        buf_free(&out);
        return false;
    }
    if (rbl_split_reply(buf_slice(&out), r->reply_class, &code, esc, &text) < 0) {
        log_event(LOG_LV_WARN, c->s->cfg->ident, "rbl.template", LOG_F(LF_S("zone", r->zone)),
                  "rbl response code configuration error: %s", buf_z(&out));
        check_refuse(c, 450, "4.7.1", "Service unavailable");
    } else {
        check_refuse(c, code, esc, "%.*s", SL_ARG(text));
    }
    buf_free(&out);
    return true;
}

static void
refuse_by_default(struct check *c)
{
    if (!refuse_with(c, sl_z(c->s->cfg->conf->default_rbl_reply)))
        check_refuse(c, 450, "4.7.1", "Service unavailable");
}

static void
on_template(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    struct reply *r = c->own;

    (void)arg;
    (void)ext;
    if (f == FOUND_TEMP) {
        check_server_error(c);
    } else if (f == FOUND_YES) {
        if (!refuse_with(c, value))
            refuse_by_default(c);
    } else if (!r->asked_zone && r->zone.n < r->arg.n) {
        r->asked_zone = true;
        find_key(s, "rbl_reply_maps", r->zone, on_template, NULL);
    } else {
        refuse_by_default(c);
    }
}

void
rbl_refuse(struct check *c, struct slice arg, struct slice what, const char *reply_class,
           struct slice reason)
{
    struct reply *r = ARENA_NEW(&c->s->smtp.cmd, struct reply);
    size_t eq = sl_find_char(arg, '=');

    if (r == NULL) {
        check_server_error(c);
        return;
    }
    *r = (struct reply){ .arg = arg,
                         .zone = eq == SL_NPOS ? arg : sl_head(arg, eq),
                         .what = what,
                         .reason = arena_dup(&c->s->smtp.cmd, reason),
                         .reply_class = reply_class };
    c->own = r;
    if (c->s->cfg->conf->rbl_reply_maps.n)
        find_key(c->s, "rbl_reply_maps", arg, on_template, NULL);
    else
        refuse_by_default(c);
}
