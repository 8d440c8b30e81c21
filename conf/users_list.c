/* conf/users_list.c - see users_list.h. */
#include "conf/users_list.h"

#include "base/fs.h"

enum { USERS_FILE_OCTETS = 1024 * 1024 };

/* 1 the file names the user, 0 not, -1 it says that he may not ("!user"), -2 with e. */
static int
look_into(const char *path, const char *user, struct err *e)
{
    struct buf text = { .max = USERS_FILE_OCTETS };
    struct slice in, line, word;
    int rc = 0;

    if (fs_read_file(path, &text, e) != 0) {
        buf_free(&text);
        return -2;
    }
    in = buf_slice(&text);
    while (rc == 0 && in.n > 0) {
        if (!sl_take_until(&in, '\n', &line)) {
            line = in;
            in = sl_from(in, in.n);
        }
        line = sl_head(line, sl_find_char(line, '#'));
        while (rc == 0 && sl_take_word(&line, ", \t\r", &word)) {
            bool is_not = sl_take_char(&word, '!');

            if (sl_ieqz(word, user))
                rc = is_not ? -1 : 1;
        }
    }
    buf_free(&text);
    return rc;
}

bool
users_list_found(struct conf_list l, size_t at)
{
    return l.v[at - 1][0] != '!';
}

enum users_list_rc
users_list_match(struct conf_list l, const char *user, size_t *at, struct slice *table,
                 struct err *e)
{
    while (*at < l.n) {
        struct slice item = sl_z(l.v[(*at)++]);
        bool is_not = sl_take_char(&item, '!'), is_it = false;

        if (sl_starts(item, '/')) {
            int rc = look_into(item.p, user, e);

            if (rc == -2)
                return USERS_NO;
            is_it = rc != 0;
            is_not ^= rc < 0;
        } else if (sl_has_prefix(item, SL("static:"))) {
            is_it = true;
        } else if (sl_find_char(item, ':') != SL_NPOS) {
            *table = item;
            return USERS_ASK;
        } else {
            is_it = sl_ieqz(item, user);
        }
        if (is_it)
            return is_not ? USERS_NO : USERS_YES;
    }
    return USERS_NO;
}
