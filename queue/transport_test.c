/* queue/transport_test.c - what a transport's name and next hop come to. */
#include "queue/qmgr_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/test.h"

static const char *const kinds[] = {
    [ROUTE_LMTP] = "lmtp", [ROUTE_RELAY] = "relay",     [ROUTE_ERROR] = "error",
    [ROUTE_TEMP] = "temp", [ROUTE_DISCARD] = "discard", [ROUTE_HOLD] = "hold"
};

/* "kind mailer path|nexthop dsn flags" */
static void
spell(const struct route *r, char *out, size_t n)
{
    snprintf(out, n, "%s %s %.*s %.*s%s%s", kinds[r->kind], r->mailer ? r->mailer : "-",
             SL_ARG(r->kind == ROUTE_LMTP ? r->path : r->nexthop), SL_ARG(r->dsn),
             r->is_wrapper ? " wrapper" : "", r->is_lmtp_inet ? " inet" : "");
}

TEST(names)
{
    static const char *const rows[][2] = {
        { "smtp", "relay smtp d.test " },
        { "smtp:", "relay smtp d.test " },
        { "smtp:[h.test]:2525", "relay smtp [h.test]:2525 " },
        { "relay:a.test, b.test", "relay relay a.test, b.test " },
        { "smtps:[h.test]:465", "relay smtp [h.test]:465  wrapper" },
        { "lmtp:unix:private/x", "lmtp lmtp private/x " },
        { "lmtp:inet:h.test:24", "relay lmtp h.test:24  inet" },
        { "lmtp:h.test", "relay lmtp h.test  inet" },
        { "virtual", "lmtp lmtp private/own " },
        { "local:$myhostname", "lmtp lmtp private/own " },
        { "error", "error - mail is not accepted for this address 5.0.0" },
        { "error:5.7.1 go away", "error - go away 5.7.1" },
        { "error:4.7.1 go away", "error - 4.7.1 go away 5.0.0" },
        { "error:user x: unknown", "error - user x: unknown 5.0.0" },
        { "retry:4.2.1 later", "temp - later 4.2.1" },
        { "retry", "temp - mail for this address is put off 4.0.0" },
        { "discard:sink", "discard - sink 2.0.0" },
        { "hold:judge", "hold - judge 4.0.0" },
        { "uucp:x", "temp - mail transport unavailable 4.3.5" },
        { "SMTP:x", "temp - mail transport unavailable 4.3.5" },
    };
    struct conf_problems ps = { 0 };

    memset(&qm, 0, sizeof qm);
    qm.conf = conf_parse(SL("listen_lmtp = 127.0.0.1:24, unix:private/own\n"), "test", &ps);
    conf_problems_free(&ps);
    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_INFO);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct route r = { 0 };
        struct slice name, hop;
        char text[200];

        transport_split(sl_z(rows[i][0]), &name, &hop);
        transport_take(name, hop, SL("d.test"), &r);
        spell(&r, text, sizeof text);
        CHECK_EQ_STR(text, rows[i][1]);
    }
    conf_unref(&qm.conf);
}

TEST_MAIN()
