/* main.cf. */
#include "conf/conf.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice text = fuzz_dup(sl_n((const char *)data, n));
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(text, "main.cf", &ps), *view;

    MUST((c == NULL) == (ps.errors > 0));
    if (c != NULL) {
        static const char *const names[] = { "mydestination", "smtpd_recipient_restrictions", "a",
                                             "b" };

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            free(conf_value_text(c, names[i], false));
            conf_user_value(c, names[i]);
            conf_line_of(c, names[i]);
        }
        view = conf_for_service(c, "submission");
        conf_unref(&view);
        conf_unref(&c);
    }
    conf_problems_free(&ps);
    fuzz_free(text);
    return 0;
}
