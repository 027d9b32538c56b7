/* SPDX-License-Identifier: MIT */

/*
 * Patterns of rights: the first line is a pattern, the rest what it is held against, and the first
 * byte says how. 'm' is the matching alone, against a matcher that is slow and plain. The others go
 * through a configuration: 'u' a unit and the unit of a peer, 's' a scope and a scope that is asked
 * for, 'n' a subject with its kind and a name. What the configuration accepts gives no more than
 * it says, and no less.
 */

#include "fuzz.h"

#include "../../daemon/config.h"
#include "pattern.h"

#define INPUT_MAX_BYTES 1000

/* reach[i]: what was seen of the pattern can be the first i bytes of the text. */
static bool matches_plainly(struct text pattern, struct text text)
{
        bool reach[INPUT_MAX_BYTES + 1] = {true};

        for (size_t at = 0; at < pattern.size; at++) {
                const char c = pattern.bytes[at];

                if (c == '*') {
                        for (size_t i = 1; i <= text.size; i++)
                                reach[i] |= reach[i - 1];
                        continue;
                }
                for (size_t i = text.size; i > 0; i--)
                        reach[i] = reach[i - 1] && text.bytes[i - 1] == c;
                reach[0] = false;
        }
        return reach[text.size];
}

static void check_matching(struct text pattern, struct text text)
{
        char *const string = malloc(pattern.size + 1), *const doubled = malloc(2 * pattern.size +
                                                                               1);
        bool matches;
        size_t n = 0;

        must(string && doubled);
        memcpy(string, pattern.bytes, pattern.size);
        string[pattern.size] = '\0';
        matches = pattern_matches(string, text);
        must(matches == matches_plainly(pattern, text));

        /* Two stars say what one says. */
        for (size_t i = 0; i < pattern.size; i++) {
                doubled[n++] = pattern.bytes[i];
                if (pattern.bytes[i] == '*')
                        doubled[n++] = '*';
        }
        doubled[n] = '\0';
        must(pattern_matches(doubled, text) == matches);
        free(doubled);
        free(string);
}

/* Whatever bytes it has, as libconfig reads them back. */
static void put_quoted(FILE *out, struct text value)
{
        (void)fputc('"', out);
        for (size_t i = 0; i < value.size; i++)
                (void)fprintf(out, "\\x%02x", (unsigned int)(unsigned char)value.bytes[i]);
        (void)fputc('"', out);
}

/* NULL: the configuration is refused. */
static struct config *configure(char kind, struct text pattern)
{
        static const struct text unit = TEXT("a.service"), all = TEXT("*"), every = TEXT("email:*");
        struct config *config = NULL;
        char *bytes = NULL, *said = NULL;
        size_t size, said_size;
        FILE *text = open_memstream(&bytes, &size), *errors = open_memstream(&said, &said_size);
        int r;

        must(text && errors);
        (void)fputs("clients = ({ name = \"c\"; client_id = \"i\"; client_secret_file = \"/s\"; "
                    "user_token_url = \"https://h/t\"; });\n"
                    "callers = ({ name = \"r\"; clients = [ \"c\" ]; unit = ",
                    text);
        put_quoted(text, kind == 'u' ? pattern : unit);
        (void)fputs("; scopes = [ ", text);
        put_quoted(text, kind == 's' ? pattern : all);
        (void)fputs(" ]; subjects = [ ", text);
        put_quoted(text, kind == 'n' ? pattern : every);
        (void)fputs(" ]; });\n", text);
        must(fclose(text) == 0);

        r = config_parse(&config, "fuzz.conf", bytes, size, true, errors);
        must(fclose(errors) == 0);
        must(r == 0 || r == CONFIG_E_INVALID);
        must((r == 0) == (config != NULL));
        must(r == 0 || said_size > 0);
        free(said);
        free(bytes);
        return config;
}

/* A star stands for instances of one template; nobody else's unit is let in. */
static void check_unit(const struct rule *rule, struct text pattern, struct text name)
{
        const char *const at = memchr(pattern.bytes, '@', pattern.size);
        const char *const star = memchr(pattern.bytes, '*', pattern.size);
        const char *const dot = memrchr(pattern.bytes, '.', pattern.size);
        char *const unit = strndup(name.bytes, name.size);
        struct peer peer = {.known = true, .unit_asked = true, .unit = unit};

        must(unit && text_equal(TEXT(rule->unit), pattern));
        name = TEXT(unit);
        must(dot && (!star || (at && at < star && star < dot)));
        must(policy_unit_holds(rule, &peer) == matches_plainly(pattern, name));
        if (policy_unit_holds(rule, &peer) && star) {
                const size_t head = (size_t)(at - pattern.bytes) + 1;
                const size_t tail = (size_t)(pattern.bytes + pattern.size - dot);

                must(name.size >= head + tail && memcmp(name.bytes, pattern.bytes, head) == 0);
                must(memcmp(name.bytes + name.size - tail, dot, tail) == 0);
        }
        peer.unit = NULL;
        must(!policy_unit_holds(rule, &peer));
        free(unit);
}

/* Every value of it has to be given. */
static void check_scope(const struct rule *rule, struct text pattern, struct text scope)
{
        bool all = true;
        size_t begin = 0;

        for (size_t i = 0; i <= scope.size; i++) {
                if (i < scope.size && scope.bytes[i] != ' ')
                        continue;
                if (i > begin)
                        all &= matches_plainly(pattern,
                                               (struct text){scope.bytes + begin, i - begin});
                begin = i + 1;
        }
        must(policy_covers_scope(rule, scope) == all);
        must((policy_check_scope(rule, scope) == 0) == all);
}

static void check_subject(const struct rule *rule, struct text pattern, struct text name)
{
        const char *const colon = memchr(pattern.bytes, ':', pattern.size);
        struct text kind_name, rest;

        must(colon && rule->n_subjects == 1);
        kind_name = (struct text){pattern.bytes, (size_t)(colon - pattern.bytes)};
        rest = (struct text){colon + 1, pattern.size - kind_name.size - 1};
        for (int kind = 0; kind < _SUBJECT_KIND_N; kind++)
                must((policy_check_subject(rule, (enum subject_kind)kind, name) == 0) ==
                     (text_equal(TEXT(subject_kind_name((enum subject_kind)kind)), kind_name) &&
                      matches_plainly(rest, name)));
}

static void check_configured(char kind, struct text pattern, struct text text)
{
        struct config *config = configure(kind, pattern);
        const struct rule *rule;

        if (!config)
                return;
        must(config->policy.n_rules == 1);
        rule = &config->policy.rules[0];
        if (kind == 'u')
                check_unit(rule, pattern, text);
        else if (kind == 's')
                check_scope(rule, pattern, text);
        else
                check_subject(rule, pattern, text);
        config_free(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct text pattern, text;
        const char *newline;
        char *exact, *bytes;

        if (size < 2 || size > INPUT_MAX_BYTES)
                return 0;
        bytes = copy_exactly(data + 1, size - 1);
        newline = memchr(bytes, '\n', size - 1);
        pattern = (struct text){bytes, newline ? (size_t)(newline - bytes) : size - 1};
        text.size = newline ? size - 2 - pattern.size : 0;
        exact = copy_exactly(bytes + size - 1 - text.size, text.size);
        text.bytes = exact;
        /* A pattern is a string. */
        if (!memchr(pattern.bytes, '\0', pattern.size)) {
                if (data[0] == 'u' || data[0] == 's' || data[0] == 'n')
                        check_configured((char)data[0], pattern, text);
                check_matching(pattern, text);
        }
        free(exact);
        free(bytes);
        return 0;
}
