/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The one poll: descriptors with something to read or write, and the time. Everything the daemon
 * does happens in a callback from here or in the turn that follows.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#define LOOP_NEVER UINT64_MAX

/* A descriptor that is watched; embedded in what it belongs to. */
struct loop_source {
        int fd;
        void (*ready)(struct loop_source *source, uint32_t events); /* EPOLLIN, EPOLLOUT, … */
};

#define LOOP_BATCH 64

/* Turns in a row in which a host may keep us from looking after ours. */
#define LOOP_UNSEEN_MAX 16

/*
 * Somebody who has descriptors of his own, who gets most of what happens, and who can wait for them
 * and for the loop's epoll descriptor at once, so that a turn costs one wait and not two.
 */
struct loop_host {
        /* Waits until something is ready, or not at all, and serves what is his own; says whether
         * ours should be looked after. That they need not be may be a guess, if there was a little
         * of his own, which is then what has ended the wait. Calls loop_catch_up() before anything
         * that wants to know the time. */
        bool (*wait)(struct loop_host *host, bool waits);
};

struct loop {
        int epoll_fd;
        struct loop_host *host; /* borrowed; NULL: the loop waits itself */
        struct loop_source timer;
        uint64_t timer_ms;     /* when it wakes us; LOOP_NEVER: it does not */
        uint64_t now_ms;       /* CLOCK_BOOTTIME, read once a turn */
        int64_t wall_ms;       /* time of day since 1970, the same */
        bool is_late;          /* the time is that of before the wait */
        unsigned int n_unseen; /* turns since ours were looked after */
        struct epoll_event batch[LOOP_BATCH];
        int n_batch;
};

/* 0 or -errno. */
int loop_init(struct loop *loop);
void loop_deinit(struct loop *loop);

/* Reads the clock anew. */
void loop_update_time(struct loop *loop);

/* The same, unless it was read since the wait. */
void loop_catch_up(struct loop *loop);

/* 0 or -errno. The source and its descriptor must live until it is removed. */
int loop_add(struct loop *loop, struct loop_source *source, uint32_t events);
int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events);

/* May be called from any callback; events already fetched for the source are forgotten. */
void loop_remove(struct loop *loop, struct loop_source *source);

/* Waits until something is ready, or `until_ms`, or (seldom) for nothing; calls back what is ready.
 * 0 or -errno. */
int loop_turn(struct loop *loop, uint64_t until_ms);
