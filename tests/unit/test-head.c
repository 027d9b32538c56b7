/* SPDX-License-Identifier: MIT */

#include "head.h"

#include "helpers.h"

/* A head as libmicrohttpd leaves it, read as it reads it: every line that is not folded ends at CR
 * LF or LF, which become NULs, as the colon does. */
static bool read_head(const char *sent, size_t size)
{
        char *const bytes = malloc(size);
        struct head head = {};
        char *line = bytes;
        bool plain;

        assert_non_null(bytes);
        memcpy(bytes, sent, size);
        while (line < bytes + size) {
                char *const lf = memchr(line, '\n', (size_t)(bytes + size - line));
                char *value;

                assert_non_null(lf);
                *lf = '\0';
                if (lf > line && lf[-1] == '\r')
                        lf[-1] = '\0';
                value = strchr(line, ':');
                if (line == bytes) {
                        head_begin(&head, strrchr(line, ' ') + 1);
                } else if (value) {
                        *value++ = '\0';
                        value += strspn(value, " \t");
                        head_take(&head, line, value);
                }
                line = lf + 1;
        }
        plain = head_is_plain(&head, bytes, size);
        free(bytes);
        return plain;
}

#define READ(sent) read_head(sent, sizeof(sent) - 1)

#define FIRST "GET / HTTP/1.1\r\n"

static void lines_as_everybody_sends_them_are_plain(void **state)
{
        (void)state;
        assert_true(READ(FIRST "Host: localhost\r\n\r\n"));
        assert_true(READ(FIRST "Host: localhost\r\nA: b\r\nC: d e\r\n\r\n"));
        assert_true(READ(FIRST "A:b\r\nC:\td\r\nE: f \r\nG:\r\nH: \r\nI: j:k\r\n\r\n"));
}

static void a_nul_is_seen_wherever_it_stands(void **state)
{
        (void)state;
        assert_false(READ(FIRST "A: b\0c\r\nD: e\r\n\r\n"));
        assert_false(READ(FIRST "A: b\0\r\nD: e\r\n\r\n"));
        assert_false(READ(FIRST "A: b\0\0c\r\nD: e\r\n\r\n"));
        assert_false(READ(FIRST "A: \0b\r\nD: e\r\n\r\n"));
        assert_false(READ(FIRST "D: e\r\nA: b\0c\r\n\r\n"));
        assert_false(READ(FIRST "D: e\r\nA: b\0\0\0\0c\r\n\r\n"));
        assert_false(READ(FIRST "D: e\r\nA: b\0\r\n\r\n"));
        assert_false(READ(FIRST "D: e\r\nA: b\0\n\n"));
}

static void a_bare_line_feed_is_seen(void **state)
{
        (void)state;
        assert_false(READ(FIRST "A: b\nC: d\r\n\r\n"));
        assert_false(READ(FIRST "A: b\r\nC: d\n\r\n"));
        assert_false(READ(FIRST "A: b\r\nC: d\r\n\n"));
        assert_false(READ(FIRST "A: b\0\nC: d\r\n\n"));
        assert_false(READ("GET / HTTP/1.1\nA: b\r\n\r\n"));
}

static void a_folded_line_is_seen(void **state)
{
        (void)state;
        assert_false(READ(FIRST "A: b\r\n c\r\nD: e\r\n\r\n"));
        assert_false(READ(FIRST "A: b\r\n\tc\r\n\r\n"));
        assert_false(READ(FIRST "A: b\r\n \r\n\r\n"));
}

static void several_blanks_are_seen(void **state)
{
        (void)state;
        assert_false(READ(FIRST "A:  b\r\n\r\n"));
        assert_false(READ(FIRST "A: \tb\r\nC: d\r\n\r\n"));
        assert_false(READ(FIRST "A: b\r\nC:  \r\n\r\n"));
}

/* As it would be if another version kept copies, or said another size. */
static void what_lies_elsewhere_is_odd(void **state)
{
        static const char head_bytes[] = "GET 1\0\0A\0 b\0\0\0\0";
        static const char copy[] = "b", version[] = "1";
        const char *const name = head_bytes + 7;
        struct head head = {};

        (void)state;
        assert_false(head_is_plain(&head, head_bytes, sizeof(head_bytes) - 1));
        head_begin(&head, head_bytes + 4);
        assert_false(head_is_plain(&head, head_bytes, sizeof(head_bytes) - 1));
        head_take(&head, name, name + 3);
        assert_true(head_is_plain(&head, head_bytes, sizeof(head_bytes) - 1));
        assert_false(head_is_plain(&head, head_bytes, sizeof(head_bytes)));
        assert_false(head_is_plain(&head, head_bytes, sizeof(head_bytes) - 2));
        assert_false(head_is_plain(&head, head_bytes, 0));
        head_begin(&head, head_bytes + 4);
        head_take(&head, name, copy);
        assert_false(head_is_plain(&head, head_bytes, sizeof(head_bytes) - 1));
        head_begin(&head, version);
        head_take(&head, name, name + 3);
        assert_false(head_is_plain(&head, head_bytes, sizeof(head_bytes) - 1));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lines_as_everybody_sends_them_are_plain),
                cmocka_unit_test(a_nul_is_seen_wherever_it_stands),
                cmocka_unit_test(a_bare_line_feed_is_seen),
                cmocka_unit_test(a_folded_line_is_seen),
                cmocka_unit_test(several_blanks_are_seen),
                cmocka_unit_test(what_lies_elsewhere_is_odd),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
