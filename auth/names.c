/* auth/names.c - see names.h. */
#include "auth/names.h"

static void
add_cased(struct buf *out, struct slice s, char letter_case)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (letter_case == 'L')
            c = sl_lower_char(c);
        else if (letter_case == 'U' && c >= 'a' && c <= 'z')
            c = (char)(c - 32);
        buf_addc(out, c);
    }
}

void
auth_format_name(const char *format, struct slice name, struct buf *out)
{
    size_t at = sl_rfind_char(name, '@');

    for (const char *p = format; *p; p++) {
        char letter_case = '\0';

        if (*p != '%' || p[1] == '\0') {
            buf_addc(out, *p);
            continue;
        }
        p++;
        if ((*p == 'L' || *p == 'U') && p[1])
            letter_case = *p++;
        if (*p == 'u')
            add_cased(out, name, letter_case);
        else if (*p == 'n')
            add_cased(out, sl_head(name, at == SL_NPOS ? name.n : at), letter_case);
        else if (*p == 'd')
            add_cased(out, sl_from(name, at == SL_NPOS ? name.n : at + 1), letter_case);
        else
            buf_addc(out, *p);
    }
}
