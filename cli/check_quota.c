/* cli/check_quota.c - rules of quota, what is answered to who asks about it, and the words of warnings. */
#include "cli/check_int.h"

#include "lmtp/warning_text.h"
#include "smtpd/access.h"
#include "smtpd/policy_arg.h"
#include "store/quota.h"

static void
problem(const struct conf *c, struct conf_problems *ps, const char *param, const char *text)
{
    conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param), "%s: %s", param, text);
}

/* A full mailbox that is answered with an OK would let the rest of the restrictions be skipped for it. */
static void
check_answers(const struct conf *c, struct conf_problems *ps)
{
    static const struct {
        const char *param;
        size_t at; /* of a const char * in struct conf */
        bool must_refuse;
    } rows[] = {
        { "quota_status_success", offsetof(struct conf, quota_status_success), false },
        { "quota_status_overquota", offsetof(struct conf, quota_status_overquota), true },
        { "quota_status_toolarge", offsetof(struct conf, quota_status_toolarge), true },
        { "quota_status_nouser", offsetof(struct conf, quota_status_nouser), false },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *text = *(const char *const *)(const void *)((const char *)c + rows[i].at);
        struct access_action a;

        if (text[0] == '\0' && rows[i].at == offsetof(struct conf, quota_status_toolarge))
            continue;
        access_action_parse(sl_z(text), &a);
        if (a.kind == ACCESS_RESTRICTIONS)
            problem(c, ps, rows[i].param,
                    "an action of access(5) is wanted, as DUNNO or \"552 5.2.2 Mailbox is full\"");
        else if (rows[i].must_refuse && a.kind != ACCESS_REJECT && a.kind != ACCESS_DEFER &&
                 a.kind != ACCESS_CODE && a.kind != ACCESS_DEFER_IF_PERMIT)
            problem(c, ps, rows[i].param,
                    "it must refuse: 4xx or 5xx and words, REJECT, DEFER or DEFER_IF_PERMIT");
    }
}

static void
check_template(const struct conf *c, struct conf_problems *ps, const char *param, const char *path)
{
    struct err e = { 0 };

    if (path[0] != '\0' && warning_template_check(path, &e) < 0)
        problem(c, ps, param, e.msg);
}

void
check_quota(const struct conf *c, struct conf_problems *ps)
{
    struct err e = { 0 };

    quota_conf_check(c, ps);
    check_answers(c, ps);
    if (c->smtpd_quota_service[0] != '\0' && policy_arg_check(c->smtpd_quota_service, &e) < 0)
        problem(c, ps, "smtpd_quota_service", e.msg);
    if (sl_find_char(sl_z(c->postmaster_address), '@') == SL_NPOS ||
        sl_find_char(sl_z(c->postmaster_address), ' ') != SL_NPOS ||
        sl_find_char(sl_z(c->postmaster_address), '>') != SL_NPOS)
        problem(c, ps, "postmaster_address", "an address is wanted, as postmaster@%d");
    check_template(c, ps, "quota_warning_template", c->quota_warning_template);
    check_template(c, ps, "quota_warning_below_template", c->quota_warning_below_template);
}
