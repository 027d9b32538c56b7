/* SPDX-License-Identifier: MIT */

#include "client.h"

#include "helpers.h"

static struct client_settings clients[] = {
        {.name = "crm", .client_id = "id-0"},
        {.name = "chat bot", .client_id = "id+1"},
        {.name = "100%", .client_id = "2"},
};

static const struct settings several = {.clients = clients, .n_clients = N_OF(clients)};
static const struct settings single = {.clients = clients, .n_clients = 1};

/* `raw` and `decoded` are what HTTP Basic said, NULL: there was none. */
static int choose(const struct settings *settings, const char *id, const char *raw,
                  const char *decoded, size_t *ret_index)
{
        struct token_request request;
        int r;

        request_init(&request);
        if (id)
                request.client = TEXT(id);
        if (raw) {
                request.basic_client_raw = TEXT(raw);
                request.basic_client = TEXT(decoded);
        }
        *ret_index = SIZE_MAX;
        r = client_select(settings, &request, ret_index);
        request_deinit(&request);
        return r;
}

static void assert_selects(const struct settings *settings, const char *id, const char *raw,
                           const char *decoded, size_t expected)
{
        size_t index;

        assert_int_equal(choose(settings, id, raw, decoded, &index), 0);
        assert_int_equal(index, expected);
}

static void assert_refuses(const struct settings *settings, const char *id, const char *raw,
                           const char *decoded, int reason)
{
        size_t index;

        assert_int_equal(choose(settings, id, raw, decoded, &index), reason);
}

static void a_client_is_named_by_its_name_or_its_client_id(void **state)
{
        (void)state;
        assert_selects(&several, "crm", NULL, NULL, 0);
        assert_selects(&several, "id-0", NULL, NULL, 0);
        assert_selects(&several, "chat bot", NULL, NULL, 1);
        assert_selects(&several, "2", NULL, NULL, 2);
        assert_selects(&several, NULL, "id-0", "id-0", 0);
        assert_selects(&single, "crm", NULL, NULL, 0);
}

static void the_only_client_need_not_be_named_and_one_of_several_must(void **state)
{
        (void)state;
        assert_selects(&single, NULL, NULL, NULL, 0);
        assert_refuses(&several, NULL, NULL, NULL, REASON_MISSING_CLIENT);
        assert_refuses(&(struct settings){}, NULL, NULL, NULL, REASON_MISSING_CLIENT);
}

static void a_name_that_nobody_has_is_unknown(void **state)
{
        static const char *const names[] = {"CRM", "crm ", "cr", "crmx", "id", "0"};

        (void)state;
        for (size_t i = 0; i < N_OF(names); i++) {
                assert_refuses(&several, names[i], NULL, NULL, REASON_UNKNOWN_CLIENT);
                assert_refuses(&single, names[i], NULL, NULL, REASON_UNKNOWN_CLIENT);
                assert_refuses(&several, NULL, names[i], names[i], REASON_UNKNOWN_CLIENT);
                assert_refuses(&several, names[i], names[i], names[i], REASON_UNKNOWN_CLIENT);
        }
}

static void a_nul_behind_a_name_makes_it_unknown(void **state)
{
        struct token_request request;
        size_t index;

        (void)state;
        request_init(&request);
        request.client = BYTES("crm\0");
        assert_int_equal(client_select(&several, &request, &index), REASON_UNKNOWN_CLIENT);
        request.client = BYTES("\0");
        assert_int_equal(client_select(&several, &request, &index), REASON_UNKNOWN_CLIENT);
}

static void basic_is_compared_decoded_and_raw(void **state)
{
        (void)state;
        assert_selects(&several, NULL, "chat+bot", "chat bot", 1);
        assert_selects(&several, NULL, "chat%20bot", "chat bot", 1);
        assert_selects(&several, NULL, "id%2B1", "id+1", 1);
        assert_selects(&several, NULL, "id+1", "id 1", 1);
        assert_selects(&several, NULL, "100%", "100%", 2);
}

static void basic_and_client_id_may_both_be_there_if_they_mean_the_same(void **state)
{
        (void)state;
        assert_selects(&several, "crm", "crm", "crm", 0);
        assert_selects(&several, "crm", "id-0", "id-0", 0);
        assert_selects(&several, "id+1", "id+1", "id 1", 1);
        assert_refuses(&several, "crm", "2", "2", REASON_AMBIGUOUS_CLIENT);
        assert_refuses(&several, "2", "crm", "crm", REASON_AMBIGUOUS_CLIENT);
        assert_refuses(&several, "crm", "nobody", "nobody", REASON_AMBIGUOUS_CLIENT);
        assert_refuses(&several, "nobody", "crm", "crm", REASON_AMBIGUOUS_CLIENT);
        assert_refuses(&single, "nobody", "crm", "crm", REASON_AMBIGUOUS_CLIENT);
}

static void a_client_is_found_by_either_of_its_names_and_no_other(void **state)
{
        size_t index = 77;

        (void)state;
        assert_int_equal(client_find(&several, TEXT("crm"), &index), 0);
        assert_int_equal(index, 0);
        assert_int_equal(client_find(&several, TEXT("id+1"), &index), 0);
        assert_int_equal(index, 1);
        assert_int_equal(client_find(&several, TEXT("100%"), &index), 0);
        assert_int_equal(index, 2);
        assert_int_equal(client_find(&several, TEXT("2"), &index), 0);
        assert_int_equal(index, 2);
        assert_int_equal(client_find(&several, TEXT("nobody"), &index), REASON_UNKNOWN_CLIENT);
        assert_int_equal(client_find(&several, TEXT(""), &index), REASON_UNKNOWN_CLIENT);
        assert_int_equal(client_find(&several, BYTES("crm\0"), &index), REASON_UNKNOWN_CLIENT);
        assert_int_equal(client_find(&single, TEXT("2"), &index), REASON_UNKNOWN_CLIENT);
        assert_int_equal(client_find(&(struct settings){}, TEXT("crm"), &index),
                         REASON_UNKNOWN_CLIENT);
        assert_int_equal(index, 2);
}

static void assert_digests_differ(const struct client_settings *a, const char *a_cert,
                                  const struct client_settings *b, const char *b_cert)
{
        uint8_t x[SNAPSHOT_DIGEST_BYTES], y[SNAPSHOT_DIGEST_BYTES];

        client_digest(x, a, a_cert);
        client_digest(y, b, b_cert);
        assert_memory_not_equal(x, y, sizeof(x));
}

static void an_anonymous_client_is_named_by_its_name(void **state)
{
        struct client_settings lobbies[] = {
                {.name = "crm", .client_id = "id-0", .token_url = {"https://u"}},
                {.name = "lobby", .token_url = {[AUDIENCE_ANONYMOUS] = "https://a"}},
                {.name = "porch",
                 .client_id = "id-2",
                 .token_url = {[AUDIENCE_ANONYMOUS] = "https://b"}},
                {.name = "garden", .token_url = {[AUDIENCE_ANONYMOUS] = "https://c"}},
        };
        const struct settings all = {.clients = lobbies, .n_clients = 4};
        const struct settings one = {.clients = lobbies, .n_clients = 3};

        (void)state;
        assert_selects(&all, "lobby", NULL, NULL, 1);
        assert_selects(&all, "garden", NULL, NULL, 3);
        assert_selects(&all, "id-2", NULL, NULL, 2);
        /* The documented placeholder is nobody's where several have no client_id. */
        assert_selects(&one, CLIENT_PLACEHOLDER_ID, NULL, NULL, 1);
        assert_selects(&one, NULL, "clientId", "clientId", 1);
        assert_refuses(&all, CLIENT_PLACEHOLDER_ID, NULL, NULL, REASON_UNKNOWN_CLIENT);
        assert_refuses(&several, CLIENT_PLACEHOLDER_ID, NULL, NULL, REASON_UNKNOWN_CLIENT);
        assert_refuses(&one, "clientid", NULL, NULL, REASON_UNKNOWN_CLIENT);
        lobbies[0].client_id = (char[]){CLIENT_PLACEHOLDER_ID};
        assert_selects(&all, CLIENT_PLACEHOLDER_ID, NULL, NULL, 0);
        assert_string_equal(client_sent_id(&lobbies[1]), "clientId");
        assert_string_equal(client_sent_id(&lobbies[2]), "id-2");
}

static void the_client_settles_whose_token_it_is(void **state)
{
        const struct client_settings portal = {.token_url = {"https://u", "https://c"}};
        const struct client_settings lobby = {.token_url = {[AUDIENCE_ANONYMOUS] = "https://a"}};

        (void)state;
        for (enum subject_kind kind = 0; kind < _SUBJECT_KIND_N; kind++) {
                const struct token_request request = {.subject_kind = kind};
                const bool of_client = kind == SUBJECT_APPLICATION || kind == SUBJECT_ANONYMOUS;

                assert_int_equal(client_kind(&portal, &request),
                                 of_client ? SUBJECT_APPLICATION : kind);
                assert_int_equal(client_kind(&lobby, &request),
                                 of_client ? SUBJECT_ANONYMOUS : kind);
        }
}

static void a_digest_covers_all_of_an_identity_and_nothing_else(void **state)
{
        const struct client_settings client = {
                .name = "a", .client_id = "id", .identity = 1, .token_url = {"https://u", NULL}};
        struct client_settings other = client;
        uint8_t x[SNAPSHOT_DIGEST_BYTES], y[SNAPSHOT_DIGEST_BYTES];

        (void)state;
        other.name = (char[]){"b"};
        other.identity = 2;
        other.default_scope = (char[]){"scope"};
        other.secret_expires_s[0] = 5;
        client_digest(x, &client, "/cert");
        client_digest(y, &other, "/cert");
        assert_memory_equal(x, y, sizeof(x));

        assert_digests_differ(&client, "/cert", &client, "/other");
        assert_digests_differ(&client, NULL, &client, "/cert");
        assert_digests_differ(&client, NULL, &client, "");
        other = client;
        other.client_id = (char[]){"ID"};
        assert_digests_differ(&client, NULL, &other, NULL);
        other = client;
        other.token_url[AUDIENCE_USER] = NULL;
        other.token_url[AUDIENCE_CUSTOMER] = client.token_url[AUDIENCE_USER];
        assert_digests_differ(&client, NULL, &other, NULL);
        other.token_url[AUDIENCE_ANONYMOUS] = client.token_url[AUDIENCE_USER];
        other.token_url[AUDIENCE_CUSTOMER] = NULL;
        assert_digests_differ(&client, NULL, &other, NULL);
        other.client_id = NULL;
        assert_digests_differ(&client, NULL, &other, NULL);
        /* Nor does anything depend on where one part ends. */
        other = client;
        other.client_id = (char[]){"idh"};
        other.token_url[AUDIENCE_USER] = client.token_url[AUDIENCE_USER] + 1;
        assert_digests_differ(&client, NULL, &other, NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_client_is_named_by_its_name_or_its_client_id),
                cmocka_unit_test(the_only_client_need_not_be_named_and_one_of_several_must),
                cmocka_unit_test(a_name_that_nobody_has_is_unknown),
                cmocka_unit_test(a_nul_behind_a_name_makes_it_unknown),
                cmocka_unit_test(basic_is_compared_decoded_and_raw),
                cmocka_unit_test(basic_and_client_id_may_both_be_there_if_they_mean_the_same),
                cmocka_unit_test(a_client_is_found_by_either_of_its_names_and_no_other),
                cmocka_unit_test(an_anonymous_client_is_named_by_its_name),
                cmocka_unit_test(the_client_settles_whose_token_it_is),
                cmocka_unit_test(a_digest_covers_all_of_an_identity_and_nothing_else),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
