/* SPDX-License-Identifier: MIT */

/*
 * What is recorded, what is folded and what is dropped, by a clock of the test's. The journal is
 * played by the test; where it is missing, records wait in the queue, and nothing leaves it.
 */

#include "audit-helpers.h"

#include <fcntl.h>
#include <unistd.h>

#include "../../daemon/audit-fold.h"
#include "../../daemon/audit-refusals.h"
#include "../../lib/timerheap.h"

#define WINDOW_MS UINT64_C(60000)

/* Time of day at the test's time 0: 2026-11-22T14:50:00Z. */
#define WALL_MS INT64_C(1795359000000)

static struct journal journal;
static struct audit *audit;
static struct token *token;
static struct audit_counters counters;
static struct audit_config config;

static const struct peer crm = {
        .known = true, .uid = 1001, .pid = 4242, .unit = (char *)"crm-sync.service"};

static int set_up(void **state)
{
        (void)state;
        folder_make();
        token = make_token("the-token");
        config = (struct audit_config){.fold_ms = WINDOW_MS, .max_records = 1000};
        journal.fd = -1;
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        audit_free(audit);
        audit = NULL;
        if (journal.fd >= 0)
                close(journal.fd);
        token_unref(token);
        folder_remove();
        return 0;
}

static void start(void)
{
        assert_int_equal(audit_new_with_journal(&audit, &config, folder_path("journal")), 0);
}

static void start_with_journal(void)
{
        journal_open(&journal, folder_path("journal"));
        start();
}

static void journal_comes(void)
{
        journal_open(&journal, folder_path("journal"));
}

static struct audit_decision a_hit(void)
{
        return (struct audit_decision){
                .token = token,
                .cache_status = CACHE_STATUS_HIT,
                .peer = &crm,
                .rule = "crm",
                .client = "portal",
                .has_subject = true,
                .subject = TEXT("pa"),
                .scope = TEXT("read"),
        };
}

static struct audit_decision a_miss(void)
{
        struct audit_decision decision = a_hit();

        decision.cache_status = CACHE_STATUS_FWD_MISS;
        return decision;
}

static struct audit_decision a_refusal(enum reason reason)
{
        struct audit_decision decision = a_hit();

        decision.token = NULL;
        decision.reason = reason;
        return decision;
}

static int decide(struct audit_decision decision, uint64_t now_ms)
{
        return audit_decide(audit, &decision, now_ms, WALL_MS + (int64_t)now_ms);
}

static void tick(uint64_t now_ms)
{
        audit_tick(audit, now_ms, WALL_MS + (int64_t)now_ms);
}

static const struct audit_counters *count(void)
{
        audit_get_counters(audit, &counters);
        return &counters;
}

static void expect_field(const char *name, const char *expected)
{
        const char *value = journal_field(&journal, name);

        if (!expected) {
                assert_null(value);
                return;
        }
        assert_non_null(value);
        assert_string_equal(value, expected);
}

/* The next record is about this subject, and counts so many. */
static void expect_record(const char *subject, const char *n)
{
        journal_receive(&journal);
        expect_field("EGAIN_SUBJECT", subject);
        expect_field("EGAIN_COUNT", n);
}

/* All that was queued has been written, and the test has read it all. */
static void expect_nothing_more(void)
{
        wait_until(count()->queued == 0);
        assert_true(journal_is_empty(&journal));
}

static void misses_are_recorded_at_once_each(void **state)
{
        struct audit_decision miss = a_miss();

        (void)state;
        start_with_journal();
        miss.collapsed = true;
        assert_int_equal(decide(a_miss(), 1000), 0);
        assert_int_equal(decide(miss, 1001), 0);
        expect_record("pa", "1");
        expect_field("EGAIN_TIME", "2026-11-22T14:50:01.000Z");
        expect_field("EGAIN_CACHE", "miss");
        expect_field("EGAIN_COLLAPSED", "0");
        expect_field("EGAIN_SINCE", NULL);
        expect_record("pa", "1");
        expect_field("EGAIN_COLLAPSED", "1");
        expect_nothing_more();
        assert_int_equal(count()->grants, 2);
        assert_int_equal(count()->folded, 0);
}

static void hits_fold_into_one_record_per_window(void **state)
{
        struct peer later = crm;
        struct audit_decision hit = a_hit();

        (void)state;
        later.pid = 4343;
        hit.peer = &later;
        start_with_journal();
        assert_int_equal(audit_next_tick_ms(audit), TIMERHEAP_NEVER);
        for (uint64_t s = 1; s < 5; s++)
                assert_int_equal(decide(a_hit(), s * 1000), 0);
        assert_int_equal(decide(hit, 60999), 0);
        tick(60999);
        assert_int_equal(audit_next_tick_ms(audit), 61000);
        expect_nothing_more();
        tick(61000);
        expect_record("pa", "5");
        expect_field("EGAIN_SINCE", "2026-11-22T14:50:01.000Z");
        expect_field("EGAIN_TIME", "2026-11-22T14:51:00.999Z");
        expect_field("EGAIN_PID", "4343");
        expect_field("EGAIN_CACHE", "hit");
        expect_nothing_more();
        assert_int_equal(count()->grants, 1);
        assert_int_equal(count()->folded, 4);
}

static void a_hit_after_the_window_begins_another(void **state)
{
        (void)state;
        start_with_journal();
        (void)decide(a_hit(), 0);
        (void)decide(a_hit(), WINDOW_MS - 1);
        (void)decide(a_hit(), WINDOW_MS); /* no tick in between */
        expect_record("pa", "2");
        expect_nothing_more();
        tick(2 * WINDOW_MS);
        expect_record("pa", "1");
        expect_field("EGAIN_SINCE", NULL);
        expect_field("EGAIN_TIME", "2026-11-22T14:51:00.000Z");
        expect_nothing_more();
}

/* Each differs from all others in one thing; the last ones in where one text ends. */
static void hits_that_differ_never_fold(void **state)
{
        enum { N = 17 };
        struct peer peers[N];
        struct audit_decision hits[N];
        struct token *other = make_token("another-token");

        (void)state;
        start_with_journal();
        for (int i = 0; i < N; i++) {
                peers[i] = crm;
                hits[i] = a_hit();
                hits[i].peer = &peers[i];
        }
        peers[1].uid = 1002;
        peers[2].unit = (char *)"other.service";
        peers[3].unit = NULL;
        peers[4].known = false;
        hits[5].rule = "ops";
        hits[6].rule = NULL;
        hits[7].client = "kiosk";
        hits[8].subject_kind = SUBJECT_USERID;
        hits[9].subject = TEXT("pb");
        hits[10].scope = TEXT("write");
        hits[11].token = other;
        hits[12].detail = REASON_ISSUER_TIMEOUT;
        hits[13].detail = REASON_ISSUER_CUT;
        hits[14].rule = "crmp";
        hits[14].client = "ortal";
        hits[15].rule = "";
        hits[16].subject = (struct text){"p", 1};
        hits[16].scope = TEXT("aread");
        for (int round = 0; round < 3; round++)
                for (int i = 0; i < N; i++)
                        (void)decide(hits[i], 0);
        assert_int_equal(count()->folded, 2 * N);
        tick(WINDOW_MS);
        for (int i = 0; i < N; i++) {
                journal_receive(&journal);
                expect_field("EGAIN_COUNT", "3");
        }
        expect_nothing_more();
        token_unref(other);
}

static void pids_fold(void **state)
{
        struct peer other = crm;
        struct audit_decision hit = a_hit();

        (void)state;
        start();
        other.pid = 1;
        hit.peer = &other;
        (void)decide(a_hit(), 0);
        (void)decide(hit, 0);
        assert_int_equal(count()->folded, 1);
}

static void old_tokens_of_an_outage_fold_those_of_a_fetch_do_not(void **state)
{
        struct audit_decision old = a_hit(), repeated = a_hit();

        (void)state;
        start_with_journal();
        old.cache_status = CACHE_STATUS_FWD_STALE;
        old.detail = REASON_BREAKER_OPEN;
        repeated.cache_status = CACHE_STATUS_FWD_REQUEST;
        repeated.detail = REASON_REPEATED_TOKEN;
        for (int i = 0; i < 3; i++) {
                (void)decide(old, 0);
                (void)decide(repeated, 0);
                expect_record("pa", "1");
                expect_field("EGAIN_REASON", "issuer_repeats_token");
        }
        expect_nothing_more();
        tick(WINDOW_MS);
        expect_record("pa", "3");
        expect_field("EGAIN_REASON", "breaker_open");
        expect_field("EGAIN_CACHE", "stale");
        expect_nothing_more();
}

static void lists_and_purges_are_recorded_each(void **state)
{
        struct audit_decision list = {.action = AUDIT_ACTION_LIST, .peer = &crm, .count = 100};
        struct audit_decision purge = {.action = AUDIT_ACTION_PURGE, .peer = &crm, .count = 0};

        (void)state;
        start_with_journal();
        for (int i = 0; i < 2; i++) {
                (void)decide(list, 0);
                expect_record(NULL, "100");
                expect_field("EGAIN_ACTION", "list");
                (void)decide(purge, 0);
                expect_record(NULL, "0");
                expect_field("EGAIN_ACTION", "purge");
        }
        expect_nothing_more();
        assert_int_equal(count()->grants, 4);
}

static void what_would_be_cut_is_not_folded(void **state)
{
        static char name[AUDIT_NAME_MAX_BYTES + 2];
        struct audit_decision hit = a_hit();

        (void)state;
        start_with_journal();
        memset(name, 'n', sizeof(name) - 1);
        hit.rule = name + 1;
        (void)decide(hit, 0);
        (void)decide(hit, 0);
        assert_int_equal(count()->folded, 1);
        hit.rule = name;
        (void)decide(hit, 0);
        (void)decide(hit, 0);
        expect_record("pa", "1");
        expect_record("pa", "1");
        expect_nothing_more();
        assert_int_equal(count()->folded, 1);
}

static void nothing_is_folded_without_a_window(void **state)
{
        (void)state;
        config.fold_ms = 0;
        start_with_journal();
        (void)decide(a_hit(), 0);
        (void)decide(a_hit(), 0);
        expect_record("pa", "1");
        expect_record("pa", "1");
        expect_nothing_more();
}

static void subject_number(struct audit_decision *decision, char buffer[static 16], unsigned int i)
{
        (void)snprintf(buffer, 16, "%u", i);
        decision->subject = TEXT(buffer);
}

static void the_fold_table_pushes_out_its_oldest(void **state)
{
        struct audit_decision hit = a_hit();
        char subject[16];

        (void)state;
        start_with_journal();
        for (unsigned int round = 0; round < 2; round++) {
                for (unsigned int i = 0; i < AUDIT_FOLD_MAX; i++) {
                        subject_number(&hit, subject, i);
                        (void)decide(hit, i);
                }
        }
        expect_nothing_more();
        assert_int_equal(count()->grants, 0);
        assert_int_equal(count()->folded, AUDIT_FOLD_MAX);
        for (unsigned int i = 0; i < 3; i++) {
                char oldest[16];

                subject_number(&hit, subject, AUDIT_FOLD_MAX + i);
                (void)decide(hit, AUDIT_FOLD_MAX);
                (void)snprintf(oldest, sizeof(oldest), "%u", i);
                expect_record(oldest, "2");
        }
        expect_nothing_more();
        subject_number(&hit, subject, 3); /* still there */
        (void)decide(hit, AUDIT_FOLD_MAX);
        assert_int_equal(count()->folded, AUDIT_FOLD_MAX + 1);
        expect_nothing_more();
}

static struct audit_record *a_record(void)
{
        struct audit_record *record;

        assert_int_equal(audit_record_new_dropped(&record, AUDIT_LANE_GRANTS, 1, 0, 0), 0);
        return record;
}

static void keys_of_equal_hash_are_told_apart_by_their_bytes(void **state)
{
        enum { N = 4 };
        static struct audit_fold_key keys[N];
        struct audit_record *records[N];
        struct audit_fold fold;

        (void)state;
        assert_int_equal(audit_fold_init(&fold, WINDOW_MS), 0);
        for (int i = 0; i < N; i++) {
                static const char *const subjects[N] = {"pa", "pb", "p", "pab"};
                struct audit_decision hit = a_hit();

                hit.subject = TEXT(subjects[i]);
                assert_true(audit_fold_key_make(&fold, &keys[i], &hit));
                keys[i].hash = 5;
                assert_null(audit_fold_find(&fold, &keys[i]));
                records[i] = a_record();
                assert_int_equal(audit_fold_add(&fold, &keys[i], records[i], 0), 0);
        }
        for (int i = 0; i < N; i++)
                assert_ptr_equal(audit_fold_find(&fold, &keys[i]), records[i]);
        assert_ptr_equal(audit_fold_take(&fold), records[0]);
        audit_record_free(records[0]);
        assert_null(audit_fold_find(&fold, &keys[0]));
        for (int i = 1; i < N; i++)
                assert_ptr_equal(audit_fold_find(&fold, &keys[i]), records[i]);
        audit_fold_deinit(&fold);
        audit_fold_deinit(&fold); /* harmless twice */
}

static void long_keys_are_told_apart_by_their_last_byte(void **state)
{
        enum { N = 3 };
        static char subject[AUDIT_SUBJECT_MAX_BYTES + 1];
        static struct audit_fold_key keys[N];
        struct audit_record *records[N];
        struct audit_fold fold;

        (void)state;
        memset(subject, 's', AUDIT_SUBJECT_MAX_BYTES);
        assert_int_equal(audit_fold_init(&fold, WINDOW_MS), 0);
        for (int i = 0; i < N; i++) {
                struct audit_decision hit = a_hit();

                subject[AUDIT_SUBJECT_MAX_BYTES - 1] = (char)('a' + i);
                hit.subject = (struct text){subject, AUDIT_SUBJECT_MAX_BYTES};
                assert_true(audit_fold_key_make(&fold, &keys[i], &hit));
                keys[i].hash = 5;
                records[i] = a_record();
                assert_int_equal(audit_fold_add(&fold, &keys[i], records[i], 0), 0);
        }
        for (int i = 0; i < N; i++)
                assert_ptr_equal(audit_fold_find(&fold, &keys[i]), records[i]);
        audit_record_free(audit_fold_take(&fold));
        assert_null(audit_fold_find(&fold, &keys[0]));
        assert_ptr_equal(audit_fold_find(&fold, &keys[1]), records[1]);
        audit_fold_deinit(&fold);
}

/* One of a thousand hashes, so that chains are long. */
static struct audit_fold_key *numbered_key(const struct audit_fold *fold, unsigned int i)
{
        static struct audit_fold_key key;
        struct audit_decision hit = a_hit();
        char subject[16];

        subject_number(&hit, subject, i);
        assert_true(audit_fold_key_make(fold, &key, &hit));
        key.hash = i % 1000;
        return &key;
}

/* Those that stay are found when the ring has gone round. */
static void the_fold_table_goes_round(void **state)
{
        enum { N = 2 * AUDIT_FOLD_MAX + 1 };
        struct audit_fold fold;

        (void)state;
        assert_int_equal(audit_fold_init(&fold, WINDOW_MS), 0);
        for (unsigned int i = 0; i < N; i++) {
                if (fold.n == AUDIT_FOLD_MAX)
                        audit_record_free(audit_fold_take(&fold));
                assert_int_equal(audit_fold_add(&fold, numbered_key(&fold, i), a_record(), i), 0);
        }
        for (unsigned int i = 0; i < N; i++)
                assert_int_equal(audit_fold_find(&fold, numbered_key(&fold, i)) != NULL,
                                 i >= N - AUDIT_FOLD_MAX);
        assert_int_equal(audit_fold_next_ms(&fold), N - AUDIT_FOLD_MAX + WINDOW_MS);
        audit_fold_deinit(&fold);
}

static void the_fold_table_is_bounded_by_itself(void **state)
{
        static struct audit_fold_key key;
        struct audit_decision hit = a_hit();
        struct audit_record *left_over = a_record();
        struct audit_fold fold;
        char subject[16];

        (void)state;
        assert_int_equal(audit_fold_init(&fold, WINDOW_MS), 0);
        for (unsigned int i = 0; i <= AUDIT_FOLD_MAX; i++) {
                subject_number(&hit, subject, i);
                assert_true(audit_fold_key_make(&fold, &key, &hit));
                if (i < AUDIT_FOLD_MAX)
                        assert_int_equal(audit_fold_add(&fold, &key, a_record(), i), 0);
        }
        assert_int_equal(audit_fold_add(&fold, &key, left_over, 0), AUDIT_FOLD_E_FULL);
        audit_record_free(audit_fold_take(&fold));
        assert_int_equal(audit_fold_next_ms(&fold), WINDOW_MS + 1);
        assert_int_equal(audit_fold_add(&fold, &key, left_over, 0), 0);
        audit_fold_deinit(&fold);
}

/* `n` refusals of a uid; each that is recorded must arrive. */
static void refuse_and_expect(struct audit_decision refusal, uid_t uid, unsigned int n,
                              unsigned int recorded, uint64_t now_ms)
{
        struct peer peer = {.known = uid != (uid_t)-1, .uid = uid, .pid = 5};

        refusal.peer = &peer;
        for (unsigned int i = 0; i < n; i++) {
                assert_int_equal(decide(refusal, now_ms), 0);
                if (i < recorded)
                        expect_record("pa", "1");
        }
        expect_nothing_more();
}

static void refusals_beyond_the_first_few_fold(void **state)
{
        const struct audit_decision refusal = a_refusal(REASON_SUBJECT_NOT_PERMITTED);

        (void)state;
        start_with_journal();
        refuse_and_expect(refusal, 7, AUDIT_REFUSALS_EACH, AUDIT_REFUSALS_EACH, 0);
        assert_int_equal(count()->folded, 0);
        refuse_and_expect(refusal, 7, 1, 0, 1000);
        refuse_and_expect(refusal, 7, 5, 0, 2000);
        assert_int_equal(count()->folded, 6);
        assert_int_equal(count()->refusals, AUDIT_REFUSALS_EACH);
        assert_int_equal(count()->grants, 0);
        tick(WINDOW_MS - 1);
        expect_nothing_more();
        assert_int_equal(audit_next_tick_ms(audit), WINDOW_MS);
        tick(WINDOW_MS);
        expect_record(NULL, "6");
        expect_field("EGAIN_UID", "7");
        expect_field("EGAIN_PID", "5");
        expect_field("EGAIN_RULE", NULL);
        expect_field("EGAIN_OUTCOME", "refused");
        expect_field("EGAIN_REASON", "subject_not_permitted");
        expect_field("EGAIN_SINCE", "2026-11-22T14:50:01.000Z");
        expect_field("EGAIN_TIME", "2026-11-22T14:50:02.000Z");
        expect_nothing_more();
        refuse_and_expect(refusal, 7, AUDIT_REFUSALS_EACH + 1, AUDIT_REFUSALS_EACH, WINDOW_MS);
        tick(2 * WINDOW_MS);
        expect_record(NULL, "1");
        expect_nothing_more();
}

static void each_uid_and_reason_has_its_first_few(void **state)
{
        const struct audit_decision refusal = a_refusal(REASON_SUBJECT_NOT_PERMITTED);

        (void)state;
        start_with_journal();
        refuse_and_expect(refusal, 7, 20, AUDIT_REFUSALS_EACH, 0);
        refuse_and_expect(refusal, 8, 20, AUDIT_REFUSALS_EACH, 0);
        refuse_and_expect(a_refusal(REASON_BAD_KEY), 7, 20, AUDIT_REFUSALS_EACH, 0);
        refuse_and_expect(a_refusal(REASON_ISSUER_TIMEOUT), 7, 20, AUDIT_REFUSALS_EACH, 0);
        refuse_and_expect(refusal, 0, 20, AUDIT_REFUSALS_EACH, 0);
        /* who is not known is nobody in particular, and not root */
        refuse_and_expect(refusal, (uid_t)-1, 20, AUDIT_REFUSALS_EACH, 0);
        refuse_and_expect(refusal, (uid_t)-1, 20, 0, 0);
        tick(WINDOW_MS);
        for (int i = 0; i < 5; i++) {
                expect_record(NULL, "10");
                assert_non_null(journal_field(&journal, "EGAIN_UID"));
        }
        expect_record(NULL, "30");
        expect_field("EGAIN_UID", NULL);
        expect_nothing_more();
}

static void few_refusals_make_no_summary(void **state)
{
        (void)state;
        start_with_journal();
        refuse_and_expect(a_refusal(REASON_BAD_KEY), 7, 3, 3, 0);
        tick(WINDOW_MS);
        expect_nothing_more();
        assert_int_equal(count()->refusals, 3);
        tick(2 * WINDOW_MS);
        assert_int_equal(audit_next_tick_ms(audit), TIMERHEAP_NEVER);
}

static void refusals_fold_by_the_minute_where_hits_do_not(void **state)
{
        (void)state;
        config.fold_ms = 0;
        start_with_journal();
        refuse_and_expect(a_refusal(REASON_BAD_KEY), 7, 20, AUDIT_REFUSALS_EACH, 0);
        tick(59999);
        expect_nothing_more();
        tick(60000);
        expect_record(NULL, "10");
        expect_nothing_more();
}

static void the_table_of_refusals_is_bounded(void **state)
{
        struct audit_decision refusal = a_refusal(REASON_NOT_PERMITTED);
        struct peer peer = {.known = true};

        (void)state;
        config.max_records = (size_t)2 * AUDIT_REFUSALS_MAX;
        start();
        refusal.peer = &peer;
        for (peer.uid = 0; peer.uid < AUDIT_REFUSALS_MAX; peer.uid++)
                (void)decide(refusal, 0);
        assert_int_equal(count()->refusals, AUDIT_REFUSALS_MAX);
        assert_int_equal(count()->dropped_refusals, 0);
        (void)decide(refusal, 0);
        assert_int_equal(count()->refusals, AUDIT_REFUSALS_MAX);
        assert_int_equal(count()->dropped_refusals, 1);
        peer.uid = 0; /* who is in it is not touched */
        (void)decide(refusal, 0);
        assert_int_equal(count()->refusals, AUDIT_REFUSALS_MAX + 1);
        peer.uid = AUDIT_REFUSALS_MAX; /* and there is room again after the window */
        (void)decide(refusal, WINDOW_MS);
        assert_int_equal(count()->refusals, AUDIT_REFUSALS_MAX + 2);
        assert_int_equal(count()->dropped_refusals, 1);
}

static void each_queue_is_bounded_and_drops_are_told_later(void **state)
{
        (void)state;
        config.max_records = 4;
        start();
        for (unsigned int i = 0; i < 7; i++) {
                (void)decide(a_miss(), i);
                assert_int_equal(count()->grants, i < 4 ? i + 1 : 4);
                assert_int_equal(count()->dropped_grants, i < 4 ? 0 : i - 3);
        }
        assert_int_equal(count()->queued, 4);
        for (unsigned int i = 0; i < 6; i++)
                (void)decide(a_refusal(REASON_BAD_KEY), 10 + i);
        assert_int_equal(count()->refusals, 4);
        assert_int_equal(count()->dropped_refusals, 2);
        assert_int_equal(count()->queued, 8);
        tick(1000); /* no room to tell it */
        assert_int_equal(count()->queued, 8);
        assert_int_equal(audit_next_tick_ms(audit), 2000);

        journal_comes();
        for (int i = 0; i < 4; i++) {
                expect_record("pa", "1");
                expect_field("EGAIN_OUTCOME", "granted");
        }
        for (int i = 0; i < 4; i++) {
                expect_record("pa", "1");
                expect_field("EGAIN_OUTCOME", "refused");
        }
        expect_nothing_more();
        tick(2000);
        for (int lane = 0; lane < 2; lane++) {
                expect_record(NULL, lane == 0 ? "3" : "2");
                expect_field("EGAIN_OUTCOME", "dropped");
                expect_field("EGAIN_QUEUE", lane == 0 ? "grants" : "refusals");
                expect_field("EGAIN_SINCE",
                             lane == 0 ? "2026-11-22T14:50:00.004Z" : "2026-11-22T14:50:00.014Z");
                expect_field("EGAIN_TIME",
                             lane == 0 ? "2026-11-22T14:50:00.006Z" : "2026-11-22T14:50:00.015Z");
        }
        tick(3000);
        expect_nothing_more(); /* told once */
        tick(70000);
        expect_nothing_more();
        tick(80000);
        assert_int_equal(audit_next_tick_ms(audit), TIMERHEAP_NEVER);
}

/* A place that comes free is for the next decision, not for a word about the last. */
static void losses_are_told_once_half_the_queue_is_free(void **state)
{
        struct audit_decision refusal = a_refusal(REASON_NOT_PERMITTED);
        struct peer peer = {.known = true};

        (void)state;
        refusal.peer = &peer;
        for (size_t spare = 0; spare < 2; spare++) {
                config.max_records = (size_t)2 * AUDIT_REFUSALS_MAX - 1 + spare;
                start();
                for (peer.uid = 0; peer.uid <= AUDIT_REFUSALS_MAX; peer.uid++)
                        (void)decide(refusal, 0);
                assert_int_equal(count()->dropped_refusals, 1);
                assert_int_equal(count()->queued, AUDIT_REFUSALS_MAX);
                tick(1000);
                assert_int_equal(count()->queued, AUDIT_REFUSALS_MAX + spare);
                audit_free(audit);
                audit = NULL;
        }
}

static void a_flood_of_refusals_drops_no_grants_record(void **state)
{
        enum { GRANTS = 50 };
        struct peer peer = {.known = true};
        char subject[16];

        (void)state;
        config.max_records = GRANTS;
        start();
        for (unsigned int i = 0; i < GRANTS; i++) {
                struct audit_decision refusal = a_refusal(REASON_NOT_PERMITTED);
                struct audit_decision miss = a_miss();

                refusal.peer = &peer;
                for (unsigned int k = 0; k < 1000; k++) {
                        peer.uid = k % 100;
                        (void)decide(refusal, i);
                }
                subject_number(&miss, subject, i);
                (void)decide(miss, i);
        }
        assert_int_equal(count()->grants, GRANTS);
        assert_int_equal(count()->dropped_grants, 0);
        assert_int_equal(count()->refusals, GRANTS);
        assert_true(count()->dropped_refusals > 0);
        assert_int_equal(count()->refusals + count()->dropped_refusals + count()->folded,
                         1000 * GRANTS);
        journal_comes();
        for (unsigned int i = 0, seen = 0; seen < GRANTS; i++) {
                journal_receive(&journal);
                /* At most the one that was in the writer's hands comes before. */
                if (strcmp(journal_field(&journal, "EGAIN_OUTCOME"), "granted") != 0) {
                        assert_int_equal(i, 0);
                        continue;
                }
                (void)snprintf(subject, sizeof(subject), "%u", seen++);
                expect_field("EGAIN_SUBJECT", subject);
        }
        for (unsigned int i = 0; i < GRANTS - 1; i++)
                journal_receive(&journal);
        wait_until(count()->queued == 0);
}

static void what_is_folded_waits_for_room(void **state)
{
        (void)state;
        config.max_records = 1;
        start();
        (void)decide(a_miss(), 0);
        for (int i = 0; i < 20; i++) {
                (void)decide(a_hit(), 0);
                (void)decide(a_refusal(REASON_BAD_KEY), 0);
        }
        assert_int_equal(count()->dropped_refusals, AUDIT_REFUSALS_EACH - 1);
        tick(WINDOW_MS);
        assert_int_equal(audit_next_tick_ms(audit), WINDOW_MS + 1000);
        (void)decide(a_hit(), WINDOW_MS + 1); /* still counted into the same one */
        tick(WINDOW_MS + 1000);
        assert_int_equal(count()->dropped_grants, 0);
        journal_comes();
        expect_record("pa", "1");
        expect_record("pa", "1");
        expect_nothing_more();
        tick(WINDOW_MS + 2000);
        expect_record("pa", "21");
        expect_record(NULL, "10");
        wait_until(count()->queued == 0);
        assert_int_equal(count()->dropped_grants, 0);
}

static void required_folds_nothing(void **state)
{
        (void)state;
        config.required = true;
        start_with_journal();
        for (int i = 0; i < 3 * AUDIT_REFUSALS_EACH; i++) {
                assert_int_equal(decide(a_hit(), 0), 0);
                expect_record("pa", "1");
                assert_int_equal(decide(a_refusal(REASON_BAD_KEY), 0), 0);
                expect_record("pa", "1");
        }
        expect_nothing_more();
        assert_int_equal(count()->folded, 0);
}

static void required_withholds_tokens_without_room_for_their_records(void **state)
{
        const struct audit_decision purge = {.action = AUDIT_ACTION_PURGE, .peer = &crm};

        (void)state;
        config.required = true;
        config.max_records = 2;
        start();
        assert_int_equal(decide(a_miss(), 0), 0);
        assert_int_equal(decide(a_hit(), 0), 0);
        assert_int_equal(decide(a_hit(), 0), AUDIT_E_FULL);
        assert_int_equal(decide(a_miss(), 0), AUDIT_E_FULL);
        assert_int_equal(decide(a_hit(), 0), AUDIT_E_FULL);
        assert_int_equal(count()->withheld, 3);
        assert_int_equal(count()->dropped_grants, 0);
        assert_int_equal(count()->refusals, 2); /* "audit_full", of which there is no room for 3 */
        assert_int_equal(count()->dropped_refusals, 1);
        /* what lets no token out does not depend on it */
        assert_int_equal(decide(a_refusal(REASON_BAD_KEY), 0), 0);
        assert_int_equal(count()->dropped_refusals, 2);
        assert_int_equal(decide(purge, 0), 0);
        assert_int_equal(count()->dropped_grants, 1);
        journal_comes();
        for (int i = 0; i < 4; i++) {
                expect_record("pa", "1");
                expect_field("EGAIN_REASON", i < 2 ? NULL : "audit_full");
                assert_int_equal(!journal_field(&journal, "EGAIN_TOKEN"), i >= 2);
        }
        wait_until(count()->queued == 0);
        assert_int_equal(decide(a_hit(), 0), 0);
        assert_int_equal(count()->withheld, 3);
}

static void nothing_is_withheld_unless_required(void **state)
{
        (void)state;
        config.max_records = 1;
        start();
        for (int i = 0; i < 10; i++)
                assert_int_equal(decide(a_miss(), 0), 0);
        assert_int_equal(count()->dropped_grants, 9);
        assert_int_equal(count()->withheld, 0);
}

static void the_end_records_all_that_is_folded(void **state)
{
        struct audit_decision hit = a_hit();
        char subject[16], *lines;

        (void)state;
        /* More than the queue holds. */
        config.max_records = 4;
        config.target = AUDIT_TO_FILE;
        config.file = (char *)folder_path("audit.jsonl");
        start();
        for (unsigned int i = 0; i < 500; i++) {
                subject_number(&hit, subject, i);
                (void)decide(hit, 0);
        }
        for (int i = 0; i < 4; i++)
                (void)decide(a_refusal(REASON_BAD_KEY), 0);
        wait_until(count()->queued == 0);
        for (int i = 4; i < 20; i++) {
                (void)decide(a_refusal(REASON_BAD_KEY), 0);
                wait_until(count()->queued == 0);
        }
        audit_free(audit);
        audit = NULL;
        assert_int_equal(count_lines(config.file), 500 + AUDIT_REFUSALS_EACH + 1);
        lines = read_file(config.file);
        assert_non_null(strstr(lines, "\"reason\":\"bad_key\",\"rule\":null,\"uid\":1001,\"pid\":"
                                      "4242,\"unit\":null,\"client\":null,\"subject_kind\":null,"
                                      "\"subject\":null,\"scope\":null,\"cache\":null,"
                                      "\"collapsed\":false,\"token\":null,\"count\":10,"));
        free(lines);
}

static void the_log_tells_what_is_lost_and_not_too_often(void **state)
{
        const char *const path = folder_path("log");
        char *text;

        (void)state;
        log_capture(path);
        config.max_records = 1;
        start();
        for (unsigned int i = 0; i < 4; i++)
                (void)decide(a_miss(), 0);
        (void)decide(a_refusal(REASON_BAD_KEY), 0);
        (void)decide(a_refusal(REASON_BAD_KEY), 0);
        for (uint64_t s = 1; s <= 10; s++) {
                (void)decide(a_miss(), s * 1000 - 1);
                tick(s * 1000);
        }
        assert_int_equal(count_lines(path), 2);
        tick(11000);
        assert_int_equal(count_lines(path), 3);
        audit_free(audit); /* in bounded time, with two records in the queue and nobody to read */
        audit = NULL;
        log_release();
        text = read_file(path);
        assert_non_null(strstr(text, "warning: audit: there is no journal at /tmp/test-audit-"));
        assert_non_null(strstr(text, "warning: audit: 4 records of grants and 1 of refusals were "
                                     "dropped: there was no room\n"));
        assert_non_null(strstr(text, "warning: audit: 9 records of grants and 0 of refusals were "
                                     "dropped: there was no room\n"));
        assert_non_null(strstr(text, "warning: audit: 2 records could not be written to /tmp/"));
        assert_int_equal(count_lines(path), 4);
        free(text);
}

static void the_log_tells_of_tokens_withheld(void **state)
{
        const char *const path = folder_path("log");
        char *text;

        (void)state;
        log_capture(path);
        config.max_records = 1;
        config.required = true;
        start();
        for (unsigned int i = 0; i < 3; i++)
                (void)decide(a_hit(), 0);
        tick(1000);
        log_release();
        text = read_file(path);
        assert_non_null(strstr(text, "warning: audit: 2 tokens were not handed out: there was no "
                                     "room for their records\n"));
        free(text);
}

static void the_log_tells_when_the_journal_is_back(void **state)
{
        const char *const path = folder_path("log");
        char *text;

        (void)state;
        log_capture(path);
        start();
        (void)decide(a_miss(), 0);
        journal_comes();
        expect_record("pa", "1");
        wait_until(count()->queued == 0);
        tick(1000);
        tick(20000);
        log_release();
        text = read_file(path);
        assert_non_null(strstr(text, "info: audit: records are written to /tmp/test-audit-"));
        assert_int_equal(count_lines(path), 2);
        free(text);
}

static void a_file_that_cannot_be_opened_is_found_at_the_start(void **state)
{
        const char *const path = folder_path("log");
        char *text;

        (void)state;
        log_capture(path);
        config.target = AUDIT_TO_FILE;
        config.file = (char *)"/nowhere/at/all";
        assert_int_equal(audit_new(&audit, &config), AUDIT_E_FAILED);
        config.file = (char *)"/dev/null";
        assert_int_equal(audit_new(&audit, &config), AUDIT_E_FAILED);
        log_release();
        assert_null(audit);
        text = read_file(path);
        assert_string_equal(text, "egain-tokend: error: audit: records cannot be written to "
                                  "/nowhere/at/all: No such file or directory\n"
                                  "egain-tokend: error: audit: records cannot be written to "
                                  "/dev/null: it is not a regular file\n");
        free(text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(misses_are_recorded_at_once_each),
                TEST(hits_fold_into_one_record_per_window),
                TEST(a_hit_after_the_window_begins_another),
                TEST(hits_that_differ_never_fold),
                TEST(pids_fold),
                TEST(old_tokens_of_an_outage_fold_those_of_a_fetch_do_not),
                TEST(lists_and_purges_are_recorded_each),
                TEST(what_would_be_cut_is_not_folded),
                TEST(nothing_is_folded_without_a_window),
                TEST(the_fold_table_pushes_out_its_oldest),
                TEST(keys_of_equal_hash_are_told_apart_by_their_bytes),
                TEST(long_keys_are_told_apart_by_their_last_byte),
                TEST(the_fold_table_goes_round),
                TEST(the_fold_table_is_bounded_by_itself),
                TEST(refusals_beyond_the_first_few_fold),
                TEST(each_uid_and_reason_has_its_first_few),
                TEST(few_refusals_make_no_summary),
                TEST(refusals_fold_by_the_minute_where_hits_do_not),
                TEST(the_table_of_refusals_is_bounded),
                TEST(each_queue_is_bounded_and_drops_are_told_later),
                TEST(losses_are_told_once_half_the_queue_is_free),
                TEST(a_flood_of_refusals_drops_no_grants_record),
                TEST(what_is_folded_waits_for_room),
                TEST(required_folds_nothing),
                TEST(required_withholds_tokens_without_room_for_their_records),
                TEST(nothing_is_withheld_unless_required),
                TEST(the_end_records_all_that_is_folded),
                TEST(the_log_tells_what_is_lost_and_not_too_often),
                TEST(the_log_tells_of_tokens_withheld),
                TEST(the_log_tells_when_the_journal_is_back),
                TEST(a_file_that_cannot_be_opened_is_found_at_the_start),
        };
#undef TEST

        return cmocka_run_group_tests(tests, NULL, NULL);
}
