/* cli/link_postcat.c - postcat(1): a message of the queue, as Postfix shows the records of its queue file. Ours has none: the
 * same is made of the envelope and the content, as far as there is something to show. Offsets (-o) are those that the records
 * would have one behind the other. */
#include "cli/cli.h"
#include "cli/link_queue.h"
#include "cli/links.h"
#include "cli/queue_list.h"
#include "session/queue_proto.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Kinds of records, and their numbers in Postfix's files. */
enum record {
    REC_SIZE = 'C',
    REC_TIME = 'T',
    REC_ATTR = 'A',
    REC_FROM = 'S',
    REC_RCPT = 'R',
    REC_DONE = 'D',
    REC_ORCP = 'O',
    REC_MESG = 'M',
    REC_NORM = 'N',
    REC_XTRA = 'X',
    REC_END = 'E'
};
enum { F_BODY = 1, F_HEAD = 2, F_ENV = 4, F_TYPE = 8, F_OFFSET = 16, F_VERBOSE = 32 };

struct cat {
    unsigned flags;
    uint64_t offset;
    char path[64];          /* "deferred/ID" */
    unsigned char *is_left; /* recipients that are still to be served */
    size_t n_left;
    uint64_t size;
    bool in_body;
};

/* ---- records ---- */

static void
record(struct cat *c, enum record type, const char *label, struct slice text)
{
    if (c->flags & F_OFFSET)
        printf("%9" PRIu64 " ", c->offset);
    if (c->flags & F_TYPE)
        printf("%3d ", (int)type);
    c->offset += 2 + text.n + (text.n > 127);
    printf("%s%.*s\n", label, SL_ARG(text));
}

static void
attr(struct cat *c, const char *name, struct slice value)
{
    struct buf b = { 0 };

    if (value.n > 0) {
        buf_addf(&b, "%s=%.*s", name, SL_ARG(value));
        record(c, REC_ATTR, "named_attribute: ", buf_slice(&b));
    }
    buf_free(&b);
}

static void
mark(struct cat *c, enum record type, const char *what)
{
    struct buf b = { 0 };

    buf_addf(&b, "*** %s %s ***", what, c->path);
    record(c, type, "", buf_slice(&b));
    c->offset -= b.n; /* the words are not in the record */
    buf_free(&b);
}

static void
attr_number(struct cat *c, const char *name, unsigned v)
{
    char text[16];

    snprintf(text, sizeof text, "%u", v);
    if (v != 0)
        attr(c, name, sl_z(text));
}

/* ---- the envelope ---- */

static void
client_attrs(struct cat *c, const struct queue_env *env)
{
    char origin[600];

    snprintf(origin, sizeof origin, "%.*s[%.*s]", SL_ARG(env->client_name), SL_ARG(env->client_ip));
    attr(c, "log_client_name", env->client_name);
    attr(c, "log_client_address", env->client_ip);
    attr(c, "log_message_origin", env->client_ip.n > 0 ? sl_z(origin) : SL(""));
    attr(c, "log_helo_name", env->helo);
    attr(c, "log_protocol_name", env->protocol);
    attr(c, "client_name", env->client_name);
    attr(c, "client_address", env->client_ip);
    attr(c, "helo_name", env->helo);
    attr(c, "protocol_name", env->protocol);
    if (env->client_ip.n > 0)
        attr(c, "client_address_type",
             sl_find_char(env->client_ip, ':') == SL_NPOS ? SL("2") : SL("10"));
    attr(c, "sasl_username", env->sasl_user);
}

static void
rcpt_records(struct cat *c, const struct queue_rcpt *r, bool is_left)
{
    if (r->has_sender)
        attr(c, "recipient_sender", r->sender.n > 0 ? r->sender : SL("<>"));
    attr(c, "dsn_orig_rcpt", r->orcpt);
    attr_number(c, "notify_flags", r->notify);
    record(c, REC_ORCP, "original_recipient: ", r->orig);
    record(c, is_left ? REC_RCPT : REC_DONE, is_left ? "recipient: " : "done_recipient: ", r->addr);
}

static void
show_envelope(struct cat *c, const struct queue_env *env, int64_t arrived_us)
{
    char text[200];
    time_t t = (time_t)(arrived_us / 1000000);
    struct tm tm;

    printf("*** ENVELOPE RECORDS %s ***\n", c->path);
    snprintf(text, sizeof text, "%15" PRIu64 " %15d %15zu %15d %15" PRIu64 " %15d", c->size, 0,
             env->n_rcpts, 0, c->size, env->is_utf8);
    record(c, REC_SIZE, "message_size: ", sl_z(text));
    localtime_r(&t, &tm);
    strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &tm);
    record(c, REC_TIME, "message_arrival_time: ", sl_z(text));
    record(c, REC_ATTR, "create_time: ", sl_z(text));
    attr(c, "log_ident", sl_z(env->id));
    attr(c, "hold_reason", env->hold);
    attr(c, "envelope_id", env->envid);
    attr_number(c, "ret_flags", env->ret);
    record(c, REC_FROM, "sender: ", env->sender);
    client_attrs(c, env);
    for (size_t i = 0; i < env->n_rcpts; i++)
        rcpt_records(c, &env->rcpts[i], i < c->n_left && c->is_left[i]);
}

/* ---- content ---- */

static void
content_line(struct cat *c, struct slice line)
{
    struct slice name;

    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line = sl_head(line, line.n - 1);
    name = sl_head(line, sl_find_char(line, ':'));
    /* The header goes on as long as there are fields, and lines that continue one. */
    if (!c->in_body && !sl_starts(line, ' ') && !sl_starts(line, '\t') &&
        (name.n == line.n || name.n == 0 || sl_find_char(name, ' ') != SL_NPOS))
        c->in_body = true;
    if (c->flags & (c->in_body ? F_BODY : F_HEAD))
        record(c, REC_NORM, c->flags & F_VERBOSE ? "regular_text: " : "", line);
}

static int
show_content(struct cat *c, struct queue_source *s, const char *id, struct err *e)
{
    struct queue_page p = { 0 };
    struct buf left = { 0 };
    struct slice in, line;
    int rc;

    do {
        rc = queue_source_ask(s, "content", id, &p, e);
        if (rc != 0)
            break;
        buf_adds(&left, buf_slice(&p.text));
        in = buf_slice(&left);
        while (sl_take_until(&in, '\n', &line))
            content_line(c, line);
        buf_consume(&left, left.n - in.n);
    } while (p.more && (!c->in_body || (c->flags & F_BODY)));
    if (rc == 0 && left.n > 0)
        content_line(c, buf_slice(&left));
    buf_free(&left);
    buf_free(&p.text);
    return rc;
}

/* ---- a message ---- */

static void
on_message(void *arg, const struct queue_list_message *m)
{
    struct cat *c = arg;

    snprintf(c->path, sizeof c->path, "%.*s/%.*s", SL_ARG(m->state), SL_ARG(m->id));
    c->size = m->size;
}

static void
on_rcpt(void *arg, const struct queue_list_rcpt *r)
{
    struct cat *c = arg;

    if (r->i < c->n_left)
        c->is_left[r->i] = 1;
}

static int
read_envelope(struct queue_source *s, const char *id, struct buf *packed, struct err *e)
{
    struct queue_page p = { 0 };
    int rc;

    do {
        rc = queue_source_ask(s, "envelope", id, &p, e);
        if (rc == 0)
            buf_adds(packed, buf_slice(&p.text));
    } while (rc == 0 && p.more);
    buf_free(&p.text);
    /* Text that begins so is qmgr's complaint: an envelope begins with its version. */
    if (rc == 0 && sl_has_prefix(buf_slice(packed), SL("E\t")))
        rc = err_set(e, ERR_NOTFOUND, "%.*s", SL_ARG(sl_from(buf_slice(packed), 2)));
    return rc;
}

static int
show(struct queue_source *s, const char *id, unsigned flags)
{
    static const struct queue_list_ops ops = { .message = on_message, .rcpt = on_rcpt };
    struct cat c = { .flags = flags };
    struct buf packed = { 0 };
    struct arena mem = { 0 };
    struct queue_env env;
    struct err e = { 0 };
    int64_t us = 0;
    int rc = read_envelope(s, id, &packed, &e);

    if (rc == 0)
        rc = queue_env_unpack(buf_slice(&packed), &mem, &env, &us, &e);
    if (rc == 0) {
        c.n_left = env.n_rcpts;
        c.is_left = calloc(env.n_rcpts + 1, 1);
        rc = queue_list_each(s, id, &ops, &c, &e);
    }
    if (rc == 0 && (flags & F_ENV))
        show_envelope(&c, &env, us);
    if (rc == 0 && (flags & F_ENV))
        mark(&c, REC_MESG, "MESSAGE CONTENTS");
    if (rc == 0 && (flags & (F_BODY | F_HEAD)))
        rc = show_content(&c, s, id, &e);
    if (rc == 0 && (flags & F_ENV)) {
        mark(&c, REC_XTRA, "HEADER EXTRACTED");
        mark(&c, REC_END, "MESSAGE FILE END");
    }
    free(c.is_left);
    buf_free(&packed);
    arena_free(&mem);
    if (rc == 0)
        return EXIT_OK;
    fflush(stdout);
    return link_fatal("postcat", EXIT_FAILED, "open queue file %s: %s", id,
                      e.kind == ERR_NOTFOUND || e.kind == ERR_CLIENT ? "No such file or directory"
                      : e.kind == ERR_PERM                           ? "Permission denied"
                                                                     : e.msg);
}

int
link_postcat(int argc, char **argv)
{
    struct queue_source *s = NULL;
    const char *conf_option = NULL;
    struct conf *c = NULL;
    struct err e = { 0 };
    unsigned flags = 0;
    int o, rc = EXIT_OK;

    optind = 1;
    while ((o = getopt(argc, argv, "bc:dehnoqrs:v")) != -1) {
        switch (o) {
        case 'b':
            flags |= F_BODY;
            break;
        case 'c':
            conf_option = optarg;
            break;
        case 'd':
            flags |= F_TYPE;
            break;
        case 'e':
            flags |= F_ENV;
            break;
        case 'h':
            flags |= F_HEAD;
            break;
        case 'o':
            flags |= F_OFFSET;
            break;
        case 'v':
            flags |= F_VERBOSE;
            break;
        case '?':
            return link_fatal("postcat", EXIT_FAILED,
                              "usage: postcat [-b (body text)] [-c config_dir] [-d (decimal record "
                              "type)] [-e (envelope records)] [-h (header text)] [-q (access "
                              "queue)] [-v] [file(s)...]");
        default: /* -q: there is nothing else to look into; -n -r -s: there is no file */
            break;
        }
    }
    if (!(flags & (F_BODY | F_HEAD | F_ENV)))
        flags |= F_BODY | F_HEAD | F_ENV;
    if (optind == argc)
        return link_fatal("postcat", EXIT_FAILED, "which message? postcat -q QUEUE-ID");
    c = link_load_conf(conf_option);
    if (c == NULL)
        return EXIT_FAILED;
    if (queue_source_open(c, &s, &e) != 0)
        rc = link_fatal("postcat", EXIT_FAILED, "open queue file %s: %s", argv[optind],
                        e.kind == ERR_NOTFOUND ? "No such file or directory" : e.msg);
    for (int i = optind; rc == EXIT_OK && i < argc; i++) {
        const char *slash = strrchr(argv[i], '/'); /* deferred/8/ID, too */

        rc = show(s, slash ? slash + 1 : argv[i], flags);
    }
    queue_source_close(&s);
    conf_unref(&c);
    return rc;
}
