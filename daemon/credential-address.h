/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * The address that systemd connects from to have a unit's credential: NUL RANDOM "/unit/" UNIT "/"
 * ID, in the abstract namespace (systemd.exec(5), LoadCredential=). It says for whom and for what,
 * and proves nothing: any process may bind such an address.
 */

#include <sys/socket.h>

#include "../lib/text.h"

/* What unit and id may have together for certain: all of an address but the NUL that begins it, 16
 * random digits and what is between them; and systemd keeps its last byte. */
#define CREDENTIAL_ADDRESS_NAMES_MAX 83

struct credential_address {
        struct text unit; /* borrowed from what was parsed, like */
        struct text id;
};

enum {
        CREDENTIAL_ADDRESS_E_OTHER = 1, /* it is none such */
};

/* Takes apart what getpeername(2) has filled in. 0 or CREDENTIAL_ADDRESS_E_OTHER. */
int credential_address_parse(const struct sockaddr_storage *address, socklen_t size,
                             struct credential_address *ret);

/* Whether systemd takes it for the name of a credential: a file name of printable ASCII without a
 * colon, of at most 255 bytes. */
bool credential_address_is_id(struct text id);
