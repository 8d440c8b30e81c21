/* cli/store_bar.c - how far `postern store` is. */
#include "cli/store_int.h"

#include "base/clock.h"

#include <stdio.h>
#include <unistd.h>

enum { BAR_AFTER_MS = 500, BAR_EVERY_MS = 100, BAR_COLUMNS = 40 };

void
store_bar_begin(struct store_bar *b, const char *verb, size_t users)
{
    *b = (struct store_bar){
        .verb = verb, .is_on = isatty(STDERR_FILENO), .since_ms = clock_mono_ms(), .users = users
    };
}

/* Users count alike; within one, messages do. */
void
store_bar_draw(struct store_bar *b, uint64_t done, uint64_t all)
{
    uint64_t now = clock_mono_ms();
    double part = all == 0 ? 0 : done >= all ? 1 : (double)done / (double)all;
    unsigned percent, parts;
    char line[BAR_COLUMNS + 1];

    if (!b->is_on || b->users == 0 || now - b->since_ms < BAR_AFTER_MS ||
        now - b->drawn_ms < BAR_EVERY_MS)
        return;
    b->drawn_ms = now;
    b->is_drawn = true;
    percent = (unsigned)(100.0 * ((double)b->user + part) / (double)b->users);
    percent = percent > 100 ? 100 : percent;
    parts = percent * BAR_COLUMNS / 100;
    for (unsigned i = 0; i < BAR_COLUMNS; i++)
        line[i] = i < parts ? '#' : '.';
    line[BAR_COLUMNS] = '\0';
    fprintf(stderr, "\r%s [%s] %3u%% user %zu of %zu ", b->verb, line, percent, b->user + 1,
            b->users);
}

void
store_bar_clear(struct store_bar *b)
{
    if (b->is_drawn)
        fputs("\r\033[K", stderr);
    b->is_drawn = false;
}
