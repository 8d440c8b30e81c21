/* auth/auth_server.h - private/auth and private/auth-master: Dovecot's auth protocols, the server's side.
 * Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_AUTH_SERVER_H
#define POSTERN_AUTH_AUTH_SERVER_H

#include "auth/app_uses.h"
#include "auth/backend.h"
#include "auth/cookie.h"
#include "auth/hash_queue.h"
#include "auth/oauth_client.h"
#include "auth/penalty.h"
#include "auth/scram_keeper.h"
#include "core/netlist.h"

/* What the servers share; the daemon owns it and it outlives every connection. */
struct auth_service {
    const struct conf *conf; /* current; replaced by a reload */
    struct backend *backend;
    struct hash_queue *hashes;
    struct cookie_jar *cookies;
    struct oauth_client *oauth; /* NULL: nobody tells what a token is worth */
    struct app_uses *uses;      /* of app passwords; NULL: not kept */
    struct scram_keeper *scram;
    struct penalty *penalty;  /* NULL: failures are late by auth_failure_delay, and not counted */
    struct netlist trusted;   /* login_trusted_networks: whom they send is counted by user */
    unsigned last_connection; /* CUID */
};

/* The cache's and the penalties' limits and the trusted networks as a->conf has them, at first and after a reload. */
void auth_service_set(struct auth_service *a);

/* Take over a connection of private/auth: AUTH, CONT, CANCEL. */
void auth_serve(struct auth_service *a, int fd);
/* Of private/auth-master: REQUEST (redeem a cookie), USER. */
void auth_serve_master(struct auth_service *a, int fd);

#endif
