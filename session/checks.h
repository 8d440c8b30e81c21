/* session/checks.h - header_checks(5): what a table says of a header field or a line of a message's body, and asking for
 * it. What is then done is the daemon's. Layer: session. Belongs to the loop's thread. */
#ifndef POSTERN_SESSION_CHECKS_H
#define POSTERN_SESSION_CHECKS_H

#include "auth/lookup_client.h"
#include "conf/conf.h"
#include "session/header.h"

enum checks_kind {
    CHECKS_DUNNO, /* and OK */
    CHECKS_BCC,
    CHECKS_DISCARD,
    CHECKS_FILTER,
    CHECKS_HOLD,
    CHECKS_IGNORE,
    CHECKS_INFO,
    CHECKS_PASS,
    CHECKS_PREPEND,
    CHECKS_REDIRECT,
    CHECKS_REJECT,
    CHECKS_REPLACE,
    CHECKS_STRIP,
    CHECKS_WARN,
    CHECKS_UNKNOWN
};
struct checks_action {
    enum checks_kind kind;
    const char *log_word; /* "reject", "warning"; "" for what is not logged */
    struct slice text;    /* what follows the word; in the value */
};
void checks_parse(struct slice value, struct checks_action *out);

enum checks_map {
    CHECKS_HEADER,
    CHECKS_MIME,
    CHECKS_NESTED,
    CHECKS_BODY,
    CHECKS_MAPS,
    CHECKS_NONE = CHECKS_MAPS
};
/* Fields about MIME, and all of a part's header, are CHECKS_MIME. */
enum checks_map checks_map_of(enum header_class class, struct slice name);

/* Which tables are asked. Strings live as long as the configuration. */
struct checks_conf {
    const char *name[CHECKS_MAPS]; /* "mime_header_checks", for messages */
    const char *ask
        [CHECKS_MAPS +
         1]; /* CHECKS_NONE: NULL. the parameter that is asked for: "header_checks" where that is the same; NULL: none */
    uint64_t body_octets; /* body_checks_size_limit of each part; UINT64_MAX: all */
};
/* prefix: "", "smtp_", "lmtp_". False: nothing is to be checked. */
bool checks_conf_init(struct checks_conf *k, const struct conf *c, const char *prefix);

struct checks_item {
    struct slice text; /* of a field: its lines parted by LF; an empty one never matches */
    enum checks_map map;
};
struct checks_ops {
    /* Item i matched. False: the rest is not asked for. */
    bool (*hit)(uint64_t id, size_t i, struct slice value);
    /* Once, last of all. False: a look-up in this map failed. */
    void (*done)(uint64_t id, bool good, enum checks_map map);
};
/* Ask for items, in their order. False: none of them is of a map that is asked: no callback comes. Else callbacks come
 * from the loop, as long as id is known; items and their texts, k and ops live until done, or until id is gone. */
bool checks_start(struct lookup_client *l, const struct checks_conf *k,
                  const struct checks_item *items, size_t n, const struct checks_ops *ops,
                  uint64_t id);

#endif
