/* cli/json.c - see json.h. */
#include "cli/json.h"

#include "base/utf8.h"
#include "cli/cli.h"

static bool
is_plain(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || (unsigned char)s.p[i] >= 0x7f || s.p[i] == '"' ||
            s.p[i] == '\\')
            return false;
    return true;
}

void
json_write(FILE *to, struct slice s)
{
    putc('"', to);
    if (s.n > 0 && is_plain(s)) { /* mostly */
        fwrite(s.p, 1, s.n, to);
        s = SL("");
    }
    while (s.n > 0) {
        struct slice before = s;
        int32_t cp = utf8_take(&s);

        if (cp < 0) { /* not UTF-8: each octet as the replacement character */
            fputs("\\ufffd", to);
            s = sl_from(s, 1);
        } else if (cp == '"' || cp == '\\') {
            fprintf(to, "\\%c", (int)cp);
        } else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) {
            fprintf(to, "\\u%04x", (unsigned)cp);
        } else {
            fwrite(before.p, 1, before.n - s.n, to);
        }
    }
    putc('"', to);
}

void
cli_json_string(struct slice s)
{
    json_write(stdout, s);
}
