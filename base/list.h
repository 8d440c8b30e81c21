/* base/list.h - intrusive doubly linked list. A head is a node that links to itself. Layer: base. */
#ifndef POSTERN_BASE_LIST_H
#define POSTERN_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

static inline void
list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool
list_is_empty(const struct list *l)
{
    return l->next == l;
}

/* A node that is in no list: initialised, or removed. */
static inline bool
list_is_linked(const struct list *n)
{
    return n->next != NULL && n->next != n;
}

static inline void
list_push_back(struct list *head, struct list *n)
{
    n->prev = head->prev;
    n->next = head;
    head->prev->next = n;
    head->prev = n;
}

static inline void
list_push_front(struct list *head, struct list *n)
{
    list_push_back(head->next, n);
}

/* Safe on a node that is not linked. */
static inline void
list_remove(struct list *n)
{
    if (n->next == NULL)
        return;
    n->prev->next = n->next;
    n->next->prev = n->prev;
    list_init(n);
}

/* The first node taken out, or NULL. */
static inline struct list *
list_pop_front(struct list *head)
{
    struct list *n = head->next;

    if (n == head)
        return NULL;
    /* list_remove() said with what is known, head being n's neighbour: so an analyser sees it, too. */
    head->next = n->next;
    n->next->prev = head;
    list_init(n);
    return n;
}

/* The node it stands at may be removed in the body. */
#define LIST_EACH(it, nxt, head)                                                                   \
    for (struct list *it = (head)->next, *nxt = it->next; it != (head); it = nxt, nxt = it->next)

#endif
