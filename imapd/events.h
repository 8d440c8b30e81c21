/* imapd/events.h - NOTIFY (RFC 5465): what a session asked to hear of, and what it has not heard yet. cmd_notify.c takes the
 * command, notify_spec.c knows whom it concerns, notify_hear.c collects, notify_tell.c and notify_selected.c tell. The rest of imapd calls what cmd.h has of it. Folder-private.
 *
 * What a session holds for it: this struct, and 32 octets a mailbox to know what its client was told of it. */
#ifndef POSTERN_IMAPD_EVENTS_H
#define POSTERN_IMAPD_EVENTS_H

#include "imapd/fetch.h"

#include "base/map.h"

enum {
    NOTIFY_DELAY_MS = 500,          /* several changes within that are told once, as with Dovecot */
    NOTIFY_TURN_MS = 20,            /* how long telling keeps a thread while others wait */
    NOTIFY_PENDING_MAX = 4096,      /* mailboxes that wait to be told of; more is overflow */
    NOTIFY_ENTRIES_MAX = 16 * 1024, /* octets of a mailbox's annotations that wait */
    NOTIFY_GROUPS_MAX = 100,        /* a command may have */
    NOTIFY_NAMES_MAX = 1000,        /* likewise, in all groups */
    NOTIFY_TEXT_MAX = 128 * 1024,   /* octets of a command */
    NOTIFY_ARENA_OCTETS =
        8 * 1024 * 1024,              /* what a command parses into; one that stays, much less */
    NOTIFY_MAILBOXES_MAX = 20 * 1000, /* whose state is remembered */
    NOTIFY_HUSHED_RANGES_MAX = 1000   /* of UIDs whose flags were not told; of more, all are */
};

/* Events, as bits. */
enum {
    NOTIFY_NEW = 1,
    NOTIFY_EXPUNGE = 2,
    NOTIFY_FLAGS = 4,
    NOTIFY_ANNOTATION = 8, /* not supported */
    NOTIFY_NAME = 16,
    NOTIFY_SUBSCRIPTION = 32,
    NOTIFY_METADATA = 64,
    NOTIFY_SERVER_METADATA = 128,
    NOTIFY_UNKNOWN = 256, /* one of another name */
    NOTIFY_MESSAGES = NOTIFY_NEW | NOTIFY_EXPUNGE | NOTIFY_FLAGS
};

/* ---- notify_spec.c ---- */
enum notify_kind { NOTIFY_PERSONAL, NOTIFY_SUBSCRIBED, NOTIFY_SUBTREE, NOTIFY_MAILBOXES };
struct notify_group {
    enum notify_kind kind;
    unsigned events;     /* 0: NONE */
    struct slice *names; /* SUBTREE, MAILBOXES; after notify_spec_names() as in the store, sorted */
    size_t n_names;
};
struct notify_spec {
    bool is_set;       /* NOTIFY SET, not NONE */
    bool wants_status; /* SET STATUS */
    bool has_selected, is_delayed;
    unsigned selected;             /* events */
    struct imap_fetch_items items; /* of the selected mailbox's MessageNew; n 0: none */
    struct notify_group *groups;
    size_t n_groups;
    unsigned all; /* events of all groups */
};
/* What follows NOTIFY and its space. */
enum parse_rc notify_spec_take(struct slice *in, struct arena *mem, struct notify_spec *out,
                               struct err *e);
/* Names as the store has them, in mem; those that are none are left out. J. */
void notify_spec_names(struct imap_cmd *c, struct arena *mem, struct notify_spec *spec);
/* The events that are asked for of a mailbox. */
unsigned notify_spec_events(const struct notify_spec *spec, char separator, struct slice name,
                            bool is_subscribed);
bool notify_spec_has_subscribed(const struct notify_spec *spec);

/* ---- notify_hear.c ---- */
struct notify_told { /* what the client was told of a mailbox, or knew when it asked */
    uint64_t name_hash;
    uint32_t messages, unseen, uidnext, uidvalidity;
    uint64_t modseq;
};
struct notify_pending { /* a mailbox that something happened to */
    struct list link;   /* in order */
    char *name, *old_name;
    unsigned kinds, mine; /* bits: 1 << enum store_event_kind; what this client did itself */
    struct buf entries;   /* annotations, one a line */
};

struct imap_notify {
    /* J, and the loop's between commands */
    struct buf text; /* what spec points into, as mem */
    struct arena mem;
    struct notify_spec spec;
    struct notify_told *told; /* by hash */
    size_t n_told, cap_told;
    struct { /* messages that this client brought into mailboxes that are not selected */
        uint64_t name_hash;
        uint32_t n;
    } * mine;
    size_t n_mine, cap_mine;
    char *recheck; /* a mailbox that is not selected any more */
    /* of the selected mailbox */
    bool has_box;                     /* what follows is set */
    uint32_t box_exists, box_uidnext; /* as the client was told */
    struct store_uids hushed;         /* UIDs whose flags changed and were not told */
    struct store_uids own;            /* UIDs that this client brought in itself */
    struct store_uids fetch;          /* UIDs of new messages to tell items of */
    bool is_over;                     /* overflow: as after NOTIFY NONE */
    /* loop */
    uint64_t session;               /* its id */
    struct store_user_watch *watch; /* NULL: no events of mailboxes are asked for */
    struct list pending;
    struct map *by_name;
    bool is_lost, is_due;
    struct timer delay;
    struct list batch; /* J while a command tells it */
    bool is_batch_lost;
};
struct imap_notify *notify_new(struct imap_sess *s);
void notify_listen(struct imap_notify *n, struct imap_sess *s); /* loop; by its spec */
void notify_free(struct imap_notify **n);                       /* loop; NULL-safe, nulls */
/* What an older one knows of the selected mailbox. J. */
void notify_take_over(struct imap_notify *n, struct imap_notify *old);
/* Remember what is known of a mailbox. J. */
void notify_remember(struct imap_notify *n, struct slice name, const struct store_status *st);
void notify_hear(void *notify, const struct store_event *ev); /* loop: the watch's */
void notify_pending_free(struct list *all);
/* What the client knows of a mailbox, or NULL; forget that. J. */
struct notify_told *notify_told_get(struct imap_notify *n, struct slice name);
void notify_told_drop(struct imap_notify *n, struct slice name);
/* How many messages the client brought there itself since the last time. J. */
uint32_t notify_take_mine(struct imap_notify *n, struct slice name);

/* ---- notify_tell.c ---- */
extern const struct imap_row imap_row_notify_tell; /* between commands: what is pending */
/* "* STATUS name (...)". items: enum below. J. */
enum {
    ITEM_MESSAGES = 1,
    ITEM_UIDNEXT = 2,
    ITEM_UIDVALIDITY = 4,
    ITEM_UNSEEN = 8,
    ITEM_MODSEQ = 16
};
void notify_add_status(struct imap_cmd *c, struct slice name, const struct store_status *st,
                       unsigned items);

#endif
