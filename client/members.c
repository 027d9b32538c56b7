/* SPDX-License-Identifier: MIT */

/* A cursor walks over the text once; where it cannot, the text is not JSON. */

#include "members.h"

#include <string.h>

#define NUMBER_MAX_DIGITS 15

struct cursor {
        const char *at, *end;
};

static void skip_space(struct cursor *cursor)
{
        while (cursor->at < cursor->end && strchr(" \t\r\n", *cursor->at) && *cursor->at)
                cursor->at++;
}

static bool take(struct cursor *cursor, char c)
{
        skip_space(cursor);
        if (cursor->at == cursor->end || *cursor->at != c)
                return false;
        cursor->at++;
        return true;
}

static bool take_word(struct cursor *cursor, const char *word)
{
        const size_t size = strlen(word);

        if ((size_t)(cursor->end - cursor->at) < size || memcmp(cursor->at, word, size) != 0)
                return false;
        cursor->at += size;
        return true;
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static int hex_digit(char c)
{
        if (is_digit(c))
                return c - '0';
        if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
                return (c | 0x20) - 'a' + 10;
        return -1;
}

/* What a backslash begins; the cursor is behind it. */
static bool take_escape(struct cursor *cursor)
{
        if (cursor->at == cursor->end || !*cursor->at || !strchr("\"\\/bfnrtu", *cursor->at))
                return false;
        if (*cursor->at++ != 'u')
                return true;
        for (int i = 0; i < 4; i++)
                if (cursor->at == cursor->end || hex_digit(*cursor->at++) < 0)
                        return false;
        return true;
}

static bool take_string(struct cursor *cursor, struct member *ret)
{
        if (!take(cursor, '"'))
                return false;
        ret->kind = MEMBER_STRING;
        ret->bytes = cursor->at;
        while (cursor->at < cursor->end && *cursor->at != '"') {
                const char c = *cursor->at++;

                if ((unsigned char)c < 0x20 || (c == '\\' && !take_escape(cursor)))
                        return false;
        }
        ret->size = (size_t)(cursor->at - ret->bytes);
        return take(cursor, '"');
}

static size_t take_digits(struct cursor *cursor)
{
        const char *begin = cursor->at;

        while (cursor->at < cursor->end && is_digit(*cursor->at))
                cursor->at++;
        return (size_t)(cursor->at - begin);
}

static bool take_number(struct cursor *cursor, struct member *ret)
{
        const bool negative = take_word(cursor, "-");
        const char *begin = cursor->at;
        const size_t n = take_digits(cursor);
        bool whole = !negative && n <= NUMBER_MAX_DIGITS;

        if (n == 0 || (n > 1 && *begin == '0'))
                return false;
        for (size_t i = 0; whole && i < n; i++)
                ret->number = ret->number * 10 + (uint64_t)(begin[i] - '0');
        if (take_word(cursor, ".")) {
                whole = false;
                if (take_digits(cursor) == 0)
                        return false;
        }
        if (take_word(cursor, "e") || take_word(cursor, "E")) {
                whole = false;
                if (!take_word(cursor, "+"))
                        (void)take_word(cursor, "-");
                if (take_digits(cursor) == 0)
                        return false;
        }
        ret->kind = whole ? MEMBER_NUMBER : MEMBER_OTHER;
        return true;
}

static bool take_value(struct cursor *cursor, unsigned int depth, struct member *ret);

/* The rest of an array or an object within the outermost; nobody asks what is in it. */
static bool skip_nested(struct cursor *cursor, bool object, unsigned int depth)
{
        const char end = object ? '}' : ']';
        struct member ignored = {};

        if (depth > MEMBERS_DEPTH_MAX)
                return false;
        if (take(cursor, end))
                return true;
        do {
                if (object && !(take_string(cursor, &ignored) && take(cursor, ':')))
                        return false;
                ignored = (struct member){};
                if (!take_value(cursor, depth, &ignored))
                        return false;
        } while (take(cursor, ','));
        return take(cursor, end);
}

static bool take_value(struct cursor *cursor, unsigned int depth, struct member *ret)
{
        skip_space(cursor);
        if (cursor->at == cursor->end)
                return false;
        switch (*cursor->at) {
        case '"': return take_string(cursor, ret);
        case '{':
        case '[':
                ret->kind = MEMBER_OTHER;
                return skip_nested(cursor, *cursor->at++ == '{', depth + 1);
        default: break;
        }
        if (*cursor->at == '-' || is_digit(*cursor->at))
                return take_number(cursor, ret);
        ret->kind = MEMBER_OTHER;
        return take_word(cursor, "true") || take_word(cursor, "false") || take_word(cursor, "null");
}

/* Whose value comes next; `ignored` if nobody looks for it, NULL if it was there before. */
static struct member *find(struct member *members, size_t n, const struct member *name,
                           struct member *ignored)
{
        for (size_t i = 0; i < n; i++)
                if (strlen(members[i].name) == name->size &&
                    memcmp(members[i].name, name->bytes, name->size) == 0)
                        return members[i].kind == MEMBER_ABSENT ? &members[i] : NULL;
        *ignored = (struct member){};
        return ignored;
}

bool members_read(const char *bytes, size_t size, struct member *members, size_t n)
{
        struct cursor cursor = {bytes, bytes + size};
        struct member name, ignored, *member;

        for (size_t i = 0; i < n; i++)
                members[i] = (struct member){.name = members[i].name};
        if (size == 0 || !take(&cursor, '{'))
                return false;
        if (!take(&cursor, '}')) {
                do {
                        if (!take_string(&cursor, &name) || !take(&cursor, ':'))
                                return false;
                        member = find(members, n, &name, &ignored);
                        if (!member || !take_value(&cursor, 1, member))
                                return false;
                } while (take(&cursor, ','));
                if (!take(&cursor, '}'))
                        return false;
        }
        skip_space(&cursor);
        return cursor.at == cursor.end;
}

/* One character of a string that is well-formed; 0: none of printable ASCII. */
static char decode(const char **at)
{
        const char c = *(*at)++;
        unsigned int code = 0;

        if (c != '\\')
                return c;
        switch (*(*at)++) {
        case '"': return '"';
        case '\\': return '\\';
        case '/': return '/';
        case 'u':
                for (int i = 0; i < 4; i++)
                        code = code << 4 | (unsigned int)hex_digit(*(*at)++);
                return (char)(code <= '~' ? code : '\0');
        default: return '\0';
        }
}

bool member_text(const struct member *member, char *out)
{
        const char *at = member->bytes;

        if (member->kind != MEMBER_STRING)
                return false;
        while (at < member->bytes + member->size) {
                *out = decode(&at);
                if (*out < ' ' || *out > '~')
                        return false;
                out++;
        }
        *out = '\0';
        return true;
}
