/* imapd/context.h - searches and sorts whose results are kept up to date: RETURN (UPDATE) and CANCELUPDATE, RFC 5267 §4.3.
 * What a context holds: its program, and the UIDs that match. Only messages that came or changed are looked at again, by the
 * sync that tells of them. Folder-private. */
#ifndef POSTERN_IMAPD_CONTEXT_H
#define POSTERN_IMAPD_CONTEXT_H

#include "imapd/esearch.h"

enum {
    IMAP_CONTEXTS_MAX = 10,              /* a session */
    IMAP_CONTEXT_TEXT_OCTETS = 64 * 1024 /* of one's program */
};

struct search_text;
struct search_program;
struct sort_by;
struct imap_context_from {
    const struct search_text *text;
    const struct search_program *program;
    const uint32_t *seqs; /* all results; in order when there is a by */
    size_t n;
    const struct sort_by *by; /* SORT's keys, n_by; NULL: SEARCH */
    size_t n_by;
    bool is_uid;
    struct slice items; /* UPDATE's, as written; n 0: none */
};
/* May the command ask for UPDATE? Not while its tag names another context (§4.3). False: replied. */
bool imap_context_may_be(struct imap_cmd *c, const struct esearch *r);
/* Keep it up to date from now on; NOUPDATE is told where that cannot be (§4.3.1). J. */
void imap_context_new(struct imap_cmd *c, const struct imap_context_from *from);
/* False: no such tag. */
bool imap_context_cancel(struct imap_sess *s, struct slice tag);

/* What a sync tells of contexts. Begun before NOTIFY takes away what its client does not want to hear; NULL: there are none. */
struct imap_contexts_turn;
struct imap_contexts_turn *imap_contexts_begin(struct imap_cmd *c, const struct store_changes *ch);
/* Before EXPUNGE (VANISHED) is told, with numbers as of then. J. */
void imap_contexts_expunged(struct imap_cmd *c, const struct store_changes *ch);
/* After the rest was told. False: hand c->out over, it is others' turn, and call again. t NULL-safe. J. */
bool imap_contexts_changed(struct imap_cmd *c, struct imap_contexts_turn *t);
void imap_contexts_end(struct imap_contexts_turn **t); /* NULL-safe, nulls */
/* Another mailbox, or the end. */
void imap_contexts_free(struct imap_sess *s);

#endif
