/* SPDX-License-Identifier: MIT */

/* Addresses that systemd connects from, and everything that only looks like one. */

#include "../../daemon/credential-address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#define BEGIN offsetof(struct sockaddr_un, sun_path)

static int parse(const char *path, size_t size, struct credential_address *ret)
{
        static struct sockaddr_storage address;

        address = (struct sockaddr_storage){.ss_family = AF_UNIX};
        memcpy((char *)&address + BEGIN, path, size);
        return credential_address_parse(&address, (socklen_t)(BEGIN + size), ret);
}

/* The length of a literal without the NUL that the compiler adds. */
#define PARSE(path, ret) parse(path, sizeof(path) - 1, ret)

static void names(const char *path, size_t size, const char *unit, const char *id)
{
        struct credential_address claim;

        assert_int_equal(parse(path, size, &claim), 0);
        assert_true(text_equal(claim.unit, TEXT(unit)));
        assert_true(text_equal(claim.id, TEXT(id)));
}

static void test_good(void **state)
{
        static const char given[] = "\0adf9d86b6eda275e/unit/foobar.service/credx";
        static const char instance[] = "\0"
                                       "0/unit/w@a-\\x2d:b.service/a b.c";

        (void)state;
        names(given, sizeof(given) - 1, "foobar.service", "credx");
        names(instance, sizeof(instance) - 1, "w@a-\\x2d:b.service", "a b.c");
}

static void test_bad(void **state)
{
        static const struct {
                const char *path;
                size_t size;
        } bad[] = {
#define BAD(path) {path, sizeof(path) - 1}
                BAD(""),
                BAD("\0"),
                BAD("/run/a/unit/a.service/b"),
                BAD("@abc/unit/a.service/b"),
                BAD("\0/unit/a.service/b"),
                BAD("\0ab c/unit/a.service/b"),
                BAD("\0ab.c/unit/a.service/b"),
                BAD("\0abc"),
                BAD("\0abc/unit"),
                BAD("\0abc/unit/"),
                BAD("\0abc/unit/a.service"),
                BAD("\0abc/unit/a.service/"),
                BAD("\0abc/unit//b"),
                BAD("\0abc/user/a.service/b"),
                BAD("\0abc/units/a.service/b"),
                BAD("\0abc/unit/a.service/b/c"),
                BAD("\0abc/unit/a.service/b/"),
                BAD("\0abc/unit/aservice/b"),
                BAD("\0abc/unit/a*.service/b"),
                BAD("\0abc/unit/a b.service/b"),
                BAD("\0abc/unit/a\0.service/b"),
                BAD("\0abc/unit/a.service/b\0"),
                BAD("\0abc/unit/a.service/\0"),
                BAD("\0abc/unit/a.service/."),
                BAD("\0abc/unit/a.service/.."),
                BAD("\0abc/unit/a.service/a:b"),
                BAD("\0abc/unit/a.service/a\nb"),
                BAD("\0abc/unit/a.service/a\x7f"),
                BAD("\0abc/unit/a.service/\xc3\xbc"),
#undef BAD
        };
        struct credential_address claim;

        (void)state;
        for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
                assert_int_equal(parse(bad[i].path, bad[i].size, &claim),
                                 CREDENTIAL_ADDRESS_E_OTHER);
}

/* An address fills what there is for it to the last byte, and no more. */
static void test_length(void **state)
{
        char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1] = "\0abc/unit/a.service/";
        const size_t head = 1 + strlen("abc/unit/a.service/");
        struct credential_address claim;

        (void)state;
        memset(path + head, 'i', sizeof(path) - head);
        assert_int_equal(parse(path, sizeof(path) - 1, &claim), 0);
        assert_int_equal(claim.id.size, sizeof(path) - 1 - head);
        assert_int_equal(parse(path, sizeof(path), &claim), CREDENTIAL_ADDRESS_E_OTHER);
}

static void test_other_families(void **state)
{
        struct sockaddr_storage address = {.ss_family = AF_INET};
        struct credential_address claim;

        (void)state;
        memcpy((char *)&address + BEGIN, "\0a/unit/a.service/b", 19);
        assert_int_equal(credential_address_parse(&address, BEGIN + 19, &claim),
                         CREDENTIAL_ADDRESS_E_OTHER);
        address.ss_family = AF_UNIX;
        assert_int_equal(credential_address_parse(&address, BEGIN + 19, &claim), 0);
        for (socklen_t size = 0; size <= BEGIN; size++)
                assert_int_equal(credential_address_parse(&address, size, &claim),
                                 CREDENTIAL_ADDRESS_E_OTHER);
}

static void test_ids(void **state)
{
        char id[257];

        (void)state;
        memset(id, 'i', sizeof(id));
        assert_true(credential_address_is_id((struct text){id, 255}));
        assert_false(credential_address_is_id((struct text){id, 256}));
        assert_false(credential_address_is_id((struct text){id, 0}));
        assert_true(credential_address_is_id(TEXT("...")));
        assert_true(credential_address_is_id(TEXT("a%s\\\"~")));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_good),   cmocka_unit_test(test_bad),
                cmocka_unit_test(test_length), cmocka_unit_test(test_other_families),
                cmocka_unit_test(test_ids),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
