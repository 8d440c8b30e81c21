/* proto/imap.h - IMAP's tokens: atoms, strings, literals, sets, flags, FETCH items; and writing strings.
 * Grammar: RFC 3501 §9, literals also RFC 7888. Input is one whole command as imapd/reader.c frames it: literals stand in
 * place, "{n}" CRLF and n octets; elsewhere there is no CR, LF or NUL.
 * Takers step *in past what they took; on failure *in stays where the token begins, so its distance from the
 * command's start is the position that BAD tells. Slices point into the input, or into the arena where quotes had
 * to be undone. Layer: proto (base only). Reentrant. */
#ifndef POSTERN_PROTO_IMAP_H
#define POSTERN_PROTO_IMAP_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

enum {
    IMAP_TAG_MAX_OCTETS = 128,
    IMAP_LIST_MAX = 10000 /* elements of any one list */
};

/* ---- tokens ---- */
bool imap_is_atom_char(char c);
enum parse_rc imap_take_tag(struct slice *in, struct slice *tag, struct err *e);
enum parse_rc imap_take_sp(struct slice *in, struct err *e);  /* one space */
enum parse_rc imap_take_end(struct slice *in, struct err *e); /* nothing may follow */
enum parse_rc imap_take_atom(struct slice *in, struct slice *out, struct err *e);
/* Quoted or literal. */
enum parse_rc imap_take_string(struct slice *in, struct arena *mem, struct slice *out,
                               struct err *e);
/* Atom (']' too) or string. */
enum parse_rc imap_take_astring(struct slice *in, struct arena *mem, struct slice *out,
                                struct err *e);
/* As astring, with wildcards '%' and '*' (list-mailbox). */
enum parse_rc imap_take_list_mailbox(struct slice *in, struct arena *mem, struct slice *out,
                                     struct err *e);
/* String, or NIL (out->p NULL). */
enum parse_rc imap_take_nstring(struct slice *in, struct arena *mem, struct slice *out,
                                struct err *e);
/* The same, or a literal8 (RFC 3516 §4.3), which may hold NULs: for rows that are IF_LITERAL8. */
enum parse_rc imap_take_nstring8(struct slice *in, struct arena *mem, struct slice *out,
                                 struct err *e);
/* A number, at most max. */
enum parse_rc imap_take_number(struct slice *in, uint64_t max, uint64_t *out, struct err *e);
/* Take the word when it stands there, without ASCII case, and no atom character follows it. */
bool imap_take_keyword(struct slice *in, const char *word);

/* "{n}", "{n+}" or "~{n}" at the end of a line: its size. *at: offset where the brace (or '~') begins. False: the
 * line ends otherwise. The caller knows that the end of the line is not inside quotes. */
bool imap_line_literal(struct slice line, uint64_t *octets, bool *is_sync, size_t *at);
/* Whether the end of a line lies inside a quoted string. */
bool imap_line_ends_quoted(struct slice line);

/* ---- sequence sets ---- */
enum { IMAP_STAR = 0 }; /* '*' in a range; no number is 0 */
struct imap_range {
    uint32_t first, last; /* as written: in either order */
};
struct imap_set {
    struct imap_range *v; /* in the arena */
    size_t n;
    bool is_saved; /* "$", what a SEARCH has saved (RFC 5182 §2.2, RFC 9051 §6.4.4.1); n is 0 */
};
enum parse_rc imap_take_set(struct slice *in, struct arena *mem, struct imap_set *out,
                            struct err *e);

/* ---- flags ---- */
enum { /* the values of STORE_SEEN and so on */
       IMAP_SEEN = 1,
       IMAP_ANSWERED = 2,
       IMAP_FLAGGED = 4,
       IMAP_DELETED = 8,
       IMAP_DRAFT = 16,
       IMAP_RECENT = 32
};
struct imap_flags {
    uint32_t sys;
    struct slice *keywords; /* in the arena */
    size_t n_keywords;
};
/* "(" flags ")", or without the parentheses when bare is allowed (STORE). \Recent and unknown system flags are BAD. */
enum parse_rc imap_take_flags(struct slice *in, bool is_bare_allowed, struct arena *mem,
                              struct imap_flags *out, struct err *e);
/* Append the names of sys, with a space before each but the first thing after mark. */
void imap_add_sys_flags(struct buf *out, uint32_t sys, bool *is_first);

/* ---- FETCH items (imap_fetch.c) ---- */
enum imap_fetch_kind {
    IMAP_FETCH_UID,
    IMAP_FETCH_FLAGS,
    IMAP_FETCH_INTERNALDATE,
    IMAP_FETCH_SIZE,
    IMAP_FETCH_ENVELOPE,
    IMAP_FETCH_BODY, /* the structure without extensions */
    IMAP_FETCH_BODYSTRUCTURE,
    IMAP_FETCH_SECTION, /* BODY[...] */
    IMAP_FETCH_RFC822,
    IMAP_FETCH_RFC822_HEADER,
    IMAP_FETCH_RFC822_TEXT,
    IMAP_FETCH_PREVIEW, /* RFC 8970; LAZY or not */
    IMAP_FETCH_EMAILID, /* RFC 8474 §5 */
    IMAP_FETCH_THREADID,
    IMAP_FETCH_BINARY,      /* RFC 3516: a section without text */
    IMAP_FETCH_BINARY_SIZE, /* the same */
    IMAP_FETCH_SNIPPET,     /* what PREVIEW was called before: (FUZZY) */
    IMAP_FETCH_SAVEDATE,    /* RFC 8514 */
    IMAP_FETCH_MODSEQ       /* RFC 7162 §3.1.5 */
};
enum imap_section_text {
    IMAP_SECTION_ALL, /* BODY[] and BODY[1] */
    IMAP_SECTION_HEADER,
    IMAP_SECTION_FIELDS,
    IMAP_SECTION_FIELDS_NOT,
    IMAP_SECTION_TEXT,
    IMAP_SECTION_MIME
};
enum { IMAP_PART_DEPTH_MAX = 100, IMAP_FETCH_ITEMS_MAX = 1000 };
struct imap_fetch_item {
    enum imap_fetch_kind kind;
    enum imap_section_text text; /* IMAP_FETCH_SECTION only; all below also of the BINARY ones */
    uint32_t *part;              /* part numbers; none: the message */
    size_t n_part;
    struct slice *fields;
    size_t n_fields;
    bool is_peek;    /* does not set \Seen */
    bool is_lazy;    /* PREVIEW: none rather than a slow one */
    bool is_partial; /* <first.count> */
    uint64_t first, count;
    struct slice label; /* what the answer calls it: BODY[1.HEADER.FIELDS (SUBJECT)]<0> */
};
struct imap_fetch_items {
    struct imap_fetch_item *v; /* in the arena; each thing once */
    size_t n;
};
/* fetch-att, macro, or a list of fetch-att (RFC 3501 §6.4.5). */
enum parse_rc imap_take_fetch_items(struct slice *in, struct arena *mem,
                                    struct imap_fetch_items *out, struct err *e);
/* Put UID in front unless it is there; MODSEQ at the end. -1: the arena is full. */
int imap_fetch_want_uid(struct imap_fetch_items *items, struct arena *mem);
int imap_fetch_want_modseq(struct imap_fetch_items *items, struct arena *mem);
/* What stands between the brackets of BODY[...]: "1.2.MIME", "HEADER.FIELDS (TO)"; nothing is all of it. Into the fields of
 * section and text of *it. */
enum parse_rc imap_take_section(struct slice *in, struct arena *mem, struct imap_fetch_item *it,
                                struct err *e);

/* ---- writing ---- */
/* A string: quoted when it can be, else a literal. p NULL: NIL. */
void imap_add_nstring(struct buf *out, struct slice s);
/* An astring: bare when it can be. */
void imap_add_astring(struct buf *out, struct slice s);
/* The same for who takes UTF-8 in quotes (RFC 9051 §9, RFC 6855 §3). */
void imap_add_utf8_astring(struct buf *out, struct slice s);
/* Text of a response, after any code: control octets become '?'. */
void imap_add_text(struct buf *out, struct slice s);
/* "1:3,5": numbers ascending. */
void imap_add_number_set(struct buf *out, const uint32_t *v, size_t n);

#endif
