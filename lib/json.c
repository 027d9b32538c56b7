/* SPDX-License-Identifier: MIT */

/*
 * A parser by recursive descent, as deep as JSON_DEPTH_MAX. Every string that it meets is decoded
 * into one block that was reserved before: no string is longer decoded than in the text, its
 * quotes counted, with a NUL behind it. Values below the outermost level are only made sure of.
 */

#include "json.h"

#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "form.h"
#include "secret.h"

enum kind {
        KIND_TEXT,
        KIND_INTEGER,
        KIND_FRACTION, /* a number with a fraction or an exponent */
        KIND_NULL,
        KIND_OTHER,
};

struct value {
        enum kind kind;
        struct text text;
        int64_t integer;
        double fraction;
};

struct member {
        struct text name;
        struct value value;
};

struct json {
        struct secret strings;
        size_t n;
        size_t n_max;
        struct member members[];
};

struct parser {
        const char *at, *end;
        struct secret *strings;
};

static bool parse_value(struct parser *parser, unsigned int levels, struct value *ret);

static bool is_next(const struct parser *parser, char c)
{
        return parser->at < parser->end && *parser->at == c;
}

static bool take(struct parser *parser, char c)
{
        if (!is_next(parser, c))
                return false;
        parser->at++;
        return true;
}

static bool take_word(struct parser *parser, const char *word)
{
        const size_t size = strlen(word);

        if ((size_t)(parser->end - parser->at) < size || memcmp(parser->at, word, size) != 0)
                return false;
        parser->at += size;
        return true;
}

static void skip_space(struct parser *parser)
{
        while (parser->at < parser->end && *parser->at && strchr(" \t\r\n", *parser->at))
                parser->at++;
}

static bool take_digits(struct parser *parser)
{
        const char *begin = parser->at;

        while (parser->at < parser->end && *parser->at >= '0' && *parser->at <= '9')
                parser->at++;
        return parser->at > begin;
}

/* There is room, see above. */
static void put(struct parser *parser, char c)
{
        parser->strings->bytes[parser->strings->size++] = c;
}

static void put_utf8(struct parser *parser, uint32_t c)
{
        if (c < 0x80) {
                put(parser, (char)c);
                return;
        }
        if (c < 0x800) {
                put(parser, (char)(0xc0 | c >> 6));
        } else {
                if (c < 0x10000) {
                        put(parser, (char)(0xe0 | c >> 12));
                } else {
                        put(parser, (char)(0xf0 | c >> 18));
                        put(parser, (char)(0x80 | (c >> 12 & 0x3f)));
                }
                put(parser, (char)(0x80 | (c >> 6 & 0x3f)));
        }
        put(parser, (char)(0x80 | (c & 0x3f)));
}

/* The four digits behind "\u". */
static bool take_hex(struct parser *parser, uint32_t *ret)
{
        *ret = 0;
        for (int i = 0; i < 4; i++) {
                const int digit = parser->at < parser->end ? form_hex_digit(*parser->at) : -1;

                if (digit < 0)
                        return false;
                *ret = *ret << 4 | (uint32_t)digit;
                parser->at++;
        }
        return true;
}

/* What is behind "\u"; half of a pair of surrogates means nothing, and reads U+FFFD. */
static bool take_unicode(struct parser *parser)
{
        uint32_t c, low;

        if (!take_hex(parser, &c) || c == 0)
                return false;
        if (c >= 0xd800 && c < 0xdc00) {
                const char *behind = parser->at;

                if (take_word(parser, "\\u") && take_hex(parser, &low) && low >= 0xdc00 &&
                    low < 0xe000) {
                        put_utf8(parser, 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00));
                        return true;
                }
                parser->at = behind;
        }
        put_utf8(parser, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
        return true;
}

static bool take_escape(struct parser *parser)
{
        static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
        const char *name;

        if (take(parser, 'u'))
                return take_unicode(parser);
        if (parser->at == parser->end || !*parser->at)
                return false;
        name = strchr(names, *parser->at++);
        if (!name)
                return false;
        put(parser, meanings[name - names]);
        return true;
}

/* To the end whatever is found, in bytes: so the compiler looks at many at once. */
static bool has_control(const char *bytes, size_t size)
{
        uint8_t found = 0;

        for (size_t i = 0; i < size; i++)
                found |= (uint8_t)((uint8_t)bytes[i] < 0x20);
        return found;
}

/* What is as it stands, up to an escape or a quote. */
static bool take_plain(struct parser *parser, const char *quote)
{
        const char *escape = memchr(parser->at, '\\', (size_t)(quote - parser->at));
        const size_t size = (size_t)((escape ? escape : quote) - parser->at);

        if (has_control(parser->at, size))
                return false;
        memcpy(parser->strings->bytes + parser->strings->size, parser->at, size);
        parser->strings->size += size;
        parser->at += size;
        return true;
}

static bool parse_string(struct parser *parser, struct text *ret)
{
        const char *begin = parser->strings->bytes + parser->strings->size;
        const char *quote = NULL; /* the next one, be it escaped or not */

        if (!take(parser, '"'))
                return false;
        while (!take(parser, '"')) {
                if (!quote || quote < parser->at) /* looked for once for all escapes before it */
                        quote = memchr(parser->at, '"', (size_t)(parser->end - parser->at));
                if (!quote || !take_plain(parser, quote))
                        return false;
                if (take(parser, '\\') && !take_escape(parser))
                        return false;
        }
        *ret = (struct text){begin,
                             (size_t)(parser->strings->bytes + parser->strings->size - begin)};
        put(parser, '\0');
        return true;
}

static int64_t integer_of(const char *at, const char *end)
{
        const bool negative = *at == '-';
        int64_t value = 0;

        for (at += negative; at < end; at++)
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_sub_overflow(value, *at - '0', &value))
                        return negative ? INT64_MIN : INT64_MAX;
        /* It was counted down, since there is one negative number more. */
        return negative ? value : value == INT64_MIN ? INT64_MAX : -value;
}

static bool parse_number(struct parser *parser, struct value *ret)
{
        const char *const begin = parser->at;

        ret->kind = KIND_INTEGER;
        (void)take(parser, '-');
        if (!take(parser, '0') && !take_digits(parser))
                return false;
        if (take(parser, '.')) {
                ret->kind = KIND_FRACTION;
                if (!take_digits(parser))
                        return false;
        }
        if (take(parser, 'e') || take(parser, 'E')) {
                ret->kind = KIND_FRACTION;
                if (!take(parser, '+'))
                        (void)take(parser, '-');
                if (!take_digits(parser))
                        return false;
        }
        if (ret->kind == KIND_INTEGER)
                ret->integer = integer_of(begin, parser->at);
        else if (parser->at < parser->end) /* what ends the number ends it for strtod(), too */
                ret->fraction = strtod(begin, NULL);
        return true;
}

static bool parse_array(struct parser *parser, unsigned int levels)
{
        struct value ignored;

        skip_space(parser);
        if (take(parser, ']'))
                return true;
        do {
                if (!parse_value(parser, levels, &ignored))
                        return false;
        } while (take(parser, ','));
        return take(parser, ']');
}

static const struct member *find(const struct json *json, struct text name)
{
        for (size_t i = 0; i < json->n; i++)
                if (text_equal(json->members[i].name, name))
                        return &json->members[i];
        return NULL;
}

/* What is behind '{'; its members go to `json`, which may be NULL. */
static bool parse_members(struct parser *parser, unsigned int levels, struct json *json)
{
        skip_space(parser);
        if (take(parser, '}'))
                return true;
        do {
                struct member member = {};

                skip_space(parser);
                if (!parse_string(parser, &member.name))
                        return false;
                skip_space(parser);
                if (!take(parser, ':') || !parse_value(parser, levels, &member.value))
                        return false;
                if (!json)
                        continue;
                if (json->n == json->n_max || find(json, member.name))
                        return false;
                json->members[json->n++] = member;
        } while (take(parser, ','));
        return take(parser, '}');
}

/* With the space around it. */
static bool parse_value(struct parser *parser, unsigned int levels, struct value *ret)
{
        bool good;

        if (levels == 0)
                return false;
        skip_space(parser);
        ret->kind = KIND_OTHER;
        if (is_next(parser, '"')) {
                ret->kind = KIND_TEXT;
                good = parse_string(parser, &ret->text);
        } else if (take(parser, '{')) {
                good = parse_members(parser, levels - 1, NULL);
        } else if (take(parser, '[')) {
                good = parse_array(parser, levels - 1);
        } else if (take_word(parser, "null")) {
                ret->kind = KIND_NULL;
                good = true;
        } else {
                good = take_word(parser, "true") || take_word(parser, "false") ||
                       parse_number(parser, ret);
        }
        skip_space(parser);
        return good;
}

static bool parse(struct parser *parser, struct json *json)
{
        skip_space(parser);
        if (!take(parser, '{') || !parse_members(parser, JSON_DEPTH_MAX - 1, json))
                return false;
        skip_space(parser);
        return parser->at == parser->end;
}

/* At most so many members; no member is without a colon. */
static size_t count_colons(struct text text)
{
        size_t n = 0;

        for (size_t i = 0; i < text.size; i++)
                n += text.bytes[i] == ':';
        return n < JSON_MEMBERS_MAX ? n : JSON_MEMBERS_MAX;
}

int json_parse_object(struct json **ret, struct text text)
{
        struct parser parser = {.at = text.bytes, .end = text.bytes + text.size};
        struct json *json;
        size_t n_max;
        int r;

        if (text.size == 0 || !text_is_utf8(text))
                return JSON_E_INVALID;
        n_max = count_colons(text);
        json = calloc(1, sizeof(*json) + n_max * sizeof(*json->members));
        if (!json)
                return error_trace(-ENOMEM);
        json->n_max = n_max;
        secret_init(&json->strings, 0);
        r = secret_reserve(&json->strings, text.size);
        parser.strings = &json->strings;
        if (r == 0 && !parse(&parser, json))
                r = JSON_E_INVALID;
        if (r) {
                json_release(json);
                return error_trace(r);
        }
        *ret = json;
        return 0;
}

void json_release(struct json *json)
{
        if (!json)
                return;
        secret_deinit(&json->strings);
        free(json);
}

bool json_has(const struct json *json, const char *name)
{
        return find(json, TEXT(name));
}

bool json_is_null(const struct json *json, const char *name)
{
        const struct member *member = find(json, TEXT(name));

        return member && member->value.kind == KIND_NULL;
}

enum json_member json_get_text(const struct json *json, const char *name, struct text *ret)
{
        const struct member *member = find(json, TEXT(name));

        if (!member)
                return JSON_MEMBER_ABSENT;
        if (member->value.kind != KIND_TEXT)
                return JSON_MEMBER_INVALID;
        *ret = member->value.text;
        return JSON_MEMBER_PRESENT;
}

enum json_member json_get_integer(const struct json *json, const char *name, int64_t *ret)
{
        const struct member *member = find(json, TEXT(name));

        if (!member)
                return JSON_MEMBER_ABSENT;
        if (member->value.kind != KIND_INTEGER)
                return JSON_MEMBER_INVALID;
        *ret = member->value.integer;
        return JSON_MEMBER_PRESENT;
}

/* The largest power of two is the first double that is too large. */
static int64_t round_down(double number)
{
        int64_t whole;

        if (number >= 0x1p63)
                return INT64_MAX;
        if (number < -0x1p63)
                return INT64_MIN;
        whole = (int64_t)number;
        return (double)whole > number ? whole - 1 : whole;
}

enum json_member json_get_number(const struct json *json, const char *name, int64_t *ret)
{
        const struct member *member = find(json, TEXT(name));

        if (!member || member->value.kind != KIND_FRACTION)
                return json_get_integer(json, name, ret);
        *ret = round_down(member->value.fraction);
        return JSON_MEMBER_PRESENT;
}
