/* cli/tls_files.c - see tls_files.h. */
#include "cli/tls_files.h"

#include "auth/table.h"
#include "base/fs.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { DAY_S = 86400, DATE_OCTETS = 32 };

/* ---- stamps ---- */

bool
tls_stamp_same(const struct tls_stamp *a, const struct tls_stamp *b)
{
    return a->mtime_s == b->mtime_s && a->mtime_ns == b->mtime_ns && a->ctime_s == b->ctime_s &&
           a->ctime_ns == b->ctime_ns && a->size == b->size && a->inode == b->inode;
}

struct tls_stamp
tls_stamp_of(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return (struct tls_stamp){ 0 };
    return (struct tls_stamp){ st.st_mtim.tv_sec,  st.st_mtim.tv_nsec, st.st_ctim.tv_sec,
                               st.st_ctim.tv_nsec, st.st_size,         st.st_ino };
}

void
tls_item_stamps(const struct tls_item *it, struct tls_stamp *out)
{
    for (size_t i = 0; i < it->n; i++)
        out[i] = tls_stamp_of(it->paths[i]);
}

bool
tls_key_is_open(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && (st.st_mode & (S_IROTH | S_IWOTH));
}

/* ---- one item ---- */

bool
tls_file_has_key(const char *path)
{
    struct buf text = { .max = TLS_PEM_OCTETS };
    struct err e = { 0 };
    bool has = fs_read_file(path, &text, &e) == 0 &&
               sl_find(buf_slice(&text), SL("PRIVATE KEY-----")) != SL_NPOS;

    buf_wipe(&text);
    return has;
}

void
tls_item_add_paths(const struct tls_item *it, struct buf *out)
{
    for (size_t i = 0; i < it->n; i++)
        buf_addf(out, "%s%s", i ? ", " : "", it->paths[i]);
}

static void
item_free(struct tls_item *it)
{
    buf_wipe(&it->pem);
    tls_facts_free(&it->facts);
    for (size_t i = 0; i < it->n; i++)
        free(it->paths[i]);
    free(it->paths);
    free(it->loaded);
    free(it->seen);
    free(it->tried);
    free(it->sni);
    free(it->problem);
    *it = (struct tls_item){ 0 };
}

static int
judge(const struct tls_item *it, const char *host, const struct buf *pem, struct tls_facts *facts,
      struct err *e)
{
    struct tls_store *s;
    int rc;

    if (!it->is_ca)
        return tls_look(buf_slice(pem), host, facts, e);
    s = tls_store_new();
    rc = tls_store_set_ca(s, buf_slice(pem), e);
    tls_store_unref(&s);
    return rc;
}

static int
read_files(const struct tls_item *it, struct buf *out, struct err *e)
{
    for (size_t i = 0; i < it->n; i++) {
        struct buf one = { .max = TLS_PEM_OCTETS };
        int rc = fs_read_file(it->paths[i], &one, e);

        buf_adds(out, buf_slice(&one));
        buf_addc(out, '\n');
        buf_wipe(&one);
        if (rc)
            return -1;
    }
    return 0;
}

int
tls_item_load(struct tls_item *it, const char *host, bool *is_changed, struct err *e)
{
    struct tls_stamp *after = mem_zalloc((it->n + 1) * sizeof *after);
    struct tls_facts facts = { 0 };
    struct buf pem = { 0 };
    int rc;

    tls_item_stamps(it, it->tried);
    rc = read_files(it, &pem, e);
    if (rc == 0) {
        tls_item_stamps(it, after);
        for (size_t i = 0; i < it->n && rc == 0; i++)
            if (!tls_stamp_same(&after[i], &it->tried[i]))
                rc = err_set(e, ERR_TEMP, "%s is being written", it->paths[i]);
    }
    free(after);
    if (rc == 0 && (rc = judge(it, host, &pem, &facts, e)) == 0) {
        *is_changed = !sl_eq(buf_slice(&pem), buf_slice(&it->pem));
        buf_wipe(&it->pem);
        tls_facts_free(&it->facts);
        it->pem = pem;
        it->facts = facts;
        it->expiry_told_unix_s = *is_changed ? 0 : it->expiry_told_unix_s;
        memcpy(it->loaded, it->tried, it->n * sizeof *it->loaded);
        return 0;
    }
    buf_wipe(&pem);
    return rc;
}

/* ---- which there are ---- */

struct tls_item *
tls_set_add(struct tls_set *s, const struct conf *c, const char *param, const char *sni,
            struct slice paths, const char *seps)
{
    struct tls_item *it;
    struct slice word;
    size_t cap = 0, octets;

    s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof *s->v);
    it = &s->v[s->n++];
    *it = (struct tls_item){ .param = param, .sni = sni ? mem_dupz(sni) : NULL };
    while (sl_take_word(&paths, seps, &word)) {
        struct buf path = { 0 };

        sl_take_char(&word, '<'); /* Dovecot writes ssl_cert = </path */
        table_add_path(&path, c, word);
        it->paths = mem_grow(it->paths, &cap, it->n + 1, sizeof *it->paths);
        it->paths[it->n++] = mem_dupz(buf_z(&path));
        buf_free(&path);
    }
    octets = (it->n + 1) * sizeof *it->loaded;
    it->loaded = mem_zalloc(octets);
    it->seen = mem_zalloc(octets);
    it->tried = mem_zalloc(octets);
    return it;
}

/* The parameters behind one set. */
struct source {
    const char *cert_param, *ca_param;
    struct buf pair; /* the certificate's file, its key's, ...: a line each */
    const char *ca;
};

static void
add_pair(struct buf *out, const char *cert, const char *key)
{
    if (cert[0])
        buf_addf(out, "%s\n%s\n", cert, strcmp(cert, key) != 0 ? key : "");
}

static void
smtp_source(const struct conf *c, struct source *s)
{
    *s = (struct source){ .cert_param = "smtpd_tls_cert_file",
                          .ca_param = "smtpd_tls_CAfile",
                          .ca = c->smtpd_tls_ask_ccert || c->smtpd_tls_req_ccert
                                    ? c->smtpd_tls_CAfile
                                    : "" };
    if (c->smtpd_tls_chain_files.n > 0) {
        s->cert_param = "smtpd_tls_chain_files";
        for (size_t i = 0; i < c->smtpd_tls_chain_files.n; i++)
            buf_addf(&s->pair, "%s\n", c->smtpd_tls_chain_files.v[i]);
        return;
    }
    add_pair(&s->pair, c->smtpd_tls_cert_file, c->smtpd_tls_key_file);
    add_pair(&s->pair, c->smtpd_tls_eccert_file, c->smtpd_tls_eckey_file);
}

/* Without a certificate of their own IMAP and POP3 have that of SMTP. */
static void
imap_source(const struct conf *c, struct source *s)
{
    bool is_asking = c->ssl_verify_client_cert || c->auth_ssl_require_client_cert;

    if (c->ssl_cert[0] == '\0') {
        smtp_source(c, s);
    } else {
        *s = (struct source){ .cert_param = "ssl_cert" };
        add_pair(&s->pair, c->ssl_cert, c->ssl_key[0] ? c->ssl_key : c->smtpd_tls_key_file);
    }
    s->ca_param = "ssl_ca";
    s->ca = is_asking ? c->ssl_ca : "";
}

static void
add_set(struct tls_files *f, const struct conf *c, const char *service, const struct source *s)
{
    struct tls_set *set = &f->v[f->n++];
    struct slice ca = sl_z(s->ca);

    set->services = mem_dupz(service);
    if (s->pair.n > 0)
        tls_set_add(set, c, s->cert_param, NULL, buf_slice(&s->pair), "\n");
    if (ca.n > 0)
        tls_set_add(set, c, s->ca_param, NULL, ca, "\n")->is_ca = true;
}

static bool
is_same_set(const struct source *a, const struct source *b)
{
    return sl_eq(buf_slice(&a->pair), buf_slice(&b->pair)) && strcmp(a->ca, b->ca) == 0 &&
           strcmp(a->cert_param, b->cert_param) == 0;
}

/* Services that have the same share a set. */
static void
find_sets(const struct conf *c, struct tls_files *f)
{
    static const char *const services[] = { "smtp", "submission", "submissions",
                                            "imap imaps pop3 pop3s" };
    struct source all[COUNT_OF(services)];
    struct conf *views[COUNT_OF(services)]; /* sources point into them */
    size_t set_of[COUNT_OF(services)];

    for (size_t i = 0; i < COUNT_OF(services); i++) {
        struct conf *view = i == 1 || i == 2 ? conf_for_service(c, services[i]) : conf_ref(c);
        size_t same = 0;

        views[i] = view;
        if (i == 3)
            imap_source(view, &all[i]);
        else
            smtp_source(view, &all[i]);
        while (same < i && !is_same_set(&all[same], &all[i]))
            same++;
        set_of[i] = same < i ? set_of[same] : f->n;
        if (same < i) {
            struct buf b = { 0 };
            struct tls_set *set = &f->v[set_of[i]];

            buf_addf(&b, "%s %s", set->services, services[i]);
            free(set->services);
            set->services = mem_dupz(buf_z(&b));
            buf_free(&b);
        } else {
            add_set(f, view, services[i], &all[i]);
        }
    }
    for (size_t i = 0; i < COUNT_OF(services); i++) {
        buf_free(&all[i].pair);
        conf_unref(&views[i]);
    }
}

void
tls_table_note(struct tls_files *f, const char *path)
{
    f->tables = mem_grow(f->tables, &f->cap_tables, f->n_tables + 1, sizeof *f->tables);
    f->tables[f->n_tables++] =
        (struct tls_table){ .path = mem_dupz(path), .stamp = tls_stamp_of(path) };
}

int
tls_files_find(const struct conf *c, struct tls_files *out, struct conf_problems *ps)
{
    size_t before = ps->errors;

    *out = (struct tls_files){ .n = 0 };
    find_sets(c, out);
    tls_sni_find(c, &out->v[0], out, ps);
    for (size_t i = 1; i < out->n && ps->errors == before; i++) { /* the tables are everybody's */
        struct conf_problems again = { 0 };

        tls_sni_find(c, &out->v[i], NULL, &again);
        conf_problems_free(&again);
    }
    return ps->errors == before ? 0 : -1;
}

/* ---- reading them ---- */

static void
tell(const struct conf *c, const struct tls_item *it, const struct err *e, struct conf_problems *ps)
{
    static const char ways_out[] =
        ": get a certificate (certbot certonly), correct the path, or make "
        "one for a trial with `postern cert self-signed`",
                      until[] = "; until that is mended, who asks for the name is shown the "
                                "certificate that was good before, or the one for everybody";
    struct buf b = { 0 };

    if (it->sni)
        buf_addf(&b, "%s: ", it->sni);
    tls_item_add_paths(it, &b);
    conf_problem_add(ps, it->sni == NULL, conf_file_of(c), conf_line_of(c, it->param),
                     "%s: %s: %s%s", it->param, buf_z(&b), e->msg,
                     it->sni                ? until
                     : e->sys && !it->is_ca ? ways_out
                                            : "");
    buf_free(&b);
}

bool
tls_item_same(const struct tls_item *a, const struct tls_item *b)
{
    bool is_same = a->is_ca == b->is_ca && a->n == b->n && !a->sni == !b->sni &&
                   (!a->sni || strcmp(a->sni, b->sni) == 0);

    for (size_t i = 0; is_same && i < a->n; i++)
        is_same = strcmp(a->paths[i], b->paths[i]) == 0;
    return is_same;
}

/* The first of its kind. */
static const struct tls_item *
find_same(const struct tls_files *f, const struct tls_item *it)
{
    for (size_t i = 0; f && i < f->n; i++)
        for (size_t k = 0; k < f->v[i].n; k++)
            if (tls_item_same(&f->v[i].v[k], it))
                return &f->v[i].v[k];
    return NULL;
}

bool
tls_files_is_repeated(const struct tls_files *f, const struct tls_item *it)
{
    return find_same(f, it) != it;
}

static void
keep(struct tls_item *it, const struct tls_item *old)
{
    it->expiry_told_unix_s = old->expiry_told_unix_s;
    it->was_over = old->was_over;
    if (it->pem.n > 0 || old->pem.n == 0)
        return;
    buf_adds(&it->pem, buf_slice(&old->pem));
    it->facts = old->facts;
    it->facts.names = (struct buf){ 0 };
    buf_adds(&it->facts.names, buf_slice(&old->facts.names));
    memcpy(it->loaded, old->loaded, it->n * sizeof *it->loaded);
}

static void
load_all(struct tls_files *f, const struct conf *c, const struct tls_files *old,
         struct conf_problems *ps)
{
    bool is_changed;

    for (size_t i = 0; i < f->n; i++)
        for (size_t k = 0; k < f->v[i].n; k++) {
            struct tls_item *it = &f->v[i].v[k];
            const struct tls_item *was = find_same(old, it);
            struct err e = { 0 };

            if (tls_item_load(it, c->myhostname, &is_changed, &e)) {
                it->problem = mem_dupz(e.msg);
                it->is_told = ps || (was && was->problem && was->is_told);
                if (ps && !tls_files_is_repeated(f, it))
                    tell(c, it, &e, ps);
            }
            memcpy(it->seen, it->tried, it->n * sizeof *it->seen);
            if (was)
                keep(it, was);
        }
}

int
tls_files_load(struct tls_files *f, const struct conf *c, const struct tls_files *old,
               struct conf_problems *ps)
{
    size_t before = ps->errors;

    load_all(f, c, old, ps);
    return ps->errors == before ? 0 : -1;
}

int
tls_files_renew(struct tls_files *f, const struct conf *c, const struct tls_files *old)
{
    load_all(f, c, old, NULL);
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = 0; k < f->v[i].n; k++)
            if (f->v[i].v[k].pem.n == 0 && !f->v[i].v[k].sni)
                return -1;
    return 0;
}

void
tls_files_free(struct tls_files *f)
{
    for (size_t i = 0; i < f->n; i++) {
        for (size_t k = 0; k < f->v[i].n; k++)
            item_free(&f->v[i].v[k]);
        free(f->v[i].v);
        free(f->v[i].services);
    }
    for (size_t i = 0; i < f->n_tables; i++)
        free(f->tables[i].path);
    free(f->tables);
    *f = (struct tls_files){ .n = 0 };
}

/* ---- expiry ---- */

static const char *
date_of(int64_t unix_s, char out[DATE_OCTETS])
{
    time_t t = (time_t)unix_s;
    struct tm tm;

    if (!gmtime_r(&t, &tm) || strftime(out, DATE_OCTETS, "%Y-%m-%d %H:%M UTC", &tm) == 0)
        out[0] = '\0';
    return out;
}

void
tls_expiry_words(const struct tls_facts *f, int64_t now, struct buf *out, bool *is_over)
{
    int64_t left = f->not_after_unix_s - now;
    char date[DATE_OCTETS];

    *is_over = left < 0 || f->not_before_unix_s > now;
    date_of(left < TLS_EXPIRY_WARN_S ? f->not_after_unix_s : f->not_before_unix_s, date);
    if (left < 0)
        buf_addf(out, "expired %lld days ago (%s): clients refuse it", (long long)(-left / DAY_S),
                 date);
    else if (f->not_before_unix_s > now)
        buf_addf(out, "is not valid before %s: clients refuse it", date);
    else if (left < TLS_EXPIRY_WARN_S)
        buf_addf(out, "expires in %lld days (%s)", (long long)(left / DAY_S), date);
}
