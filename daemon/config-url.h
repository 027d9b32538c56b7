/* SPDX-License-Identifier: MIT */
#pragma once

/* URLs as the configuration may write them, fit for CONFIG_KIND_STRING's check. */

#include <stdbool.h>

/* A token URL: https://, or http:// to a literal loopback address; without user, password and
 * fragment. */
bool config_url_is_token_url(const char *value);

/* A proxy: http:// or https://, a host, a port or none, and nothing else. "" is accepted, too: it
 * stands for no proxy at all. */
bool config_url_is_proxy(const char *value);
