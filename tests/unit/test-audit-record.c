/* SPDX-License-Identifier: MIT */

/* What a record says, in both of its forms, whatever bytes were sent. */

#include <json-c/json.h>

#include "../../daemon/audit-render.h"
#include "audit-helpers.h"

#define KEY "a key for the tests"

/* HMAC-SHA256 under KEY, worked out elsewhere. */
#define DIGEST_OF_PA      "a5edb60dbca973bb06d2d9f30d462b33"
#define FINGERPRINT_OF_IT "3108f9baaecc695e"

/* 2026-11-22T14:50:55.123Z */
#define NOW_MS INT64_C(1795359055123)

static char bytes[AUDIT_RENDER_MAX_BYTES];
static size_t size;
static struct journal journal;

static void naming_init(struct audit_naming *naming, enum audit_subjects subjects, const char *key)
{
        struct audit_config config = {.subjects = subjects};

        if (key)
                assert_int_equal(secret_assign(&config.key, key, strlen(key)), 0);
        assert_int_equal(audit_naming_init(naming, &config), 0);
        secret_deinit(&config.key);
}

static struct audit_record *make(const struct audit_decision *decision,
                                 enum audit_subjects subjects)
{
        struct audit_naming naming;
        struct audit_record *record;

        naming_init(&naming, subjects, KEY);
        if (decision->token)
                assert_int_equal(audit_naming_label(&naming, decision->token), 0);
        assert_int_equal(audit_record_new(&record, decision, &naming, NOW_MS), 0);
        audit_naming_deinit(&naming);
        return record;
}

/* As a string, too: no form of a record has a NUL in it. */
static void render(const struct audit_record *record, bool json)
{
        size = json ? audit_render_json(bytes, record) : audit_render_journal(bytes, record);
        assert_true(size < sizeof(bytes));
        bytes[size] = '\0';
        assert_int_equal(strlen(bytes), size);
        assert_int_equal(bytes[size - 1], '\n');
        assert_true(text_is_utf8((struct text){bytes, size}));
        if (json)
                return;
        assert_true(size < sizeof(journal.datagram));
        memcpy(journal.datagram, bytes, size + 1);
        journal.size = size;
}

/* The line read back by somebody else's parser. */
static json_object *parse_line(void)
{
        json_tokener *tokener = json_tokener_new();
        json_object *object;

        assert_ptr_equal(strchr(bytes, '\n'), bytes + size - 1);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        object = json_tokener_parse_ex(tokener, bytes, (int)size - 1);
        assert_int_equal(json_tokener_get_error(tokener), json_tokener_success);
        assert_non_null(object);
        assert_int_equal(json_tokener_get_parse_end(tokener), size - 1);
        json_tokener_free(tokener);
        return object;
}

static const char *string_of(json_object *object, const char *name)
{
        json_object *value;

        assert_true(json_object_object_get_ex(object, name, &value));
        return json_object_get_string(value);
}

static const struct peer crm = {
        .known = true, .uid = 1001, .pid = 4242, .unit = (char *)"crm-sync.service"};

static struct audit_decision decision_of_pa(void)
{
        return (struct audit_decision){
                .cache_status = CACHE_STATUS_HIT,
                .peer = &crm,
                .rule = "crm",
                .client = "portal",
                .has_subject = true,
                .subject = TEXT("pa"),
                .scope = TEXT("a.read b.read"),
        };
}

static void expect_json(struct audit_record *record, const char *expected)
{
        render(record, true);
        assert_string_equal(bytes, expected);
        json_object_put(parse_line());
        audit_record_free(record);
}

static void expect_journal(struct audit_record *record, const char *expected)
{
        render(record, false);
        assert_string_equal(bytes, expected);
        audit_record_free(record);
}

static void a_grant_as_json(void **state)
{
        struct audit_decision decision = decision_of_pa();
        struct audit_record *record;

        (void)state;
        decision.token = make_token("the-token");
        expect_json(make(&decision, AUDIT_SUBJECTS_CLEAR),
                    "{\"time\":\"2026-11-22T14:50:55.123Z\",\"action\":\"token\","
                    "\"outcome\":\"granted\",\"reason\":null,\"rule\":\"crm\",\"uid\":1001,"
                    "\"pid\":4242,\"unit\":\"crm-sync.service\",\"client\":\"portal\","
                    "\"subject_kind\":\"username\",\"subject\":\"pa\",\"scope\":\"a.read b.read\","
                    "\"cache\":\"hit\",\"collapsed\":false,\"token\":\"" FINGERPRINT_OF_IT "\","
                    "\"count\":1}\n");
        decision.cache_status = CACHE_STATUS_FWD_STALE;
        decision.collapsed = true;
        decision.detail = REASON_ISSUER_UNREACHABLE;
        record = make(&decision, AUDIT_SUBJECTS_DIGEST);
        record->count = 17;
        record->since_wall_ms = NOW_MS - 1000;
        expect_json(record, "{\"time\":\"2026-11-22T14:50:55.123Z\",\"action\":\"token\","
                            "\"outcome\":\"granted\",\"reason\":\"issuer_unreachable\","
                            "\"rule\":\"crm\",\"uid\":1001,\"pid\":4242,"
                            "\"unit\":\"crm-sync.service\",\"client\":\"portal\","
                            "\"subject_kind\":\"username\",\"subject_digest\":\"" DIGEST_OF_PA
                            "\",\"scope\":\"a.read b.read\",\"cache\":\"stale\","
                            "\"collapsed\":true,\"token\":\"" FINGERPRINT_OF_IT "\",\"count\":17,"
                            "\"since\":\"2026-11-22T14:50:54.123Z\"}\n");
        token_unref(decision.token);
}

static void a_refusal_of_somebody_unknown_as_json(void **state)
{
        static const struct peer nobody = {.uid = 7, .pid = 8, .unit = (char *)"lie.service"};
        const struct audit_decision decision = {.reason = REASON_PEER_GONE, .peer = &nobody};

        (void)state;
        expect_json(make(&decision, AUDIT_SUBJECTS_CLEAR),
                    "{\"time\":\"2026-11-22T14:50:55.123Z\",\"action\":\"token\","
                    "\"outcome\":\"refused\",\"reason\":\"peer_gone\",\"rule\":null,\"uid\":null,"
                    "\"pid\":null,\"unit\":null,\"client\":null,\"subject_kind\":null,"
                    "\"subject\":null,\"scope\":null,\"cache\":null,\"collapsed\":false,"
                    "\"token\":null,\"count\":1}\n");
}

static void of_a_peer_over_tcp_the_uid_alone_is_known(void **state)
{
        static const struct peer tcp = {
                .known = true, .tcp = true, .uid = 7, .pid = 8, .unit = (char *)"lie.service"};
        struct audit_decision decision = decision_of_pa();
        struct audit_record *record;

        (void)state;
        decision.peer = &tcp;
        record = make(&decision, AUDIT_SUBJECTS_CLEAR);
        render(record, false);
        assert_string_equal(journal_field(&journal, "EGAIN_UID"), "7");
        assert_null(journal_field(&journal, "EGAIN_PID"));
        assert_null(journal_field(&journal, "EGAIN_UNIT"));
        audit_record_free(record);
}

static void a_grant_for_the_journal(void **state)
{
        struct audit_decision decision = decision_of_pa();
        struct audit_record *record;

        (void)state;
        decision.token = make_token("the-token");
        record = make(&decision, AUDIT_SUBJECTS_CLEAR);
        record->count = 3;
        record->since_wall_ms = NOW_MS - 1000;
        expect_journal(record, "MESSAGE=token granted to uid 1001 (crm-sync.service) by rule crm "
                               "at portal, hit, 3 times: username:pa\n"
                               "PRIORITY=6\n"
                               "SYSLOG_IDENTIFIER=egain-tokend\n"
                               "MESSAGE_ID=" AUDIT_MESSAGE_ID_GRANT "\n"
                               "EGAIN_TIME=2026-11-22T14:50:55.123Z\n"
                               "EGAIN_OUTCOME=granted\n"
                               "EGAIN_ACTION=token\n"
                               "EGAIN_RULE=crm\n"
                               "EGAIN_UID=1001\n"
                               "EGAIN_PID=4242\n"
                               "EGAIN_UNIT=crm-sync.service\n"
                               "EGAIN_CLIENT=portal\n"
                               "EGAIN_SUBJECT_KIND=username\n"
                               "EGAIN_SUBJECT=pa\n"
                               "EGAIN_SCOPE=a.read b.read\n"
                               "EGAIN_CACHE=hit\n"
                               "EGAIN_COLLAPSED=0\n"
                               "EGAIN_TOKEN=" FINGERPRINT_OF_IT "\n"
                               "EGAIN_COUNT=3\n"
                               "EGAIN_SINCE=2026-11-22T14:50:54.123Z\n");
        token_unref(decision.token);
}

static void refusals_purges_and_losses_for_the_journal(void **state)
{
        const struct audit_decision refusal = {.reason = REASON_ISSUER_TIMEOUT};
        struct audit_decision purge = decision_of_pa();
        struct audit_decision reload = {
                .action = AUDIT_ACTION_RELOAD, .peer = purge.peer, .rule = "ops"};
        struct audit_record *record;

        (void)state;
        expect_journal(make(&refusal, AUDIT_SUBJECTS_CLEAR),
                       "MESSAGE=token failed to an unknown peer, issuer_timeout\n"
                       "PRIORITY=5\n"
                       "SYSLOG_IDENTIFIER=egain-tokend\n"
                       "MESSAGE_ID=" AUDIT_MESSAGE_ID_REFUSAL "\n"
                       "EGAIN_TIME=2026-11-22T14:50:55.123Z\n"
                       "EGAIN_OUTCOME=failed\n"
                       "EGAIN_ACTION=token\n"
                       "EGAIN_REASON=issuer_timeout\n"
                       "EGAIN_COUNT=1\n");
        purge.action = AUDIT_ACTION_PURGE;
        purge.count = 12;
        record = make(&purge, AUDIT_SUBJECTS_DIGEST);
        render(record, false);
        assert_string_equal(journal_field(&journal, "MESSAGE"),
                            "purge granted to uid 1001 (crm-sync.service) by rule crm at portal, "
                            "12 entries: username:<" DIGEST_OF_PA ">");
        assert_string_equal(journal_field(&journal, "EGAIN_COUNT"), "12");
        assert_null(journal_field(&journal, "EGAIN_CACHE"));
        audit_record_free(record);
        record = make(&reload, AUDIT_SUBJECTS_CLEAR);
        render(record, false);
        assert_string_equal(journal_field(&journal, "MESSAGE"),
                            "reload granted to uid 1001 (crm-sync.service) by rule ops");
        assert_string_equal(journal_field(&journal, "EGAIN_ACTION"), "reload");
        assert_string_equal(journal_field(&journal, "EGAIN_COUNT"), "1");
        audit_record_free(record);
        reload.reason = REASON_CONFIG_NOT_TAKEN_OVER;
        record = make(&reload, AUDIT_SUBJECTS_CLEAR);
        render(record, false);
        assert_string_equal(journal_field(&journal, "MESSAGE"),
                            "reload refused to uid 1001 (crm-sync.service) by rule ops, "
                            "config_not_taken_over");
        audit_record_free(record);
        assert_int_equal(
                audit_record_new_dropped(&record, AUDIT_LANE_REFUSALS, 99, NOW_MS - 1000, NOW_MS),
                0);
        expect_journal(record, "MESSAGE=99 records of refusals were dropped\n"
                               "PRIORITY=4\n"
                               "SYSLOG_IDENTIFIER=egain-tokend\n"
                               "MESSAGE_ID=" AUDIT_MESSAGE_ID_REFUSAL "\n"
                               "EGAIN_TIME=2026-11-22T14:50:55.123Z\n"
                               "EGAIN_OUTCOME=dropped\n"
                               "EGAIN_QUEUE=refusals\n"
                               "EGAIN_COUNT=99\n"
                               "EGAIN_SINCE=2026-11-22T14:50:54.123Z\n");
        assert_int_equal(audit_record_new_dropped(&record, AUDIT_LANE_GRANTS, 1, 0, NOW_MS), 0);
        expect_json(record, "{\"time\":\"2026-11-22T14:50:55.123Z\",\"outcome\":\"dropped\","
                            "\"queue\":\"grants\",\"count\":1}\n");
}

static void nasty_bytes_come_back_as_they_should(void **state)
{
        static const struct {
                struct text sent;
                const char *json;
                const char *in_journal;
        } cases[] = {
#define CASE(sent_, json_, in_journal_) {{sent_, sizeof(sent_) - 1}, json_, in_journal_}
                CASE("", "", ""),
                CASE("\"\\/", "\"\\/", "\"\\/"),
                CASE("a\nEGAIN_UID=0\n", "a\nEGAIN_UID=0\n",
                     "a\xef\xbf\xbd"
                     "EGAIN_UID=0\xef\xbf\xbd"),
                CASE("\x1b[31m\x7f\t\r", "\x1b[31m\x7f\t\r",
                     "\xef\xbf\xbd[31m\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"),
                CASE("\xc2\x80\xc2\x9f\xc2\xa0", "\xc2\x80\xc2\x9f\xc2\xa0",
                     "\xef\xbf\xbd\xef\xbf\xbd\xc2\xa0"),
                CASE("p\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
                     "p\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
                     "p\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"),
                /* cut short, alone, overlong, a surrogate, past the end of Unicode */
                CASE("\xc3", "\xef\xbf\xbd", "\xef\xbf\xbd"),
                CASE("\x80x", "\xef\xbf\xbdx", "\xef\xbf\xbdx"),
                CASE("\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd", "\xef\xbf\xbd\xef\xbf\xbd"),
                CASE("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd",
                     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"),
                CASE("\xf5", "\xef\xbf\xbd", "\xef\xbf\xbd"),
                CASE("\xc3(\"", "\xef\xbf\xbd(\"", "\xef\xbf\xbd(\""),
#undef CASE
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct audit_decision decision = decision_of_pa();
                struct audit_record *record;
                json_object *object;

                decision.reason = REASON_BAD_SUBJECT;
                decision.subject = cases[i].sent;
                decision.scope = cases[i].sent;
                record = make(&decision, AUDIT_SUBJECTS_CLEAR);
                render(record, true);
                object = parse_line();
                assert_string_equal(string_of(object, "subject"), cases[i].json);
                assert_string_equal(string_of(object, "scope"), cases[i].json);
                assert_string_equal(string_of(object, "uid"), "1001");
                json_object_put(object);
                render(record, false);
                assert_string_equal(journal_field(&journal, "EGAIN_SUBJECT"), cases[i].in_journal);
                assert_string_equal(journal_field(&journal, "EGAIN_SCOPE"), cases[i].in_journal);
                assert_string_equal(journal_field(&journal, "EGAIN_UID"), "1001");
                audit_record_free(record);
        }
}

/* A NUL cannot be told apart in a C string, so it has a test of its own. */
static void a_nul_ends_nothing(void **state)
{
        struct audit_decision decision = decision_of_pa();
        struct audit_record *record;

        (void)state;
        decision.subject = (struct text){"a\0b", 3};
        record = make(&decision, AUDIT_SUBJECTS_CLEAR);
        render(record, true);
        json_object_put(parse_line());
        assert_non_null(strstr(bytes, "\"subject\":\"a\\u0000b\","));
        render(record, false);
        assert_string_equal(journal_field(&journal, "EGAIN_SUBJECT"), "a\xef\xbf\xbd"
                                                                      "b");
        audit_record_free(record);
}

static void random_bytes_make_valid_records(void **state)
{
        unsigned int seed = 1;

        (void)state;
        for (int i = 0; i < 20000; i++) {
                struct audit_decision decision = decision_of_pa();
                char noise[48];
                struct audit_record *record;
                size_t n_lines = 0;

                for (size_t k = 0; k < sizeof(noise); k++) {
                        seed = seed * 1664525 + 1013904223;
                        noise[k] = (char)(seed >> 24);
                        /* many lead bytes, controls and quotes */
                        if (seed >> 10 & 1)
                                noise[k] =
                                        "\xc2\xe0\xed\xf0\xf4\n\"\\\x80\xbf\x9f="[seed >> 12 & 0xb];
                }
                decision.subject = (struct text){noise, 24};
                decision.scope = (struct text){noise + 24, 24};
                record = make(&decision, AUDIT_SUBJECTS_CLEAR);
                render(record, true);
                json_object_put(parse_line());
                render(record, false);
                for (const char *at = bytes; (at = strchr(at, '\n')); at++)
                        n_lines++;
                assert_int_equal(n_lines, 16);
                assert_string_equal(journal_field(&journal, "EGAIN_UID"), "1001");
                audit_record_free(record);
        }
}

static void subjects_are_clear_or_digests_never_both(void **state)
{
        struct audit_decision decision = decision_of_pa();
        struct audit_record *record;

        (void)state;
        decision.subject = TEXT("percival");
        record = make(&decision, AUDIT_SUBJECTS_DIGEST);
        for (int json = 0; json < 2; json++) {
                render(record, json);
                assert_null(strstr(bytes, "percival"));
        }
        assert_null(journal_field(&journal, "EGAIN_SUBJECT"));
        audit_record_free(record);
        decision.has_subject = false;
        record = make(&decision, AUDIT_SUBJECTS_DIGEST);
        render(record, false);
        assert_null(journal_field(&journal, "EGAIN_SUBJECT_DIGEST"));
        assert_null(journal_field(&journal, "EGAIN_SUBJECT_KIND"));
        audit_record_free(record);
}

static void digests_depend_on_key_kind_and_subject(void **state)
{
        static const struct {
                const char *key;
                enum subject_kind kind;
                const char *subject;
        } cases[] = {
                {KEY, SUBJECT_USERNAME, "pa"},  {"other", SUBJECT_USERNAME, "pa"},
                {NULL, SUBJECT_USERNAME, "pa"}, {NULL, SUBJECT_USERNAME, "pa"},
                {KEY, SUBJECT_USERID, "pa"},    {KEY, SUBJECT_USERNAME, "pb"},
        };
        char digests[N_OF(cases)][AUDIT_DIGEST_DIGITS + 1];

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct audit_decision decision = decision_of_pa();
                struct audit_naming naming;
                struct audit_record *record;

                naming_init(&naming, AUDIT_SUBJECTS_DIGEST, cases[i].key);
                decision.subject_kind = cases[i].kind;
                decision.subject = TEXT(cases[i].subject);
                assert_int_equal(audit_record_new(&record, &decision, &naming, NOW_MS), 0);
                memcpy(digests[i], record->subject_digest, sizeof(digests[i]));
                audit_record_free(record);
                audit_naming_deinit(&naming);
                for (size_t k = 0; k < i; k++)
                        assert_string_not_equal(digests[i], digests[k]);
        }
        assert_string_equal(digests[0], DIGEST_OF_PA);
}

static void a_token_is_named_by_a_fingerprint_worked_out_once(void **state)
{
        struct audit_decision decision = decision_of_pa();
        struct audit_record *record;
        struct audit_naming naming;

        (void)state;
        decision.token = make_token("the-token");
        record = make(&decision, AUDIT_SUBJECTS_CLEAR);
        for (int json = 0; json < 2; json++) {
                render(record, json);
                assert_null(strstr(bytes, "the-token"));
                assert_non_null(strstr(bytes, FINGERPRINT_OF_IT));
        }
        audit_record_free(record);
        naming_init(&naming, AUDIT_SUBJECTS_CLEAR, NULL);
        decision.token->label = 5;
        assert_int_equal(audit_naming_label(&naming, decision.token), 0);
        assert_int_equal(decision.token->label, 5);
        audit_naming_deinit(&naming);
        token_unref(decision.token);
}

static void a_refusal_names_no_token(void **state)
{
        struct audit_decision decision = decision_of_pa();
        struct audit_record *record;

        (void)state;
        decision.token = make_token("the-token");
        decision.reason = REASON_GRANTED_TOO_MUCH;
        record = make(&decision, AUDIT_SUBJECTS_CLEAR);
        render(record, false);
        assert_null(journal_field(&journal, "EGAIN_TOKEN"));
        assert_null(journal_field(&journal, "EGAIN_CACHE"));
        audit_record_free(record);
        token_unref(decision.token);
}

/* `fill` over and over, `n` bytes of it. */
static char *long_text(const char *fill, size_t n)
{
        char *text = malloc(n + 1);

        assert_non_null(text);
        for (size_t i = 0; i < n; i++)
                text[i] = fill[i % strlen(fill)];
        text[n] = '\0';
        return text;
}

static void what_is_too_long_is_cut_and_marked(void **state)
{
        char *name = long_text("n", AUDIT_NAME_MAX_BYTES + 1);
        char *scope = long_text("s", AUDIT_SCOPE_MAX_BYTES + 1);
        struct peer peer = crm;
        struct audit_decision decision = {
                .reason = REASON_NOT_PERMITTED,
                .rule = name + 1,
                .client = name + 1,
                .peer = &peer,
                .has_subject = true,
                .subject = {scope, AUDIT_SUBJECT_MAX_BYTES},
                .scope = {scope, AUDIT_SCOPE_MAX_BYTES},
        };

        (void)state;
        peer.unit = name + 1;
        for (int longer = -1; longer < 5; longer++) {
                struct audit_decision it = decision;
                struct audit_record *record;

                it.rule -= longer == 0;
                it.client -= longer == 1;
                peer.unit = name + (longer != 2);
                it.subject.size += longer == 3;
                it.scope.size += longer == 4;
                record = make(&it, AUDIT_SUBJECTS_CLEAR);
                assert_int_equal(record->cut, longer >= 0);
                assert_int_equal(record->rule.size, AUDIT_NAME_MAX_BYTES);
                assert_int_equal(record->client.size, AUDIT_NAME_MAX_BYTES);
                assert_int_equal(record->unit.size, AUDIT_NAME_MAX_BYTES);
                assert_int_equal(record->subject.size, AUDIT_SUBJECT_MAX_BYTES);
                assert_int_equal(record->scope.size, AUDIT_SCOPE_MAX_BYTES);
                render(record, true);
                assert_int_equal(!!strstr(bytes, ",\"cut\":true,"), longer >= 0);
                render(record, false);
                assert_int_equal(!!journal_field(&journal, "EGAIN_CUT"), longer >= 0);
                audit_record_free(record);
        }
        free(name);
        free(scope);
}

static void no_character_is_cut_in_two(void **state)
{
        static const char face[4] = {'\xf0', '\x9f', '\x98', '\x80'};

        (void)state;
        for (size_t shift = 0; shift < 4; shift++) {
                struct audit_decision decision = decision_of_pa();
                char *subject = long_text("x", AUDIT_SUBJECT_MAX_BYTES + 8);
                struct audit_record *record;

                for (size_t i = shift; i + 4 <= AUDIT_SUBJECT_MAX_BYTES + 8; i += 4)
                        memcpy(subject + i, face, sizeof(face));
                decision.subject = (struct text){subject, AUDIT_SUBJECT_MAX_BYTES + 4};
                record = make(&decision, AUDIT_SUBJECTS_CLEAR);
                assert_true(text_is_utf8(record->subject));
                assert_int_equal(record->subject.size,
                                 AUDIT_SUBJECT_MAX_BYTES - (shift ? 4 - shift : 0));
                audit_record_free(record);
                free(subject);
        }
}

/* Whatever is sent, the buffer holds it: an assertion in there would say otherwise. */
static void the_worst_record_fits(void **state)
{
        static const char *const fills[] = {"\x01", "\xff", "\"", "\xc2\x80"};

        (void)state;
        for (size_t i = 0; i < N_OF(fills); i++) {
                char *name = long_text(fills[i], AUDIT_NAME_MAX_BYTES);
                char *scope = long_text(fills[i], AUDIT_SCOPE_MAX_BYTES);
                const struct peer peer = {
                        .known = true, .uid = UINT32_MAX, .pid = INT32_MAX, .unit = name};
                const struct audit_decision decision = {
                        .reason = REASON_SUBJECT_NOT_PERMITTED,
                        .peer = &peer,
                        .rule = name,
                        .client = name,
                        .has_subject = true,
                        .subject = {scope, AUDIT_SUBJECT_MAX_BYTES},
                        .scope = {scope, AUDIT_SCOPE_MAX_BYTES},
                };
                struct audit_record *record = make(&decision, AUDIT_SUBJECTS_CLEAR);

                record->count = UINT64_MAX;
                record->wall_ms = INT64_MAX;
                record->since_wall_ms = INT64_MAX;
                render(record, true);
                json_object_put(parse_line());
                render(record, false);
                audit_record_free(record);
                free(name);
                free(scope);
        }
}

static void every_reason_has_an_outcome(void **state)
{
        (void)state;
        assert_int_equal(audit_outcome_of(REASON_NONE), AUDIT_GRANTED);
        assert_int_equal(audit_lane_of(REASON_NONE), AUDIT_LANE_GRANTS);
        for (int reason = 1; reason < _REASON_N; reason++) {
                assert_int_equal(audit_outcome_of(reason),
                                 reason_info(reason)->status < 500 ? AUDIT_REFUSED : AUDIT_FAILED);
                assert_int_equal(audit_lane_of(reason), AUDIT_LANE_REFUSALS);
        }
        assert_int_equal(audit_outcome_of(REASON_FETCHES_SPENT), AUDIT_REFUSED);
        assert_int_equal(audit_outcome_of(REASON_BREAKER_OPEN), AUDIT_FAILED);
}

static void times(void **state)
{
        static const struct {
                int64_t wall_ms;
                const char *text;
        } cases[] = {
                {0, "1970-01-01T00:00:00.000Z"},
                {-1, "1970-01-01T00:00:00.000Z"},
                {1, "1970-01-01T00:00:00.001Z"},
                {INT64_C(951782399999), "2000-02-28T23:59:59.999Z"},
                {INT64_C(951782400000), "2000-02-29T00:00:00.000Z"},
        };
        const struct audit_decision decision = {.reason = REASON_NOT_PERMITTED};

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct audit_record *record = make(&decision, AUDIT_SUBJECTS_CLEAR);

                record->wall_ms = cases[i].wall_ms;
                render(record, false);
                assert_string_equal(journal_field(&journal, "EGAIN_TIME"), cases[i].text);
                audit_record_free(record);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_grant_as_json),
                cmocka_unit_test(a_refusal_of_somebody_unknown_as_json),
                cmocka_unit_test(of_a_peer_over_tcp_the_uid_alone_is_known),
                cmocka_unit_test(a_grant_for_the_journal),
                cmocka_unit_test(refusals_purges_and_losses_for_the_journal),
                cmocka_unit_test(nasty_bytes_come_back_as_they_should),
                cmocka_unit_test(a_nul_ends_nothing),
                cmocka_unit_test(random_bytes_make_valid_records),
                cmocka_unit_test(subjects_are_clear_or_digests_never_both),
                cmocka_unit_test(digests_depend_on_key_kind_and_subject),
                cmocka_unit_test(a_token_is_named_by_a_fingerprint_worked_out_once),
                cmocka_unit_test(a_refusal_names_no_token),
                cmocka_unit_test(what_is_too_long_is_cut_and_marked),
                cmocka_unit_test(no_character_is_cut_in_two),
                cmocka_unit_test(the_worst_record_fits),
                cmocka_unit_test(every_reason_has_an_outcome),
                cmocka_unit_test(times),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
