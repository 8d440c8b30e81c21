/* Mailbox names, folder names, names of message files, and places under mail_location. */
#include "base/utf8.h"
#include "store/maildir.h"
#include "store/names.h"
#include "tests/fuzz/fuzz.h"

static const struct location places[] = {
    { .separator = '.' },
    { .separator = '.', .is_utf8 = true },
    { .separator = '/', .layout = LAYOUT_FS },
    { .separator = '/', .layout = LAYOUT_FS, .is_utf8 = true },
};

/* Nothing on disk leads out of the root, nor into the parts of a Maildir. */
static void
must_be_inside(const struct location *where, struct slice folder)
{
    struct slice level;

    if (where->layout == LAYOUT_MAILDIRPP) {
        MUST(sl_starts(folder, '.') && sl_find_char(folder, '/') == SL_NPOS);
        MUST(!sl_eqz(folder, ".") && !sl_eqz(folder, ".."));
        return;
    }
    MUST(folder.n > 0 && !sl_starts(folder, '/') && !sl_ends(folder, '/'));
    while (sl_take_word(&folder, "/", &level))
        MUST(level.n > 0 && !sl_eqz(level, ".") && !sl_eqz(level, "..") && !sl_eqz(level, "cur"));
}

static void
try_mailbox(const struct location *where, struct slice name)
{
    struct buf normal = { 0 }, folder = { 0 }, back = { 0 };
    struct err e = { 0 };

    if (name_normalise(where, name, &normal, &e) == 0) {
        MUST(utf8_is_valid(buf_slice(&normal)));
        MUST(where->separator == '/' || sl_find_char(buf_slice(&normal), '/') == SL_NPOS);
        MUST(name_parent(where, buf_slice(&normal)).n < normal.n);
        if (name_to_folder(where, buf_slice(&normal), &folder, &e) == 0 &&
            !name_is_inbox(buf_slice(&normal))) {
            must_be_inside(where, buf_slice(&folder));
            MUST(name_from_folder(where, buf_slice(&folder), &back) &&
                 sl_eq(buf_slice(&back), buf_slice(&normal)));
        }
    }
    buf_free(&normal);
    buf_free(&folder);
    buf_free(&back);
}

static void
try_file(struct slice s)
{
    struct maildir_name name;
    char out[MAILDIR_NAME_MAX], other[8], ident[MAILDIR_IDENT_MAX], *z = sl_dupz(s);

    if (maildir_parse(z, &name)) {
        struct slice letters = maildir_other_letters(name.info, other);

        MUST(letters.n <= sizeof other);
        maildir_compose(out, name.base, name.sys, name.kw, letters);
    }
    maildir_ident(s, ident);
    MUST(memchr(ident, '\0', sizeof ident) != NULL && strchr(ident, '/') == NULL);
    MUST(maildir_name_cmp(z, z) == 0);
    free(z);
}

static void
try_user(struct slice user)
{
    static struct conf *conf;
    struct conf_problems ps = { 0 };
    struct err e = { 0 };
    struct location l;

    if (conf == NULL)
        MUST((conf = conf_parse(SL("mail_location = maildir:/v/%d/%n\n"), "main.cf", &ps)) != NULL);
    conf_problems_free(&ps);
    if (location_resolve(conf, user, SL(""), &l, &e) == 0) {
        struct slice rest = sl_z(l.root), part;

        MUST(strncmp(l.root, "/v/", 3) == 0);
        while (sl_take_word(&rest, "/", &part))
            MUST(!sl_eqz(part, "..") && !sl_eqz(part, "."));
    }
    location_free(&l);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n));
    struct buf out = { 0 };

    try_file(in);
    try_user(in);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        buf_reset(&out);
        try_mailbox(&places[i], in);
        if (name_from_folder(&places[i], in, &out))
            MUST(utf8_is_valid(buf_slice(&out)));
    }
    buf_free(&out);
    fuzz_free(in);
    return 0;
}
