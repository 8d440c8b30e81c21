/* proto/imap_id.c - see imap_id.h. */
#include "proto/imap_id.h"

#include "proto/imap.h"

#include <sys/utsname.h>

enum { LOG_VALUE_MAX = 200, LOG_OCTETS_MAX = 2000 };

static enum parse_rc
take_pair(struct slice *in, struct arena *mem, struct imap_id *out, struct err *e)
{
    struct slice key, value;

    if (imap_take_string(in, mem, &key, e) != PARSE_OK || imap_take_sp(in, e) != PARSE_OK ||
        imap_take_nstring(in, mem, &value, e) != PARSE_OK)
        return PARSE_BAD;
    if (out->n == IMAP_ID_PAIRS_MAX || key.n > IMAP_ID_KEY_MAX || value.n > IMAP_ID_VALUE_MAX)
        return err_parse(e, "too long ID");
    out->v[out->n].key = key;
    out->v[out->n++].value = value;
    return PARSE_OK;
}

enum parse_rc
imap_take_id(struct slice *in, struct arena *mem, struct imap_id *out, struct err *e)
{
    out->n = 0;
    if (imap_take_keyword(in, "NIL"))
        return PARSE_OK;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected NIL or '('");
    if (sl_take_char(in, ')'))
        return PARSE_OK;
    do {
        if (take_pair(in, mem, out, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

/* ---- the answer ---- */

static struct slice
known_value(struct slice key, const struct utsname *u)
{
    if (sl_ieqz(key, "name"))
        return SL("Postern");
    if (sl_ieqz(key, "os"))
        return sl_z(u->sysname);
    if (sl_ieqz(key, "os-version"))
        return sl_z(u->release);
    return sl_n(NULL, 0);
}

void
imap_id_add_answer(struct buf *out, struct slice setting)
{
    struct utsname u = { 0 };
    struct slice key, value;
    bool is_first = true;

    uname(&u);
    while (sl_take_word(&setting, " \t\r\n,", &key) && sl_take_word(&setting, " \t\r\n,", &value)) {
        if (sl_eqz(value, "*"))
            value = known_value(key, &u);
        buf_addc(out, is_first ? '(' : ' ');
        imap_add_nstring(out, key);
        buf_addc(out, ' ');
        imap_add_nstring(out, value);
        is_first = false;
    }
    buf_addz(out, is_first ? "NIL" : ")");
}

/* ---- the log ---- */

static bool
is_wanted(struct slice setting, struct slice key)
{
    struct slice word;

    while (sl_take_word(&setting, " \t\r\n,", &word))
        if (sl_eqz(word, "*") || sl_ieq(word, key))
            return true;
    return false;
}

void
imap_id_add_log(struct buf *out, const struct imap_id *id, struct slice setting)
{
    size_t was = out->n;

    for (size_t i = 0; i < id->n && out->n - was < LOG_OCTETS_MAX; i++) {
        if (!is_wanted(setting, id->v[i].key))
            continue;
        if (out->n > was)
            buf_addz(out, ", ");
        imap_add_text(out, id->v[i].key);
        buf_addc(out, '=');
        if (id->v[i].value.p)
            imap_add_text(out, sl_head(id->v[i].value, LOG_VALUE_MAX));
        else
            buf_addz(out, "NIL");
    }
}
