/* SPDX-License-Identifier: MIT */
#pragma once

/* What is left in the buffers of HTTP/2 connections to issuers that are kept. Linking this is
 * enough for most of it, see wipe-http2.c. */

/* Wipes the rest. Only while libcurl has no transfer, which could still be reading there. */
void wipe_http2_idle(void);
