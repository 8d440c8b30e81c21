/* smtpd/tls_setup.h - a listener's smtpd_tls_* parameters as options of its TLS context. Layer: smtpd. Reentrant. */
#ifndef POSTERN_SMTPD_TLS_SETUP_H
#define POSTERN_SMTPD_TLS_SETUP_H

#include "base/buf.h"
#include "conf/conf.h"
#include "tls/tls.h"

/* c: the listener's view. Where TLS is no matter of choice the parameters for mandatory TLS hold. Port 25 (is_mx) gives
 * no session tickets: some large senders break on them. out borrows from c and from excluded, the caller's. */
void smtpd_tls_opts(const struct conf *c, bool is_mx, bool is_wrapper, struct buf *excluded,
                    struct tls_server_opts *out);

#endif
