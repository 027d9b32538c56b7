/* SPDX-License-Identifier: MIT */

#include "audit-helpers.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../daemon/log.h"

static char folder[32];
static int saved_stderr = -1;

void folder_make(void)
{
        (void)snprintf(folder, sizeof(folder), "/tmp/test-audit-XXXXXX");
        assert_non_null(mkdtemp(folder));
}

const char *folder_path(const char *name)
{
        static char paths[16][128];
        static unsigned int at;
        char *path = paths[at++ % 16];

        (void)snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
        return path;
}

void folder_remove(void)
{
        DIR *dir = opendir(folder);

        assert_non_null(dir);
        for (struct dirent *it = readdir(dir); it; it = readdir(dir))
                if (it->d_name[0] != '.')
                        assert_int_equal(unlinkat(dirfd(dir), it->d_name, 0), 0);
        closedir(dir);
        assert_int_equal(rmdir(folder), 0);
}

void journal_open(struct journal *journal, const char *path)
{
        const struct timeval patience = {.tv_sec = 10};
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        journal->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_true(journal->fd >= 0);
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        assert_int_equal(bind(journal->fd, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(
                setsockopt(journal->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
        journal->size = 0;
}

void journal_close(struct journal *journal, const char *path)
{
        close(journal->fd);
        assert_int_equal(unlink(path), 0);
}

void journal_receive(struct journal *journal)
{
        const ssize_t n = recv(journal->fd, journal->datagram, sizeof(journal->datagram) - 1, 0);

        assert_true(n > 0);
        journal->size = (size_t)n;
        journal->datagram[n] = '\0';
        assert_int_equal(strlen(journal->datagram), n);
        assert_int_equal(journal->datagram[n - 1], '\n');
}

bool journal_is_empty(const struct journal *journal)
{
        char byte;

        return recv(journal->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

const char *journal_field(const struct journal *journal, const char *name)
{
        static char values[8][16384];
        static unsigned int next;
        char *value = values[next++ % 8];
        const size_t name_size = strlen(name);
        unsigned int n = 0;

        for (const char *at = journal->datagram, *end; *at; at = end + 1) {
                end = strchr(at, '\n');
                assert_non_null(end);
                assert_non_null(memchr(at, '=', (size_t)(end - at)));
                if (strncmp(at, name, name_size) != 0 || at[name_size] != '=')
                        continue;
                (void)snprintf(value, sizeof(values[0]), "%.*s",
                               (int)(end - at - (ssize_t)name_size - 1), at + name_size + 1);
                n++;
        }
        assert_true(n <= 1);
        return n == 1 ? value : NULL;
}

char *read_file(const char *path)
{
        char *text = NULL;
        struct stat st;
        int fd;

        fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);
        text = malloc((size_t)st.st_size + 1);
        assert_non_null(text);
        assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
        text[st.st_size] = '\0';
        close(fd);
        return text;
}

size_t count_lines(const char *path)
{
        char *text = read_file(path);
        size_t n = 0;

        for (const char *at = text; (at = strchr(at, '\n')); at++)
                n++;
        free(text);
        return n;
}

struct token *make_token(const char *value)
{
        struct token *token;

        assert_int_equal(token_new(&token, TEXT(value), TEXT("scope"), 0, 3600000), 0);
        return token;
}

void log_capture(const char *path)
{
        const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        saved_stderr = dup(STDERR_FILENO);
        assert_true(dup2(fd, STDERR_FILENO) >= 0);
        close(fd);
        log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
}

void log_release(void)
{
        log_deinit();
        (void)dup2(saved_stderr, STDERR_FILENO);
        close(saved_stderr);
}
