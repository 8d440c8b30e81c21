/* smtpd/transcript.h - what was said in a session, for postmaster: sent at its end when something happened of a class that
 * notify_classes has. Secrets are not in it. Layer: smtpd. */
#ifndef POSTERN_SMTPD_TRANSCRIPT_H
#define POSTERN_SMTPD_TRANSCRIPT_H

#include "smtpd/smtpd.h"

/* Classes of notify_classes that are about sessions. */
enum {
    TRANSCRIPT_BOUNCE = 1,    /* a sender or recipient that does not exist */
    TRANSCRIPT_DATA = 2,      /* a table that cannot be asked */
    TRANSCRIPT_POLICY = 4,    /* refused for what main.cf says */
    TRANSCRIPT_PROTOCOL = 8,  /* what the client says is no SMTP */
    TRANSCRIPT_RESOURCE = 16, /* no room */
    TRANSCRIPT_SOFTWARE = 32  /* main.cf, or we, are wrong */
};
unsigned transcript_classes(const struct conf *c);
/* The class of a reply line; 0: all is well. Pure. */
unsigned transcript_class_of(struct slice reply);

/* smtp_server_def.overheard */
void transcript_overheard(struct smtp_sess *s, bool is_client, struct slice line);
/* A message was taken: what went before is of no interest, unless something happened. */
void transcript_over(struct smtpd_sess *s);
/* The session is. */
void transcript_end(struct smtpd_sess *s);

#endif
