#include "base/test.h"
#include "base/buf.h"
#include "oauth/url.h"

TEST(urls)
{
    static const struct {
        const char *text, *want; /* "tls host port authority target user password"; NULL: none */
    } rows[] = {
        { "https://id.example.com", "1 id.example.com 443 id.example.com / - -" },
        { "HTTPS://id.example.com/", "1 id.example.com 443 id.example.com / - -" },
        { "https://id.example.com:8443/a/b?c=d&e=",
          "1 id.example.com 8443 id.example.com:8443 /a/b?c=d&e= - -" },
        { "https://id.example.com?t=", "1 id.example.com 443 id.example.com /?t= - -" },
        { "https://192.0.2.1/x", "1 192.0.2.1 443 192.0.2.1 /x - -" },
        { "https://[2001:db8::1]:444/x", "1 2001:db8::1 444 [2001:db8::1]:444 /x - -" },
        { "https://id:s%3Ac%40t@id.example.com/x",
          "1 id.example.com 443 id.example.com /x id s:c@t" },
        { "https://a:b@c@id.example.com/", "1 id.example.com 443 id.example.com / a b@c" },
        { "http://localhost:8080/x", "0 localhost 8080 localhost:8080 /x - -" },
        { "http://127.0.0.1/x", "0 127.0.0.1 80 127.0.0.1 /x - -" },
        { "http://[::1]/x", "0 ::1 80 [::1] /x - -" },
        { "http://id.example.com/", NULL },
        { "http://192.0.2.1/", NULL },
        { "http://localhost.example.com/", NULL },
        { "http://127.0.0.1.example.com/", NULL },
        { "http://localhost@id.example.com/", NULL },
        { "http://localhost:x@id.example.com/", NULL },
        { "ftp://id.example.com/", NULL },
        { "id.example.com", NULL },
        { "https:/id.example.com/", NULL },
        { "https://", NULL },
        { "https:///x", NULL },
        { "https://id.example.com:/x", NULL },
        { "https://id.example.com:0/x", NULL },
        { "https://id.example.com:65536/x", NULL },
        { "https://id.example.com:x/x", NULL },
        { "https://id_x y/", NULL },
        { "https://id.example.com/x y", NULL },
        { "https://id.example.com/x\r\nHost: y", NULL },
        { "https://id.example.com/#x", NULL },
        { "https://id.example.com\\@else/", NULL },
        { "https://us%er:x@id.example.com/", NULL },
        { "https://user@id.example.com/", NULL },
        { "https://[2001:db8::1/x", NULL },
        { "https://id.example.com]/x", NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct url u;
        struct buf got = { 0 };
        struct err e = { 0 };
        int rc = url_parse(rows[i].text, &u, &e);

        TEST_ROW("%s", rows[i].text);
        CHECK_EQ_INT(rc, rows[i].want ? 0 : -1);
        if (rc == 0) {
            buf_addf(&got, "%d %s %u %s %s %s %s", u.is_tls, u.host, u.port, u.authority, u.target,
                     u.user ? u.user : "-", u.password ? u.password : "-");
            if (rows[i].want)
                CHECK_EQ_STR(buf_z(&got), rows[i].want);
        } else {
            CHECK_EQ_INT(e.kind, ERR_CONFIG);
        }
        buf_free(&got);
        url_free(&u);
    }
}

TEST_MAIN()
