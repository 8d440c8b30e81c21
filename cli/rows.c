/* cli/rows.c - see rows.h. */
#include "cli/rows.h"

#include "base/arena.h"
#include "base/mem.h"
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    CELL_SHOWN_MAX = 200
}; /* columns of a box are no wider; the cell is printed whole all the same */

struct grid {
    struct slice *cells; /* n_columns of heads, then rows; p NULL: SQL's NULL */
    size_t n, cap;
    int columns;
    struct arena mem;
};

static void
add_cell(struct grid *g, struct slice s, bool is_null)
{
    g->cells = mem_grow(g->cells, &g->cap, g->n + 1, sizeof *g->cells);
    g->cells[g->n++] = is_null ? sl_n(NULL, 0) : arena_dup(&g->mem, s);
}

static size_t
width_of(struct slice s)
{
    size_t n = 0;

    if (s.p == NULL)
        return sizeof "NULL" - 1;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static void
print_rule(const size_t *widths, int columns)
{
    for (int c = 0; c < columns; c++) {
        putchar('+');
        for (size_t i = 0; i < widths[c] + 2; i++)
            putchar('-');
    }
    puts("+");
}

static void
print_cell(struct slice s, size_t width)
{
    struct slice text = s.p ? s : SL("NULL");

    printf("| %.*s", SL_ARG(text));
    for (size_t i = width_of(s); i < width + 1; i++)
        putchar(' ');
}

static void
print_box(const struct grid *g)
{
    size_t *widths = mem_zalloc(sizeof *widths * ((size_t)g->columns + 1));
    size_t columns = (size_t)g->columns, rows = columns ? g->n / columns - 1 : 0;

    if (rows == 0) {
        puts("Empty set");
        free(widths);
        return;
    }
    for (size_t i = 0; i < g->n; i++) {
        size_t w = width_of(g->cells[i]);

        if (w > widths[i % columns])
            widths[i % columns] = w < CELL_SHOWN_MAX ? w : CELL_SHOWN_MAX;
    }
    print_rule(widths, g->columns);
    for (size_t i = 0; i < g->n; i++) {
        print_cell(g->cells[i], widths[i % columns]);
        if (i % columns == columns - 1)
            puts("|");
        if (i == columns - 1)
            print_rule(widths, g->columns);
    }
    print_rule(widths, g->columns);
    printf("%zu row%s in set\n", rows, rows == 1 ? "" : "s");
    free(widths);
}

/* As mysql --batch: a line of names, then rows; tabs, newlines and backslashes escaped. */
static void
print_batch(const struct grid *g)
{
    for (size_t i = 0; i < g->n; i++) {
        struct slice s = g->cells[i].p ? g->cells[i] : SL("NULL");

        for (size_t k = 0; k < s.n; k++) {
            if (s.p[k] == '\t' || s.p[k] == '\n' || s.p[k] == '\\')
                printf("\\%c", s.p[k] == '\t' ? 't' : s.p[k] == '\n' ? 'n' : '\\');
            else
                putchar(s.p[k]);
        }
        putchar((i + 1) % (size_t)g->columns ? '\t' : '\n');
    }
}

static void
print_json(const struct grid *g)
{
    size_t columns = (size_t)g->columns;

    putchar('[');
    for (size_t i = columns; i < g->n; i++) {
        if (i % columns == 0)
            fputs(i == columns ? "\n  {" : ",\n  {", stdout);
        cli_json_string(g->cells[i % columns]);
        fputs(": ", stdout);
        if (g->cells[i].p)
            cli_json_string(g->cells[i]);
        else
            fputs("null", stdout);
        fputs((i + 1) % columns ? ", " : "}", stdout);
    }
    puts(g->n > columns ? "\n]" : "]");
}

int
rows_print(struct db_stmt *s, enum rows_format format, struct err *e)
{
    static void (*const print[])(const struct grid *g) = { print_box, print_batch, print_json };
    struct grid g = { .columns = db_columns(s) };
    int rc;

    for (int c = 0; c < g.columns; c++)
        add_cell(&g, sl_z(db_column_name(s, c)), false);
    while ((rc = db_step(s, e)) > 0)
        for (int c = 0; c < g.columns; c++)
            add_cell(&g, db_text(s, c), db_is_null(s, c));
    if (rc == 0)
        print[format](&g);
    free(g.cells);
    arena_free(&g.mem);
    return rc;
}
