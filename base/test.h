/* base/test.h - the harness of the unit tests (D/X_test.c).
 *
 *     #include "base/test.h"
 *     #include "base/slice.h"
 *
 *     TEST(takes_a_line)
 *     {
 *         for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
 *             TEST_ROW("%s", rows[i].name);
 *             CHECK_EQ_INT(parse(rows[i].input), rows[i].want);
 *         }
 *     }
 *     TEST_MAIN()
 *
 * A CHECK that fails prints file, line, got and want, and the case goes on; NEED also ends it.
 * Arguments are evaluated once. Works with NDEBUG. CHECK only in the thread that runs the case.
 * With an argument, only cases whose name contains it are run. Layer: base, tests only. */
#ifndef BASE_TEST_H
#define BASE_TEST_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};

static struct test_case *test_first, **test_end = &test_first;
static unsigned test_case_failures;
static char test_row[160]; /* the table row that the case is at */

static inline void
test_add(struct test_case *c)
{
    *test_end = c;
    test_end = &c->next;
}

__attribute__((format(printf, 1, 2))) static inline void
test_set_row(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(test_row, sizeof test_row, fmt, ap);
    va_end(ap);
}

__attribute__((format(printf, 3, 4))) static inline void
test_fail(const char *file, int line, const char *fmt, ...)
{
    va_list ap;

    test_case_failures++;
    printf("%s:%d: ", file, line);
    if (test_row[0])
        printf("[%s] ", test_row);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

static inline void
test_print_bytes(const char *label, const void *p, size_t n)
{
    const unsigned char *b = p;

    printf("    %s %s\"", label, p ? "" : "NULL ");
    for (size_t i = 0; p && i < n; i++) {
        int plain = b[i] >= 0x20 && b[i] < 0x7f && b[i] != '"' && b[i] != '\\';
        printf(plain ? "%c" : "\\x%02x", b[i]);
    }
    printf("\" (%zu octets)\n", n);
}

static inline int
test_eq_mem(const char *file, int line, const char *what, const void *got, size_t got_n,
            const void *want, size_t want_n)
{
    if (!got == !want && got_n == want_n && (!got || !got_n || memcmp(got, want, got_n) == 0))
        return 1;
    test_fail(file, line, "%s", what);
    test_print_bytes("got ", got, got_n);
    test_print_bytes("want", want, want_n);
    return 0;
}

static inline int
test_eq_str(const char *file, int line, const char *what, const char *got, const char *want)
{
    return test_eq_mem(file, line, what, got, got ? strlen(got) : 0, want, want ? strlen(want) : 0);
}

static inline int
test_eq_int(const char *file, int line, const char *what, long long got, long long want)
{
    if (got != want)
        test_fail(file, line, "%s: got %lld, want %lld", what, got, want);
    return got == want;
}

static inline int
test_true(const char *file, int line, const char *what, int holds)
{
    if (!holds)
        test_fail(file, line, "does not hold: %s", what);
    return holds;
}

static inline int
test_main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (struct test_case *c = test_first; c; c = c->next) {
        if (argc > 1 && !strstr(c->name, argv[1]))
            continue;
        test_case_failures = 0;
        test_row[0] = '\0';
        c->run();
        printf("%s %s\n", test_case_failures ? "not ok" : "ok", c->name);
        *(test_case_failures ? &failed : &passed) += 1;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}

/* clang-format off */
#define TEST(name) \
    static void test_##name(void); \
    __attribute__((constructor)) static void test_add_##name(void) \
    { static struct test_case c = { #name, test_##name, NULL }; test_add(&c); } \
    static void test_##name(void)
#define TEST_ROW(...) test_set_row(__VA_ARGS__)
#define TEST_MAIN() int main(int argc, char **argv) { return test_main(argc, argv); }
#define CHECK(x) test_true(__FILE__, __LINE__, #x, !!(x))
#define NEED(x) do { if (!CHECK(x)) return; } while (0)
#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK_EQ_INT(got, want) test_eq_int(__FILE__, __LINE__, #got, (long long)(got), (long long)(want))
#define CHECK_EQ_STR(got, want) test_eq_str(__FILE__, __LINE__, #got, (got), (want))
#define CHECK_EQ_MEM(got, got_n, want, want_n) \
    test_eq_mem(__FILE__, __LINE__, #got, (got), (got_n), (want), (want_n))
/* clang-format on */

#endif
