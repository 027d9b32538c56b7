/* SPDX-License-Identifier: MIT */

/*
 * libmicrohttpd (0.9.75) reads a head where it lies: it puts NULs in the places of colon, CR and LF
 * and keeps pointers. A value ends at a NUL that was sent, blanks before it are skipped, a bare LF
 * ends a line, the first one too, and a folded line moves the name elsewhere. All of these shift
 * the next name from where it would be, or the end of the head from behind the last value. A
 * version that keeps names and values elsewhere makes every head odd, so that requests are refused
 * and none is misread. Two things cannot be seen, since they leave the same bytes behind: NUL and
 * LF in place of a CRLF, and at the end a line that begins with its colon and has at most one byte
 * behind it. Neither makes a name or a value another.
 */

#include "head.h"

#include <stdint.h>
#include <string.h>

#define CRLF_BYTES 2

void head_begin(struct head *head, const char *version)
{
        *head = (struct head){.next = version + strlen(version) + CRLF_BYTES};
}

void head_take(struct head *head, const char *name, const char *value)
{
        const uintptr_t behind_colon = (uintptr_t)name + strlen(name) + 1;

        head->odd |= head->next != name;
        head->odd |= (uintptr_t)value != behind_colon && (uintptr_t)value != behind_colon + 1;
        head->n++;
        head->next = value + strlen(value) + CRLF_BYTES;
}

bool head_is_plain(const struct head *head, const char *method, size_t size_bytes)
{
        return head->n > 0 && !head->odd &&
               (uintptr_t)head->next + CRLF_BYTES == (uintptr_t)method + size_bytes;
}
