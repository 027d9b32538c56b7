/* SPDX-License-Identifier: MIT */

/*
 * What must hold of a token is told by the token: fake-egain writes into it for whom and for what
 * it was minted, when, and for how long. Times are of one clock for all processes of this host, so
 * that what happened before what can be told to the millisecond, and the checks need no slack but
 * that millisecond.
 *
 * An issuer that repeats itself makes an old token a new answer. While it may, and for tokens from
 * before it ended that, what follows from the time of minting is not asked for.
 */

#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <json-c/json.h>
#include <openssl/sha.h>

#define ROUNDING_MS 1
#define SECOND_MS   1000
#define TURN_MAX_MS 1000 /* so old may be what the daemon takes for the present */
#define YOUNG_MS                                                                        \
        10000 /* a token not older than this, or a tenth of its life, meets any min_ttl \
               */
#define DETACHED_MAX_MS \
        60000 /* for as long a fetch from before a purge may still answer somebody */

uint64_t check_now_ms(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

bool check_excuse(struct check *check, const char *names)
{
        static const char *const known[] = {"refuse", "secret", "fail",   "throttle", "grant",
                                            "limit",  "change", "rights", "stop"};
        char copy[256], *rest = copy, *name;
        unsigned int excuses = 0;

        (void)snprintf(copy, sizeof(copy), "%s", names);
        while ((name = strsep(&rest, " "))) {
                size_t i = 0;

                if (!*name)
                        continue;
                while (i < sizeof(known) / sizeof(known[0]) && strcmp(known[i], name) != 0)
                        i++;
                if (i == sizeof(known) / sizeof(known[0]))
                        return false;
                excuses |= 1U << i;
        }
        check->excuses = excuses;
        return true;
}

static void decode_percent(char *text)
{
        char *out = text, digits[3] = {0};

        for (; *text; text++) {
                if (*text == '%' && text[1] && text[2]) {
                        memcpy(digits, text + 1, 2);
                        *out++ = (char)strtoul(digits, NULL, 16);
                        text += 2;
                } else {
                        *out++ = *text;
                }
        }
        *out = '\0';
}

static void drop_ancient(struct check *check, uint64_t now_ms)
{
        size_t n = 0;

        for (size_t i = 0; i < check->n_taken; i++)
                if (check->taken[i].at_ms + check->token_life_max_ms > now_ms)
                        check->taken[n++] = check->taken[i];
        check->n_taken = n;
}

bool check_take(struct check *check, const char *text)
{
        struct taken taken = {.told_ms = check_now_ms(), .kind = -1};
        char kind[32], subject[3 * QUESTION_SUBJECT_BYTES + 1];
        int size = 0;

        if (sscanf(text, "%63s %31s %288s %95s %n", taken.client, kind, subject, taken.scope,
                   &size) != 4 ||
            size == 0)
                return false;
        taken.at_ms = strtoull(text + size, NULL, 10);
        decode_percent(subject);
        (void)snprintf(taken.subject, sizeof(taken.subject), "%.95s", subject);
        for (int i = 0; i < _KIND_N; i++)
                if (strcmp(kind, kind_names[i]) == 0)
                        taken.kind = i;
        if (taken.kind < 0 && strcmp(kind, "*") != 0)
                return false;
        drop_ancient(check, taken.told_ms);
        if (check->n_taken == CHECK_TAKEN_MAX)
                return false;
        check->taken[check->n_taken++] = taken;
        return true;
}

void check_repeat(struct check *check, bool repeats)
{
        check->repeats = repeats;
        check->repeated_at_ms = check_now_ms();
}

void check_fail(struct check *check, const struct exchange *exchange, const char *what)
{
        const struct question *question = exchange->question;
        struct json_object *json = json_object_new_object();
        const struct {
                const char *name;
                struct json_object *value;
        } members[] = {
                {"failure", json_object_new_string(what)},
                {"client", json_object_new_string(question->client->name)},
                {"kind", json_object_new_string(kind_names[question->kind])},
                {"subject", json_object_new_string(question->subject)},
                {"scopes", json_object_new_int((int)question->scopes)},
                {"min_ttl", json_object_new_int((int)question->min_ttl_s)},
                {"rejected", json_object_new_string(question->rejected)},
                {"wanted",
                 json_object_new_string(question->wanted ? reason_info(question->wanted)->code
                                                         : "token")},
                {"excuses", json_object_new_int((int)(exchange->excuses | check->excuses))},
                {"sent_ms", json_object_new_uint64(exchange->sent_ms)},
                {"received_ms", json_object_new_uint64(exchange->received_ms)},
                {"request", json_object_new_string_len(question->bytes, (int)question->size)},
                {"answer", json_object_new_string_len(exchange->bytes, (int)exchange->size)},
        };

        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
                (void)json_object_object_add(json, members[i].name, members[i].value);
        (void)printf("%s\n", json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
        (void)fflush(stdout);
        json_object_put(json);
        check->n_failures++;
        if (!check->keep_going)
                exit(1);
}

/* Which excuse an error needs that a good request gets; 0: there is none for it. */
static unsigned int excuse_for(enum reason reason, const struct exchange *exchange)
{
        switch (reason) {
        case REASON_SUBJECT_REFUSED:
        case REASON_SCOPE_REFUSED:
        case REASON_CLIENT_UNAUTHORIZED: return EXCUSE_REFUSE;
        case REASON_CREDENTIALS_REFUSED: return EXCUSE_SECRET;
        case REASON_ANSWER_UNUSABLE:
        case REASON_ANSWER_REDIRECT:
        case REASON_ANSWER_TOO_LARGE:
        case REASON_ISSUER_CERTIFICATE:
        case REASON_ISSUER_ERROR:
        case REASON_ISSUER_UNREACHABLE:
        case REASON_ISSUER_CUT:
        case REASON_ISSUER_TIMEOUT:
        case REASON_BREAKER_OPEN:
        case REASON_REQUEST_TIMEOUT: return EXCUSE_FAIL;
        case REASON_ISSUER_THROTTLES: return EXCUSE_THROTTLE;
        case REASON_GRANTED_TOO_MUCH: return EXCUSE_GRANT;
        case REASON_FETCHES_SPENT:
        case REASON_UID_WAITERS_FULL:
        case REASON_UID_FLIGHTS_FULL:
        case REASON_UID_CONNECTIONS_FULL:
        case REASON_WAITERS_FULL:
        case REASON_FLIGHT_FULL:
        case REASON_FLIGHTS_FULL:
        case REASON_CONNECTIONS_FULL:
        case REASON_AUDIT_FULL: return EXCUSE_LIMIT;
        case REASON_CLIENT_CHANGED:
        case REASON_UNKNOWN_CLIENT:
        case REASON_NO_TOKEN_URL: return EXCUSE_CHANGE;
        case REASON_NOT_PERMITTED:
        case REASON_CLIENT_NOT_PERMITTED:
        case REASON_SUBJECT_NOT_PERMITTED:
        case REASON_SCOPE_NOT_PERMITTED: return EXCUSE_RIGHTS;
        case REASON_SHUTTING_DOWN: return EXCUSE_STOP;
        /* A token that was reported is not fetched anew at every report. */
        case REASON_REJECTED_AGAIN: return exchange->question->rejected[0] ? ~0U : 0;
        case REASON_CALLER_GONE: return exchange->half_closed ? ~0U : 0;
        default: return 0;
        }
}

static bool may_be_repeated(const struct check *check, const struct claims *claims)
{
        return check->repeats || check->repeated_at_ms >= claims->minted_ms;
}

/* A bit for each; 0: one is unknown. */
static unsigned int scopes_of(const char *text, size_t size)
{
        unsigned int scopes = 0;

        while (size > 0) {
                const char *blank = memchr(text, ' ', size);
                const size_t n = blank ? (size_t)(blank - text) : size;
                int i = 0;

                while (i < QUESTION_SCOPES &&
                       (strlen(scope_names[i]) != n || memcmp(scope_names[i], text, n) != 0))
                        i++;
                if (i == QUESTION_SCOPES || scopes & 1U << i)
                        return 0;
                scopes |= 1U << i;
                text += n + !!blank;
                size -= n + !!blank;
        }
        return scopes;
}

static const char *judge_identity(const struct exchange *exchange, const struct answer *answer,
                                  const struct claims *claims, unsigned int excuses)
{
        const struct question *question = exchange->question;

        if (strcmp(claims->subject, question->subject) != 0)
                return "a token of another subject";
        if (strcmp(claims->kind, kind_names[question->kind]) != 0)
                return "a token of another kind of subject";
        if (strcmp(claims->client_id, question->client->client_id) != 0 ||
            strcmp(claims->tenant, question->client->tenant) != 0)
                return "a token of another client application";
        if (scopes_of(claims->scope, strlen(claims->scope)) != question->scopes)
                return "a token of another scope";
        if (strcmp(claims->exchanged, question->exchanged) != 0)
                return "a token for another subject token";
        if (answer->issued_type != (question->kind == KIND_EXCHANGE && !question->bare))
                return "issued_token_type of what was not exchanged, or none of what was";
        if (answer->scope && !(excuses & EXCUSE_GRANT) &&
            scopes_of(answer->scope, answer->scope_size) != question->scopes)
                return "the answer names another scope";
        return NULL;
}

static const char *judge_times(const struct check *check, const struct exchange *exchange,
                               const struct answer *answer, const struct claims *claims)
{
        const struct question *question = exchange->question;
        const uint64_t end_ms = claims->minted_ms + claims->life_ms;
        const uint64_t said_ms = answer->expires_in_s * SECOND_MS;
        const uint64_t young_ms = claims->life_ms / 10 > YOUNG_MS ? claims->life_ms / 10 : YOUNG_MS;

        if (claims->minted_ms > exchange->received_ms + ROUNDING_MS)
                return "a token of the future";
        /* The daemon counts from when it sent its request, and the issuer from later: only by as
         * much as its turn takes can what it says be too long. A token of which it knows that less
         * than a second is left is not handed out, so that even this is never past the end. */
        if (exchange->sent_ms > end_ms)
                return "a token past its end";
        if (exchange->sent_ms + said_ms > end_ms + TURN_MAX_MS)
                return "expires_in is more than is left";
        if (exchange->received_ms + said_ms + SECOND_MS + check->fetch_max_ms < end_ms)
                return "expires_in is much less than is left";
        if (answer->cache == ANSWER_CACHE_HIT && question->min_ttl_s > answer->expires_in_s + 1 &&
            question->kind != KIND_EXCHANGE &&
            exchange->sent_ms > claims->minted_ms + young_ms + TURN_MAX_MS)
                return "a hit that does not meet min_ttl";
        /* Fetched for this very request. */
        if (answer->cache != ANSWER_CACHE_HIT && !answer->collapsed && !answer->detail &&
            claims->minted_ms + ROUNDING_MS < exchange->sent_ms)
                return "a token is said to be new, and is not";
        return NULL;
}

static bool is_taken(const struct taken *taken, const struct question *question)
{
        bool scope = strcmp(taken->scope, "*") == 0;

        for (int i = 0; i < QUESTION_SCOPES; i++)
                scope = scope ||
                        (question->scopes & 1U << i && strcmp(scope_names[i], taken->scope) == 0);
        return scope && (taken->kind < 0 || (int)question->kind == taken->kind) &&
               (strcmp(taken->client, "*") == 0 ||
                strcmp(taken->client, question->client->name) == 0) &&
               (strcmp(taken->subject, "*") == 0 || strcmp(taken->subject, question->subject) == 0);
}

/* A token that was there must not come back once a later one has been handed out, or once it was
 * purged. Only what was fetched before a purge may still reach those who waited for it. */
static const char *judge_succession(struct check *check, const struct exchange *exchange,
                                    const struct claims *claims)
{
        const uint64_t key = question_key(exchange->question);
        struct latest *latest = &check->latest[key & (CHECK_LATEST_MAX - 1)];
        bool detached = false;

        for (size_t i = 0; i < check->n_taken; i++) {
                const struct taken *taken = &check->taken[i];

                if (!is_taken(taken, exchange->question))
                        continue;
                if (exchange->sent_ms > taken->told_ms && claims->minted_ms < taken->at_ms)
                        return "a token that was taken away";
                detached = detached || exchange->received_ms < taken->told_ms + DETACHED_MAX_MS;
        }
        if (latest->key == key && claims->serial < latest->serial &&
            exchange->sent_ms > latest->received_ms && !detached)
                return "a token that had been replaced";
        if (latest->key != key || claims->serial > latest->serial)
                *latest = (struct latest){key, claims->serial, exchange->received_ms};
        return NULL;
}

static const char *judge_status(const struct exchange *exchange, const struct answer *answer,
                                const char *digest, bool repeated)
{
        const bool rejected = strcmp(digest, exchange->question->rejected) == 0;

        if (rejected && !(answer->detail == REASON_REPEATED_TOKEN && repeated))
                return "the very token that was rejected";
        if (answer->detail == REASON_REPEATED_TOKEN && !repeated)
                return "the issuer is said to repeat itself, and does not";
        if (answer->cache == ANSWER_CACHE_HIT && (answer->collapsed || answer->detail))
                return "a hit that came from a fetch, or in the place of another token";
        if (answer->cache == ANSWER_CACHE_MISS && answer->detail &&
            answer->detail != REASON_REPEATED_TOKEN)
                return "an old token where there was none";
        return NULL;
}

static void digest_token(char out[static QUESTION_SHA256_HEX], const struct answer *answer)
{
        unsigned char digest[SHA256_DIGEST_LENGTH];

        SHA256((const unsigned char *)answer->token, answer->token_size, digest);
        for (size_t i = 0; i < sizeof(digest); i++) {
                static const char digits[] = "0123456789abcdef";

                out[2 * i] = digits[digest[i] >> 4];
                out[2 * i + 1] = digits[digest[i] & 15];
        }
        out[QUESTION_SHA256_HEX - 1] = '\0';
}

static const char *judge_token(struct check *check, const struct exchange *exchange,
                               const struct answer *answer, const char *digest)
{
        struct claims claims;
        const char *wrong;
        bool repeated;

        if (!claims_read(&claims, answer->token, answer->token_size))
                return "what was handed out is no token that the issuer has made";
        repeated = may_be_repeated(check, &claims);
        wrong = judge_identity(exchange, answer, &claims, exchange->excuses | check->excuses);
        if (!wrong)
                wrong = judge_status(exchange, answer, digest, repeated);
        if (!wrong && !repeated)
                wrong = judge_times(check, exchange, answer, &claims);
        if (!wrong && !repeated)
                wrong = judge_succession(check, exchange, &claims);
        return wrong;
}

static const char *judge_error(const struct check *check, const struct exchange *exchange,
                               const struct answer *answer)
{
        const unsigned int excuse = excuse_for(answer->reason, exchange);

        if (answer->reason == exchange->question->wanted)
                return NULL;
        /* These come before what is asked for is looked at. */
        if (exchange->question->wanted && excuse != EXCUSE_STOP && excuse != EXCUSE_LIMIT &&
            excuse != EXCUSE_CHANGE && excuse != EXCUSE_RIGHTS)
                return "a bad request was refused for another reason";
        if (!excuse)
                return "an error that nothing can excuse";
        if (excuse != ~0U && !((exchange->excuses | check->excuses) & excuse))
                return "an error that nothing has caused";
        return NULL;
}

void check_answer(struct check *check, const struct exchange *exchange, const struct answer *answer,
                  char rejectable[static QUESTION_SHA256_HEX])
{
        struct tally *tally = &check->tally;
        const char *wrong;

        rejectable[0] = '\0';
        if (answer->reason) {
                wrong = judge_error(check, exchange, answer);
        } else if (exchange->question->wanted) {
                wrong = "a token where none must be";
        } else {
                digest_token(rejectable, answer);
                wrong = judge_token(check, exchange, answer, rejectable);
        }
        check->n_checked++;
        (exchange->question->counted ? tally->answers : tally->others)[answer->reason]++;
        if (!answer->reason) {
                tally->tokens[answer->cache][answer->collapsed]++;
                tally->old += answer->detail && answer->detail != REASON_REPEATED_TOKEN;
        }
        if (wrong)
                check_fail(check, exchange, wrong);
}
