/* SPDX-License-Identifier: MIT */
#pragma once

/* A journal, a file and decisions for the tests of daemon/audit. */

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../daemon/audit.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

/* For another thread's doing: ten seconds at most, mostly none. */
#define wait_until(condition)                                      \
        do {                                                       \
                for (int i_ = 0; i_ < 10000 && !(condition); i_++) \
                        (void)poll(NULL, 0, 1);                    \
                assert_true(condition);                            \
        } while (false)

/* A folder of the test's own, emptied and removed by folder_remove(). */
void folder_make(void);
void folder_remove(void);
const char *folder_path(const char *name); /* good for fifteen more calls */

/* journald, as far as a sender can tell. */
struct journal {
        int fd;
        size_t size;
        char datagram[65536];
};

void journal_open(struct journal *journal, const char *path);
void journal_close(struct journal *journal, const char *path);

/* The next datagram, waited for; fails the test if none comes. */
void journal_receive(struct journal *journal);
bool journal_is_empty(const struct journal *journal);

/* A field of the datagram received last, NULL if it has none of that name; fails the test if it has
 * two. Good until the next call but seven. */
const char *journal_field(const struct journal *journal, const char *name);

/* The file as a string; the caller frees it. */
char *read_file(const char *path);
size_t count_lines(const char *path);

struct token *make_token(const char *value);

/* Lines of daemon/log go to this file from now on, until log_release(). */
void log_capture(const char *path);
void log_release(void);
