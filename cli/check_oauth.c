/* cli/check_oauth.c - OAUTHBEARER and XOAUTH2: who says what a token is worth, and is that enough? */
#include "cli/check_int.h"

#include "auth/names.h"
#include "auth/oauth_client.h"
#include "base/fs.h"
#include "base/mem.h"
#include "oauth/jwks.h"
#include "oauth/url.h"
#include "tls/tls.h"

#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_OCTETS = 4096 };

static bool
is_mode(const struct conf *c, const char *mode)
{
    return strcmp(c->oauth2_introspection_mode, mode) == 0;
}

static void
tell(const struct conf *c, struct conf_problems *ps, bool is_error, const char *param,
     const char *text)
{
    unsigned line = conf_line_of(c, param);

    /* What is missing is told where it is asked for. */
    conf_problem_add(ps, is_error, conf_file_of(c),
                     line ? line : conf_line_of(c, "auth_mechanisms"), "%s: %s", param, text);
}

static void
check_url(const struct conf *c, struct conf_problems *ps, const char *param, const char *text)
{
    struct url u = { 0 };
    struct err e = { 0 };

    if (text[0] && url_parse(text, &u, &e) != 0)
        tell(c, ps, true, param, e.msg);
    url_free(&u);
}

static void
check_keys(const struct conf *c, struct conf_problems *ps)
{
    struct jwks *keys = NULL;
    struct err e = { 0 };

    if (c->oauth2_jwks_file[0] == '\0')
        tell(c, ps, true, "oauth2_jwks_file", "mode local has no keys to look at signatures with");
    else if (jwks_read(c->oauth2_jwks_file, &keys, &e) != 0)
        tell(c, ps, true, "oauth2_jwks_file", e.msg);
    else if (jwks_has_secret(keys))
        tell(c, ps, false, "oauth2_jwks_file",
             "has secret keys in it: who reads them makes tokens; only public ones belong there");
    jwks_free(&keys);
}

static void
check_secret(const struct conf *c, struct conf_problems *ps)
{
    const char *secret = c->oauth2_client_secret;
    struct buf text = { .max = SECRET_OCTETS };
    struct err e = { 0 };
    struct stat st;

    if (secret[0] == '<' && fs_read_file(secret + 1, &text, &e) != 0)
        tell(c, ps, true, "oauth2_client_secret", e.msg);
    else if (secret[0] && secret[0] != '<' && stat(conf_file_of(c), &st) == 0 &&
             (st.st_mode & S_IROTH))
        tell(c, ps, false, "oauth2_client_secret",
             "everybody on this host can read it here; </path takes it from a file");
    if (secret[0] && c->oauth2_client_id[0] == '\0')
        tell(c, ps, true, "oauth2_client_secret", "is nobody's without oauth2_client_id");
    buf_wipe(&text);
}

static void
check_asking(const struct conf *c, struct conf_problems *ps)
{
    const struct tls_client_opts o = { .ca_file = c->oauth2_tls_ca_cert_file };
    struct tls_ctx *tls = NULL;
    struct err e = { 0 };

    if (c->oauth2_introspection_url[0] && c->oauth2_introspection_mode[0] == '\0')
        tell(c, ps, true, "oauth2_introspection_mode",
             "how is oauth2_introspection_url to be asked? post, auth or get");
    if (c->oauth2_introspection_url[0] == '\0' &&
        (c->oauth2_tokeninfo_url[0] == '\0' || c->oauth2_force_introspection))
        tell(c, ps, true, "oauth2_introspection_url",
             "auth_mechanisms has oauthbearer or xoauth2, and nobody says what a token is worth: "
             "set "
             "this, or oauth2_tokeninfo_url, or oauth2_introspection_mode = local");
    if (c->oauth2_force_introspection && c->oauth2_tokeninfo_url[0] == '\0')
        tell(c, ps, false, "oauth2_force_introspection",
             "has no meaning without oauth2_tokeninfo_url: oauth2_introspection_url is asked "
             "anyway");
    check_url(c, ps, "oauth2_introspection_url", c->oauth2_introspection_url);
    check_url(c, ps, "oauth2_tokeninfo_url", c->oauth2_tokeninfo_url);
    if (o.ca_file[0] && access(o.ca_file, R_OK) != 0)
        err_sys(&e, "%s", o.ca_file);
    if (e.msg[0] || tls_client_new(&o, &tls, &e) != 0)
        tell(c, ps, true, "oauth2_tls_ca_cert_file", e.msg);
    tls_unref(&tls);
    check_secret(c, ps);
}

/* What a provider's tokens for a game must not do. */
static void
check_enough(const struct conf *c, struct conf_problems *ps)
{
    struct err e = { 0 };
    bool has_client = is_mode(c, "local") && c->oauth2_client_id[0];

    if (!is_mode(c, "post") && !has_client && c->oauth2_audience.n == 0 && c->oauth2_scope.n == 0)
        tell(c, ps, false, "oauth2_audience",
             "a token that the provider made for any other program opens the mailbox, too: set "
             "this, "
             "or oauth2_scope");
    if (c->oauth2_active_value[0] && c->oauth2_active_attribute[0] == '\0')
        tell(c, ps, true, "oauth2_active_value", "of what? oauth2_active_attribute is not set");
    if (c->oauth2_username_attribute[0] == '\0')
        tell(c, ps, true, "oauth2_username_attribute", "without it a token is nobody's");
    if (auth_format_check(c->oauth2_username_validation_format, &e) != 0)
        tell(c, ps, true, "oauth2_username_validation_format", e.msg);
    if (strcmp(c->oauth2_username_validation_format, "%n") == 0)
        tell(c, ps, false, "oauth2_username_validation_format",
             "a token's \"joe\" opens joe@ of every domain here");
}

void
check_oauth(const struct conf *c, struct conf_problems *ps)
{
    const struct {
        const char *param, *value;
    } all[] = { { "oauth2_introspection_mode", c->oauth2_introspection_mode },
                { "oauth2_tokeninfo_url", c->oauth2_tokeninfo_url },
                { "oauth2_introspection_url", c->oauth2_introspection_url },
                { "oauth2_jwks_file", c->oauth2_jwks_file } };

    if (oauth_is_offered(c)) {
        if (is_mode(c, "local"))
            check_keys(c, ps);
        else
            check_asking(c, ps);
        check_enough(c, ps);
        if (!is_mode(c, "local") && c->oauth2_jwks_file[0])
            tell(c, ps, false, "oauth2_jwks_file",
                 "is not read: oauth2_introspection_mode is not local");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(all); i++)
        if (all[i].value[0]) {
            tell(c, ps, false, all[i].param,
                 "nobody asks: auth_mechanisms has neither oauthbearer nor xoauth2");
            return;
        }
}
