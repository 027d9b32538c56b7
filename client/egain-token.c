/* SPDX-License-Identifier: MIT */

/* Arguments → verb. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cli-memory.h"
#include "cli-text.h"
#include "cli.h"

static const struct cli_verb *const verbs[] = {
        &cli_verb_get,    &cli_verb_exec, &cli_verb_check, &cli_verb_explain,
        &cli_verb_status, &cli_verb_list, &cli_verb_purge, NULL,
};

static const struct cli_verb *find(const char *name)
{
        for (size_t i = 0; verbs[i]; i++)
                if (strcmp(verbs[i]->name, name) == 0)
                        return verbs[i];
        return NULL;
}

/* Descriptors 0 to 2 are taken, so that no connection can become standard output. What is written
 * to a standard output that was closed still fails. */
static void reserve_standard_descriptors(void)
{
        int fd;

        do {
                fd = open("/dev/null", O_RDONLY);
                if (fd == STDERR_FILENO) {
                        close(fd);
                        fd = open("/dev/null", O_WRONLY);
                }
        } while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd >= 0)
                close(fd);
}

static int usage(const char *what, const char *with)
{
        cli_say("egain-token: %s%s%s", what, *with ? " " : "", with);
        cli_say("Try 'egain-token --help'.");
        return CLI_EXIT_USAGE;
}

static int run(const struct cli_verb *verb, int argc, char *argv[])
{
        char name[64];
        struct cli cli;

        /* As which getopt_long(3) complains. */
        (void)snprintf(name, sizeof(name), "egain-token %s", verb->name);
        argv[0] = name;
        switch (cli_parse(&cli, verb, argc, argv)) {
        case 0: return verb->run(&cli);
        case CLI_E_DONE: return cli_flush();
        case CLI_E_DATA: return verb->checks ? CLI_CHECK_UNKNOWN : CLI_EXIT_DATA;
        default: return verb->checks ? CLI_CHECK_UNKNOWN : CLI_EXIT_USAGE;
        }
}

int main(int argc, char *argv[])
{
        const struct cli_verb *verb;
        int status;

        reserve_standard_descriptors();
        /* No core dumps, and no other process of this user may look into the memory; a command that
         * this one becomes is as any other again. */
        (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
        if (argc < 2)
                return usage("there is no verb", "");
        if (strcmp(argv[1], "--version") == 0) {
                cli_line("egain-token " PROJECT_VERSION);
                return cli_flush();
        }
        if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
            (strcmp(argv[1], "help") == 0 && argc == 2)) {
                cli_print_overview(verbs);
                return cli_flush();
        }
        if (strcmp(argv[1], "help") == 0) {
                verb = find(argv[2]);
                if (verb)
                        cli_print_help(verb);
                return verb ? cli_flush() : usage("there is no verb", argv[2]);
        }
        verb = find(argv[1]);
        if (!verb)
                return usage("there is no verb", argv[1]);
        if (!cli_memory_init()) {
                cli_say("egain-token: libcurl cannot be used");
                return CLI_EXIT_SYSTEM;
        }
        status = run(verb, argc - 1, argv + 1);
        cli_memory_wipe_stack();
        return status;
}
