/* JSON: what is taken is taken again from what is written of it; nothing is read beyond the end. */
#include "base/json.h"
#include "tests/fuzz/fuzz.h"

enum { CAP = 256 * 1024 };

static void
add_tree(struct buf *out, const struct json *v, unsigned depth)
{
    static const char *const words[] = {
        [JSON_NULL] = "null", [JSON_FALSE] = "false", [JSON_TRUE] = "true"
    };
    bool is_object = v->type == JSON_OBJECT;

    MUST(depth <= JSON_DEPTH_MAX);
    if (v->type == JSON_STRING) {
        json_add(out, v->text);
    } else if (v->type == JSON_NUMBER) {
        MUST(v->text.n > 0 && v->text.n <= JSON_NUMBER_OCTETS);
        buf_adds(out, v->text);
    } else if (v->type < JSON_NUMBER) {
        buf_addz(out, words[v->type]);
    } else {
        buf_addc(out, is_object ? '{' : '[');
        for (const struct json *m = v->first; m; m = m->next) {
            if (is_object) {
                json_add(out, m->name);
                buf_addc(out, ':');
            }
            add_tree(out, m, depth + 1);
            if (m->next)
                buf_addc(out, ',');
        }
        buf_addc(out, is_object ? '}' : ']');
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n));
    struct arena mem = { .cap = CAP }, mem2 = { .cap = 8 * CAP };
    struct buf once = { 0 }, twice = { 0 };
    const struct json *v = NULL;
    struct err e = { 0 };
    int64_t number;

    if (json_parse(in, &mem, &v, &e) != 0) {
        MUST(e.kind == ERR_CLIENT || e.kind == ERR_LIMIT);
        MUST(e.msg[0] != '\0');
    } else {
        add_tree(&once, v, 0);
        MUST(json_parse(buf_slice(&once), &mem2, &v, &e) == 0);
        add_tree(&twice, v, 0);
        MUST(sl_eq(buf_slice(&once), buf_slice(&twice)));
        (void)json_to_i64(json_get(v, "exp"), &number);
        (void)json_has_string(json_get(v, "aud"), SL("x"));
    }
    buf_free(&once);
    buf_free(&twice);
    arena_free(&mem);
    arena_free(&mem2);
    fuzz_free(in);
    return 0;
}
