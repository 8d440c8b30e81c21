/* conf/users_list.h - may this user? authorized_submit_users and its kin: names, "!name", "/file", "static:..." and other
 * tables; the first item that matches counts, nobody else may. Layer: conf. Reads files. */
#ifndef POSTERN_CONF_USERS_LIST_H
#define POSTERN_CONF_USERS_LIST_H

#include "conf/conf.h"

enum users_list_rc {
    USERS_NO,
    USERS_YES,
    USERS_ASK /* a table has to be asked: *table; then go on, or take users_list_found() */
};

/* From item *at on (0 at first), which is left behind the item that has decided. A file that cannot be read is nobody's:
 * USERS_NO with e. */
enum users_list_rc users_list_match(struct conf_list l, const char *user, size_t *at,
                                    struct slice *table, struct err *e);
/* The table that was to be asked has the user: may he? */
bool users_list_found(struct conf_list l, size_t at);

#endif
