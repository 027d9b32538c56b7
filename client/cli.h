/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What the parts of egain-token share: the options of all verbs in one table, from which parsing
 * and help are made, and the exit statuses. A verb is a function that gets what was said on the
 * command line, checked as far as that can be done alone, and returns an exit status.
 */

#include <stdbool.h>
#include <stdint.h>

/* Those of sysexits.h where it has one that fits. */
enum cli_exit {
        CLI_EXIT_OK = 0,
        CLI_EXIT_USAGE = 64,
        CLI_EXIT_DATA = 65,        /* a subject, scope or token that cannot be right */
        CLI_EXIT_INPUT = 66,       /* a file, or standard input, cannot be read */
        CLI_EXIT_REFUSED = 67,     /* the issuer refuses the subject or the scope */
        CLI_EXIT_UNREACHABLE = 69, /* there is no daemon */
        CLI_EXIT_SYSTEM = 71,      /* the system refuses something: memory, a descriptor */
        CLI_EXIT_OUTPUT = 74,      /* the output cannot be written */
        CLI_EXIT_TEMPORARY = 75,   /* the issuer is down, slow or throttling: try again */
        CLI_EXIT_PROTOCOL = 76,    /* what answers is not the daemon, or not of this kind */
        CLI_EXIT_DENIED = 77,      /* policy, or the permissions of the socket */
        CLI_EXIT_CONFIG = 78,      /* an operator has to act: configuration, secret, certificate */
        CLI_EXIT_NOT_EXECUTABLE = 126, /* exec: the command cannot be executed */
        CLI_EXIT_NOT_FOUND = 127,      /* exec: there is no such command */
};

/* Those of Nagios plugins. */
enum cli_check {
        CLI_CHECK_OK = 0,
        CLI_CHECK_WARNING = 1,
        CLI_CHECK_CRITICAL = 2,
        CLI_CHECK_UNKNOWN = 3,
};

#define CLI_TIMEOUT_DEFAULT_S      30
#define CLI_WARNING_DAYS_DEFAULT   30
#define CLI_SUBJECT_MAX_BYTES      256
#define CLI_REGISTRATION_MAX_BYTES 128

#define CLI_STRING_OF(x) #x
#define CLI_STRING(x)    CLI_STRING_OF(x)

/* Columns: name, short (0: none), argument (NULL: takes none), help. */
#define CLI_OPTION_TABLE(X)                                                                  \
        X(USERNAME, "username", 'u', "NAME", "on behalf of the user with this name")         \
        X(USERID, "userid", 0, "ID", "on behalf of the user with this id")                   \
        X(EMAIL, "email", 'e', "ADDRESS", "on behalf of the customer with this address")     \
        X(APPLICATION, "application", 'a', NULL,                                             \
          "for the client application itself (client_credentials)")                          \
        X(EXCHANGE_STDIN, "exchange-stdin", 0, NULL,                                         \
          "in exchange for the token of another issuer, read from standard input")           \
        X(SUBJECT_TOKEN_FILE, "subject-token-file", 0, "FILE",                               \
          "in exchange for the token of another issuer, read from FILE")                     \
        X(REGISTRATION_ID, "registration-id", 0, "ID",                                       \
          "as what the other issuer is registered; needed for an exchange")                  \
        X(SUBJECT_TOKEN_TYPE, "subject-token-type", 0, "TYPE",                               \
          "of the token to exchange: access_token (default), id_token, jwt, or an URN")      \
        X(SCOPE, "scope", 's', "SCOPE",                                                      \
          "values separated by spaces (default: default_scope of the client)")               \
        X(CLIENT, "client", 'c', "NAME",                                                     \
          "client application, by name or client_id (default: the only one)")                \
        X(MIN_TTL, "min-ttl", 0, "SECONDS", "the token must still live for so long")         \
        X(REJECT_STDIN, "reject-stdin", 0, NULL,                                             \
          "an API refused the token on standard input: get another one")                     \
        X(HEADER, "header", 0, NULL, "print 'Authorization: Bearer TOKEN'")                  \
        X(JSON, "json", 'j', NULL, "print JSON")                                             \
        X(FD, "fd", 0, NULL, "hand the token over in the descriptor $EGAIN_ACCESS_TOKEN_FD") \
        X(WARNING_DAYS, "warning-days", 0, "DAYS",                                           \
          "warn when a secret expires within so many days "                                  \
          "(default: " CLI_STRING(CLI_WARNING_DAYS_DEFAULT) ")")                             \
        X(KEY_FILE, "key-file", 0, "FILE", "the key that the rule for this caller asks for") \
        X(SOCKET, "socket", 'S', "PATH",                                                     \
          "the daemon's Unix socket (default: $EGAIN_TOKEN_SOCKET, or the usual one)")       \
        X(URL, "url", 0, "URL",                                                              \
          "the daemon's address on loopback instead (default: $EGAIN_TOKEN_URL)")            \
        X(DAEMON_USER, "daemon-user", 0, "USER",                                             \
          "whose daemon is trusted, beside root's and one's own (default: egain-tokend)")    \
        X(TIMEOUT, "timeout", 't', "SECONDS",                                                \
          "give up after so long (default: " CLI_STRING(CLI_TIMEOUT_DEFAULT_S) ")")          \
        X(HELP, "help", 'h', NULL, "print this and exit")

enum cli_option {
#define X(name, ...) CLI_OPTION_##name,
        CLI_OPTION_TABLE(X)
#undef X
                _CLI_OPTION_N,
};

#define CLI_BIT(name) (UINT64_C(1) << CLI_OPTION_##name)

/* What several verbs have in common. */
#define CLI_BITS_DAEMON                                                              \
        (CLI_BIT(KEY_FILE) | CLI_BIT(SOCKET) | CLI_BIT(URL) | CLI_BIT(DAEMON_USER) | \
         CLI_BIT(TIMEOUT) | CLI_BIT(HELP))
#define CLI_BITS_SUBJECT  (CLI_BIT(USERNAME) | CLI_BIT(USERID) | CLI_BIT(EMAIL))
#define CLI_BITS_EXCHANGE (CLI_BIT(EXCHANGE_STDIN) | CLI_BIT(SUBJECT_TOKEN_FILE))
#define CLI_BITS_FILTER   (CLI_BITS_SUBJECT | CLI_BIT(SCOPE) | CLI_BIT(CLIENT))
/* Ways to say for whom a token is: exactly one of them. */
#define CLI_BITS_WHOM (CLI_BITS_SUBJECT | CLI_BIT(APPLICATION) | CLI_BITS_EXCHANGE)

struct cli;

struct cli_verb {
        const char *name;
        const char *synopsis; /* what follows the name in the first line of the help */
        const char *about;  /* one or more lines for its help; the first is in the list of verbs */
        const char *more;   /* behind the options; may be NULL */
        uint64_t options;   /* CLI_BIT() of those it has */
        bool needs_whom;    /* one of CLI_BITS_WHOM has to be given */
        bool takes_command; /* what follows the options is a command */
        bool explains;      /* asks with HTTP Basic for a token: its user names the client */
        bool checks;        /* has the exit statuses of enum cli_check */
        int (*run)(const struct cli *cli);
};

/* What was said on the command line. Everything is borrowed from there, or static. */
struct cli {
        const struct cli_verb *verb;
        const char *values[_CLI_OPTION_N]; /* NULL: not given; of an option that takes none: "" */
        char **command;                    /* NULL-terminated; empty but for exec */
        unsigned int timeout_s;
        unsigned int warning_days;
};

extern const struct cli_verb cli_verb_get;
extern const struct cli_verb cli_verb_exec;
extern const struct cli_verb cli_verb_check;
extern const struct cli_verb cli_verb_explain;
extern const struct cli_verb cli_verb_status;
extern const struct cli_verb cli_verb_list;
extern const struct cli_verb cli_verb_purge;

enum {
        CLI_E_DONE = 1, /* all that was asked for is done */
        CLI_E_USAGE,    /* said on standard error */
        CLI_E_DATA,     /* the same of a value that nothing can be done with */
};

/* Reads the words behind the verb (argv[0] is the verb itself). 0 or one of these. */
int cli_parse(struct cli *ret, const struct cli_verb *verb, int argc, char *argv[]);

/* The name of an option as it is typed, with its dashes. */
const char *cli_option_name(enum cli_option option);

/* The help of one verb; of all together. */
void cli_print_help(const struct cli_verb *verb);
void cli_print_overview(const struct cli_verb *const verbs[]);

static inline bool cli_has(const struct cli *cli, enum cli_option option)
{
        return cli->values[option];
}
