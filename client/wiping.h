/* SPDX-License-Identifier: MIT */
#pragma once

/* libcurl's memory, which holds requests and answers, and so tokens: wiped when it is given back.
 */

/*
 * Initialises libcurl, once in a process, with such memory; where the program has initialised it
 * before, its own memory functions stay. 0 or -ENOMEM. Safe from any thread.
 */
int wiping_init_curl(void);
