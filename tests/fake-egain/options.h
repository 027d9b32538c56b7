/* SPDX-License-Identifier: MIT */
#pragma once

/* The command line. Strings are borrowed from argv. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "clients.h"

#define OPTIONS_NAMES_MAX 256

struct options_names {
        const char *names[OPTIONS_NAMES_MAX];
        size_t n_names;
};

struct options {
        struct sockaddr_storage address; /* a loopback address */
        socklen_t address_size;
        const char *port_file; /* NULL: none */
        const char *tls_cert;  /* NULL together with tls_key: plain HTTP */
        const char *tls_key;
        struct options_names scopes;           /* assigned to every client application */
        struct options_names unknown_subjects; /* of any kind */
        struct options_names registrations;    /* identity providers whose tokens are exchanged */
        int64_t lifetime_s;
        size_t token_bytes;
};

enum {
        OPTIONS_E_DONE = 1, /* --help or --version: printed */
        OPTIONS_E_USAGE,    /* a mistake: explained on stderr */
};

/* Fills `clients`, too, which must be initialised. 0, -ENOMEM or an outcome above. */
int options_parse(struct options *options, struct clients *clients, int argc, char **argv);

bool options_names_have(const struct options_names *names, const char *name, size_t size);
