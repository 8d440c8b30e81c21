/* session/content_filter_test.c - checks_parse(), and content on its way through checks that answer now, later, or never. */
#include "session/content_filter.h"

#include "base/arena.h"
#include "base/mem.h"
#include "base/test.h"
#include "core/loop.h"

#include <stdlib.h>

/* ---- what tables say ---- */

static const struct {
    const char *value;
    enum checks_kind kind;
    const char *text;
} values[] = {
    { "REJECT", CHECKS_REJECT, "" },
    { "reject 5.7.1 no", CHECKS_REJECT, "5.7.1 no" },
    { "Warn \t look", CHECKS_WARN, "look" },
    { "PREPEND X: y", CHECKS_PREPEND, "X: y" },
    { "OK", CHECKS_DUNNO, "" },
    { "DUNNO x", CHECKS_DUNNO, "x" },
    { "STRIP", CHECKS_STRIP, "" },
    { "REJECTED", CHECKS_UNKNOWN, "" },
    { "REJ", CHECKS_UNKNOWN, "" },
    { "", CHECKS_UNKNOWN, "" },
    { "550 no", CHECKS_UNKNOWN, "no" },
};

TEST(actions)
{
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        struct checks_action a;

        TEST_ROW("%s", values[i].value);
        checks_parse(sl_z(values[i].value), &a);
        CHECK_EQ_INT(a.kind, values[i].kind);
        CHECK(sl_eqz(a.text, values[i].text));
    }
    CHECK_EQ_INT(checks_map_of(HEADER_PRIMARY, SL("Subject")), CHECKS_HEADER);
    CHECK_EQ_INT(checks_map_of(HEADER_PRIMARY, SL("content-TYPE")), CHECKS_MIME);
    CHECK_EQ_INT(checks_map_of(HEADER_NESTED, SL("MIME-Version")), CHECKS_MIME);
    CHECK_EQ_INT(checks_map_of(HEADER_NESTED, SL("Subject")), CHECKS_NESTED);
    CHECK_EQ_INT(checks_map_of(HEADER_MIME, SL("Subject")), CHECKS_MIME);
}

/* ---- a table in place of authd's: "word rest" in a line says "word rest" where word is an action ---- */

struct question {
    struct buf answer; /* struct lookup_hit, whose values are in mem */
    struct arena mem;
    lookup_lines_fn *cb;
    uint64_t id;
    size_t n;
    bool is_bad;
};
static bool is_late; /* answers come from the loop, else by hand */
static struct question *asked;
static size_t n_questions, n_lines;
static struct buf blown; /* what "BLOW UP" stands for */

static void
answer(void *arg)
{
    struct question *q = arg;

    asked = NULL;
    q->cb(q->id,
          q->is_bad     ? LOOKUP_TEMP
          : q->answer.n ? LOOKUP_FOUND
                        : LOOKUP_NOTFOUND,
          q->n, (const struct lookup_hit *)(const void *)q->answer.p,
          q->is_bad ? 0 : q->answer.n / sizeof(struct lookup_hit));
    buf_free(&q->answer);
    arena_free(&q->mem);
    free(q);
}

void
lookup_ask_lines(struct lookup_client *l, const char *name, const struct slice *lines, size_t n,
                 lookup_lines_fn *cb, uint64_t id)
{
    struct question *q = MEM_NEW(struct question);

    (void)l;
    *q = (struct question){ .cb = cb, .id = id, .n = n > 3 ? 3 : n };
    n_questions++;
    for (size_t i = 0; i < q->n; i++) {
        struct slice line = lines[i], word;
        size_t at = sl_find(line, SL("do "));

        n_lines++;
        q->is_bad = q->is_bad || sl_find(line, SL("trouble")) != SL_NPOS;
        if (at != SL_NPOS && !strcmp(name, "checks")) {
            struct lookup_hit h = { i, SL("") };

            word = arena_dup(&q->mem, sl_from(line, at + 3));
            if (sl_eqz(word, "BLOW UP"))
                word = buf_slice(&blown);
            h.value = word;
            buf_add(&q->answer, &h, sizeof h);
        }
    }
    CHECK(asked == NULL); /* one after the other */
    asked = q;
    if (!is_late)
        loop_defer(answer, q);
}

/* ---- an owner ---- */

static struct content_filter *filter;
static struct buf out, said;
static bool is_done, is_looping;
static size_t n_moved;

static enum filter_verdict
on_act(void *arg, const struct filter_line *l)
{
    (void)arg;
    buf_addf(&said, "%s %s;", l->action.log_word, l->map);
    switch (l->action.kind) {
    case CHECKS_PASS:
        return FILTER_OFF;
    case CHECKS_REJECT:
        return FILTER_END;
    case CHECKS_HOLD:
        return FILTER_KEEP;
    default:
        return FILTER_UNKNOWN;
    }
}
static void
on_log(void *arg, const struct filter_line *l)
{
    (void)arg;
    buf_addf(&said, "%s %s;", l->action.log_word, l->map);
}
static void
on_warn(void *arg, const char *text)
{
    (void)arg;
    buf_addf(&said, "(%s)", text);
}
static void
on_cut(void *arg, struct slice field)
{
    (void)arg;
    (void)field;
    buf_addz(&said, "cut;");
}
static void
on_mime(void *arg, enum mime_error e, struct slice where)
{
    (void)arg;
    (void)where;
    buf_addf(&said, "%s;", mime_error_text(e));
}
static void
on_field(void *arg, struct slice text, bool is_fixed)
{
    (void)arg;
    if (is_fixed)
        buf_addc(&out, '*');
    content_filter_lines(text, &out);
}
static void
on_end_header(void *arg)
{
    (void)arg;
    buf_addz(&out, "==");
}
static void
on_body(void *arg, struct slice s)
{
    (void)arg;
    buf_adds(&out, s);
}
static void
on_failed(void *arg, const char *map, const struct err *e)
{
    (void)arg;
    buf_addf(&said, "failed %s;", map ? map : e->msg);
}
static void
on_moved(void *arg)
{
    (void)arg;
    n_moved++;
}
static void
on_done(void *arg)
{
    (void)arg;
    is_done = true;
    if (is_looping)
        loop_stop();
}
static const struct content_filter_ops ops = {
    on_act, on_log, on_warn, on_cut, on_mime, on_field, on_end_header, on_body, on_failed, on_moved
};

static const struct checks_conf checks = {
    .name = { "header", "mime", "nested", "body" },
    .ask = { "checks", "checks", "checks", "checks" },
    .body_octets = UINT64_MAX,
};

/* A stage that waits and marks what it has seen. */
static void
mark(void *arg, uint64_t id, struct header *h, struct header_run *r)
{
    (void)arg;
    CHECK(id_get(id) != NULL);
    for (struct header_field *f = h->first; f; f = f->next)
        if (!f->is_fixed) {
            struct buf b = { 0 };

            buf_adds(&b, buf_slice(&f->text));
            buf_addz(&b, "'");
            header_field_set(f, buf_slice(&b));
            buf_free(&b);
        }
    header_run_next(r, 0, NULL);
}
static const struct header_stage stages[] = { { mark, NULL } };

static struct content_filter_conf conf;

static void
begin(bool has_checks, size_t n_stages)
{
    conf = (struct content_filter_conf){
        .checks = has_checks ? &checks : NULL,
        .mime = { .field_limit = 1000,
                  .nesting_limit = 10,
                  .boundary_limit = 70,
                  .errors = MIME_ERROR_8BIT_BODY },
        .has_walk = has_checks,
        .stages = stages,
        .n_stages = n_stages,
    };
    buf_reset(&out);
    buf_reset(&said);
    is_done = false;
    n_moved = 0;
    filter = content_filter_new(&conf, &ops, NULL);
}

static void
run(struct slice in, size_t piece)
{
    for (; in.n > 0; in = sl_from(in, piece))
        content_filter_write(filter, sl_head(in, piece));
    content_filter_end(filter, on_done);
    is_looping = true;
    if (!is_done)
        loop_run();
    is_looping = false;
    CHECK_EQ_INT(content_filter_kept(filter), 0);
    content_filter_free(&filter);
}

static const struct {
    const char *name, *in, *want, *said;
} rows[] = {
    { "nothing to do", "A: b\r\n c\r\n\r\nd\r\n\r\ne\r\n", "A: b\r\n c'\r\n==\r\nd\r\n\r\ne\r\n",
      "" },
    { "fields",
      "A: do IGNORE\r\nB: do STRIP\r\nC: do REPLACE D: e\r\nF: do PREPEND G: h\r\nI: do "
      "WARN\r\n\r\n",
      "D: e'\r\n*G: h\r\nF: do PREPEND G: h'\r\nI: do WARN'\r\n==\r\n",
      "strip header;replace header;prepend header;warning header;" },
    { "bad fields", "A: do REPLACE x\r\nB: do PREPEND\r\nC: do NOTHING much\r\nD: do BCC x\r\n\r\n",
      "A: do REPLACE x'\r\nB: do PREPEND'\r\nC: do NOTHING much'\r\nD: do BCC x'\r\n==\r\n",
      "(bad REPLACE header text \"x\" in header map -- need \"headername: headervalue\")(PREPEND "
      "action without text in header map)"
      "(unknown command in header map: NOTHING much)bcc header;(unknown command in header map: BCC "
      "x)" },
    { "lines", "\r\n1\r\ndo IGNORE\r\n2\r\ndo REPLACE 3\r\ndo PREPEND 4\r\n5\r\n",
      "==\r\n1\r\n2\r\n3\r\n4\r\ndo PREPEND 4\r\n5\r\n", "replace body;prepend body;" },
    { "pass", "A: do PASS\r\nB: do REJECT\r\n\r\ndo REJECT\r\n",
      "A: do PASS'\r\nB: do REJECT'\r\n==\r\ndo REJECT\r\n", "pass header;" },
    { "pass in the body", "\r\n1\r\ndo PASS\r\ndo REJECT\r\n",
      "==\r\n1\r\ndo PASS\r\ndo REJECT\r\n", "pass body;" },
    { "reject", "A: b\r\nC: do REJECT\r\nD: do WARN\r\n\r\ndo WARN\r\n", "", "reject header;" },
    { "reject in the body", "A: b\r\n\r\n1\r\ndo REJECT\r\ndo WARN\r\n", "A: b'\r\n==\r\n1\r\n",
      "reject body;" },
    { "no header", "do WARN\r\n", "==\r\ndo WARN\r\n", "warning body;" },
    { "trouble", "A: trouble\r\n\r\nx\r\n", "", "failed header;" },
    { "trouble in the body", "\r\n1\r\ntrouble\r\nx\r\n", "==\r\n", "failed body;" },
    { "8-bit", "\r\n\xe4\r\n", "==\r\n\xe4\r\n", "improper use of 8-bit data in message body;" },
    { "parts",
      "Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\nA: do REPLACE B: c\r\nD: do "
      "IGNORE\r\nE: do PREPEND F: g\r\n\r\n--b\r\n"
      "Content-Type: message/rfc822\r\n\r\nH: do WARN it\r\n i\r\n\r\ndo WARN\r\n--b--\r\n",
      "Content-Type: multipart/x; boundary=b'\r\n==\r\n--b\r\nB: c\r\nF: g\r\nE: do PREPEND F: "
      "g\r\n\r\n--b\r\n"
      "Content-Type: message/rfc822\r\n\r\nH: do WARN it\r\n i\r\n\r\ndo WARN\r\n--b--\r\n",
      "replace mime;prepend mime;warning nested;warning body;" },
};

TEST(content_in_any_pieces)
{
    loop_init();
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t piece = 1; piece <= strlen(rows[i].in);
             piece = piece < 20 ? piece + 1 : piece * 3) {
            TEST_ROW("%s, pieces of %zu", rows[i].name, piece);
            begin(true, 1);
            run(sl_z(rows[i].in), piece);
            CHECK_EQ_STR(buf_z(&said), rows[i].said);
            CHECK_EQ_STR(buf_z(&out), rows[i].want);
        }
}

TEST(nothing_to_ask_is_never_asked)
{
    n_questions = 0;
    begin(false, 0);
    run(SL("A: do REJECT\r\n\r\n--x\r\ndo REJECT\r\n"), 5);
    CHECK_EQ_STR(buf_z(&out), "A: do REJECT\r\n==\r\n--x\r\ndo REJECT\r\n");
    begin(false, 1);
    run(SL("A: b\r\n\r\nc\r\n"), 3);
    CHECK_EQ_STR(buf_z(&out), "A: b'\r\n==\r\nc\r\n");
    CHECK_EQ_INT(n_questions, 0);
}

/* More than a batch of everything: in order, nothing lost, nothing looked at twice, and what waits is bounded by who writes. */
TEST(batches)
{
    struct buf in = { 0 }, want = { 0 };
    size_t fields = 40000, lines = 30000;

    for (size_t i = 0; i < fields; i++) {
        buf_addf(&in, "X-%zu: %s value of a field that is not short\r\n", i,
                 i % 1000 ? "a" : "do IGNORE");
        if (i % 1000)
            buf_addf(&want, "X-%zu: a value of a field that is not short'\r\n", i);
    }
    buf_addz(&in, "\r\n");
    buf_addz(&want, "==\r\n");
    for (size_t i = 0; i < lines; i++) {
        buf_addf(&in, "line %zu %s\r\n", i, i % 500 ? "x" : "do REPLACE y");
        if (i % 500)
            buf_addf(&want, "line %zu x\r\n", i);
        else
            buf_addz(&want, "y\r\n");
    }
    n_lines = 0;
    begin(true, 1);
    run(buf_slice(&in), 50000);
    CHECK_EQ_MEM(out.p + out.off, out.n, want.p, want.n);
    CHECK_EQ_INT(n_lines, fields + lines);
    CHECK(n_moved > 5);
    buf_free(&in);
    buf_free(&want);
}

/* Who actions make a header grow past all bounds is stopped. */
TEST(growth_has_a_bound)
{
    buf_addz(&blown, "PREPEND B: ");
    while (blown.n < 2 * 1024 * 1024)
        buf_addc(&blown, 'b');
    for (size_t n = 1; n < 30; n += 14) {
        struct buf in = { 0 };

        TEST_ROW("%zu times", n);
        for (size_t i = 0; i < n; i++)
            buf_addz(&in, "A: do BLOW UP\r\n");
        begin(true, 0);
        run(buf_slice(&in), 1000);
        CHECK_EQ_INT(sl_find(buf_slice(&said), SL("failed header;")) != SL_NPOS, n > 8);
        CHECK_EQ_INT(out.n == 0, n > 8);
        buf_free(&in);
    }
    buf_free(&blown);
}

TEST(an_owner_may_go_while_an_answer_is_awaited)
{
    static const char *const texts[] = { "A: do WARN\r\n\r\n", "\r\ndo WARN\r\n" };

    is_late = true;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        begin(true, 1);
        content_filter_write(filter, sl_z(texts[i]));
        content_filter_end(filter, on_done);
        CHECK(asked != NULL);
        content_filter_write(filter, SL("more"));
        CHECK_EQ_INT(content_filter_kept(filter), 4);
        content_filter_free(&filter);
        answer(asked);
        CHECK(!is_done);
        CHECK_EQ_INT(said.n, 0);
    }
    begin(true, 1); /* or forget the rest */
    content_filter_write(filter, SL("A: b\r\n\r\n"));
    content_filter_drop(filter);
    content_filter_write(filter, SL("more"));
    content_filter_end(filter, on_done);
    CHECK(is_done);
    answer(asked);
    CHECK_EQ_INT(out.n, 0);
    content_filter_free(&filter);
    is_late = false;
    buf_free(&out);
    buf_free(&said);
    loop_free();
}

TEST_MAIN()
