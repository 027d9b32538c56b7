/* SPDX-License-Identifier: MIT */

/*
 * Becomes the command, so that signals and the exit status are the command's own. The token is
 * either in the environment, which only the same user and root can read, or in memory behind a
 * descriptor, which is not handed on to what the command starts unless it wants that; never among
 * the arguments, which everybody can read.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli-text.h"
#include "cli-token.h"

#define VARIABLE    "EGAIN_ACCESS_TOKEN"
#define VARIABLE_FD "EGAIN_ACCESS_TOKEN_FD"

#define PATH_DEFAULT "/bin:/usr/bin"

static int exit_of(int error)
{
        return error == ENOENT || error == ENOTDIR ? CLI_EXIT_NOT_FOUND : CLI_EXIT_NOT_EXECUTABLE;
}

static int complain(const char *command, int error)
{
        cli_say("egain-token exec: %s: %s", command, strerror(error));
        return exit_of(error);
}

/* 0, or the errno that executing it would fail with. */
static int judge(const char *path)
{
        struct stat status;

        if (stat(path, &status) < 0)
                return errno;
        if (!S_ISREG(status.st_mode))
                return EACCES;
        return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0;
}

/* As execvp(3) will look for it. 0 or an errno. */
static int look_for(const char *command)
{
        const char *at = getenv("PATH");
        int error = ENOENT, r;
        char *path;

        if (strchr(command, '/'))
                return judge(command);
        for (at = at ? at : PATH_DEFAULT; *command;) {
                const size_t size = strcspn(at, ":");

                if (asprintf(&path, "%.*s%s%s", (int)size, at, size > 0 ? "/" : "", command) < 0)
                        return ENOMEM;
                r = judge(path);
                free(path);
                if (r == 0)
                        return 0;
                if (r == EACCES)
                        error = r;
                at += size;
                if (!*at++)
                        break;
        }
        return error;
}

/* Memory that nobody can change any more, to be read from its beginning. 0 or -errno. */
static int open_memory(const char *value)
{
        char number[16];
        int fd, r;

        fd = memfd_create("egain-access-token", MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        r = cli_write(fd, value, strlen(value));
        if (r == 0 &&
            (lseek(fd, 0, SEEK_SET) < 0 ||
             fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0))
                r = -errno;
        (void)snprintf(number, sizeof(number), "%d", fd);
        if (r == 0 && setenv(VARIABLE_FD, number, 1) < 0)
                r = -errno;
        if (r)
                close(fd);
        return r;
}

/* What an outer egain-token has put there is another token. `assignment` becomes part of the
 * environment: setenv(3) would leave copies. 0 or -errno. */
static int hand_over(const struct cli *cli, const struct cli_token *token,
                     struct buffer *assignment)
{
        unsetenv(VARIABLE);
        unsetenv(VARIABLE_FD);
        if (cli_has(cli, CLI_OPTION_FD))
                return open_memory(token->said.value);
        if (buffer_append_str(assignment, VARIABLE "=") ||
            buffer_append_str(assignment, token->said.value))
                return -ENOMEM;
        return putenv(assignment->bytes) == 0 ? 0 : -errno;
}

static int run(const struct cli *cli)
{
        struct buffer assignment = BUFFER_INIT(BROKER_HTTP_ANSWER_MAX_BYTES);
        struct cli_token token;
        int r;

        r = look_for(cli->command[0]);
        if (r)
                return complain(cli->command[0], r);
        r = cli_token_get_once(cli, &token);
        if (r == CLI_EXIT_OK) {
                r = hand_over(cli, &token, &assignment);
                if (r < 0) {
                        cli_say("egain-token exec: the token cannot be handed over: %s",
                                strerror(-r));
                        r = CLI_EXIT_SYSTEM;
                }
        }
        cli_token_deinit(&token);
        if (r == CLI_EXIT_OK) {
                execvp(cli->command[0], cli->command);
                r = complain(cli->command[0], errno);
        }
        unsetenv(VARIABLE);
        buffer_deinit(&assignment);
        return r;
}

const struct cli_verb cli_verb_exec = {
        .name = "exec",
        .synopsis = "--username NAME [OPTION]... [--] COMMAND [ARGUMENT]...",
        .about = "Runs a command with an access token in $EGAIN_ACCESS_TOKEN.\n"
                 "The token is got once; it is not renewed while the command runs.",
        .more = "With --fd the token is not in the environment, but in memory that can be read "
                "from\n"
                "the descriptor whose number is in $EGAIN_ACCESS_TOKEN_FD.\n",
        .options = CLI_BITS_DAEMON | CLI_BITS_SUBJECT | CLI_BIT(APPLICATION) |
                   CLI_BIT(SUBJECT_TOKEN_FILE) | CLI_BIT(REGISTRATION_ID) |
                   CLI_BIT(SUBJECT_TOKEN_TYPE) | CLI_BIT(SCOPE) | CLI_BIT(CLIENT) |
                   CLI_BIT(MIN_TTL) | CLI_BIT(FD),
        .needs_whom = true,
        .takes_command = true,
        .run = run,
};
