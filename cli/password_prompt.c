/* cli/password_prompt.c - see password_prompt.h. */
#include "cli/password_prompt.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

enum { LINE_OCTETS = 1024 };

void
password_wipe(struct buf *password)
{
    buf_wipe(password);
}

/* Octet by octet, so that nothing after the line is taken from the input. */
static int
read_line(int fd, struct buf *out, struct err *e)
{
    for (;;) {
        char c;
        ssize_t n = read(fd, &c, 1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(e, "cannot read the password");
        if (n == 0 || c == '\n')
            break;
        if (buf_addc(out, c) < 0)
            return err_set(e, ERR_CLIENT, "the password is too long");
    }
    if (out->n && sl_ends(buf_slice(out), '\r'))
        buf_truncate(out, out->n - 1);
    return 0;
}

static int
ask(int tty, const char *prompt, struct buf *out, struct err *e)
{
    struct termios old, quiet;
    sigset_t block, before;
    int rc;

    if (tcgetattr(tty, &old) != 0)
        return err_sys(e, "cannot switch the terminal's echo off");
    /* An interrupt must not leave the terminal without echo. */
    sigemptyset(&block);
    sigaddset(&block, SIGINT);
    sigaddset(&block, SIGTSTP);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, &before);
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
    dprintf(tty, "%s", prompt);
    tcsetattr(tty, TCSAFLUSH, &quiet);
    rc = read_line(tty, out, e);
    tcsetattr(tty, TCSAFLUSH, &old);
    dprintf(tty, "\n");
    sigprocmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* again NULL: once. */
static int
ask_terminal(struct buf *prompt, struct buf *out, struct buf *again, struct err *e)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY), rc;

    if (tty < 0)
        return err_set(
            e, ERR_CLIENT,
            "there is no terminal to ask for the password; give it on standard input with --stdin");
    rc = ask(tty, buf_z(prompt), out, e);
    if (rc == 0 && again)
        rc = ask(tty, "Once more: ", again, e);
    if (rc == 0 && again && !sl_eq(buf_slice(out), buf_slice(again)))
        rc = err_set(e, ERR_CLIENT, "the two are not the same");
    close(tty);
    return rc;
}

static int
prompt_for(const char *of, const char *whom, bool is_twice, struct buf *out, struct err *e)
{
    struct buf again = { .max = LINE_OCTETS }, prompt = { 0 };
    int rc;

    buf_addf(&prompt, "%s%s: ", of, whom);
    rc = ask_terminal(&prompt, out, is_twice ? &again : NULL, e);
    password_wipe(&again);
    buf_free(&prompt);
    return rc;
}

int
password_prompt(const char *whom, bool from_stdin, struct buf *out, struct err *e)
{
    out->max = LINE_OCTETS;
    return from_stdin ? read_line(STDIN_FILENO, out, e)
                      : prompt_for("New password of ", whom, true, out, e);
}

int
password_ask(const char *whom, bool from_stdin, struct buf *out, struct err *e)
{
    out->max = LINE_OCTETS;
    return from_stdin ? read_line(STDIN_FILENO, out, e)
                      : prompt_for("Password of ", whom, false, out, e);
}
