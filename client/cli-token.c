/* SPDX-License-Identifier: MIT */

#include "cli-token.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "cli-input.h"
#include "cli-text.h"

#define SHA256_BYTES             32
#define SUBJECT_TOKEN_MAX_BYTES  ((size_t)16 * 1024)
#define REJECTED_TOKEN_MAX_BYTES ((size_t)64 * 1024)

#define GRANT_EXCHANGE "urn:ietf:params:oauth:grant-type:token-exchange"
#define TOKEN_TYPE     "urn:ietf:params:oauth:token-type:"

static bool is_exchange(const struct cli *cli)
{
        return cli_has(cli, CLI_OPTION_EXCHANGE_STDIN) ||
               cli_has(cli, CLI_OPTION_SUBJECT_TOKEN_FILE);
}

static const char *grant_type(const struct cli *cli)
{
        if (cli_has(cli, CLI_OPTION_APPLICATION))
                return "client_credentials";
        return is_exchange(cli) ? GRANT_EXCHANGE : "password";
}

/* The short names stand for the URNs of RFC 8693 §3; anything else is taken as it is. */
static const char *subject_token_type(const struct cli *cli)
{
        static const char *const urns[] = {TOKEN_TYPE "access_token", TOKEN_TYPE "id_token",
                                           TOKEN_TYPE "jwt"};
        const char *type = cli->values[CLI_OPTION_SUBJECT_TOKEN_TYPE];

        if (!type)
                return urns[0];
        for (size_t i = 0; i < sizeof(urns) / sizeof(urns[0]); i++)
                if (strcmp(type, urns[i] + strlen(TOKEN_TYPE)) == 0)
                        return urns[i];
        return type;
}

/* An exit status. */
static int append_exchange(const struct cli *cli, struct buffer *form)
{
        struct buffer token;
        int r;

        r = cli_read_secret(cli->values[CLI_OPTION_SUBJECT_TOKEN_FILE], "the token to exchange",
                            SUBJECT_TOKEN_MAX_BYTES, &token);
        if (r == CLI_EXIT_OK && buffer_append_field(form, "subject_token", token.bytes, token.size))
                r = CLI_EXIT_SYSTEM;
        if (r == CLI_EXIT_OK &&
            (cli_append(form, "subject_token_type", subject_token_type(cli)) ||
             cli_append(form, "registration_id", cli->values[CLI_OPTION_REGISTRATION_ID])))
                r = CLI_EXIT_SYSTEM;
        buffer_deinit(&token);
        return r;
}

/* Of the refused token only a digest is sent. An exit status. */
static int append_rejected(struct buffer *form)
{
        unsigned char digest[SHA256_BYTES];
        char hex[2 * SHA256_BYTES + 1];
        struct buffer token;
        int r;

        r = cli_read_secret(NULL, "the refused token", REJECTED_TOKEN_MAX_BYTES, &token);
        if (r == CLI_EXIT_OK &&
            !EVP_Digest(token.bytes, token.size, digest, NULL, EVP_sha256(), NULL))
                r = CLI_EXIT_SYSTEM;
        buffer_deinit(&token);
        if (r)
                return r;
        for (size_t i = 0; i < SHA256_BYTES; i++)
                (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
        return cli_append(form, "rejected_token_sha256", hex) ? CLI_EXIT_SYSTEM : CLI_EXIT_OK;
}

/* An exit status. */
static int make_form(const struct cli *cli, struct buffer *form)
{
        int r = CLI_EXIT_OK;

        if (cli_append(form, "grant_type", grant_type(cli)) || cli_append_filter(cli, form) ||
            cli_append(form, "min_ttl", cli->values[CLI_OPTION_MIN_TTL]))
                r = CLI_EXIT_SYSTEM;
        if (r == CLI_EXIT_OK && is_exchange(cli))
                r = append_exchange(cli, form);
        if (r == CLI_EXIT_OK && cli_has(cli, CLI_OPTION_REJECT_STDIN))
                r = append_rejected(form);
        return r;
}

static int understand(struct broker_answer *answer, struct cli_token *ret,
                      struct cli_trouble *trouble)
{
        struct broker_refusal refusal;
        struct broker_error error;
        int r;

        r = broker_answer_token(answer, &ret->said, &refusal, &error);
        if (r)
                return cli_trouble_of_answer(trouble, r, &refusal, &error);
        if (!cli_is_plain(answer->body.bytes, answer->body.size))
                return cli_not_understood(trouble);
        ret->json = answer->body;
        answer->body = (struct buffer){};
        return CLI_EXIT_OK;
}

int cli_token_get(struct cli_link *link, struct cli_token *ret, struct cli_trouble *trouble)
{
        struct cli_question question = CLI_QUESTION("POST", "/oauth2/token");
        struct broker_answer answer = {};
        int r;

        *ret = (struct cli_token){};
        question.patient = true;
        r = make_form(link->cli, &question.form);
        if (r)
                cli_trouble_set(trouble, r, "%s", r == CLI_EXIT_SYSTEM ? "Out of memory." : "");
        if (r == CLI_EXIT_OK)
                r = cli_send(link, &question, &answer, trouble);
        if (r == CLI_EXIT_OK)
                r = understand(&answer, ret, trouble);
        broker_answer_deinit(&answer);
        cli_question_deinit(&question);
        return r;
}

int cli_token_get_once(const struct cli *cli, struct cli_token *ret)
{
        struct cli_trouble trouble;
        struct cli_link link;
        int r;

        *ret = (struct cli_token){};
        r = cli_open(cli, &link, &trouble);
        if (r == CLI_EXIT_OK)
                r = cli_token_get(&link, ret, &trouble);
        cli_close(&link);
        return r ? cli_tell(cli, &trouble) : CLI_EXIT_OK;
}

void cli_token_deinit(struct cli_token *token)
{
        broker_token_deinit(&token->said);
        buffer_deinit(&token->json);
}
