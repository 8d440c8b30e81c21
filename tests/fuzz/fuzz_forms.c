/* Everything that the index keeps of a message, from one parse: bounded, and in the shapes that others rely on. */
#include "base/utf8.h"
#include "mime/mime.h"
#include "store/cache.h"
#include "tests/fuzz/fuzz.h"

static void
check_refs(struct slice refs)
{
    struct slice id;
    size_t n = 0;

    MUST(refs.n <= CACHE_REFS_MAX_OCTETS && !sl_starts(refs, '\n') && !sl_ends(refs, '\n'));
    for (; sl_take_line(&refs, &id); n++)
        MUST(id.n > 0);
    MUST(n <= CACHE_REFS_MAX);
}

/* Whole usual fields, one after the other, and nothing else. */
static void
check_headers(struct slice headers)
{
    struct mime_field f;
    size_t octets = 0;
    struct slice at = headers;

    for (; mime_next_field(&at, &f); octets += f.whole.n)
        MUST(store_caches_field(f.name));
    MUST(octets == headers.n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice message = fuzz_dup(sl_n((const char *)data, n));
    struct forms f;

    forms_compute(message, &f);
    MUST(f.crlf == (int64_t)n);
    MUST(utf8_is_valid(buf_slice(&f.form[FORM_PREVIEW])) && form_is_kept(&f, FORM_PREVIEW));
    for (int i = 0; i < SORT_MESSAGE_ID; i++)
        MUST(f.sort[i].n <= CACHE_KEY_MAX_OCTETS);
    MUST(utf8_is_valid(buf_slice(&f.sort[SORT_SUBJECT])));
    check_refs(buf_slice(&f.sort[SORT_REFS]));
    check_headers(buf_slice(&f.form[FORM_HEADERS]));
    forms_free(&f);
    fuzz_free(message);
    return 0;
}
