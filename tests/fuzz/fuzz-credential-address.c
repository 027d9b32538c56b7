/* SPDX-License-Identifier: MIT */

/*
 * The address of a peer that wants a credential: the input is its path, from the NUL on. What is
 * accepted says the same when it is put together again, and nothing in it could stand for more than
 * a name.
 */

#include "fuzz.h"

#include <ctype.h>
#include <stddef.h>
#include <sys/un.h>

#include "../../daemon/credential-address.h"

static void check_part(struct text part, const char *path, size_t size)
{
        must(part.size > 0 && part.bytes > path && part.bytes + part.size <= path + size);
        for (size_t i = 0; i < part.size; i++)
                must(isprint((unsigned char)part.bytes[i]) && part.bytes[i] != '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const size_t begin = offsetof(struct sockaddr_un, sun_path);
        struct sockaddr_storage *address = calloc(1, sizeof(*address));
        char *path = (char *)address + begin;
        struct credential_address claim, same;
        char again[sizeof(struct sockaddr_un)];
        int r, n;

        must(address);
        if (size > sizeof(*address) - begin)
                size = sizeof(*address) - begin;
        address->ss_family = AF_UNIX;
        if (size > 0)
                memcpy(path, data, size);
        r = credential_address_parse(address, (socklen_t)(begin + size), &claim);
        must(r == 0 || r == CREDENTIAL_ADDRESS_E_OTHER);
        if (r == 0) {
                must(size <= sizeof(((struct sockaddr_un *)NULL)->sun_path));
                check_part(claim.unit, path, size);
                check_part(claim.id, path, size);
                must(claim.id.bytes + claim.id.size == path + size);
                must(credential_address_is_id(claim.id));

                n = snprintf(again, sizeof(again), "%c1/unit/%.*s/%.*s", 0, (int)claim.unit.size,
                             claim.unit.bytes, (int)claim.id.size, claim.id.bytes);
                must(n > 0 && (size_t)n <= size);
                /* The parts are in `path`: compare before it is written over. */
                must(claim.unit.bytes[-1] == '/' && claim.id.bytes[-1] == '/');
                must(memcmp(again + n - claim.id.size, claim.id.bytes, claim.id.size) == 0);
                memcpy(path, again, (size_t)n);
                must(credential_address_parse(address, (socklen_t)(begin + (size_t)n), &same) == 0);
                must(same.unit.size == claim.unit.size && same.id.size == claim.id.size);
        }
        address->ss_family = AF_INET;
        must(credential_address_parse(address, (socklen_t)(begin + size), &same) != 0);
        free(address);
        return 0;
}
