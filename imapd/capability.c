/* imapd/capability.c - what a session is offered, in the order it is told. A name comes in with the code that keeps what it
 * promises. Main.cf, the users' database and what the client says of itself change the list. */
#include "imapd/url.h"

#include "proto/imap_capability.h"

#include <stdlib.h>

static bool
has_quota(const struct imap_sess *s) /* Thunderbird shows a bar for it, so not when there is none */
{
    return s->conf->quota[0] != '\0';
}

static bool
has_compress(const struct imap_sess *s)
{
    return s->conf->imap_compress_deflate_level > 0;
}

static bool
has_metadata(const struct imap_sess *s)
{
    return s->conf->imap_metadata;
}

static bool
has_origin(const struct imap_sess *s)
{
    return s->origin != NULL;
}

static const struct {
    const char *names;
    bool (*is_on)(const struct imap_sess *s); /* NULL: always */
} offered[] = {
    { "IMAP4rev1 IMAP4rev2 SASL-IR LITERAL+ ID ENABLE IDLE NAMESPACE CHILDREN UNSELECT UIDPLUS",
      NULL },
    { "MOVE CONDSTORE QRESYNC UTF8=ACCEPT", NULL },
    { "SPECIAL-USE CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE OBJECTID XLIST", NULL },
    { "METADATA LIST-METADATA", has_metadata },
    { "PREVIEW SNIPPET=FUZZY SAVEDATE PARTIAL", NULL },
    { "SORT SORT=DISPLAY THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS I18NLEVEL=1", NULL },
    { "ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH CONTEXT=SORT MULTISEARCH INPROGRESS", NULL },
    { "NOTIFY", NULL },
    { "MULTIAPPEND CATENATE URL-PARTIAL BINARY REPLACE", NULL },
    { "COMPRESS=DEFLATE", has_compress },
    { "UNAUTHENTICATE", has_origin },
    { "URLAUTH URLAUTH=BINARY", imap_has_urlauth },
    { "QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE", has_quota },
    /* Not UIDONLY: Outlook breaks where it is offered. It works, and imap_capability = +UIDONLY tells of it. */
};

void
imap_add_capabilities(const struct imap_sess *s, struct buf *out)
{
    struct buf list = { 0 };

    for (size_t i = 0; i < sizeof offered / sizeof *offered; i++)
        if (!offered[i].is_on || offered[i].is_on(s))
            buf_addf(&list, "%s%s", list.n > 0 ? " " : "", offered[i].names);
    buf_addf(&list, " APPENDLIMIT=%lld", (long long)s->conf->imap_max_append_size);
    imap_add_limit_capability(s->conf, &list);
    imap_capability_apply(&list, sl_z(s->conf->imap_capability));
    imap_capability_apply(&list, sl_z(s->capability));
    imap_capability_apply(&list, sl_z(s->id_capability));
    buf_adds(out, buf_slice(&list));
    buf_free(&list);
}

bool
imap_is_literal_minus(const struct imap_sess *s)
{
    struct buf list = { 0 };
    bool is;

    imap_add_capabilities(s, &list);
    is = imap_capability_has(buf_slice(&list), "LITERAL-") &&
         !imap_capability_has(buf_slice(&list), "LITERAL+");
    buf_free(&list);
    return is;
}

void
imap_note_id(struct imap_sess *s, const struct imap_id *id)
{
    struct buf setting = { 0 };

    imap_capability_by_id(sl_z(s->conf->imap_id_capability), id, &setting);
    free(s->id_capability);
    s->id_capability = setting.n > 0 ? sl_dupz(buf_slice(&setting)) : NULL;
    buf_free(&setting);
    s->is_literal_minus = imap_is_literal_minus(s);
}
