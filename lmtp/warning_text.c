/* lmtp/warning_text.c - see warning_text.h. */
#include "lmtp/warning_text.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/utf8.h"
#include "mime/mime.h"

#include <stdio.h>
#include <string.h>

#define SUBJECT_FIELD "Subject:"

static const char warning[] =
    "Subject: Your mailbox is $percent% full\n"
    "\n"
    "This is the mail system at host $myhostname.\n\n"
    "Your mailbox $user is $percent% full: $used of $limit\n"
    "are in use. When it is full, new messages for you go back to those who\n"
    "sent them.\n\n"
    "Delete what you no longer need, and empty the trash: messages there count,\n"
    "too. When there is room again you will be told.\n\n"
    "If that does not help you, write to $postmaster.\n\n"
    "                   The mail system\n";

static const char below[] = "Subject: There is room in your mailbox again\n"
                            "\n"
                            "This is the mail system at host $myhostname.\n\n"
                            "Your mailbox $user has room again: $used of $limit\n"
                            "are in use ($percent%).\n\n"
                            "                   The mail system\n";

/* ---- what is filled in ---- */

struct filling {
    const struct conf *conf;
    const struct warning_about *w;
};

static void
add_octets(struct buf *out, int64_t n)
{
    static const char *const units[] = { "bytes", "kB", "MB", "GB", "TB" };
    double v = (double)(n < 0 ? 0 : n);
    size_t i = 0;

    while (v >= 1024 && i + 1 < sizeof units / sizeof *units) {
        v /= 1024;
        i++;
    }
    buf_addf(out, i == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[i]);
}

static void
add_amount(struct buf *out, const struct warning_about *w, int64_t n)
{
    if (w->is_messages)
        buf_addf(out, "%lld %s", (long long)(n < 0 ? 0 : n), n == 1 ? "message" : "messages");
    else
        add_octets(out, n);
}

static void
add_postmaster(struct buf *out, const struct filling *f)
{
    size_t at = sl_rfind_char(f->w->user, '@');
    struct slice domain = at == SL_NPOS ? sl_z(f->conf->myhostname) : sl_from(f->w->user, at + 1);

    for (const char *p = f->conf->postmaster_address; *p != '\0'; p++) {
        if (p[0] == '%' && p[1] == 'd') {
            buf_adds(out, domain);
            p++;
        } else {
            buf_addc(out, *p);
        }
    }
}

static bool
look_up(void *arg, struct slice name, struct buf *out)
{
    const struct filling *f = arg;
    const struct quota_usage *u = &f->w->usage;
    int64_t used = f->w->is_messages ? u->messages : u->octets;
    int64_t limit = f->w->is_messages ? u->limit.messages : u->limit.octets;

    if (sl_eqz(name, "user"))
        buf_adds(out, f->w->user);
    else if (sl_eqz(name, "percent"))
        buf_addf(out, "%lld",
                 limit > 0 ? (long long)((double)used * 100 / (double)limit) : (long long)0);
    else if (sl_eqz(name, "used"))
        add_amount(out, f->w, used);
    else if (sl_eqz(name, "limit"))
        add_amount(out, f->w, limit);
    else if (sl_eqz(name, "free"))
        add_amount(out, f->w, limit - used);
    else if (sl_eqz(name, "postmaster"))
        add_postmaster(out, f);
    else if (sl_eqz(name, "myhostname"))
        buf_addz(out, f->conf->myhostname);
    else
        return false;
    return true;
}

/* ---- the template ---- */

static bool
is_name(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!sl_is_alnum_char(s.p[i]) && s.p[i] != '-')
            return false;
    return s.n > 0;
}

/* Header fields, one of them Subject, then an empty line. */
static int
check_header(struct slice text, struct err *e)
{
    bool has_subject = false;
    struct slice line, name;

    if (!utf8_is_valid(text) || sl_find_char(text, '\0') != SL_NPOS)
        return err_set(e, ERR_CONFIG, "no text in UTF-8");
    while (sl_take_line(&text, &line) && line.n > 0) {
        if (line.p[0] == ' ' || line.p[0] == '\t')
            continue;
        has_subject = has_subject || sl_has_iprefix(line, SL(SUBJECT_FIELD));
        if (!sl_take_until(&line, ':', &name) || !is_name(name))
            return err_set(e, ERR_CONFIG,
                           "header fields (\"Subject: ...\") and an empty line must come first");
    }
    return has_subject ? 0 : err_set(e, ERR_CONFIG, "there is no Subject");
}

static int
fill(const struct conf *c, const struct warning_about *w, struct slice text, struct buf *out,
     struct err *e)
{
    struct filling f = { c, w };
    struct conf_template t = { .look_up = look_up, .arg = &f };

    return conf_expand_template(text, &t, out, e);
}

static int
read_template(const char *path, struct buf *out, struct err *e)
{
    out->max = WARNING_TEMPLATE_OCTETS_MAX;
    if (fs_read_file(path, out, e) == 0 && check_header(buf_slice(out), e) == 0)
        return 0;
    return err_prefix(e, "%s", path);
}

int
warning_template_check(const char *path, struct err *e)
{
    static const struct warning_about nobody = { .user = { "", 0 } };
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(SL(""), "", &ps);
    struct buf text = { 0 }, out = { 0 };
    int rc = read_template(path, &text, e);

    if (rc == 0 && c && fill(c, &nobody, buf_slice(&text), &out, e) < 0)
        rc = err_prefix(e, "%s", path);
    if (rc < 0)
        e->kind = ERR_CONFIG;
    buf_free(&text);
    buf_free(&out);
    conf_problems_free(&ps);
    conf_unref(&c);
    return rc;
}

/* ---- the message ---- */

static bool
is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return false;
    return true;
}

/* LF to CRLF. */
static void
add_lines(struct buf *out, struct slice text)
{
    struct slice line;

    while (sl_take_line(&text, &line)) {
        buf_adds(out, line);
        buf_addz(out, "\r\n");
    }
}

static void
add_own_fields(const struct conf *c, const struct warning_about *w, bool is_plain, struct buf *out)
{
    struct filling f = { c, w };
    char date[MIME_DATE_OCTETS], id[25];
    int64_t now = clock_unix_s();

    rand_hex(id, 24);
    buf_addf(out, "Return-Path: <>\r\nDelivered-To: %.*s\r\nFrom: Mail Delivery System <",
             SL_ARG(w->user));
    add_postmaster(out, &f);
    buf_addf(out, ">\r\nTo: %.*s\r\nDate: %s\r\nMessage-ID: <%s@%s>\r\n", SL_ARG(w->user),
             mime_format_date(now, mime_local_tz_minutes(now), date), id, c->myhostname);
    buf_addf(out,
             "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
             "Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n",
             is_plain ? "us-ascii" : "utf-8", is_plain ? "7bit" : "8bit");
}

void
warning_text(const struct conf *c, const struct warning_about *w, struct buf *out)
{
    const char *path = w->is_below ? c->quota_warning_below_template : c->quota_warning_template;
    struct buf text = { 0 }, filled = { 0 };
    struct err e = { 0 };

    if (path[0] == '\0' || read_template(path, &text, &e) < 0 ||
        fill(c, w, buf_slice(&text), &filled, &e) < 0) {
        if (path[0] != '\0')
            log_error("quota.template", LOG_F(LF_Z("why", e.msg)), "quota warning: %s", e.msg);
        buf_reset(&filled);
        if (fill(c, w, sl_z(w->is_below ? below : warning), &filled, &e) < 0)
            log_error("quota.template", LOG_NONE, "quota warning: %s", e.msg);
    }
    add_own_fields(c, w, is_ascii(buf_slice(&filled)), out);
    add_lines(out, buf_slice(&filled));
    buf_free(&text);
    buf_free(&filled);
}
