/* SPDX-License-Identifier: MIT */

/*
 * The parser of what callers send. The first byte says what the rest is: 'b' a body, 'f' a filter,
 * 'a' an Authorization header, a newline, and a query; 'h' header fields, one a line; anything else
 * a query.
 */

#include "fuzz.h"

#include <strings.h>

#include "grant.h"
#include "request-fields.h"
#include "request.h"

#define LINES_MAX 64

static bool is_documented(int r)
{
        switch (r) {
        case 0:
        case REASON_MALFORMED_ESCAPE:
        case REASON_REPEATED_PARAMETER:
        case REASON_MISSING_GRANT_TYPE:
        case REASON_UNSUPPORTED_GRANT_TYPE:
        case REASON_MISSING_SUBJECT:
        case REASON_AMBIGUOUS_SUBJECT:
        case REASON_EMPTY_SUBJECT:
        case REASON_LONG_SUBJECT:
        case REASON_BAD_SUBJECT:
        case REASON_BAD_SCOPE:
        case REASON_BAD_MIN_TTL:
        case REASON_BAD_REJECTED_TOKEN:
        case REASON_BAD_LIMIT:
        case REASON_BAD_AFTER:
        case REASON_UNWANTED_SUBJECT:
        case REASON_SUBJECT_TOKEN_IN_QUERY:
        case REASON_EXCHANGE_IN_QUERY:
        case REASON_EXCHANGE_PARAMETER:
        case REASON_BAD_REQUESTED_TOKEN_TYPE:
        case REASON_MISSING_REGISTRATION_ID:
        case REASON_BAD_REGISTRATION_ID:
        case REASON_MISSING_SUBJECT_TOKEN:
        case REASON_LONG_SUBJECT_TOKEN:
        case REASON_MISSING_SUBJECT_TOKEN_TYPE:
        case REASON_BAD_SUBJECT_TOKEN_TYPE:
        case REASON_SUBJECT_TOKEN_NOT_JWT:
        case REASON_SUBJECT_TOKEN_NO_EXP:
        case REASON_SUBJECT_TOKEN_BAD_EXP: return true;
        default: return false;
        }
}

static bool lies_in(struct text text, const char *bytes, size_t size)
{
        return text.size == 0 ||
               (text.bytes >= bytes && text.size <= size && text.bytes - bytes >= 0 &&
                (size_t)(text.bytes - bytes) <= size - text.size);
}

static int hex_value(char c)
{
        static const char digits[] = "0123456789abcdefABCDEF";
        const char *digit = c ? strchr(digits, c) : NULL;

        if (!digit)
                return -1;
        return (int)(digit - digits) < 16 ? (int)(digit - digits) : (int)(digit - digits) - 6;
}

/* Whether the encoded name reads as `wanted` once decoded; written apart from what it checks. */
static bool name_is(struct text encoded, const char *wanted)
{
        size_t i = 0;

        for (; *wanted; wanted++, i++) {
                char c;

                if (i >= encoded.size)
                        return false;
                c = encoded.bytes[i];
                if (c == '+')
                        c = ' ';
                if (c == '%') {
                        int high, low;

                        if (encoded.size - i < 3)
                                return false;
                        high = hex_value(encoded.bytes[i + 1]);
                        low = hex_value(encoded.bytes[i + 2]);
                        if (high < 0 || low < 0)
                                return false;
                        c = (char)(high * 16 + low);
                        i += 2;
                }
                if (c != *wanted)
                        return false;
        }
        return i == encoded.size;
}

/* Whatever became of the request, no secret is left where it was in the form. */
static void check_wiped(const char *before, const char *after, size_t size,
                        enum request_source source)
{
        size_t begin = 0;

        for (size_t i = 0; i <= size; i++) {
                const char *equals;
                struct text name;

                if (i < size && before[i] != '&')
                        continue;
                equals = i > begin ? memchr(before + begin, '=', i - begin) : NULL;
                name = (struct text){before + begin,
                                     equals ? (size_t)(equals - before) - begin : 0};
                if (name_is(name, "client_secret") || name_is(name, "password") ||
                    name_is(name, "username") || name_is(name, "actor_token") ||
                    (source != REQUEST_BODY && name_is(name, "subject_token")))
                        for (size_t at = begin + name.size + 1; at < i; at++)
                                must(after[at] == '\0');
                begin = i + 1;
        }
}

static void check_scope(struct text scope)
{
        char copy[REQUEST_SCOPE_MAX_BYTES];
        size_t size = scope.size;

        must(scope.size <= REQUEST_SCOPE_MAX_BYTES);
        if (scope.size == 0)
                return;
        memcpy(copy, scope.bytes, scope.size);
        must(scope_canonicalise(copy, &size) == 0);
        must(text_equal((struct text){copy, size}, scope));
        must(scope.bytes[0] != ' ' && scope.bytes[scope.size - 1] != ' ');
}

/* What we would send to the issuer for the request reads as the same request. */
static void check_form(const struct grant *grant, const struct subjecttoken *subject_token)
{
        struct secret client_secret = SECRET_INIT(0), form = SECRET_INIT(0);
        struct token_request again;

        must(secret_assign(&client_secret, "s&=%+ \xff", 7) == 0);
        must(grant_form(&form, grant, "id&=%+ ", &client_secret, subject_token) == 0);
        request_init(&again);
        must(request_parse(&again, form.bytes, form.size, REQUEST_BODY) == 0);
        must(again.subject_kind == grant->subject_kind);
        must(text_equal(again.subject, grant->subject));
        must(text_equal(again.scope, grant->scope));
        must(text_equal(again.client, TEXT("id&=%+ ")));
        must(text_equal(again.subject_token.value, subject_token->value));
        must(again.subject_token.type == subject_token->type);
        must(again.keys.n > 0);
        request_deinit(&again);
        secret_deinit(&form);
        secret_deinit(&client_secret);
}

static void check_grant(const struct token_request *request)
{
        static const uint8_t hash_key[SIPHASH_KEY_BYTES] = {0};
        const struct text scope = request->scope.size > 0 ? request->scope : TEXT("default");
        static const uint8_t digest[SUBJECTTOKEN_DIGEST_BYTES] = {0xff, 1};
        const bool exchange = request->subject_kind == SUBJECT_EXCHANGE;
        uint8_t buffer[GRANT_KEY_MAX_BYTES];
        struct grant grant = {
                .identity = 42,
                .subject_kind = request->subject_kind,
                .subject = request->subject,
                .digest = exchange ? digest : NULL,
                .scope = scope,
        };
        struct grant_key key;

        key = grant_key_make(buffer, hash_key, &grant);
        must(key.size <= sizeof(buffer));
        grant = grant_of_key(key);
        must(!exchange || memcmp(grant.digest, digest, sizeof(digest)) == 0);
        must(grant.identity == 42 && grant.subject_kind == request->subject_kind);
        must(text_equal(grant.subject, request->subject) && text_equal(grant.scope, scope));
        check_form(&grant, &request->subject_token);
}

/* It is there for an exchange, and for nothing else; never from a query. */
static void check_subject_token(const struct token_request *request, const char *form, size_t size,
                                enum request_source source)
{
        const struct subjecttoken *token = &request->subject_token;

        must((token->value.size > 0) ==
             (request->subject_kind == SUBJECT_EXCHANGE && source != REQUEST_FILTER));
        must(token->value.size == 0 || source == REQUEST_BODY);
        must(token->value.size <= SUBJECTTOKEN_MAX_BYTES);
        must(token->expires_at_s >= 0 && token->expires_at_s < INT64_MAX / 1000);
        must(lies_in(token->value, form, size));
}

/* The same bytes beside a body. */
static void check_query(const char *bytes, size_t size)
{
        char *const query = copy_exactly(bytes, size);
        const int r = request_check_query(query, size);

        must(r == 0 || r == REASON_SUBJECT_TOKEN_IN_QUERY);
        check_wiped(bytes, query, size, REQUEST_QUERY);
        free(query);
}

/* What holds for a request whatever it came in. */
static void check_request(const struct token_request *request, enum request_source source)
{
        must(request->subject_kind < _SUBJECT_KIND_N);
        must(request->subject_kind != SUBJECT_ANONYMOUS);
        must((request->has_subject && subject_kind_names(request->subject_kind)) ==
             (request->subject.size > 0));
        must(request->subject.size <= subject_kind_max_bytes(request->subject_kind));
        must(text_is_plain_utf8(request->subject));
        must(request->min_ttl_ms <= UINT64_C(999999999) * 1000);
        check_scope(request->scope);
        if (request->has_subject && source != REQUEST_FILTER)
                check_grant(request);
}

static void parse_form(struct token_request *request, const char *bytes, size_t size,
                       enum request_source source)
{
        char *const form = copy_exactly(bytes, size);
        int r;

        r = request_parse(request, form, size, source);
        must(is_documented(r));
        check_wiped(bytes, form, size, source);
        must(request->keys.n <= REQUEST_KEYS_MAX);
        if (r == 0) {
                must(request->has_subject || source == REQUEST_FILTER);
                check_subject_token(request, form, size, source);
                must(request->limit <= 999999);
                must(source == REQUEST_FILTER || (request->limit == 0 && request->after == 0));
                must(lies_in(request->subject, form, size));
                must(lies_in(request->scope, form, size));
                must(lies_in(request->client, form, size));
                check_request(request, source);
        }
        request_deinit(request);
        free(form);
}

/* How often a name stands among the lines, and with what value at last. */
static int count_lines(const char *const *lines, size_t n, const char *name, const char **ret_value)
{
        int count = 0;

        for (size_t i = 0; i < n; i += 2) {
                if (strcasecmp(lines[i], name) != 0)
                        continue;
                *ret_value = lines[i + 1];
                count++;
        }
        return count;
}

/* What was asked for is what the one line says, byte for byte. */
static void check_fields(const struct token_request *request, const char *const *lines, size_t n)
{
        static const char *const subjects[] = {"X-Egain-Subject-Username", "X-Egain-Subject-Userid",
                                               "X-Egain-Subject-Email"};
        const char *value = NULL, *client = "";

        must(request->has_subject && request->limit == 0 && request->after == 0);
        must(request->keys.n == 0 && !request->rejects);
        for (int kind = 0; kind < 3; kind++)
                must(count_lines(lines, n, subjects[kind], &value) ==
                     ((int)request->subject_kind == kind ? 1 : 0));
        must(value && text_equal(request->subject, TEXT(value)));
        must(*value != ' ' && value[strlen(value) - 1] != ' ');
        must(count_lines(lines, n, "X-Egain-Client", &client) <= 1);
        must(text_equal(request->client, TEXT(client)));
        must(count_lines(lines, n, "X-Egain-Scope", &value) <= 1);
        check_request(request, REQUEST_QUERY);
}

/* Lines of a name, a colon and a value; without a colon there is no field. */
static void parse_fields(struct token_request *request, const char *bytes, size_t size)
{
        char *const text = malloc(size + 1);
        const char *lines[(size_t)2 * LINES_MAX];
        struct request_fields fields = {};
        char *saved = NULL;
        size_t n = 0;
        int r;

        must(text);
        memcpy(text, bytes, size);
        text[size] = '\0';
        for (char *line = strtok_r(text, "\n", &saved); line && n < (size_t)2 * LINES_MAX;
             line = strtok_r(NULL, "\n", &saved)) {
                char *const colon = strchr(line, ':');

                if (!colon)
                        continue;
                *colon = '\0';
                lines[n] = line;
                lines[n + 1] = colon + 1;
                request_fields_take(&fields, lines[n], lines[n + 1]);
                n += 2;
        }
        r = request_fields_parse(request, &fields);
        must(is_documented(r) || r == REASON_UNKNOWN_FIELD || r == REASON_SPACED_SUBJECT);
        must(r != REASON_MALFORMED_ESCAPE && r != REASON_MISSING_GRANT_TYPE &&
             r != REASON_UNSUPPORTED_GRANT_TYPE);
        if (r == 0)
                check_fields(request, lines, n);
        request_deinit(request);
        free(text);
}

static void parse_authorization(struct token_request *request, const char *bytes, size_t size)
{
        const struct secret *basic = &request->basic;
        char *header = malloc(size + 1);
        int r;

        must(header);
        memcpy(header, bytes, size);
        header[size] = '\0';
        r = request_authorization(request, header);
        must(r == 0 || r == REASON_BAD_AUTHORIZATION);
        if (r == 0) {
                const struct text raw = request->basic_client_raw, decoded = request->basic_client;

                must(lies_in(raw, basic->bytes, basic->size));
                must(lies_in(decoded, basic->bytes, basic->size));
                must((raw.size == 0) == (decoded.size == 0) && decoded.size <= raw.size);
                must(raw.size == 0 || !memchr(raw.bytes, ':', raw.size));
                must(raw.size == 0 || strncasecmp(header, "basic", 5) == 0);
        }
        free(header);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *bytes = (const char *)data + 1;
        enum request_source source = REQUEST_QUERY;
        struct token_request request;

        if (size-- == 0)
                return 0;
        request_init(&request);
        if (data[0] == 'h') {
                parse_fields(&request, bytes, size);
                return 0;
        }
        if (data[0] == 'b') {
                source = REQUEST_BODY;
        } else if (data[0] == 'f') {
                source = REQUEST_FILTER;
        } else if (data[0] == 'a') {
                const char *newline = memchr(bytes, '\n', size);
                const size_t header_size = newline ? (size_t)(newline - bytes) : size;

                parse_authorization(&request, bytes, header_size);
                bytes += header_size + (newline ? 1 : 0);
                size -= header_size + (newline ? 1 : 0);
        }
        parse_form(&request, bytes, size, source);
        check_query(bytes, size);
        return 0;
}
