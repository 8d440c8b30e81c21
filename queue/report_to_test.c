/* queue/report_to_test.c - where the aliases of whom a report is for lead, with a child of ours that answers for authd. */
#include "queue/report_to.h"

#include "base/log.h"
#include "base/test.h"
#include "queue/qmgr_int.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUESTION_OCTETS = 1000 };

static char found[1000];

/* Of one connection: a@x has the value, nothing else is there. */
static void
answer(int fd, const char *value)
{
    char in[QUESTION_OCTETS];
    FILE *f = fdopen(fd, "r+");
    unsigned long n;

    while (f && fscanf(f, "%lu:", &n) == 1 && n < sizeof in && fread(in, 1, n, f) == n &&
           fgetc(f) == ',') {
        in[n] = '\0';
        if (strcmp(in, "virtual_alias_maps a@x") == 0)
            dprintf(fd, "%zu:OK %s,", strlen(value) + 3, value);
        else
            dprintf(fd, "9:NOTFOUND ,");
    }
    _exit(0);
}

static void
on_found(void *arg, const struct queue_rcpt *v, size_t n)
{
    size_t at = 0;

    (void)arg;
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(found + at, sizeof found - at, "<%.*s>", SL_ARG(v[i].addr));
    loop_stop();
}

static void
follow(const char *value)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct conf_problems ps = { 0 };
    char dir[] = "/tmp/report_to_test.XXXXXX";
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    pid_t child;

    CHECK(mkdtemp(dir) != NULL);
    snprintf(a.sun_path, sizeof a.sun_path, "%s/lookup", dir);
    CHECK_EQ_INT(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQ_INT(listen(fd, 1), 0);
    child = fork();
    if (child == 0)
        answer(accept(fd, NULL, NULL), value);
    loop_init();
    memset(&qm, 0, sizeof qm);
    qm.conf = conf_parse(SL("myorigin = here.test\nmydestination = here.test\nalias_maps =\n"
                            "virtual_alias_maps = hash:/etc/virtual\n"),
                         "test", &ps);
    qm.lookup = lookup_client_new(a.sun_path);
    report_to_find(SL("a@x"), on_found, NULL);
    loop_run();
    lookup_client_free(&qm.lookup);
    conf_unref(&qm.conf);
    conf_problems_free(&ps);
    loop_free();
    close(fd);
    waitpid(child, NULL, 0);
    unlink(a.sun_path);
    rmdir(dir);
}

TEST(aliases_lead_to_addresses_that_the_queue_takes)
{
    static const struct {
        const char *value, *want;
    } rows[] = {
        { "b@y, c", "<b@y><c@here.test>" },
        { "@y", "<a@y>" },
        { "a@x b@y", "<a@x><b@y>" },
        { "\"c d\"@y", "<c d@y>" },
        { "\"e\001f\"@y b@y", "<b@y>" },
        { "\"e\nf\"@y b@y", "<b@y>" },
        { "@y\001 b@y", "<b@y>" },
        { "\"e\001f\"@y", "<a@x>" },
        { "<>", "<a@x>" },
    };

    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_INFO);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TEST_ROW("%s", rows[i].value);
        follow(rows[i].value);
        CHECK_EQ_STR(found, rows[i].want);
    }
}

TEST_MAIN()
