/* auth/backend.h - the one thread of authd that has the users' database and the tables. Jobs go to it in order; before
 * each, changes of files and databases are looked for. Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_BACKEND_H
#define POSTERN_AUTH_BACKEND_H

#include "auth/table.h"
#include "core/work.h"

struct backend;
/* tables of c; a thread starts with the first job. */
struct backend *backend_new(const struct conf *c);
void backend_free(struct backend **b);
/* Jobs submitted from now on see these tables; running ones end with the old. */
void backend_reload(struct backend *b, const struct conf *c);

/* Embedded, zeroed. run is on the backend's thread with the tables; done on the loop, and may free the job. */
struct backend_job {
    void (*run)(struct backend_job *j, struct table_set *tables);
    void (*done)(struct backend_job *j);
    struct work_job work; /* the backend's from here */
    struct backend *backend;
    struct table_set *tables;
    bool was_changed;
    uint64_t looked_ms;
};
void backend_submit(struct backend *b, struct backend_job *j);

/* A number that changes whenever answers given before may be wrong, and whether it was looked at within TABLE_POLL_MS:
 * only then may an older answer be given again. */
uint64_t backend_generation(const struct backend *b);
bool backend_is_fresh(const struct backend *b);

#endif
