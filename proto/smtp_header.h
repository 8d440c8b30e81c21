/* proto/smtp_header.h - addresses in header fields (RFC 5322 §3.4, and what is found in their place): completed as
 * envelope addresses are, or replaced. Layer: proto (base only). Reentrant. */
#ifndef POSTERN_PROTO_SMTP_HEADER_H
#define POSTERN_PROTO_SMTP_HEADER_H

#include "base/buf.h"
#include "proto/smtp_addr.h"

/* Words, phrases and comments beside one address; with more, "<address>" alone is left: some receivers have a buffer
 * of 256 octets. */
enum { SMTP_HEADER_BESIDE_OCTETS = 250, SMTP_HEADER_LINE_OCTETS = 70 };

/* A field's value, read: its addresses may be replaced, then it is written anew. All of it lives in the arena. */
struct smtp_header_item;
struct smtp_header {
    struct slice **addrs; /* internal forms, in order */
    size_t n;
    bool is_changed; /* some had to be completed; set by who replaces one */
    bool is_cut;     /* there were more than max_tokens */
    struct smtp_header_item *items;
    struct arena *a;
};

/* value: raw, folded lines parted by LF. r: how addresses are completed; NULL: not at all. What cannot be read is left as
 * it is; what is beyond max_tokens is lost when the field is written. False: no memory. */
bool smtp_header_read(const struct smtp_addr_rules *r, struct slice value, size_t max_tokens,
                      struct arena *a, struct smtp_header *out);
/* "name: " and the value into out, one address after another on lines of SMTP_HEADER_LINE_OCTETS parted by LF, without a
 * white space in front of the lines that continue. *n_stripped counts addresses whose company was too long. */
void smtp_header_write(const struct smtp_header *h, struct slice name, struct buf *out,
                       size_t *n_stripped);

/* Both, for addresses that are only completed. False when none had to be changed: the field should stay as it is. */
bool smtp_header_rewrite(const struct smtp_addr_rules *r, struct slice name, struct slice value,
                         size_t max_tokens, struct arena *a, struct buf *out, size_t *n_stripped);

/* Every address that is in a field's value or in an argument of sendmail(1), in internal form, in order; "<>" is none.
 * False: there was no room for all, those that fitted have been told. */
bool smtp_header_addresses(struct slice value, size_t max_tokens, struct arena *a,
                           void (*each)(void *arg, struct slice internal), void *arg);

#endif
