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
#include "audit.h"
#include "config.h"
#include "daemon.h"
#include "explain.h"
#include "inherit.h"
#include "loading.h"
#include "log.h"
#include "notify.h"
#include "protect.h"
#include "reload-client.h"
#include "sources.h"
#include "startup.h"
#include "starvation.h"
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
        "                      user= group= unit= over=unix|tcp key_file= daemon= client=\n"
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

static int load_with(struct config **ret, const char *path, loading_fn *how, FILE *errors)
{
        const int r = loading_wait(ret, path, how, errors, LOADING_TIMEOUT_MS);

        if (r == CONFIG_E_NAME_SERVICE)
                return EX_TEMPFAIL;
        if (r < 0) {
                fprintf(stderr, "egain-tokend: %s\n", strerror(-r));
                return EX_OSERR;
        }
        return r ? EX_CONFIG : EX_OK;
}

/* Reads the configuration, having said on standard error what is wrong. An exit status. */
static int load(struct config **ret, const char *path, loading_fn *how)
{
        return load_with(ret, path, how, stderr);
}

/* The same without warnings, which the daemon will give, too. */
static int load_quietly(struct config **ret, const char *path)
{
        char *said = NULL;
        size_t said_size;
        FILE *errors = open_memstream(&said, &said_size);
        int status;

        if (!errors)
                return EX_OSERR;
        status = load_with(ret, path, config_load, errors);
        fclose(errors);
        if (status != EX_OK && said)
                fputs(said, stderr);
        free(said);
        return status;
}

static void trace_error(int error, const char *file, int line, const char *function)
{
        if (log_is_mine())
                log_debug("%s:%d: %s: %s", file, line, function, strerror(-error));
}

static int status_of_daemon(int r)
{
        switch (r) {
        case 0: return EX_OK;
        default: return EX_OSERR; /* DAEMON_E_FAILED, -errno */
        }
}

/* The file is good so far. Its secrets are the daemon's to try: credentials are given to its
 * process alone [systemd 252 keeps them from what ExecReload= starts]. */
static int reload(const struct config *config)
{
        int r;

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

/* What daemon_run() says. */
static int run(const struct config *config, struct inherit *inherit, struct notify *notify)
{
        int r;

        log_init(config->log_level, config->log_format);
        error_observer = trace_error; /* the level of the log decides what is written */
        if (upstream_global_init() < 0) {
                log_error("cannot initialise libcurl");
                return DAEMON_E_FAILED;
        }
        r = daemon_run(config, inherit, notify);
        if (r < 0)
                log_error("cannot go on: %s", strerror(-r));
        curl_global_cleanup();
        log_deinit();
        return r;
}

/* As run(), but where a service manager waits for us a bad configuration is waited out. */
static int run_managed(const char *path, struct inherit *inherit, struct notify *notify)
{
        struct startup startup;
        struct config *config;
        int r;

        r = startup_init(&startup, path, inherit, notify);
        while (r == 0) {
                log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
                r = startup_load(&startup, &config);
                if (r < 0)
                        log_error("cannot go on: %s", strerror(-r));
                log_deinit();
                if (r)
                        break;
                r = run(config, inherit, notify);
                config_free(config);
                if (r != DAEMON_E_FAILED)
                        break;
                log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
                r = startup_pause(&startup);
        }
        startup_deinit(&startup);
        return r < 0 ? EX_OSERR : EX_OK;
}

static int run_plainly(const char *path, struct inherit *inherit, struct notify *notify)
{
        struct config *config = NULL;
        int status;

        status = load(&config, path, sources_load);
        if (status == EX_OK)
                status = status_of_daemon(run(config, inherit, notify));
        config_free(config);
        return status;
}

/* A manager that cannot be reached is one that is not there. */
static void init_notify(struct notify *notify)
{
        const int r = notify_init(notify);

        if (r == 0)
                return;
        log_init(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
        log_warning("NOTIFY_SOCKET=%s: %s; no service manager will be told anything",
                    getenv("NOTIFY_SOCKET"), strerror(-r));
        log_deinit();
}

/* What is inherited is found out first: a descriptor of ours could have a number of theirs. */
static int serve(const char *path)
{
        struct inherit inherit;
        struct notify notify;
        int r, status = EX_CONFIG;

        r = inherit_init(&inherit, stderr);
        if (r < 0)
                fprintf(stderr, "egain-tokend: %s\n", strerror(-r));
        if (r == 0) {
                init_notify(&notify);
                if (inherit.n > 0 || getenv("NOTIFY_SOCKET"))
                        status = run_managed(path, &inherit, &notify);
                else
                        status = run_plainly(path, &inherit, &notify);
                notify_deinit(&notify);
        }
        inherit_deinit(&inherit);
        return status;
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
        int r, status;

        reserve_standard_descriptors();
        protect_from_dumps();
        (void)starvation_watch();

        r = parse_arguments(&arguments, argc, argv);
        if (r)
                return r == ARGUMENTS_E_DONE ? EX_OK : EX_USAGE;

        if (!arguments.explain && !arguments.check_config && !arguments.reload)
                return serve(arguments.config_path);

        status = arguments.reload ? load_quietly(&config, arguments.config_path)
                                  : load(&config, arguments.config_path,
                                         arguments.check_config ? sources_load : config_load);
        if (status != EX_OK)
                return status;
        if (arguments.explain)
                status = status_of_explain(
                        explain(config, arguments.words, arguments.n_words, stdout, stderr));
        else if (arguments.reload)
                status = reload(config);
        else
                audit_check(&config->audit, config->path, stderr);
        config_free(config);
        return status;
}
