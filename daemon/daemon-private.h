/* SPDX-License-Identifier: MIT */
#pragma once

/* What the building of the daemon (daemon.c) and its turns (daemon-turn.c) share. */

#include "../lib/broker.h"
#include "audit.h"
#include "credential-server.h"
#include "daemon.h"
#include "fdstore.h"
#include "headroom.h"
#include "keeper.h"
#include "listen.h"
#include "loop.h"
#include "monitor.h"
#include "reload.h"
#include "server.h"
#include "upstream.h"

enum phase {
        PHASE_SERVING,
        PHASE_DRAINING, /* fetches may end, until phase_until_ms */
        PHASE_FLUSHING, /* answers may be sent, until phase_until_ms */
        PHASE_DONE,
};

struct daemon {
        const struct config *config;
        struct notify *notify; /* borrowed */
        struct loop loop;
        struct loop_source signals;
        struct broker *broker;
        struct fdstore fdstore;
        struct keeper keeper;
        struct upstream upstream;
        struct api api;
        struct audit *audit;
        struct monitor monitor;
        struct peer_finder finder;
        struct reload reload;
        struct server server;
        struct credential_server credentials;
        struct listeners listeners;
        struct headroom headroom;
        enum phase phase;
        uint64_t phase_until_ms;
        bool commands_left; /* more than a turn carries out */
};

/* Turns until a signal has ended it and the drain is over. 0 or -errno. */
int daemon_turn(struct daemon *daemon);

/* The descriptor of the signals: SIGHUP reads the configuration again, others end. */
void daemon_signals_ready(struct loop_source *source, uint32_t events);

/* Answers everybody who waits; libmicrohttpd, which has the answers to send, cannot be stopped
 * before. */
void daemon_release_callers(struct daemon *daemon);

/* Tells the service manager how we are, and by the turn that we are. */
void daemon_tell_manager(struct daemon *daemon);
