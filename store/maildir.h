/* store/maildir.h - Maildir on disk: base names, the info part, folders. Layer: store. Reentrant.
 *
 * A name is BASE or BASE:2,FLAGS; the base ends in ",S=octets" (the file) and ",W=octets" (with CRLF line ends).
 * Line ends on disk are LF, as Dovecot writes them. */
#ifndef POSTERN_STORE_MAILDIR_H
#define POSTERN_STORE_MAILDIR_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum {
    MAILDIR_NAME_MAX = 256, /* a file name with its NUL */
    MAILDIR_IDENT_MAX = 96, /* an encoded delivery ident; longer ones are not looked for */
    MAILDIR_KEYWORD_LETTERS = 26
};
enum { MAILDIR_NEW, MAILDIR_CUR, MAILDIR_TMP };

/* ---- names ---- */
/* A new unique base name: seconds.[Qident_]MusecPpidQcount.host,S=,W=. ident: of maildir_ident(), or "". */
void maildir_base(char out[MAILDIR_NAME_MAX], const char *ident, uint64_t size_octets,
                  uint64_t crlf_octets);
/* Encode a delivery's ident for file names; empty when there is none or it is too long. */
void maildir_ident(struct slice ident, char out[MAILDIR_IDENT_MAX]);
/* The file was delivered under that encoded ident. */
bool maildir_has_ident(const char *name, const char *ident);

struct maildir_name {
    struct slice base; /* up to ":2," */
    struct slice info; /* after ":2,", may be empty */
    bool has_info;
    uint32_t sys;        /* STORE_* from the letters D F R S T */
    uint32_t kw;         /* bit i: letter 'a' + i */
    uint64_t size, crlf; /* S= and W=, UINT64_MAX when absent */
    uint64_t s, us;      /* for the order of arrival: time of the name */
};
/* Slices into name. False: no message (starts with '.', empty). */
bool maildir_parse(const char *name, struct maildir_name *out);
/* BASE:2,FLAGS. Letters that are no flag of ours in `other` (P for passed) are kept. False: longer than NAME_MAX. */
bool maildir_compose(char out[MAILDIR_NAME_MAX], struct slice base, uint32_t sys, uint32_t kw,
                     struct slice other);
/* The letters of info that are neither system flags nor keywords, into out[8]. */
struct slice maildir_other_letters(struct slice info, char out[8]);
/* Order of arrival: by the time in the name, then by name. */
int maildir_name_cmp(const char *a, const char *b);

/* ---- folders ---- */
/* Make dir with cur, new, tmp (0700), whatever of it is absent, durably: every parent made is synced. A subfolder
 * gets Maildir++'s "maildirfolder" file. */
int maildir_make(const char *dir, bool is_subfolder, struct err *e);
/* For several at once: the caller syncs. */
int maildir_make_unsynced(const char *dir, bool is_subfolder, struct err *e);
/* Is a delivery of this encoded ident in new/ or cur/, whole? 1: its path in path (malloc'ed), 0: no, -1: e. */
int maildir_find_ident(const char *dir, const char *ident, char **path, struct err *e);

/* ---- line ends ---- */
/* CRLF to LF, running: *cr says that a CR waits for what follows (start false; maildir_lf_end() adds one left over).
 * crlf: add the size it has with CRLF line ends. */
void maildir_lf(struct buf *out, struct slice in, bool *cr, uint64_t *crlf_octets);
void maildir_lf_end(struct buf *out, bool *cr, uint64_t *crlf_octets);

#endif
