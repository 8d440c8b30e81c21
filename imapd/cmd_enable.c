/* imapd/cmd_enable.c - ENABLE (RFC 5161). What it switches on is on until the session ends, or UNAUTHENTICATE. */
#include "imapd/rows.h"

static const struct {
    const char *name;
    unsigned on; /* IMAP_ON_* */
} extensions[] = {
    { "CONDSTORE", IMAP_ON_CONDSTORE },                 /* RFC 7162 §3.1 */
    { "QRESYNC", IMAP_ON_QRESYNC | IMAP_ON_CONDSTORE }, /* RFC 7162 §3.2.3 */
    { "UTF8=ACCEPT", IMAP_ON_UTF8 },                    /* RFC 6855 §3 */
    { "IMAP4rev2", IMAP_ON_REV2 },                      /* RFC 9051 §6.3.1 */
    { "UIDONLY", IMAP_ON_UIDONLY },                     /* RFC 9586 §3.1 */
};
struct enable_args {
    unsigned asked; /* bit i: extensions[i] */
};

/* 1*(SP capability); what is not known, or cannot be enabled, is passed over (RFC 5161 §3.1). */
enum parse_rc
imap_parse_enable(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct enable_args *a = ARENA_NEW(&c->mem, struct enable_args);
    struct slice word;

    c->args = a;
    do {
        if (imap_take_sp(in, e) != PARSE_OK || imap_take_atom(in, &word, e) != PARSE_OK)
            return PARSE_BAD;
        for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
            if (sl_ieqz(word, extensions[i].name))
                a->asked |= 1U << i;
    } while (in->n > 0);
    return PARSE_OK;
}

/* Told is what was off before (RFC 5161 §3.2): QRESYNC with CONDSTORE on already is news, the other way round is none. */
enum cmd_rc
imap_run_enable(struct imap_cmd *c)
{
    const struct enable_args *a = c->args;
    unsigned was = c->s->enabled, on = 0;
    struct buf told = { 0 };

    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++) {
        if (!(a->asked >> i & 1) || (extensions[i].on & ~was) == 0)
            continue;
        on |= extensions[i].on;
        buf_addf(&told, " %s", extensions[i].name);
    }
    imap_untagged(c, "ENABLED%s", buf_z(&told));
    buf_free(&told);
    imap_enable(c, on);
    imap_reply(c, "OK Enabled.");
    return CMD_DONE;
}
