/* tests/fuzz/fuzz.h - what the fuzz targets share. A target is fuzz_NAME.c with LLVMFuzzerTestOneInput(), its seeds are
 * in corpus/NAME/, its words in NAME.dict. `make fuzz` builds build/fuzz/tests/fuzz/NAME: with clang's libFuzzer, or, where
 * that is not to be had, with replay.c, which only runs the seeds. To run one for longer:
 *
 *     make fuzz && build/fuzz/tests/fuzz/mime -max_total_time=60 /tmp/new tests/fuzz/corpus/mime
 */
#ifndef POSTERN_TESTS_FUZZ_H
#define POSTERN_TESTS_FUZZ_H

#include "base/buf.h"
#include "base/log.h"
#include "base/slice.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What must hold whatever the input is. */
#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: must hold: %s\n", __FILE__, __LINE__, #cond);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A copy with nothing behind it, so that a read beyond the end is seen. Free p. */
static inline struct slice
fuzz_dup(struct slice s)
{
    char *p = malloc(s.n > 0 ? s.n : 1);

    if (s.n > 0)
        memcpy(p, s.p, s.n);
    return sl_n(p, s.n);
}
static inline void
fuzz_free(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

/* The input's first octet, as a choice; 0 when there is none. */
static inline unsigned
fuzz_choice(struct slice *in)
{
    unsigned c = in->n > 0 ? (unsigned char)in->p[0] : 0;

    *in = sl_from(*in, 1);
    return c;
}

/* Only what goes wrong in the fuzzer itself is worth a line. */
static inline void
fuzz_quiet(void)
{
    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_ERROR);
}

#endif
