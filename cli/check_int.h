/* cli/check_int.h - the parts of `postern check`. Folder-private. */
#ifndef POSTERN_CLI_CHECK_INT_H
#define POSTERN_CLI_CHECK_INT_H

#include "conf/conf.h"

/* cli/check_values.c: words and TLS protocols that are none. */
void check_values(const struct conf *c, struct conf_problems *ps);

/* cli/check_tls.c: certificates, keys, protocols and ciphers of the listeners. */
void check_tls(const struct conf *c, struct conf_problems *ps);

/* cli/check_speakers.c: XCLIENT, XFORWARD and proxies, of all SMTP listeners. */
void check_speakers(const struct conf *c, struct conf_problems *ps);

/* cli/check_manners.c: limits, words, footers and clients' certificates, of all SMTP listeners. */
void check_manners(const struct conf *c, struct conf_problems *ps);

/* cli/check_quota.c: quota, and who is told of it. */
void check_quota(const struct conf *c, struct conf_problems *ps);

/* cli/check_pop3.c: POP3's formats. */
void check_pop3(const struct conf *c, struct conf_problems *ps);

/* cli/check_oauth.c: what tokens are worth. */
void check_oauth(const struct conf *c, struct conf_problems *ps);

/* cli/check_local.c: commands and files out of aliases(5). */
void check_local(const struct conf *c, struct conf_problems *ps);

#endif
