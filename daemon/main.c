/* SPDX-License-Identifier: MIT */

/* Arguments → configuration → daemon. The exit status is sysexits.h's. */

#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "../lib/error.h"
#include "config.h"
#include "daemon.h"
#include "explain.h"
#include "loading.h"
#include "log.h"
#include "reload-client.h"
#include "upstream.h"

#define CONFIG_PATH_DEFAULT "/etc/egain-tokend/egain-tokend.conf"

static const char help[] =
        "Usage: egain-tokend [OPTION]...\n"
        "       egain-tokend [--config FILE] --explain [NAME=VALUE]...\n"
        "Hands out eGain access tokens on behalf of subjects to services on this host.\n"
        "\n"
        "  -c, --config FILE   read FILE (default " CONFIG_PATH_DEFAULT ")\n"
        "      --check-config  read the configuration, say what is wrong with it, and exit\n"
        "      --explain       show which rule decides about a caller, and what it gives:\n"
        "                      user= group= unit= over=unix|tcp key_file= client=\n"
        "                      subject=KIND:VALUE scope=\n"
        "      --reload        check the configuration, have the running daemon read it again, "
        "and\n"
        "                      wait for the outcome\n"
        "      --version       print the version and exit\n"
        "  -h, --help          print this and exit\n"
        "\n"
        "Exit status: 0 stopped by a signal, 64 wrong usage, 69 --reload: no daemon, 71 the system "
        "refuses something (an\n"
        "address is taken), 75 a name cannot be looked up just now, 77 --explain: refused, 78 the\n"
        "configuration is wrong or a secret cannot be read.\n"
        "See egain-tokend(8) and egain-tokend.conf(5).\n";

struct arguments {
        const char *config_path;
        bool check_config;
        bool explain;
        bool reload;
        char **words; /* of --explain */
        int n_words;
};

enum {
        ARGUMENTS_E_DONE = 1, /* all that was asked for is done */
        ARGUMENTS_E_USAGE,    /* said on standard error */
};

static int parse_arguments(struct arguments *ret, int argc, char *argv[])
{
        enum { OPTION_CHECK_CONFIG = 256, OPTION_EXPLAIN, OPTION_RELOAD, OPTION_VERSION };
        static const struct option options[] = {
                {"config", required_argument, NULL, 'c'},
                {"check-config", no_argument, NULL, OPTION_CHECK_CONFIG},
                {"explain", no_argument, NULL, OPTION_EXPLAIN},
                {"reload", no_argument, NULL, OPTION_RELOAD},
                {"version", no_argument, NULL, OPTION_VERSION},
                {"help", no_argument, NULL, 'h'},
                {},
        };
        int option;

        *ret = (struct arguments){.config_path = CONFIG_PATH_DEFAULT};
        while ((option = getopt_long(argc, argv, "c:h", options, NULL)) >= 0) {
                switch (option) {
                case 'c': ret->config_path = optarg; break;
                case OPTION_CHECK_CONFIG: ret->check_config = true; break;
                case OPTION_EXPLAIN: ret->explain = true; break;
                case OPTION_RELOAD: ret->reload = true; break;
                case OPTION_VERSION: puts("egain-tokend " PROJECT_VERSION); return ARGUMENTS_E_DONE;
                case 'h': fputs(help, stdout); return ARGUMENTS_E_DONE;
                default: fputs("Try 'egain-tokend --help'.\n", stderr); return ARGUMENTS_E_USAGE;
                }
        }
        if (ret->explain) {
                ret->words = argv + optind;
                ret->n_words = argc - optind;
                return 0;
        }
        if (optind < argc) {
                fprintf(stderr, "egain-tokend: unexpected argument '%s'\n", argv[optind]);
                return ARGUMENTS_E_USAGE;
        }
        return 0;
}

/* The log is the main thread's. */
static _Thread_local bool is_main_thread;

static void trace_error(int error, const char *file, int line, const char *function)
{
        if (is_main_thread)
                log_debug("%s:%d: %s: %s", file, line, function, strerror(-error));
}

static int status_of_daemon(int r)
{
        switch (r) {
        case 0: return EX_OK;
        case DAEMON_E_CONFIG: return EX_CONFIG;
        case DAEMON_E_FAILED: return EX_OSERR;
        default:
                if (r < 0)
                        log_error("cannot go on: %s", strerror(-r));
                return EX_OSERR;
        }
}

/* Checks the file first: its mistakes are told here, by whoever runs this. */
static int reload(const struct config *config)
{
        int r;

        r = status_of_daemon(daemon_check(config));
        if (r != EX_OK)
                return r;
        if (upstream_global_init() < 0)
                return EX_OSERR;
        r = reload_client(config, stderr);
        curl_global_cleanup();
        switch (r) {
        case 0: return EX_OK;
        case RELOAD_CLIENT_E_REFUSED: return EX_CONFIG;
        default: return EX_UNAVAILABLE;
        }
}

static int status_of_explain(int r)
{
        switch (r) {
        case 0: return EX_OK;
        case EXPLAIN_E_REFUSED: return EX_NOPERM;
        case EXPLAIN_E_USAGE: return EX_USAGE;
        default: return EX_OSERR;
        }
}

static int run(const struct config *config)
{
        int r;

        is_main_thread = true;
        log_init(config->log_level);
        if (config->log_level == LOG_LEVEL_DEBUG)
                error_observer = trace_error;
        if (upstream_global_init() < 0) {
                log_error("cannot initialise libcurl");
                return EX_OSERR;
        }
        r = status_of_daemon(daemon_run(config));
        curl_global_cleanup();
        log_deinit();
        return r;
}

/* Descriptors 0 to 2 are taken, so that no socket can become standard error. */
static void reserve_standard_descriptors(void)
{
        int fd;

        do
                fd = open("/dev/null", O_RDWR);
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd >= 0)
                close(fd);
}

int main(int argc, char *argv[])
{
        struct arguments arguments;
        struct config *config = NULL;
        char *said = NULL;
        size_t said_size;
        FILE *errors;
        int r, status;

        reserve_standard_descriptors();

        r = parse_arguments(&arguments, argc, argv);
        if (r)
                return r == ARGUMENTS_E_DONE ? EX_OK : EX_USAGE;

        /* The daemon will give the same warnings, and those of the file are shown once. */
        errors = arguments.reload ? open_memstream(&said, &said_size) : stderr;
        if (!errors)
                return EX_OSERR;
        r = loading_wait(&config, arguments.config_path, errors, LOADING_TIMEOUT_MS);
        if (errors != stderr) {
                fclose(errors);
                if (r && said)
                        fputs(said, stderr);
                free(said);
        }
        if (r == CONFIG_E_NAME_SERVICE)
                return EX_TEMPFAIL;
        if (r < 0) {
                fprintf(stderr, "egain-tokend: %s\n", strerror(-r));
                return EX_OSERR;
        }
        if (r)
                return EX_CONFIG;

        if (arguments.explain)
                status = status_of_explain(
                        explain(config, arguments.words, arguments.n_words, stdout, stderr));
        else if (arguments.reload)
                status = reload(config);
        else
                status = arguments.check_config ? status_of_daemon(daemon_check(config))
                                                : run(config);
        config_free(config);
        return status;
}
