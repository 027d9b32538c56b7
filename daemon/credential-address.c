/* SPDX-License-Identifier: MIT */

/*
 * Neither a unit's nor a credential's name can hold a slash, so there is one way to take an address
 * apart. Whatever else is not as systemd writes it is refused: what is let through goes into the
 * log, and into comparisons with what the configuration says.
 */

#include "credential-address.h"

#include <stddef.h>
#include <sys/un.h>

#define NAME_MAX_BYTES 255

#define DIGITS  "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static bool consists_of(struct text text, const char *characters)
{
        for (size_t i = 0; i < text.size; i++)
                if (!text.bytes[i] || !strchr(characters, text.bytes[i]))
                        return false;
        return text.size > 0;
}

static bool is_unit(struct text unit)
{
        return unit.size <= NAME_MAX_BYTES && consists_of(unit, DIGITS LETTERS ":-_.\\@") &&
               memchr(unit.bytes, '.', unit.size);
}

bool credential_address_is_id(struct text id)
{
        for (size_t i = 0; i < id.size; i++)
                if (id.bytes[i] < 0x20 || id.bytes[i] > 0x7e || id.bytes[i] == '/' ||
                    id.bytes[i] == ':')
                        return false;
        return id.size > 0 && id.size <= NAME_MAX_BYTES && !text_equal(id, TEXT(".")) &&
               !text_equal(id, TEXT(".."));
}

/* What comes before the next slash, which is passed over; all of it, where there is none. */
static struct text take_part(struct text *rest)
{
        const char *slash = rest->size > 0 ? memchr(rest->bytes, '/', rest->size) : NULL;
        const size_t size = slash ? (size_t)(slash - rest->bytes) : rest->size;
        const struct text part = {rest->bytes, size};

        rest->bytes += size + (slash != NULL);
        rest->size -= size + (slash != NULL);
        return part;
}

int credential_address_parse(const struct sockaddr_storage *address, socklen_t size,
                             struct credential_address *ret)
{
        const size_t begin = offsetof(struct sockaddr_un, sun_path);
        struct text rest, random, kind, unit;

        if (size <= begin + 1 || size > sizeof(struct sockaddr_un) ||
            address->ss_family != AF_UNIX || ((const char *)address)[begin])
                return CREDENTIAL_ADDRESS_E_OTHER;
        rest = (struct text){(const char *)address + begin + 1, size - begin - 1};
        random = take_part(&rest);
        kind = take_part(&rest);
        unit = take_part(&rest);
        if (!consists_of(random, DIGITS LETTERS) || !text_equal(kind, TEXT("unit")) ||
            !is_unit(unit) || !credential_address_is_id(rest))
                return CREDENTIAL_ADDRESS_E_OTHER;
        *ret = (struct credential_address){.unit = unit, .id = rest};
        return 0;
}
