/* A message's header and body as header and body checks see them: in any pieces the same fields and lines, and where nothing
 * had to be mended the same octets. */
#include "session/mime_walk.h"
#include "session/smtp_body.h"
#include "tests/fuzz/fuzz.h"

enum { FIELD_OCTETS = HEADER_NAME_OCTETS + 24 };

struct seen {
    struct buf told, again;
    struct mime_walk *walk;
    bool is_mended;
};

static void
put_field(struct seen *s, char class, struct slice text, bool is_cut)
{
    MUST(sl_find_char(text, ':') != SL_NPOS && text.n <= FIELD_OCTETS);
    s->is_mended = s->is_mended || is_cut;
    buf_addf(&s->told, "%c%zu:", class, text.n);
    buf_adds(&s->told, text);
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\n')
            buf_addc(&s->again, '\r');
        buf_addc(&s->again, text.p[i]);
    }
    buf_addz(&s->again, "\r\n");
}

static void
on_primary(void *arg, struct slice text, bool is_cut)
{
    struct seen *s = arg;

    mime_walk_field(s->walk, text);
    put_field(s, 'P', text, is_cut);
}

static void
on_field(void *arg, enum header_class class, struct slice text, bool is_cut)
{
    put_field(arg, class == HEADER_MIME ? 'M' : 'N', text, is_cut);
}

static void
on_line(void *arg, struct slice text, struct slice end, bool is_start, uint64_t offset)
{
    struct seen *s = arg;

    MUST(text.n <= MIME_WALK_PIECE_OCTETS && (end.n == 2 || end.n == 0));
    buf_addf(&s->told, "%c%zu,%llu:", is_start ? 'L' : '+', end.n, (unsigned long long)offset);
    buf_adds(&s->told, text);
    buf_adds(&s->again, text);
    buf_adds(&s->again, end);
}

static void
on_error(void *arg, enum mime_error e, struct slice where)
{
    struct seen *s = arg;

    (void)where;
    buf_addf(&s->told, "!%d", (int)e);
}

static const struct mime_walk_ops ops = { on_line, on_field, on_error };

static void
walk(struct slice in, size_t step, struct seen *s)
{
    struct mime_walk_conf c = { .field_limit = FIELD_OCTETS,
                                .nesting_limit = 3,
                                .boundary_limit = 40,
                                .errors = MIME_ERROR_NESTING | MIME_ERROR_8BIT_HEADER |
                                          MIME_ERROR_8BIT_BODY | MIME_ERROR_DOMAIN };
    struct header_split h = {
        .limit = FIELD_OCTETS, .field = on_primary, .arg = s, .is_primary = true
    };
    struct buf rest = { 0 };
    bool is_body = false;

    s->walk = mime_walk_new(&c, &ops, s);
    while (in.n > 0) {
        struct slice some = sl_head(in, step), more;

        in = sl_from(in, some.n);
        if (!is_body && header_split_take(&h, &some, &rest)) {
            is_body = true;
            mime_walk_begin(s->walk);
            for (more = buf_slice(&rest); more.n > 0;)
                mime_walk_take(s->walk, &more);
        }
        while (is_body && some.n > 0)
            mime_walk_take(s->walk, &some);
    }
    if (!is_body) {
        (void)header_split_end(&h, &rest);
        mime_walk_begin(s->walk);
        for (struct slice more = buf_slice(&rest); more.n > 0;)
            mime_walk_take(s->walk, &more);
    }
    mime_walk_end(s->walk);
    mime_walk_free(&s->walk);
    header_split_free(&h);
    buf_free(&rest);
}

static bool
has_text(struct slice s, const char *what)
{
    return sl_find(s, sl_z(what)) != SL_NPOS;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), fit;
    size_t step = 1 + fuzz_choice(&in) % 70;
    struct smtp_body body = { .is_chunked = true };
    struct buf text = { 0 };
    struct seen whole = { 0 }, pieces = { 0 };

    smtp_body_add(&body, in, &text);
    smtp_body_end(&body, &text);
    fit = buf_slice(&text);
    walk(fit, fit.n + 1, &whole);
    walk(fit, step, &pieces);
    MUST(sl_eq(buf_slice(&whole.told), buf_slice(&pieces.told)));
    MUST(sl_eq(buf_slice(&whole.again), buf_slice(&pieces.again)));
    if (!whole.is_mended && sl_find_char(fit, '\0') == SL_NPOS && !has_text(fit, " :") &&
        !has_text(fit, "\t:") && !has_text(fit, "From ")) {
        struct slice again = buf_slice(&whole.again);
        size_t at = 0;

        /* but for the empty line that may be missing between header and body */
        while (at < fit.n && at < again.n && fit.p[at] == again.p[at])
            at++;
        if (again.n == fit.n + 2)
            again = sl_from(again, at + (at < again.n && again.p[at] == '\r' ? 2 : 0)),
            fit = sl_from(fit, at);
        MUST(sl_eq(again, fit));
    }
    buf_free(&text);
    buf_free(&whole.told);
    buf_free(&whole.again);
    buf_free(&pieces.told);
    buf_free(&pieces.again);
    return 0;
}
