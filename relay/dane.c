/* relay/dane.c - TLSA records of a host, as RFC 7672 has them: at the end of its CNAMEs first, then at its own name. */
#include "relay/relay_int.h"

#include "base/mem.h"
#include "core/loop.h"

#include <stdio.h>
#include <stdlib.h>

struct search {
    uint64_t id;
    struct target *t;
    bool is_expanded; /* asked for the end of the CNAMEs */
    void (*cb)(uint64_t id, enum dane_rc rc, const struct dns_answer *a);
    uint64_t cb_id;
};

static void ask(struct search *s);

static void
finish(struct search *s, enum dane_rc rc, const struct dns_answer *a)
{
    id_del(s->id);
    s->cb(s->cb_id, rc, a);
    free(s);
}

static bool
has_usable(const struct dns_answer *a)
{
    for (size_t i = 0; i < a->n; i++) {
        struct tls_tlsa t = { a->rrs[i].usage, a->rrs[i].selector, a->rrs[i].matching,
                              a->rrs[i].text };

        if (tls_tlsa_is_usable(&t))
            return true;
    }
    return false;
}

static void
on_tlsa(uint64_t id, const struct dns_answer *a)
{
    struct search *s = id_get(id);

    if (s == NULL)
        return;
    if (id_get(s->cb_id) == NULL) { /* nobody waits, and the target is gone */
        id_del(s->id);
        free(s);
    } else if (a->rc == DNS_TEMP) {
        finish(s, DANE_TEMP, a);
    } else if (a->rc == DNS_OK && a->is_secure) {
        finish(s, has_usable(a) ? DANE_RECORDS : DANE_ENCRYPT, a);
    } else if (s->is_expanded) {
        s->is_expanded = false;
        snprintf(s->t->tlsa_base, sizeof s->t->tlsa_base, "%s", s->t->host);
        ask(s);
    } else {
        finish(s, DANE_NONE, a);
    }
}

static void
ask(struct search *s)
{
    struct buf name = { 0 };

    buf_addf(&name, "_%u._tcp.%s", addr_port(&s->t->addr), s->t->tlsa_base);
    dns_tlsa(relay_dns, buf_slice(&name), on_tlsa, s->id);
    buf_free(&name);
}

void
dane_find(struct target *t, void (*cb)(uint64_t id, enum dane_rc rc, const struct dns_answer *a),
          uint64_t id)
{
    struct search *s = MEM_NEW(struct search);

    s->id = id_add(s);
    s->t = t;
    s->is_expanded = strcmp(t->tlsa_base, t->host) != 0;
    s->cb = cb;
    s->cb_id = id;
    ask(s);
}
