/* core/process_test.c - programs that work, fail, hang, talk too much and are not there. */
#include "base/test.h"
#include "core/process.h"

#include "base/buf.h"
#include "core/loop.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct buf got;

static void
on_done(void *arg, const struct process_end *end)
{
    (void)arg;
    if (end->exec_errno)
        buf_addf(&got, "%s: %s", end->failed_at_dir ? "dir" : "exec", strerror(end->exec_errno));
    else if (WIFSIGNALED(end->status))
        buf_addf(&got, "signal %d%s", WTERMSIG(end->status), end->is_timeout ? " time" : "");
    else
        buf_addf(&got, "exit %d", WEXITSTATUS(end->status));
    buf_addf(&got, " [%.*s]", SL_ARG(end->output));
    loop_stop();
}

static int
input(void)
{
    char path[] = "/tmp/postern-process-XXXXXX";
    int fd = mkstemp(path);

    unlink(path);
    if (fd < 0 || write(fd, "one\ntwo\n", 8) != 8 || lseek(fd, 0, SEEK_SET) != 0)
        FAIL("input");
    return fd;
}

#define SH(text)                                                                                   \
    {                                                                                              \
        "sh", "-c", text, NULL                                                                     \
    }

static const struct {
    const char *name;
    const char *argv[5];
    const char *argv_else[5];
    const char *dir;
    uint64_t ms;
    const char *want;
} rows[] = {
    { "input", { "cat" }, { 0 }, "/", 5000, "exit 0 [one\ntwo\n]" },
    { "both outputs", SH("echo a; echo b >&2; exit 3"), { 0 }, "/", 5000, "exit 3 [a\nb\n]" },
    { "environment", { "env" }, { 0 }, "/", 5000, "exit 0 [PATH=/usr/bin:/bin\nX=y z\n]" },
    { "folder", { "/bin/pwd" }, { 0 }, "/usr", 5000, "exit 0 [/usr\n]" },
    { "no folder", { "/bin/pwd" }, { 0 }, "/nowhere", 5000, "dir: No such file or directory []" },
    { "no program", { "/no/such" }, { 0 }, "/", 5000, "exec: No such file or directory []" },
    { "no rights", { "/etc/passwd" }, { 0 }, "/", 5000, "exec: Permission denied []" },
    { "a shell's own", { "exit", "4" }, SH("exit 4"), "/", 5000, "exit 4 []" },
    { "signal", SH("kill -9 $$"), { 0 }, "/", 5000, "signal 9 []" },
    { "too long", SH("echo begun; sleep 100"), { 0 }, "/", 200, "signal 9 time [begun\n]" },
    { "with its children", SH("sleep 100 & sleep 100"), { 0 }, "/", 200, "signal 9 time []" },
    { "out of its group",
      { "perl", "-e", "setpgrp(0, getpgrp(getppid())); sleep 20" },
      { 0 },
      "/",
      200,
      "signal 9 time []" },
    { "too much", SH("yes 123456789 | head -c 300000; exit 2"), { 0 }, "/", 5000, "" },
    { "signals are as they should be",
      SH("kill -PIPE $$; echo no"),
      { 0 },
      "/",
      5000,
      "signal 13 []" },
    { "descriptors", SH("ls /proc/self/fd | wc -l"), { 0 }, "/", 5000, "exit 0 [4\n]" },
    { "does not read", { "true" }, { 0 }, "/", 5000, "exit 0 []" },
};

TEST(programs)
{
    static const char *const envp[] = { "PATH=/usr/bin:/bin", "X=y z", NULL };

    loop_init();
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = input();
        struct process_opts o = { .argv = rows[i].argv,
                                  .argv_else = rows[i].argv_else[0] ? rows[i].argv_else : NULL,
                                  .envp = envp,
                                  .dir = rows[i].dir,
                                  .in_fd = fd,
                                  .output_max = 30,
                                  .limit_ms = rows[i].ms };
        struct err e = { 0 };

        TEST_ROW("%s", rows[i].name);
        buf_reset(&got);
        CHECK(process_start(&o, on_done, NULL, &e) == 0);
        close(fd);
        loop_run();
        if (strcmp(rows[i].name, "too much") == 0)
            CHECK(buf_slice(&got).n > 30 &&
                  sl_has_prefix(buf_slice(&got), SL("exit 2 [123456789\n123456789\n")));
        else
            CHECK_EQ_STR(buf_z(&got), rows[i].want);
    }
    buf_free(&got);
    loop_free();
}

TEST_MAIN()
