/* lmtp/warning_text.h - the message that tells a user how full his mailbox is. Layer: lmtp. */
#ifndef POSTERN_LMTP_WARNING_TEXT_H
#define POSTERN_LMTP_WARNING_TEXT_H

#include "base/buf.h"
#include "conf/conf.h"
#include "store/quota.h"

enum { WARNING_TEMPLATE_OCTETS_MAX = 64 * 1024 };

struct warning_about {
    struct slice user;
    bool is_below;    /* there is room again */
    bool is_messages; /* it is their number, not their size */
    struct quota_usage usage;
};
/* Append the whole message, header and text, CRLF. Blocking: reads the template's file; where that is no good the log says
 * so and the text is our own. */
void warning_text(const struct conf *c, const struct warning_about *w, struct buf *out);

/* Is the file one: fields, of which Subject is one, an empty line, text, and no name in it that is not filled in? For
 * `postern check`. ERR_CONFIG. */
int warning_template_check(const char *path, struct err *e);

#endif
