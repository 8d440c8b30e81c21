/* proto/alias_item.h - the value of an alias, and the lines of a file that one includes: aliases(5). Layer: proto.
 * Reentrant. */
#ifndef POSTERN_PROTO_ALIAS_ITEM_H
#define POSTERN_PROTO_ALIAS_ITEM_H

#include "base/arena.h"

enum alias_kind {
    ALIAS_ADDRESS, /* "joe", "joe@example.com", "Joe <joe@example.com>", "\joe" */
    ALIAS_COMMAND, /* "|command args", |"command args" */
    ALIAS_FILE,    /* /file/name, "/file name" */
    ALIAS_INCLUDE  /* :include:/file/name */
};
struct alias_item {
    enum alias_kind kind;
    /* An address as it is written, without phrase, comment and <>: for smtp_path_parse(). Else the command line, the path
     * without what stands before it, quotes taken off. */
    struct slice text;
    bool as_is; /* "\joe": no alias any more */
};
enum alias_rc { ALIAS_END, ALIAS_ITEM, ALIAS_BAD };

/* Longest command line or path. */
enum { ALIAS_TARGET_OCTETS_MAX = 4000 };

/* The next item: between commas, blanks and line ends that are neither in quotes nor in a comment. Steps *in past it.
 * ALIAS_BAD: a quote, comment or < that has no end, a control character in a command or path, one that is too long, or
 * memory is full. text is in mem, or a part of *in. */
enum alias_rc alias_item_take(struct slice *in, struct arena *mem, struct alias_item *out);

#endif
