/* tests/store/random.h - what the programs of random operations share: a user, messages that say who they are, and the
 * file of facts that tests/lib/storefacts.py judges. Tests only. */
#ifndef POSTERN_TESTS_STORE_RANDOM_H
#define POSTERN_TESTS_STORE_RANDOM_H

#include "base/fs.h"
#include "base/mem.h"
#include "store/store.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define USER "bob@example.org"

enum {
    N_OWN = 12
}; /* keywords own0.. own11: a message with an even token has that of its token, and no other */

/* ---- the user ---- */

static struct conf *conf;
static char base_dir[200], root[240];

static inline void
read_conf(const char *dir, const char *more)
{
    struct conf_problems ps = { 0 };
    char text[1200];

    snprintf(base_dir, sizeof base_dir, "%s", dir);
    snprintf(root, sizeof root, "%s/example.org/bob", dir);
    snprintf(text, sizeof text, "mail_location = maildir:%s/%%d/%%n\nqueue_directory = %s\n%s\n",
             dir, dir, more ? more : "");
    conf = conf_parse(sl_z(text), "random", &ps);
    if (conf == NULL) {
        fprintf(stderr, "random: the configuration is not understood\n");
        exit(2);
    }
}

static inline int
open_user(struct store **s, struct store_user **u, struct err *e)
{
    if (store_new(conf, s, e))
        return -1;
    return store_user_open(*s, SL(USER), NULL, u, e);
}

/* ---- messages ---- */

static inline uint64_t
mix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static inline unsigned
lines_of(uint64_t token)
{
    unsigned dice = (unsigned)(mix(token) % 100);

    return dice < 70 ? dice / 4 : dice < 98 ? dice : 2500;
}

static inline void
message_text(struct buf *out, uint64_t token, const char *eol)
{
    buf_addf(out, "From: Sender <s%llu@example.net>%sTo: bob@example.org%sSubject: T%lluT%s",
             (unsigned long long)token % 9, eol, eol, (unsigned long long)token, eol);
    buf_addf(out,
             "Message-ID: <%llu@random>%sDate: Thu, 1 Jan 2026 00:00:%02u +0000%sX-Token: %llu%s%s",
             (unsigned long long)token, eol, (unsigned)(token % 60), eol, (unsigned long long)token,
             eol, eol);
    for (unsigned i = 0; i < lines_of(token); i++)
        buf_addf(out, "line %u of a message that has nothing to say%s", i, eol);
    buf_addf(out, "end %llu%s", (unsigned long long)token, eol);
}

/* The token of a message that is whole, 0 when it is not. s: with CRLF. */
static inline uint64_t
token_in(struct slice s)
{
    size_t at = sl_find(s, SL("\r\nX-Token: "));
    struct slice t = sl_from(s, at == SL_NPOS ? s.n : at + 11);
    uint64_t token, end;
    char tail[40];

    if (!sl_take_u64(&t, &token))
        return 0;
    snprintf(tail, sizeof tail, "end %llu\r\n", (unsigned long long)token);
    end = strlen(tail);
    return s.n > end && sl_eq(sl_from(s, s.n - end), sl_z(tail)) ? token : 0;
}

/* ---- facts ---- */

static int facts_fd = -1;
static uint64_t (*mark)(const char *, uint64_t);

static inline void
open_facts(const char *path)
{
    facts_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (facts_fd < 0) {
        perror(path);
        exit(2);
    }
    /* With the fault layer each fact has its place in the journal. */
    *(void **)&mark = getenv("FAULT_JOURNAL") ? dlsym(RTLD_DEFAULT, "journal_mark") : NULL;
}

/* Facts are gathered and written by one write. */
static inline void fact(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline void
fact(struct buf *b, const char *fmt, ...)
{
    char line[300];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    buf_addf(b, "@ %d %s\n", (int)getpid(), line);
}

static inline void
facts_tell(struct buf *b)
{
    struct buf out = { 0 };
    struct slice left = buf_slice(b), line;
    uint64_t seq = mark ? mark("f", 1) : 0;

    while (sl_take_line(&left, &line))
        buf_addf(&out, "%llu%.*s\n", (unsigned long long)seq, SL_ARG(sl_from(line, 1)));
    if (out.n > 0 && write(facts_fd, out.p, out.n) != (ssize_t)out.n)
        abort();
    buf_free(&out);
    buf_free(b);
}

#endif
