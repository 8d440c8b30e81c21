/* cli/serve_tls.c - certificates and keys: only the supervisor can read them, so it does, again when they were renewed, and
 * hands their text to the daemons that speak TLS. What is no good, or is being written, leaves in service what was there. */
#include "cli/serve_int.h"
#include "cli/tls_files.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "core/loop.h"

#include <stdlib.h>
#include <string.h>

enum {
    TELL_AFTER_LOOKS = 3, /* certificate and key are often written one after the other */
    TELL_AGAIN_S = 86400,
    KEYS = 3, /* of tickets, which live two hours */
    KEY_MS = 60 * 60 * 1000,
    STATUS_OCTETS = 20 * 1024,  /* of certificates: the answer is one message */
    STATUS_NAMES_OCTETS = 2048, /* of one certificate */
    LOG_NAMES_OCTETS = 256
};

static struct tls_files files;
static struct {
    char v[KEYS * TLS_TICKET_KEY_OCTETS]; /* newest first */
    size_t n;
    uint64_t changed_ms;
} tickets;

/* ---- what a configuration names ---- */

int
serve_tls_load(const struct conf *c, struct conf_problems *ps)
{
    struct tls_files fresh;
    struct conf_problems own = { 0 };

    if (tls_files_find(c, &fresh, &own) != 0 || tls_files_load(&fresh, c, &files, &own) != 0) {
        for (size_t i = 0; i < own.n; i++) /* warnings were check's */
            if (own.v[i].is_error)
                conf_problem_add(ps, true, own.v[i].file, own.v[i].line, "%s", own.v[i].text);
        conf_problems_free(&own);
        tls_files_free(&fresh);
        return -1;
    }
    conf_problems_free(&own);
    tls_files_free(&files);
    files = fresh;
    return 0;
}

void
serve_tls_free(void)
{
    tls_files_free(&files);
    mem_wipe(tickets.v, sizeof tickets.v);
}

/* ---- renewal ---- */

static bool
are_same(const struct tls_stamp *a, const struct tls_stamp *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!tls_stamp_same(&a[i], &b[i]))
            return false;
    return true;
}

static void
add_who(const struct tls_item *it, struct buf *out)
{
    buf_addf(out, "%s: ", it->param);
    if (it->sni)
        buf_addf(out, "%s: ", it->sni);
    tls_item_add_paths(it, out);
}

static void
forget_problem(struct tls_item *it)
{
    free(it->problem);
    it->problem = NULL;
    it->is_told = false;
    it->failures = 0;
}

static void
tell_good(struct tls_item *it, const char *what)
{
    struct buf who = { 0 };

    if (!tls_files_is_repeated(&files, it)) {
        add_who(it, &who);
        log_info("serve.tls", LOG_F(LF_Z("files", buf_z(&who))), "certificates %s: %s", what,
                 buf_z(&who));
    }
    buf_free(&who);
}

static void
tell_problem(struct tls_item *it)
{
    struct buf who = { 0 };

    it->is_told = true;
    if (!tls_files_is_repeated(&files, it)) {
        add_who(it, &who);
        log_error("serve.tls.bad", LOG_F(LF_Z("files", buf_z(&who)), LF_Z("why", it->problem)),
                  "certificates cannot be renewed: %s: %s; %s. Mend the files: they are looked at "
                  "again by themselves",
                  buf_z(&who), it->problem,
                  it->pem.n > 0 ? "what was read before stays in service"
                                : "who asks for the name is shown the certificate for everybody");
    }
    buf_free(&who);
}

/* Files that are other than those in service and have not changed since the last look are read. True: something new is in
 * service. */
static bool
look_at(struct tls_item *it, const struct conf *c, struct tls_stamp *now)
{
    bool is_changed = false;
    struct err e = { 0 };

    tls_item_stamps(it, now);
    if (it->pem.n > 0 && are_same(now, it->loaded, it->n)) {
        if (it->problem && it->is_told)
            tell_good(it, "are again those in service");
        forget_problem(it);
        return false;
    }
    if (!are_same(now, it->seen, it->n)) {
        memcpy(it->seen, now, it->n * sizeof *now);
        return false;
    }
    if (it->problem && are_same(now, it->tried, it->n)) {
        if (!it->is_told && ++it->failures >= TELL_AFTER_LOOKS)
            tell_problem(it);
        return false;
    }
    if (tls_item_load(it, c->myhostname, &is_changed, &e) == 0) {
        if (is_changed || it->is_told)
            tell_good(it, "were renewed");
        forget_problem(it);
        return is_changed;
    }
    if (e.kind != ERR_TEMP || e.sys) { /* else somebody writes just now */
        bool is_known = it->problem && strcmp(it->problem, e.msg) == 0 && it->is_told;

        forget_problem(it);
        it->problem = mem_dupz(e.msg);
        it->is_told = is_known;
        it->failures = 1;
    }
    return false;
}

static bool
look_at_all(const struct conf *c)
{
    bool is_changed = false;
    size_t most = 1;
    struct tls_stamp *now;

    for (size_t i = 0; i < files.n; i++)
        for (size_t k = 0; k < files.v[i].n; k++)
            most = files.v[i].v[k].n > most ? files.v[i].v[k].n : most;
    now = mem_zalloc(most * sizeof *now);
    for (size_t i = 0; i < files.n; i++)
        for (size_t k = 0; k < files.v[i].n; k++)
            is_changed = look_at(&files.v[i].v[k], c, now) || is_changed;
    free(now);
    return is_changed;
}

/* A table of names that is another, and has been so since the last look. */
static bool
is_table_changed(void)
{
    bool is_changed = false;

    for (size_t i = 0; i < files.n_tables; i++) {
        struct tls_table *t = &files.tables[i];
        struct tls_stamp now = tls_stamp_of(t->path);

        is_changed =
            is_changed || (!tls_stamp_same(&now, &t->stamp) && tls_stamp_same(&now, &t->seen));
        t->seen = now;
    }
    return is_changed;
}

static bool
renew_tables(const struct conf *c)
{
    struct tls_files fresh;
    struct conf_problems ps = { 0 };
    bool is_good = tls_files_find(c, &fresh, &ps) == 0 && tls_files_renew(&fresh, c, &files) == 0;

    for (size_t i = 0; i < ps.n; i++)
        log_event(ps.v[i].is_error ? LOG_LV_ERROR : LOG_LV_WARN, NULL, "serve.tls.table",
                  LOG_F(LF_Z("file", ps.v[i].file), LF_N("line", ps.v[i].line)), "%s:%u: %s%s",
                  ps.v[i].file, ps.v[i].line, ps.v[i].text,
                  ps.v[i].is_error ? "; the names that were read before stay in service" : "");
    conf_problems_free(&ps);
    if (is_good) {
        tls_files_free(&files);
        files = fresh;
        log_info("serve.tls.names", LOG_NONE, "tls_server_sni_maps was read again");
        return true;
    }
    for (size_t i = 0; i < files.n_tables; i++)
        files.tables[i].stamp = tls_stamp_of(files.tables[i].path); /* until it changes once more */
    tls_files_free(&fresh);
    return false;
}

bool
serve_tls_look(const struct conf *c)
{
    bool is_changed = is_table_changed() && renew_tables(c);

    return look_at_all(c) || is_changed;
}

/* ---- expiry ---- */

/* As many as fit, whole: there are certificates with a thousand. */
static void
add_names(struct slice names, size_t max, struct buf *out)
{
    struct slice some = sl_head(names, max);

    if (names.n > some.n)
        some = sl_head(some, sl_rfind_char(some, ' '));
    buf_addf(out, "%.*s%s", SL_ARG(some), names.n > some.n ? " ..." : "");
}

static void
tell_expiry(struct tls_item *it, int64_t now)
{
    struct buf words = { 0 }, who = { 0 }, names = { 0 };
    bool is_over;

    tls_expiry_words(&it->facts, now, &words, &is_over);
    if (words.n > 0 &&
        (it->expiry_told_unix_s == 0 || is_over != it->was_over ||
         now - it->expiry_told_unix_s >= TELL_AGAIN_S) &&
        !tls_files_is_repeated(&files,
                               it)) { /* last: with thousands of names that takes its time */
        add_who(it, &who);
        add_names(buf_slice(&it->facts.names), LOG_NAMES_OCTETS, &names);
        log_event(
            is_over ? LOG_LV_ERROR : LOG_LV_WARN, NULL, "serve.tls.expiry",
            LOG_F(LF_Z("files", buf_z(&who)), LF_N("not_after", it->facts.not_after_unix_s)),
            "certificate for %s %s: renew it (certbot renew); a new one is noticed by itself: "
            "%s",
            buf_z(&names), buf_z(&words), buf_z(&who));
        it->expiry_told_unix_s = now;
        it->was_over = is_over;
    }
    buf_free(&words);
    buf_free(&who);
    buf_free(&names);
}

void
serve_tls_tell_expiry(void)
{
    int64_t now = clock_unix_s();

    for (size_t i = 0; i < files.n; i++)
        for (size_t k = 0; k < files.v[i].n; k++) {
            struct tls_item *it = &files.v[i].v[k];

            if (!it->is_ca && it->pem.n > 0)
                tell_expiry(it, now);
        }
}

/* ---- what daemons are given ---- */

/* Nobody has the keys of services that are not his. */
static bool
is_of(const char *program, const char *services)
{
    bool is_imap = false;
    struct slice in = sl_z(services), word;
    bool has_smtp = false;

    while (sl_take_word(&in, " ", &word)) {
        is_imap = is_imap || sl_eqz(word, "imap");
        has_smtp = has_smtp || sl_has_prefix(word, SL("smtp")) || sl_has_prefix(word, SL("sub"));
    }
    return strcmp(program, "login") == 0 ? is_imap : has_smtp;
}

void
serve_tls_bundle(const char *program, struct buf *out)
{
    for (size_t i = 0; i < files.n; i++) {
        if (!is_of(program, files.v[i].services))
            continue;
        tls_bundle_begin(out, files.v[i].services);
        for (size_t k = 0; k < files.v[i].n; k++) {
            const struct tls_item *it = &files.v[i].v[k];

            if (it->pem.n == 0)
                continue;
            if (it->is_ca)
                tls_bundle_ca(out, buf_slice(&it->pem));
            else
                tls_bundle_add(out, it->sni, buf_slice(&it->pem));
        }
    }
}

bool
serve_tls_turn_tickets(void)
{
    uint64_t now = loop_now_ms();

    if (tickets.n > 0 && now - tickets.changed_ms < KEY_MS)
        return false;
    memmove(tickets.v + TLS_TICKET_KEY_OCTETS, tickets.v, (KEYS - 1) * TLS_TICKET_KEY_OCTETS);
    rand_octets(tickets.v, TLS_TICKET_KEY_OCTETS);
    tickets.n += tickets.n < KEYS;
    tickets.changed_ms = now;
    return true;
}

struct slice
serve_tls_tickets(void)
{
    return sl_n(tickets.v, tickets.n * TLS_TICKET_KEY_OCTETS);
}

/* ---- what `postern status` shows ---- */

static int
by_expiry(const void *a, const void *b)
{
    const struct tls_item *const *x = a, *const *y = b;
    int64_t p = (*x)->pem.n ? (*x)->facts.not_after_unix_s : 0;
    int64_t q = (*y)->pem.n ? (*y)->facts.not_after_unix_s : 0;

    return (p > q) - (p < q);
}

static void
add_services(const struct tls_item *it, struct buf *out)
{
    bool is_first = true;

    for (size_t i = 0; i < files.n; i++)
        for (size_t k = 0; k < files.v[i].n; k++)
            if (tls_item_same(&files.v[i].v[k], it)) {
                buf_addf(out, "%s%s", is_first ? "" : " ", files.v[i].services);
                is_first = false;
                break;
            }
}

static void
add_item(const struct tls_item *it, struct buf *out)
{
    buf_addf(out, "cert %lld\t%lld\t", (long long)it->facts.not_before_unix_s,
             (long long)it->facts.not_after_unix_s);
    add_services(it, out);
    buf_addf(out, "\t%s\t", it->sni ? it->sni : "");
    tls_item_add_paths(it, out);
    buf_addc(out, '\t');
    add_names(buf_slice(&it->facts.names), STATUS_NAMES_OCTETS, out);
    buf_addf(out, "\t%s\n", it->problem ? it->problem : "");
}

/* Whose end is nearest first, so that what does not fit is least missed. */
void
serve_tls_status(struct buf *out)
{
    const struct tls_item **all;
    size_t n = 0, at = 0, start = out->n;

    for (size_t i = 0; i < files.n; i++)
        n += files.v[i].n;
    all = mem_alloc((n + 1) * sizeof *all);
    n = 0;
    for (size_t i = 0; i < files.n; i++)
        for (size_t k = 0; k < files.v[i].n; k++)
            if (!files.v[i].v[k].is_ca && !tls_files_is_repeated(&files, &files.v[i].v[k]))
                all[n++] = &files.v[i].v[k];
    qsort(all, n, sizeof *all, by_expiry);
    while (at < n && out->n - start < STATUS_OCTETS)
        add_item(all[at++], out);
    if (at < n)
        buf_addf(out, "more_certificates %zu\n", n - at);
    free(all);
}
