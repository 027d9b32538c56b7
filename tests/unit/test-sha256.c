/* SPDX-License-Identifier: MIT */

#include "sha256.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "helpers.h"

/* FIPS 180-4's own examples. */
static const struct {
        const char *text;
        uint8_t digest[SHA256_BYTES];
} cases[] = {
        {"", {0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4,
              0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b,
              0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55}},
        {"abc", {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad}},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         {0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8, 0xe5, 0xc0, 0x26,
          0x93, 0x0c, 0x3e, 0x60, 0x39, 0xa3, 0x3c, 0xe4, 0x59, 0x64, 0xff,
          0x21, 0x67, 0xf6, 0xec, 0xed, 0xd4, 0x19, 0xdb, 0x06, 0xc1}},
};

static bool starved;

static void *allocate(size_t size, const char *file, int line)
{
        return starved ? NULL : malloc(size);
}

static void *reallocate(void *memory, size_t size, const char *file, int line)
{
        return starved ? NULL : realloc(memory, size);
}

static void release(void *memory, const char *file, int line)
{
        free(memory);
}

static void digests_are_those_of_the_standard(void **state)
{
        uint8_t digest[SHA256_BYTES];

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                memset(digest, 0, sizeof(digest));
                sha256(cases[i].text, strlen(cases[i].text), digest);
                assert_memory_equal(digest, cases[i].digest, sizeof(digest));
        }
}

static void they_need_no_memory(void **state)
{
        uint8_t digest[SHA256_BYTES] = {0};

        assert_non_null(SHA256((const unsigned char *)"abc", 3, digest)); /* it has begun */
        starved = true;
        assert_null(SHA256((const unsigned char *)"abc", 3, digest)); /* it would have to be had */
        digests_are_those_of_the_standard(state);
        starved = false;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(digests_are_those_of_the_standard),
                cmocka_unit_test(they_need_no_memory),
        };

        if (!CRYPTO_set_mem_functions(allocate, reallocate, release))
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
