/* SPDX-License-Identifier: MIT */

/*
 * An answer is held against the form that it is documented to have, member by member in the order
 * in which the daemon writes them. Reasons are told apart by their sentences, which are those of
 * lib/reason.h but for a few that name what the caller sent: those are known by their beginning.
 */

#include "answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HEAD_MAX_BYTES 8192
#define BODY_MAX_BYTES 65536

const char *const answer_cache_names[_ANSWER_CACHE_N] = {"none", "hit", "miss", "stale", "request"};

static const struct sentence {
        enum reason reason;
        const char *begins, *holds;
} sentences[] = {
        {REASON_NOT_PERMITTED, "No rule of the daemon's configuration is for this caller", ""},
        {REASON_CLIENT_NOT_PERMITTED, "The rule ", "does not give this caller the client "},
        {REASON_SUBJECT_NOT_PERMITTED, "The rule ", "does not give this caller the subject "},
        {REASON_SUBJECT_NOT_PERMITTED, "The rule ",
         "does not give this caller tokens of the kind "},
        {REASON_SCOPE_NOT_PERMITTED, "The rule ", "does not give this caller the scope "},
        {REASON_FETCHES_SPENT, "The rule ", "has used up its fetches"},
        {REASON_NOT_FOUND, "There is nothing at ", ""},
        {REASON_NO_METADATA_HEADER, "The header Metadata is ", ""},
};

/* The bytes that are still to be read. */
struct cursor {
        const char *at, *end;
};

static bool skip(struct cursor *cursor, const char *text)
{
        const size_t size = strlen(text);

        if ((size_t)(cursor->end - cursor->at) < size || memcmp(cursor->at, text, size) != 0)
                return false;
        cursor->at += size;
        return true;
}

static bool read_number(struct cursor *cursor, uint64_t *ret)
{
        const char *const begin = cursor->at;

        *ret = 0;
        while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9' &&
               cursor->at - begin < 18)
                *ret = *ret * 10 + (uint64_t)(*cursor->at++ - '0');
        return cursor->at > begin;
}

/* Up to a quote; nothing that the daemon writes here needs a backslash. */
static bool read_string(struct cursor *cursor, const char **ret, size_t *ret_size)
{
        const char *quote = memchr(cursor->at, '"', (size_t)(cursor->end - cursor->at));

        if (!quote || memchr(cursor->at, '\\', (size_t)(quote - cursor->at)))
                return false;
        *ret = cursor->at;
        *ret_size = (size_t)(quote - cursor->at);
        cursor->at = quote + 1;
        return true;
}

static bool is_text(const char *bytes, size_t size, const char *text)
{
        return strlen(text) == size && memcmp(bytes, text, size) == 0;
}

static enum reason reason_of_code(const char *code, size_t size)
{
        for (enum reason reason = REASON_NONE + 1; reason < _REASON_N; reason++)
                if (is_text(code, size, reason_info(reason)->code))
                        return reason;
        return REASON_NONE;
}

static enum reason reason_of_sentence(unsigned int status, const char *text, size_t size)
{
        for (enum reason reason = REASON_NONE + 1; reason < _REASON_N; reason++)
                if (reason_info(reason)->status == status &&
                    is_text(text, size, reason_info(reason)->description))
                        return reason;
        for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++) {
                const struct sentence *sentence = &sentences[i];
                const size_t begins = strlen(sentence->begins);

                if (reason_info(sentence->reason)->status == status && size >= begins &&
                    memcmp(text, sentence->begins, begins) == 0 &&
                    memmem(text, size, sentence->holds, strlen(sentence->holds)))
                        return sentence->reason;
        }
        return REASON_NONE;
}

/* The parameters of Cache-Status behind the name of the cache. */
static bool read_cache_status(struct answer *answer, struct cursor value, uint64_t *ret_ttl)
{
        static const struct {
                const char *text;
                enum answer_cache cache;
        } names[] = {
                {"; hit", ANSWER_CACHE_HIT},
                {"; fwd=miss", ANSWER_CACHE_MISS},
                {"; fwd=stale", ANSWER_CACHE_STALE},
                {"; fwd=request", ANSWER_CACHE_REQUEST},
        };

        if (!skip(&value, "egain-tokend"))
                return false;
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !answer->cache; i++)
                if (skip(&value, names[i].text))
                        answer->cache = names[i].cache;
        answer->collapsed = skip(&value, "; collapsed");
        if (!answer->cache || !skip(&value, "; ttl=") || !read_number(&value, ret_ttl))
                return false;
        if (skip(&value, "; detail=")) {
                answer->detail = reason_of_code(value.at, (size_t)(value.end - value.at));
                return answer->detail != REASON_NONE;
        }
        return value.at == value.end;
}

/* What of the head matters; header fields by name. */
struct head {
        uint64_t content_length, ttl, retry_after;
        bool has_length, no_store, json, plain, closes, cache_status, odd;
};

static bool is_field(struct cursor *line, const char *name)
{
        const size_t size = strlen(name);

        if ((size_t)(line->end - line->at) < size + 2 || strncasecmp(line->at, name, size) != 0 ||
            line->at[size] != ':' || line->at[size + 1] != ' ')
                return false;
        line->at += size + 2;
        return true;
}

static void read_field(struct head *head, struct answer *answer, struct cursor line)
{
        const char *const begin = line.at;

        if (is_field(&line, "Content-Length")) {
                head->odd |= head->has_length || !read_number(&line, &head->content_length) ||
                             line.at != line.end;
                head->has_length = true;
        } else if (is_field(&line, "Cache-Control")) {
                head->no_store = is_text(line.at, (size_t)(line.end - line.at), "no-store");
        } else if (is_field(&line, "Content-Type")) {
                head->json = is_text(line.at, (size_t)(line.end - line.at), "application/json");
                head->plain = skip(&line, "text/plain");
        } else if (is_field(&line, "Connection")) {
                head->closes = strncasecmp(line.at, "close", 5) == 0;
        } else if (is_field(&line, "Retry-After")) {
                head->odd |= !read_number(&line, &head->retry_after) || head->retry_after == 0;
        } else if (is_field(&line, "Cache-Status")) {
                head->odd |= head->cache_status || !read_cache_status(answer, line, &head->ttl);
                head->cache_status = true;
        } else {
                head->odd |= !memchr(begin, ':', (size_t)(line.end - begin));
        }
}

static bool read_head(struct head *head, struct answer *answer, struct cursor bytes)
{
        uint64_t status;

        if (!skip(&bytes, "HTTP/1.1 ") || !read_number(&bytes, &status))
                return false;
        answer->status = (unsigned int)status;
        bytes.at = memchr(bytes.at, '\n', (size_t)(bytes.end - bytes.at));
        while (++bytes.at < bytes.end) {
                struct cursor line = bytes;

                bytes.at = memmem(line.at, (size_t)(bytes.end - line.at), "\r\n", 2);
                if (!bytes.at)
                        return false;
                line.end = bytes.at++;
                if (line.end > line.at)
                        read_field(head, answer, line);
        }
        answer->closes = head->closes;
        answer->retry_after_s = (uint32_t)head->retry_after;
        return !head->odd && head->has_length;
}

static bool read_token(struct answer *answer, struct cursor body)
{
        if (!skip(&body, "{\"access_token\":\"") ||
            !read_string(&body, &answer->token, &answer->token_size) ||
            !skip(&body, ",\"token_type\":\"Bearer\",\"expires_in\":") ||
            !read_number(&body, &answer->expires_in_s) || !skip(&body, ",\"scope\":\"") ||
            !read_string(&body, &answer->scope, &answer->scope_size))
                return false;
        answer->issued_type = skip(&body, ",\"issued_token_type\":"
                                          "\"urn:ietf:params:oauth:token-type:access_token\"");
        return skip(&body, "}") && body.at == body.end;
}

static const char *judge_token(struct answer *answer, const struct head *head, struct cursor body,
                               bool bare)
{
        if (!head->no_store)
                return "a token without Cache-Control: no-store";
        if (!head->cache_status)
                return "a token without Cache-Status";
        if (bare) {
                answer->token = body.at;
                answer->token_size = (size_t)(body.end - body.at);
                answer->expires_in_s = head->ttl;
        } else if (!head->json || !read_token(answer, body)) {
                return "the body of a token is not as documented";
        }
        if (bare && !head->plain)
                return "a bare token that is not text/plain";
        if (answer->expires_in_s != head->ttl)
                return "expires_in and ttl differ";
        return answer->expires_in_s == 0 ? "expires_in is 0" : NULL;
}

static const char *judge_error(struct answer *answer, const struct head *head, struct cursor body)
{
        const char *error, *text;
        size_t error_size, text_size;

        if (head->cache_status)
                return "an error with Cache-Status";
        if (!head->json || !head->no_store)
                return "an error that is not JSON, or may be stored";
        if (!skip(&body, "{\"error\":\"") || !read_string(&body, &error, &error_size) ||
            !skip(&body, ",\"error_description\":\"") || !read_string(&body, &text, &text_size) ||
            !skip(&body, "}") || body.at != body.end)
                return "the body of an error is not as documented";
        answer->reason = reason_of_sentence(answer->status, text, text_size);
        if (!answer->reason)
                return "an error with a sentence that nobody knows";
        if (!is_text(error, error_size, reason_info(answer->reason)->error))
                return "an error that does not go with its reason";
        if ((answer->status == 429 || answer->status == 503) && answer->retry_after_s == 0)
                return "come again, but not when";
        return NULL;
}

int answer_parse(struct answer *answer, const char *bytes, size_t size, bool bare, size_t *ret_size,
                 const char **ret_wrong)
{
        const char *const blank = memmem(bytes, size, "\r\n\r\n", 4);
        struct head head = {0};
        struct cursor body;

        *answer = (struct answer){0};
        *ret_wrong = "the head is too long, or is none";
        if (!blank)
                return size > HEAD_MAX_BYTES ? ANSWER_E_ODD : ANSWER_E_PARTIAL;
        if (!read_head(&head, answer, (struct cursor){bytes, blank + 2}) ||
            head.content_length > BODY_MAX_BYTES)
                return ANSWER_E_ODD;
        body = (struct cursor){blank + 4, blank + 4 + head.content_length};
        if (body.end > bytes + size)
                return ANSWER_E_PARTIAL;
        *ret_size = (size_t)(body.end - bytes);
        *ret_wrong = answer->status == 200 ? judge_token(answer, &head, body, bare)
                                           : judge_error(answer, &head, body);
        return *ret_wrong ? ANSWER_E_ODD : 0;
}
