/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The one poll: descriptors with something to read or write, and the time. Everything the daemon
 * does happens in a callback from here or in the turn that follows.
 */

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

struct loop {
        int epoll_fd;
        struct loop_source timer;
        uint64_t timer_ms; /* when it wakes us; LOOP_NEVER: it does not */
        uint64_t now_ms;   /* CLOCK_BOOTTIME, read once a turn */
        int64_t wall_ms;   /* time of day since 1970, the same */
        struct epoll_event batch[LOOP_BATCH];
        int n_batch;
};

/* 0 or -errno. */
int loop_init(struct loop *loop);
void loop_deinit(struct loop *loop);

/* Reads the clock anew. */
void loop_update_time(struct loop *loop);

/* 0 or -errno. The source and its descriptor must live until it is removed. */
int loop_add(struct loop *loop, struct loop_source *source, uint32_t events);
int loop_modify(struct loop *loop, struct loop_source *source, uint32_t events);

/* May be called from any callback; events already fetched for the source are forgotten. */
void loop_remove(struct loop *loop, struct loop_source *source);

/* Waits until something is ready, or `until_ms`, or (seldom) for nothing; calls back what is ready.
 * 0 or -errno. */
int loop_turn(struct loop *loop, uint64_t until_ms);
