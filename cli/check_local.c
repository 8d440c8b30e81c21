/* cli/check_local.c - commands and files out of aliases(5): who they are run and written as, and how. */
#include "cli/check_int.h"
#include "cli/serve_listen.h"

#include "core/daemon.h"

#include <unistd.h>

static bool
look_up(void *arg, struct slice name, struct buf *out)
{
    static const char *const names[] = { "user",      "home",   "shell", "recipient",
                                         "extension", "domain", "local", "recipient_delimiter" };

    (void)arg;
    (void)out;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sl_eqz(name, names[i]))
            return true;
    return false;
}

static void
check_words(const struct conf *c, struct conf_problems *ps, const char *param, struct conf_list l,
            const char *const *known)
{
    for (size_t i = 0; i < l.n; i++) {
        const char *const *k = known;

        while (*k && !sl_ieqz(sl_z(l.v[i]), *k))
            k++;
        if (*k == NULL)
            conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param),
                             "%s: \"%s\" is not known", param, l.v[i]);
    }
}

void
check_local(const struct conf *c, struct conf_problems *ps)
{
    static const char *const where[] = { "alias", "forward", "include", NULL };
    static const char *const what[] = { "command", "file", "forward", NULL };
    static const char *const locks[] = { "fcntl", "flock", "dotlock", NULL };
    struct conf_template t = { .look_up = look_up };
    struct buf out = { 0 };
    struct err e = { 0 };

    check_words(c, ps, "allow_mail_to_commands", c->allow_mail_to_commands, where);
    check_words(c, ps, "allow_mail_to_files", c->allow_mail_to_files, where);
    check_words(c, ps, "prepend_delivered_header", c->prepend_delivered_header, what);
    check_words(c, ps, "mailbox_delivery_lock", c->mailbox_delivery_lock, locks);
    if (conf_expand_template(sl_z(c->command_execution_directory), &t, &out, &e) != 0)
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, "command_execution_directory"),
                         "command_execution_directory: %s", e.msg);
    buf_free(&out);
    /* Mail for people does not depend on it: no error. */
    if (geteuid() == 0 && serve_wants_locald(c) && daemon_default_privs(c, &e) != 0)
        conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, "default_privs"),
                         "%s: mail for commands and files in alias_maps waits", e.msg);
}
