/* cli/cmd_queue.c - `postern queue`: what waits, why, and what to do with it. */
#include "cli/cmd_queue.h"

#include "base/mem.h"
#include "cli/queue_change.h"
#include "queue/select.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int
queue_fail(const struct err *e)
{
    fprintf(stderr, "postern queue: %s\n", e->msg);
    return e->kind == ERR_CONFIG   ? EXIT_CONFIG_ERROR
           : e->kind == ERR_TEMP   ? EXIT_TEMPFAIL
           : e->kind == ERR_CLIENT ? EXIT_USAGE_ERROR
                                   : EXIT_FAILED;
}

/* ---- changes ---- */

static void
missing(void *arg, struct slice id)
{
    bool *is_missing = arg;

    fprintf(stderr, "postern queue: %.*s: no such message in the queue\n", SL_ARG(id));
    *is_missing = true;
}

static int
change(struct queue_source *s, const char *verb, const char *words, bool is_json)
{
    bool is_missing = false;
    struct queue_change c = { .missing = missing, .arg = &is_missing, .has_bar = true };
    struct err e = { 0 };
    int rc = queue_change_run(s, verb, sl_z(words), &c, &e);

    if (is_json)
        printf("{\"verb\":\"%s\",\"messages\":%" PRIu64 ",\"recipients\":%" PRIu64 "}\n", verb,
               c.messages, c.recipients);
    else if (strcmp(verb, "delete") == 0)
        printf("%s: %" PRIu64 " message%s\n", verb, c.messages, c.messages == 1 ? "" : "s");
    else
        printf("%s: %" PRIu64 " message%s, %" PRIu64 " recipient%s\n", verb, c.messages,
               c.messages == 1 ? "" : "s", c.recipients, c.recipients == 1 ? "" : "s");
    return rc != 0 ? queue_fail(&e) : is_missing ? EXIT_FAILED : EXIT_OK;
}

/* ---- the command ---- */

enum kind { K_LIST, K_SHOW, K_WHY, K_CHANGE };
static const struct verb {
    const char *name;
    enum kind kind;
    bool needs_words; /* else ALL is understood */
} verbs[] = {
    { "list", K_LIST, false },     { "show", K_SHOW, true },     { "why", K_WHY, true },
    { "flush", K_CHANGE, false },  { "hold", K_CHANGE, true },   { "release", K_CHANGE, true },
    { "requeue", K_CHANGE, true }, { "expire", K_CHANGE, true }, { "bounce", K_CHANGE, true },
    { "delete", K_CHANGE, true },
};

struct asked {
    const struct verb *verb;
    struct buf words;
    bool is_json, is_dry;
};

/* 0, or the exit code. */
static int
read_args(const struct cli_args *a, struct asked *q)
{
    struct select *sel = NULL;
    struct err e = { 0 };
    bool is_bad = false;

    for (int i = 1; i < a->argc; i++) {
        const char *w = a->argv[i];

        if (strcmp(w, "--json") == 0) {
            q->is_json = true;
        } else if (strcmp(w, "-n") == 0 || strcmp(w, "--dry-run") == 0) {
            q->is_dry = true;
        } else if (w[0] == '-') {
            return cli_usage_error(&cmd_queue, "no option %s", w);
        } else if (q->verb == NULL) {
            for (size_t v = 0; v < COUNT_OF(verbs); v++)
                if (strcmp(w, verbs[v].name) == 0)
                    q->verb = &verbs[v];
            if (q->verb == NULL)
                return cli_usage_error(&cmd_queue, "no verb \"%s\"", w);
        } else if (strchr(w, '\n')) { /* it would be two words, and others than were meant */
            return cli_usage_error(&cmd_queue, "a condition is one line");
        } else {
            buf_addf(&q->words, "%s\n", w);
        }
    }
    if (q->verb == NULL)
        return cli_usage_error(&cmd_queue, "what?");
    if (q->words.n == 0 && !q->verb->needs_words)
        buf_addz(&q->words, "ALL\n");
    /* Said before anything is touched; ids beyond what one question holds are sent in groups. */
    is_bad = select_parse(buf_slice(&q->words), &sel, &e) != 0 &&
             (e.kind != ERR_CLIENT || a->argc < SELECT_IDS_MAX);
    select_free(&sel);
    return is_bad ? cli_usage_error(&cmd_queue, "%s", e.msg) : 0;
}

static int
carry_out(struct asked *q, struct queue_source *s, const struct conf *c)
{
    switch (q->verb->kind) {
    case K_LIST:
        return queue_list(s, buf_z(&q->words), q->is_json);
    case K_SHOW:
        return queue_show(s, buf_z(&q->words), q->is_json);
    case K_WHY:
        return queue_why(s, c, buf_z(&q->words), q->is_json);
    default:
        return q->is_dry ? queue_list(s, buf_z(&q->words), q->is_json)
                         : change(s, q->verb->name, buf_z(&q->words), q->is_json);
    }
}

/* What has no queue id yet is in no listing. */
static void
tell_dropped(size_t n)
{
    if (n > 0)
        fprintf(stderr, "postern queue: %zu more wait%s in maildrop until the server runs\n", n,
                n == 1 ? "s" : "");
}

static int
run(const struct cli_args *a)
{
    struct asked q = { 0 };
    struct queue_source *s = NULL;
    struct err e = { 0 };
    struct conf *c = NULL;
    int rc = read_args(a, &q);

    BUG_ON(rc == 0 && q.verb == NULL);
    if (rc == 0 && (c = cli_load_conf(a, false)) == NULL)
        rc = EXIT_CONFIG_ERROR;
    if (rc == 0 && queue_source_open(c, &s, &e) != 0) {
        if (e.kind != ERR_NOTFOUND || q.verb->kind != K_LIST) {
            rc = queue_fail(&e);
        } else if (!q.is_json) { /* never started: nothing waits */
            printf("The queue is empty.\n");
        }
    } else if (rc == 0) {
        rc = carry_out(&q, s, c);
    }
    if (c && q.verb->kind == K_LIST && (s == NULL || queue_source_is_offline(s)))
        tell_dropped(queue_source_dropped(c));
    queue_source_close(&s);
    conf_unref(&c);
    buf_free(&q.words);
    return rc;
}

const struct cli_command cmd_queue = {
    .name = "queue",
    .usage = "queue VERB [--json] [-n] [ID ...] [CONDITION ...] [ALL]",
    .summary = "mail that waits: list it, say why, send, hold, return or remove it",
    .help =
        "VERBS\n"
        "    list              messages: id, state, size, arrival, sender; recipients and why they "
        "wait\n"
        "    show              the same, and its content\n"
        "    why               why it waits, in words: each recipient's last reply, when it is "
        "tried\n"
        "                      again, when it is given up, what is known of the host\n"
        "    flush             try now; forget which hosts are dead, and defer_transports\n"
        "    hold              keep in the queue, do not try\n"
        "    release           end a hold\n"
        "    requeue           look up the way anew and try, held or not\n"
        "    bounce            return to the sender as failed, now, held or not\n"
        "    expire            the same, but what is on hold only once it is released\n"
        "    delete            remove without telling anybody\n"
        "    list and flush without words mean ALL; the others want to be told.\n"
        "\n"
        "WHICH MESSAGES\n"
        "    All conditions must hold. A message fits when one of its recipients does, and all of "
        "it is\n"
        "    meant then.\n"
        "    ID ...                       one of these\n"
        "    ALL                          every message\n"
        "    sender=PATTERN  from=        envelope sender; <> is the null sender\n"
        "    to=PATTERN  recipient=       a recipient, or what it was before aliases\n"
        "    dest=PATTERN  destination=   a recipient's domain, or the next hop of its last try\n"
        "    reason=PATTERN               why a recipient waits\n"
        "    account=PATTERN              login that submitted it\n"
        "    state=STATE                  active (being tried or about to be), deferred, hold; "
        "expired\n"
        "    age>SPAN  age<SPAN           90s 5m 2h 3d 1w\n"
        "    size>OCTETS  size<OCTETS     512 20k 3M 1G\n"
        "    NAME!=PATTERN                does not fit\n"
        "    In a PATTERN * is anything; case does not count. The shell wants < > * quoted:\n"
        "        postern queue bounce 'sender=*@spam.example' 'age>2d' state=deferred\n"
        "\n"
        "OPTIONS\n"
        "    --json            an object a message (list, show, why), or the count of what was "
        "changed\n"
        "    -n, --dry-run     list what would be changed\n"
        "\n"
        "    While qmgr runs it answers; otherwise the queue's database is opened.\n"
        "\n"
        "EXIT STATUS\n"
        "    0 done; 1 a message is not there; 64 usage; 75 no answer; 78 configuration.\n",
    .run = run,
};
