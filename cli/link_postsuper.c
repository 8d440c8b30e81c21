/* cli/link_postsuper.c - postsuper(1): what the superuser may do with the queue. Options, words and exit codes are Postfix's.
 * Its queues are states here: incoming and active are "active", and nothing is ever in maildrop or corrupt. There are no
 * files to be put right by -s or -p: the database looks through itself when qmgr opens it. */
#include "cli/cli.h"
#include "cli/link_queue.h"
#include "cli/links.h"
#include "cli/queue_change.h"
#include "session/queue_id.h"

#include "base/mem.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ACTIVE = 1, DEFERRED = 2, HOLD = 4, ALL_STATES = 7, LINE_OCTETS = 1000 };

static const struct {
    const char *name;
    unsigned states;
} queues[] = {
    { "incoming", ACTIVE }, { "active", ACTIVE }, { "deferred", DEFERRED }, { "hold", HOLD },
    { "maildrop", 0 },      { "corrupt", 0 },     { "saved", 0 },           { "bounce", 0 },
    { "defer", 0 },         { "trace", 0 },       { "flush", 0 },
};

/* In the order of their reports. */
static const struct op { /* NOLINT(clang-analyzer-optin.performance.Padding) */
    int option;
    const char *verb, *done, *total;
    unsigned states; /* where it works unless queues are named */
} ops[] = {
    { 'r', "requeue", "requeued", "Requeued", ALL_STATES },
    { 'd', "delete", "removed", "Deleted", ALL_STATES },
    { 'h', "hold", "placed on hold", "Placed on hold", ACTIVE | DEFERRED },
    { 'e', "expire", "expired", "Force-expired", ALL_STATES },
    { 'f', "bounce", "expired", "Force-expired", ALL_STATES },
    { 'H', "release", "released from hold", "Released from hold", HOLD },
};
enum { N_OPS = COUNT_OF(ops), RELEASE = N_OPS - 1 };

struct totals {
    bool is_asked[N_OPS];
    uint64_t n[N_OPS];
};

struct job {
    const struct op *op;
    const char *arg;
};

struct running {
    const struct op *op;
    struct totals *totals;
};

/* What -f finds expired it releases only. */
static void
touched(void *arg, struct slice id, bool was_held, bool was_expired)
{
    struct running *r = arg;
    bool is_f = r->op->option == 'f';

    if (!is_f || !was_expired) {
        fprintf(stderr, "postsuper: %.*s: %s\n", SL_ARG(id), r->op->done);
        r->totals->n[r->op - ops]++;
    }
    if (is_f && was_held) {
        fprintf(stderr, "postsuper: %.*s: released from hold\n", SL_ARG(id));
        r->totals->is_asked[RELEASE] = true;
        r->totals->n[RELEASE]++;
    }
}

/* One after the other, states that are not meant taken out. */
static void
add_states(struct buf *words, unsigned states)
{
    static const struct {
        unsigned bit;
        const char *word;
    } not_in[] = { { ACTIVE, "state!=active" },
                   { DEFERRED, "state!=deferred" },
                   { HOLD, "state!=hold" } };

    for (size_t i = 0; i < COUNT_OF(not_in); i++)
        if (!(states & not_in[i].bit))
            buf_addf(words, "%s\n", not_in[i].word);
}

static int
change(struct queue_source *s, const struct op *op, struct slice which, unsigned states,
       struct totals *t, uint64_t *messages)
{
    struct running r = { .op = op, .totals = t };
    struct queue_change c = { .touched = touched, .arg = &r, .has_bar = true };
    struct buf words = { 0 };
    struct err e = { 0 };
    int rc = 0;

    if (states != 0) {
        add_states(&words, states);
        buf_adds(&words, which);
        rc = queue_change_run(s, op->verb, buf_slice(&words), &c, &e);
    }
    *messages = c.messages;
    buf_free(&words);
    if (rc != 0 && e.kind == ERR_PERM)
        return link_fatal("postsuper", EXIT_FAILED,
                          "use of this command is reserved for the superuser");
    return rc == 0 ? EXIT_OK : link_fatal("postsuper", EXIT_FAILED, "%s", e.msg);
}

/* Without ids there is no word of each message, only how many there are. */
static int
change_all(struct queue_source *s, const struct op *op, unsigned states, struct totals *t)
{
    uint64_t released = 0, both = 0, n = 0;
    int rc = EXIT_OK;

    if (op->option == 'f') {
        unsigned held = states & HOLD;

        rc = change(s, op, SL("ALL\nstate=expired\n"), held, t, &released);
        if (rc == EXIT_OK)
            rc = change(s, op, SL("ALL\nstate!=expired\n"), held, t, &both);
        states &= ~(unsigned)HOLD;
        t->is_asked[RELEASE] = t->is_asked[RELEASE] || released + both > 0;
        t->n[RELEASE] += released + both;
    }
    if (rc == EXIT_OK)
        rc = change(s, op, SL("ALL\n"), states, t, &n);
    t->n[op - ops] += both + n;
    return rc;
}

/* An id goes into words; what is none is told of, and one of another queue is not in this one. */
static void
add_id(struct buf *words, const char *id)
{
    for (const char *p = id; *p || p == id; p++)
        if (!sl_is_alnum_char(*p)) {
            fprintf(stderr, "postsuper: warning: invalid mail queue id: %s\n", id);
            return;
        }
    if (queue_id_parse(sl_z(id), NULL, NULL, NULL))
        buf_addf(words, "%s\n", id);
}

static void
read_ids(struct buf *words)
{
    char line[LINE_OCTETS];

    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\r\n")] = '\0';
        add_id(words, line);
    }
}

static int
run_jobs(struct queue_source *s, const struct job *jobs, size_t n, unsigned states,
         struct totals *t)
{
    struct buf words = { 0 };
    int rc = EXIT_OK;

    for (size_t i = 0; rc == EXIT_OK && i < n; i++) {
        const struct op *op = jobs[i].op;
        unsigned in = states == UINT_MAX ? op->states : states;
        uint64_t messages;

        t->is_asked[op - ops] = true;
        if (strcmp(jobs[i].arg, "ALL") == 0) {
            rc = change_all(s, op, in, t);
            continue;
        }
        buf_reset(&words);
        if (strcmp(jobs[i].arg, "-") == 0)
            read_ids(&words);
        else
            add_id(&words, jobs[i].arg);
        while (i + 1 < n && jobs[i + 1].op == op && strcmp(jobs[i + 1].arg, "-") != 0 &&
               strcmp(jobs[i + 1].arg, "ALL") != 0)
            add_id(&words, jobs[++i].arg); /* many at once */
        if (words.n > 0)
            rc = change(s, op, buf_slice(&words), in, t, &messages);
    }
    buf_free(&words);
    return rc;
}

/* ---- the command ---- */

static int
usage(void)
{
    return link_fatal(
        "postsuper", EXIT_FAILED,
        "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-e queue_id (expire)] "
        "[-f queue_id (expire and/or un-hold)] [-h queue_id (hold)] [-H queue_id "
        "(un-hold)] [-p (purge temporary files)] [-r queue_id (requeue)] [-s "
        "(structure fix)] [-S (redundant structure fix)][-v (verbose)] [queue...]");
}

/* States of the queues that are named; UINT_MAX: none is. -1: there is no such queue. */
static int
read_queues(int argc, char **argv, unsigned *states)
{
    *states = optind < argc ? 0 : UINT_MAX;
    for (int i = optind; i < argc; i++) {
        size_t q = 0;

        while (q < COUNT_OF(queues) && strcmp(argv[i], queues[q].name) != 0)
            q++;
        if (q == COUNT_OF(queues))
            return link_fatal("postsuper", EXIT_FAILED, "invalid directory name: %s", argv[i]);
        *states |= queues[q].states;
    }
    return EXIT_OK;
}

static int
run(const char *conf_option, const struct job *jobs, size_t n, unsigned states)
{
    struct conf *c = link_load_conf(conf_option);
    struct queue_source *s = NULL;
    struct totals t = { 0 };
    struct err e = { 0 };
    int rc = EXIT_OK;

    if (c == NULL)
        return EXIT_FAILED;
    if (n > 0 && queue_source_open(c, &s, &e) != 0 && e.kind != ERR_NOTFOUND)
        rc = link_fatal("postsuper", EXIT_FAILED, "%s",
                        e.kind == ERR_PERM ? "use of this command is reserved for the superuser"
                                           : e.msg);
    if (s)
        rc = run_jobs(s, jobs, n, states, &t);
    for (size_t i = 0; !s && i < n; i++) /* no queue yet: nothing is in it */
        t.is_asked[jobs[i].op - ops] = true;
    for (size_t i = 0; rc == EXIT_OK && i < N_OPS; i++)
        if (t.is_asked[i])
            fprintf(stderr, "postsuper: %s: %" PRIu64 " message%s\n", ops[i].total, t.n[i],
                    t.n[i] == 1 ? "" : "s");
    queue_source_close(&s);
    conf_unref(&c);
    return rc;
}

int
link_postsuper(int argc, char **argv)
{
    struct job *jobs = mem_zalloc((size_t)(argc + 1) * sizeof *jobs);
    const char *conf_option = NULL;
    unsigned states;
    size_t n = 0;
    int o, rc = EXIT_OK;

    optind = 1;
    while (rc == EXIT_OK && (o = getopt(argc, argv, "c:d:e:f:h:H:pr:sSv")) != -1) {
        if (o == 'c')
            conf_option = optarg;
        if (o == '?')
            rc = usage();
        for (size_t i = 0; i < N_OPS; i++)
            if (ops[i].option == o)
                jobs[n++] = (struct job){ &ops[i], optarg };
    }
    if (rc == EXIT_OK)
        rc = read_queues(argc, argv, &states);
    if (rc == EXIT_OK)
        rc = run(conf_option, jobs, n, states);
    free(jobs);
    return rc;
}
