/* auth/secret.c - see secret.h. */
#include "auth/secret.h"

#include "base/enc.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <unistd.h>

enum { SECRET_OCTETS = 32 };

int
secret_make(const char *path, struct err *e)
{
    unsigned char octets[SECRET_OCTETS];
    struct buf text = { 0 }, aside = { 0 };
    int rc;

    rand_octets(octets, sizeof octets);
    enc_b64(&text, sl_n((const char *)octets, sizeof octets));
    buf_addc(&text, '\n');
    buf_addf(&aside, "%s.new", path);
    rc = fs_replace_file(buf_z(&aside), buf_slice(&text), 0600, e);
    if (rc == 0 && link(buf_z(&aside), path) != 0 && errno != EEXIST)
        rc = err_sys(e, "cannot make %s", path);
    if (rc == 0) {
        size_t slash = sl_rfind_char(sl_z(path), '/');

        unlink(buf_z(&aside));
        buf_reset(&aside);
        buf_adds(&aside, sl_head(sl_z(path), slash > 0 ? slash : 1));
        rc = fs_sync_dir(buf_z(&aside), e);
    }
    mem_wipe(octets, sizeof octets);
    buf_wipe(&text);
    buf_free(&aside);
    return rc;
}
