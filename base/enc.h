/* base/enc.h - base64, hex and xtext: octets to text and back. Layer: base. Reentrant. */
#ifndef POSTERN_BASE_ENC_H
#define POSTERN_BASE_ENC_H

#include "base/buf.h"

/* RFC 4648 §4. Decoding is strict: padding required, nothing after it, no white space. -1 on bad input
 * (out is left as it was, without memory when it held none) or when out's max is exceeded. */
int enc_b64(struct buf *out, struct slice in);
int enc_b64_decode(struct buf *out, struct slice in);

/* RFC 4648 §5, without padding, as RFC 7515 §2 has it; the same about bad input. */
int enc_b64url_decode(struct buf *out, struct slice in);

int enc_hex(struct buf *out, struct slice in); /* lower case */
int enc_hex_decode(struct buf *out, struct slice in);

/* xtext, RFC 3461 §4. */
int enc_xtext(struct buf *out, struct slice in);
int enc_xtext_decode(struct buf *out, struct slice in);

/* CRC-32 (zlib's), running: start with 0. */
uint32_t enc_crc32(uint32_t crc, const void *p, size_t n);

#endif
