/* IMAP's tokens, sets, flags and FETCH items; and that what we write can be read. */
#include "proto/imap.h"
#include "tests/fuzz/fuzz.h"

static void
must_read_back(struct slice s)
{
    struct arena mem = { 0 };
    struct buf out = { 0 };
    struct slice at, got = { 0 };
    struct err e = { 0 };

    if (sl_find_char(s, '\0') != SL_NPOS)
        return; /* has no form */
    imap_add_nstring(&out, s);
    at = buf_slice(&out);
    MUST(imap_take_nstring(&at, &mem, &got, &e) == PARSE_OK && at.n == 0 && sl_eq(got, s));
    buf_reset(&out);
    imap_add_astring(&out, s);
    at = buf_slice(&out);
    MUST(imap_take_astring(&at, &mem, &got, &e) == PARSE_OK && at.n == 0 && sl_eq(got, s));
    buf_free(&out);
    arena_free(&mem);
}

static void
try_one(struct slice in, unsigned choice, struct arena *mem, struct err *e)
{
    struct slice at = in, out = { 0 };
    struct imap_set set = { 0 };
    struct imap_flags flags = { 0 };
    struct imap_fetch_items items = { 0 };
    enum parse_rc rc = PARSE_OK;
    uint64_t number;
    bool is_sync;
    size_t brace;

    switch (choice % 11) {
    case 0:
        rc = imap_take_tag(&at, &out, e);
        break;
    case 1:
        rc = imap_take_atom(&at, &out, e);
        break;
    case 2:
        rc = imap_take_string(&at, mem, &out, e);
        break;
    case 3:
        rc = imap_take_astring(&at, mem, &out, e);
        break;
    case 4:
        rc = imap_take_list_mailbox(&at, mem, &out, e);
        break;
    case 5:
        rc = choice & 128 ? imap_take_nstring8(&at, mem, &out, e)
                          : imap_take_nstring(&at, mem, &out, e);
        break;
    case 6:
        rc = imap_take_number(&at, UINT32_MAX, &number, e);
        break;
    case 7:
        rc = imap_take_set(&at, mem, &set, e);
        MUST(rc != PARSE_OK || set.is_saved == (set.n == 0)); /* "$" (RFC 5182) */
        break;
    case 8:
        rc = imap_take_flags(&at, choice & 128, mem, &flags, e);
        break;
    case 9:
        rc = imap_take_fetch_items(&at, mem, &items, e);
        MUST(rc != PARSE_OK || items.n > 0);
        if (rc == PARSE_OK)
            imap_fetch_want_uid(&items, mem);
        break;
    default:
        if (!imap_line_ends_quoted(in) && imap_line_literal(in, &number, &is_sync, &brace))
            MUST(brace < in.n);
        must_read_back(in);
    }
    MUST(at.p >= in.p && at.n <= in.n && at.p + at.n == in.p + in.n);
    if (rc != PARSE_OK)
        MUST(e->kind == ERR_CLIENT);
    if (rc == PARSE_OK && out.p != NULL && choice % 11 >= 1 && choice % 11 <= 5)
        must_read_back(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), copy;
    unsigned choice = fuzz_choice(&in);
    struct arena mem = { .cap = 1024 * 1024 };
    struct err e = { 0 };

    copy = fuzz_dup(in);
    try_one(copy, choice, &mem, &e);
    fuzz_free(copy);
    arena_free(&mem);
    return 0;
}
