/* SPDX-License-Identifier: MIT */

/*
 * A secret's file is opened first and judged then, by the descriptor that it is read through. It is
 * opened without waiting, so that a FIFO in its place cannot hold the daemon up. A file that
 * libcurl will open by its name can only be judged in advance: whoever could put another one in its
 * place then is whoever may write to its folder. What the messages tell of a secret is its fault
 * and where it is from, never a byte of it.
 */

#include "secrets.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/error.h"

#define STRINGIFY_(x)  #x
#define STRINGIFY(x)   STRINGIFY_(x)
#define READ_MAX_BYTES (SECRETS_MAX_BYTES + 3) /* CR, LF, and one that is too many */

__attribute__((format(printf, 3, 4))) static int refuse(FILE *errors, const char *prefix,
                                                        const char *format, ...)
{
        va_list arguments;

        if (!errors)
                return SECRETS_E_UNUSABLE;
        fputs(prefix, errors);
        va_start(arguments, format);
        vfprintf(errors, format, arguments);
        va_end(arguments);
        fputc('\n', errors);
        return SECRETS_E_UNUSABLE;
}

const char *secrets_fault(const char *bytes, size_t size)
{
        if (size == 0)
                return "is empty: a client secret was expected";
        if (size > SECRETS_MAX_BYTES)
                return "is too long: at most " STRINGIFY(SECRETS_MAX_BYTES) " bytes are expected";
        for (size_t i = 0; i < size; i++)
                if ((unsigned char)bytes[i] < 0x20 || bytes[i] == 0x7f)
                        return "holds a control character: one line of text was expected";
        return NULL;
}

int secrets_check_file(int fd, const char *path, uid_t own_uid, const char *prefix, FILE *errors)
{
        struct stat status;

        if (fstat(fd, &status) < 0)
                return refuse(errors, prefix, "%s cannot be examined: %s", path, strerror(errno));
        if (!S_ISREG(status.st_mode))
                return refuse(errors, prefix, "%s is not a regular file", path);
        if (status.st_uid != 0 && status.st_uid != own_uid)
                return refuse(errors, prefix,
                              "%s holds a secret but belongs to uid %u, not to root or to the "
                              "daemon's user: chown root %s",
                              path, (unsigned int)status.st_uid, path);
        if (status.st_mode & (S_IWGRP | S_IRWXO))
                return refuse(errors, prefix,
                              "%s holds a secret but its mode, %04o, lets its group write it or "
                              "others use it: chmod g-w,o= %s",
                              path, (unsigned int)status.st_mode & 07777, path);
        return 0;
}

static int open_file(const char *path)
{
        return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

int secrets_check_path(const char *path, uid_t own_uid, const char *prefix, FILE *errors)
{
        int fd, r;

        fd = open_file(path);
        if (fd < 0)
                return refuse(errors, prefix, "%s cannot be opened: %s", path, strerror(errno));
        r = secrets_check_file(fd, path, own_uid, prefix, errors);
        close(fd);
        return r;
}

/* Up to READ_MAX_BYTES bytes. 0 or a negative errno. */
static int read_bytes(int fd, struct secret *bytes)
{
        int r;

        r = secret_reserve(bytes, READ_MAX_BYTES);
        if (r)
                return error_trace(r);
        while (bytes->size < READ_MAX_BYTES) {
                ssize_t n = read(fd, bytes->bytes + bytes->size, READ_MAX_BYTES - bytes->size);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n == 0)
                        break;
                if (n > 0)
                        bytes->size += (size_t)n;
        }
        return 0;
}

static void trim_line_end(struct secret *bytes)
{
        if (bytes->size > 0 && bytes->bytes[bytes->size - 1] == '\n') {
                bytes->size--;
                if (bytes->size > 0 && bytes->bytes[bytes->size - 1] == '\r')
                        bytes->size--;
        }
        bytes->bytes[bytes->size] = '\0';
}

/* How messages name what is in a file, and how much of it is asked for. */
struct content {
        const char *name;
        size_t min_bytes; /* 0: see secrets_fault() */
};

static int judge_content(const struct secret *bytes, const struct content *content,
                         const char *path, const char *prefix, FILE *errors)
{
        const char *fault;

        if (bytes->size < content->min_bytes)
                return refuse(errors, prefix,
                              "%s in %s is too short: at least %zu bytes were expected, such as "
                              "`openssl rand -hex 32` makes",
                              content->name, path, content->min_bytes);
        fault = secrets_fault(bytes->bytes, bytes->size);
        if (fault)
                return refuse(errors, prefix, "%s in %s %s", content->name, path, fault);
        return 0;
}

static int read_file(struct secret *ret, const char *path, const struct content *content,
                     uid_t own_uid, const char *prefix, FILE *errors)
{
        struct secret bytes = SECRET_INIT(0);
        int fd, r;

        fd = open_file(path);
        if (fd < 0)
                return refuse(errors, prefix, "%s in %s cannot be opened: %s", content->name, path,
                              strerror(errno));
        r = secrets_check_file(fd, path, own_uid, prefix, errors);
        if (r)
                goto out;

        r = read_bytes(fd, &bytes);
        if (r == -ENOMEM)
                goto out;
        if (r < 0) {
                r = refuse(errors, prefix, "%s in %s cannot be read: %s", content->name, path,
                           strerror(-r));
                goto out;
        }
        trim_line_end(&bytes);
        r = judge_content(&bytes, content, path, prefix, errors);
        if (r)
                goto out;
        secret_move(ret, &bytes);

out:
        secret_deinit(&bytes);
        close(fd);
        return error_trace(r);
}

static const struct content client_secret = {.name = "the client secret"};

int secrets_read_key(struct secret *ret, const char *path, size_t min_bytes, uid_t own_uid,
                     const char *prefix, FILE *errors)
{
        const struct content content = {.name = "the key", .min_bytes = min_bytes};

        return read_file(ret, path, &content, own_uid, prefix, errors);
}

static int read_credential(struct secret *ret, const char *name, uid_t own_uid, const char *prefix,
                           FILE *errors)
{
        const char *directory = getenv("CREDENTIALS_DIRECTORY");
        char *path;
        int r;

        if (!directory || directory[0] != '/')
                return refuse(errors, prefix,
                              "there is no systemd credential \"%s\", because "
                              "$CREDENTIALS_DIRECTORY is not set: LoadCredential=%s:/PATH was "
                              "expected in the service's unit",
                              name, name);
        if (asprintf(&path, "%s/%s", directory, name) < 0)
                return error_trace(-ENOMEM);
        r = read_file(ret, path, &client_secret, own_uid, prefix, errors);
        free(path);
        return error_trace(r);
}

int secrets_read(struct secret *ret, const struct secret_source *source, const char *config_path,
                 uid_t own_uid, FILE *errors)
{
        const char *fault;
        char *prefix;
        int r = 0;

        if (asprintf(&prefix, "%s:%d: ", config_path, source->line) < 0)
                return error_trace(-ENOMEM);

        switch (source->kind) {
        case SECRET_KIND_NONE: secret_clear(ret); break;
        case SECRET_KIND_INLINE:
                fault = secrets_fault(source->value.bytes, source->value.size);
                if (fault)
                        r = refuse(errors, prefix, "the client secret %s", fault);
                else
                        r = secret_assign(ret, source->value.bytes, source->value.size);
                break;
        case SECRET_KIND_FILE:
                r = read_file(ret, source->where, &client_secret, own_uid, prefix, errors);
                break;
        case SECRET_KIND_CREDENTIAL:
                r = read_credential(ret, source->where, own_uid, prefix, errors);
                break;
        }
        free(prefix);
        return error_trace(r);
}
