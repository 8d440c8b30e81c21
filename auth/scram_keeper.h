/* auth/scram_keeper.h - verifiers made of passwords that were just found right, on a thread of their own and one after the
 * other, then written to the users' database; and the ones made up for who has none. Making one is nobody's to wait for:
 * where many come at once the rest is made at their next login. Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_SCRAM_KEEPER_H
#define POSTERN_AUTH_SCRAM_KEEPER_H

#include "auth/backend.h"
#include "auth/scram.h"

enum {
    SCRAM_KEEP_WAITING_MAX = 64,
    /* After one could not be written: a database that authd may only read stays so. */
    SCRAM_KEEP_PAUSE_MS = 10 * 60 * 1000,
    SCRAM_KEEP_BUSY_MS = 5 * 1000 /* after another's lock */
};

struct scram_keeper;
/* Of verifiers made now, as auth_scram_iterations has it; 0: none are to be kept. */
uint32_t scram_iterations(const struct conf *c);

/* secret_path: of the secret behind what is made up, made when absent. Without it those change with each start, which tells
 * who has a verifier; a warning. Blocks. Jobs go to b. */
struct scram_keeper *scram_keeper_new(const char *secret_path, struct backend *b);
/* Right after the backend: what is being made is not written any more. NULL-safe. */
void scram_keeper_free(struct scram_keeper **k);

/* The password is right for the stored text: keep a verifier. All is copied, and wiped. */
void scram_keep(struct scram_keeper *k, struct slice email, struct slice stored,
                struct slice password, uint32_t iterations);
/* Of who has none. The same for all spellings of a name that users_find() takes for the same: strangers have no row that would
 * make them one. */
void scram_keeper_make_up(const struct scram_keeper *k, struct slice user, uint32_t iterations,
                          struct sasl_verifier *out);

#endif
