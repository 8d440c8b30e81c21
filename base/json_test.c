#include "base/test.h"
#include "base/json.h"

#include <stdlib.h>

/* A tree as text again: names and strings escaped by the writer, numbers as they are. */
static void
add_tree(struct buf *out, const struct json *v)
{
    static const char *const words[] = {
        [JSON_NULL] = "null", [JSON_FALSE] = "false", [JSON_TRUE] = "true"
    };

    switch (v->type) {
    case JSON_NULL:
    case JSON_FALSE:
    case JSON_TRUE:
        buf_addz(out, words[v->type]);
        return;
    case JSON_NUMBER:
        buf_adds(out, v->text);
        return;
    case JSON_STRING:
        json_add(out, v->text);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        buf_addc(out, v->type == JSON_ARRAY ? '[' : '{');
        for (const struct json *m = v->first; m; m = m->next) {
            if (v->type == JSON_OBJECT) {
                json_add(out, m->name);
                buf_addc(out, ':');
            }
            add_tree(out, m);
            if (m->next)
                buf_addc(out, ',');
        }
        buf_addc(out, v->type == JSON_ARRAY ? ']' : '}');
    }
}

/* want NULL: no JSON. */
static void
check(struct slice text, const char *want)
{
    struct arena mem = { .cap = 64 * 1024 };
    struct buf got = { 0 };
    const struct json *v = NULL;
    struct err e = { 0 };
    char *copy = malloc(text.n ? text.n : 1); /* a read beyond the end is seen */
    int rc;

    memcpy(copy, text.p, text.n);
    rc = json_parse(sl_n(copy, text.n), &mem, &v, &e);
    CHECK_EQ_INT(rc, want ? 0 : -1);
    if (rc == 0) {
        add_tree(&got, v);
        if (want)
            CHECK_EQ_STR(buf_z(&got), want);
    } else {
        CHECK(e.msg[0] != '\0');
    }
    buf_free(&got);
    arena_free(&mem);
    free(copy);
}

TEST(texts)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "{}", "{}" },
        { " [ ] ", "[]" },
        { "\t\r\n null\n", "null" },
        { "[true,false,null]", "[true,false,null]" },
        { "{\"a\":1,\"b\":[{\"c\":{}},\"d\"]}", "{\"a\":1,\"b\":[{\"c\":{}},\"d\"]}" },
        { " { \"a\" : \"x\" , \"\" : -0 } ", "{\"a\":\"x\",\"\":-0}" },
        { "[0,-1,10,1.50,1e3,1E+3,-2.5e-10]", "[0,-1,10,1.50,1e3,1E+3,-2.5e-10]" },
        { "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\u0008\\u000c\\u000a\\u000d\\u0009\"" },
        { "\"a\\u00e4\\u20ac\\ud83d\\uDE00b\"", "\"a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"
                                                "b\"" },
        { "\"\xc3\xa4\"", "\"\xc3\xa4\"" },
        { "\"x\\u0000y\"", "\"x\\u0000y\"" },
        { "{\"\\u0061\":1}", "{\"a\":1}" },
        /* none */
        { "", NULL },
        { " ", NULL },
        { "\xef\xbb\xbf{}", NULL },
        { "{}{}", NULL },
        { "{} x", NULL },
        { "{", NULL },
        { "[1", NULL },
        { "[1,", NULL },
        { "[1,]", NULL },
        { "[,1]", NULL },
        { "[1 2]", NULL },
        { "[1}", NULL },
        { "{\"a\":1,}", NULL },
        { "{\"a\"}", NULL },
        { "{\"a\":}", NULL },
        { "{a:1}", NULL },
        { "{1:1}", NULL },
        { "{'a':1}", NULL },
        { "{\"a\":1,\"a\":2}", NULL },
        { "{\"a\":1,\"\\u0061\":2}", NULL },
        { "\"", NULL },
        { "\"a", NULL },
        { "\"a\\", NULL },
        { "\"a\\\"", NULL },
        { "\"\\x\"", NULL },
        { "\"\\u12\"", NULL },
        { "\"\\u12g4\"", NULL },
        { "\"\\ud800\"", NULL },
        { "\"\\ud800\\u0041\"", NULL },
        { "\"\\ud800\\ud800\"", NULL },
        { "\"\\udc00\"", NULL },
        { "\"a\nb\"", NULL },
        { "\"\xc3\"", NULL },
        { "\"\xed\xa0\x80\"", NULL },
        { "\xff", NULL },
        { "01", NULL },
        { "-", NULL },
        { "+1", NULL },
        { ".5", NULL },
        { "1.", NULL },
        { "1e", NULL },
        { "1e+", NULL },
        { "0x10", NULL },
        { "NaN", NULL },
        { "True", NULL },
        { "tru", NULL },
        { "nulls", NULL },
        { "[1]/**/", NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TEST_ROW("%s", rows[i].text);
        check(sl_z(rows[i].text), rows[i].want);
    }
    check(SL("{\0}"), NULL);
    check(SL("\"a\0b\""), NULL);
}

static int
parse_all(struct slice s, size_t cap)
{
    struct arena mem = { .cap = cap };
    const struct json *v;
    struct err e = { 0 };
    int rc = json_parse(s, &mem, &v, &e);

    arena_free(&mem);
    return rc == 0 ? 0 : (int)e.kind;
}

TEST(bounds)
{
    struct buf b = { 0 };

    for (unsigned n = JSON_DEPTH_MAX - 1; n <= JSON_DEPTH_MAX + 1; n++) {
        buf_reset(&b);
        for (unsigned i = 0; i < n; i++)
            buf_addc(&b, '[');
        for (unsigned i = 0; i < n; i++)
            buf_addc(&b, ']');
        TEST_ROW("depth %u", n);
        CHECK_EQ_INT(parse_all(buf_slice(&b), 64 * 1024), n > JSON_DEPTH_MAX ? ERR_LIMIT : 0);
    }
    buf_reset(&b);
    for (unsigned i = 0; i < 100000; i++)
        buf_addc(&b, '[');
    CHECK_EQ_INT(parse_all(buf_slice(&b), 1024 * 1024), ERR_LIMIT);
    for (unsigned n = JSON_MEMBERS_MAX; n <= JSON_MEMBERS_MAX + 1; n++) {
        buf_reset(&b);
        for (unsigned i = 0; i < n; i++)
            buf_addf(&b, "%c\"%u\":0", i == 0 ? '{' : ',', i);
        buf_addc(&b, '}');
        TEST_ROW("members %u", n);
        CHECK_EQ_INT(parse_all(buf_slice(&b), 256 * 1024), n > JSON_MEMBERS_MAX ? ERR_LIMIT : 0);
    }
    buf_reset(&b);
    buf_addc(&b, '[');
    for (unsigned i = 0; i < 2000; i++)
        buf_addz(&b, "0,");
    buf_addz(&b, "0]");
    CHECK_EQ_INT(parse_all(buf_slice(&b), 1024 * 1024), 0);
    CHECK_EQ_INT(parse_all(buf_slice(&b), 32 * 1024), ERR_LIMIT);
    buf_reset(&b);
    for (unsigned i = 0; i <= JSON_NUMBER_OCTETS; i++)
        buf_addc(&b, '1');
    CHECK_EQ_INT(parse_all(buf_slice(&b), 1024), ERR_LIMIT);
    buf_free(&b);
}

TEST(looking)
{
    struct arena mem = { .cap = 64 * 1024 };
    const struct json *v = NULL;
    int64_t n = 0;

    NEED(json_parse(
             SL("{\"s\":\"x\",\"n\":-12,\"big\":9223372036854775807,\"over\":9223372036854775808,"
                "\"f\":1.0,\"a\":[\"x\",1,\"y\"],\"e\":\"\"}"),
             &mem, &v, NULL) == 0);
    CHECK(json_get(v, "none") == NULL && json_get(NULL, "s") == NULL);
    CHECK(json_get(json_get(v, "a"), "x") == NULL);
    CHECK(sl_eqz(json_string(v, "s"), "x"));
    CHECK(json_string(v, "n").p == NULL && json_string(v, "none").p == NULL);
    CHECK(json_string(v, "e").p != NULL && json_string(v, "e").n == 0);
    CHECK(json_to_i64(json_get(v, "n"), &n) && n == -12);
    CHECK(json_to_i64(json_get(v, "big"), &n) && n == INT64_MAX);
    CHECK(!json_to_i64(json_get(v, "over"), &n) && !json_to_i64(json_get(v, "f"), &n));
    CHECK(!json_to_i64(json_get(v, "s"), &n) && !json_to_i64(NULL, &n));
    CHECK(json_has_string(json_get(v, "s"), SL("x")) &&
          !json_has_string(json_get(v, "s"), SL("y")));
    CHECK(json_has_string(json_get(v, "a"), SL("y")) &&
          !json_has_string(json_get(v, "a"), SL("1")));
    CHECK(!json_has_string(NULL, SL("x")));
    arena_free(&mem);
}

TEST(writing)
{
    struct buf b = { 0 };

    json_add(&b, SL(""));
    json_add(&b, SL("a b"));
    json_add(&b, SL("\"\\\x01\x7f\xc2\x85\xc3\xa4\xff"));
    CHECK_EQ_STR(buf_z(&b), "\"\"\"a b\"\"\\\"\\\\\\u0001\\u007f\\u0085\xc3\xa4\\ufffd\"");
    buf_free(&b);
}

TEST_MAIN()
