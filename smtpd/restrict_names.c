/* smtpd/restrict_names.c - the lists of main.cf against the table of verbs, without a server: what `postern check` asks.
 * Kept apart from the evaluation so that a checker does not need it. */
#include "smtpd/restrict.h"

#include <stddef.h>
#include <stdlib.h>

enum { NEEDS_HELO = 1, NEEDS_SENDER = 2, NEEDS_RCPT = 4, NEEDS_ARG = 8 };

static const struct {
    const char *name;
    unsigned needs;
} verbs[] = {
#define RESTRICT(name, needs, fn) { name, needs },
#include "smtpd/restrict.def"
};

static const struct {
    const char *param;
    size_t offset;
} lists[RESTRICT_LISTS] = {
#define L(id, name) [id] = { #name, offsetof(struct conf, name) }
    L(RESTRICT_CLIENT, smtpd_client_restrictions),
    L(RESTRICT_HELO, smtpd_helo_restrictions),
    L(RESTRICT_SENDER, smtpd_sender_restrictions),
    L(RESTRICT_RELAY, smtpd_relay_restrictions),
    L(RESTRICT_RECIPIENT, smtpd_recipient_restrictions),
    L(RESTRICT_DATA, smtpd_data_restrictions),
    L(RESTRICT_END_OF_DATA, smtpd_end_of_data_restrictions),
    L(RESTRICT_ETRN, smtpd_etrn_restrictions),
#undef L
};

const char *
restrict_list_name(enum restrict_list_id id)
{
    return lists[id].param;
}

struct conf_list
restrict_conf_list(const struct conf *c, enum restrict_list_id id)
{
    const char *at = (const char *)c + lists[id].offset;

    /* At compatibility level 0 the default is empty, as it was before there were relay restrictions - but a file that
     * has neither list must not make an open relay. */
    if (id == RESTRICT_RELAY && c->compatibility_level < 1 &&
        conf_line_of(c, lists[id].param) == 0 && c->smtpd_recipient_restrictions.n > 0)
        return (struct conf_list){ 0 };
    return *(const struct conf_list *)(const void *)at;
}

static const unsigned *
needs_of(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (sl_ieq(sl_z(verbs[i].name), sl_z(name)))
            return &verbs[i].needs;
    return NULL;
}

static bool
stops_relaying(const char *name)
{
    static const char *const stops[] = { "reject_unauth_destination", "defer_unauth_destination",
                                         "reject", "defer" };

    for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++)
        if (sl_ieq(sl_z(stops[i]), sl_z(name)))
            return true;
    return false;
}

void
restrict_check_conf(const struct conf *c, const char *service, struct conf_problems *ps)
{
    bool is_safe = false;
    const char *file = conf_file_of(c);

    for (int id = 0; id < RESTRICT_LISTS; id++) {
        struct conf_list l = restrict_conf_list(c, (enum restrict_list_id)id);
        unsigned line = conf_line_of(c, lists[id].param);

        for (size_t i = 0; i < l.n; i++) {
            const unsigned *needs = needs_of(l.v[i]);

            if (needs == NULL)
                conf_problem_add(ps, true, file, line, "%s%s%s: unknown restriction \"%s\"",
                                 lists[id].param, service ? " of " : "", service ? service : "",
                                 l.v[i]);
            else if ((*needs & NEEDS_ARG) && ++i == l.n)
                conf_problem_add(ps, true, file, line, "%s: \"%s\" needs an argument",
                                 lists[id].param, l.v[i - 1]);
            else if ((id == RESTRICT_RELAY || id == RESTRICT_RECIPIENT) && stops_relaying(l.v[i]))
                is_safe = true;
        }
    }
    if (!is_safe)
        conf_problem_add(ps, true, file, conf_line_of(c, "smtpd_recipient_restrictions"),
                         "neither smtpd_relay_restrictions nor smtpd_recipient_restrictions%s%s "
                         "stops strangers from "
                         "relaying: add reject_unauth_destination",
                         service ? " of " : "", service ? service : "");
}
