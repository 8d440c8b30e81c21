/* store/quota_test.h - what the tests of quota share: a user with quota, deliveries that are waited for, and the sum of his
 * files. Tests only. */
#ifndef POSTERN_STORE_QUOTA_TEST_H
#define POSTERN_STORE_QUOTA_TEST_H

#include "store/store_test.h"

#include "store/deliver.h"

#include <dirent.h>

#define USER "bob@example.org"

static struct deliverer *dl;
static int n_answers, n_refused;
static struct err last;

/* setup() with these lines more in the configuration. */
__attribute__((unused)) static void
setup_quota(const char *lines)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };

    setup();
    conf_unref(&conf);
    buf_addf(&text,
             "mail_location = maildir:%s/%%d/%%n\nqueue_directory = %s\nauto_mailboxes =\n%s\n",
             base, base, lines);
    conf = conf_parse(buf_slice(&text), "test", &ps);
    BUG_ON(conf == NULL);
    buf_free(&text);
    dl = NULL;
    n_answers = n_refused = 0;
    memset(&last, 0, sizeof last);
}

__attribute__((unused)) static void
start(void)
{
    BUG_ON(deliverer_new(conf, &dl, &e));
    open_store();
}

__attribute__((unused)) static void
finish(void)
{
    deliverer_free(&dl);
    close_store();
    turn(1);
}

__attribute__((unused)) static void
end(void)
{
    finish();
    conf_unref(&conf);
    fs_remove_tree(base, NULL);
}

__attribute__((unused)) static void
on_done(uint64_t id, int rc, const struct err *why)
{
    (void)id;
    n_answers++;
    if (rc) {
        n_refused++;
        last = *why;
    }
    loop_stop();
}

__attribute__((unused)) static void
too_late(void *arg)
{
    (void)arg;
    FAIL("no answer in time");
    loop_stop();
}

/* One delivery, waited for: true when it was taken. */
__attribute__((unused)) static bool
deliver_as(struct deliver_rcpt r, size_t body)
{
    struct deliver_msg *m = deliver_msg_new(dl);
    int was = n_answers, refused = n_refused;
    struct timer limit = { 0 };

    deliver_msg_write(m, SL("Subject: x\r\n\r\n"));
    for (size_t i = 0; i < body; i++)
        deliver_msg_write(m, SL("x"));
    if (r.user.n == 0)
        r.user = SL(USER);
    deliver(m, &r, on_done, 1);
    deliver_msg_free(&m);
    timer_start(&limit, 20 * 1000, too_late, NULL);
    if (n_answers == was)
        loop_run();
    timer_stop(&limit);
    return n_refused == refused;
}

__attribute__((unused)) static bool
deliver_to(const char *mailbox, size_t body)
{
    return deliver_as((struct deliver_rcpt){ .mailbox = sl_z(mailbox) }, body);
}

struct total {
    int64_t octets, messages;
};

__attribute__((unused)) static void
add_files(const char *dir, struct total *t)
{
    static const char *const parts[] = { "new", "cur" };

    for (int i = 0; i < 2; i++) {
        char *path = path_join(dir, parts[i], NULL);
        DIR *d = opendir(path);
        struct dirent *ent;
        struct stat st_;

        while (d && (ent = readdir(d)) != NULL)
            if (ent->d_name[0] != '.' && fstatat(dirfd(d), ent->d_name, &st_, 0) == 0) {
                t->octets += st_.st_size;
                t->messages++;
            }
        if (d)
            closedir(d);
        free(path);
    }
}

/* All files of the user but those of folder `ignored` (".SPAM"; NULL: none). */
static struct total
sum_of_files(const char *ignored)
{
    struct total t = { 0 };
    DIR *d = opendir(root);
    struct dirent *ent;

    add_files(root, &t);
    while (d && (ent = readdir(d)) != NULL)
        if (ent->d_name[0] == '.' && ent->d_name[1] != '.' && ent->d_name[1] != '\0' &&
            (ignored == NULL || strcmp(ent->d_name, ignored) != 0)) {
            char *path = path_join(root, ent->d_name, NULL);

            add_files(path, &t);
            free(path);
        }
    if (d)
        closedir(d);
    return t;
}

__attribute__((unused)) static void
check_usage(const char *what, const char *ignored)
{
    struct total t = sum_of_files(ignored);
    struct quota_usage u;

    if (quota_usage(st, SL(USER), NULL, &u, &e))
        FAIL("%s: %s", what, e.msg);
    if (u.octets != t.octets || u.messages != t.messages)
        FAIL("%s: usage is %lld octets in %lld messages, the files are %lld in %lld", what,
             (long long)u.octets, (long long)u.messages, (long long)t.octets,
             (long long)t.messages);
}

/* As often as it takes: marks of deliveries are written after the answers. */
__attribute__((unused)) static int64_t
query(const char *sql)
{
    struct quota *q = dl != NULL ? deliverer_store(dl)->quota : st->quota;
    struct db_stmt *s;
    int64_t v = -1;

    BUG_ON(quota_begin(q, false, &e));
    BUG_ON(db_prepare_once(q->db, sl_z(sql), &s, NULL, &e));
    if (db_step(s, &e) == 1)
        v = db_int(s, 0);
    db_stmt_free(&s);
    quota_end(q, false, 0, &e);
    return v;
}

__attribute__((unused)) static void
exec(const char *sql)
{
    struct quota *q = st->quota;

    BUG_ON(quota_begin(q, true, &e));
    if (quota_end(q, true, db_exec(q->db, sql, &e), &e))
        FAIL("%s: %s", sql, e.msg);
}

__attribute__((unused)) static void
wait_marks(void)
{
    for (int i = 0; i < 1000 && query("SELECT count(*) FROM deliveries WHERE is_done = 0") > 0; i++)
        usleep(1000);
}

__attribute__((unused)) static void
scan(const char *mailbox)
{
    struct store_view *v = sel(mailbox);

    store_unselect(&v);
}

/* A scan of all that there is. */
__attribute__((unused)) static void
scan_all(void)
{
    struct store_mailboxes all;

    CHECK_EQ_INT(store_list(us, &all, &e), 0);
    for (size_t i = 0; i < all.n; i++)
        if (!(all.v[i].attrs & STORE_MB_NONEXISTENT))
            scan(all.v[i].name);
    store_mailboxes_free(&all);
}

#endif
