/* queue/bounce_template.c - see bounce_template.h. */
#include "queue/bounce_template.h"

#include "base/fs.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const names[BOUNCE_KINDS] = {
    [BOUNCE_FAILURE] = "failure_template",
    [BOUNCE_DELAY] = "delay_template",
    [BOUNCE_SUCCESS] = "success_template",
    [BOUNCE_VERIFY] = "verify_template",
};

#define BUILT_IN(a_subject, a_postmaster_subject, a_text)                                          \
    {                                                                                              \
        .charset = SL_INIT("us-ascii"), .from = SL_INIT("Mail Delivery System <MAILER-DAEMON>"),   \
        .subject = SL_INIT(a_subject), .postmaster_subject = SL_INIT(a_postmaster_subject),        \
        .text = SL_INIT(a_text)                                                                    \
    }
static const struct bounce_template built_in[BOUNCE_KINDS] = {
    [BOUNCE_FAILURE] =
        BUILT_IN("Undelivered Mail Returned to Sender", "Postmaster Copy: Undelivered Mail",
                 "This is the mail system at host $myhostname.\n\n"
                 "Your message could not be delivered to the recipients that are named\n"
                 "below, and will not be tried again. Each has the reason beside it. What\n"
                 "you sent, or its header, is attached.\n\n"
                 "If the reason does not help you, write to postmaster and send this\n"
                 "report along.\n\n"
                 "                   The mail system\n"),
    [BOUNCE_DELAY] =
        BUILT_IN("Delayed Mail (still being retried)", "Postmaster Warning: Delayed Mail",
                 "This is the mail system at host $myhostname.\n\n"
                 "##################################################################\n"
                 "# A WARNING ONLY: YOU NEED NOT SEND YOUR MESSAGE AGAIN.          #\n"
                 "##################################################################\n\n"
                 "For ${delay_warning_time_hours} hour(s) your message could not be delivered to "
                 "the\n"
                 "recipients that are named below. It will be tried until it is\n"
                 "${maximal_queue_lifetime_days} day(s) old.\n\n"
                 "If the reason does not help you, write to postmaster and send this\n"
                 "report along.\n\n"
                 "                   The mail system\n"),
    [BOUNCE_SUCCESS] =
        BUILT_IN("Successful Mail Delivery Report", "",
                 "This is the mail system at host $myhostname.\n\n"
                 "Your message was delivered to the destinations that are named below.\n"
                 "Where that is a mailbox, this is the last that you hear of it. Where it\n"
                 "went on to another system, that system may still report an error.\n\n"
                 "                   The mail system\n"),
    [BOUNCE_VERIFY] = BUILT_IN("Mail Delivery Status Report", "",
                               "This is the mail system at host $myhostname.\n\n"
                               "Here is the delivery status report that you asked for.\n\n"
                               "                   The mail system\n"),
};

/* ---- the file ---- */

static bool
is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80 || s.p[i] == 0)
            return false;
    return true;
}

/* The next line, counted. */
static bool
take_line(struct slice *in, unsigned *line, struct slice *out)
{
    *line += in->n > 0;
    return sl_take_line(in, out);
}

/* "name = <<EOF": which template, and the word that ends it. */
static int
take_head(struct slice text, size_t *kind, struct slice *end, struct err *e)
{
    struct slice name;

    if (!sl_take_until(&text, '=', &name))
        return err_set(e, ERR_CONFIG, "expected name_template = <<EOF");
    name = sl_trim(name);
    *end = sl_trim(text);
    if (!sl_take_prefix(end, SL("<<")) || (*end = sl_trim(*end)).n == 0)
        return err_set(e, ERR_CONFIG, "expected <<EOF after %.*s =", SL_ARG(name));
    for (*kind = 0; *kind < BOUNCE_KINDS; ++*kind)
        if (sl_ieqz(name, names[*kind]))
            return 0;
    return err_set(e, ERR_CONFIG,
                   "unknown template %.*s: there are failure_template, delay_template, "
                   "success_template and verify_template",
                   SL_ARG(name));
}

static bool
take_label(struct slice line, struct slice *name, struct slice *value)
{
    if (!sl_take_until(&line, ':', name) || name->n == 0)
        return false;
    for (size_t i = 0; i < name->n; i++)
        if (!sl_is_alnum_char(name->p[i]) && name->p[i] != '-')
            return false;
    *value = sl_trim(line);
    return true;
}

static int
set_field(struct bounce_template *t, struct slice name, struct slice value, struct err *e)
{
    struct slice *field = sl_ieqz(name, "Charset")              ? &t->charset
                          : sl_ieqz(name, "From")               ? &t->from
                          : sl_ieqz(name, "Subject")            ? &t->subject
                          : sl_ieqz(name, "Postmaster-Subject") ? &t->postmaster_subject
                                                                : NULL;

    if (field == NULL)
        return err_set(e, ERR_CONFIG, "a template has no header %.*s", SL_ARG(name));
    if (value.n == 0 || !is_ascii(value))
        return err_set(e, ERR_CONFIG, "%.*s: expected ASCII text", SL_ARG(name));
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f)
            return err_set(e, ERR_CONFIG, "%.*s has a control character", SL_ARG(name));
    *field = value;
    return 0;
}

/* From behind the head to the line that is `end`. */
static int
take_template(struct slice *in, unsigned *line, struct slice end, struct bounce_template *t,
              struct err *e)
{
    unsigned head = *line;
    bool in_header = true;
    struct slice s = SL(""), name, value, before;

    t->line = head;
    t->text = SL("");
    while (before = *in, take_line(in, line, &s)) {
        if (sl_eq(s, end)) {
            if (t->text.n == 0)
                return err_set(e, ERR_CONFIG, "a template without text");
            if (!is_ascii(t->text) && sl_ieqz(t->charset, "us-ascii"))
                return err_set(e, ERR_CONFIG,
                               "text beyond ASCII, and Charset: does not say in what");
            return 0;
        }
        name = value = SL("");
        if (in_header && take_label(s, &name, &value)) {
            if (set_field(t, name, value, e) != 0)
                return -1;
        } else if (in_header) {
            in_header = false;
            t->text = s.n == 0 ? sl_head(*in, 0) : sl_head(before, (size_t)(in->p - before.p));
        } else {
            t->text.n = (size_t)(in->p - t->text.p);
        }
    }
    *line = head;
    return err_set(e, ERR_CONFIG, "no line %.*s ends this template", SL_ARG(end));
}

int
bounce_templates_parse(struct slice text, struct bounce_template out[BOUNCE_KINDS], unsigned *line,
                       struct err *e)
{
    struct bounce_template v[BOUNCE_KINDS];
    struct slice s = SL(""), end = SL("");
    size_t kind = 0;

    memcpy(v, out, sizeof v);
    *line = 0;
    while (take_line(&text, line, &s)) {
        if (sl_trim(s).n == 0 || sl_starts(s, '#'))
            continue;
        if (take_head(s, &kind, &end, e) != 0 || take_template(&text, line, end, &v[kind], e) != 0)
            return -1;
    }
    memcpy(out, v, sizeof v);
    return 0;
}

/* ---- $name ---- */

static const struct {
    const char *name;
    int64_t ms;
} units[] = { { "_seconds", 1000 },
              { "_minutes", 60 * 1000 },
              { "_hours", 60 * 60 * 1000 },
              { "_days", 24 * 60 * 60 * 1000 },
              { "_weeks", 7 * 24 * 60 * 60 * 1000 } };

/* "delay_warning_time_hours": rounded to the nearest, for a text. */
static bool
add_time(const struct conf *c, struct slice name, struct buf *out)
{
    int64_t ms;

    if (sl_take_prefix(&name, SL("delay_warning_time")))
        ms = c->delay_warning_time;
    else if (sl_take_prefix(&name, SL("maximal_queue_lifetime")))
        ms = c->maximal_queue_lifetime;
    else
        return false;
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (sl_eqz(name, units[i].name)) {
            buf_addf(out, "%lld", (long long)((ms + units[i].ms / 2) / units[i].ms));
            return true;
        }
    return false;
}

static bool
look_up(void *arg, struct slice name, struct buf *out)
{
    const struct conf *c = arg;
    char *z, *value;
    const char *user;

    if (add_time(c, name, out))
        return true;
    z = sl_dupz(name);
    value = conf_value_text(c, z, false);
    user = value ? value : conf_user_value(c, z);
    if (user)
        buf_addz(out, user);
    free(value);
    free(z);
    return user != NULL;
}

static int
expand(const struct conf *c, const struct bounce_template *t, struct arena *mem, struct slice *out,
       struct err *e)
{
    const struct conf_template how = { .look_up = look_up, .arg = (void *)(uintptr_t)c };
    struct buf b = { 0 };
    int rc = conf_expand_template(t->text, &how, &b, e);

    if (rc == 0)
        *out = arena_dup(mem, buf_slice(&b));
    buf_free(&b);
    return rc;
}

static struct slice
dup(struct arena *mem, struct slice s)
{
    return s.n ? arena_dup(mem, s) : SL("");
}

static void
keep(struct bounce_templates *t, size_t kind, const struct bounce_template *from)
{
    struct bounce_template *to = &t->v[kind];

    *to = (struct bounce_template){ .charset = dup(&t->mem, from->charset),
                                    .from = dup(&t->mem, from->from),
                                    .subject = dup(&t->mem, from->subject),
                                    .postmaster_subject = dup(&t->mem, from->postmaster_subject),
                                    .text = to->text,
                                    .line = from->line };
}

struct bounce_templates *
bounce_templates_load(const struct conf *c, struct conf_problems *ps)
{
    struct bounce_templates *t = MEM_NEW(struct bounce_templates);
    struct bounce_template v[BOUNCE_KINDS];
    const char *path = c->bounce_template_file;
    struct buf file = { .max = BOUNCE_TEMPLATES_OCTETS_MAX };
    struct err e = { 0 };
    unsigned line = 0;

    t->refs = 1;
    memcpy(v, built_in, sizeof v);
    if (path[0] && fs_read_file(path, &file, &e) != 0)
        conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, "bounce_template_file"),
                         "bounce_template_file: %s: reports have the built-in text", e.msg);
    else if (bounce_templates_parse(buf_slice(&file), v, &line, &e) != 0)
        conf_problem_add(ps, false, path, line, "%s: reports have the built-in text", e.msg);
    for (size_t k = 0; k < BOUNCE_KINDS; k++) {
        e.kind = ERR_NONE;
        if (expand(c, &v[k], &t->mem, &t->v[k].text, &e) != 0) {
            conf_problem_add(ps, false, path, v[k].line,
                             "%s: %s: it is the built-in one that is used", names[k], e.msg);
            v[k] = built_in[k];
            (void)expand(c, &v[k], &t->mem, &t->v[k].text, &e);
        }
        keep(t, k, &v[k]);
    }
    buf_free(&file);
    return t;
}

void
bounce_templates_unref(struct bounce_templates **tt)
{
    struct bounce_templates *t = *tt;

    *tt = NULL;
    if (t == NULL || --t->refs > 0)
        return;
    arena_free(&t->mem);
    free(t);
}
