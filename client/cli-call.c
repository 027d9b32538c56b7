/* SPDX-License-Identifier: MIT */

#include "cli-call.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli-input.h"
#include "cli-text.h"
#include "json.h"

#define KEY_MAX_BYTES    4096
#define HEADER_MAX_BYTES ((size_t)32 * 1024)

/* Restarts that are not hidden by a service manager take about so long. */
#define PATIENCE_MS 1000

/* The user of HTTP Basic where none is asked for; the daemon does not look at it. */
#define BASIC_USER "egain-token"

void cli_question_deinit(struct cli_question *question)
{
        buffer_deinit(&question->query);
        buffer_deinit(&question->form);
}

int cli_trouble_set(struct cli_trouble *trouble, int exit, const char *format, ...)
{
        va_list arguments;

        *trouble = (struct cli_trouble){.exit = exit};
        va_start(arguments, format);
        (void)vsnprintf(trouble->text, sizeof(trouble->text), format, arguments);
        va_end(arguments);
        return exit;
}

static int fail(struct cli_trouble *trouble, int r)
{
        return cli_trouble_set(trouble, CLI_EXIT_SYSTEM, "%s", strerror(-r));
}

static int exit_of_fault(enum broker_fault fault)
{
        switch (fault) {
        case BROKER_FAULT_BAD_ADDRESS:
        case BROKER_FAULT_PATH_TOO_LONG: return CLI_EXIT_USAGE;
        case BROKER_FAULT_NO_SOCKET:
        case BROKER_FAULT_NOT_A_SOCKET:
        case BROKER_FAULT_REFUSED:
        case BROKER_FAULT_UNREACHABLE: return CLI_EXIT_UNREACHABLE;
        case BROKER_FAULT_PERMISSION: return CLI_EXIT_DENIED;
        case BROKER_FAULT_BUSY:
        case BROKER_FAULT_TIMEOUT: return CLI_EXIT_TEMPORARY;
        default: return CLI_EXIT_PROTOCOL;
        }
}

/* Without a word about what is in it: `error` of the answer decides where a status has several. */
static int exit_of_status(unsigned int status, const char *error)
{
        switch (status) {
        case 400:
                if (strcmp(error, "invalid_grant") == 0 || strcmp(error, "invalid_scope") == 0)
                        return CLI_EXIT_REFUSED;
                return strcmp(error, "unauthorized_client") == 0 ? CLI_EXIT_CONFIG : CLI_EXIT_DATA;
        case 401:
        case 403: return CLI_EXIT_DENIED;
        case 413: return CLI_EXIT_DATA;
        case 429:
        case 503:
        case 504: return CLI_EXIT_TEMPORARY;
        case 502: return CLI_EXIT_CONFIG;
        default: return CLI_EXIT_PROTOCOL;
        }
}

static int take_fault(struct cli_trouble *trouble, const struct broker_error *error)
{
        cli_trouble_set(trouble, exit_of_fault(error->fault), "%s", error->text);
        trouble->fault = error->fault;
        return trouble->exit;
}

int cli_not_understood(struct cli_trouble *trouble)
{
        cli_trouble_set(trouble, CLI_EXIT_PROTOCOL,
                        "What listens there does not answer as this version of egain-tokend does.");
        trouble->fault = BROKER_FAULT_NOT_BROKER;
        return trouble->exit;
}

int cli_trouble_of_answer(struct cli_trouble *trouble, int r, const struct broker_refusal *refusal,
                          const struct broker_error *error)
{
        if (r < 0)
                return fail(trouble, r);
        if (r == BROKER_ANSWER_E_ODD)
                return take_fault(trouble, error);
        cli_trouble_set(trouble, exit_of_status(refusal->status, refusal->error), "%s",
                        refusal->description);
        trouble->status = refusal->status;
        trouble->retry_after_s = refusal->retry_after_s;
        memcpy(trouble->error, refusal->error, sizeof(trouble->error));
        return trouble->exit;
}

static int find_place(const struct cli *cli, struct broker_place *ret, struct cli_trouble *trouble)
{
        const char *path = getenv("EGAIN_TOKEN_SOCKET"), *url = getenv("EGAIN_TOKEN_URL");

        *ret = (struct broker_place){
                .socket_path = cli->values[CLI_OPTION_SOCKET],
                .url = cli->values[CLI_OPTION_URL],
                .server_user = cli->values[CLI_OPTION_DAEMON_USER],
        };
        if (ret->socket_path || ret->url)
                return CLI_EXIT_OK;
        ret->socket_path = path && *path ? path : NULL;
        ret->url = url && *url ? url : NULL;
        if (!ret->socket_path || !ret->url)
                return CLI_EXIT_OK;
        return cli_trouble_set(trouble, CLI_EXIT_USAGE,
                               "both EGAIN_TOKEN_SOCKET and EGAIN_TOKEN_URL are set; keep one of "
                               "them");
}

int cli_open(const struct cli *cli, struct cli_link *ret, struct cli_trouble *trouble)
{
        const char *key_path = cli->values[CLI_OPTION_KEY_FILE];
        struct broker_place place;
        struct broker_error error;
        int r;

        *ret = (struct cli_link){.cli = cli};
        *trouble = (struct cli_trouble){};
        r = find_place(cli, &place, trouble);
        if (r)
                return r;
        if (key_path) {
                r = cli_read_secret(key_path, "the key", KEY_MAX_BYTES, &ret->key);
                if (r)
                        return cli_trouble_set(trouble, r, "%s", "");
        }
        r = broker_http_new(&ret->http, &place, &error);
        if (r < 0)
                return fail(trouble, r);
        return r ? take_fault(trouble, &error) : CLI_EXIT_OK;
}

void cli_close(struct cli_link *link)
{
        broker_http_free(link->http);
        buffer_deinit(&link->key);
        *link = (struct cli_link){};
}

/* "Authorization: Basic …" of RFC 7617, its two parts encoded as RFC 6749 §2.3.1 wants. */
static int make_basic(const struct cli *cli, const struct buffer *key, struct buffer *ret)
{
        const char *user = cli->values[CLI_OPTION_CLIENT];
        struct buffer pair = BUFFER_INIT(HEADER_MAX_BYTES), base64 = BUFFER_INIT(HEADER_MAX_BYTES);
        char *bytes = NULL;
        size_t size;
        int r;

        /* As a field without a name, less the sign of equality. */
        user = user ? user : BASIC_USER;
        r = buffer_append_field(&base64, "", user, strlen(user));
        if (r == 0)
                r = buffer_append(&pair, base64.bytes + 1, base64.size - 1);
        buffer_clear(&base64);
        if (r == 0)
                r = buffer_append_field(&base64, "", key->bytes, key->size);
        if (r == 0)
                r = buffer_append(&pair, ":", 1);
        if (r == 0)
                r = buffer_append(&pair, base64.bytes + 1, base64.size - 1);
        size = pair.size / 3 * 4 + 5;
        if (r == 0 && !(bytes = malloc(size)))
                r = -ENOMEM;
        if (r == 0) {
                (void)EVP_EncodeBlock((unsigned char *)bytes, (unsigned char *)pair.bytes,
                                      (int)pair.size);
                r = buffer_append_str(ret, "Authorization: Basic ");
        }
        if (r == 0)
                r = buffer_append_str(ret, bytes);
        buffer_wipe_and_free(bytes, bytes ? size : 0);
        buffer_deinit(&pair);
        buffer_deinit(&base64);
        return r ? -ENOMEM : 0;
}

/* A request, put together. */
struct parts {
        struct buffer path, form, header;
};

static void parts_deinit(struct parts *parts)
{
        buffer_deinit(&parts->path);
        buffer_deinit(&parts->form);
        buffer_deinit(&parts->header);
}

static int make_path(const struct cli_question *question, struct buffer *ret)
{
        int r;

        r = buffer_append_str(ret, question->path);
        if (r == 0 && question->query.size > 0)
                r = buffer_append_str(ret, "?");
        if (r == 0 && question->query.size > 0)
                r = buffer_append(ret, question->query.bytes, question->query.size);
        return r;
}

/* 0, -ENOMEM or BUFFER_E_FULL. */
static int make_parts(const struct cli_link *link, const struct cli_question *question,
                      struct parts *ret)
{
        const struct buffer *key = &link->key;
        int r;

        *ret = (struct parts){
                .path = BUFFER_INIT(CLI_QUERY_MAX_BYTES + 64),
                .form = BUFFER_INIT(CLI_FORM_MAX_BYTES),
                .header = BUFFER_INIT(HEADER_MAX_BYTES),
        };
        r = make_path(question, &ret->path);
        if (r == 0 && question->form.size > 0)
                r = buffer_append(&ret->form, question->form.bytes, question->form.size);
        if (r || key->size == 0)
                return r;
        if (question->form.size > 0)
                return buffer_append_field(&ret->form, "client_secret", key->bytes, key->size);
        return make_basic(link->cli, key, &ret->header);
}

int cli_send(struct cli_link *link, const struct cli_question *question, struct broker_answer *ret,
             struct cli_trouble *trouble)
{
        const char *headers[] = {"Accept: application/json", NULL, NULL};
        struct broker_request request = {
                .method = question->method,
                .headers = headers,
                .timeout_ms = (uint64_t)link->cli->timeout_s * 1000,
                .patience_ms = question->patient ? PATIENCE_MS : 0,
        };
        struct broker_error error;
        struct parts parts;
        int r;

        *ret = (struct broker_answer){};
        *trouble = (struct cli_trouble){};
        r = make_parts(link, question, &parts);
        if (r) {
                r = fail(trouble, r < 0 ? r : -E2BIG);
        } else {
                request.path = parts.path.bytes;
                request.form = parts.form.size > 0 ? &parts.form : NULL;
                headers[1] = parts.header.size > 0 ? parts.header.bytes : NULL;
                r = broker_http_perform(link->http, &request, ret, &error);
                if (r)
                        r = r < 0 ? fail(trouble, r) : take_fault(trouble, &error);
        }
        parts_deinit(&parts);
        return r;
}

int cli_ask(struct cli_link *link, const struct cli_question *question, json_object **ret,
            struct cli_trouble *trouble)
{
        struct broker_answer answer;
        struct broker_refusal refusal;
        struct broker_error error;
        int r;

        *ret = NULL;
        r = cli_send(link, question, &answer, trouble);
        if (r)
                return r;
        r = broker_answer_check(&answer, &refusal, &error);
        if (r) {
                r = cli_trouble_of_answer(trouble, r, &refusal, &error);
        } else {
                *ret = answer.json ? json_parse(answer.body.bytes, answer.body.size) : NULL;
                if (!*ret)
                        r = cli_not_understood(trouble);
        }
        broker_answer_deinit(&answer);
        return r;
}

int cli_tell(const struct cli *cli, const struct cli_trouble *trouble)
{
        if (!*trouble->text)
                return trouble->exit;
        cli_say("egain-token %s: %s", cli->verb->name, trouble->text);
        if (trouble->retry_after_s > 0)
                cli_say("egain-token %s: it may be tried again in %u s", cli->verb->name,
                        trouble->retry_after_s);
        return trouble->exit;
}

int cli_ask_once(const struct cli *cli, const struct cli_question *question, json_object **ret)
{
        struct cli_trouble trouble;
        struct cli_link link;
        int r;

        *ret = NULL;
        r = cli_open(cli, &link, &trouble);
        if (r == CLI_EXIT_OK)
                r = cli_ask(&link, question, ret, &trouble);
        cli_close(&link);
        return r ? cli_tell(cli, &trouble) : CLI_EXIT_OK;
}

int cli_put_json(json_object *object)
{
        struct buffer text = BUFFER_INIT(8 * BROKER_HTTP_ANSWER_MAX_BYTES);
        int r;

        r = cli_json_text(object, true, &text);
        if (r == 0 && buffer_append(&text, "\n", 1))
                r = -ENOMEM;
        json_release(object);
        if (r == 0)
                r = cli_write(STDOUT_FILENO, text.bytes, text.size);
        buffer_deinit(&text);
        return r ? cli_output_failed(-r) : CLI_EXIT_OK;
}

int cli_append(struct buffer *out, const char *name, const char *value)
{
        return value && buffer_append_field(out, name, value, strlen(value)) ? -ENOMEM : 0;
}

int cli_append_filter(const struct cli *cli, struct buffer *out)
{
        static const struct {
                enum cli_option option;
                const char *name;
        } parameters[] = {
                {CLI_OPTION_USERNAME, "subject_username"}, {CLI_OPTION_USERID, "subject_userid"},
                {CLI_OPTION_EMAIL, "subject_email"},       {CLI_OPTION_SCOPE, "scope"},
                {CLI_OPTION_CLIENT, "client_id"},
        };
        int r = 0;

        for (size_t i = 0; r == 0 && i < sizeof(parameters) / sizeof(parameters[0]); i++)
                r = cli_append(out, parameters[i].name, cli->values[parameters[i].option]);
        return r;
}
