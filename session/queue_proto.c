/* session/queue_proto.c - see queue_proto.h. */
#include "session/queue_proto.h"

#include "session/queue_id.h"

/* ENV_HOLD: the reason follows the recipients. ENV_MORE: then what only some recipients have. Bits and not a version: queues
 * written before them still open. */
enum { ENV_8BIT = 1, ENV_UTF8 = 2, ENV_HOLD = 4, ENV_MORE = 8, ENV_REFUSED = 16 };
enum { RCPT_IS_FORWARDED = 1, RCPT_HAS_SENDER = 2, RCPT_HAS_ALIAS = 4 };

static void
add_le(struct buf *b, uint64_t v, unsigned octets)
{
    char t[8];

    for (unsigned i = 0; i < octets; i++)
        t[i] = (char)(unsigned char)(v >> (8 * i));
    buf_add(b, t, octets);
}

static bool
take_le(struct slice *in, uint64_t *v, unsigned octets)
{
    uint64_t r = 0;

    if (in->n < octets)
        return false;
    for (unsigned i = 0; i < octets; i++)
        r |= (uint64_t)(unsigned char)in->p[i] << (8 * i);
    *v = r;
    *in = sl_from(*in, octets);
    return true;
}

void
wire_add_u8(struct buf *b, unsigned v)
{
    add_le(b, v, 1);
}

void
wire_add_u32(struct buf *b, uint32_t v)
{
    add_le(b, v, 4);
}

void
wire_add_u64(struct buf *b, uint64_t v)
{
    add_le(b, v, 8);
}

void
wire_add_str(struct buf *b, struct slice s)
{
    add_le(b, s.n, 4);
    buf_adds(b, s);
}

bool
wire_take_u8(struct slice *in, unsigned *v)
{
    uint64_t t;

    if (!take_le(in, &t, 1))
        return false;
    *v = (unsigned)t;
    return true;
}

bool
wire_take_u32(struct slice *in, uint32_t *v)
{
    uint64_t t;

    if (!take_le(in, &t, 4))
        return false;
    *v = (uint32_t)t;
    return true;
}

bool
wire_take_u64(struct slice *in, uint64_t *v)
{
    return take_le(in, v, 8);
}

bool
wire_take_str(struct slice *in, struct slice *s)
{
    struct slice at = *in;
    uint64_t n;

    if (!take_le(&at, &n, 4) || n > at.n)
        return false;
    *s = sl_head(at, (size_t)n);
    *in = sl_from(at, (size_t)n);
    return true;
}

static bool
has_more(const struct queue_rcpt *r)
{
    return r->kind != RCPT_ADDRESS || r->is_forwarded || r->has_sender || r->alias.n > 0;
}

static bool
has_target(unsigned kind)
{
    return kind == RCPT_COMMAND || kind == RCPT_FILE || kind == RCPT_REFUSED;
}

/* u32 how many, then of each: u32 row, u8 kind, u8 bits, str sender; and of some kinds str target; of some bits str alias */
static void
add_more(struct buf *b, const struct queue_env *env, uint32_t n)
{
    wire_add_u32(b, n);
    for (size_t i = 0; i < env->n_rcpts; i++) {
        const struct queue_rcpt *r = &env->rcpts[i];

        if (!has_more(r))
            continue;
        wire_add_u32(b, (uint32_t)i);
        wire_add_u8(b, r->kind);
        wire_add_u8(b, (r->is_forwarded ? RCPT_IS_FORWARDED : 0u) |
                           (r->has_sender ? RCPT_HAS_SENDER : 0u) |
                           (r->alias.n > 0 ? RCPT_HAS_ALIAS : 0u));
        wire_add_str(b, r->has_sender ? r->sender : SL(""));
        if (has_target(r->kind))
            wire_add_str(b, r->target);
        if (r->alias.n > 0)
            wire_add_str(b, r->alias);
    }
}

void
queue_env_pack(struct buf *b, const struct queue_env *env, int64_t arrived_us)
{
    uint32_t n_more = 0;

    for (size_t i = 0; i < env->n_rcpts; i++)
        n_more += has_more(&env->rcpts[i]);
    wire_add_u8(b, QUEUE_WIRE_VERSION);
    wire_add_u8(b, (env->is_8bit ? ENV_8BIT : 0u) | (env->is_utf8 ? ENV_UTF8 : 0u) |
                       (env->hold.n > 0 ? ENV_HOLD : 0u) | (n_more > 0 ? ENV_MORE : 0u) |
                       (env->refused.n > 0 ? ENV_REFUSED : 0u));
    wire_add_u8(b, env->ret);
    wire_add_u64(b, (uint64_t)arrived_us);
    wire_add_str(b, sl_z(env->id));
    wire_add_str(b, env->sender);
    wire_add_str(b, env->envid);
    wire_add_str(b, env->client_name);
    wire_add_str(b, env->client_ip);
    wire_add_str(b, env->helo);
    wire_add_str(b, env->sasl_user);
    wire_add_str(b, env->protocol);
    wire_add_u32(b, (uint32_t)env->n_rcpts);
    for (size_t i = 0; i < env->n_rcpts; i++) {
        const struct queue_rcpt *r = &env->rcpts[i];

        wire_add_str(b, r->addr);
        wire_add_str(b, sl_eq(r->orig, r->addr) ? SL("") : r->orig);
        wire_add_str(b, r->orcpt);
        wire_add_u8(b, r->notify);
    }
    if (env->hold.n > 0)
        wire_add_str(b, env->hold);
    if (n_more > 0)
        add_more(b, env, n_more);
    if (env->refused.n > 0)
        wire_add_str(b, env->refused);
}

/* Addresses become parts of commands: no octet that could end one. What goes out in
 * xtext (ENVID, ORCPT after its type) may have any. */
static bool
is_clean(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
    return true;
}

static bool
take_rcpts(struct slice *in, struct arena *a, struct queue_env *env, struct queue_rcpt **out)
{
    uint32_t n;
    struct queue_rcpt *v;

    if (!wire_take_u32(in, &n) || n == 0 || n > QUEUE_RCPTS_MAX)
        return false;
    v = arena_alloc(a, n * sizeof *v);
    if (v == NULL)
        return false;
    memset(v, 0, n * sizeof *v);
    for (uint32_t i = 0; i < n; i++) {
        if (!wire_take_str(in, &v[i].addr) || !wire_take_str(in, &v[i].orig) ||
            !wire_take_str(in, &v[i].orcpt) || !wire_take_u8(in, &v[i].notify) ||
            v[i].addr.n == 0 || !is_clean(v[i].addr) || !is_clean(v[i].orig) ||
            !is_clean(sl_head(v[i].orcpt, sl_find_char(v[i].orcpt, ';'))))
            return false;
        if (v[i].orig.n == 0)
            v[i].orig = v[i].addr;
    }
    *out = v;
    env->rcpts = v;
    env->n_rcpts = n;
    return true;
}

static bool
take_more(struct slice *in, struct queue_rcpt *v, size_t n)
{
    uint32_t n_more, i;
    unsigned kind, bits;

    if (!wire_take_u32(in, &n_more) || n_more > n)
        return false;
    while (n_more-- > 0) {
        struct slice sender;

        if (!wire_take_u32(in, &i) || i >= n || !wire_take_u8(in, &kind) || kind >= RCPT_KINDS ||
            !wire_take_u8(in, &bits) || !wire_take_str(in, &sender) || !is_clean(sender))
            return false;
        v[i].kind = kind;
        v[i].is_forwarded = (bits & RCPT_IS_FORWARDED) != 0;
        v[i].has_sender = (bits & RCPT_HAS_SENDER) != 0;
        v[i].sender = sender;
        if (has_target(kind) &&
            (!wire_take_str(in, &v[i].target) || v[i].target.n == 0 || !is_clean(v[i].target)))
            return false;
        if ((bits & RCPT_HAS_ALIAS) && (!wire_take_str(in, &v[i].alias) || !is_clean(v[i].alias)))
            return false;
    }
    return true;
}

int
queue_env_unpack(struct slice in, struct arena *a, struct queue_env *env, int64_t *arrived_us,
                 struct err *e)
{
    unsigned version, flags;
    uint64_t us;
    struct slice id;
    struct queue_rcpt *rcpts;

    memset(env, 0, sizeof *env);
    if (!wire_take_u8(&in, &version) || version != QUEUE_WIRE_VERSION)
        return err_set(e, ERR_CLIENT, "envelope of an unknown version");
    if (!wire_take_u8(&in, &flags) || !wire_take_u8(&in, &env->ret) || !wire_take_u64(&in, &us) ||
        !wire_take_str(&in, &id) || !wire_take_str(&in, &env->sender) ||
        !wire_take_str(&in, &env->envid) || !wire_take_str(&in, &env->client_name) ||
        !wire_take_str(&in, &env->client_ip) || !wire_take_str(&in, &env->helo) ||
        !wire_take_str(&in, &env->sasl_user) || !wire_take_str(&in, &env->protocol) ||
        !take_rcpts(&in, a, env, &rcpts) ||
        ((flags & ENV_HOLD) && !wire_take_str(&in, &env->hold)) ||
        ((flags & ENV_MORE) && !take_more(&in, rcpts, env->n_rcpts)) ||
        ((flags & ENV_REFUSED) && !wire_take_str(&in, &env->refused)) || in.n != 0 ||
        !is_clean(env->sender))
        return err_set(e, ERR_CLIENT, "malformed envelope");
    if (!queue_id_parse(id, NULL, NULL, NULL))
        return err_set(e, ERR_CLIENT, "malformed queue id in an envelope");
    memcpy(env->id, id.p, id.n);
    env->is_8bit = (flags & ENV_8BIT) != 0;
    env->is_utf8 = (flags & ENV_UTF8) != 0;
    *arrived_us = (int64_t)us;
    return 0;
}

void
queue_put_pack(struct buf *b, const struct queue_wire_put *p)
{
    wire_add_str(b, p->env);
    wire_add_u64(b, p->size);
    wire_add_u32(b, p->crc);
    wire_add_str(b, p->file);
    wire_add_str(b, p->body);
}

int
queue_put_unpack(struct slice in, struct queue_wire_put *p, struct err *e)
{
    if (!wire_take_str(&in, &p->env) || !wire_take_u64(&in, &p->size) ||
        !wire_take_u32(&in, &p->crc) || !wire_take_str(&in, &p->file) ||
        !wire_take_str(&in, &p->body) || in.n != 0 || p->env.n > QUEUE_ENV_OCTETS_MAX ||
        p->body.n > QUEUE_INLINE_OCTETS || (p->file.n == 0 && p->body.n != p->size) ||
        (p->file.n != 0 && p->body.n != 0))
        return err_set(e, ERR_CLIENT, "malformed message on the queue's socket");
    /* The name becomes part of a path: only what queue_client.c makes. */
    for (size_t i = 0; i < p->file.n; i++)
        if (!sl_is_alnum_char(p->file.p[i]))
            return err_set(e, ERR_CLIENT, "bad file name on the queue's socket");
    return 0;
}
