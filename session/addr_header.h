/* session/addr_header.h - the addresses of a message's header, completed and mapped: a stage of session/header.h. Fields that
 * name senders and such that name recipients have plans of their own. Layer: session. Belongs to the loop's thread. */
#ifndef POSTERN_SESSION_ADDR_HEADER_H
#define POSTERN_SESSION_ADDR_HEADER_H

#include "session/addr_map.h"
#include "session/header.h"

enum addr_side { ADDR_SIDE_NONE, ADDR_SIDE_SENDER, ADDR_SIDE_RECIPIENT };
/* Whose addresses a field of this name has, "Resent-" ones too: Postfix's list. */
enum addr_side addr_header_side(struct slice name);

/* Copied; the plans and all strings but the label live as long as the map's owner. */
struct addr_header_how {
    const struct smtp_addr_rules *rules; /* how addresses are completed; NULL: not at all */
    const struct addr_plan *sender, *recipient;
    size_t max_tokens;         /* what is behind them is lost in a field that is written anew */
    const char *ident, *label; /* in log lines, as addr_map.h has them */
};
/* Rewrite the fields of h and end in header_run_next(r). Fields in which nothing changes stay as they are, to the octet;
 * so do the fixed ones, and all of another class than HEADER_PRIMARY. m is held until then; NULL: completing is all. */
void addr_header_run(struct addr_map *m, const struct addr_header_how *how, struct header *h,
                     struct header_run *r);

#endif
