/* store/uidl.c - see uidl.h. */
#include "store/uidl.h"

#include "base/mem.h"
#include "store/store_int.h"

#include <stdlib.h>

static int
load(struct store_view *v, struct store_uidls *out, struct err *e)
{
    struct db_stmt *s;
    size_t cap = 0;
    int rc;

    if (db_prepare(v->u->db,
                   "SELECT uid, uidl, uidl_order FROM foreign_ids WHERE mailbox = ?"
                   " AND (uidl IS NOT NULL OR uidl_order IS NOT NULL) ORDER BY uid",
                   &s, e))
        return -1;
    db_bind_int(s, 1, v->mailbox);
    while ((rc = db_step(s, e)) == 1) {
        out->v = mem_grow(out->v, &cap, out->n + 1, sizeof(out->v[0]));
        out->v[out->n++] = (struct store_uidl){
            .uid = (uint32_t)db_int(s, 0),
            .uidl = db_is_null(s, 1) ? NULL : sl_dupz(db_text(s, 1)),
            .order = db_is_null(s, 2) ? UINT32_MAX : (uint32_t)db_int(s, 2),
        };
    }
    return rc;
}

int
store_uidls(struct store_view *v, struct store_uidls *out, struct err *e)
{
    int rc = user_lock(v->u, e);

    memset(out, 0, sizeof(*out));
    if (rc == 0) {
        rc = load(v, out, e);
        user_unlock(v->u);
    }
    if (rc)
        store_uidls_free(out);
    return rc;
}

void
store_uidls_free(struct store_uidls *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i].uidl);
    free(l->v);
    memset(l, 0, sizeof(*l));
}
