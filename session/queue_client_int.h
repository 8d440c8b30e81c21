/* session/queue_client_int.h - between queue_client.c (the connection, what is asked over it) and queue_put.c (one message's
 * content on its way to memory or disk). Layer: session, private. */
#ifndef POSTERN_SESSION_QUEUE_CLIENT_INT_H
#define POSTERN_SESSION_QUEUE_CLIENT_INT_H

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"
#include "core/chan.h"
#include "core/loop.h"
#include "core/work.h"
#include "session/queue_client.h"

struct grant {
    uint64_t next, end;
    uint32_t db_bits;
};

struct queue_client {
    char *socket_path, *incoming;
    struct chan *chan;
    struct work_pool *pool;
    struct grant now, spare;
    bool is_asking;      /* a 'G' is out */
    struct list waiting; /* puts ready to send, oldest first */
    struct map *sent;    /* req -> put */
    uint64_t next_req;
    uint64_t retry_ms;
    struct timer retry, resend, look;
    bool has_warned;
    struct map *asks;            /* req -> struct ask */
    uint64_t limit_ms, heard_ms; /* heard_ms: by loop_now_ms(), when qmgr last said something */
    bool is_silent; /* connected, but something had no answer in time and nothing was heard since */
};

enum put_state { PUT_FILLING, PUT_COMMITTING, PUT_ABORTED };

/* On the pool: append what was handed over; with `is_last` sync and close. */
struct spool {
    struct work_job job;
    struct queue_put *put;
    struct buf chunk;
    bool is_open_wanted, is_last;
    struct err err;
};

struct queue_put {
    struct queue_client *q;
    struct list link; /* q->waiting */
    enum put_state state;
    struct buf body; /* in memory, or not yet handed to the pool */
    bool is_file, is_job_running;
    char *path;
    const char *file; /* last part of path */
    int fd;
    struct spool spool;
    size_t spool_octets; /* in the running job */
    uint64_t size;
    uint32_t crc;
    struct err err;
    struct buf env;
    uint64_t req;
    uint64_t since_ms; /* the commit is qmgr's to answer */
    void (*cb)(uint64_t id, int rc, const struct err *e);
    uint64_t cb_id;
    void (*on_ready)(uint64_t id);
    uint64_t on_ready_id;
};

/* ---- queue_client.c ---- */
/* The content is whole: to be sent with the others that wait. */
void client_push_put(struct queue_put *p);
void client_send_waiting(struct queue_client *q);

/* ---- queue_put.c ---- */
void put_free(struct queue_put *p);
void put_answer(struct queue_put *p, int rc, const struct err *e); /* frees it, and calls back */

#endif
