/* store/deliver_int.h - the parts of a delivery. Private to deliver*.c.
 *
 * loop: deliver() makes a job (-> a pool's thread, for what is seldom: deliver_prepare.c) -> lane's thread: rounds of { write batch k+1 into tmp/, rename batch k into new/, one
 * sync for both } -> loop: callbacks of batch k. Small messages and large ones have a lane each, so that a large one
 * holds up its like alone. */
#ifndef POSTERN_STORE_DELIVER_INT_H
#define POSTERN_STORE_DELIVER_INT_H

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/work.h"
#include "store/deliver.h"
#include "store/maildir.h"
#include "store/names.h"
#include "store/notify.h"
#include "store/quota_int.h"
#include "store/reserve.h"

#include <pthread.h>
#include <sys/types.h>

enum {
    DELIVER_ROUND_MAX = 64, /* messages written in a round */
    DELIVER_ROUND_MAX_LARGE = 4,
    DELIVER_DEVICES_MAX = 16, /* file systems with a descriptor for syncfs; beyond: fsync */
    DELIVER_SYNC_THREADS = 8
};

/* ---- content (deliver_msg.c) ---- */
struct deliver_msg {
    struct deliverer *d;
    unsigned refs;     /* the owner's and one a job; loop only */
    struct buf mem;    /* LF lines: all of it, or what is not yet in the file */
    struct buf flight; /* being written to the file by `job` */
    bool cr, is_ended, is_writing;
    uint64_t lf_octets, crlf_octets;
    int fd;         /* the file of a large one, or -1 */
    struct err err; /* of the file */
    struct work_job job;
    struct list waiting; /* jobs, until the file is whole */
    void (*on_ready)(uint64_t id);
    uint64_t on_ready_id;
};
void deliver_msg_unref(struct deliver_msg *m);
/* No more content. True when jobs may start; else they wait in m->waiting. */
bool deliver_msg_end(struct deliver_msg *m);

/* ---- one copy ---- */
struct deliver_job {
    struct list link;
    struct deliver_msg *m;
    char *root;
    char *dir;                           /* the Maildir or its folder */
    char *user, *mailbox, *mail, *quota; /* as deliver_rcpt has them */
    char separator;
    bool is_fs;         /* LAYOUT=fs */
    struct buf prepend; /* LF lines */
    uint64_t prepend_crlf;
    char ident[MAILDIR_IDENT_MAX];
    char *flight_key; /* in deliverer.in_flight, or NULL */
    bool may_be_repeat, is_subfolder;
    bool no_create, must_subscribe;
    uint32_t flags; /* any, or letters: the copy goes to cur/ */
    uint32_t letters;
    char **keywords;
    size_t n_keywords;
    void (*on_place)(uint64_t id, const char *mailbox);
    void (*cb)(uint64_t id, int rc, const struct err *e);
    uint64_t id;
    int rc;
    struct err err;
    /* before the lane (deliver_prepare.c) */
    struct work_job prepare;
    bool must_prepare, must_count;
    unsigned n_counts;
    /* quota (deliver_quota.c); rules NULL: nothing is charged */
    struct quota_rules *rules;
    struct quota_limit limit;
    bool ignores_quota;
    int64_t quota_id; /* its row, 0: none */
    struct quota_usage was, now;
    /* the lane's */
    int fd;     /* -1 also for a link: it is another's file */
    int device; /* row of lane.devices, or -1 */
    char base[MAILDIR_NAME_MAX];
    char file[MAILDIR_NAME_MAX]; /* its name in new/ or cur/ */
    char *found;                 /* a repeat: its file */
};
static inline struct deliver_job *
deliver_job_of(struct list *l)
{
    return CONTAINER_OF(l, struct deliver_job, link);
}
static inline const char *
deliver_part(const struct deliver_job *j)
{
    return j->flags != 0 || j->letters != 0 ? "cur" : "new";
}
/* Name, folder and rules of a job by its mailbox's normal name. */
int deliver_place(struct deliver_job *j, const struct location *where, struct slice normal,
                  struct err *e);

/* ---- what needs more than the lane's own (deliver_prepare.c): folders to be made, keywords, users to be counted ---- */
void deliver_prepare(struct deliver_job *j); /* loop; then the lane, or the callback */
/* From a lane: users of these were never counted; the list is emptied. */
void deliver_count_from_thread(struct list *jobs);
/* Loop, later: the job has failed with j->err. */
void deliver_fail_later(struct deliver_job *j);

/* ---- quota of a round (deliver_quota.c); the lane's thread ---- */
struct lane;
/* Before anything is written: who is over his quota goes to failed with rc and err set, who was never counted to
 * uncounted; the others of jobs have their rows. What was settled before is written along. */
void deliver_quota_admit(struct lane *l, struct list *jobs, struct list *failed,
                         struct list *uncounted);
/* A job is answered for: its row is to be marked, or dropped. */
void deliver_quota_settle(struct lane *l, const struct deliver_job *j);
/* Write what is settled, when nothing else is to be done. */
void deliver_quota_idle(struct lane *l);

/* ---- which sync (deliver_sync.c) ---- */
enum sync_how { SYNC_EACH, SYNC_FS };
struct pace { /* for one class of round sizes */
    enum sync_how how;
    double us[2];        /* microseconds a message, smoothed; 0: not known */
    unsigned rounds;     /* since the last trial */
    unsigned trial_left; /* rounds of the other way to go */
    uint64_t next_trial_ms;
};
void pace_init(struct pace *p, enum sync_how how);
enum sync_how pace_choose(struct pace *p, uint64_t now_ms);
void pace_note(struct pace *p, enum sync_how how, double us_per_message);

struct
    syncer; /* threads that fsync side by side, so that the file system can commit them together */
struct syncer *syncer_new(void);
void syncer_free(struct syncer **s);
/* fsync all; -1 with the first error. */
int syncer_run(struct syncer *s, const int *fds, size_t n, struct err *e);

/* ---- rounds (deliver_lane.c) ---- */
enum { LANE_CLASSES = 3 };
struct lane {
    struct deliverer *d;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct list queue; /* under lock */
    bool is_started, must_stop;
    unsigned round_max;
    bool is_large;
    /* the thread's */
    struct pace pace[LANE_CLASSES];
    struct {
        dev_t dev;
        int fd;
    } devices[DELIVER_DEVICES_MAX];
    unsigned n_devices;
    struct syncer *syncer;
    struct {
        int64_t id;
        bool is_done;
    } * settled; /* rows of quota.db, to be written with the next round */
    size_t n_settled, cap_settled;
    int log_fd; /* this round wrote rows: quota.db's log is synced with it; -1: no */
    dev_t log_dev;
};
void lane_init(struct lane *l, struct deliverer *d, bool is_large);
void lane_add(struct lane *l, struct list *jobs); /* loop; takes the whole list */
void lane_stop(struct lane *l);                   /* finishes what is queued */

struct deliverer {
    unsigned refs; /* the owner's, messages' and jobs'; loop only */
    struct conf *conf;
    struct store *store;
    char *spool_dir;
    struct work_pool *pool;
    struct work_pool *prepare_pool; /* NULL: closing */
    struct notifier *notifier;
    struct reserve *reserve;
    struct map *in_flight; /* flight keys; loop only */
    struct lane small, large;
};
void deliverer_unref(struct deliverer *d);
/* From a lane: these are done, rc and err set. The list is emptied. */
void deliver_answer_from_thread(struct list *jobs);
/* The jobs that waited for the content. */
void deliver_start(struct deliver_msg *m);

#endif
