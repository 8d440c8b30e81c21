/* dns/hosts.c - /etc/hosts, read again when it has changed. A local file of a few lines: read on the loop. */
#include "dns/dns_int.h"

#include "base/fs.h"

#include <sys/stat.h>

enum { HOSTS_OCTETS_MAX = 1024 * 1024 };

static const char path[] = "/etc/hosts";

static struct slice
hosts_text(void)
{
    static struct buf text = { .max = HOSTS_OCTETS_MAX };
    static struct timespec seen;
    struct stat st;
    struct err e;

    if (stat(path, &st) != 0)
        return SL("");
    if (st.st_mtim.tv_sec != seen.tv_sec || st.st_mtim.tv_nsec != seen.tv_nsec) {
        seen = st.st_mtim;
        buf_reset(&text);
        if (fs_read_file(path, &text, &e) != 0)
            buf_reset(&text);
    }
    return buf_slice(&text);
}

/* The next line with an address: the address, and the names behind it. */
static bool
take_host(struct slice *in, struct addr *a, struct slice *names)
{
    struct slice line, word;

    while (in->n > 0) {
        if (!sl_take_until(in, '\n', &line)) {
            line = *in;
            in->n = 0;
        }
        line = sl_head(line, sl_find_char(line, '#'));
        if (sl_take_word(&line, " \t\r", &word) && addr_parse_ip(word, 0, a) == 0) {
            *names = line;
            return true;
        }
    }
    return false;
}

bool
hosts_addr(struct slice name, unsigned want, struct entry *e)
{
    struct slice in = hosts_text(), names, word;
    struct addr a;

    while (take_host(&in, &a, &names)) {
        bool is_v6 = addr_family(&a) == AF_INET6;
        struct dns_rr rr = { .type = is_v6 ? DNS_AAAA : DNS_A, .addr = a };

        if (!(want & (is_v6 ? DNS_WANT_AAAA : DNS_WANT_A)))
            continue;
        while (sl_take_word(&names, " \t\r", &word)) {
            if (sl_ieq(word, name)) {
                entry_add(e, &rr);
                break;
            }
        }
    }
    e->a.rc = e->a.n > 0 ? DNS_OK : DNS_NODATA;
    return e->a.n > 0;
}

bool
hosts_name(const struct addr *a, struct entry *e)
{
    struct slice in = hosts_text(), names, word;
    struct addr at;

    while (e->a.n == 0 && take_host(&in, &at, &names)) {
        struct dns_rr rr = { .type = DNS_PTR };

        if (!addr_same_ip(a, &at) || !sl_take_word(&names, " \t\r", &word))
            continue;
        rr.text = word;
        entry_add(e, &rr);
    }
    e->a.rc = e->a.n > 0 ? DNS_OK : DNS_NODATA;
    return e->a.n > 0;
}
