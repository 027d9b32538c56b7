/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Intrusive doubly linked list. A head and a link are the same structure, a head alone is a ring of
 * itself, and so is a link that is in no list: unlinking it twice is harmless. The name of a link
 * field says which list it is for.
 */

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

struct list {
        struct list *prev;
        struct list *next;
};

#define LIST_INIT(x) ((struct list){.prev = &(x), .next = &(x)})

#define list_entry(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

#define list_for_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)

/* Survives the unlinking of `it`, not that of its successor. */
#define list_for_each_safe(it, head)                                              \
        for (struct list *it = (head)->next, *it##_next = it->next; it != (head); \
             it = it##_next, it##_next = it->next)

static inline void list_init(struct list *list)
{
        list->prev = list;
        list->next = list;
}

static inline bool list_empty(const struct list *list)
{
        return list->next == list;
}

static inline void list_insert_between(struct list *prev, struct list *next, struct list *link)
{
        link->prev = prev;
        link->next = next;
        prev->next = link;
        next->prev = link;
}

static inline void list_push_front(struct list *head, struct list *link)
{
        list_insert_between(head, head->next, link);
}

static inline void list_push_back(struct list *head, struct list *link)
{
        list_insert_between(head->prev, head, link);
}

/* Takes `link` out of its list and makes it a ring of its own. */
static inline void list_unlink(struct list *link)
{
        link->prev->next = link->next;
        link->next->prev = link->prev;
        list_init(link);
}

static inline struct list *list_first(const struct list *head)
{
        return list_empty(head) ? NULL : head->next;
}

/* The first of a list that has one. */
static inline struct list *list_front(const struct list *head)
{
        assert(!list_empty(head));
        return head->next;
}
