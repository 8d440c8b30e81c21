/* store/deliver_int.h - the parts of a delivery. Private to deliver*.c.
 *
 * loop: deliver() makes a job -> lane's thread: rounds of { write batch k+1 into tmp/, rename batch k into new/, one
 * sync for both } -> loop: callbacks of batch k. Small messages and large ones have a lane each, so that a large one
 * holds up its like alone. */
#ifndef POSTERN_STORE_DELIVER_INT_H
#define POSTERN_STORE_DELIVER_INT_H

#include "base/list.h"
#include "base/map.h"
#include "core/work.h"
#include "store/deliver.h"
#include "store/maildir.h"
#include "store/notify.h"
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
    char *dir; /* the Maildir or its folder */
    char *user, *mailbox;
    struct buf prepend; /* LF lines */
    uint64_t prepend_crlf;
    char ident[MAILDIR_IDENT_MAX];
    char *flight_key; /* in deliverer.in_flight, or NULL */
    bool may_be_repeat, is_subfolder;
    void (*cb)(uint64_t id, int rc, const struct err *e);
    uint64_t id;
    int rc;
    struct err err;
    /* the lane's */
    int fd;
    int device; /* row of lane.devices, or -1 */
    char base[MAILDIR_NAME_MAX];
    char *found; /* a repeat: its file */
};

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
