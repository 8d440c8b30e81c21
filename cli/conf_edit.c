/* cli/conf_edit.c - see conf_edit.h. */
#include "cli/conf_edit.h"

enum { FOLD_COLUMNS = 80 };

/* With its LF. */
static struct slice
take_line(struct slice *in)
{
    size_t lf = sl_find_char(*in, '\n');
    struct slice line = sl_head(*in, lf == SL_NPOS ? in->n : lf + 1);

    *in = sl_from(*in, line.n);
    return line;
}

static struct conf_edit *
find(struct conf_edit *v, size_t n, struct slice line)
{
    struct slice name = sl_trim(sl_head(line, sl_find_char(line, '=')));

    if (sl_find_char(line, '=') == SL_NPOS)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (sl_eqz(name, v[i].name))
            return &v[i];
    return NULL;
}

static void
end_last_line(struct buf *out)
{
    if (out->n > 0 && !sl_ends(buf_slice(out), '\n'))
        buf_addc(out, '\n');
}

void
conf_edit_text(struct slice text, struct conf_edit *v, size_t n, enum conf_edit_mode mode,
               struct buf *out)
{
    bool is_in_value = false; /* of a definition that is being changed */

    while (text.n > 0) {
        struct slice line = take_line(&text), bare = sl_trim(line);
        struct conf_edit *edit;

        if (bare.n == 0 || sl_starts(bare, '#')) {
            buf_adds(out, line);
            continue;
        }
        if (!sl_starts(line, ' ') && !sl_starts(line, '\t')) {
            edit = find(v, n, line);
            is_in_value = edit != NULL;
            if (edit) {
                edit->found++;
                if (mode == CONF_EDIT_SET)
                    buf_addf(out, "%s = %s\n", edit->name, edit->value);
                else if (mode == CONF_EDIT_COMMENT)
                    buf_addf(out, "#%.*s", SL_ARG(line));
                continue;
            }
        }
        if (!is_in_value)
            buf_adds(out, line);
        else if (mode == CONF_EDIT_COMMENT)
            buf_addf(out, "#%.*s", SL_ARG(line));
    }
    for (size_t i = 0; i < n && mode == CONF_EDIT_SET; i++)
        if (v[i].found == 0) {
            end_last_line(out);
            buf_addf(out, "%s = %s\n", v[i].name, v[i].value);
        }
}

void
conf_fold(struct slice line, struct buf *out)
{
    struct slice word;
    size_t column = 0;

    while (sl_take_word(&line, " ", &word)) {
        if (column > 0 && column + 1 + word.n > FOLD_COLUMNS) {
            buf_addz(out, "\n    ");
            column = 4;
        } else if (column > 0) {
            buf_addc(out, ' ');
            column++;
        }
        buf_adds(out, word);
        column += word.n;
    }
}
