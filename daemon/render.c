/* SPDX-License-Identifier: MIT */

/*
 * JSON is written by hand, because a library would leave copies of the token behind. All it takes
 * is the escaping of strings: what goes in is UTF-8 without control characters, which the core has
 * seen to.
 */

#include "render.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../lib/error.h"

#define PIECE_BYTES 1024

#define RELOAD_LINE_MAX_BYTES 4096

#define TYPE_JSON "application/json"
#define TYPE_TEXT "text/plain; charset=us-ascii"

void response_deinit(struct response *response)
{
        secret_deinit(&response->body);
        secret_deinit(&response->authorization);
        *response = (struct response){};
}

static bool needs_backslash(char c)
{
        return c == '"' || c == '\\';
}

/* How many bytes can stay as they are, up to the first that needs a backslash; of a long text only
 * a piece is looked at, so that one full of them does not cost its square. */
static size_t plain_size(const char *bytes, size_t left)
{
        const size_t size = left < PIECE_BYTES ? left : PIECE_BYTES;
        const char *quote = memchr(bytes, '"', size);
        const char *backslash = memchr(bytes, '\\', quote ? (size_t)(quote - bytes) : size);
        const char *first = backslash ? backslash : quote;

        return first ? (size_t)(first - bytes) : size;
}

int render_string(struct secret *out, struct text text)
{
        size_t at = 0, size;
        int r;

        r = secret_append(out, "\"", 1);
        while (r == 0 && at < text.size) {
                size = plain_size(text.bytes + at, text.size - at);
                r = secret_append(out, text.bytes + at, size);
                at += size;
                if (r == 0 && at < text.size && needs_backslash(text.bytes[at]))
                        r = secret_append(out, (char[]){'\\', text.bytes[at++]}, 2);
        }
        if (r == 0)
                r = secret_append(out, "\"", 1);
        return error_trace(r);
}

/* RFC 8693 §2.2.1; whoever asked with another grant does not know the parameter. */
static int append_issued_type(struct secret *out, const struct reply *reply)
{
        int r;

        if (reply->subject_kind != SUBJECT_EXCHANGE)
                return 0;
        r = secret_append_str(out, ",\"issued_token_type\":");
        if (r == 0)
                r = render_string(out, TEXT(subjecttoken_type_name(SUBJECTTOKEN_ACCESS_TOKEN)));
        return error_trace(r);
}

static int append_token_json(struct secret *out, const struct reply *reply)
{
        const struct text value = token_value(reply->token);
        char middle[80];
        int r;

        (void)snprintf(middle, sizeof(middle),
                       ",\"token_type\":\"Bearer\",\"expires_in\":%" PRIu64 ",\"scope\":",
                       reply->expires_in_s);
        r = secret_reserve(out, value.size + reply->scope.size + sizeof(middle) + 128);
        if (r == 0)
                r = secret_append_str(out, "{\"access_token\":");
        if (r == 0)
                r = render_string(out, value);
        if (r == 0)
                r = secret_append_str(out, middle);
        if (r == 0)
                r = render_string(out, reply->scope);
        if (r == 0)
                r = append_issued_type(out, reply);
        if (r == 0)
                r = secret_append_str(out, "}");
        return error_trace(r);
}

/* RFC 9211 §2. */
static void render_cache_status(char out[RENDER_CACHE_STATUS_MAX_BYTES], const struct reply *reply)
{
        static const char *const names[] = {
                [CACHE_STATUS_HIT] = "hit",
                [CACHE_STATUS_FWD_MISS] = "fwd=miss",
                [CACHE_STATUS_FWD_STALE] = "fwd=stale",
                [CACHE_STATUS_FWD_REQUEST] = "fwd=request",
        };

        (void)snprintf(out, RENDER_CACHE_STATUS_MAX_BYTES,
                       "egain-tokend; %s%s; ttl=%" PRIu64 "%s%s", names[reply->cache_status],
                       reply->collapsed ? "; collapsed" : "", reply->expires_in_s,
                       reply->detail ? "; detail=" : "",
                       reply->detail ? reason_info(reply->detail)->code : "");
}

int render_token(struct response *ret, const struct reply *reply, bool bare)
{
        const struct text value = token_value(reply->token);
        int r;

        *ret = (struct response){
                .status = 200,
                .content_type = bare ? TYPE_TEXT : TYPE_JSON,
                .body = ret->body,
                .no_store = true,
        };
        render_cache_status(ret->cache_status, reply);
        r = bare ? secret_append(&ret->body, value.bytes, value.size)
                 : append_token_json(&ret->body, reply);
        if (r)
                response_deinit(ret);
        return error_trace(r);
}

int render_authorization(struct response *ret, const struct reply *reply)
{
        static const char scheme[] = "Bearer ";
        const struct text value = token_value(reply->token);
        struct secret *out = &ret->authorization;
        int r;

        *ret = (struct response){.status = 204, .no_store = true};
        render_cache_status(ret->cache_status, reply);
        r = secret_reserve(out, sizeof(scheme) - 1 + value.size);
        if (r == 0)
                r = secret_append_str(out, scheme);
        if (r == 0)
                r = secret_append(out, value.bytes, value.size);
        if (r)
                response_deinit(ret);
        return error_trace(r);
}

/* One object of two strings. */
static int append_pair_json(struct secret *out, const char *name_a, const char *a,
                            const char *name_b, const char *b)
{
        const struct text parts[] = {TEXT(name_a), TEXT(a), TEXT(name_b), TEXT(b)};
        static const char *const before[] = {"{", ":", ",", ":"};
        int r = 0;

        for (size_t i = 0; r == 0 && i < 4; i++) {
                r = secret_append_str(out, before[i]);
                if (r == 0)
                        r = render_string(out, parts[i]);
        }
        if (r == 0)
                r = secret_append_str(out, "}");
        return error_trace(r);
}

int render_error(struct response *ret, enum reason reason, const char *description,
                 unsigned int retry_after_s, const char *allow)
{
        const struct reason_info *info = reason_info(reason);
        int r;

        *ret = (struct response){
                .status = info->status,
                .content_type = TYPE_JSON,
                .allow = allow,
                .authenticate = info->status == 401 ? "Basic realm=\"egain-tokend\"" : NULL,
                .retry_after_s = retry_after_s,
                .no_store = true,
        };
        r = append_pair_json(&ret->body, "error", info->error, "error_description",
                             description ? description : info->description);
        if (r)
                response_deinit(ret);
        return error_trace(r);
}

int render_health(struct response *ret, unsigned int status, const char *text)
{
        int r;

        *ret = (struct response){.status = status, .content_type = TYPE_JSON, .no_store = true};
        r = secret_append_str(&ret->body, "{\"status\":");
        if (r == 0)
                r = render_string(&ret->body, TEXT(text));
        if (r == 0)
                r = secret_append_str(&ret->body, "}");
        if (r)
                response_deinit(ret);
        return error_trace(r);
}

/* A line that may hold anything, in printable ASCII. */
static int append_line(struct secret *out, const char *bytes, size_t size)
{
        char line[RELOAD_LINE_MAX_BYTES];

        if (size > sizeof(line))
                size = sizeof(line);
        for (size_t i = 0; i < size; i++)
                line[i] = (char)(bytes[i] < 0x20 || bytes[i] > 0x7e ? '?' : bytes[i]);
        return error_trace(render_string(out, (struct text){line, size}));
}

int render_reload(struct response *ret, bool good, uint64_t generation, const char *messages)
{
        const char *between = "";
        char head[96];
        int r;

        *ret = (struct response){
                .status = good ? 200 : 409, .content_type = TYPE_JSON, .no_store = true};
        (void)snprintf(head, sizeof(head),
                       "{\"reloaded\":%s,\"generation\":%" PRIu64 ",\"messages\":[",
                       good ? "true" : "false", generation);
        r = secret_append_str(&ret->body, head);
        while (r == 0 && *messages) {
                const size_t size = strcspn(messages, "\n");

                if (size > 0) {
                        r = secret_append_str(&ret->body, between);
                        if (r == 0)
                                r = append_line(&ret->body, messages, size);
                        between = ",";
                }
                messages += size + (messages[size] == '\n');
        }
        if (r == 0)
                r = secret_append_str(&ret->body, "]}\n");
        if (r)
                response_deinit(ret);
        return error_trace(r);
}

int render_metadata(struct response *ret, const char *host)
{
        static const char rest[] = "/oauth2/token\",\"response_types_supported\":[],"
                                   "\"grant_types_supported\":[\"password\","
                                   "\"client_credentials\","
                                   "\"urn:ietf:params:oauth:grant-type:token-exchange\"],"
                                   "\"token_endpoint_auth_methods_supported\":"
                                   "[\"none\",\"client_secret_basic\",\"client_secret_post\"]}";
        const char *const parts[] = {
                "{\"issuer\":\"http://", host, "\",\"token_endpoint\":\"http://", host, rest,
        };
        int r = 0;

        *ret = (struct response){.status = 200, .content_type = TYPE_JSON};
        for (size_t i = 0; r == 0 && i < sizeof(parts) / sizeof(parts[0]); i++)
                r = secret_append_str(&ret->body, parts[i]);
        if (r)
                response_deinit(ret);
        return error_trace(r);
}
