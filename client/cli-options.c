/* SPDX-License-Identifier: MIT */

/*
 * Words → options, by the one table. An option that takes a value may be given once: which of two
 * subjects was meant is nothing to guess about. What can be judged without the daemon is judged
 * here, so that a mistake is told by the name of the option that has it.
 */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli-text.h"
#include "cli.h"

#define TIMEOUT_MAX_S    3600
#define MIN_TTL_MAX_S    999999999
#define WARNING_DAYS_MAX 36500

struct option_info {
        const char *name;
        char letter;
        const char *argument;
        const char *help;
};

static const struct option_info infos[] = {
#define X(name, ...) [CLI_OPTION_##name] = {__VA_ARGS__},
        CLI_OPTION_TABLE(X)
#undef X
};

/* getopt_long() hands these back; letters lie below. */
#define FIRST_VALUE 256

#define LETTERS_MAX_BYTES (2 + 2 * _CLI_OPTION_N + 1)

static bool has(uint64_t bits, enum cli_option option)
{
        return bits >> option & 1;
}

const char *cli_option_name(enum cli_option option)
{
        static char name[40];

        (void)snprintf(name, sizeof(name), "--%s", infos[option].name);
        return name;
}

/* What getopt_long() wants to know. */
static void make_tables(const struct cli_verb *verb, struct option longs[_CLI_OPTION_N + 1],
                        char letters[LETTERS_MAX_BYTES])
{
        size_t n = 0;

        /* Up to the first word that is none; what follows may be another program's. */
        *letters++ = '+';
        for (enum cli_option i = 0; i < _CLI_OPTION_N; i++) {
                if (!has(verb->options, i))
                        continue;
                longs[n++] = (struct option){
                        .name = infos[i].name,
                        .has_arg = infos[i].argument ? required_argument : no_argument,
                        .val = FIRST_VALUE + (int)i,
                };
                if (!infos[i].letter)
                        continue;
                *letters++ = infos[i].letter;
                if (infos[i].argument)
                        *letters++ = ':';
        }
        longs[n] = (struct option){};
        *letters = '\0';
}

static enum cli_option option_of(int value)
{
        if (value >= FIRST_VALUE)
                return (enum cli_option)(value - FIRST_VALUE);
        for (enum cli_option i = 0; i < _CLI_OPTION_N; i++)
                if (infos[i].letter && infos[i].letter == value)
                        return i;
        return _CLI_OPTION_N;
}

static int complain(const struct cli *cli, const char *what, const char *with)
{
        cli_say("egain-token %s: %s%s%s", cli->verb->name, what, *with ? " " : "", with);
        cli_say("Try 'egain-token %s --help'.", cli->verb->name);
        return CLI_E_USAGE;
}

/* Digits between `min` and `max`. */
static int parse_number(const struct cli *cli, enum cli_option option, unsigned int min,
                        unsigned int max, unsigned int *ret)
{
        const char *text = cli->values[option];
        unsigned long number;

        if (!text)
                return 0;
        number = strspn(text, "0123456789") == strlen(text) && strlen(text) <= 9
                         ? strtoul(text, NULL, 10)
                         : max + 1UL;
        if (!*text || number < min || number > max) {
                cli_say("egain-token %s: %s takes a number from %u to %u, and not '%s'",
                        cli->verb->name, cli_option_name(option), min, max, text);
                return CLI_E_USAGE;
        }
        *ret = (unsigned int)number;
        return 0;
}

/* A text of 1 to `max` bytes of UTF-8 without control characters. */
static int check_text(const struct cli *cli, enum cli_option option, size_t max)
{
        const char *text = cli->values[option];
        const char *fault = NULL;

        if (!text)
                return 0;
        if (strlen(text) > max)
                fault = "is too long";
        else if (!cli_is_utf8(text, strlen(text)))
                fault = "is not valid UTF-8; this has to be so in any locale";
        else if (cli_has_controls(text, strlen(text)))
                fault = "has a control character (a line feed, a tab or the like) in it";
        if (!fault)
                return 0;
        cli_say("egain-token %s: the value of %s %s; it must be 1 to %zu bytes of text",
                cli->verb->name, cli_option_name(option), fault, max);
        return CLI_E_DATA;
}

/* Most likely a variable of a script that is not set. */
static int check_empty(const struct cli *cli)
{
        for (enum cli_option i = 0; i < _CLI_OPTION_N; i++) {
                if (!cli_has(cli, i) || !infos[i].argument || *cli->values[i])
                        continue;
                cli_say("egain-token %s: the value of %s is empty", cli->verb->name,
                        cli_option_name(i));
                return CLI_E_DATA;
        }
        return 0;
}

/* RFC 6749 §3.3. */
static int check_scope(const struct cli *cli)
{
        const char *scope = cli->values[CLI_OPTION_SCOPE];
        bool good = scope && *scope;
        char last = ' ';

        for (const char *at = scope; good && *at; last = *at++)
                good = *at >= 0x20 && *at <= 0x7e && *at != '"' && *at != '\\' &&
                       (*at != ' ' || last != ' ');
        good = good && last != ' ';
        if (good || !scope)
                return 0;
        cli_say("egain-token %s: the value of --scope is no scope: values of printable ASCII "
                "characters but '\"' and '\\', with single spaces between them",
                cli->verb->name);
        return CLI_E_DATA;
}

/* For whom: exactly one way to say so, or, where tokens are only looked at, at most one. */
static int check_whom(const struct cli *cli)
{
        char ways[160] = "";
        size_t size = 0;
        int n = 0;

        for (enum cli_option i = 0; i < _CLI_OPTION_N; i++) {
                if (!has(CLI_BITS_WHOM & cli->verb->options, i))
                        continue;
                n += cli_has(cli, i);
                size += (size_t)snprintf(ways + size, sizeof(ways) - size, "%s%s",
                                         size > 0 ? ", " : "", cli_option_name(i));
        }
        if (n > 1)
                return complain(cli, "give only one of", ways);
        if (n == 0 && cli->verb->needs_whom)
                return complain(cli, "nothing says for whom the token is; give one of", ways);
        return 0;
}

static int check_exchange(const struct cli *cli)
{
        const bool exchange = cli_has(cli, CLI_OPTION_EXCHANGE_STDIN) ||
                              cli_has(cli, CLI_OPTION_SUBJECT_TOKEN_FILE);

        if (exchange && !cli_has(cli, CLI_OPTION_REGISTRATION_ID))
                return complain(cli, "an exchange needs --registration-id", "");
        if (!exchange && cli_has(cli, CLI_OPTION_REGISTRATION_ID))
                return complain(cli, "--registration-id is for an exchange", "");
        if (!exchange && cli_has(cli, CLI_OPTION_SUBJECT_TOKEN_TYPE))
                return complain(cli, "--subject-token-type is for an exchange", "");
        return 0;
}

static int check_pairs(const struct cli *cli)
{
        static const enum cli_option pairs[][2] = {
                {CLI_OPTION_SOCKET, CLI_OPTION_URL},
                {CLI_OPTION_HEADER, CLI_OPTION_JSON},
                {CLI_OPTION_REJECT_STDIN, CLI_OPTION_EXCHANGE_STDIN},
        };
        char both[80];

        for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
                if (!cli_has(cli, pairs[i][0]) || !cli_has(cli, pairs[i][1]))
                        continue;
                (void)snprintf(both, sizeof(both), "--%s and --%s", infos[pairs[i][0]].name,
                               infos[pairs[i][1]].name);
                return complain(cli, "these exclude each other:", both);
        }
        return 0;
}

static int check_key(const struct cli *cli)
{
        if (cli->verb->explains && cli_has(cli, CLI_OPTION_KEY_FILE) &&
            !cli_has(cli, CLI_OPTION_CLIENT))
                return complain(cli, "with --key-file it has to be said which --client", "");
        return 0;
}

static int check_values(struct cli *cli)
{
        static const enum cli_option subjects[] = {CLI_OPTION_USERNAME, CLI_OPTION_USERID,
                                                   CLI_OPTION_EMAIL};
        unsigned int min_ttl_s;
        int r;

        r = check_empty(cli);
        for (size_t i = 0; r == 0 && i < sizeof(subjects) / sizeof(subjects[0]); i++)
                r = check_text(cli, subjects[i], CLI_SUBJECT_MAX_BYTES);
        if (r == 0)
                r = check_text(cli, CLI_OPTION_REGISTRATION_ID, CLI_REGISTRATION_MAX_BYTES);
        if (r == 0)
                r = check_text(cli, CLI_OPTION_CLIENT, CLI_SUBJECT_MAX_BYTES);
        if (r == 0)
                r = check_scope(cli);
        if (r == 0)
                r = parse_number(cli, CLI_OPTION_TIMEOUT, 1, TIMEOUT_MAX_S, &cli->timeout_s);
        if (r == 0)
                r = parse_number(cli, CLI_OPTION_WARNING_DAYS, 0, WARNING_DAYS_MAX,
                                 &cli->warning_days);
        if (r == 0)
                r = parse_number(cli, CLI_OPTION_MIN_TTL, 0, MIN_TTL_MAX_S, &min_ttl_s);
        return r;
}

/* The words that are no options. */
static int take_rest(struct cli *cli, int argc, char *argv[])
{
        cli->command = argv + argc;
        if (cli->verb->takes_command) {
                if (optind >= argc)
                        return complain(cli, "there is no command to run", "");
                cli->command = argv + optind;
                return 0;
        }
        if (optind < argc) {
                cli_say("egain-token %s: unexpected argument '%s'", cli->verb->name, argv[optind]);
                return complain(cli, "a value with spaces in it has to be quoted", "");
        }
        return 0;
}

static int take_options(struct cli *cli, int argc, char *argv[])
{
        struct option longs[_CLI_OPTION_N + 1];
        char letters[LETTERS_MAX_BYTES];
        enum cli_option option;
        int value;

        make_tables(cli->verb, longs, letters);
        optind = 1;
        while ((value = getopt_long(argc, argv, letters, longs, NULL)) >= 0) {
                option = value == '?' ? _CLI_OPTION_N : option_of(value);
                if (option == _CLI_OPTION_N) {
                        cli_say("Try 'egain-token %s --help'.", cli->verb->name);
                        return CLI_E_USAGE;
                }
                if (option == CLI_OPTION_HELP) {
                        cli_print_help(cli->verb);
                        return CLI_E_DONE;
                }
                if (infos[option].argument && cli->values[option])
                        return complain(cli, "given twice:", cli_option_name(option));
                cli->values[option] = infos[option].argument ? optarg : "";
        }
        return 0;
}

int cli_parse(struct cli *ret, const struct cli_verb *verb, int argc, char *argv[])
{
        int r;

        *ret = (struct cli){
                .verb = verb,
                .timeout_s = CLI_TIMEOUT_DEFAULT_S,
                .warning_days = CLI_WARNING_DAYS_DEFAULT,
        };
        r = take_options(ret, argc, argv);
        if (r == 0)
                r = take_rest(ret, argc, argv);
        if (r == 0)
                r = check_whom(ret);
        if (r == 0)
                r = check_exchange(ret);
        if (r == 0)
                r = check_pairs(ret);
        if (r == 0)
                r = check_key(ret);
        if (r == 0)
                r = check_values(ret);
        return r;
}

/* "  -u, --username NAME  " and so on; what does not fit is followed by a line of its own. */
static void print_option(enum cli_option option)
{
        const struct option_info *info = &infos[option];
        char left[48], letter[] = "    ";

        if (info->letter)
                (void)snprintf(letter, sizeof(letter), "-%c, ", info->letter);
        (void)snprintf(left, sizeof(left), "  %s--%s%s%s", letter, info->name,
                       info->argument ? " " : "", info->argument ? info->argument : "");
        printf("%-33s %s\n", left, info->help);
}

void cli_print_help(const struct cli_verb *verb)
{
        printf("Usage: egain-token %s %s\n%s\n\n", verb->name, verb->synopsis, verb->about);
        for (enum cli_option i = 0; i < _CLI_OPTION_N; i++)
                if (has(verb->options, i))
                        print_option(i);
        if (verb->more)
                printf("\n%s", verb->more);
        printf("\nSee egain-token(1) for exit statuses and examples.\n");
}

void cli_print_overview(const struct cli_verb *const verbs[])
{
        printf("Usage: egain-token VERB [OPTION]...\n"
               "Gets eGain access tokens from egain-tokend, and shows what that is doing.\n\n");
        for (; *verbs; verbs++)
                printf("  %-9s %.*s\n", (*verbs)->name, (int)strcspn((*verbs)->about, "\n"),
                       (*verbs)->about);
        printf("\n'egain-token VERB --help' tells the options of a verb.\n\n"
               "  -h, --help  print this and exit\n"
               "  --version   print the version and exit\n"
               "\nSee egain-token(1).\n");
}
