/* conf/foreign.c - names in main.cf that are no parameters of ours. What Postfix means by them is told once for each group of
 * names, with what to do instead: a hundred lines of "unused" hide the one that matters. */
#include "conf/conf_int.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

/* Names that come often in files for Postfix and that ask for what Postern does not do. "*" at either end stands for any text,
 * "name=value" is no matter with that value (Postfix's default). The first group with the name counts. */
static const struct {
    const char *names, *text;
} groups[] = {
    { "internal_mail_filter_classes",
      "not supported: header and body checks see what clients and sendmail bring, not the system's "
      "own mail" },
    { "smtpd_milters non_smtpd_milters smtpd_milter_maps milter_*",
      "milters are not supported: nothing is signed or filtered by them. While they are needed, "
      "keep "
      "Postfix in front; it can deliver to listen_lmtp" },
    { "content_filter receive_override_options smtpd_proxy_filter smtpd_proxy_*",
      "content filters are not supported: mail does not go through them" },
    { "relocated_maps", "not supported: who has moved is refused with 5.1.6 by an access table" },
    { "mailbox_command mailbox_command_maps mailbox_transport mailbox_transport_maps "
      "fallback_transport fallback_transport_maps luser_relay home_mailbox mail_spool_directory "
      "virtual_mailbox_base virtual_uid_maps virtual_gid_maps virtual_minimum_uid "
      "virtual_mailbox_limit virtual_mailbox_lock forward_path "
      "require_home_directory",
      "not used: mail for mydestination and virtual_mailbox_domains that no transport takes "
      "elsewhere goes into Maildirs at mail_location; no .forward is read, and commands are run "
      "only "
      "where aliases(5) says so" },
    { "postscreen_* dnsblog_*",
      "there is no postscreen; smtpd does such work itself: smtpd_greet_wait, "
      "smtpd_forbid_unauth_pipelining, smtpd_forbidden_commands, reject_rbl_client, "
      "permit_dnswl_client" },
    { "smtp_tls_cert_file smtp_tls_key_file smtp_tls_eccert_file smtp_tls_eckey_file "
      "smtp_tls_chain_files",
      "not supported: other hosts are shown no certificate of ours" },
    { "smtp_tls_per_site", "not supported: use smtp_tls_policy_maps" },
    { "tls_low_cipherlist tls_export_cipherlist tls_null_cipherlist tls_ssl_options "
      "tls_disable_workarounds tls_config_* tls_eecdh_*",
      "not used: these are OpenSSL's own; smtpd_tls_exclude_ciphers and smtp_tls_exclude_ciphers "
      "take ciphers out" },
    { "disable_dns_lookups=no",
      "not supported: other hosts are looked up in the DNS; [host] in relayhost or transport_maps "
      "asks for no MX records" },
    { "soft_bounce=no", "not supported: what is refused for good stays so" },
    { "mynetworks_style", "not used: where mynetworks is not set it is 127.0.0.0/8 [::1]/128" },
    { "*_time_limit",
      "master.cf is not read: a program that it would start has to be started by itself" },
    { "*_destination_* *_initial_destination_concurrency *_delivery_slot_* "
      "*_minimum_delivery_slots *_recipient_limit *_recipient_refill_*",
      "there is no such transport, as master.cf is not read: smtp, smtps, relay, lmtp, virtual, "
      "local, error, retry, discard and hold are known" },
    { "lmtp_*", "not supported for LMTP" },
    { "tlsproxy_* qmqpd_* *_service_name", "a service of Postfix that is not here" },
};
#define N_GROUPS (sizeof groups / sizeof *groups)

enum { HEAD_OCTETS = 4096 };

static bool
matches(struct slice pattern, struct slice name)
{
    if (sl_starts(pattern, '*'))
        return sl_ends(pattern, '*') ? sl_find(name, sl_n(pattern.p + 1, pattern.n - 2)) != SL_NPOS
                                     : sl_has_suffix(name, sl_from(pattern, 1));
    if (sl_ends(pattern, '*'))
        return sl_has_prefix(name, sl_head(pattern, pattern.n - 1));
    return sl_eq(name, pattern);
}

/* The group of an entry, N_GROUPS: none; is_moot: set so that it does nothing in Postfix either. */
static size_t
group_of(const struct conf_entry *en, bool *is_moot)
{
    for (size_t i = 0; i < N_GROUPS; i++) {
        struct slice names = sl_z(groups[i].names), word, pattern;

        while (sl_take_word(&names, " ", &word)) {
            bool has_default = sl_take_until(&word, '=', &pattern);

            if (!matches(has_default ? pattern : word, sl_z(en->name)))
                continue;
            *is_moot = !*en->value || (has_default && sl_ieqz(word, en->value));
            return i;
        }
    }
    *is_moot = false;
    return N_GROUPS;
}

static void
tell_group(const struct conf_private *p, struct conf_entry *const *v, size_t n, const char *text,
           struct conf_problems *ps)
{
    struct buf head = { .max = HEAD_OCTETS };

    for (size_t i = 0; i < n; i++)
        if (i == 0)
            buf_addz(&head, v[i]->name);
        else
            buf_addf(&head, ", %s (line %u)", v[i]->name, v[i]->line);
    if (n > 0)
        conf_problem_add(ps, false, p->file, v[0]->line, "%s: %s", buf_z(&head), text);
    buf_free(&head);
}

static void
tell_unknown(const struct conf_private *p, const struct conf_entry *en, struct conf_problems *ps)
{
    if (sl_has_suffix(sl_z(en->name), SL("_restrictions")))
        conf_problem_add(
            ps, false, p->file, en->line,
            "unused parameter: %s: nothing in the file names it. If master.cf did so for "
            "submission: that file is not read; write submission_%s = $%s, and the same "
            "with submissions_",
            en->name,
            sl_has_prefix(sl_z(en->name), SL("mua_")) ? en->name + 4 : "client_restrictions",
            en->name);
    else
        conf_problem_add(ps, false, p->file, en->line,
                         "unused parameter: %s: Postern has none of this name, and nothing in the "
                         "file names it: a slip of the pen, a rare one of Postfix's, or meant for "
                         "master.cf, which is not read",
                         en->name);
}

static int
by_line(const void *a, const void *b)
{
    const struct conf_entry *const *x = a, *const *y = b;

    return ((*x)->line > (*y)->line) - ((*x)->line < (*y)->line);
}

void
conf_report_foreign(const struct conf_private *p, struct conf_entry **v, size_t n,
                    struct conf_problems *ps)
{
    struct conf_entry **some = mem_alloc((n + 1) * sizeof *some);

    if (n > 1)
        qsort(v, n, sizeof *v, by_line);
    for (size_t g = 0; g <= N_GROUPS; g++) {
        size_t n_some = 0;

        for (size_t i = 0; i < n; i++) {
            bool is_moot = false;

            if (group_of(v[i], &is_moot) != g || is_moot)
                continue;
            if (g < N_GROUPS)
                some[n_some++] = v[i];
            else if (!v[i]->is_used)
                tell_unknown(p, v[i], ps);
        }
        if (n_some > 0)
            tell_group(p, some, n_some, groups[g].text, ps);
    }
    free(some);
}
