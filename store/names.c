/* store/names.c - see names.h. */
#include "store/names.h"

#include "base/utf8.h"

enum {
    FOLDER_MAX_OCTETS = 255 - 16
}; /* NAME_MAX, with room for the name of a folder on its way out */

bool
name_is_inbox(struct slice normal)
{
    return sl_eqz(normal, "INBOX");
}

/* With LAYOUT=fs a level is a folder among others: not the parts of a Maildir, nor what lies beside them. */
bool
name_is_reserved(struct slice level)
{
    static const char *const words[] = { "cur",           "new",         "tmp",
                                         "maildirfolder", "maildirsize", "subscriptions" };
    static const char *const prefixes[] = { "postern-", "dovecot-", "dovecot.", NAMES_GONE_PREFIX };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (sl_eqz(level, words[i]))
            return true;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (sl_has_prefix(level, sl_z(prefixes[i])))
            return true;
    return false;
}

static int
check_fs_level(struct slice level, bool is_first, struct err *e)
{
    if (sl_eqz(level, ".") || sl_eqz(level, ".."))
        return err_set(e, ERR_CLIENT, "Invalid mailbox name: Contains '%.*s' part", SL_ARG(level));
    if (is_first && sl_starts(level, '~'))
        return err_set(e, ERR_CLIENT, "Invalid mailbox name: Begins with '~'");
    if (name_is_reserved(level))
        return err_set(e, ERR_CLIENT, "Invalid mailbox name: Contains reserved name");
    return 0;
}

/* One level of a name. */
static int
check_level(struct slice level, struct err *e)
{
    struct slice at = level;

    if (level.n == 0)
        return err_set(e, ERR_CLIENT, "Invalid mailbox name: an empty level");
    while (at.n > 0) {
        int32_t c = utf8_take(&at);

        if (c < 0)
            return err_set(e, ERR_CLIENT, "Invalid mailbox name: not valid UTF-8");
        if (c < ' ' || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029)
            return err_set(e, ERR_CLIENT,
                           "Invalid mailbox name: control characters are not allowed");
        if (c == '/')
            return err_set(e, ERR_CLIENT, "Invalid mailbox name: '/' is not allowed");
    }
    return 0;
}

int
name_normalise(const struct location *l, struct slice name, struct buf *out, struct err *e)
{
    struct slice rest = name, level;
    unsigned depth = 0;
    size_t was = out->n;

    if (name.n == 0)
        return err_set(e, ERR_CLIENT, "Invalid mailbox name: empty");
    if (name.n > STORE_NAME_MAX_OCTETS)
        return err_set(e, ERR_CLIENT, "Mailbox name too long");
    for (bool is_last = false; !is_last; depth++) {
        if (!sl_take_until(&rest, l->separator, &level)) {
            level = rest;
            is_last = true;
        }
        if (depth == STORE_DEPTH_MAX) {
            buf_truncate(out, was);
            return err_set(e, ERR_CLIENT, "Mailbox name has more than %d levels", STORE_DEPTH_MAX);
        }
        if (check_level(level, e)) {
            buf_truncate(out, was);
            return -1;
        }
        if (l->layout == LAYOUT_FS && check_fs_level(level, depth == 0, e)) {
            buf_truncate(out, was);
            return -1;
        }
        if (depth > 0)
            buf_addc(out, l->separator);
        if (depth == 0 && sl_ieqz(level, "INBOX"))
            level = SL("INBOX");
        buf_adds(out, level);
    }
    return 0;
}

static int
add_on_disk(const struct location *l, struct slice part, struct buf *out, struct err *e)
{
    size_t was = out->n;

    if (l->is_utf8)
        buf_adds(out, part);
    else if (utf8_to_mutf7(out, part))
        return err_set(e, ERR_CLIENT, "Invalid mailbox name: not valid UTF-8");
    if (out->n - was > FOLDER_MAX_OCTETS)
        return err_set(e, ERR_CLIENT, "Mailbox name too long");
    return 0;
}

int
name_to_folder(const struct location *l, struct slice normal, struct buf *out, struct err *e)
{
    size_t was = out->n;
    struct slice level;
    int rc = 0;

    if (name_is_inbox(normal))
        return 0;
    if (l->layout == LAYOUT_MAILDIRPP) {
        buf_addc(out, '.');
        rc = add_on_disk(l, normal, out, e);
    } else {
        while (rc == 0 && sl_take_until(&normal, l->separator, &level)) {
            rc = add_on_disk(l, level, out, e);
            buf_addc(out, '/');
        }
        if (rc == 0)
            rc = add_on_disk(l, normal, out, e);
    }
    if (rc)
        buf_truncate(out, was);
    return rc;
}

/* A folder's name on disk, without the dot of Maildir++, as UTF-8. */
static int
from_disk(const struct location *l, struct slice folder, struct buf *out)
{
    struct slice level;

    if (l->is_utf8) {
        buf_adds(out, folder);
        return 0;
    }
    if (l->layout == LAYOUT_MAILDIRPP)
        return utf8_from_mutf7(out, folder);
    while (sl_take_until(&folder, '/', &level)) {
        if (utf8_from_mutf7(out, level))
            return -1;
        buf_addc(out, '/');
    }
    return utf8_from_mutf7(out, folder);
}

bool
name_from_folder(const struct location *l, struct slice folder, struct buf *out)
{
    struct buf utf8 = { 0 }, again = { 0 };
    struct slice rest = folder;
    bool ok = false;

    if (l->layout == LAYOUT_MAILDIRPP && !sl_take_char(&rest, '.'))
        return false;
    if (rest.n == 0)
        return false;
    /* It is ours only if the way back leads to the same folder: else two names could mean one folder. */
    if (from_disk(l, rest, &utf8) == 0 && name_normalise(l, buf_slice(&utf8), &again, NULL) == 0 &&
        sl_eq(buf_slice(&utf8), buf_slice(&again)) && !name_is_inbox(buf_slice(&again))) {
        buf_reset(&again);
        ok = name_to_folder(l, buf_slice(&utf8), &again, NULL) == 0 &&
             sl_eq(buf_slice(&again), folder);
    }
    if (ok)
        buf_adds(out, buf_slice(&utf8));
    buf_free(&utf8);
    buf_free(&again);
    return ok;
}

struct slice
name_parent(const struct location *l, struct slice normal)
{
    size_t at = sl_rfind_char(normal, l->separator);

    return sl_head(normal, at == SL_NPOS ? 0 : at);
}

bool
name_is_below(const struct location *l, struct slice child, struct slice parent)
{
    return child.n > parent.n && child.p[parent.n] == l->separator && sl_has_prefix(child, parent);
}

unsigned
name_use(struct slice word)
{
    static const struct {
        const char *word;
        unsigned use;
    } uses[] = {
        { "Drafts", STORE_MB_USE_DRAFTS },   { "Sent", STORE_MB_USE_SENT },
        { "Trash", STORE_MB_USE_TRASH },     { "Junk", STORE_MB_USE_JUNK },
        { "All", STORE_MB_USE_ALL },         { "Archive", STORE_MB_USE_ARCHIVE },
        { "Flagged", STORE_MB_USE_FLAGGED },
    };

    sl_take_char(&word, '\\');
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
        if (sl_ieqz(word, uses[i].word))
            return uses[i].use;
    return 0;
}

bool
name_auto(const struct conf *c, size_t i, struct slice *name, unsigned *use)
{
    struct slice row;

    if (i >= c->auto_mailboxes.n)
        return false;
    row = sl_z(c->auto_mailboxes.v[i]);
    *use = 0;
    if (sl_take_until(&row, '=', name))
        *use = name_use(row);
    else
        *name = row;
    return true;
}
