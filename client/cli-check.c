/* SPDX-License-Identifier: MIT */

/*
 * Walks the chain from the socket to a token, and names the link that is broken. The first line is
 * the verdict, so that a monitoring system shows it; then there is a line for each link. A request
 * for a token is what decides; what the daemon tells about itself is asked before, and again after:
 * of a failure for its reason, of a success since it may have ended what was amiss.
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli-explain.h"
#include "cli-faults.h"
#include "cli-text.h"
#include "cli-token.h"
#include "json.h"

#define DAY_S 86400

struct link {
        bool reached;
        enum cli_check state;
        char text[CLI_TROUBLE_TEXT_MAX_BYTES];
        const char *advice; /* NULL: nothing is to be done */
};

struct check {
        struct cli_link link;
        struct link links[_CLI_STEP_N];
        json_object *status;      /* NULL: not told */
        json_object *explanation; /* the same; of the time before the token was asked for */
};

__attribute__((format(printf, 5, 6))) static void set(struct check *check, enum cli_step step,
                                                      enum cli_check state, const char *advice,
                                                      const char *format, ...)
{
        struct link *link = &check->links[step];
        va_list arguments;

        link->reached = true;
        link->state = state;
        link->advice = advice;
        va_start(arguments, format);
        (void)vsnprintf(link->text, sizeof(link->text), format, arguments);
        va_end(arguments);
}

/* It went wrong there; what comes before is therefore well, if nothing is known of it. */
static void fail_at(struct check *check, struct cli_fault fault, const char *text)
{
        for (enum cli_step i = 0; i < fault.step; i++)
                if (!check->links[i].reached && i != CLI_STEP_SUBJECT)
                        set(check, i, CLI_CHECK_OK, NULL, "%s", "well, as what follows shows");
        set(check, fault.step, CLI_CHECK_CRITICAL, fault.advice, "%s", text);
}

static int fail(struct check *check, const struct cli_trouble *trouble)
{
        const char *text = *trouble->text ? trouble->text : "said above";

        if (trouble->fault == BROKER_FAULT_NONE || trouble->exit == CLI_EXIT_USAGE) {
                cli_say("egain-token check: %s", text);
                return CLI_CHECK_UNKNOWN;
        }
        fail_at(check, cli_fault_of_transport(trouble), text);
        return CLI_CHECK_CRITICAL;
}

/* Every function below returns 0 to go on, or the verdict. */

static int check_daemon(struct check *check)
{
        struct cli_question ready = CLI_QUESTION("GET", "/readyz");
        struct cli_question status = CLI_QUESTION("GET", "/v1/status");
        char duration[CLI_DURATION_MAX_BYTES];
        struct broker_answer answer;
        struct cli_trouble trouble;
        bool is_ready, is_daemon;

        if (cli_send(&check->link, &ready, &answer, &trouble))
                return fail(check, &trouble);
        is_ready = answer.status == 200;
        is_daemon = answer.json && (is_ready || answer.status == 503);
        broker_answer_deinit(&answer);
        set(check, CLI_STEP_SOCKET, CLI_CHECK_OK, NULL, "%s", "connected");
        if (!is_daemon) {
                (void)cli_not_understood(&trouble);
                return fail(check, &trouble);
        }
        if (cli_ask(&check->link, &status, &check->status, &trouble) &&
            trouble.fault != BROKER_FAULT_NONE)
                return fail(check, &trouble);
        if (!is_ready)
                set(check, CLI_STEP_DAEMON, CLI_CHECK_WARNING, "Wait until it has restarted.", "%s",
                    "is shutting down");
        else if (check->status)
                set(check, CLI_STEP_DAEMON, CLI_CHECK_OK, NULL, "version %s, up for %s",
                    cli_or(cli_json_string(check->status, "version")),
                    cli_duration(duration, cli_json_number(check->status, "uptime", 0)));
        else
                set(check, CLI_STEP_DAEMON, CLI_CHECK_OK, NULL, "%s",
                    "serves (more is told to callers whose rule says monitor = true)");
        return 0;
}

static int check_policy(struct check *check)
{
        struct cli_trouble trouble;
        json_object *client;

        if (cli_explain(&check->link, &check->explanation, &trouble)) {
                if (trouble.status == 0)
                        return fail(check, &trouble);
                fail_at(check,
                        (struct cli_fault){
                                trouble.status < 500 ? CLI_STEP_POLICY : CLI_STEP_DAEMON,
                                trouble.status == 403
                                        ? "Change the rule, or ask for what it gives: "
                                          "'egain-tokend --explain' shows which rule decides."
                                        : "Ask as the daemon's configuration allows."},
                        trouble.text);
                return CLI_CHECK_CRITICAL;
        }
        client = cli_json_get(check->explanation, "client", json_type_object);
        set(check, CLI_STEP_POLICY, CLI_CHECK_OK, NULL, "rule %s permits it: client %s, scope %s",
            cli_or(cli_json_string(check->explanation, "rule")),
            cli_or(cli_json_string(client, "name")),
            cli_or(cli_json_string(check->explanation, "scope")));
        return 0;
}

/* The daemon's reason for what has just happened; NULL: it does not tell. Borrowed from
 * `explanation`. */
static const char *reason_of(json_object *explanation, const char **ret_text)
{
        json_object *outcome = cli_json_get(explanation, "outcome", json_type_object);
        json_object *issuer = cli_json_get(explanation, "issuer", json_type_object);
        const char *reason = cli_json_string(outcome, "blocked");

        /* That it is left alone is not why. */
        if (reason && strcmp(reason, "breaker_open") == 0 &&
            cli_json_string(issuer, "last_failure")) {
                *ret_text = cli_json_string(issuer, "last_failure_text");
                return cli_json_string(issuer, "last_failure");
        }
        return reason;
}

static int explain_failure(struct check *check, const struct cli_trouble *refusal)
{
        struct cli_fault fault = cli_fault_of_refusal(refusal);
        json_object *explanation = NULL;
        struct cli_trouble trouble;
        const char *text = NULL;

        if (cli_explain(&check->link, &explanation, &trouble) == CLI_EXIT_OK)
                (void)cli_fault_of_reason(reason_of(explanation, &text), &fault);
        fail_at(check, fault, text ? text : refusal->text);
        json_release(explanation);
        return CLI_CHECK_CRITICAL;
}

static int check_token(struct check *check)
{
        char duration[CLI_DURATION_MAX_BYTES];
        struct cli_trouble trouble;
        struct cli_token token;
        int r = 0;

        if (cli_token_get(&check->link, &token, &trouble)) {
                r = trouble.status > 0 ? explain_failure(check, &trouble) : fail(check, &trouble);
        } else {
                set(check, CLI_STEP_SUBJECT, CLI_CHECK_OK, NULL, "%s", "known to the issuer");
                set(check, CLI_STEP_SCOPE, CLI_CHECK_OK, NULL, "granted: %s", token.said.scope);
                set(check, CLI_STEP_TOKEN, CLI_CHECK_OK, NULL, "here; it ends in %s",
                    cli_duration(duration, (int64_t)token.said.expires_in_s));
        }
        cli_token_deinit(&token);
        return r;
}

/* What was told before may have ended with the request for a token. It stays if nothing is told. */
static void look_again(struct check *check)
{
        struct cli_question question = CLI_QUESTION("GET", "/v1/status");
        struct cli_trouble trouble;
        json_object *status;

        if (!check->status || cli_ask(&check->link, &question, &status, &trouble))
                return;
        json_release(check->status);
        check->status = status;
}

/* What /v1/status says of the client application and of the token URL that the request is for. */
static json_object *find_client(const struct check *check)
{
        json_object *clients = cli_json_get(check->status, "clients", json_type_array);
        const char *name = cli_json_string(
                cli_json_get(check->explanation, "client", json_type_object), "name");

        for (size_t i = 0; clients && name && i < json_object_array_length(clients); i++) {
                json_object *client = json_object_array_get_idx(clients, i);
                const char *its = cli_json_string(client, "name");

                if (its && strcmp(its, name) == 0)
                        return client;
        }
        return NULL;
}

static json_object *find_url(const struct check *check, json_object *client)
{
        json_object *urls = cli_json_get(client, "token_urls", json_type_array);
        const char *url = cli_json_string(
                cli_json_get(check->explanation, "issuer", json_type_object), "token_url");

        for (size_t i = 0; urls && url && i < json_object_array_length(urls); i++) {
                json_object *candidate = json_object_array_get_idx(urls, i);
                const char *its = cli_json_string(candidate, "token_url");

                if (its && strcmp(its, url) == 0)
                        return candidate;
        }
        return NULL;
}

/* A token has come, perhaps from memory: an issuer that fails is not seen by who has one. */
static void judge_issuer(struct check *check, json_object *client)
{
        static const char *const unwell[] = {"failing", "open", "probing", "throttled", "held"};
        json_object *url = find_url(check, client);
        const char *state = cli_or(cli_json_string(url, "state"));
        const char *health = cli_or(cli_json_string(url, "health"));
        const int64_t success_s = cli_json_number(url, "last_success_ago", -1);
        const bool held = strcmp(state, "held") == 0;
        char duration[CLI_DURATION_MAX_BYTES];
        struct cli_fault fault = {};
        bool well = true;

        for (size_t i = 0; i < sizeof(unwell) / sizeof(unwell[0]); i++)
                well = well && strcmp(state, unwell[i]) != 0;
        if (held) {
                (void)cli_fault_of_reason("credentials_refused", &fault);
                set(check, CLI_STEP_SECRET, CLI_CHECK_WARNING, fault.advice, "%s", health);
        }
        if ((well || held) && success_s >= 0)
                set(check, CLI_STEP_ISSUER, CLI_CHECK_OK, NULL, "answered %s ago",
                    cli_duration(duration, success_s));
        else if (well || held)
                set(check, CLI_STEP_ISSUER, CLI_CHECK_OK, NULL, "%s", "has given this token");
        if (well || held)
                return;
        (void)cli_fault_of_reason(
                cli_json_string(cli_json_get(url, "last_failure", json_type_object), "reason"),
                &fault);
        set(check, CLI_STEP_ISSUER, CLI_CHECK_WARNING, fault.advice,
            "%s Tokens in memory are still served.", health);
}

/* A secret that runs out soon, unless the next one is there. */
static void judge_secret(struct check *check, json_object *client)
{
        json_object *secrets = cli_json_get(client, "secret_expires_in", json_type_object);
        json_object *current = cli_json_get(secrets, "current", json_type_int);
        const int64_t left_s = current ? json_object_get_int64(current) : 0;
        const int64_t warning_s = (int64_t)check->link.cli->warning_days * DAY_S;
        char duration[CLI_DURATION_MAX_BYTES];

        if (check->links[CLI_STEP_SECRET].reached)
                return;
        if (!current || cli_json_get(secrets, "next", json_type_int)) {
                set(check, CLI_STEP_SECRET, CLI_CHECK_OK, NULL, "%s", "accepted by the issuer");
                return;
        }
        (void)cli_duration(duration, left_s < 0 ? -left_s : left_s);
        if (left_s >= warning_s)
                set(check, CLI_STEP_SECRET, CLI_CHECK_OK, NULL,
                    "accepted by the issuer; expires in %s", duration);
        else
                set(check, CLI_STEP_SECRET, CLI_CHECK_WARNING,
                    "Make the next one, and put it beside this one (next_client_secret_file).",
                    left_s < 0 ? "expired %s ago, says the configuration" : "expires in %s",
                    duration);
}

static int walk(struct check *check)
{
        json_object *client;
        int r;

        r = check_daemon(check);
        if (r == 0)
                r = check_policy(check);
        if (r == 0)
                r = check_token(check);
        if (r)
                return r;
        look_again(check);
        client = find_client(check);
        judge_issuer(check, client);
        judge_secret(check, client);
        for (enum cli_step i = 0; i < _CLI_STEP_N; i++)
                if ((int)check->links[i].state > r)
                        r = check->links[i].state;
        return r;
}

static void print(const struct check *check, int verdict)
{
        static const char *const names[] = {
                [CLI_CHECK_OK] = "OK",
                [CLI_CHECK_WARNING] = "WARNING",
                [CLI_CHECK_CRITICAL] = "CRITICAL",
        };
        const struct link *links = check->links;
        enum cli_step worst = CLI_STEP_TOKEN;

        for (enum cli_step i = _CLI_STEP_N; i-- > 0;)
                if (links[i].reached && (int)links[i].state == verdict && verdict != CLI_CHECK_OK)
                        worst = i;
        cli_line("%s: %s: %s", names[verdict], cli_step_name(worst), links[worst].text);
        for (enum cli_step i = 0; i < _CLI_STEP_N; i++) {
                if (!links[i].reached) {
                        cli_line("%-8s  %-7s  not known", "-", cli_step_name(i));
                        continue;
                }
                cli_line("%-8s  %-7s  %s", names[links[i].state], cli_step_name(i), links[i].text);
                if (links[i].advice)
                        cli_line("%-8s  %-7s  -> %s", "", "", links[i].advice);
        }
}

static int run(const struct cli *cli)
{
        struct cli_trouble trouble;
        struct check check = {};
        int r;

        r = cli_open(cli, &check.link, &trouble);
        r = r ? fail(&check, &trouble) : walk(&check);
        json_release(check.status);
        json_release(check.explanation);
        cli_close(&check.link);
        if (r == CLI_CHECK_UNKNOWN)
                return r;
        print(&check, r);
        return cli_flush() == CLI_EXIT_OK ? r : CLI_CHECK_UNKNOWN;
}

const struct cli_verb cli_verb_check = {
        .name = "check",
        .synopsis = "--username NAME [OPTION]...",
        .about = "Checks everything between here and a token, and names what is broken.\n"
                 "It asks for a token, and throws it away.",
        .more = "Exit status, for monitoring: 0 all is well, 1 there is a token, but something "
                "needs\n"
                "attention, 2 there is none, 3 it could not be checked.\n",
        .options = CLI_BITS_DAEMON | CLI_BITS_SUBJECT | CLI_BIT(APPLICATION) | CLI_BIT(SCOPE) |
                   CLI_BIT(CLIENT) | CLI_BIT(MIN_TTL) | CLI_BIT(WARNING_DAYS),
        .needs_whom = true,
        .explains = true,
        .checks = true,
        .run = run,
};
