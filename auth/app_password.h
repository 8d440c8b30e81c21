/* auth/app_password.h - app passwords: made here, never chosen, so that a fast digest is enough for keeping them. 120 random
 * bits in base32, shown once as six groups. Layer: auth. Reentrant, no I/O. */
#ifndef POSTERN_AUTH_APP_PASSWORD_H
#define POSTERN_AUTH_APP_PASSWORD_H

#include "base/buf.h"

enum {
    APP_PASSWORD_CHARS = 24, /* of base32, 5 bits each */
    APP_PASSWORD_GROUP = 4,
    APP_PASSWORD_TEXT_OCTETS =
        APP_PASSWORD_CHARS + APP_PASSWORD_CHARS / APP_PASSWORD_GROUP, /* dashes and a NUL */
    APP_PASSWORD_SALT_HEX = 32,
    APP_PASSWORD_DIGEST_HEX = 64,
    APP_PASSWORD_ENTERED_MAX = 64 /* what is longer is none */
};

/* A new one: "abcd-efgh-ijkl-mnop-qrst-uvwx". */
void app_password_make(char out[APP_PASSWORD_TEXT_OCTETS]);
/* What somebody entered, with or without dashes and blanks, in any case: the bare characters. False: it is no app password. */
bool app_password_bare(struct slice entered, char out[APP_PASSWORD_CHARS + 1]);
/* SHA-256 of salt and bare characters; a salt is random hex digits. -1: OpenSSL has none. */
void app_password_salt(char out[APP_PASSWORD_SALT_HEX + 1]);
int app_password_digest(struct slice salt, const char *bare, char out[APP_PASSWORD_DIGEST_HEX + 1]);

/* What an app password may be used for. */
enum {
    APP_IMAP = 1,
    APP_POP3 = 2,
    APP_SMTP = 4,
    APP_ALL = APP_IMAP | APP_POP3 | APP_SMTP,
};
/* "imap,smtp"; white space between is fine. False: a word that is no service, or none at all. */
bool app_services_parse(struct slice text, unsigned *out);
/* Appended: "imap,smtp". */
void app_services_text(unsigned services, struct buf *out);
/* What authd's clients call themselves; submission is smtp. 0: nothing an app password is good for. */
unsigned app_service_of(struct slice name);

#endif
