/* cli/cmd_queue.c - `postern queue`: what waits, why, and what to do with it. */
#include "cli/cli.h"
#include "cli/queue_source.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FIELDS_MAX = 10 };

/* A line's fields. */
static size_t
split(struct slice line, struct slice f[FIELDS_MAX])
{
    size_t n = 0;

    while (n < FIELDS_MAX - 1 && sl_take_until(&line, '\t', &f[n]))
        n++;
    f[n++] = line;
    for (size_t i = n; i < FIELDS_MAX; i++)
        f[i] = SL("");
    return n;
}

static int
fail(const struct err *e)
{
    fprintf(stderr, "postern queue: %s\n", e->msg);
    return e->kind == ERR_CONFIG ? EXIT_CONFIG_ERROR
           : e->kind == ERR_TEMP ? EXIT_TEMPFAIL
                                 : EXIT_FAILED;
}

static const char *
when(struct slice unix_s, char out[32])
{
    uint64_t v = 0;
    time_t t;
    struct tm tm;

    (void)sl_to_u64(unix_s, &v);
    t = (time_t)v;
    localtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm);
    return out;
}

/* ---- list and show ---- */

struct listing {
    bool is_json;
    uint64_t messages, octets;
    bool in_message, has_rcpt;
};

static void
end_message(struct listing *l)
{
    if (l->in_message)
        fputs(l->is_json ? "]}\n" : "\n", stdout);
    l->in_message = false;
}

static void
print_message(struct listing *l, const struct slice f[FIELDS_MAX])
{
    char text[32];
    uint64_t size = 0;

    end_message(l);
    (void)sl_to_u64(f[3], &size);
    l->messages++;
    l->octets += size;
    l->in_message = true;
    l->has_rcpt = false;
    if (l->is_json) {
        printf("{\"queue_id\":");
        cli_json_string(f[1]);
        printf(",\"queue_name\":");
        cli_json_string(f[2]);
        printf(",\"message_size\":%llu,\"arrival_time\":%.*s,\"sender\":", (unsigned long long)size,
               SL_ARG(f[4]));
        cli_json_string(f[5]);
        printf(",\"recipients\":[");
        return;
    }
    printf("%.*s  %-8.*s %9llu  %s  %.*s\n", SL_ARG(f[1]), SL_ARG(f[2]), (unsigned long long)size,
           when(f[4], text), SL_ARG(f[5].n > 0 ? f[5] : SL("MAILER-DAEMON")));
}

static void
print_rcpt(struct listing *l, const struct slice f[FIELDS_MAX])
{
    char text[32];

    if (sl_starts(f[1], '+')) {
        if (!l->is_json)
            printf("    and %.*s more recipients\n", SL_ARG(sl_from(f[1], 1)));
        return;
    }
    if (l->is_json) {
        printf("%s{\"address\":", l->has_rcpt ? "," : "");
        cli_json_string(f[6]);
        printf(",\"state\":");
        cli_json_string(f[2]);
        printf(",\"attempts\":%.*s", SL_ARG(f[4]));
        if (sl_eqz(f[2], "deferred"))
            printf(",\"next_attempt\":%.*s", SL_ARG(f[3]));
        if (f[5].n > 0) {
            printf(",\"status\":");
            cli_json_string(f[5]);
        }
        if (f[8].n > 0) {
            printf(",\"delay_reason\":");
            cli_json_string(f[8]);
        }
        putchar('}');
        l->has_rcpt = true;
        return;
    }
    printf("    %.*s", SL_ARG(f[6]));
    if (sl_eqz(f[2], "deferred"))
        printf("  (next try %s)", when(f[3], text));
    putchar('\n');
    if (f[8].n > 0)
        printf("        %.*s\n", SL_ARG(f[8]));
}

static void
print_page(struct listing *l, struct slice text)
{
    struct slice line, f[FIELDS_MAX];

    while (sl_take_until(&text, '\n', &line)) {
        split(line, f);
        if (sl_eqz(f[0], "M"))
            print_message(l, f);
        else if (sl_eqz(f[0], "R"))
            print_rcpt(l, f);
    }
}

static int
list(struct queue_source *s, bool is_json)
{
    struct queue_page p = { 0 };
    struct listing l = { .is_json = is_json };
    struct err e = { 0 };
    int rc;

    do {
        rc = queue_source_ask(s, "list", "", &p, &e);
        if (rc == 0)
            print_page(&l, buf_slice(&p.text));
    } while (rc == 0 && p.more);
    end_message(&l);
    buf_free(&p.text);
    if (rc != 0)
        return fail(&e);
    if (!is_json && l.messages == 0)
        printf("The queue is empty.\n");
    else if (!is_json)
        printf("%llu message%s, %llu KiB.\n", (unsigned long long)l.messages,
               l.messages == 1 ? "" : "s", (unsigned long long)((l.octets + 1023) / 1024));
    return EXIT_OK;
}

static int
show(struct queue_source *s, const char *id, bool is_json)
{
    struct queue_page p = { 0 };
    struct listing l = { .is_json = is_json };
    struct err e = { 0 };
    int rc = queue_source_ask(s, "show", id, &p, &e);

    if (rc == 0)
        print_page(&l, buf_slice(&p.text));
    end_message(&l);
    p.after = 0;
    do {
        if (rc == 0 && !is_json)
            rc = queue_source_ask(s, "content", id, &p, &e);
        if (rc == 0 && !is_json)
            fwrite(buf_slice(&p.text).p, 1, p.text.n, stdout);
    } while (rc == 0 && !is_json && p.more);
    buf_free(&p.text);
    return rc == 0 ? EXIT_OK : fail(&e);
}

/* ---- changes ---- */

static int
change(struct queue_source *s, const char *verb, int n, char **ids, bool is_json)
{
    uint64_t total = 0, count;
    int rc = EXIT_OK;

    for (int i = 0; i < n; i++) {
        struct queue_page p = { 0 };
        struct err e = { 0 };

        do {
            struct slice line, f[FIELDS_MAX], text;

            if (queue_source_ask(s, verb, ids[i], &p, &e) != 0) {
                fprintf(stderr, "postern queue: %s: %s\n", ids[i], e.msg);
                rc = EXIT_FAILED;
                break;
            }
            text = buf_slice(&p.text);
            if (sl_take_until(&text, '\n', &line) && split(line, f) >= 2 && sl_to_u64(f[1], &count))
                total += count;
        } while (p.more);
        buf_free(&p.text);
    }
    if (is_json)
        printf("{\"%s\":%llu}\n", verb, (unsigned long long)total);
    else
        printf("%s: %llu %s%s\n", verb, (unsigned long long)total,
               strcmp(verb, "delete") == 0 ? "message" : "recipient", total == 1 ? "" : "s");
    return rc;
}

/* ---- the command ---- */

static const struct {
    const char *name;
    bool takes_ids, changes;
} verbs[] = {
    { "list", false, false }, { "show", true, false },   { "flush", true, true },
    { "hold", true, true },   { "release", true, true }, { "requeue", true, true },
    { "delete", true, true },
};

static int
run(const struct cli_args *a)
{
    bool is_json = false;
    char **args = mem_zalloc(((size_t)a->argc + 2) * sizeof *args);
    static char all[] = "ALL";
    struct queue_source *s = NULL;
    struct err e = { 0 };
    struct conf *c = NULL;
    size_t v = 0;
    int n = 0, rc;

    for (int i = 1; i < a->argc; i++) {
        if (strcmp(a->argv[i], "--json") == 0)
            is_json = true;
        else
            args[n++] = a->argv[i];
    }
    while (v < COUNT_OF(verbs) && (n == 0 || strcmp(args[0], verbs[v].name) != 0))
        v++;
    if (n == 1 && v < COUNT_OF(verbs) && strcmp(args[0], "flush") == 0)
        args[n++] = all; /* as `postqueue -f` */
    if (v == COUNT_OF(verbs) || verbs[v].takes_ids != (n > 1)) {
        free(args);
        return cli_usage_error(&cmd_queue, n == 0 ? "what?" : "not understood");
    }
    c = cli_load_conf(a, false);
    if (c == NULL) {
        free(args);
        return EXIT_CONFIG_ERROR;
    }
    if (queue_source_open(c, &s, &e) != 0) {
        if (e.kind == ERR_NOTFOUND && v == 0) { /* never started: nothing waits */
            if (!is_json)
                printf("The queue is empty.\n");
            rc = EXIT_OK;
        } else {
            rc = fail(&e);
        }
    } else if (!verbs[v].takes_ids) {
        rc = list(s, is_json);
    } else if (!verbs[v].changes) {
        rc = EXIT_OK;
        for (int i = 1; i < n; i++)
            rc = show(s, args[i], is_json) == EXIT_OK ? rc : EXIT_FAILED;
    } else {
        rc = change(s, args[0], n - 1, args + 1, is_json);
    }
    queue_source_close(&s);
    conf_unref(&c);
    free(args);
    return rc;
}

const struct cli_command cmd_queue = {
    .name = "queue",
    .usage =
        "queue list|show|flush|hold|release|requeue|delete [--json] [ID|ALL|account=LOGIN ...]",
    .summary = "mail that waits: list it, look at it, send, hold or remove it",
    .help = "DESCRIPTION\n"
            "    list              every message: id, state, size, arrival, sender; its recipients "
            "and why they wait\n"
            "    show ID ...       one message: the same, then its content\n"
            "    flush [ID ...]    try again now; without ID everything that is deferred\n"
            "    hold ID|ALL ...   keep in the queue, do not try\n"
            "    release ID|ALL    end a hold\n"
            "    requeue ID|ALL    look up the way anew and try, held or not\n"
            "    delete ID|ALL     remove without telling anybody\n"
            "    account=LOGIN     instead of an ID: all that this account has submitted\n"
            "    --json            one object a message (list, show), or the count of what was "
            "changed\n"
            "\n"
            "    States: active (being tried or about to be), deferred (waits for its next try), "
            "hold.\n"
            "    While qmgr runs it answers; otherwise the queue's database is opened.\n"
            "\n"
            "EXIT STATUS\n"
            "    0 done; 1 a message is not there; 64 usage; 75 no answer; 78 configuration.\n",
    .run = run,
};
