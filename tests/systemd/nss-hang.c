/* SPDX-License-Identifier: MIT */

/*
 * A name service (nss(5)) that does not answer: whoever looks up a user or a group by name
 * connects to the socket /run/nss-hang, if there is one, and waits until that hangs up. Then, and
 * without the socket, there is no such name.
 */

#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum nss_status _nss_hang_getpwnam_r(const char *name, struct passwd *ret, char *buffer,
                                     size_t size, int *error);
enum nss_status _nss_hang_getgrnam_r(const char *name, struct group *ret, char *buffer, size_t size,
                                     int *error);

static enum nss_status hang(void)
{
        static const struct sockaddr_un address = {AF_UNIX, "/run/nss-hang"};
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char byte;

        if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
                while (read(fd, &byte, 1) > 0)
                        continue;
        if (fd >= 0)
                (void)close(fd);
        return NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_hang_getpwnam_r(const char *name, struct passwd *ret, char *buffer,
                                     size_t size, int *error)
{
        return hang();
}

enum nss_status _nss_hang_getgrnam_r(const char *name, struct group *ret, char *buffer, size_t size,
                                     int *error)
{
        return hang();
}
