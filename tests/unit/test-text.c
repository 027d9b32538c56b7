/* SPDX-License-Identifier: MIT */

#include "text.h"

#include "helpers.h"

static bool is_plain(const uint8_t *bytes, size_t size)
{
        return text_is_plain_utf8((struct text){(const char *)bytes, size});
}

/* In a block of exactly the size, so that no byte behind it can be looked at unseen. */
static bool is_plain_exactly(const uint8_t *bytes, size_t size)
{
        char *exact = copy_exactly((struct text){(const char *)bytes, size});
        const bool plain = is_plain((const uint8_t *)exact, size);

        free(exact);
        return plain;
}

static bool is_control(uint32_t code_point)
{
        return code_point < 0x20 || (code_point >= 0x7f && code_point <= 0x9f);
}

static bool is_surrogate(uint32_t code_point)
{
        return code_point >= 0xd800 && code_point <= 0xdfff;
}

/* The bits as UTF-8 lays them out in `size` bytes, whether or not they should be. */
static void encode(uint8_t *out, uint32_t code_point, size_t size)
{
        static const uint8_t leads[] = {0, 0x00, 0xc0, 0xe0, 0xf0};

        for (size_t i = size - 1; i > 0; i--) {
                out[i] = (uint8_t)(0x80 | (code_point & 0x3f));
                code_point >>= 6;
        }
        out[0] = (uint8_t)(leads[size] | code_point);
}

static size_t shortest(uint32_t code_point)
{
        return code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
}

static void every_code_point_passes_but_controls_and_surrogates(void **state)
{
        uint8_t bytes[4];

        (void)state;
        for (uint32_t code_point = 0; code_point <= 0x10ffff; code_point++) {
                const size_t size = shortest(code_point);

                encode(bytes, code_point, size);
                assert_int_equal(is_plain(bytes, size),
                                 !is_control(code_point) && !is_surrogate(code_point));
        }
}

static void code_points_past_the_last_are_refused(void **state)
{
        uint8_t bytes[4];

        (void)state;
        for (uint32_t code_point = 0x110000; code_point < 0x200000; code_point += 7) {
                encode(bytes, code_point, 4);
                assert_false(is_plain(bytes, 4));
        }
        encode(bytes, 0x1fffff, 4);
        assert_false(is_plain(bytes, 4));
        assert_false(text_is_plain_utf8(BYTES("\xf8\x88\x80\x80\x80")));
        assert_false(text_is_plain_utf8(BYTES("\xfc\x84\x80\x80\x80\x80")));
        assert_false(text_is_plain_utf8(BYTES("\xfe")));
        assert_false(text_is_plain_utf8(BYTES("\xff")));
}

static void overlong_forms_are_refused(void **state)
{
        uint8_t bytes[4];

        (void)state;
        for (uint32_t code_point = 0; code_point < 0x10000; code_point++) {
                for (size_t size = shortest(code_point) + 1; size <= 4; size++) {
                        encode(bytes, code_point, size);
                        assert_false(is_plain(bytes, size));
                }
        }
}

/* All pairs of bytes, and each followed by what just is and just is not a continuation. */
static void only_what_is_encoded_well_passes(void **state)
{
        static const uint8_t edges[] = {0x00, 0x20, 0x7e, 0x7f, 0x80, 0x9f,
                                        0xa0, 0xbf, 0xc0, 0xc2, 0xff};

        (void)state;
        for (unsigned int pair = 0; pair < 0x10000; pair++) {
                const uint8_t lead = (uint8_t)(pair >> 8);
                uint8_t bytes[4] = {lead, (uint8_t)pair};
                const size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

                for (size_t i = 0; i < N_OF(edges) * N_OF(edges); i++) {
                        uint32_t code_point = size == 1 ? lead : lead & (0x7fU >> size);
                        bool well_formed, well = lead < 0x80 || (lead >= 0xc0 && lead < 0xf8);

                        bytes[2] = edges[i % N_OF(edges)];
                        bytes[3] = edges[i / N_OF(edges)];
                        for (size_t k = 1; k < size; k++) {
                                code_point = code_point << 6 | (bytes[k] & 0x3f);
                                well = well && (bytes[k] & 0xc0) == 0x80;
                        }
                        well_formed = well && shortest(code_point) == size &&
                                      code_point <= 0x10ffff && !is_surrogate(code_point);
                        well = well_formed && !is_control(code_point);
                        assert_int_equal(is_plain(bytes, size), well);
                        assert_int_equal(text_is_utf8((struct text){(char *)bytes, size}),
                                         well_formed);
                }
        }
}

static void a_sequence_cut_short_is_refused(void **state)
{
        static const char *const whole[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

        (void)state;
        for (size_t i = 0; i < N_OF(whole); i++) {
                const uint8_t *bytes = (const uint8_t *)whole[i];

                for (size_t size = 1; size < strlen(whole[i]); size++)
                        assert_false(is_plain_exactly(bytes, size));
                assert_true(is_plain_exactly(bytes, strlen(whole[i])));
        }
        assert_false(text_is_plain_utf8(BYTES("\xe2\x82 ")));
        assert_false(text_is_plain_utf8(BYTES("\x80")));
        assert_false(text_is_plain_utf8(BYTES("a\xbf")));
}

static void a_control_is_found_anywhere(void **state)
{
        char text[] = "sixteen letters.";

        (void)state;
        assert_true(text_is_plain_utf8(TEXT(text)));
        for (size_t i = 0; i < sizeof(text) - 1; i++) {
                const char letter = text[i];

                text[i] = '\0';
                assert_false(text_is_plain_utf8((struct text){text, sizeof(text) - 1}));
                text[i] = letter;
        }
        assert_true(text_is_plain_utf8(BYTES("M\xc3\xbcller \xc2\xa0\xf0\x9f\x98\x80")));
        assert_false(text_is_plain_utf8(BYTES("M\xc3\xbcller \xc2\x9f")));
}

static void controls_are_utf8_though_not_plain(void **state)
{
        (void)state;
        assert_true(text_is_utf8((struct text){}));
        assert_true(text_is_utf8(
                BYTES("\0\n\x7f\xc2\x80 M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x98\x80")));
        assert_false(text_is_utf8(BYTES("\xff")));
        assert_false(text_is_utf8(BYTES("a\xff")));
        assert_false(text_is_utf8(BYTES("\xe2\x82\xac\xe2\x82")));
        assert_false(text_is_utf8(BYTES("a\xff b")));
}

static void an_empty_text_is_plain(void **state)
{
        (void)state;
        assert_true(text_is_plain_utf8((struct text){}));
}

static void texts_are_compared_by_bytes_and_then_by_size(void **state)
{
        static const struct text ascending[] = {
                {NULL, 0}, {"\0", 1}, {"\0a", 2}, {"A", 1},    {"a", 1},    {"a\0", 2},
                {"a ", 2}, {"aa", 2}, {"b", 1},   {"\x7f", 1}, {"\x80", 1}, {"\xff", 1},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(ascending); i++) {
                for (size_t k = 0; k < N_OF(ascending); k++) {
                        const int r = text_compare(ascending[i], ascending[k]);

                        assert_int_equal((r > 0) - (r < 0), (i > k) - (i < k));
                        assert_int_equal(text_equal(ascending[i], ascending[k]), i == k);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_code_point_passes_but_controls_and_surrogates),
                cmocka_unit_test(code_points_past_the_last_are_refused),
                cmocka_unit_test(overlong_forms_are_refused),
                cmocka_unit_test(only_what_is_encoded_well_passes),
                cmocka_unit_test(a_sequence_cut_short_is_refused),
                cmocka_unit_test(a_control_is_found_anywhere),
                cmocka_unit_test(controls_are_utf8_though_not_plain),
                cmocka_unit_test(an_empty_text_is_plain),
                cmocka_unit_test(texts_are_compared_by_bytes_and_then_by_size),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
