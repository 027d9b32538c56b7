/* SPDX-License-Identifier: MIT */

/*
 * The bare token serves "$(egain-token get …)" and programs that take what is written as it is, so
 * there is a line feed behind it only for a person's eyes. The other two forms are lines.
 */

#include <unistd.h>

#include "cli-text.h"
#include "cli-token.h"

#define OUTPUT_MAX_BYTES ((size_t)2 * 1024 * 1024)

static int format(const struct cli *cli, const struct cli_token *token, struct buffer *out)
{
        const bool header = cli_has(cli, CLI_OPTION_HEADER);
        int r = 0;

        if (cli_has(cli, CLI_OPTION_JSON)) {
                r = buffer_append(out, token->json.bytes, token->json.size);
                return r ? r : buffer_append(out, "\n", 1);
        }
        if (header)
                r = buffer_append_str(out, "Authorization: Bearer ");
        if (r == 0)
                r = buffer_append_str(out, token->said.value);
        if (r == 0 && (header || isatty(STDOUT_FILENO)))
                r = buffer_append(out, "\n", 1);
        return r;
}

static int run(const struct cli *cli)
{
        struct buffer out = BUFFER_INIT(OUTPUT_MAX_BYTES);
        struct cli_token token;
        int r, failed;

        r = cli_token_get_once(cli, &token);
        if (r == CLI_EXIT_OK && format(cli, &token, &out)) {
                cli_say("egain-token get: out of memory");
                r = CLI_EXIT_SYSTEM;
        }
        cli_token_deinit(&token);
        if (r == CLI_EXIT_OK) {
                failed = cli_write(STDOUT_FILENO, out.bytes, out.size);
                r = failed ? cli_output_failed(-failed) : CLI_EXIT_OK;
        }
        buffer_deinit(&out);
        return r;
}

const struct cli_verb cli_verb_get = {
        .name = "get",
        .synopsis = "--username NAME [OPTION]...",
        .about = "Gets an access token and prints it.\n"
                 "A line feed follows the bare token only on a terminal.",
        .options = CLI_BITS_DAEMON | CLI_BITS_WHOM | CLI_BIT(REGISTRATION_ID) |
                   CLI_BIT(SUBJECT_TOKEN_TYPE) | CLI_BIT(SCOPE) | CLI_BIT(CLIENT) |
                   CLI_BIT(MIN_TTL) | CLI_BIT(REJECT_STDIN) | CLI_BIT(HEADER) | CLI_BIT(JSON),
        .needs_whom = true,
        .run = run,
};
