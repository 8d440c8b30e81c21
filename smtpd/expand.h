/* smtpd/expand.h - accepted recipients to final ones: completed, through virtual_alias_maps as often as it takes, then
 * aliases(5) for local names. Layer: smtpd. */
#ifndef POSTERN_SMTPD_EXPAND_H
#define POSTERN_SMTPD_EXPAND_H

#include "smtpd/find.h"

enum expand_rc {
    EXPAND_OK,
    EXPAND_LOOP /* limits exceeded, or an alias nobody can follow */,
    EXPAND_TEMP,
    EXPAND_REFUSED /* a command or file that main.cf does not allow, mail that has gone round, or
                    * whose aliases all lead to nobody: expand_refusal() */
};

/* For all recipients of s->tx. done once, here or later; rcpts live until the transaction ends, in order, each final
 * address once. A wish to redirect leaves one. Among them are commands and files out of aliases(5), and rows of kind
 * RCPT_EXPANDED for recipients whose sender is to hear that they led to several. */
void expand_recipients(struct smtpd_sess *s,
                       void (*done)(struct smtpd_sess *s, enum expand_rc rc,
                                    const struct queue_rcpt *rcpts, size_t n));

/* The reply to the client after EXPAND_REFUSED. */
const char *expand_refusal(const struct smtpd_sess *s);

/* ---- what an alias says, for others who follow one ---- */

/* One such address of the virtual alias `from`: "u@d", "u", "@d" (the same user there), complete, with the extension.
 * "": it names nobody. In the command's memory; false: it is no address, or memory is full. */
bool expand_target(struct smtpd_sess *s, struct slice from, struct slice text, struct slice ext,
                   struct slice *out);
/* Does what virtual aliases lead to get the extension of the address they were asked for? */
bool expand_keeps_extension(const struct smtpd_sess *s);

/* Where to deliver: the address as it is written, or, where another way is hidden in it ("user%there@here"), the one it
 * leads to, its local part in the letters it was written in. a->to is known. Memory from mem, or the argument's; p NULL:
 * no memory. */
struct slice expand_destination(struct slice addr, const struct addr_info *a, struct arena *mem);

struct expansion; /* hangs on the transaction, which frees it */
void expand_free(struct expansion **x);

#endif
