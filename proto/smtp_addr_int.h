/* proto/smtp_addr_int.h - addresses as lists of tokens, for the files of proto that look into them. Folder-private. */
#ifndef POSTERN_PROTO_SMTP_ADDR_INT_H
#define POSTERN_PROTO_SMTP_ADDR_INT_H

#include "proto/smtp_addr.h"

enum { T_ATOM = 256, T_QUOTED, T_LITERAL, T_COMMENT }; /* below: the operator's own octet */

struct tok {
    int type;
    struct slice s; /* text without quotes and backslashes; comments with their parentheses */
};
struct toks {
    struct tok *v;
    size_t from, n; /* the list is v[from .. n) */
    size_t cap;
    struct arena *a;
};

bool smtp_toks_init(struct toks *t, size_t cap, struct arena *a);
bool smtp_toks_add(struct toks *t, int type, struct slice s);
/* Append the tokens of a text. False: no room; what fitted is there. */
bool smtp_toks_scan(struct toks *t, struct slice text);
/* Internal form of v[from .. to). */
struct slice smtp_toks_text(const struct toks *t, size_t from, size_t to);
/* Complete the address that the list is, in place. */
bool smtp_toks_rewrite(const struct smtp_addr_rules *r, struct toks *t);

#endif
