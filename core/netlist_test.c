/* core/netlist_test.c - lists of networks. */
#include "core/netlist.h"

#include "base/mem.h"
#include "base/test.h"

static const char *const nets[] = { "!127.0.0.9", "127.0.0.0/8", "[::ffff:10.0.0.0]/104",
                                    "[::1]/128", "192.0.2.7" };
static const struct {
    const char *ip;
    bool want;
} hosts[] = {
    { "127.0.0.1", true }, { "127.0.0.9", false }, { "10.1.2.3", true },   { "::1", true },
    { "::2", false },      { "192.0.2.7", true },  { "192.0.2.8", false }, { "2001:db8::1", false },
};

TEST(networks)
{
    struct netlist l;
    struct err e = { 0 };
    const char *bad[] = { "127.0.0.0/33" };

    NEED(netlist_init(&l, "mynetworks", (struct conf_list){ nets, COUNT_OF(nets) }, &e) == 0);
    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        struct addr a;

        TEST_ROW("%s", hosts[i].ip);
        CHECK(addr_parse_ip(sl_z(hosts[i].ip), 0, &a) == 0);
        CHECK_EQ_INT(netlist_match(&l, &a), hosts[i].want);
    }
    netlist_free(&l);
    CHECK(netlist_init(&l, "mynetworks", (struct conf_list){ bad, 1 }, &e) == -1 &&
          e.kind == ERR_CONFIG);
}

TEST_MAIN()
