/* proto/smtp_addr.h - mail addresses as an SMTP server meets them: out of a path, made complete, resolved to a domain.
 *
 * Two forms. External: as on the wire, local part quoted where it must be ("\"u 3\"@example.com"). Internal: without
 * quotes and backslashes (u 3@example.com): what tables are asked and log lines show.
 * Paths: RFC 5321 §4.1.2, in the looser RFC 822 grammar that mail really has; source routes are dropped (§4.1.1.3).
 * Layer: proto (base only). Reentrant. Results are in the caller's arena; a full arena counts as a bad address. */
#ifndef POSTERN_PROTO_SMTP_ADDR_H
#define POSTERN_PROTO_SMTP_ADDR_H

#include "base/arena.h"
#include "base/err.h"

enum { SMTP_ADDR_TOKENS_MAX = 2200, SMTP_ADDR_OCTETS_MAX = 2048 };

/* The address in a path word ("<u@d>", or without brackets where not strict). strict: brackets are required and
 * nothing but one address may be there: no comment, no phrase, no second address, no empty local part. *internal is ""
 * for "<>". PARSE_BAD fills e with words for the log. */
enum parse_rc smtp_path_parse(struct slice word, bool is_strict, struct arena *a,
                              struct slice *internal, struct err *e);

/* The external form of an internal one. */
struct slice smtp_addr_quote(struct slice internal, struct arena *a);

/* Local part and domain at the last '@'; domain "" (and true) for "u@", false when there is no '@'. */
bool smtp_addr_split(struct slice internal, struct slice *local, struct slice *domain);

/* How addresses are completed, from main.cf. */
struct smtp_addr_rules {
    struct slice myorigin, mydomain, myhostname;
    struct slice empty_recipient; /* for an address of nothing; empty: MAILER-DAEMON */
    bool append_at_myorigin, append_dot_mydomain, swap_bangpath, allow_percent_hack,
        resolve_dequoted_address, resolve_null_domain, resolve_numeric_domain;
    bool allow_leading_dash; /* else "-x@d" is no good: a program might take it for an option */
    /* Is mail for this domain (or "[literal]") delivered here: 1 yes, 0 no, -1 not known yet: the resolver gives up
     * with SMTP_RESOLVE_ASK, the caller finds out and resolves again. */
    int (*is_local)(void *arg, struct slice domain);
    void *arg;
};

/* Complete form: source route off, "u" becomes "u@myorigin", one final dot off. Internal to internal. */
struct slice smtp_addr_rewrite(const struct smtp_addr_rules *r, struct slice internal,
                               struct arena *a);

enum smtp_resolve_rc { SMTP_RESOLVE_OK, SMTP_RESOLVE_BAD, SMTP_RESOLVE_ASK };
struct smtp_resolved {
    struct slice addr;   /* internal, domain and local part in lower case (ASCII) */
    struct slice domain; /* of addr */
    bool is_local;       /* the domain is one that is_local said yes to */
    bool is_routed; /* the local part has another route inside (@ ! %): nobody's who only relays */
    struct slice ask; /* SMTP_RESOLVE_ASK: the domain in question */
};
/* Rewrite, then take local domains off the right end and follow what is left ("u%d@here" where the hack is allowed,
 * "@here:u@d") until a domain is found that is not here. BAD: the domain is no host name and no address literal. */
enum smtp_resolve_rc smtp_addr_resolve(const struct smtp_addr_rules *r, struct slice internal,
                                       struct arena *a, struct smtp_resolved *out);

#endif
