/* SPDX-License-Identifier: MIT */
#pragma once

/* The control path, /_control/: what a test tells the issuer, and what it asks of it. */

#include <microhttpd.h>

struct request;
struct server;

/* The request is complete. */
enum MHD_Result control_receive(struct request *request);

/* The wait of a request is over. */
enum MHD_Result control_resume(struct request *request);

/* A counter may have changed: lets those go who waited for its value. */
void control_notice(struct server *server);
