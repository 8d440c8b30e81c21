/* proto/smtp_words.h - an SMTP command line cut into words.
 * White space separates; "<...>" and "\"...\"" keep theirs; "TO:" and "FROM:" end a word, so that "MAIL FROM:<a>" is
 * three words as "MAIL FROM: <a>" is (RFC 5321 §4.1.1.2 has no space there, the world has). A NUL ends the line.
 * Layer: proto (base only). Reentrant. */
#ifndef POSTERN_PROTO_SMTP_WORDS_H
#define POSTERN_PROTO_SMTP_WORDS_H

#include "base/slice.h"

enum { SMTP_WORDS_MAX = 64 };

struct smtp_word {
    struct slice s; /* borrowed from the line, with its brackets, quotes and backslashes */
    bool is_open;   /* a bracket or quote was not closed */
};
struct smtp_words {
    struct smtp_word w[SMTP_WORDS_MAX];
    size_t n; /* words of the line; those past SMTP_WORDS_MAX are joined to the last one */
};

void smtp_words_split(struct slice line, struct smtp_words *out);

/* From word i to the end of the last word, as it stands in the line; empty when there is none. */
struct slice smtp_words_rest(const struct smtp_words *w, size_t i);

/* Does the line look like a message header or a known other protocol's request rather than a command? True for
 * "Subject:" and the like: visible ASCII before a colon with nothing between (RFC 5322 §2.2). */
bool smtp_word_is_header(struct slice word);

#endif
