/* login/login.h - IMAP and POP3 until a user is authenticated: a stranger's octets meet a process that holds no mail and
 * no passwords (design §1). authd decides; then the session goes to imapd or pop3d with authd's cookie, by descriptor
 * when it is plain, and relayed when it is TLS. Layer: login. On the loop. */
#ifndef POSTERN_LOGIN_LOGIN_H
#define POSTERN_LOGIN_LOGIN_H

#include "auth/auth_client.h"
#include "conf/conf.h"
#include "tls/tls.h"

/* By protocol and kind; NULL: no TLS, or nobody's. */
enum { LOGIN_CTX_POP3 = 1, LOGIN_CTX_LEGACY = 2, LOGIN_CONTEXTS = 4 };
struct login_tls {
    struct tls_ctx *v[LOGIN_CONTEXTS];
};

struct login_setup {
    const struct conf *conf;
    struct auth_client *auth;
    struct login_tls tls;
    unsigned imapd_workers; /* at least 1 */
};
/* From now on for new sessions; takes references. */
void login_set(const struct login_setup *s);
void login_forget(void); /* drop the references */

/* service "imap", "imaps", "pop3" or "pop3s"; fd is taken over. */
void login_accept(struct slice service, int fd, const struct addr *peer);

/* fd is a connection of private/login: imapd hands back whom it need not know any more (RFC 8437). Others are turned away. */
void login_serve_back(int fd);

size_t login_count(void); /* sessions: not yet handed over, and relayed */
/* Those that are not authenticated are told goodbye; relayed ones go on. */
void login_drain(void);

/* login_log.c: what is wrong with login_log_format or _elements, in words that stay, and which of them; NULL: nothing. */
const char *login_log_fault(const struct conf *c, const char **param);

/* login_tls.c: the contexts that c and the certificates for "imap" in a bundle make; none without such. -1 with e. */
int login_tls_make(const struct conf *c, const struct tls_bundle *from, struct login_tls *out,
                   struct err *e);
void login_tls_unref(struct login_tls *t);

#endif
