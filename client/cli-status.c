/* SPDX-License-Identifier: MIT */

/* The state of the daemon as a screen. */

#include <inttypes.h>

#include "cli-call.h"
#include "cli-text.h"
#include "json.h"

static int64_t number(json_object *object, const char *name)
{
        return cli_json_number(object, name, 0);
}

static void print_daemon(json_object *status)
{
        char duration[CLI_DURATION_MAX_BYTES];

        cli_line("egain-tokend %s, up for %s, configuration %" PRId64 "%s",
                 cli_or(cli_json_string(status, "version")),
                 cli_duration(duration, number(status, "uptime")), number(status, "configuration"),
                 cli_json_true(status, "draining") ? ", shutting down" : "");
}

static void print_secret(json_object *secrets, const char *name)
{
        json_object *member = cli_json_get(secrets, name, json_type_int);
        const int64_t left_s = member ? json_object_get_int64(member) : 0;
        char duration[CLI_DURATION_MAX_BYTES];

        if (!member)
                return;
        if (left_s >= 0)
                cli_line("  %s secret expires in %s", name, cli_duration(duration, left_s));
        else
                cli_line("  %s secret expired %s ago", name, cli_duration(duration, -left_s));
}

static void print_url(json_object *url)
{
        const int64_t success_s = cli_json_number(url, "last_success_ago", -1);
        json_object *failure = cli_json_get(url, "last_failure", json_type_object);
        char duration[CLI_DURATION_MAX_BYTES];

        cli_line("  %-10s %-10s %s", cli_or(cli_json_string(url, "for")),
                 cli_or(cli_json_string(url, "state")), cli_or(cli_json_string(url, "health")));
        cli_line("             %s", cli_or(cli_json_string(url, "token_url")));
        if (success_s >= 0)
                cli_line("             last success %s ago", cli_duration(duration, success_s));
        if (failure)
                cli_line("             last failure %s ago: %s (%s)",
                         cli_duration(duration, number(failure, "ago")),
                         cli_or(cli_json_string(failure, "text")),
                         cli_or(cli_json_string(failure, "reason")));
        if (number(url, "in_flight") > 0 || number(url, "queued") > 0)
                cli_line("             %" PRId64 " fetches under way, %" PRId64 " queued",
                         number(url, "in_flight"), number(url, "queued"));
}

static void print_client(json_object *client)
{
        json_object *secrets = cli_json_get(client, "secret_expires_in", json_type_object);
        json_object *urls = cli_json_get(client, "token_urls", json_type_array);

        cli_line("client %s", cli_or(cli_json_string(client, "name")));
        print_secret(secrets, "current");
        print_secret(secrets, "next");
        for (size_t i = 0; urls && i < json_object_array_length(urls); i++)
                print_url(json_object_array_get_idx(urls, i));
}

static void print_totals(json_object *status)
{
        json_object *tokens = cli_json_get(status, "tokens", json_type_object);
        json_object *requests = cli_json_get(status, "requests", json_type_object);
        json_object *fetches = cli_json_get(status, "fetches", json_type_object);
        json_object *audit = cli_json_get(status, "audit", json_type_object);
        json_object *connections = cli_json_get(status, "connections", json_type_object);

        cli_line("tokens       %" PRId64 " of %" PRId64 ", %" PRId64 " KiB of %" PRId64
                 " KiB, %" PRId64 " evicted",
                 number(tokens, "entries"), number(tokens, "max_entries"),
                 number(tokens, "bytes") / 1024, number(tokens, "max_bytes") / 1024,
                 number(tokens, "evicted"));
        cli_line("requests     %" PRId64 ": %" PRId64 " from memory, %" PRId64 " not, %" PRId64
                 " joined another's fetch, %" PRId64 " waiting",
                 number(requests, "all"), number(requests, "hits"), number(requests, "misses"),
                 number(requests, "coalesced"), number(requests, "waiting"));
        cli_line("fetches      %" PRId64 ", %" PRId64 " brought a token, %" PRId64 " under way",
                 number(fetches, "all"), number(fetches, "tokens"), number(fetches, "in_flight"));
        cli_line("audit        %" PRId64 " grants, %" PRId64 " refusals, %" PRId64
                 " dropped, %" PRId64 " tokens withheld",
                 number(audit, "grants"), number(audit, "refusals"), number(audit, "dropped"),
                 number(audit, "withheld"));
        cli_line("connections  %" PRId64 " of %" PRId64 ", %" PRId64 " refused",
                 number(connections, "open"), number(connections, "max"),
                 number(connections, "refused"));
}

static int run(const struct cli *cli)
{
        struct cli_question question = CLI_QUESTION("GET", "/v1/status");
        json_object *status, *clients;
        int r;

        r = cli_ask_once(cli, &question, &status);
        if (r)
                return r;
        if (cli_has(cli, CLI_OPTION_JSON))
                return cli_put_json(status);
        clients = cli_json_get(status, "clients", json_type_array);
        print_daemon(status);
        for (size_t i = 0; clients && i < json_object_array_length(clients); i++)
                print_client(json_object_array_get_idx(clients, i));
        print_totals(status);
        json_release(status);
        return cli_flush();
}

const struct cli_verb cli_verb_status = {
        .name = "status",
        .synopsis = "[OPTION]...",
        .about = "Shows how the daemon and its issuers are doing.\n"
                 "Needs the right to monitor.",
        .options = CLI_BITS_DAEMON | CLI_BIT(JSON),
        .run = run,
};
