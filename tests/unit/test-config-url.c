/* SPDX-License-Identifier: MIT */

/* What may be a proxy. Token URLs are tried by test-config.c. */

#include "../../daemon/config-url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void test_proxies(void **state)
{
        static const char *const right[] = {
                "",
                "http://proxy.example.com:3128",
                "https://proxy.example.com:3128",
                "HTTP://PROXY:1",
                "http://proxy",
                "http://proxy/",
                "http://proxy:65535/",
                "http://10.0.0.1:8080",
                "http://127.0.0.1:8080",
                "https://[2001:db8::1]:3128",
                "http://[::1]",
        };
        static const char *const wrong[] = {
                " ",
                "proxy",
                "proxy:3128",
                "10.0.0.1:8080",
                "//proxy:3128",
                "http:proxy",
                "http:/proxy",
                "http:///proxy",
                "http://",
                "http:///",
                "http://:3128",
                "http://proxy:",
                "http://proxy:/",
                "http://proxy:0",
                "http://proxy:00",
                "http://proxy:65536",
                "http://proxy:-1",
                "http://proxy:port",
                "http://proxy:3128/path",
                "http://proxy:3128//",
                "http://proxy:3128/?",
                "http://proxy?",
                "http://proxy?a=b",
                "http://proxy#",
                "http://proxy/#a",
                "http://user@proxy",
                "http://user:password@proxy:3128",
                "http://:@proxy",
                "http://@proxy",
                "http://proxy:3128 ",
                " http://proxy:3128",
                "http://pro xy",
                "http://proxy\\a",
                "http://proxy\n",
                "http://pr\xc3\xb6xy",
                "http://[::1",
                "http://::1",
                "http://[proxy]",
                "ftp://proxy",
                "socks5://proxy:1080",
                "socks5h://proxy:1080",
                "file:///etc/passwd",
                "httpx://proxy",
                "http://a,http://b",
        };

        (void)state;
        for (size_t i = 0; i < sizeof(right) / sizeof(*right); i++)
                if (!config_url_is_proxy(right[i]))
                        fail_msg("refused: %s", right[i]);
        for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
                if (config_url_is_proxy(wrong[i]))
                        fail_msg("accepted: %s", wrong[i]);
}

static void test_length(void **state)
{
        char url[2050] = "http://proxy:";

        (void)state;
        memset(url + 13, '0', sizeof(url) - 14);
        url[2047] = '8';
        url[2048] = '\0';
        assert_true(config_url_is_proxy(url));
        url[2048] = '0';
        assert_false(config_url_is_proxy(url));
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_proxies),
                cmocka_unit_test(test_length),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
