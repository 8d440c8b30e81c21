/* cli/link_postqueue.c - postqueue(1) and mailq(1): what any user may do with the queue. Options, words and exit codes are
 * Postfix's. */
#include "cli/cli.h"
#include "cli/link_queue.h"
#include "cli/links.h"
#include "cli/queue_change.h"
#include "cli/queue_list.h"
#include "session/domlist.h"
#include "session/queue_id.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
link_fatal(const char *name, int code, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: fatal: ", name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    putc('\n', stderr);
    return code;
}

struct conf *
link_load_conf(const char *option)
{
    char path[PATH_MAX];
    struct cli_args a = { .conf_path = link_conf_path(option, path) };

    return cli_load_conf(&a, false);
}

static int
not_allowed(const char *what)
{
    const struct passwd *pw = getpwuid(getuid());

    return link_fatal("postqueue", EXIT_NO_PERMISSION, "User %s(%ld) is not allowed to %s",
                      pw ? pw->pw_name : "unknown", (long)getuid(), what);
}

/* ---- listing ---- */

/* `mailq | head` is no failure. */
static int
written(void)
{
    bool is_bad = fflush(stdout) != 0;
    int sys = errno;

    if ((!is_bad && !ferror(stdout)) || (is_bad && sys == EPIPE))
        return EXIT_OK;
    return link_fatal("postqueue", EXIT_UNAVAILABLE, "write error: %s",
                      is_bad ? strerror(sys) : "the output is not whole");
}

static int
print_queue(const struct conf *c, const struct queue_list_ops *ops)
{
    struct queue_list_out out = { .to = stdout };
    struct queue_source *s = NULL;
    struct err e = { 0 };
    size_t dropped = 0;
    int rc = queue_source_open(c, &s, &e);

    if (rc == 0 && queue_source_is_offline(s))
        fprintf(stderr, "postqueue: warning: Mail system is down -- accessing queue directly\n");
    if (s == NULL || queue_source_is_offline(s))
        dropped = queue_source_dropped(c);
    if (dropped > 0)
        fprintf(stderr, "postqueue: warning: %zu more wait in maildrop until it is up\n", dropped);
    if (rc == 0)
        rc = queue_list_each(s, "ALL", ops, &out, &e);
    if (rc != 0 && e.kind == ERR_NOTFOUND) /* never started: nothing waits */
        rc = 0;
    if (rc == 0 && ops == &queue_list_mailq)
        queue_list_mailq_end(&out);
    queue_source_close(&s);
    queue_list_out_free(&out);
    if (rc == 0)
        return written();
    if (e.kind == ERR_PERM)
        return not_allowed("view the mail queue");
    return link_fatal("postqueue", EXIT_UNAVAILABLE,
                      "Queue report unavailable - mail system is down (%s)", e.msg);
}

/* ---- flushing ---- */

static int
flush(const struct conf *c, const char *words)
{
    struct queue_change change = { 0 };
    struct queue_source *s = NULL;
    struct err e = { 0 };
    int rc = queue_source_open(c, &s, &e);

    if (rc == 0 && queue_source_is_offline(s))
        rc = err_set(&e, ERR_TEMP, "qmgr does not run");
    if (rc == 0)
        rc = queue_change_run(s, "flush", sl_z(words), &change, &e);
    queue_source_close(&s);
    if (rc == 0)
        return EXIT_OK;
    if (e.kind == ERR_PERM)
        return not_allowed("flush the mail queue");
    return link_fatal("postqueue", EXIT_UNAVAILABLE,
                      "Cannot flush mail queue - mail system is down");
}

static int
flush_id(const struct conf *c, const char *id)
{
    for (const char *p = id; *p || p == id; p++)
        if (!sl_is_alnum_char(*p))
            return link_fatal("postqueue", EXIT_UNAVAILABLE,
                              "Cannot flush queue ID - invalid name: \"%s\"", id);
    /* One of another queue: nothing to do, as for one that has left. */
    return queue_id_parse(sl_z(id), NULL, NULL, NULL) ? flush(c, id) : EXIT_OK;
}

/* Mail for a site. Only the names of fast_flush_domains can be known here; where it has tables they are taken to have it. */
static int
flush_site(const struct conf *c, const char *site)
{
    struct domlist l;
    bool sub = conf_list_has(c->parent_domain_matches_subdomains, "fast_flush_domains");
    char words[300];

    if (site[0] == '\0' || strchr(site, '*') || strchr(site, '\n') || strlen(site) > 255)
        return link_fatal("postqueue", EXIT_UNAVAILABLE,
                          "Cannot flush mail queue - invalid destination: \"%s\"", site);
    domlist_init(&l, "fast_flush_domains", c->fast_flush_domains, sub);
    if (domlist_match(&l, sl_z(site)) == DOMLIST_NO)
        return link_fatal("postqueue", EXIT_UNAVAILABLE,
                          "Flush service is not configured for destination \"%s\"", site);
    snprintf(words, sizeof words, "dest=%s", site);
    return flush(c, words);
}

/* ---- the commands ---- */

static int
usage(void)
{
    return link_fatal("postqueue", EXIT_UNAVAILABLE,
                      "usage: postqueue -f | postqueue -i queueid | postqueue -j | postqueue -p | "
                      "postqueue -s site");
}

static int
carry_out(int mode, const char *arg, const char *conf_option)
{
    struct conf *c = link_load_conf(conf_option);
    int rc;

    if (c == NULL)
        return EXIT_UNAVAILABLE;
    rc = mode == 'p'   ? print_queue(c, &queue_list_mailq)
         : mode == 'j' ? print_queue(c, &queue_list_json)
         : mode == 'f' ? flush(c, "ALL")
         : mode == 'i' ? flush_id(c, arg)
                       : flush_site(c, arg);
    conf_unref(&c);
    return rc;
}

int
link_postqueue(int argc, char **argv)
{
    const char *conf_option = NULL, *arg = NULL;
    int o, mode = 0;

    optind = 1;
    while ((o = getopt(argc, argv, "c:fi:jps:v")) != -1) {
        if (o == 'c')
            conf_option = optarg;
        else if (o == '?' || (o != 'v' && mode != 0))
            return usage();
        else if (o != 'v') {
            mode = o;
            arg = optarg;
        }
    }
    if (mode == 0 || optind < argc)
        return usage();
    return carry_out(mode, arg, conf_option);
}

/* What sendmail's other modes take is taken here, too, and means nothing. */
int
link_mailq(int argc, char **argv)
{
    const char *conf_option = NULL;
    int o;

    optind = 1;
    opterr = 0;
    while ((o = getopt(argc, argv, "A:C:c:O:o:B:qvi")) != -1)
        if (o == 'C' || o == 'c')
            conf_option = optarg;
    return carry_out('p', NULL, conf_option);
}
