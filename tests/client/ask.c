/* SPDX-License-Identifier: MIT */

/*
 * The library, driven from a test: each line of standard input is a command and its arguments, with
 * tabs between, and each is answered by a line of NAME=VALUE, with tabs between.
 *
 * open [socket=] [url=] [user=] [timeout=] [patience=] [keep=] [max_kept=] [connections=]
 * get kind= [subject=] [client=] [scope=] [min_ttl=] [key=] [subject_token=] [type=]
 * [registration=] reject kind= …: the same, after the last token was refused forget | counters
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "egain_token.h"

#define ARGUMENTS_MAX 16

static struct egain_token_broker *broker;
static struct egain_token *last;
static char *arguments[ARGUMENTS_MAX];
static size_t n_arguments;

/* The value of an argument; NULL: it is not there. */
static const char *argument(const char *name)
{
        const size_t size = strlen(name);

        for (size_t i = 0; i < n_arguments; i++)
                if (strncmp(arguments[i], name, size) == 0 && arguments[i][size] == '=')
                        return arguments[i] + size + 1;
        return NULL;
}

static uint32_t number(const char *name, uint32_t absent)
{
        const char *value = argument(name);

        return value ? (uint32_t)strtoul(value, NULL, 10) : absent;
}

static void do_open(void)
{
        struct egain_token_options options = EGAIN_TOKEN_OPTIONS_INIT;

        egain_token_unref(last);
        last = NULL;
        egain_token_broker_free(broker);
        options.socket_path = argument("socket");
        options.url = argument("url");
        options.server_user = argument("user");
        options.timeout_ms = number("timeout", options.timeout_ms);
        options.patience_ms = number("patience", 0);
        options.keep_ms = number("keep", options.keep_ms);
        options.max_kept = number("max_kept", options.max_kept);
        options.max_connections = number("connections", options.max_connections);
        (void)printf("result=%d\n", egain_token_broker_new(&broker, &options));
}

static void do_get(int rejecting)
{
        struct egain_token_request request = EGAIN_TOKEN_REQUEST_INIT;
        struct egain_token_failure failure = EGAIN_TOKEN_FAILURE_INIT;
        struct egain_token *token;
        int r;

        request.kind = (int)number("kind", EGAIN_TOKEN_USERNAME);
        request.client = argument("client");
        request.subject = argument("subject");
        request.scope = argument("scope");
        request.min_ttl_s = number("min_ttl", 0);
        request.key = argument("key");
        request.subject_token = argument("subject_token");
        request.subject_token_type = argument("type");
        request.registration_id = argument("registration");
        r = rejecting ? egain_token_reject(broker, &request, last, &token, &failure)
                      : egain_token_get(broker, &request, &token, &failure);
        (void)printf("result=%d\terror=%d\tstatus=%" PRIu32 "\tretry_after=%" PRIu32
                     "\tcode=%s\tmessage=%s",
                     r, failure.error, failure.http_status, failure.retry_after_s, failure.code,
                     failure.message);
        if (r == EGAIN_TOKEN_OK) {
                (void)printf("\ttoken=%s\tscope=%s\texpires_in=%" PRIu32, egain_token_value(token),
                             egain_token_scope(token), egain_token_expires_in(token));
                egain_token_unref(last);
                last = token;
        }
        (void)printf("\n");
}

static void do_counters(void)
{
        struct egain_token_counters counters = EGAIN_TOKEN_COUNTERS_INIT;
        const int r = egain_token_broker_counters(broker, &counters);

        (void)printf("result=%d\tcalls=%" PRIu64 "\tkept=%" PRIu64 "\tjoined=%" PRIu64
                     "\tasked=%" PRIu64 "\tfailed=%" PRIu64 "\tretried=%" PRIu64
                     "\tevicted=%" PRIu64 "\n",
                     r, counters.calls, counters.kept, counters.joined, counters.asked,
                     counters.failed, counters.retried, counters.evicted);
}

static void do_command(const char *command)
{
        if (strcmp(command, "open") == 0) {
                do_open();
        } else if (strcmp(command, "get") == 0 || strcmp(command, "reject") == 0) {
                do_get(*command == 'r');
        } else if (strcmp(command, "forget") == 0) {
                egain_token_broker_forget(broker);
                (void)printf("result=0\n");
        } else {
                do_counters();
        }
        (void)fflush(stdout);
}

int main(void)
{
        char *line = NULL, *rest, *command;
        size_t capacity = 0;

        while (getline(&line, &capacity, stdin) > 0) {
                line[strcspn(line, "\n")] = '\0';
                rest = line;
                command = strsep(&rest, "\t");
                for (n_arguments = 0; rest && n_arguments < ARGUMENTS_MAX; n_arguments++)
                        arguments[n_arguments] = strsep(&rest, "\t");
                do_command(command);
        }
        free(line);
        egain_token_unref(last);
        egain_token_broker_free(broker);
        return 0;
}
