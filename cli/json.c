/* cli/json.c - JSON strings for the --json outputs (RFC 8259 §7). */
#include "cli/cli.h"

#include "base/utf8.h"

#include <stdio.h>

void
cli_json_string(struct slice s)
{
    putchar('"');
    while (s.n > 0) {
        struct slice before = s;
        int32_t cp = utf8_take(&s);

        if (cp < 0) { /* not UTF-8: each octet as the replacement character */
            fputs("\\ufffd", stdout);
            s = sl_from(s, 1);
        } else if (cp == '"' || cp == '\\') {
            printf("\\%c", (int)cp);
        } else if (cp < 0x20 || cp == 0x7f) {
            printf("\\u%04x", (unsigned)cp);
        } else {
            fwrite(before.p, 1, before.n - s.n, stdout);
        }
    }
    putchar('"');
}
