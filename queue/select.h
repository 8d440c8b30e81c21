/* queue/select.h - which messages of the queue an operator means. Words, all of which must hold:
 *
 *   ID ...                     any of these queue ids
 *   ALL                        every message
 *   sender=PATTERN  from=      envelope sender; <> is the null sender
 *   to=PATTERN  recipient=     a recipient that waits, or what it was before aliases
 *   dest=PATTERN  destination= a recipient's domain, or the next hop of its last try
 *   reason=PATTERN             why a recipient waits
 *   account=PATTERN            login that submitted it
 *   state=active|deferred|hold|expired
 *   age>SPAN  age<SPAN         since its arrival: 90s 5m 2h 3d 1w
 *   size>OCTETS  size<OCTETS   512 20k 3M 1G
 *   NAME!=PATTERN              that does not fit: of recipients, none does
 *
 * In a PATTERN, * is any run of octets; letters' case does not count. A message fits when one of its recipients does, and
 * then all of it is meant. Layer: queue. Reentrant. */
#ifndef POSTERN_QUEUE_SELECT_H
#define POSTERN_QUEUE_SELECT_H

#include "queue/qdb.h"

enum { SELECT_WORDS_MAX = 32, SELECT_IDS_MAX = 1000 };

struct select;

/* words: separated by LF. "" is refused: ALL must be said. -1: e (ERR_CLIENT) says which word. */
int select_parse(struct slice words, struct select **out, struct err *e);
void select_free(struct select **s);

/* The ids that were named (in their order), or none: then every message is to be looked at. */
size_t select_ids(const struct select *s);
const char *select_id(const struct select *s, size_t i, uint64_t *n);

/* Do the conditions hold? The ids are not looked at. now_s: the queue's own clock (queue/qdb_clock.h). A message whose envelope
 * is damaged fits by size, age and state only. */
bool select_fits(const struct select *s, const struct qdb_message *m, int64_t now_s);

/* "a*b" against text. */
bool select_pattern_fits(struct slice pattern, struct slice text);

/* "active", "deferred" or "hold": what the most urgent of its recipients has. */
const char *select_state(const struct qdb_message *m);
bool select_is_expired(const struct qdb_message *m); /* by an operator, not by age */

#endif
