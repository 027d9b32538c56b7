/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Whether memory was refused to those of our libraries that do not always say so. What OpenSSL,
 * libnghttp2 and libcurl report when they run out of memory may as well be a handshake that failed
 * or a peer that broke a rule, so that the issuer would have the blame.
 */

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

/* From now on refusals are counted. Once in a process, before anything uses OpenSSL. False: it was
 * used already, and nothing is counted. */
bool starvation_watch(void);

/* curl_global_init(), with the same done for libcurl. */
CURLcode starvation_init_curl(void);

/* How often memory was refused to them so far; by any thread, for any thread. */
uint64_t starvation_count(void);
