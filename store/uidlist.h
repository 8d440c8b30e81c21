/* store/uidlist.h - the file dovecot-uidlist: which UID each file of a folder has, and what else Dovecot knows of it.
 *
 * Version 3 (Dovecot 1.1 and later): a first line "3 V<uidvalidity> N<uidnext> G<mailbox guid>", then
 * "<uid> [<letter><value> ...] :<base name>", UIDs ascending. Letters of ours: G guid, P POP3 UIDL, O POP3 order, S octets
 * of the file, W octets with CRLF; others are passed over. Lines are appended without the first being rewritten, so N may be
 * behind. Version 1: "1 <uidvalidity> <uidnext>", then "<uid> <base name>". Layer: store. */
#ifndef POSTERN_STORE_UIDLIST_H
#define POSTERN_STORE_UIDLIST_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"

#include <sys/stat.h>

#define UIDLIST_FILE "dovecot-uidlist"
enum { UIDLIST_LINE_MAX = 4096, UIDLIST_LINES_MAX = 20 * 1000 * 1000, UIDLIST_GUID_MAX = 128 };
#define UIDLIST_NUMBER_MAX 0xff000000u /* UIDs and UIDVALIDITYs: room is left for ours above them */

struct uidlist_extra { /* of a message that has any */
    uint32_t uid;
    uint32_t order;          /* UINT32_MAX: none */
    const char *guid, *uidl; /* NULL: none; in the list's arena */
    int64_t size, crlf;      /* -1: none */
};
struct uidlist {
    unsigned version; /* 0: the first line has not come yet */
    uint32_t uidvalidity, uidnext;
    uint32_t last;    /* UID of the line before */
    char guid[33];    /* of the mailbox; "" none */
    struct map *uids; /* base name -> UID, as (void *)(uintptr_t) */
    struct uidlist_extra *v;
    size_t n, cap;
    size_t n_lines, n_bad; /* messages; lines not understood, whose messages get new UIDs */
    struct arena mem;
    struct stat st; /* of the file that was read */
};
/* Take one line without its LF, the first line first. -1 with e (ERR_PERM): that first line is not understood. */
int uidlist_take(struct uidlist *l, struct slice line, struct err *e);
/* The folder that holds it. ERR_NOTFOUND: none there; ERR_PERM: not understood. out: uidlist_free() in any case. */
int uidlist_read(const char *dir, struct uidlist *out, struct err *e);
void uidlist_free(struct uidlist *l);

/* A line of version 3. base: name of the file, its flags are left out; guid and uidl may be NULL, crlf and size -1. */
void uidlist_add_line(struct buf *out, struct slice file, const struct uidlist_extra *x);

#endif
