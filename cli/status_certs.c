/* cli/status_certs.c - see status_certs.h. */
#include "cli/status_certs.h"
#include "cli/cli.h"
#include "cli/tls_files.h"

#include "base/clock.h"

#include <stdio.h>
#include <time.h>

enum { NOT_BEFORE, NOT_AFTER, SERVICES, SNI, FILES, NAMES, PROBLEM, FIELDS, DATE_OCTETS = 32 };

/* The next line of a certificate; false at the end. */
static bool
next(struct slice *text, struct slice f[FIELDS])
{
    struct slice line;

    while (sl_take_until(text, '\n', &line)) {
        if (!sl_take_prefix(&line, SL("cert ")))
            continue;
        for (int i = 0; i < FIELDS; i++)
            if (!sl_take_until(&line, '\t', &f[i])) {
                f[i] = line;
                line = SL("");
            }
        return true;
    }
    return false;
}

static int64_t
number(struct slice s)
{
    uint64_t n = 0;
    bool is_less = sl_take_char(&s, '-');

    return !sl_to_u64(s, &n) ? 0 : is_less ? -(int64_t)n : (int64_t)n;
}

static int64_t
days_left(const struct slice f[FIELDS])
{
    return (number(f[NOT_AFTER]) - clock_unix_s()) / 86400;
}

/* A word for programs: what an operator has to do something about is not "ok". */
static const char *
state_of(const struct slice f[FIELDS])
{
    int64_t now = clock_unix_s();

    if (number(f[NOT_AFTER]) == 0)
        return "unusable";
    if (number(f[NOT_AFTER]) < now)
        return "expired";
    if (number(f[NOT_BEFORE]) > now)
        return "not yet valid";
    if (f[PROBLEM].n > 0)
        return "not renewed";
    return number(f[NOT_AFTER]) - now < TLS_EXPIRY_WARN_S ? "expires soon" : "ok";
}

static const char *
date_of(struct slice unix_s, char out[DATE_OCTETS])
{
    time_t t = (time_t)number(unix_s);
    struct tm tm;

    if (t == 0 || !gmtime_r(&t, &tm) || strftime(out, DATE_OCTETS, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
    return out;
}

static void
print_words(const char *name, struct slice text, const char *seps)
{
    struct slice word;
    bool is_first = true;

    printf(", \"%s\": [", name);
    for (; sl_take_word(&text, seps, &word); is_first = false) {
        fputs(is_first ? "" : ", ", stdout);
        cli_json_string(word);
    }
    putchar(']');
}

static void
print_text(const char *name, struct slice text)
{
    printf(", \"%s\": ", name);
    if (text.n > 0)
        cli_json_string(text);
    else
        fputs("null", stdout);
}

static void
print_json(struct slice f[FIELDS])
{
    char from[DATE_OCTETS], to[DATE_OCTETS];

    printf("{\"state\": \"%s\", \"days_left\": %lld", state_of(f), (long long)days_left(f));
    print_text("not_before", sl_z(date_of(f[NOT_BEFORE], from)));
    print_text("not_after", sl_z(date_of(f[NOT_AFTER], to)));
    print_words("services", f[SERVICES], " ");
    print_text("sni", f[SNI]);
    print_words("files", f[FILES], ",");
    print_words("names", f[NAMES], " ");
    print_text("problem", f[PROBLEM]);
    putchar('}');
}

static void
print_line(struct slice f[FIELDS])
{
    char to[DATE_OCTETS];

    printf("%-13s %5lld  %-10.10s  %.*s\n", state_of(f), (long long)days_left(f),
           date_of(f[NOT_AFTER], to), SL_ARG(f[NAMES]));
    if (f[SNI].n > 0)
        printf("    for who asks for %.*s: %.*s\n", SL_ARG(f[SNI]), SL_ARG(f[FILES]));
    else
        printf("    %.*s: %.*s\n", SL_ARG(f[SERVICES]), SL_ARG(f[FILES]));
    if (f[PROBLEM].n > 0)
        printf("    cannot be renewed: %.*s\n", SL_ARG(f[PROBLEM]));
}

void
status_print_certs(struct slice text, bool is_json)
{
    struct slice f[FIELDS], at = text, line;
    size_t n = 0;

    if (is_json)
        fputs(",\n  \"certificates\": [", stdout);
    for (; next(&at, f); n++) {
        if (is_json)
            fputs(n ? ",\n    " : "\n    ", stdout);
        else if (n == 0)
            puts("\ncertificate   days   until       names");
        if (is_json)
            print_json(f);
        else
            print_line(f);
    }
    if (is_json)
        fputs(n ? "\n  ]" : "]", stdout);
    while (sl_take_until(&text, '\n', &line))
        if (sl_take_prefix(&line, SL("more_certificates "))) {
            if (is_json)
                printf(",\n  \"more_certificates\": %.*s", SL_ARG(line));
            else
                printf("and %.*s more that end later\n", SL_ARG(line));
        }
}
