/* cli/cmd_user_app.c - `postern user app-password`. */
#include "auth/users_app.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cli/cmd_user.h"

#include <stdio.h>
#include <time.h>

enum { DAY_S = 86400, DAYS_MAX = 36500, DATE_OCTETS = 32 };

/* "2030-12-31": until that day is over, here; "90": days from now. 0: it is neither, or past. */
static int64_t
when(const char *text)
{
    int64_t now = clock_unix_s(), at = 0;
    struct tm tm = { .tm_isdst = -1 };
    struct slice s = sl_z(text);
    const char *end;
    uint64_t days;

    if (sl_to_u64(s, &days))
        return days > 0 && days <= DAYS_MAX ? now + (int64_t)days * DAY_S : 0;
    end = strptime(text, "%Y-%m-%d", &tm);
    if (end && *end == '\0') {
        struct tm day = tm;

        if (mktime(&day) == -1 || day.tm_mday != tm.tm_mday)
            return 0; /* 30 February */
        tm.tm_mday++; /* mktime() knows where the month ends, and where clocks are set */
        at = (int64_t)mktime(&tm);
    }
    return at > now ? at : 0;
}

static bool
is_label(struct slice s)
{
    uint64_t number;

    if (s.n == 0 || s.n > USERS_APP_LABEL_OCTETS || sl_to_u64(s, &number))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    return true;
}

static int
add(struct users_cmd *u, const struct users_app *a)
{
    char text[APP_PASSWORD_TEXT_OCTETS], bare[APP_PASSWORD_CHARS + 1];
    struct buf services = { 0 };
    struct err e;
    int64_t id;
    int rc = EXIT_OK;

    app_password_make(text);
    (void)app_password_bare(sl_z(text), bare);
    if (users_app_add(u->users, sl_z(u->words[0]), a, bare, &id, &e) < 0) {
        rc = users_cmd_err(u, &e);
    } else {
        app_services_text(a->services, &services);
        fprintf(stderr, "App password %lld%s%s%s of %s, for %s. It is not shown again:\n",
                (long long)id, a->label ? " (\"" : "", a->label ? a->label : "",
                a->label ? "\")" : "", u->words[0], buf_z(&services));
        printf("%s\n", text);
        buf_free(&services);
    }
    mem_wipe(text, sizeof text);
    mem_wipe(bare, sizeof bare);
    return rc;
}

int
user_app_add(struct users_cmd *u)
{
    struct users_app a = { .label = u->label, .services = APP_ALL };

    if (u->services && !app_services_parse(sl_z(u->services), &a.services))
        return users_cmd_fail(u, EXIT_USAGE_ERROR,
                              "--services \"%s\": some of imap, pop3 and smtp are wanted",
                              u->services);
    if (u->expires) {
        a.expires_unix_s = when(u->expires);
        if (a.expires_unix_s == 0)
            return users_cmd_fail(u, EXIT_USAGE_ERROR,
                                  "--expires \"%s\": a day to come (2030-12-31) or a number of "
                                  "days is wanted",
                                  u->expires);
    }
    if (a.label && !is_label(sl_z(a.label)))
        return users_cmd_fail(u, EXIT_USAGE_ERROR,
                              "--label: 1 to %d octets of text that is no number are wanted",
                              USERS_APP_LABEL_OCTETS);
    return add(u, &a);
}

#define COLUMNS(date)                                                                              \
    "SELECT p.id AS id, p.label AS label,"                                                         \
    " rtrim(CASE WHEN p.services & 1 THEN 'imap,' ELSE '' END ||"                                  \
    " CASE WHEN p.services & 2 THEN 'pop3,' ELSE '' END ||"                                        \
    " CASE WHEN p.services & 4 THEN 'smtp' ELSE '' END, ',') AS services,"                         \
    " strftime(" date ", p.created_unix_s, 'unixepoch') AS created,"                               \
    " strftime(" date ", p.expires_unix_s, 'unixepoch') AS expires,"                               \
    " CASE WHEN p.expires_unix_s <= CAST(?2 AS INTEGER) THEN 'expired' ELSE 'valid' END AS state," \
    " strftime(" date ", p.used_unix_s, 'unixepoch') AS used,"                                     \
    " p.used_service AS service, p.used_address AS address"                                        \
    " FROM postern_app_passwords p JOIN virtual_users u ON u.id = p.user_id AND"                   \
    " u.email = p.email COLLATE NOCASE WHERE u.email = ?1 COLLATE NOCASE ORDER BY p.id"

int
user_app_list(struct users_cmd *u)
{
    char now[DATE_OCTETS];
    struct buf name = { 0 };
    struct db_stmt *s;
    struct err e;
    int rc = EXIT_OK, has;

    if (users_cmd_find(u, u->words[0], &name, &rc) <= 0) {
        buf_free(&name);
        return rc;
    }
    has = users_has_table(u->users, "postern_app_passwords", &e);
    snprintf(now, sizeof now, "%lld", (long long)clock_unix_s());
    if (has == 0 && u->is_json)
        printf("[]\n");
    if (has > 0)
        has = db_prepare(u->db,
                         u->is_json ? COLUMNS("'%Y-%m-%dT%H:%M:%SZ'") : COLUMNS("'%Y-%m-%d %H:%M'"),
                         &s, &e) == 0
                  ? 1
                  : -1;
    if (has > 0) {
        db_bind_text(s, 1, buf_slice(&name));
        db_bind_text(s, 2, sl_z(now));
        has = rows_print(s, u->is_json ? ROWS_JSON : ROWS_TABLE, &e);
    }
    buf_free(&name);
    return has < 0 ? users_cmd_err(u, &e) : EXIT_OK;
}

int
user_app_revoke(struct users_cmd *u)
{
    const char *which = u->n_words > 1 ? u->words[1] : "";
    struct err e;
    int n;

    if (u->is_all != (u->n_words == 1))
        return cli_usage_error(u->command,
                               "app-password revoke: a number, a label or --all is wanted");
    n = users_app_revoke(u->users, sl_z(u->words[0]), sl_z(which), &e);
    if (n < 0)
        return users_cmd_err(u, &e);
    if (n == 0 && !u->is_all)
        return users_cmd_fail(u, EXIT_NO_USER, "%s has no app password \"%s\"", u->words[0], which);
    fprintf(stderr, "%d app password%s revoked\n", n, n == 1 ? "" : "s");
    return EXIT_OK;
}
