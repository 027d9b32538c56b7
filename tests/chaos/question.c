/* SPDX-License-Identifier: MIT */

/*
 * A good question is one of thousands of grants, popular by Zipf's law, or a subject that nobody
 * asks for again. One of the bad ones has exactly one mistake, so that there is exactly one reason
 * it can be refused with.
 */

#include "question.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#define ZIPF_EXPONENT       0.9
#define ONCE_ONE_IN         50
#define BAD_ONE_IN          40
#define GET_ONE_IN          3
#define MIN_TTL_ONE_IN      25
#define STRANGER_ONE_IN     60 /* rejected tokens that nobody has ever had */
#define SUBJECT_TOKENS      200
#define SUBJECT_TOKEN_S     4102444800 /* far away */
#define FORM_BYTES          3072
#define SCOPE_BYTES         512
#define REPEATS_MAX         2 /* of scopes in a request */
#define SUBJECT_TOKEN_BYTES 512

#define EXCHANGE_TYPE "urn:ietf:params:oauth:grant-type:token-exchange"
#define TOKEN_TYPE    "urn:ietf:params:oauth:token-type:access_token"

const char *const kind_names[_KIND_N] = {
        "username", "userid", "email", "application", "anonymous", "exchange",
};

const char *const scope_names[QUESTION_SCOPES] = {
        "knowledge.portalmgr.onbehalfof.read",
        "knowledge.portalmgr.onbehalfof.manage",
        "https://api.egain.cloud/auth/knowledge:maange",
};

static const enum reason mistakes[] = {
        REASON_MISSING_GRANT_TYPE,
        REASON_UNSUPPORTED_GRANT_TYPE,
        REASON_MISSING_SUBJECT,
        REASON_AMBIGUOUS_SUBJECT,
        REASON_EMPTY_SUBJECT,
        REASON_MALFORMED_ESCAPE,
        REASON_REPEATED_PARAMETER,
        REASON_UNKNOWN_CLIENT,
        REASON_BAD_MIN_TTL,
        REASON_BAD_REJECTED_TOKEN,
        REASON_BAD_SCOPE,
        REASON_NO_METADATA_HEADER,
        REASON_NOT_FOUND,
        REASON_BAD_CONTENT_TYPE,
        REASON_SUBJECT_NOT_PERMITTED,
        REASON_NO_TOKEN_URL,
        REASON_UNWANTED_SUBJECT,
};

void questions_init(struct questions *questions, unsigned int process)
{
        double sum = 0;

        *questions = (struct questions){.process = process};
        for (size_t i = 0; i < QUESTION_POPULAR; i++) {
                sum += pow((double)(i + 1), -ZIPF_EXPONENT);
                questions->popularity[i] = sum;
        }
}

bool questions_add_client(struct questions *questions, char *text)
{
        const char *parts[4] = {0};
        size_t n = 0;

        for (char *part; n < 4 && (part = strsep(&text, ":")); n++)
                parts[n] = part;
        if (n < 4 || text || questions->n_clients == QUESTION_CLIENTS_MAX)
                return false;
        questions->clients[questions->n_clients++] = (struct client){
                .name = parts[0],
                .client_id = parts[1],
                .tenant = parts[2],
                .users = strchr(parts[3], 'u'),
                .customers = strchr(parts[3], 'c'),
                .anonymous = strchr(parts[3], 'a'),
                .default_scope = strchr(parts[3], 'd'),
        };
        return true;
}

static uint32_t draw_popular(const struct questions *questions, struct dice *dice)
{
        const double at = (double)(dice_bits(dice) >> 11) / (double)(UINT64_C(1) << 53) *
                          questions->popularity[QUESTION_POPULAR - 1];
        uint32_t low = 0, high = QUESTION_POPULAR - 1;

        while (low < high) {
                const uint32_t middle = (low + high) / 2;

                if (questions->popularity[middle] < at)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static bool names_subject(enum kind kind)
{
        return kind == KIND_USERNAME || kind == KIND_USERID || kind == KIND_EMAIL;
}

static enum kind draw_kind(const struct client *client, struct dice *dice)
{
        static const enum kind of_users[] = {KIND_USERNAME, KIND_USERNAME,    KIND_USERNAME,
                                             KIND_USERID,   KIND_APPLICATION, KIND_EXCHANGE};

        if (client->anonymous)
                return KIND_ANONYMOUS;
        if (client->customers && dice_one_in(dice, 4))
                return KIND_EMAIL;
        return of_users[dice_below(dice, sizeof(of_users) / sizeof(of_users[0]))];
}

/* What an identity provider would have issued; nobody verifies its signature. */
static void write_subject_token(char out[static SUBJECT_TOKEN_BYTES], uint32_t number)
{
        char claims[128], *at = out;
        int size;

        size = snprintf(claims, sizeof(claims), "{\"sub\":\"outsider-%u\",\"exp\":%llu}", number,
                        (unsigned long long)SUBJECT_TOKEN_S);
        at += sprintf(at, "eyJhbGciOiJub25lIn0.");
        at += EVP_EncodeBlock((unsigned char *)at, (const unsigned char *)claims, size);
        while (at[-1] == '=')
                at--;
        (void)sprintf(at, ".c2lnbmF0dXJl");
        for (char *c = out; (c = strpbrk(c, "+/")); c++)
                *c = (char)(*c == '+' ? '-' : '_');
}

static void write_hex(char out[static QUESTION_SHA256_HEX], const char *text)
{
        unsigned char digest[SHA256_DIGEST_LENGTH];

        SHA256((const unsigned char *)text, strlen(text), digest);
        for (size_t i = 0; i < sizeof(digest); i++)
                (void)sprintf(out + 2 * i, "%02x", digest[i]);
}

/* The subject, as the token must name it. */
static void draw_subject(struct question *question, struct questions *questions, struct dice *dice)
{
        const char *const domain = question->kind == KIND_EMAIL ? "@example.com" : "";
        char token[SUBJECT_TOKEN_BYTES];

        question->popular = draw_popular(questions, dice);
        switch (question->kind) {
        case KIND_APPLICATION:
                (void)snprintf(question->subject, sizeof(question->subject), "%s",
                               question->client->client_id);
                return;
        case KIND_ANONYMOUS:
                (void)snprintf(question->subject, sizeof(question->subject), "%s",
                               question->client->tenant);
                return;
        case KIND_EXCHANGE:
                question->popular %= SUBJECT_TOKENS;
                (void)snprintf(question->subject, sizeof(question->subject), "okta-1");
                write_subject_token(token, question->popular);
                write_hex(question->exchanged, token);
                return;
        default: break;
        }
        if (dice_one_in(dice, ONCE_ONE_IN)) {
                question->popular = QUESTION_POPULAR;
                (void)snprintf(question->subject, sizeof(question->subject), "user-once-%u-%llu%s",
                               questions->process, (unsigned long long)++questions->n_once, domain);
        } else if (question->popular % 10 == 9) {
                /* Whatever decodes twice, folds case or cuts at a separator makes these somebody
                 * else. */
                (void)snprintf(question->subject, sizeof(question->subject),
                               "user-%u \xc3\xbc&%%61=+\"\\A%s", question->popular, domain);
        } else {
                (void)snprintf(question->subject, sizeof(question->subject), "user-%u%s",
                               question->popular, domain);
        }
}

/* Text under construction that does not grow past its room. */
struct room {
        char *bytes;
        size_t size, max;
};

__attribute__((format(printf, 2, 3))) static void put(struct room *room, const char *format, ...)
{
        va_list arguments;
        int n;

        va_start(arguments, format);
        n = vsnprintf(room->bytes + room->size, room->max - room->size, format, arguments);
        va_end(arguments);
        if (n > 0)
                room->size += (size_t)n < room->max - room->size ? (size_t)n : 0;
}

static bool is_unreserved(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '.' || c == '_';
}

static void put_byte(struct room *room, char c)
{
        if (room->size + 1 < room->max)
                room->bytes[room->size++] = c;
        room->bytes[room->size] = '\0';
}

static void put_escaped(struct room *room, unsigned char c, bool upper)
{
        const char *const digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";

        put_byte(room, '%');
        put_byte(room, digits[c >> 4]);
        put_byte(room, digits[c & 15]);
}

/* Percent-encodes what must be, and now and then what need not. */
static void put_encoded(struct room *room, const char *text, struct dice *dice)
{
        const bool plain = dice_one_in(dice, 2);

        for (; *text; text++) {
                if (*text == ' ' && dice_one_in(dice, 2))
                        put_byte(room, '+');
                else if (is_unreserved(*text) && (plain || !dice_one_in(dice, 10)))
                        put_byte(room, *text);
                else
                        put_escaped(room, (unsigned char)*text, dice_one_in(dice, 2));
        }
}

static void put_parameter(struct room *room, const char *name, const char *value, struct dice *dice)
{
        if (room->size > 0)
                put_byte(room, '&');
        while (*name)
                put_byte(room, *name++);
        put_byte(room, '=');
        put_encoded(room, value, dice);
}

/* Any order, with repeats. */
static void put_scope(struct room *room, const struct question *question, struct dice *dice)
{
        unsigned int left = question->scopes, repeats = dice_below(dice, REPEATS_MAX + 1);
        char scope[SCOPE_BYTES];
        struct room list = {.bytes = scope, .max = sizeof(scope)};

        while (left) {
                const uint32_t i = dice_below(dice, QUESTION_SCOPES);

                if (!(question->scopes & 1U << i) || (!(left & 1U << i) && repeats == 0))
                        continue;
                repeats -= !(left & 1U << i);
                put(&list, "%s%s", list.size ? " " : "", scope_names[i]);
                left &= ~(1U << i);
        }
        put_parameter(room, "scope", scope, dice);
}

static void put_grant(struct room *room, const struct question *question, struct dice *dice)
{
        char token[SUBJECT_TOKEN_BYTES];

        switch (question->kind) {
        case KIND_APPLICATION:
        case KIND_ANONYMOUS: put_parameter(room, "grant_type", "client_credentials", dice); return;
        case KIND_EXCHANGE:
                write_subject_token(token, question->popular);
                put_parameter(room, "grant_type", EXCHANGE_TYPE, dice);
                put_parameter(room, "subject_token", token, dice);
                put_parameter(room, "subject_token_type", TOKEN_TYPE, dice);
                put_parameter(room, "registration_id", question->subject, dice);
                return;
        default: break;
        }
        if (question->wanted != REASON_MISSING_GRANT_TYPE)
                put_parameter(room, "grant_type",
                              question->wanted == REASON_UNSUPPORTED_GRANT_TYPE
                                      ? "authorization_code"
                                      : "password",
                              dice);
}

static void put_subject(struct room *room, const struct question *question, struct dice *dice)
{
        char name[32];

        if (question->wanted == REASON_UNWANTED_SUBJECT)
                put_parameter(room, "subject_username", "user-1", dice);
        if (!names_subject(question->kind) || question->wanted == REASON_MISSING_SUBJECT)
                return;
        (void)snprintf(name, sizeof(name), "subject_%s", kind_names[question->kind]);
        if (question->wanted == REASON_EMPTY_SUBJECT)
                put(room, "&%s=", name);
        else if (question->wanted == REASON_MALFORMED_ESCAPE)
                put(room, "&%s=user%%zz", name);
        else if (question->wanted == REASON_SUBJECT_NOT_PERMITTED)
                put(room, "&%s=other-%s", name, question->kind == KIND_EMAIL ? "a@b.c" : "1");
        else
                put_parameter(room, name, question->subject, dice);
        if (question->wanted == REASON_AMBIGUOUS_SUBJECT)
                put(room, "&subject_%s=user-7",
                    kind_names[question->kind == KIND_USERID ? KIND_USERNAME : KIND_USERID]);
        if (question->wanted == REASON_REPEATED_PARAMETER)
                put_parameter(room, name, question->subject, dice);
}

static void put_form(struct room *room, const struct question *question, struct dice *dice)
{
        const struct client *client = question->client;
        char number[16];

        put_grant(room, question, dice);
        put_parameter(room, "client_id",
                      question->wanted == REASON_UNKNOWN_CLIENT ? "nobody"
                      : dice_one_in(dice, 2)                    ? client->name
                                                                : client->client_id,
                      dice);
        if (question->wanted == REASON_BAD_SCOPE)
                put(room, "&scope=a++b");
        else if (!client->default_scope || question->scopes != 1 || dice_one_in(dice, 2))
                put_scope(room, question, dice);
        put_subject(room, question, dice);
        (void)snprintf(number, sizeof(number), "%u", question->min_ttl_s);
        if (question->wanted == REASON_BAD_MIN_TTL)
                put(room, "&min_ttl=1h");
        else if (question->min_ttl_s)
                put_parameter(room, "min_ttl", number, dice);
        if (question->wanted == REASON_BAD_REJECTED_TOKEN)
                put(room, "&rejected_token_sha256=abc");
        else if (question->rejected[0])
                put_parameter(room, "rejected_token_sha256", question->rejected, dice);
        if (dice_one_in(dice, 10))
                put(room, "&unknown=1&unknown=2");
}

static void write_request(struct question *question, struct dice *dice)
{
        struct room room = {.bytes = question->bytes, .max = sizeof(question->bytes)};
        char form_bytes[FORM_BYTES];
        struct room form = {.bytes = form_bytes, .max = sizeof(form_bytes)};
        bool get = question->kind != KIND_EXCHANGE && dice_one_in(dice, GET_ONE_IN);

        if (question->wanted == REASON_NO_METADATA_HEADER)
                get = true;
        if (question->wanted == REASON_BAD_CONTENT_TYPE ||
            question->wanted == REASON_MISSING_GRANT_TYPE)
                get = false;
        put_form(&form, question, dice);
        question->bare = get && dice_one_in(dice, 3);
        if (get) {
                put(&room, "GET %s?%s HTTP/1.1\r\nHost: localhost\r\n",
                    question->wanted == REASON_NOT_FOUND ? "/v1/nothing" : "/v1/token", form_bytes);
                if (question->wanted != REASON_NO_METADATA_HEADER)
                        put(&room, "Metadata: true\r\n");
                put(&room, question->bare ? "Accept: text/plain\r\n\r\n" : "\r\n");
        } else {
                put(&room,
                    "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s%s\r\n"
                    "Content-Length: %zu\r\n\r\n",
                    question->wanted == REASON_NOT_FOUND ? "/oauth2/nothing" : "/oauth2/token",
                    question->wanted == REASON_BAD_CONTENT_TYPE
                            ? "application/json"
                            : "application/x-www-form-urlencoded",
                    dice_one_in(dice, 4) ? "; charset=utf-8" : "", form.size);
                question->head_size = room.size;
                put(&room, "%s", form_bytes);
        }
        question->size = room.size;
        if (get)
                question->head_size = room.size;
}

static void draw_mistake(struct question *question, const struct questions *questions,
                         struct dice *dice)
{
        const enum reason reason =
                mistakes[dice_below(dice, sizeof(mistakes) / sizeof(mistakes[0]))];

        question->wanted = reason;
        question->kind = KIND_USERNAME;
        if (reason == REASON_UNWANTED_SUBJECT)
                question->kind = KIND_APPLICATION;
        if (reason == REASON_NO_TOKEN_URL)
                question->kind = KIND_EMAIL;
        /* Whatever this rule or this client application has nothing against is left a good one. */
        if ((reason == REASON_SUBJECT_NOT_PERMITTED && !questions->limited) ||
            (reason == REASON_NO_TOKEN_URL && question->client->customers))
                question->wanted = REASON_NONE;
}

void question_draw(struct question *question, struct questions *questions, struct dice *dice,
                   const struct question *again, const char *rejected)
{
        if (again) {
                const struct question before = *again;

                *question = before;
                question->min_ttl_s = 0;
                question->rejected[0] = '\0';
                if (rejected)
                        memcpy(question->rejected, rejected, QUESTION_SHA256_HEX);
                write_request(question, dice);
                return;
        }
        *question = (struct question){.counted = true};
        question->client = &questions->clients[dice_below(dice, (uint32_t)questions->n_clients)];
        question->kind = draw_kind(question->client, dice);
        question->scopes = !dice_one_in(dice, 5) ? 1 : 1 + dice_below(dice, 7);
        if (dice_one_in(dice, BAD_ONE_IN) && !question->client->anonymous)
                draw_mistake(question, questions, dice);
        question->counted = question->wanted != REASON_NOT_FOUND;
        draw_subject(question, questions, dice);
        if (!question->wanted && dice_one_in(dice, MIN_TTL_ONE_IN))
                question->min_ttl_s = 1 + dice_below(dice, 60);
        if (!question->wanted && dice_one_in(dice, STRANGER_ONE_IN))
                write_hex(question->rejected, question->subject);
        write_request(question, dice);
}

uint64_t question_key(const struct question *question)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325);
        const char *const texts[] = {question->client->name, kind_names[question->kind],
                                     question->subject, question->exchanged};

        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
                for (const char *c = texts[i]; c == texts[i] || c[-1]; c++)
                        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
        return (hash ^ question->scopes) * UINT64_C(0x100000001b3);
}
