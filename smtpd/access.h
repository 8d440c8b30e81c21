/* smtpd/access.h - access(5): what the right-hand side of a table says, and under which keys something is looked up.
 * The parts without a session. Layer: smtpd (base only). Reentrant. */
#ifndef POSTERN_SMTPD_ACCESS_H
#define POSTERN_SMTPD_ACCESS_H

#include "base/arena.h"

enum { ACCESS_ESC_OCTETS = 12 /* "5.777.777" and NUL */ };

enum access_kind {
    ACCESS_DUNNO,
    ACCESS_OK, /* OK, RELAY, digits alone */
    ACCESS_REJECT,
    ACCESS_DEFER,
    ACCESS_CODE, /* "550 text" */
    ACCESS_DEFER_IF_PERMIT,
    ACCESS_DEFER_IF_REJECT,
    ACCESS_INFO,
    ACCESS_WARN,
    ACCESS_FILTER,
    ACCESS_HOLD,
    ACCESS_DISCARD,
    ACCESS_REDIRECT,
    ACCESS_BCC,
    ACCESS_PREPEND,
    ACCESS_RESTRICTIONS /* none of these: a list of restrictions */
};

struct access_action {
    enum access_kind kind;
    const char *word;            /* "REJECT"; NULL for codes and restrictions */
    int code;                    /* ACCESS_CODE */
    char esc[ACCESS_ESC_OCTETS]; /* those that refuse: what the text began with, or the default */
    struct slice text;           /* after that; "" for none. In the value */
};
void access_action_parse(struct slice value, struct access_action *out);

/* Octets of the enhanced status code (RFC 3463 §2: "5.7.1") that s begins with and that ends there or at a blank; 0: none. */
size_t access_dsn_length(struct slice s);
/* An enhanced code about an address (x.1.y), made fit for what is refused: the sender's own, the recipient's own, or x.0.0
 * where it is no address. esc is changed. True: it was another one. */
bool access_dsn_fix(char esc[ACCESS_ESC_OCTETS], const char *reply_class);

/* ---- keys, most exact first ---- */

struct access_key {
    struct slice key;
    bool is_part; /* tables of patterns are not asked this one */
};
struct access_keys {
    struct access_key *v;
    size_t n;
};

/* A host name: itself, then its parents, "b.c", "c" (parents), or ".b.c", ".c". A numeric address has none. -1: a is full. */
int access_keys_domain(struct slice name, bool with_parents, struct arena *a,
                       struct access_keys *out);
/* "1.2.3.4", "1.2.3", "1.2", "1"; IPv6 by its colons. */
int access_keys_ip(struct slice ip, struct arena *a, struct access_keys *out);
/* A mail address, internal form: user+ext@domain, user@domain, domain and its parents as above, user+ext@, user@. A local
 * part that needs quotes is asked for with them first. ext: octets of the extension, with its delimiter, at the end of
 * the local part. */
int access_keys_mail(struct slice addr, size_t ext, bool with_parents, struct arena *a,
                     struct access_keys *out);

#endif
