/* SPDX-License-Identifier: MIT */

/*
 * libconfig 1.5 wraps integers silently (4294967296 reads 0), reads `30s` as two tokens, accepts a
 * file that ends inside a comment or a string, drops \x00 from strings, and leaves copies of what
 * it has read in freed memory. So the text is taken apart into tokens here first, and what goes to
 * libconfig is a copy of equal length and equal lines in which
 *
 *   - a word that begins like a number, whatever follows (30s, 0x10, 1.5), is "0" and blanks;
 *   - the string of an option that holds a secret is "0" and blanks, too;
 *   - comments are blanks.
 *
 * libconfig keeps the order of the text, so the nth integer of its tree is the nth word taken out:
 * it is hung there by the setting's hook and judged by whoever reads the option, by its spelling.
 * Everything else is left to libconfig's grammar.
 *
 * The copy and the secrets are wiped when they go; `bytes` is the caller's to wipe.
 */

#include "config-text.h"

#include <stdlib.h>
#include <string.h>

#include "../lib/error.h"
#include "../lib/form.h"

#define TEXT_WORDS_MIN 32

/* Options whose strings libconfig never sees. */
static const char *const secret_names[] = {"client_secret", "next_client_secret"};

struct lexer {
        const char *in;
        size_t size;
        size_t at;
        int line;
        char *out; /* the masked copy, same length */
        struct config_text *text;
        struct config_mistakes *mistakes;
        bool secret_named; /* the last name was that of a secret */
        bool secret_ended; /* the last token was its string: another one continues it */
};

void config_text_deinit(struct config_text *text)
{
        for (size_t i = 0; i < text->n_words; i++)
                secret_deinit(&text->words[i].secret);
        free(text->words);
        secret_deinit(&text->masked);
        *text = CONFIG_TEXT_INIT;
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool begins_name(char c)
{
        return is_letter(c) || c == '*';
}

static bool continues_name(char c)
{
        return begins_name(c) || is_digit(c) || c == '-' || c == '_';
}

static bool begins_number(char c)
{
        return is_digit(c) || c == '+' || c == '-' || c == '.';
}

static bool continues_number(char c)
{
        return begins_number(c) || continues_name(c);
}

static bool looking_at(const struct lexer *lexer, const char *string)
{
        size_t size = strlen(string);

        return lexer->size - lexer->at >= size && memcmp(lexer->in + lexer->at, string, size) == 0;
}

/* Blanks what lies between `from` and here, lines excepted. */
static void blank(struct lexer *lexer, size_t from)
{
        for (size_t i = from; i < lexer->at; i++)
                if (lexer->out[i] != '\n')
                        lexer->out[i] = ' ';
}

/* NULL: there is no memory. The last word may move, the bytes of its secret do not. */
static struct config_word *add_word(struct config_text *text)
{
        struct config_word *word;

        if (text->n_words == text->capacity) {
                size_t capacity = text->capacity ? text->capacity * 2 : TEXT_WORDS_MIN;
                struct config_word *words;

                words = reallocarray(text->words, capacity, sizeof(*words));
                if (!words)
                        return NULL;
                text->words = words;
                text->capacity = capacity;
        }
        word = &text->words[text->n_words++];
        *word = (struct config_word){.is_secret = false};
        return word;
}

/*
 * A value right behind a word: never valid, but what is put in its place would become one with the
 * word ("timeout+5" the name timeout0), and libconfig would find another number of words than we.
 */
static bool is_glued(const struct lexer *lexer)
{
        const char *c = lexer->in + lexer->at;

        return lexer->at > 0 && (continues_number(c[-1]) || (c[-1] == '"' && begins_number(*c)));
}

/*
 * One byte of a string, or one escape, as libconfig has it: what is no escape stands for itself,
 * backslash included. Returns how many bytes of `in` that were; `size` is at least 1.
 */
static size_t unescape(const char *in, size_t size, char *ret_byte)
{
        static const char escapes[] = "n\nr\rt\tf\f\\\\\"\"";

        *ret_byte = in[0];
        if (in[0] != '\\' || size < 2)
                return 1;
        if (size >= 4 && (in[1] == 'x' || in[1] == 'X') && form_hex_digit(in[2]) >= 0 &&
            form_hex_digit(in[3]) >= 0) {
                *ret_byte = (char)(form_hex_digit(in[2]) * 16 + form_hex_digit(in[3]));
                return 4;
        }
        for (size_t i = 0; i + 1 < sizeof(escapes) - 1; i += 2)
                if (in[1] == escapes[i]) {
                        *ret_byte = escapes[i + 1];
                        return 2;
                }
        return 1;
}

/* Takes the string between `from` and `to` (without its quotes) out of the text. */
static int take_secret(struct lexer *lexer, size_t from, size_t to)
{
        struct config_word *word;

        if (lexer->secret_ended) {
                word = &lexer->text->words[lexer->text->n_words - 1];
        } else {
                word = add_word(lexer->text);
                if (!word)
                        return error_trace(-ENOMEM);
                word->is_secret = true;
        }
        while (from < to) {
                char byte;
                int r;

                from += unescape(lexer->in + from, to - from, &byte);
                r = secret_append(&word->secret, &byte, 1);
                if (r)
                        return error_trace(r);
        }
        lexer->secret_ended = true;
        return 0;
}

static int read_string(struct lexer *lexer)
{
        size_t begin = lexer->at++, from = lexer->at, to;
        bool continues = lexer->secret_ended, has_nul = false;
        int r;

        while (lexer->at < lexer->size && lexer->in[lexer->at] != '"' &&
               lexer->in[lexer->at] != '\n' && lexer->in[lexer->at] != '\0') {
                char byte;

                lexer->at += unescape(lexer->in + lexer->at, lexer->size - lexer->at, &byte);
                has_nul = has_nul || byte == '\0';
        }
        to = lexer->at;
        if (to == lexer->size || lexer->in[to] != '"')
                return config_mistakes_add(
                        lexer->mistakes, lexer->line,
                        "a string is not closed: its '\"' was expected on the same line");
        lexer->at++;
        if (has_nul)
                return config_mistakes_add(lexer->mistakes, lexer->line,
                                           "a string holds a NUL byte (\\x00), which no option "
                                           "may");
        if (!lexer->secret_named)
                return 0;

        r = take_secret(lexer, from, to);
        if (r)
                return error_trace(r);
        blank(lexer, begin);
        if (!continues)
                lexer->out[begin] = '0';
        return 0;
}

static int read_number(struct lexer *lexer)
{
        size_t begin = lexer->at;
        struct config_word *word;

        word = add_word(lexer->text);
        if (!word)
                return error_trace(-ENOMEM);
        while (lexer->at < lexer->size && continues_number(lexer->in[lexer->at]))
                lexer->at++;
        word->spelling = (struct text){lexer->in + begin, lexer->at - begin};
        blank(lexer, begin);
        lexer->out[begin] = '0';
        return 0;
}

static void read_name(struct lexer *lexer)
{
        struct text name = {.bytes = lexer->in + lexer->at};

        while (lexer->at < lexer->size && continues_name(lexer->in[lexer->at]))
                lexer->at++;
        name.size = (size_t)(lexer->in + lexer->at - name.bytes);

        lexer->secret_named = false;
        for (size_t i = 0; i < sizeof(secret_names) / sizeof(*secret_names); i++)
                if (text_equal(name, TEXT(secret_names[i])))
                        lexer->secret_named = true;
}

static void skip_line_comment(struct lexer *lexer)
{
        size_t begin = lexer->at;

        while (lexer->at < lexer->size && lexer->in[lexer->at] != '\n')
                lexer->at++;
        blank(lexer, begin);
}

static int skip_block_comment(struct lexer *lexer)
{
        size_t begin = lexer->at;
        int line = lexer->line;

        for (lexer->at += 2; lexer->at < lexer->size && !looking_at(lexer, "*/"); lexer->at++)
                if (lexer->in[lexer->at] == '\n')
                        lexer->line++;
        if (lexer->at == lexer->size)
                return config_mistakes_add(lexer->mistakes, line,
                                           "a comment is not closed: '*/' was expected");
        lexer->at += 2;
        blank(lexer, begin);
        return 0;
}

static int read_token(struct lexer *lexer)
{
        char c = lexer->in[lexer->at];

        if (c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\n') {
                lexer->at++;
                if (c == '\n')
                        lexer->line++;
                return 0;
        }
        if (c == '#' || looking_at(lexer, "//")) {
                skip_line_comment(lexer);
                return 0;
        }
        if (looking_at(lexer, "/*"))
                return skip_block_comment(lexer);
        if ((c == '"' || begins_number(c)) && is_glued(lexer))
                return config_mistakes_add(lexer->mistakes, lexer->line,
                                           "a value stands right behind a word: name = value; was "
                                           "expected");
        if (c == '"')
                return read_string(lexer);

        lexer->secret_ended = false;
        if (begins_number(c))
                return read_number(lexer);
        if (begins_name(c)) {
                read_name(lexer);
                return 0;
        }
        if (looking_at(lexer, "@include"))
                return config_mistakes_add(lexer->mistakes, lexer->line,
                                           "@include is not supported: all options must be in "
                                           "this file, whose permissions are checked");
        lexer->at++;
        return 0;
}

int config_text_read(struct config_text *text, const char *bytes, size_t size,
                     struct config_mistakes *mistakes)
{
        struct lexer lexer = {
                .in = bytes, .size = size, .line = 1, .text = text, .mistakes = mistakes};
        const char *nul = size > 0 ? memchr(bytes, '\0', size) : NULL;
        int r;

        if (nul) {
                int line = 1;

                for (const char *c = bytes; c < nul; c++)
                        line += *c == '\n';
                return config_mistakes_add(mistakes, line, "a NUL byte: this is no text file");
        }

        r = secret_assign(&text->masked, bytes, size);
        if (r)
                return error_trace(r);
        lexer.out = text->masked.bytes;
        while (lexer.at < size && mistakes->n_found == 0) {
                r = read_token(&lexer);
                if (r)
                        return error_trace(r);
        }
        return 0;
}

static int attach(struct config_text *text, config_setting_t *setting, size_t *n)
{
        int r;

        if (config_setting_type(setting) == CONFIG_TYPE_INT) {
                if (*n == text->n_words)
                        return CONFIG_TEXT_E_MISMATCH;
                config_setting_set_hook(setting, &text->words[(*n)++]);
        }
        if (!config_setting_is_aggregate(setting))
                return 0;
        for (int i = 0; i < config_setting_length(setting); i++) {
                r = attach(text, config_setting_get_elem(setting, (unsigned int)i), n);
                if (r)
                        return r;
        }
        return 0;
}

int config_text_attach(struct config_text *text, config_setting_t *root)
{
        size_t n = 0;
        int r;

        r = attach(text, root, &n);
        if (r)
                return r;
        return n == text->n_words ? 0 : CONFIG_TEXT_E_MISMATCH;
}

struct config_word *config_text_word(const config_setting_t *setting)
{
        return config_setting_get_hook(setting);
}
