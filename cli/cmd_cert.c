/* cli/cmd_cert.c - `postern cert`: a self-signed certificate for a trial, and what an existing one is. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "tls/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_DAYS = 365, DAYS_MAX = 36500, PEM_MAX_OCTETS = 1 << 20 };

static int
fail(const struct err *e)
{
    fprintf(stderr, "postern cert: %s\n", e->msg);
    return EXIT_FAILED;
}

static int
make(const char *dir, char **names, int n, int days)
{
    struct buf chain = { 0 }, key = { 0 };
    char chain_path[4096], key_path[4096];
    struct err e = { 0 };
    int rc = EXIT_OK;

    snprintf(chain_path, sizeof(chain_path), "%s/fullchain.pem", dir);
    snprintf(key_path, sizeof(key_path), "%s/privkey.pem", dir);
    if (fs_mkdirs(dir, 0755, &e) < 0 ||
        tls_make_self_signed((const char *const *)names, (size_t)n, days, &chain, &key, &e) < 0 ||
        fs_replace_file(key_path, buf_slice(&key), 0600, &e) < 0 ||
        fs_replace_file(chain_path, buf_slice(&chain), 0644, &e) < 0)
        rc = fail(&e);
    else
        printf("smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n", chain_path, key_path);
    buf_free(&chain);
    buf_free(&key);
    return rc;
}

static int
look(const struct buf *chain, const struct buf *key, int64_t *until, struct err *e)
{
    struct buf pem = { 0 };
    struct tls_facts f;
    int rc;

    buf_addf(&pem, "%.*s\n%.*s", SL_ARG(buf_slice(chain)), SL_ARG(buf_slice(key)));
    rc = tls_look(buf_slice(&pem), NULL, &f, e);
    *until = f.not_after_unix_s;
    tls_facts_free(&f);
    buf_wipe(&pem);
    return rc;
}

static int
show(const char *chain_path, const char *key_path)
{
    struct buf chain = { .max = PEM_MAX_OCTETS }, key = { .max = PEM_MAX_OCTETS };
    struct err e = { 0 };
    int64_t until = 0;
    int rc = EXIT_OK;

    if (fs_read_file(chain_path, &chain, &e) < 0 || fs_read_file(key_path, &key, &e) < 0 ||
        look(&chain, &key, &until, &e) < 0)
        rc = fail(&e);
    else
        printf("%s and %s belong together; valid for another %lld days\n", chain_path, key_path,
               (long long)((until - clock_unix_s()) / 86400));
    buf_free(&chain);
    buf_free(&key);
    return rc;
}

static int
run(const struct cli_args *a)
{
    const char *out = NULL;
    int at = 2, days = DEFAULT_DAYS;

    if (a->argc == 4 && strcmp(a->argv[1], "show") == 0)
        return show(a->argv[2], a->argv[3]);
    if (a->argc < 2 || strcmp(a->argv[1], "self-signed") != 0)
        return cli_usage_error(&cmd_cert, "self-signed or show is wanted");
    for (; at + 1 < a->argc && a->argv[at][0] == '-'; at += 2) {
        uint32_t n;

        if (strcmp(a->argv[at], "--out") == 0)
            out = a->argv[at + 1];
        else if (strcmp(a->argv[at], "--days") == 0 && sl_to_u32(sl_z(a->argv[at + 1]), &n) &&
                 n > 0 && n <= DAYS_MAX)
            days = (int)n;
        else
            return cli_usage_error(&cmd_cert, "cannot read %s %s", a->argv[at], a->argv[at + 1]);
    }
    if (out == NULL || at >= a->argc)
        return cli_usage_error(&cmd_cert, "--out DIR and a name are wanted");
    return make(out, a->argv + at, a->argc - at, days);
}

const struct cli_command cmd_cert = {
    .name = "cert",
    .usage = "cert self-signed --out DIR [--days N] NAME ... | cert show CHAIN KEY",
    .summary = "make a self-signed certificate for a trial, or check a pair of files",
    .help =
        "DESCRIPTION\n"
        "    self-signed  writes DIR/fullchain.pem and DIR/privkey.pem for the names (host names "
        "or\n"
        "                 addresses; the first is the common name) and prints the lines for "
        "main.cf.\n"
        "                 Clients will warn: for real use get a certificate from an authority.\n"
        "    show         says whether the two files belong together, and for how long they are "
        "valid.\n\n"
        "EXIT STATUS\n"
        "    0 done; 1 it failed, standard error says why; 64 wrong usage.\n",
    .run = run,
};
