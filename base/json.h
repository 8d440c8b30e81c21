/* base/json.h - JSON (RFC 8259): reading a text into a tree, strictly and within bounds; writing strings.
 * Layer: base. Reentrant. */
#ifndef POSTERN_BASE_JSON_H
#define POSTERN_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#include <stdio.h>

enum {
    JSON_DEPTH_MAX = 32,
    JSON_MEMBERS_MAX = 256, /* of one object; an array has what the arena holds */
    JSON_NUMBER_OCTETS = 64
};

enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

/* A value. All of it lies in the arena, or in the text that was parsed: both must stay. */
struct json {
    enum json_type type;
    struct slice name; /* of a member: UTF-8, without escapes */
    struct slice
        text; /* string: UTF-8, without escapes, maybe with NULs; number: as it is written */
    const struct json *first, *next; /* of an array or object: its elements, in their order */
};

/* One value and nothing else in the text but white space. ERR_CLIENT, with where, for what RFC 8259 does not allow, and for
 * what it leaves open: no UTF-8, half a surrogate pair, two members of one name, a byte order mark. ERR_LIMIT beyond
 * the bounds above or the arena's cap, which the caller must set. */
int json_parse(struct slice text, struct arena *mem, const struct json **out, struct err *e);

/* The member of an object by its name, NULL: none, or v is no object (or NULL). */
const struct json *json_get(const struct json *v, const char *name);
/* Its text when it is a string, else a slice with p NULL. */
struct slice json_string(const struct json *v, const char *name);
/* A number without fraction and exponent that fits; false for all else, and for v NULL. */
bool json_to_i64(const struct json *v, int64_t *out);
/* Is v that string, or an array in which it is? */
bool json_has_string(const struct json *v, struct slice s);

/* s as a string, in its quotes. What is no UTF-8 comes out as U+FFFD. */
void json_add(struct buf *out, struct slice s);
void json_write(FILE *to, struct slice s);

#endif
