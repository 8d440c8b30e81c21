/* local/command.c - see locald.h. A command is run directly where its words are all there is to it, else by /bin/sh. What
 * it is told about the message are strangers' words: in its environment, and only of characters that no shell heeds. */
#include "local/locald.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/process.h"
#include "proto/lookup_keys.h"
#include "proto/smtp_addr.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum { WORDS_MAX = 500, ENVIRONMENT_MAX = 100 };

/* ---- environment ---- */

struct environment {
    struct arena *mem;
    const char *v[ENVIRONMENT_MAX + 1];
    size_t n;
    bool is_full;
};

static void
add(struct environment *env, const char *name, struct slice value, const bool *allowed)
{
    char *z = arena_printf(env->mem, "%s=%.*s", name, SL_ARG(value));

    if (z == NULL || env->n == ENVIRONMENT_MAX) {
        env->is_full = true;
        return;
    }
    for (char *p = z + strlen(name) + 1; allowed && *p; p++)
        if (!allowed[(unsigned char)*p])
            *p = '_';
    for (size_t i = 0; i < env->n; i++)
        if (strncmp(env->v[i], z, strlen(name) + 1) == 0) {
            env->v[i] = z;
            return;
        }
    env->v[env->n++] = z;
}

/* export_environment: "NAME", "NAME=value", "{ NAME=value }". */
static void
add_exported(struct environment *env, const struct conf_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct slice item = sl_z(l->v[i]), name;
        const char *value;
        char *z;

        if (sl_starts(item, '{') && sl_ends(item, '}'))
            item = sl_trim(sl_n(item.p + 1, item.n - 2));
        if (sl_take_until(&item, '=', &name)) {
            z = sl_dupz(name);
            add(env, z, item, NULL);
        } else {
            z = sl_dupz(item);
            value = getenv(z);
            if (value)
                add(env, z, sl_z(value), NULL);
        }
        free(z);
    }
}

static struct slice
extension(const struct delivery *d, struct slice local)
{
    return lookup_extension(local, d->conf->recipient_delimiter, d->conf->double_bounce_sender);
}

const char *const *
command_environment(struct delivery *d)
{
    struct environment env = { .mem = &d->mem };
    struct slice local, domain, ext, bare;
    const char **out;
    bool allowed[256] = { 0 };

    smtp_addr_split(d->recipient, &local, &domain);
    ext = extension(d, local);
    bare = sl_head(local, local.n - ext.n);
    conf_unescape_set(d->conf->command_expansion_filter, allowed);
    add(&env, "PATH", SL("/usr/bin:/bin"), NULL);
    add_exported(&env, &d->conf->export_environment);
    add(&env, "USER", bare, allowed);
    add(&env, "LOGNAME", bare, allowed);
    add(&env, "LOCAL", local, allowed);
    add(&env, "DOMAIN", domain, allowed);
    if (ext.n > 1)
        add(&env, "EXTENSION", sl_from(ext, 1), allowed);
    add(&env, "RECIPIENT", d->recipient, allowed);
    add(&env, "ORIGINAL_RECIPIENT", d->orig, allowed);
    add(&env, "SENDER", d->sender.n > 0 ? d->sender : SL("MAILER-DAEMON"), allowed);
    add(&env, "CLIENT_HOSTNAME", d->client_name, allowed);
    add(&env, "CLIENT_ADDRESS", d->client_ip, allowed);
    add(&env, "CLIENT_HELO", d->helo, allowed);
    add(&env, "CLIENT_PROTOCOL", d->protocol, allowed);
    if (d->login.n > 0)
        add(&env, "SASL_USERNAME", d->login, allowed);
    out = arena_alloc(&d->mem, (env.n + 1) * sizeof *out);
    if (out == NULL || env.is_full)
        return NULL;
    memcpy(out, env.v, env.n * sizeof *out);
    return out;
}

/* ---- where it runs ---- */

static bool
look_up(void *arg, struct slice name, struct buf *out)
{
    const struct delivery *d = arg;
    struct slice local, domain, ext;

    smtp_addr_split(d->recipient, &local, &domain);
    ext = extension(d, local);
    if (sl_eqz(name, "user"))
        buf_adds(out, sl_head(local, local.n - ext.n));
    else if (sl_eqz(name, "local"))
        buf_adds(out, local);
    else if (sl_eqz(name, "domain"))
        buf_adds(out, domain);
    else if (sl_eqz(name, "recipient"))
        buf_adds(out, d->recipient);
    else if (sl_eqz(name, "extension"))
        buf_adds(out, sl_from(ext, ext.n > 0));
    else if (sl_eqz(name, "recipient_delimiter"))
        buf_adds(out, sl_head(ext, 1));
    else /* who a command out of aliases(5) runs as has neither */
        return sl_eqz(name, "home") || sl_eqz(name, "shell");
    return true;
}

int
command_folder(struct delivery *d, struct buf *out, struct err *e)
{
    const char *text = d->conf->command_execution_directory;
    bool allowed[256] = { 0 };
    struct conf_template t = { .look_up = look_up, .arg = d, .allowed = allowed };

    if (text[0] == '\0')
        return buf_addz(out, d->conf->queue_directory);
    conf_unescape_set(d->conf->execution_directory_expansion_filter, allowed);
    return conf_expand_template(sl_z(text), &t, out, e);
}

/* ---- what came of it ---- */

static const struct {
    int status;
    const char *dsn, *text;
} exits[] = {
    { EX_USAGE, "5.3.0", "command line usage error" },
    { EX_DATAERR, "5.6.0", "data format error" },
    { EX_NOINPUT, "5.3.0", "cannot open input" },
    { EX_NOUSER, "5.1.1", "user unknown" },
    { EX_NOHOST, "5.1.2", "host name unknown" },
    { EX_UNAVAILABLE, "5.3.0", "service unavailable" },
    { EX_SOFTWARE, "5.3.0", "internal software error" },
    { EX_OSERR, "4.3.0", "system resource problem" },
    { EX_OSFILE, "5.3.0", "critical OS file missing" },
    { EX_CANTCREAT, "5.2.0", "can't create user output file" },
    { EX_IOERR, "5.3.0", "input/output error" },
    { EX_TEMPFAIL, "4.3.0", "temporary failure" },
    { EX_PROTOCOL, "5.5.0", "remote error in protocol" },
    { EX_NOPERM, "5.7.0", "permission denied" },
    { EX_CONFIG, "5.3.5", "local configuration error" },
};

/* "5.7.1" or "4.2.2" at the front, and what follows. */
static bool
take_dsn(struct slice *in, struct slice *dsn)
{
    struct slice at = sl_trim(*in), word = { 0 };
    unsigned dots = 0;

    sl_take_word(&at, " ", &word);
    if (word.n < 5 || word.n >= sizeof(((struct outcome *)0)->dsn) ||
        (word.p[0] != '4' && word.p[0] != '5') || word.p[1] != '.')
        return false;
    for (size_t i = 1; i < word.n; i++) {
        dots += word.p[i] == '.';
        if (word.p[i] == '.' ? i + 1 == word.n || word.p[i + 1] == '.'
                             : word.p[i] < '0' || word.p[i] > '9')
            return false;
    }
    *dsn = word;
    *in = sl_trim(at);
    return dots == 2;
}

static unsigned
code_of(struct slice dsn)
{
    return sl_starts(dsn, '4') ? 450 : 550;
}

void
command_outcome(struct slice line, int status, bool is_timeout, struct slice output,
                struct outcome *o)
{
    struct slice said = sl_trim(output), dsn;
    const char *sep = said.n > 0 ? ". Command output: " : "";

    if (is_timeout) {
        outcome_set(o, 550, "5.3.0", "Command time limit exceeded: \"%.*s\"%s%.*s", SL_ARG(line),
                    sep, SL_ARG(said));
        return;
    }
    if (WIFSIGNALED(status)) {
        outcome_set(o, 450, "4.3.0", "Command died with signal %d: \"%.*s\"%s%.*s",
                    WTERMSIG(status), SL_ARG(line), sep, SL_ARG(said));
        return;
    }
    if (WEXITSTATUS(status) == 0) {
        outcome_set(o, 250, "2.0.0", "delivered to command: %.*s", SL_ARG(line));
        return;
    }
    if (take_dsn(&said, &dsn)) {
        char z[sizeof o->dsn];

        snprintf(z, sizeof z, "%.*s", SL_ARG(dsn));
        outcome_set(o, code_of(dsn), z, "%.*s", SL_ARG(said));
        return;
    }
    for (size_t i = 0; i < COUNT_OF(exits); i++)
        if (exits[i].status == WEXITSTATUS(status)) {
            outcome_set(o, code_of(sl_z(exits[i].dsn)), exits[i].dsn, "%s%s%.*s", exits[i].text,
                        sep, SL_ARG(said));
            return;
        }
    outcome_set(o, 550, "5.3.0", "Command died with status %d: \"%.*s\"%s%.*s", WEXITSTATUS(status),
                SL_ARG(line), sep, SL_ARG(said));
}

static void
on_end(void *arg, const struct process_end *end)
{
    struct delivery *d = arg;

    if (end->exec_errno && end->failed_at_dir)
        outcome_set(&d->out, 450, "4.3.0", "cannot change directory for command: \"%.*s\": %s",
                    SL_ARG(d->target), strerror(end->exec_errno));
    else if (end->exec_errno)
        outcome_set(&d->out, 450, "4.3.0", "temporary failure. Command output: execvp %.*s: %s",
                    SL_ARG(d->target), strerror(end->exec_errno));
    else
        command_outcome(d->target, end->status, end->is_timeout, end->output, &d->out);
    d->done(d);
}

/* ---- running ---- */

bool
command_is_plain(struct slice line)
{
    static const char ok[] = "!@%-_=+:,./ \t";

    for (size_t i = 0; i < line.n; i++)
        if (!sl_is_alnum_char(line.p[i]) && (line.p[i] == '\0' || !strchr(ok, line.p[i])))
            return false;
    return true;
}

/* Words of line, then last (or NULL), into v. False: too many, or memory is full. */
static bool
split(struct delivery *d, struct slice line, const char *last, const char **v)
{
    struct slice word;
    size_t n = 0;

    while (n < WORDS_MAX && sl_take_word(&line, " \t", &word))
        if ((v[n++] = arena_dupz(&d->mem, word)) == NULL)
            return false;
    if (n == 0 || n == WORDS_MAX)
        return false;
    v[n++] = last;
    v[n] = NULL;
    return true;
}

void
command_run(struct delivery *d)
{
    const char *words[WORDS_MAX + 2],
        *shell[] = { "/bin/sh", "-c", arena_dupz(&d->mem, d->target), NULL };
    struct process_opts o = { .argv = shell,
                              .in_fd = d->content,
                              .output_max = LOCAL_OUTPUT_OCTETS,
                              .limit_ms = (uint64_t)d->conf->command_time_limit };
    struct buf dir = { 0 };
    struct err e = { 0 };
    int rc = -1;

    o.envp = command_environment(d);
    if (o.envp == NULL || shell[2] == NULL || lseek(d->content, 0, SEEK_SET) != 0) {
        err_set(&e, ERR_TEMP, "no memory");
    } else if (d->conf->local_command_shell[0]) {
        o.argv = words;
        rc = split(d, sl_z(d->conf->local_command_shell), shell[2], words)
                 ? 0
                 : err_set(&e, ERR_CONFIG, "local_command_shell is no command");
    } else {
        rc = 0;
        if (command_is_plain(d->target) && split(d, d->target, NULL, words)) {
            o.argv = words;
            o.argv_else = strchr(words[0], '/') ? NULL : shell; /* a shell's own? */
        }
    }
    if (rc == 0 && (rc = command_folder(d, &dir, &e)) == 0) {
        o.dir = buf_z(&dir);
        rc = process_start(&o, on_end, d, &e);
    }
    buf_free(&dir);
    if (rc != 0) {
        log_error("command.start", LOG_F(LF_S("command", d->target)), "%.*s: %s", SL_ARG(d->target),
                  e.msg);
        outcome_set(&d->out, 450, "4.3.0", "unable to run command: %s", e.msg);
        d->done(d);
    }
}
