/* imapd/capability.c - what a session is offered, in the order it is told. A name comes in with the code that keeps what it
 * promises. */
#include "imapd/imapd.h"

static const char names[] =
    "IMAP4rev1 SASL-IR LITERAL+ ID ENABLE IDLE NAMESPACE CHILDREN UNSELECT UIDPLUS MOVE "
    "SPECIAL-USE PREVIEW SORT SORT=DISPLAY THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS";

void
imap_add_capabilities(const struct imap_sess *s, struct buf *out)
{
    buf_addz(out, names);
    if (s->conf->quota[0] != '\0') /* Thunderbird shows a bar for it, so not when there is none */
        buf_addz(out, " QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE");
}
