/* session/queue_space.h - is there room for a message more? Asked before one is taken (smtpd at MAIL, sendmail), and by qmgr
 * before it is written. Layer: session. Reentrant. */
#ifndef POSTERN_SESSION_QUEUE_SPACE_H
#define POSTERN_SESSION_QUEUE_SPACE_H

#include "conf/conf.h"

/* Octets that must stay free: queue_minfree, or one and a half messages of message_size_limit, as in Postfix. */
uint64_t queue_space_least(const struct conf *c);
/* Has the file system of $queue_directory as much, for others than root? True where it cannot be known: the write tells. */
bool queue_space_is_enough(const struct conf *c);

#endif
