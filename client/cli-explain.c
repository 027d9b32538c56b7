/* SPDX-License-Identifier: MIT */

/* What would happen if the same token were asked for, and why. What the daemon tells only those who
 * monitor is left out where it did not tell it. */

#include <inttypes.h>
#include <string.h>

#include "cli-explain.h"
#include "cli-text.h"
#include "json.h"

/* "username:pa"; what has no subject is named by its kind alone. */
static void print_permission(json_object *explanation)
{
        json_object *subject = cli_json_get(explanation, "subject", json_type_object);
        json_object *client = cli_json_get(explanation, "client", json_type_object);
        const char *value = cli_json_string(subject, "value");

        cli_line("permitted   by rule %s", cli_or(cli_json_string(explanation, "rule")));
        cli_line("client      %s", cli_or(cli_json_string(client, "name")));
        cli_line("subject     %s%s%s", cli_or(cli_json_string(subject, "kind")),
                 value && *value ? ":" : "", value ? value : "");
        cli_line("scope       %s", cli_or(cli_json_string(explanation, "scope")));
}

static void print_outcome(json_object *outcome)
{
        const int64_t blocked_s = cli_json_number(outcome, "blocked_for", 0);
        const char *blocked = cli_json_string(outcome, "blocked");
        char duration[CLI_DURATION_MAX_BYTES];

        cli_line("outcome     %" PRId64 ": %s", cli_json_number(outcome, "status", 0),
                 cli_or(cli_json_string(outcome, "text")));
        if (blocked)
                cli_line("            no fetch now: %s%s%s", blocked, blocked_s > 0 ? ", for " : "",
                         blocked_s > 0 ? cli_duration(duration, blocked_s) : "");
}

static void print_entry(json_object *explanation)
{
        json_object *entry = cli_json_get(explanation, "entry", json_type_object);
        char left[CLI_DURATION_MAX_BYTES], renewed[CLI_DURATION_MAX_BYTES];
        const char *state = cli_or(cli_json_string(entry, "state"));

        if (strcmp(state, "absent") == 0)
                cli_line("token       none in memory");
        else
                cli_line("token       %s; ends in %s, renewed in %s if it is used%s%s", state,
                         cli_duration(left, cli_json_number(entry, "expires_in", 0)),
                         cli_duration(renewed, cli_json_number(entry, "refresh_in", 0)),
                         cli_json_true(entry, "used") ? "; was used" : "",
                         cli_json_true(entry, "rejected") ? "; an API refused it" : "");
        if (cli_json_true(explanation, "in_flight"))
                cli_line("            is being fetched; %" PRId64 " wait for it",
                         cli_json_number(explanation, "waiters", 0));
}

/* What the daemon remembers of earlier tries. */
static void print_memory(json_object *memory)
{
        static const struct {
                const char *name, *text;
        } holds[] = {
                {"refusal_for", "is answered with this refusal"},
                {"failure_for", "is not fetched"},
                {"no_refresh_for", "is not renewed"},
                {"no_fetch_for_rejection_for", "is not fetched for being refused by an API"},
        };
        const char *reason = cli_json_string(memory, "reason");
        char duration[CLI_DURATION_MAX_BYTES];

        if (reason)
                cli_line("memory      the last fetch ended with %s", reason);
        for (size_t i = 0; i < sizeof(holds) / sizeof(holds[0]); i++) {
                const int64_t seconds = cli_json_number(memory, holds[i].name, 0);

                if (seconds > 0)
                        cli_line("            %s for %s", holds[i].text,
                                 cli_duration(duration, seconds));
        }
}

static void print_issuer(json_object *issuer)
{
        const int64_t open_s = cli_json_number(issuer, "open_for", 0);
        const int64_t success_s = cli_json_number(issuer, "last_success_ago", -1);
        const char *failure = cli_json_string(issuer, "last_failure");
        char duration[CLI_DURATION_MAX_BYTES];

        cli_line("issuer      %s", cli_or(cli_json_string(issuer, "token_url")));
        cli_line("            breaker %s%s%s, %" PRId64 " failures in a row",
                 cli_or(cli_json_string(issuer, "breaker")), open_s > 0 ? " for " : "",
                 open_s > 0 ? cli_duration(duration, open_s) : "",
                 cli_json_number(issuer, "failures_in_a_row", 0));
        if (success_s >= 0)
                cli_line("            last success %s ago", cli_duration(duration, success_s));
        if (failure)
                cli_line("            last failure %s ago: %s (%s)",
                         cli_duration(duration, cli_json_number(issuer, "last_failure_ago", 0)),
                         cli_or(cli_json_string(issuer, "last_failure_text")), failure);
}

static void print(json_object *explanation)
{
        json_object *outcome = cli_json_get(explanation, "outcome", json_type_object);
        json_object *client = cli_json_get(explanation, "client", json_type_object);
        const int64_t held_s = cli_json_number(client, "held_for", 0);
        char duration[CLI_DURATION_MAX_BYTES];

        print_permission(explanation);
        if (!outcome) {
                cli_line("            (more is told to callers whose rule says monitor = true)");
                return;
        }
        print_outcome(outcome);
        print_entry(explanation);
        print_memory(cli_json_get(explanation, "memory", json_type_object));
        print_issuer(cli_json_get(explanation, "issuer", json_type_object));
        if (held_s > 0)
                cli_line("secret      refused by the issuer; not tried for %s",
                         cli_duration(duration, held_s));
}

int cli_explain(struct cli_link *link, json_object **ret, struct cli_trouble *trouble)
{
        struct cli_question question = CLI_QUESTION("GET", "/v1/explain");
        const struct cli *cli = link->cli;
        int r = 0;

        *ret = NULL;
        if (cli_has(cli, CLI_OPTION_APPLICATION))
                r = cli_append(&question.query, "grant_type", "client_credentials");
        if (r == 0)
                r = cli_append_filter(cli, &question.query);
        if (r == 0)
                r = cli_append(&question.query, "min_ttl", cli->values[CLI_OPTION_MIN_TTL]);
        r = r ? cli_trouble_set(trouble, CLI_EXIT_SYSTEM, "Out of memory.")
              : cli_ask(link, &question, ret, trouble);
        cli_question_deinit(&question);
        if (r == CLI_EXIT_OK && !cli_json_true(*ret, "permitted")) {
                json_release(*ret);
                *ret = NULL;
                r = cli_not_understood(trouble);
        }
        return r;
}

static int run(const struct cli *cli)
{
        json_object *explanation = NULL;
        struct cli_trouble trouble;
        struct cli_link link;
        int r;

        r = cli_open(cli, &link, &trouble);
        if (r == CLI_EXIT_OK)
                r = cli_explain(&link, &explanation, &trouble);
        cli_close(&link);
        if (r)
                return cli_tell(cli, &trouble);
        if (cli_has(cli, CLI_OPTION_JSON))
                return cli_put_json(explanation);
        print(explanation);
        json_release(explanation);
        return cli_flush();
}

const struct cli_verb cli_verb_explain = {
        .name = "explain",
        .synopsis = "--username NAME [OPTION]...",
        .about = "Tells what would happen if a token were asked for, and why.\n"
                 "Nothing is fetched. The exit status is that of a refusal, if there is one.",
        .options = CLI_BITS_DAEMON | CLI_BITS_FILTER | CLI_BIT(APPLICATION) | CLI_BIT(MIN_TTL) |
                   CLI_BIT(JSON),
        .needs_whom = true,
        .explains = true,
        .run = run,
};
