/* oauth/server.h - private/oauth: authd asks what tokens are worth (auth/oauth_client.h has the words). On the loop.
 * Layer: oauth. */
#ifndef POSTERN_OAUTH_SERVER_H
#define POSTERN_OAUTH_SERVER_H

void oauth_serve(int fd);
/* Nobody is served any more: connections end, authd asks no more here. */
void oauth_serve_end(void);

#endif
