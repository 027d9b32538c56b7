/* SPDX-License-Identifier: MIT */
#pragma once

/* The token endpoints: requests are judged as they come and answered as the rules want it. */

#include <microhttpd.h>
#include <stddef.h>
#include <stdint.h>

struct request;
struct server;

/* The request is complete. Paths other than a token endpoint's are answered 404. */
enum MHD_Result endpoint_receive(struct request *request);

/* The wait of a request is over. */
enum MHD_Result endpoint_resume(struct request *request);

/* The request is over, whether or not it was answered. */
void endpoint_finish(struct request *request);

/* Lets the oldest `limit` held requests go; returns how many there were. */
size_t endpoint_release(struct server *server, size_t limit);

/* Lets the requests go that wait because of one rule, to be answered normally; 0: all that wait. */
void endpoint_forget(struct server *server, uint64_t rule_id);
