/* SPDX-License-Identifier: MIT */

/* The tokens in the daemon's memory: looked at, without the tokens, and purged. Pages are printed
 * as they come, so that a long list needs no memory here. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli-call.h"
#include "cli-text.h"
#include "json.h"

/* More than these hold no entries any more: whoever goes on saying that there is another page is
 * not the daemon. */
#define PAGES_MAX 10000000

/* What a page is asked for with, and what it says comes next. */
#define AFTER_MAX_BYTES 32

struct listing {
        struct cli_link link;
        char after[AFTER_MAX_BYTES]; /* "": at the beginning, or at the end */
        uint64_t n;
        bool json;
};

static void print_entry(const struct listing *listing, json_object *entry)
{
        json_object *subject = cli_json_get(entry, "subject", json_type_object);
        const char *value = cli_json_string(subject, "value");
        char left[CLI_DURATION_MAX_BYTES];

        if (listing->n == 0)
                cli_line("%-6s %-12s %-16s %-40s %s", "STATE", "ENDS IN", "CLIENT", "SCOPE",
                         "SUBJECT");
        cli_line("%-6s %-12s %-16s %-40s %s%s%s%s", cli_or(cli_json_string(entry, "state")),
                 cli_duration(left, cli_json_number(entry, "expires_in", 0)),
                 cli_or(cli_json_string(entry, "client")), cli_or(cli_json_string(entry, "scope")),
                 cli_or(cli_json_string(subject, "kind")), value && *value ? ":" : "",
                 value ? value : "",
                 cli_json_true(entry, "rejected") ? "  (refused by an API)" : "");
}

/* Of an array that the whole listing is; each on a line of its own. 0 or -errno. */
static int print_entry_json(const struct listing *listing, json_object *entry)
{
        struct buffer text = BUFFER_INIT(BROKER_HTTP_ANSWER_MAX_BYTES);
        int r;

        r = buffer_append_str(&text, listing->n > 0 ? ",\n" : "");
        if (r == 0)
                r = cli_json_text(entry, false, &text);
        if (r == 0)
                fputs(text.bytes, stdout);
        buffer_deinit(&text);
        return r;
}

/* Where the next page begins; false: the answer is no page. */
static bool take_next(struct listing *listing, json_object *page)
{
        const char *next = cli_json_string(page, "next");

        listing->after[0] = '\0';
        if (!json_object_object_get_ex(page, "next", NULL))
                return true;
        if (!next || !*next || strlen(next) >= sizeof(listing->after) ||
            strspn(next, "0123456789") != strlen(next))
                return false;
        (void)snprintf(listing->after, sizeof(listing->after), "%s", next);
        return true;
}

static int print_page(struct listing *listing, json_object *page, struct cli_trouble *trouble)
{
        json_object *entries = cli_json_get(page, "tokens", json_type_array);
        int r = 0;

        if (!entries || !take_next(listing, page))
                return cli_not_understood(trouble);
        for (size_t i = 0; r == 0 && i < json_object_array_length(entries); i++) {
                json_object *entry = json_object_array_get_idx(entries, i);

                if (listing->json)
                        r = print_entry_json(listing, entry);
                else
                        print_entry(listing, entry);
                listing->n++;
        }
        return r ? cli_trouble_set(trouble, CLI_EXIT_SYSTEM, "Out of memory.") : CLI_EXIT_OK;
}

/* One page, from listing->after on. An exit status. */
static int list_page(struct listing *listing, struct cli_trouble *trouble)
{
        struct cli_question question = CLI_QUESTION("GET", "/v1/tokens");
        json_object *page = NULL;
        int r;

        r = cli_append_filter(listing->link.cli, &question.query);
        if (r == 0 && *listing->after)
                r = cli_append(&question.query, "after", listing->after);
        r = r ? cli_trouble_set(trouble, CLI_EXIT_SYSTEM, "Out of memory.")
              : cli_ask(&listing->link, &question, &page, trouble);
        cli_question_deinit(&question);
        if (r == CLI_EXIT_OK)
                r = print_page(listing, page, trouble);
        json_release(page);
        return r;
}

static int list_all(struct listing *listing, struct cli_trouble *trouble)
{
        int r;

        for (uint32_t i = 0; i < PAGES_MAX; i++) {
                r = list_page(listing, trouble);
                if (r || !*listing->after || ferror(stdout))
                        return r;
        }
        return cli_not_understood(trouble);
}

static int run_list(const struct cli *cli)
{
        struct listing listing = {.json = cli_has(cli, CLI_OPTION_JSON)};
        struct cli_trouble trouble;
        int r;

        r = cli_open(cli, &listing.link, &trouble);
        if (r == CLI_EXIT_OK) {
                if (listing.json)
                        fputs("{\"tokens\":[\n", stdout);
                r = list_all(&listing, &trouble);
                /* What has no end is not taken for whole. */
                if (r == CLI_EXIT_OK && listing.json)
                        fputs("\n]}\n", stdout);
        }
        cli_close(&listing.link);
        if (r) {
                (void)cli_flush();
                return cli_tell(cli, &trouble);
        }
        return cli_flush();
}

static int run_purge(const struct cli *cli)
{
        struct cli_question question = CLI_QUESTION("DELETE", "/v1/tokens");
        json_object *answer;
        int64_t n;
        int r;

        if (cli_append_filter(cli, &question.query)) {
                cli_say("egain-token purge: Out of memory.");
                r = CLI_EXIT_SYSTEM;
        } else if (question.query.size == 0) {
                cli_say("egain-token purge: nothing says which tokens to purge; give a subject, "
                        "--scope, --client, or several");
                r = CLI_EXIT_USAGE;
        } else {
                r = cli_ask_once(cli, &question, &answer);
        }
        cli_question_deinit(&question);
        if (r)
                return r;
        if (cli_has(cli, CLI_OPTION_JSON))
                return cli_put_json(answer);
        n = cli_json_number(answer, "purged", 0);
        cli_line("%" PRId64 " token%s purged", n, n == 1 ? "" : "s");
        json_release(answer);
        return cli_flush();
}

const struct cli_verb cli_verb_list = {
        .name = "list",
        .synopsis = "[OPTION]...",
        .about = "Lists the tokens in the daemon's memory, without the tokens.\n"
                 "Needs the right to administer. A --scope means the tokens that have it.",
        .options = CLI_BITS_DAEMON | CLI_BITS_FILTER | CLI_BIT(JSON),
        .run = run_list,
};

const struct cli_verb cli_verb_purge = {
        .name = "purge",
        .synopsis = "--username NAME | --scope SCOPE | --client NAME [OPTION]...",
        .about = "Purges tokens from the daemon's memory.\n"
                 "Those that match all of what is given; needs the right to administer.",
        .options = CLI_BITS_DAEMON | CLI_BITS_FILTER | CLI_BIT(JSON),
        .run = run_purge,
};
