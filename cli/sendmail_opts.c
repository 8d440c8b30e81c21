/* cli/sendmail_opts.c - sendmail's options. Those of other sendmails that ask for nothing here are known by a letter each,
 * so that their arguments are not taken for recipients. A
 * wish for reports that cannot be read keeps no mail back. Options may stand behind recipients, too, up to "--". */
#include "cli/sendmail.h"

#include "base/mem.h"

/* With an argument, behind the letter or as the next word; without. */
static const char with_argument[] = "ABCEFLNORVXbefhopr";
static const char without[] = "GIUcimntvx";

static int
set_mode(struct sendmail_opts *o, const char *arg, struct err *e)
{
    static const struct {
        char letter;
        enum sendmail_mode mode;
    } modes[] = { { 'd', SENDMAIL_DAEMON }, { 'l', SENDMAIL_DAEMON },  { 'h', SENDMAIL_IGNORE },
                  { 'H', SENDMAIL_IGNORE }, { 'i', SENDMAIL_ALIASES }, { 'm', SENDMAIL_ENQUEUE },
                  { 'p', SENDMAIL_MAILQ },  { 's', SENDMAIL_SMTP },    { 'v', SENDMAIL_VERIFY } };

    for (size_t i = 0; i < COUNT_OF(modes); i++)
        if (modes[i].letter == arg[0]) {
            o->mode = modes[i].mode;
            return 0;
        }
    err_set(e, ERR_CLIENT, "unsupported: -b%c", arg[0] ? arg[0] : ' ');
    return EXIT_USAGE_ERROR;
}

/* -oX: sendmail's one-letter options. */
static int
set_o(struct sendmail_opts *o, const char *arg, struct err *e)
{
    switch (arg[0]) {
    case 'A':
        if (arg[1] == '\0') {
            err_set(e, ERR_CLIENT, "-oA requires pathname");
            return EXIT_USAGE_ERROR;
        }
        o->mode = SENDMAIL_ALIASES;
        o->aliases = arg + 1;
        return 0;
    case 'i':
        o->dot_is_text = true;
        return 0;
    default:
        return 0;
    }
}

static int
set_ret(struct sendmail_opts *o, const char *arg, struct err *e)
{
    struct slice s = sl_z(arg);

    if (sl_ieqz(s, "full"))
        o->ret = "FULL";
    else if (sl_ieqz(s, "hdrs"))
        o->ret = "HDRS";
    else {
        err_set(e, ERR_CLIENT, "bad -R option value -- ignored");
    }
    return 0;
}

static int
set_body(struct sendmail_opts *o, const char *arg, struct err *e)
{
    if (sl_ieqz(sl_z(arg), "7bit"))
        o->body = "7BIT";
    else if (sl_ieqz(sl_z(arg), "8bitmime"))
        o->body = "8BITMIME";
    else {
        err_set(e, ERR_CLIENT, "unsupported: -B%s", arg);
        return EXIT_USAGE_ERROR;
    }
    return 0;
}

static int
set_notify(struct sendmail_opts *o, const char *arg, struct err *e)
{
    int bits = drop_notify_bits(sl_z(arg));

    if (bits < 0) {
        err_set(e, ERR_CLIENT, "bad -N option value -- ignored");
        return 0;
    }
    o->notify = (unsigned)bits;
    return 0;
}

static int
set_envid(struct sendmail_opts *o, const char *arg, struct err *e)
{
    size_t n = strlen(arg);

    for (size_t i = 0; i < n; i++)
        if (arg[i] < '!' || arg[i] > '~')
            n = SIZE_MAX - 1;
    if (n == 0 || n > 100) {
        err_set(e, ERR_CLIENT,
                "bad -V option value: printable characters without blanks, at most 100");
        return EXIT_USAGE_ERROR;
    }
    o->envid = arg;
    return 0;
}

static int
set_flush(struct sendmail_opts *o, const char *arg, struct err *e)
{
    if (arg[0] == '\0' || ((arg[0] == 'I' || arg[0] == 'R') && arg[1] != '\0')) {
        o->mode = SENDMAIL_FLUSH;
        o->flush_id = arg[0] == 'I' ? arg + 1 : NULL;
        o->flush_site = arg[0] == 'R' ? arg + 1 : NULL;
        return 0;
    }
    if (arg[0] == 'S' || arg[0] == 'I' || arg[0] == 'R') {
        err_set(e, ERR_CLIENT, arg[0] == 'S' ? "-qS%s is not implemented" : "-q%s requires a name",
                arg + (arg[0] == 'S'));
        return EXIT_USAGE_ERROR;
    }
    return 0; /* an interval: queue_run_delay says it */
}

static int
set_one(struct sendmail_opts *o, char letter, const char *arg, struct err *e)
{
    switch (letter) {
    case 'B':
        return set_body(o, arg, e);
    case 'C':
        o->conf = arg;
        return 0;
    case 'F':
        o->full_name = arg;
        return 0;
    case 'G':
        o->is_gateway = true;
        return 0;
    case 'I':
        o->mode = SENDMAIL_ALIASES;
        return 0;
    case 'N':
        return set_notify(o, arg, e);
    case 'R':
        return set_ret(o, arg, e);
    case 'V':
        return set_envid(o, arg, e);
    case 'X':
        if (arg[0] == 'V')
            o->verp = arg + 1;
        return 0;
    case 'b':
        return set_mode(o, arg, e);
    case 'f':
    case 'r':
        o->sender = arg;
        return 0;
    case 'i':
        o->dot_is_text = true;
        return 0;
    case 'o':
        return set_o(o, arg, e);
    case 't':
        o->extracts = true;
        return 0;
    case 'v':
        o->verbose++;
        return 0;
    default:
        return 0;
    }
}

int
sendmail_parse(int argc, char **argv, struct sendmail_opts *o, struct err *e)
{
    bool is_over = false;
    int rc = 0;

    for (int at = 1; at < argc && rc == 0; at++) {
        const char *word = argv[at];

        if (is_over || word[0] != '-' || word[1] == '\0') {
            o->rcpts[o->n_rcpts++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            is_over = true;
            continue;
        }
        for (const char *p = word + 1; *p && rc == 0; p++) {
            const char *arg = p + 1;

            if (*p == 'q') {
                rc = set_flush(o, arg, e);
                break;
            }
            if (strchr(without, *p)) {
                rc = set_one(o, *p, "", e);
                continue;
            }
            if (!strchr(with_argument, *p)) {
                err_set(e, ERR_CLIENT, "usage: sendmail [options]; there is no -%c", *p);
                return EXIT_USAGE_ERROR;
            }
            if (*arg == '\0') {
                if (at + 1 >= argc) {
                    err_set(e, ERR_CLIENT, "usage: sendmail [options]; -%c requires an argument",
                            *p);
                    return EXIT_USAGE_ERROR;
                }
                arg = argv[++at];
                /* "-o x value", as Postfix's manual has it */
                if (*p == 'o' && strlen(arg) == 1 && !strchr("im78", arg[0]) && at + 1 < argc)
                    at++;
            }
            rc = set_one(o, *p, arg, e);
            break;
        }
    }
    return rc;
}
