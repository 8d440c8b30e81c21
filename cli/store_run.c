/* cli/store_run.c - the verbs of `postern store`, one user after the other. */
#include "cli/store_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct run {
    const struct store_asked *q;
    struct store *s;
    const char *user;
    struct store_bar bar;
    size_t n_notes;
    uint64_t users, mailboxes, messages, faults, fixed;
    int code;
};

/* The worse of two exit codes: a fault that was found is less than a check that could not be made. */
static void
worsen(struct run *r, int code)
{
    if (r->code == EXIT_OK || (r->code == EXIT_FAILED && code != EXIT_OK))
        r->code = code;
}

static int
code_of(const struct err *e)
{
    return e->kind == ERR_CONFIG     ? EXIT_CONFIG_ERROR
           : e->kind == ERR_NOTFOUND ? EXIT_NO_USER
           : e->kind == ERR_PERM     ? EXIT_DATA_ERROR
                                     : EXIT_TEMPFAIL;
}

static void
on_progress(void *arg, uint64_t done, uint64_t all)
{
    struct run *r = arg;

    store_bar_draw(&r->bar, done, all);
}

static void
on_note(void *arg, struct slice mailbox, const char *text)
{
    struct run *r = arg;

    store_bar_clear(&r->bar);
    if (r->q->is_json) {
        printf("%s{\"mailbox\":", r->n_notes++ > 0 ? "," : "");
        cli_json_string(mailbox);
        printf(",\"text\":");
        cli_json_string(sl_z(text));
        putchar('}');
        return;
    }
    if (mailbox.n > 0)
        printf("%s: %.*s: %s\n", r->user, SL_ARG(mailbox), text);
    else
        printf("%s: %s\n", r->user, text);
}

static void
json_begin(struct run *r, const char *array)
{
    r->n_notes = 0;
    if (!r->q->is_json)
        return;
    printf("{\"user\":");
    cli_json_string(sl_z(r->user));
    printf(",\"%s\":[", array);
}

static const char *
plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static struct store_teller
teller(struct run *r)
{
    return (struct store_teller){ .progress = on_progress, .note = on_note, .arg = r };
}

/* ---- verbs: 0, or -1 with e ---- */

static int
run_check(struct run *r, struct err *e)
{
    struct store_check c = { .must_fix = r->q->must_fix,
                             .reads_files = r->q->is_full,
                             .teller = teller(r) };
    int rc;

    json_begin(r, "faults");
    rc = store_check(r->s, sl_z(r->user), NULL, &c, e);
    store_bar_clear(&r->bar);
    r->mailboxes += c.mailboxes;
    r->messages += c.messages;
    r->faults += c.faults;
    r->fixed += c.fixed;
    if (c.faults > c.fixed)
        worsen(r, EXIT_FAILED);
    if (r->q->is_json)
        printf("],\"mailboxes\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"found\":%" PRIu64
               ",\"fixed\":%" PRIu64 ",\"unseen_changes\":%" PRIu64 ",\"damaged\":%s}\n",
               c.mailboxes, c.messages, c.faults, c.fixed, c.pending,
               c.is_damaged ? "true" : "false");
    else if (rc == 0 && (!r->q->is_quiet || c.faults > 0))
        printf("%s: %s, %" PRIu64 " mailbox%s, %" PRIu64 " message%s%s\n", r->user,
               c.faults == 0        ? "ok"
               : c.fixed < c.faults ? "faults"
                                    : "put right",
               c.mailboxes, c.mailboxes == 1 ? "" : "es", c.messages, plural(c.messages),
               c.pending > 0 ? "; changes of other programs are not taken in yet" : "");
    if (c.is_damaged && !r->q->must_fix && !r->q->is_json)
        printf("%s: only `postern store rebuild` helps\n", r->user);
    return rc;
}

static int
run_rebuild(struct run *r, struct err *e)
{
    struct store_rebuilt sum;
    struct store_teller t = teller(r);
    int rc;

    json_begin(r, "notes");
    rc = store_rebuild(r->s, sl_z(r->user), NULL, &t, &sum, e);
    store_bar_clear(&r->bar);
    r->mailboxes += sum.mailboxes;
    r->messages += sum.messages;
    if (r->q->is_json)
        printf("],\"mailboxes\":%" PRIu64 ",\"messages\":%" PRIu64 "}\n", sum.mailboxes,
               sum.messages);
    else if (rc == 0 && !r->q->is_quiet)
        printf("%s: rebuilt, %" PRIu64 " mailbox%s, %" PRIu64 " message%s\n", r->user,
               sum.mailboxes, sum.mailboxes == 1 ? "" : "es", sum.messages, plural(sum.messages));
    return rc;
}

static void
print_octets(uint64_t n)
{
    static const char *const units[] = { "kB", "MB", "GB", "TB" };
    double v = (double)n / 1000;
    size_t i = 0;

    for (; v >= 1000 && i + 1 < COUNT_OF(units); i++)
        v /= 1000;
    printf("%.*f %s", v < 10 ? 1 : 0, v, units[i]);
}

static void
print_stats(struct run *r, const struct store_stats *s)
{
    uint64_t messages = 0, unseen = 0, octets = 0, cached = 0;

    for (size_t i = 0; i < s->n; i++) {
        messages += s->v[i].messages;
        unseen += s->v[i].unseen;
        octets += s->v[i].octets;
        cached += s->v[i].cached;
    }
    printf("%s: %zu mailbox%s, %" PRIu64 " message%s (%" PRIu64 " unseen), ", r->user, s->n,
           s->n == 1 ? "" : "es", messages, plural(messages), unseen);
    print_octets(octets);
    printf("; index ");
    print_octets(s->index_octets);
    printf(" (");
    print_octets(s->free_octets);
    printf(" unused), %u%% of the messages cached\n",
           (unsigned)(messages == 0 ? 100 : 100 * cached / messages));
    for (size_t i = 0; !r->q->is_quiet && i < s->n; i++) {
        const struct store_mailbox_stats *m = &s->v[i];

        printf("    %-30s %8" PRIu64 " message%s %6" PRIu64 " unseen  %2u keyword%s  ", m->name,
               m->messages, m->messages == 1 ? " " : "s", m->unseen, m->keywords,
               m->keywords == 1 ? " " : "s");
        print_octets(m->octets);
        putchar('\n');
    }
}

static void
print_stats_json(struct run *r, const struct store_stats *s)
{
    json_begin(r, "mailboxes");
    for (size_t i = 0; i < s->n; i++) {
        const struct store_mailbox_stats *m = &s->v[i];

        printf("%s{\"name\":", i > 0 ? "," : "");
        cli_json_string(sl_z(m->name));
        printf(",\"messages\":%" PRIu64 ",\"unseen\":%" PRIu64 ",\"deleted\":%" PRIu64
               ",\"octets\":%" PRIu64 ",\"cached\":%" PRIu64 ",\"expunges\":%" PRIu64
               ",\"keywords\":%u,\"uidvalidity\":%u,\"uidnext\":%u,\"highestmodseq\":%" PRIu64 "}",
               m->messages, m->unseen, m->deleted, m->octets, m->cached, m->expunges, m->keywords,
               m->uidvalidity, m->uidnext, m->highestmodseq);
    }
    printf("],\"index_octets\":%" PRIu64 ",\"unused_octets\":%" PRIu64 "}\n", s->index_octets,
           s->free_octets);
}

static int
open_user(struct run *r, struct store_user **u, struct err *e)
{
    return store_user_open(r->s, sl_z(r->user), NULL, u, e);
}

static int
run_stats(struct run *r, struct err *e)
{
    struct store_user *u;
    struct store_stats s;
    int rc;

    if (open_user(r, &u, e))
        return -1;
    rc = store_stats(u, &s, e);
    store_user_close(&u);
    if (rc == 0) {
        if (r->q->is_json)
            print_stats_json(r, &s);
        else
            print_stats(r, &s);
        store_stats_free(&s);
    }
    return rc;
}

static int
run_purge(struct run *r, struct err *e)
{
    struct store_user *u;
    struct store_purged p;
    int rc;

    if (open_user(r, &u, e))
        return -1;
    rc = store_purge(u, r->q->purge, &p, e);
    store_user_close(&u);
    if (rc)
        return -1;
    if (r->q->is_json) {
        json_begin(r, "notes");
        printf("],\"expunges\":%" PRIu64 ",\"cached\":%" PRIu64 ",\"tmp_files\":%" PRIu64
               ",\"damaged_files\":%" PRIu64 ",\"octets\":%" PRIu64 "}\n",
               p.expunges, p.cached, p.tmp_files, p.damaged_files, p.octets);
    } else if (!r->q->is_quiet) {
        printf("%s: %" PRIu64 " expunge%s, %" PRIu64 " cached form%s, %" PRIu64
               " file%s in tmp, %" PRIu64 " damaged index file%s; ",
               r->user, p.expunges, plural(p.expunges), p.cached, plural(p.cached), p.tmp_files,
               plural(p.tmp_files), p.damaged_files, plural(p.damaged_files));
        print_octets(p.octets);
        printf(" freed\n");
    }
    return 0;
}

/* ---- to a Dovecot and back ---- */

/* For a shell: what is in quotes is one word. */
static void
print_quoted(const char *text)
{
    putchar('\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*text);
    }
    putchar('\'');
}

/* Dovecot's files say nothing of MODSEQs, which its index alone has: clients that know higher ones would miss changes. */
static int
print_doveadm(struct run *r, struct store_user *u, struct err *e)
{
    struct store_stats s;

    if (store_stats(u, &s, e))
        return -1;
    for (size_t i = 0; i < s.n; i++) {
        printf("doveadm mailbox update -u ");
        print_quoted(r->user);
        printf(" --min-highest-modseq %" PRIu64 " ", s.v[i].highestmodseq + 1);
        print_quoted(s.v[i].name);
        putchar('\n');
    }
    store_stats_free(&s);
    return 0;
}

static void
note_to_stderr(void *arg, struct slice mailbox, const char *text)
{
    struct run *r = arg;

    store_bar_clear(&r->bar);
    fprintf(stderr, "postern store: %s: %.*s%s%s\n", r->user, SL_ARG(mailbox),
            mailbox.n > 0 ? ": " : "", text);
}

static int
run_export(struct run *r, struct err *e)
{
    struct store_user *u;
    struct store_exported x;
    struct store_teller t = teller(r);
    struct buf to = { 0 };
    int rc;

    if (open_user(r, &u, e))
        return -1;
    if (r->q->with_doveadm) /* standard output is a shell's */
        t.note = note_to_stderr;
    if (r->q->to != NULL)
        buf_addf(&to, "%s/%s", r->q->to, r->user);
    json_begin(r, "notes");
    rc = store_export_dovecot(u, r->q->to != NULL ? buf_z(&to) : NULL, &t, &x, e);
    store_bar_clear(&r->bar);
    if (r->q->is_json)
        printf("],\"mailboxes\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"lost_keywords\":%" PRIu64
               ",\"removed_indexes\":%" PRIu64 "}\n",
               x.mailboxes, x.messages, x.lost_keywords, x.indexes);
    else if (rc == 0 && r->q->with_doveadm)
        rc = print_doveadm(r, u, e);
    else if (rc == 0 && !r->q->is_quiet)
        printf("%s: exported, %" PRIu64 " mailbox%s, %" PRIu64 " message%s%s\n", r->user,
               x.mailboxes, x.mailboxes == 1 ? "" : "es", x.messages, plural(x.messages),
               x.indexes > 0 ? "; Dovecot's old indexes are removed, it makes them again" : "");
    store_user_close(&u);
    buf_free(&to);
    return rc;
}

static int
run_import(struct run *r, struct err *e)
{
    struct store_imported x;
    struct store_teller t = teller(r);
    int rc;

    json_begin(r, "notes");
    rc = store_import_dovecot(r->s, sl_z(r->user), NULL, r->q->must, &t, &x, e);
    store_bar_clear(&r->bar);
    if (r->q->is_json)
        printf("],\"mailboxes\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"reset\":%" PRIu64 "}\n",
               x.mailboxes, x.messages, x.reset);
    else if (rc == 0 && !r->q->is_quiet)
        printf("%s: imported, %" PRIu64 " mailbox%s changed, %" PRIu64 " new message%s\n", r->user,
               x.mailboxes, x.mailboxes == 1 ? "" : "es", x.messages, plural(x.messages));
    return rc;
}

static int (*const verbs[])(struct run *r, struct err *e) = {
    [STORE_VERB_CHECK] = run_check,   [STORE_VERB_REBUILD] = run_rebuild,
    [STORE_VERB_STATS] = run_stats,   [STORE_VERB_PURGE] = run_purge,
    [STORE_VERB_EXPORT] = run_export, [STORE_VERB_IMPORT] = run_import,
};

/* ---- a user ---- */

/* Nothing is made for who has no mail, and what only looks makes no index. */
static bool
is_there(struct run *r, const struct store_owner *o)
{
    bool has_mail = o->has_mail, has_index = false;
    struct err e = { 0 };

    if (has_mail && store_has_index(r->s, sl_z(o->user), NULL, &has_mail, &has_index, &e)) {
        fprintf(stderr, "postern store: %s: %s\n", o->user, e.msg);
        worsen(r, code_of(&e));
        return false;
    }
    if (!has_mail) {
        if (!r->q->is_all) {
            fprintf(stderr, "postern store: %s: there is no mail of such a user\n", o->user);
            worsen(r, EXIT_NO_USER);
        }
        return false;
    }
    if (has_index || (r->q->verb != STORE_VERB_CHECK && r->q->verb != STORE_VERB_STATS &&
                      r->q->verb != STORE_VERB_PURGE))
        return true;
    if (r->q->is_json) {
        printf("{\"user\":");
        cli_json_string(sl_z(o->user));
        printf(",\"index\":false}\n");
    } else if (!r->q->is_quiet)
        printf("%s: no index yet, it is made when somebody opens the mail\n", o->user);
    return false;
}

static void
run_user(struct run *r, const struct store_owner *o)
{
    struct err e = { 0 };

    r->user = o->user;
    if (!is_there(r, o))
        return;
    r->users++;
    store_bar_draw(&r->bar, 0, 0);
    if (verbs[r->q->verb](r, &e)) {
        store_bar_clear(&r->bar);
        fflush(stdout);
        fprintf(stderr, "postern store: %s: %s\n", o->user, e.msg);
        worsen(r, code_of(&e));
    }
}

int
store_run(const struct conf *c, const struct store_asked *q, const struct store_owner *v, size_t n)
{
    struct run r = { .q = q };
    struct err e = { 0 };

    log_set_output(LOG_TO_STDERR, NULL, LOG_FMT_TEXT, LOG_LV_WARN);
    loop_init();
    if (store_new(c, &r.s, &e)) {
        fprintf(stderr, "postern store: %s\n", e.msg);
        return code_of(&e);
    }
    store_bar_begin(&r.bar, q->name, n);
    for (size_t i = 0; i < n; i++) {
        r.bar.user = i;
        run_user(&r, &v[i]);
    }
    store_bar_clear(&r.bar);
    if (q->verb == STORE_VERB_CHECK && n > 1 && !q->is_json && (!q->is_quiet || r.faults > 0))
        printf("%" PRIu64 " user%s, %" PRIu64 " messages: %" PRIu64 " fault%s, %" PRIu64
               " put right\n",
               r.users, plural(r.users), r.messages, r.faults, plural(r.faults), r.fixed);
    store_free(&r.s);
    loop_free();
    return r.code;
}
