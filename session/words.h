/* session/words.h - lists of words as smtpd_forbidden_commands has them: names, "!name", "static:rest"
 * (every word), inline patterns ("regexp:{{/^[^A-Z]/ Bogus}}"), and look-up tables that authd answers for. Case does not count. Layer: session. */
#ifndef POSTERN_SESSION_WORDS_H
#define POSTERN_SESSION_WORDS_H

#include "base/err.h"
#include "base/slice.h"
#include "conf/conf.h"

struct words;
/* NULL for an empty list. items are borrowed from the configuration. ERR_CONFIG names param and the item. */
int words_init(struct words **out, const char *param, struct conf_list items, struct err *e);
void words_free(struct words **w); /* NULL-safe */

bool words_has_table(const struct words *w); /* NULL-safe */

enum words_rc { WORDS_NO, WORDS_YES, WORDS_ASK, WORDS_ASK_NOT };
/* The first item from *at on that fits decides; *at is where it stopped. ASK: item *at is a table, *table its text; a word
 * that is in it is in the list (ASK_NOT: is not), else go on with *at + 1. w may be NULL. */
enum words_rc words_match(const struct words *w, struct slice word, size_t *at, const char **table);

#endif
