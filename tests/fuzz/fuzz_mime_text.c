/* What people read of a message and what it is sorted by: HTML, previews, base subjects, names, message ids, charsets. */
#include "base/utf8.h"
#include "mime/text.h"
#include "tests/fuzz/fuzz.h"

static void
try_html(struct slice in, size_t max)
{
    struct buf out = { 0 };

    buf_addz(&out, "before");
    mime_html_to_text(in, max, &out);
    MUST(utf8_is_valid(buf_slice(&out)));
    MUST(max == 0 || out.n <= strlen("before") + max + 4); /* a blank and a character */
    MUST(sl_find(buf_slice(&out), SL("\n\n")) == SL_NPOS &&
         sl_find(buf_slice(&out), SL("  ")) == SL_NPOS);
    buf_free(&out);
    mime_html_charset(in);
}

static void
try_subject(struct slice in)
{
    struct buf out = { 0 }, again = { 0 };

    mime_base_subject(in, &out);
    MUST(utf8_is_valid(buf_slice(&out)));
    /* What is off stays off; encoded words within encoded words apart. */
    if (sl_find(buf_slice(&out), SL("=?")) == SL_NPOS && out.n < MIME_SUBJECT_MAX_OCTETS) {
        MUST(!mime_base_subject(out.n > 0 ? buf_slice(&out) : SL(""), &again));
        MUST(sl_eq(buf_slice(&out), buf_slice(&again)));
    }
    buf_free(&out);
    buf_free(&again);
}

static void
try_ids(struct slice in)
{
    struct buf id = { 0 };

    for (size_t left = in.n + 1; mime_next_message_id(&in, &id); left = in.n) {
        MUST(in.n < left);
        MUST(id.n > 0 && sl_find_char(buf_slice(&id), '<') == SL_NPOS &&
             sl_find_char(buf_slice(&id), '\n') == SL_NPOS);
    }
    buf_free(&id);
}

static void
try_charset(struct slice in)
{
    struct slice name;
    struct buf out = { 0 };

    if (sl_take_line(&in, &name) && mime_to_utf8(name, in, &out) == 0)
        MUST(utf8_is_valid(buf_slice(&out)));
    buf_free(&out);
}

static void
try_preview(struct slice in)
{
    struct arena mem = { 0 };
    struct buf out = { 0 };
    struct slice at;
    size_t n = 0;

    mime_preview(mime_parse(in, &mem), &out);
    for (at = buf_slice(&out); at.n > 0; n++)
        MUST(utf8_take(&at) >= ' ');
    MUST(n <= MIME_PREVIEW_CHARS);
    buf_free(&out);
    arena_free(&mem);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), copy;
    unsigned choice = fuzz_choice(&in);
    struct buf out = { 0 };

    copy = fuzz_dup(in);
    switch (choice % 6) {
    case 0:
        try_html(copy, choice);
        try_html(copy, 0);
        break;
    case 1:
        try_subject(copy);
        break;
    case 2:
        try_ids(copy);
        break;
    case 3:
        try_charset(copy);
        break;
    case 4:
        try_preview(copy);
        break;
    default:
        mime_sort_mailbox(copy, &out);
        buf_reset(&out);
        mime_sort_name(copy, &out);
    }
    buf_free(&out);
    fuzz_free(copy);
    return 0;
}
