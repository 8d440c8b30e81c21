/* cli/cmd_store.c - `postern store`: users' mail and its index looked after. Root gives up its rights before it touches
 * mail: what users' folders hold is read, and files there are made, by a process of the mail's owner. */
#include "cli/store_int.h"

#include "base/mem.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SIGNAL_EXIT = 128,
    PURGE_USUAL = STORE_PURGE_EXPUNGES | STORE_PURGE_CACHE | STORE_PURGE_TMP | STORE_PURGE_DAMAGED |
                  STORE_PURGE_VACUUM
};

static const struct verb {
    const char *name;
    enum store_verb verb;
} verbs[] = {
    { "check", STORE_VERB_CHECK },           { "rebuild", STORE_VERB_REBUILD },
    { "stats", STORE_VERB_STATS },           { "purge", STORE_VERB_PURGE },
    { "export-dovecot", STORE_VERB_EXPORT }, { "import-dovecot", STORE_VERB_IMPORT },
};

/* Options and the verbs that know them (bits). */
static const struct option {
    const char *name;
    unsigned verbs;
    size_t at; /* of a bool in struct store_asked */
} options[] = {
    { "--all", ~0u, offsetof(struct store_asked, is_all) },
    { "--json", ~0u, offsetof(struct store_asked, is_json) },
    { "--quiet", ~0u, offsetof(struct store_asked, is_quiet) },
    { "-q", ~0u, offsetof(struct store_asked, is_quiet) },
    { "--fix", 1u << STORE_VERB_CHECK, offsetof(struct store_asked, must_fix) },
    { "--full", 1u << STORE_VERB_CHECK, offsetof(struct store_asked, is_full) },
    { "--force", 1u << STORE_VERB_IMPORT, offsetof(struct store_asked, must) },
    { "--doveadm", 1u << STORE_VERB_EXPORT, offsetof(struct store_asked, with_doveadm) },
};

static bool
take_option(const char *w, struct store_asked *q)
{
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (strcmp(w, options[i].name) == 0 && options[i].verbs & 1u << q->verb) {
            *(bool *)(void *)((char *)q + options[i].at) = true;
            return true;
        }
    if (q->verb == STORE_VERB_PURGE && strcmp(w, "--cache") == 0) {
        q->purge |= STORE_PURGE_ALL_CACHE;
        return true;
    }
    return false;
}

/* 0, or the exit code. */
static int
read_args(const struct cli_args *a, struct store_asked *q)
{
    q->purge = PURGE_USUAL;
    for (int i = 1; i < a->argc; i++) {
        char *w = a->argv[i];

        if (q->name == NULL) {
            for (size_t v = 0; v < COUNT_OF(verbs); v++)
                if (strcmp(w, verbs[v].name) == 0) {
                    q->name = verbs[v].name;
                    q->verb = verbs[v].verb;
                }
            if (q->name == NULL)
                return cli_usage_error(&cmd_store, "no verb \"%s\"", w);
        } else if (q->verb == STORE_VERB_EXPORT && strcmp(w, "--to") == 0 && i + 1 < a->argc) {
            q->to = a->argv[++i];
        } else if (w[0] == '-') {
            if (!take_option(w, q))
                return cli_usage_error(&cmd_store, "%s: no option %s", q->name, w);
        } else {
            q->words[q->n_words++] = w;
        }
    }
    if (q->name == NULL)
        return cli_usage_error(&cmd_store, "what?");
    if (q->is_all == (q->n_words > 0))
        return cli_usage_error(&cmd_store, "%s: name users, or --all", q->name);
    if (q->to != NULL && q->to[0] != '/')
        return cli_usage_error(&cmd_store, "--to: %s is no absolute path", q->to);
    if (q->with_doveadm && (q->is_json || q->to != NULL))
        return cli_usage_error(&cmd_store, "--doveadm goes with neither --json nor --to");
    return 0;
}

/* ---- as whom ---- */

/* As the daemons are: the group of front_user opens the sockets over which they hear of changes. */
static int
become(const struct conf *c, uid_t uid, gid_t gid)
{
    const struct passwd *front = getpwnam(c->front_user);
    gid_t extra = front ? front->pw_gid : gid;

    umask(077);
    if (geteuid() != 0 || uid == 0)
        return 0;
    if (setgroups(1, &extra) != 0 || setresgid(gid, gid, gid) != 0 ||
        setresuid(uid, uid, uid) != 0 || setuid(0) == 0) {
        fprintf(stderr, "postern store: cannot become the owner of the mail, user %u: %s\n",
                (unsigned)uid, strerror(errno));
        return -1;
    }
    return 0;
}

/* A folder of the operator's that the owner of the mail shall write to. */
static int
give_folder(const char *path, uid_t uid, gid_t gid)
{
    if (mkdir(path, 0700) != 0) {
        if (errno == EEXIST)
            return 0;
        fprintf(stderr, "postern store: cannot make %s: %s\n", path, strerror(errno));
        return -1;
    }
    if (geteuid() == 0 && chown(path, uid, gid) != 0) {
        fprintf(stderr, "postern store: cannot give %s away: %s\n", path, strerror(errno));
        return -1;
    }
    return 0;
}

static int
run_as(const struct conf *c, const struct store_asked *q, const struct store_owner *v, size_t n)
{
    pid_t pid;
    int status;

    if (q->to != NULL && give_folder(q->to, v->uid, v->gid) != 0)
        return EXIT_CANNOT_CREATE;
    fflush(stdout);
    fflush(stderr);
    pid = fork();
    if (pid < 0) {
        fprintf(stderr, "postern store: cannot fork: %s\n", strerror(errno));
        return EXIT_OS_ERROR;
    }
    if (pid == 0) {
        int rc = become(c, v->uid, v->gid) == 0 ? store_run(c, q, v, n) : EXIT_OS_ERROR;

        if ((fflush(stdout) != 0 || ferror(stdout)) && rc == EXIT_OK)
            rc = EXIT_FAILED;
        _exit(rc);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return EXIT_OS_ERROR;
    return WIFEXITED(status) ? WEXITSTATUS(status) : SIGNAL_EXIT + WTERMSIG(status);
}

static int
run_owners(const struct conf *c, const struct store_asked *q, const struct store_owners *o)
{
    int worst = o->code;

    for (size_t at = 0, end; at < o->n; at = end) {
        int rc;

        for (end = at + 1;
             end < o->n && o->v[end].uid == o->v[at].uid && o->v[end].gid == o->v[at].gid; end++)
            ;
        rc = run_as(c, q, &o->v[at], end - at);
        if (worst == EXIT_OK || (worst == EXIT_FAILED && rc != EXIT_OK))
            worst = rc;
    }
    return worst;
}

static int
run(const struct cli_args *a)
{
    struct store_asked q = { .words = mem_zalloc(sizeof(char *) * (size_t)(a->argc + 1)) };
    struct store_owners owners = { 0 };
    struct conf *c = NULL;
    int rc = read_args(a, &q);

    if (rc == 0 && (c = cli_load_conf(a, false)) == NULL)
        rc = EXIT_CONFIG_ERROR;
    if (rc == 0)
        rc = store_users_find(c, &q, &owners);
    if (rc == 0)
        rc = run_owners(c, &q, &owners);
    store_users_free(&owners);
    conf_unref(&c);
    free(q.words);
    return rc;
}

const struct cli_command cmd_store = {
    .name = "store",
    .usage = "store VERB [OPTION ...] USER ... | --all",
    .summary = "users' mail on disk: check, rebuild, stats, purge; to a Dovecot and back",
    .help =
        "VERBS\n"
        "    check             the index against the Maildir and against itself: sums, sizes, "
        "flags, "
        "keywords,\n"
        "                      files without a message and messages without a file, half-done "
        "commands,\n"
        "                      cached forms of what is gone, SQLite's own check\n"
        "    rebuild           the index anew from the Maildir: the same messages, flags, "
        "keywords, "
        "sizes and\n"
        "                      dates in the same order. UIDVALIDITY grows, so IMAP clients load "
        "their lists\n"
        "                      anew; POP3 clients see no difference\n"
        "    stats             mailboxes, messages, octets; how large the index is and how much of "
        "it is cached\n"
        "    purge             let go of expunges that are older than a day, cached forms of what "
        "is "
        "gone, old\n"
        "                      files in tmp, damaged indexes that were put aside, and unused room\n"
        "    export-dovecot    write dovecot-uidlist, dovecot-keywords, dovecot-uidvalidity and "
        "subscriptions,\n"
        "                      so that a Dovecot opens the same mail under the same UIDs; its old "
        "indexes\n"
        "                      (dovecot.index*, dovecot.list.index*) are removed, it makes them "
        "again\n"
        "    import-dovecot    take over what a Dovecot has assigned: all of it before Postern has "
        "ever opened the\n"
        "                      mail, later what is new since the export. Postern does so by "
        "itself when it opens\n"
        "                      the mail; this does it for all of it now\n"
        "\n"
        "USERS\n"
        "    USER ...          addresses, as people log in\n"
        "    --all             everybody in the users' database, and everybody who has a folder "
        "where\n"
        "                      mail_location says\n"
        "\n"
        "OPTIONS\n"
        "    --fix             check: put right what is found; the Maildir is the truth\n"
        "    --full            check: read every message, too, and count its size on the wire\n"
        "    --cache           purge: all cached forms; they are computed again when they are "
        "needed\n"
        "    --to DIR          export-dovecot: into DIR/USER, as for Dovecot's CONTROL=; nothing "
        "else "
        "changes\n"
        "    --doveadm         export-dovecot: print commands for a shell that tell the Dovecot, "
        "once "
        "it runs and\n"
        "                      before clients come, not to give lower MODSEQs than they know\n"
        "    --force           import-dovecot: Dovecot's lists count, whatever the index says and "
        "was\n"
        "                      exported\n"
        "    --json            an object a user\n"
        "    -q, --quiet       say only what is wrong\n"
        "\n"
        "DESCRIPTION\n"
        "    All of it can be done while the server runs; sessions that are open hear of what "
        "changes. "
        "Run by\n"
        "    root it becomes the owner of each user's mail before it touches any.\n"
        "\n"
        "    Only one server may assign UIDs at a time. To come from a Dovecot: stop it, start "
        "Postern "
        "with the same\n"
        "    mail_location; the mail stays where it is. To leave for one: stop Postern, export, "
        "start Dovecot. To\n"
        "    come back: stop Dovecot, start Postern. An export that was interrupted is made again. "
        "Where both have\n"
        "    assigned UIDs since an export, the mailbox gets a new UIDVALIDITY, and clients load "
        "it anew. Keywords\n"
        "    beyond the 26 that a Maildir has letters for are lost on the way; the export says "
        "which.\n"
        "\n"
        "    Folders that belong to root are worked on as store_user, as the daemons do.\n"
        "\n"
        "EXIT STATUS\n"
        "    0 done, and nothing is wrong (any more); 1 check found faults that are there still; "
        "64 "
        "usage; 65\n"
        "    damaged; 67 no such user; 75 in use or no room, try again; 78 configuration.\n"
        "\n"
        "EXAMPLES\n"
        "    postern store check --all -q || echo something is wrong\n"
        "    postern store stats --json anna@example.com\n"
        "    postern store export-dovecot --doveadm --all >modseqs.sh\n",
    .run = run,
};
