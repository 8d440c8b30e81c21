/* core/process.h - another program, run with a file as its standard input and without blocking the loop: what it prints is
 * kept up to a limit, and when its time is over its whole process group is killed. Layer: core. On the loop. */
#ifndef POSTERN_CORE_PROCESS_H
#define POSTERN_CORE_PROCESS_H

#include "base/err.h"
#include "base/slice.h"

#include <stdint.h>

struct process;

struct process_opts {
    /* argv[0] is looked for in envp's PATH when it has no slash. argv_else: what is run when it is nowhere, or NULL. */
    const char *const *argv, *const *argv_else;
    const char *const *envp;
    const char *dir; /* it is started here */
    int in_fd;       /* its standard input, read from where it stands; stays the caller's */
    size_t
        output_max; /* octets of its standard output and error, together, that are kept; what is more is thrown away */
    uint64_t limit_ms;
};

struct process_end {
    int status;          /* as waitpid() has it */
    int exec_errno;      /* not 0: it was never run; failed_at says where it stopped */
    bool failed_at_dir;  /* ... at opts.dir, not at the program */
    bool is_timeout;     /* it was killed for that */
    struct slice output; /* during the call */
};

/* Start it, in a process group of its own, with no descriptor but the first three, no ignored signal, and at most 1024
 * open files. done comes from the loop, once, when it has ended; others of its group may still run then. All of opts is
 * copied. -1 with e (ERR_TEMP): nothing was started. */
int process_start(const struct process_opts *opts,
                  void (*done)(void *arg, const struct process_end *end), void *arg, struct err *e);

#endif
