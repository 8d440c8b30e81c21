#include "base/mem.h"

#include "base/list.h"
#include "base/test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(grows_arrays)
{
    size_t cap = 0, moves = 0;
    unsigned *a = NULL;

    for (unsigned i = 0; i < 10000; i++) {
        size_t before = cap;

        a = mem_grow(a, &cap, i + 1, sizeof(*a));
        CHECK(cap > i);
        moves += cap != before;
        a[i] = i;
    }
    CHECK(moves < 16);
    for (unsigned i = 0; i < 10000; i++)
        CHECK_EQ_INT(a[i], i);
    free(a);
}

TEST(nothing_is_never_null)
{
    void *p = mem_alloc(0);

    CHECK(p != NULL);
    p = mem_realloc(p, 0);
    CHECK(p != NULL);
    free(p);
    p = mem_dup(NULL, 0);
    CHECK(p != NULL);
    free(p);
    mem_wipe(NULL, 0);
}

TEST(wipes)
{
    char secret[] = "secret";

    mem_wipe(secret, sizeof(secret));
    CHECK_EQ_MEM(secret, sizeof(secret), "\0\0\0\0\0\0", 7);
}

TEST(a_bug_aborts)
{
    int status = 0;
    pid_t pid = fork();

    NEED(pid >= 0);
    if (pid == 0) {
        close(STDERR_FILENO);
        BUG_ON(1 > 0);
        _exit(0);
    }
    CHECK_EQ_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

struct item {
    int n;
    struct list link;
};

TEST(lists_keep_order_and_let_go)
{
    struct item items[5] = { 0 };
    struct list head;
    int n = 0;

    list_init(&head);
    CHECK(list_is_empty(&head) && list_pop_front(&head) == NULL);
    list_remove(&items[0].link); /* never linked */
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        CHECK(!list_is_linked(&items[i].link));
    }
    for (int i = 1; i < 5; i++)
        list_push_back(&head, &items[i].link);
    list_push_front(&head, &items[0].link);
    LIST_EACH(it, nxt, &head)
    {
        struct item *item = CONTAINER_OF(it, struct item, link);

        CHECK_EQ_INT(item->n, n++);
        if (item->n % 2 == 0)
            list_remove(it);
    }
    CHECK_EQ_INT(n, 5);
    CHECK(list_pop_front(&head) == &items[1].link);
    CHECK(!list_is_linked(&items[1].link) && list_is_linked(&items[3].link));
    CHECK(list_pop_front(&head) == &items[3].link);
    CHECK(list_is_empty(&head));
}

TEST_MAIN()
