/* SPDX-License-Identifier: MIT */

/*
 * Users and groups are looked up alike: the two differ in the function of the C library that is
 * asked, and in a word of the messages. How much memory an answer takes is not known before, since
 * a group may have very many members.
 */

#include "config-names.h"

#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "config-units.h"

#define BUFFER_MIN 1024
#define BUFFER_MAX ((size_t)1024 * 1024)
#define NO_ID      UINT32_MAX /* (uid_t)-1: the kernel's "leave it" */

/* systemd gives these to services with DynamicUser=, and to others when those have ended. */
#define RECYCLED_MIN 61184
#define RECYCLED_MAX 65519

#define OVERFLOW_ID 65534 /* nobody: whom the kernel cannot name in our user namespace */
#define NO_ID_16    65535 /* (uid_t)-1 of old interfaces */

_Static_assert(sizeof(uid_t) == sizeof(uint32_t) && sizeof(gid_t) == sizeof(uint32_t),
               "ids are taken for 32 bits");

/* 0 and *ret_found, or a positive errno; ERANGE: the buffer is too small. */
typedef int look_up_fn(const char *name, char *buffer, size_t size, uint32_t *ret_id,
                       bool *ret_found);

static int look_up_user(const char *name, char *buffer, size_t size, uint32_t *ret_id,
                        bool *ret_found)
{
        struct passwd user, *found = NULL;
        int r;

        r = getpwnam_r(name, &user, buffer, size, &found);
        if (r == 0 && found) {
                *ret_id = user.pw_uid;
                *ret_found = true;
        }
        return r;
}

static int look_up_group(const char *name, char *buffer, size_t size, uint32_t *ret_id,
                         bool *ret_found)
{
        struct group group, *found = NULL;
        int r;

        r = getgrnam_r(name, &group, buffer, size, &found);
        if (r == 0 && found) {
                *ret_id = group.gr_gid;
                *ret_found = true;
        }
        return r;
}

/* With as much memory as it takes. -ENOMEM, or a positive errno if the name service failed. */
static int look_up(look_up_fn *function, const char *name, uint32_t *ret_id, bool *ret_found)
{
        int r = ERANGE;

        *ret_found = false;
        for (size_t size = BUFFER_MIN; r == ERANGE && size <= BUFFER_MAX; size *= 2) {
                char *buffer = malloc(size);

                if (!buffer)
                        return error_trace(-ENOMEM);
                do
                        r = function(name, buffer, size, ret_id, ret_found);
                while (r == EINTR);
                free(buffer);
        }
        return r == ENOENT || r == ESRCH || r == EBADF || r == EPERM ? 0 : r;
}

static int read_number(struct config_reader *reader, int line, const char *what, const char *name,
                       uint32_t *ret_id, bool *ret_known)
{
        uint64_t id;

        if (config_units_parse(CONFIG_UNIT_COUNT, name, &id) != 0 || id >= NO_ID)
                return config_mistakes_add(&reader->mistakes, line,
                                           "'%s' must be a number from 0 to 4294967294, not "
                                           "\"%.20s\"",
                                           what, name);
        *ret_id = (uint32_t)id;
        *ret_known = true;
        return 0;
}

/* `what` is the option's name, and a word for what it names. */
static int read_name(struct config_reader *reader, int line, const char *what, look_up_fn *function,
                     const char *name, uint32_t *ret_id, bool *ret_known)
{
        bool found;
        int r;

        *ret_known = false;
        if (name[strspn(name, "0123456789")] == '\0')
                return read_number(reader, line, what, name, ret_id, ret_known);

        r = look_up(function, name, ret_id, &found);
        if (r < 0)
                return error_trace(r);
        if (r > 0) {
                reader->n_name_service++;
                return config_mistakes_add(&reader->mistakes, line,
                                           "the %s \"%.64s\" cannot be looked up just now: %s",
                                           what, name, strerror(r));
        }
        if (!found)
                return config_mistakes_add(&reader->mistakes, line,
                                           "there is no %s \"%.64s\": create it, or name another "
                                           "in '%s'",
                                           what, name, what);
        *ret_known = true;
        return 0;
}

bool config_names_is_name(const char *value)
{
        return *value && config_reader_is_printable(value);
}

int config_names_user(struct config_reader *reader, int line, const char *name, uid_t *ret,
                      bool *ret_known)
{
        return read_name(reader, line, "user", look_up_user, name, ret, ret_known);
}

int config_names_group(struct config_reader *reader, int line, const char *name, gid_t *ret,
                       bool *ret_known)
{
        return read_name(reader, line, "group", look_up_group, name, ret, ret_known);
}

const char *config_names_fault(unsigned int id)
{
        if (id >= RECYCLED_MIN && id <= RECYCLED_MAX)
                return "is one of those that systemd gives to one service after the other (61184 "
                       "to 65519): name the service in 'unit' instead";
        if (id == OVERFLOW_ID || id == NO_ID_16 || id == NO_ID)
                return "stands for ids that cannot be told: it may be anybody's";
        return NULL;
}
