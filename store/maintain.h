/* store/maintain.h - what an operator does to a user's store: look it through, make the index anew, tidy up, hand the mail
 * to a Dovecot and take it back. `postern store` is its only caller. Everything blocks, and is safe while the daemons run:
 * changes are the same transactions as theirs, and other processes' views hear of them. Layer: store. */
#ifndef POSTERN_STORE_MAINTAIN_H
#define POSTERN_STORE_MAINTAIN_H

#include "store/store.h"

#include <stdint.h>

/* Who hears of progress and findings; any function may be NULL. */
struct store_teller {
    /* done of all, in messages of this user */
    void (*progress)(void *arg, uint64_t done, uint64_t all);
    /* A sentence about a mailbox, or about the user where that is empty. */
    void (*note)(void *arg, struct slice mailbox, const char *text);
    void *arg;
};

/* Is there an index (else nobody has opened this user yet)? Opens nothing. ERR_PERM: a user that cannot be. */
int store_has_index(struct store *s, struct slice name, const struct store_userdb *db,
                    bool *has_mail, bool *has_index, struct err *e);

/* ---- check ---- */
struct store_check {
    bool must_fix;
    bool reads_files; /* every message's octets are counted too: slow */
    struct store_teller teller;
    /* what came of it */
    uint64_t mailboxes, messages;
    uint64_t faults, fixed; /* what is wrong, and how much of that was put right */
    uint64_t pending; /* changes of other programs that the index has not seen yet: no fault */
    bool
        is_damaged; /* SQLite's own check failed: only a rebuild helps (and was done when must_fix) */
};
/* The index against the Maildir and against itself. 0 also when there are faults. ERR_TEMP: it changed all the time. */
int store_check(struct store *s, struct slice name, const struct store_userdb *db,
                struct store_check *c, struct err *e);

/* ---- rebuild ---- */
struct store_rebuilt {
    uint64_t mailboxes, messages;
};
/* The index anew from the Maildir, a mailbox a transaction: the same messages, flags, keywords, sizes and dates in the
 * same order, under a larger UIDVALIDITY; POP3 UIDLs stay what clients were told. Of a damaged index only what the Maildir
 * says is left; it is kept as postern-index.db.damaged. */
int store_rebuild(struct store *s, struct slice name, const struct store_userdb *db,
                  const struct store_teller *t, struct store_rebuilt *out, struct err *e);

/* ---- stats ---- */
struct store_mailbox_stats {
    char *name;
    uint64_t messages, unseen, deleted, octets; /* of the files */
    uint64_t cached;   /* messages whose ENVELOPE and structure are in the index */
    uint64_t expunges; /* ranges in the log */
    unsigned keywords;
    uint32_t uidvalidity, uidnext;
    uint64_t highestmodseq;
};
struct store_stats {
    struct store_mailbox_stats *v; /* by name, INBOX first */
    size_t n;
    uint64_t index_octets; /* of the database and its log */
    uint64_t free_octets;  /* of these unused */
};
/* As the index has them, without looking at the Maildir. */
int store_stats(struct store_user *u, struct store_stats *out, struct err *e);
void store_stats_free(struct store_stats *s);

/* ---- purge ---- */
enum {
    STORE_PURGE_EXPUNGES = 1, /* the log of expunges, as far as it is a day old */
    STORE_PURGE_CACHE = 2,    /* cached forms of messages that are gone */
    STORE_PURGE_TMP = 4,      /* files in tmp/ that are older than Maildir's 36 hours */
    STORE_PURGE_DAMAGED = 8,  /* indexes that were put aside */
    STORE_PURGE_VACUUM = 16,  /* unused room in the database goes back to the file system */
    STORE_PURGE_ALL_CACHE = 32
};
struct store_purged {
    uint64_t expunges, cached, tmp_files, damaged_files;
    uint64_t octets; /* that the file system has back */
};
int store_purge(struct store_user *u, unsigned what, struct store_purged *out, struct err *e);

/* ---- to a Dovecot and back ---- */
struct store_exported {
    uint64_t mailboxes, messages;
    uint64_t lost_keywords; /* beyond the 26 that Maildir has letters for */
    uint64_t indexes;       /* files of Dovecot's index that were removed */
};
/* Write dovecot-uidlist, dovecot-keywords, dovecot-uidvalidity and subscriptions of all mailboxes, so that a Dovecot opens
 * the same mail under the same UIDs, and remove Dovecot's own indexes, which it makes again. to NULL: where they belong;
 * the user's state is then "exported": what Dovecot assigns after it is taken over when Postern opens the user again.
 * Else: copies below that folder, laid out like CONTROL=; nothing else changes. */
int store_export_dovecot(struct store_user *u, const char *to, const struct store_teller *t,
                         struct store_exported *out, struct err *e);

struct store_imported {
    uint64_t mailboxes; /* whose uidlist had changed */
    uint64_t messages;  /* that got Dovecot's UID */
    uint64_t reset;     /* mailboxes with a new UIDVALIDITY, since both servers had given UIDs */
};
/* What a Dovecot assigned since the export. must: Dovecot's lists count whatever was exported, and where they contradict
 * the index the mailbox is taken over as at the first time. */
int store_import_dovecot(struct store *s, struct slice name, const struct store_userdb *db,
                         bool must, const struct store_teller *t, struct store_imported *out,
                         struct err *e);

#endif
