/* SPDX-License-Identifier: MIT */

#include "policy.h"

#include <stdio.h>

#include <openssl/sha.h>

#include "helpers.h"

#define OWN   990
#define CRM   1001
#define BATCH 1002
#define OTHER 1003
#define STAFF 500

static gid_t staff_first[] = {STAFF, 10, 11};
static gid_t staff_last[] = {10, 11, STAFF};
static gid_t no_staff[] = {10, 11};

static struct peer peer_of(uid_t uid)
{
        return (struct peer){.known = true, .uid = uid, .pid = 7};
}

static struct request_keys keys_of(const char *a, const char *b)
{
        struct request_keys keys = {};

        if (a)
                SHA256((const unsigned char *)a, strlen(a), keys.sha256[keys.n++]);
        if (b)
                SHA256((const unsigned char *)b, strlen(b), keys.sha256[keys.n++]);
        return keys;
}

static struct rule with_key(struct rule rule, const char *key)
{
        rule.has_key = true;
        SHA256((const unsigned char *)key, strlen(key), rule.key_sha256);
        return rule;
}

static struct rule for_user(uid_t uid)
{
        return (struct rule){.name = (char *)"rule", .user = (char *)"user", .uid = uid};
}

/* Which of the rules is selected, or (negative) minus the reason why none is. */
static int choose(struct rule *rules, size_t n, const struct peer *peer,
                  const struct request_keys *keys)
{
        const struct policy policy = {.rules = rules, .n_rules = n, .own_uid = OWN};
        const struct rule *untouched = rules + n, *rule = untouched;
        int r;

        r = policy_select(&policy, peer, keys, &rule);
        if (r) {
                assert_ptr_equal(rule, untouched);
                return -r;
        }
        return (int)(rule - rules);
}

static void without_rules_root_and_our_own_user_are_served_and_nobody_else(void **state)
{
        static const uid_t strangers[] = {1, OWN - 1, OWN + 1, 1000, 65534, (uid_t)-1};
        const struct policy policy = {.own_uid = OWN};
        const struct rule *rule;

        (void)state;
        for (int tcp = 0; tcp < 2; tcp++) {
                struct peer peer = peer_of(OWN);

                peer.tcp = tcp;
                assert_int_equal(policy_select(&policy, &peer, NULL, &rule), 0);
                assert_int_equal(policy_check_client(rule, 77), 0);
                assert_int_equal(policy_check_subject(rule, SUBJECT_EMAIL, TEXT("x")), 0);
                assert_int_equal(policy_check_scope(rule, TEXT("any thing")), 0);
                assert_true(policy_covers_scope(rule, TEXT("x y")));
                assert_int_equal(rule->fetches.count, 0); /* no limit */
                peer.uid = 0;
                rule = NULL;
                assert_int_equal(policy_select(&policy, &peer, NULL, &rule),
                                 tcp ? REASON_NOT_PERMITTED : 0);
                assert_true(tcp == !rule);
                for (size_t i = 0; i < N_OF(strangers); i++) {
                        peer.uid = strangers[i];
                        rule = NULL;
                        assert_int_equal(policy_select(&policy, &peer, NULL, &rule),
                                         REASON_NOT_PERMITTED);
                        assert_null(rule);
                }
        }
}

/* A peer nobody could name has uid 0 in its structure, and must not be taken for root. */
/* Whoever is in the unit of the first rule must not get what the second one gives to others. */
static void a_unit_that_could_not_be_found_out_stops_at_the_first_rule_it_matters_to(void **state)
{
        struct rule rules[] = {for_user(33), for_user(1000), for_user(1000)};
        const struct policy policy = {.rules = rules, .n_rules = N_OF(rules), .own_uid = 990};
        struct peer peer = {.known = true, .starved = true, .uid = 1000};
        const struct rule *rule = NULL;

        (void)state;
        rules[0].unit = (char *)"of-another.service";
        rules[1].unit = (char *)"a.service";
        assert_int_equal(policy_select(&policy, &peer, NULL, &rule), REASON_OUT_OF_MEMORY);
        assert_null(rule);
        assert_int_equal(policy_check_right(&policy, &peer, NULL, RIGHT_MONITOR, NULL),
                         REASON_OUT_OF_MEMORY);
        peer.starved = false;
        assert_int_equal(policy_select(&policy, &peer, NULL, &rule), 0);
        assert_ptr_equal(rule, &rules[2]);
        peer = (struct peer){.starved = true};
        assert_int_equal(policy_select(&policy, &peer, NULL, &rule), REASON_OUT_OF_MEMORY);
        /* No rule that is asked about names a unit. */
        rules[1].unit = NULL;
        peer = (struct peer){.known = true, .starved = true, .uid = 1000};
        assert_int_equal(policy_select(&policy, &peer, NULL, &rule), 0);
        assert_ptr_equal(rule, &rules[1]);
}

static void an_unknown_peer_is_nobody_whatever_the_rules_are(void **state)
{
        struct rule rules[] = {for_user(0), {.unit = (char *)"*"}, {}};
        const struct policy policy = {.rules = rules, .n_rules = N_OF(rules), .own_uid = 0};
        const struct request_keys keys = keys_of("key", NULL);

        (void)state;
        for (int tcp = 0; tcp < 2; tcp++) {
                const struct peer peer = {.tcp = tcp, .unit = (char *)"a.service"};

                assert_int_equal(choose(NULL, 0, &peer, NULL), -REASON_PEER_GONE);
                assert_int_equal(choose(rules, N_OF(rules), &peer, &keys), -REASON_PEER_GONE);
                assert_int_equal(policy_check_right(&policy, &peer, &keys, RIGHT_MONITOR, NULL),
                                 REASON_PEER_GONE);
                assert_int_equal(policy_check_right(&policy, &peer, &keys, RIGHT_ADMIN, NULL),
                                 REASON_PEER_GONE);
        }
}

static void a_user_is_a_uid(void **state)
{
        struct rule rules[] = {for_user(CRM), for_user(BATCH)};
        struct peer peer = peer_of(CRM);

        (void)state;
        assert_int_equal(choose(rules, 2, &peer, NULL), 0);
        peer.tcp = true;
        assert_int_equal(choose(rules, 2, &peer, NULL), 0);
        peer.uid = BATCH;
        assert_int_equal(choose(rules, 2, &peer, NULL), 1);
        peer.uid = OTHER;
        assert_int_equal(choose(rules, 2, &peer, NULL), -REASON_NOT_PERMITTED);
        peer.uid = 0; /* with rules, also root needs one */
        assert_int_equal(choose(rules, 2, &peer, NULL), -REASON_NOT_PERMITTED);
        peer.uid = OWN;
        assert_int_equal(choose(rules, 2, &peer, NULL), -REASON_NOT_PERMITTED);
}

static void a_group_may_be_any_of_the_peers(void **state)
{
        struct rule rules[] = {{.group = (char *)"staff", .gid = STAFF}};
        struct peer peer = peer_of(OTHER);

        (void)state;
        assert_int_equal(choose(rules, 1, &peer, NULL), -REASON_NOT_PERMITTED);
        peer.groups = staff_first;
        peer.n_groups = N_OF(staff_first);
        assert_int_equal(choose(rules, 1, &peer, NULL), 0);
        peer.groups = staff_last;
        assert_int_equal(choose(rules, 1, &peer, NULL), 0);
        peer.n_groups = 2;
        assert_int_equal(choose(rules, 1, &peer, NULL), -REASON_NOT_PERMITTED);
        peer.groups = no_staff;
        assert_int_equal(choose(rules, 1, &peer, NULL), -REASON_NOT_PERMITTED);
        peer = peer_of(STAFF); /* a uid is no gid */
        peer.tcp = true;
        assert_int_equal(choose(rules, 1, &peer, NULL), -REASON_NOT_PERMITTED);
}

static void a_unit_is_a_name_or_any_instance_of_a_template(void **state)
{
        static const struct {
                const char *pattern;
                const char *unit;
                bool holds;
        } cases[] = {
                {"crm.service", "crm.service", true},
                {"crm.service", "crm.service2", false},
                {"crm.service", "xcrm.service", false},
                {"crm.service", "crm@1.service", false},
                {"crm.service", NULL, false},
                {"crm@*.service", "crm@1.service", true},
                {"crm@*.service", "crm@.service", true},
                {"crm@*.service", "crm@a-b.service", true},
                {"crm@*.service", "crm.service", false},
                {"crm@*.service", "crm@1.timer", false},
                {"crm@*.service", NULL, false},
                {"crm@eu-*.service", "crm@eu-1.service", true},
                {"crm@eu-*.service", "crm@us-1.service", false},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                struct rule rule = {.unit = (char *)cases[i].pattern};
                struct peer peer = peer_of(OTHER);

                peer.unit = (char *)cases[i].unit;
                peer.unit_asked = true;
                assert_int_equal(choose(&rule, 1, &peer, NULL),
                                 cases[i].holds ? 0 : -REASON_NOT_PERMITTED);
        }
}

/* Each of eight rules names some of the three conditions; each of eight peers meets some. */
static void all_conditions_that_are_given_must_hold(void **state)
{
        (void)state;
        for (unsigned int named = 1; named < 8; named++) {
                for (unsigned int met = 0; met < 8; met++) {
                        struct rule rule = {
                                .user = named & 1 ? (char *)"crm" : NULL,
                                .uid = CRM,
                                .group = named & 2 ? (char *)"staff" : NULL,
                                .gid = STAFF,
                                .unit = named & 4 ? (char *)"crm.service" : NULL,
                        };
                        struct peer peer = peer_of(met & 1 ? CRM : OTHER);

                        peer.groups = met & 2 ? staff_last : no_staff;
                        peer.n_groups = met & 2 ? N_OF(staff_last) : N_OF(no_staff);
                        peer.unit = met & 4 ? (char *)"crm.service" : (char *)"x.service";
                        assert_int_equal(choose(&rule, 1, &peer, NULL),
                                         (named & ~met) == 0 ? 0 : -REASON_NOT_PERMITTED);
                }
        }
}

static void a_key_narrows_and_only_a_key_that_is_all_that_is_missing_is_called_bad(void **state)
{
        struct rule rules[] = {with_key(for_user(CRM), "one"), with_key(for_user(CRM), "two"),
                               with_key(for_user(BATCH), "three")};
        const struct request_keys one = keys_of("one", NULL), two = keys_of("x", "two");
        const struct request_keys three = keys_of("three", NULL), empty = keys_of("", NULL);
        struct peer peer = peer_of(CRM);

        (void)state;
        assert_int_equal(choose(rules, 3, &peer, &one), 0);
        assert_int_equal(choose(rules, 3, &peer, &two), 1);
        assert_int_equal(choose(rules, 3, &peer, &three), -REASON_BAD_KEY); /* another's */
        assert_int_equal(choose(rules, 3, &peer, &empty), -REASON_BAD_KEY);
        assert_int_equal(choose(rules, 3, &peer, NULL), -REASON_BAD_KEY);
        assert_int_equal(choose(rules, 3, &peer, &(struct request_keys){}), -REASON_BAD_KEY);
        peer.uid = OTHER; /* a key proves nothing alone */
        assert_int_equal(choose(rules, 3, &peer, &one), -REASON_NOT_PERMITTED);

        rules[1] = for_user(CRM); /* for which no key is needed */
        peer.uid = CRM;
        assert_int_equal(choose(rules, 3, &peer, &one), 0);
        assert_int_equal(choose(rules, 3, &peer, &three), 1);
        assert_int_equal(choose(rules, 3, &peer, NULL), 1);
}

static void every_byte_of_a_key_counts(void **state)
{
        struct rule rule = with_key(for_user(CRM), "key");
        struct request_keys keys = keys_of("key", NULL);
        const struct peer peer = peer_of(CRM);

        (void)state;
        for (size_t i = 0; i < REQUEST_SHA256_BYTES; i++) {
                keys.sha256[0][i] ^= 0x10;
                assert_int_equal(choose(&rule, 1, &peer, &keys), -REASON_BAD_KEY);
                keys.sha256[0][i] ^= 0x10;
        }
        assert_int_equal(choose(&rule, 1, &peer, &keys), 0);
        keys.n = 0; /* what is behind the end is not looked at */
        assert_int_equal(choose(&rule, 1, &peer, &keys), -REASON_BAD_KEY);
}

/* Also where a later one would give more. */
static void the_first_rule_that_is_selected_decides_alone(void **state)
{
        size_t clients[] = {0, 1};
        struct rule rules[] = {for_user(CRM), for_user(CRM)};
        const struct policy policy = {.rules = rules, .n_rules = 2, .own_uid = OWN};
        const struct peer peer = peer_of(CRM);
        const struct rule *rule;

        (void)state;
        rules[1].clients = clients;
        rules[1].n_clients = 2;
        rules[1].monitor = rules[1].admin = true;
        assert_int_equal(policy_select(&policy, &peer, NULL, &rule), 0);
        assert_ptr_equal(rule, &rules[0]);
        assert_int_equal(policy_check_client(rule, 0), REASON_CLIENT_NOT_PERMITTED);
        assert_int_equal(policy_check_right(&policy, &peer, NULL, RIGHT_MONITOR, NULL),
                         REASON_MONITOR_NOT_PERMITTED);
        assert_int_equal(policy_check_right(&policy, &peer, NULL, RIGHT_ADMIN, NULL),
                         REASON_ADMIN_NOT_PERMITTED);
}

static void a_rule_gives_nothing_that_it_does_not_name(void **state)
{
        const struct rule rule = for_user(CRM);

        (void)state;
        assert_int_equal(policy_check_client(&rule, 0), REASON_CLIENT_NOT_PERMITTED);
        for (int kind = 0; kind < _SUBJECT_KIND_N; kind++)
                assert_int_equal(policy_check_subject(&rule, kind, TEXT("pa")),
                                 REASON_SUBJECT_NOT_PERMITTED);
        assert_int_equal(policy_check_scope(&rule, TEXT("a")), REASON_SCOPE_NOT_PERMITTED);
        assert_false(policy_gives_scope(&rule, TEXT("a")));
}

static void every_value_of_a_scope_must_be_given(void **state)
{
        char *patterns[] = {(char *)"read", (char *)"core.*"};
        const struct rule rule = {.scopes = patterns, .n_scopes = 2};
        static const struct {
                const char *scope;
                bool given;
        } cases[] = {
                {"read", true},
                {"core.x", true},
                {"core.x core.y read", true},
                {"read write", false},
                {"core.x write", false},
                {"a core.x read", false},
                {"core.x read z", false},
                {"rea", false},
                {"readx", false},
                {"read  core.x", true}, /* as an issuer may write it */
                {" read ", true},
                {"", true},
                {"core.a read core.b  write", false},
                {"core. read", true},
        };

        (void)state;
        for (size_t i = 0; i < N_OF(cases); i++) {
                char *exact = copy_exactly(TEXT(cases[i].scope));
                const struct text text = {exact, strlen(cases[i].scope)};

                assert_int_equal(policy_covers_scope(&rule, text), cases[i].given);
                assert_int_equal(policy_check_scope(&rule, text),
                                 cases[i].given ? 0 : REASON_SCOPE_NOT_PERMITTED);
                free(exact);
        }
        /* A star is not for what stands between two values. */
        assert_false(policy_covers_scope(&rule, TEXT("core.x admin")));
}

static void a_right_of_the_policy_is_one_of_the_rule_and_of_the_listener(void **state)
{
        (void)state;
        for (unsigned int bits = 0; bits < 16; bits++) {
                struct rule rules[] = {with_key(for_user(CRM), "key"), for_user(BATCH)};
                const struct policy policy = {.rules = rules, .n_rules = 2, .own_uid = OWN};
                const struct request_keys keys = keys_of("key", NULL);
                struct peer peer = peer_of(CRM);

                rules[0].monitor = bits & 1;
                rules[0].admin = bits & 2;
                rules[1].monitor = rules[1].admin = true;
                peer.tcp = bits & 4;
                assert_int_equal(policy_check_right(&policy, &peer, &keys, RIGHT_MONITOR, NULL),
                                 bits & 1 ? 0 : REASON_MONITOR_NOT_PERMITTED);
                assert_int_equal(policy_check_right(&policy, &peer, &keys, RIGHT_ADMIN, NULL),
                                 (bits & 2) && !(bits & 4) ? 0 : REASON_ADMIN_NOT_PERMITTED);
                assert_int_equal(policy_check_right(&policy, &peer, NULL, RIGHT_ADMIN, NULL),
                                 REASON_BAD_KEY);
                peer.uid = OTHER;
                assert_int_equal(policy_check_right(&policy, &peer, &keys, RIGHT_MONITOR, NULL),
                                 REASON_NOT_PERMITTED);
                assert_int_equal(policy_check_right(&policy, &peer, &keys, RIGHT_ADMIN, NULL),
                                 REASON_NOT_PERMITTED);
                /* Root and our own user have both on Unix sockets, whatever the rules are. */
                for (int own = 0; own < 2; own++) {
                        const int expected = peer.tcp ? REASON_NOT_PERMITTED : 0;

                        peer.uid = own ? OWN : 0;
                        assert_int_equal(
                                policy_check_right(&policy, &peer, NULL, RIGHT_MONITOR, NULL),
                                expected);
                        assert_int_equal(
                                policy_check_right(&policy, &peer, NULL, RIGHT_ADMIN, NULL),
                                expected);
                }
        }
}

static void without_rules_only_our_own_user_monitors_over_tcp_and_nobody_administers(void **state)
{
        const struct policy policy = {.own_uid = OWN};
        struct peer peer = peer_of(OWN);

        (void)state;
        peer.tcp = true;
        assert_int_equal(policy_check_right(&policy, &peer, NULL, RIGHT_MONITOR, NULL), 0);
        assert_int_equal(policy_check_right(&policy, &peer, NULL, RIGHT_ADMIN, NULL),
                         REASON_ADMIN_NOT_PERMITTED);
        peer.uid = 0;
        assert_int_equal(policy_check_right(&policy, &peer, NULL, RIGHT_MONITOR, NULL),
                         REASON_NOT_PERMITTED);
        peer.tcp = false;
        assert_int_equal(policy_check_right(&policy, &peer, NULL, RIGHT_ADMIN, NULL), 0);
        peer.uid = OTHER;
        assert_int_equal(policy_check_right(&policy, &peer, NULL, RIGHT_MONITOR, NULL),
                         REASON_NOT_PERMITTED);
}

/* One whose right was settled before it asked is judged by that, and only if it is known. */
static void a_peer_may_come_with_the_rule_that_entitles_it(void **state)
{
        struct rule rules[] = {for_user(0)}, nothing = {.name = (char *)"nothing"};
        const struct policy none = {.own_uid = OWN};
        const struct policy policy = {.rules = rules, .n_rules = 1, .own_uid = OWN};
        struct peer peer = peer_of(0);
        const struct rule *rule;

        (void)state;
        peer.entitled_by = &nothing;
        assert_int_equal(policy_select(&policy, &peer, NULL, &rule), 0);
        assert_ptr_equal(rule, &nothing);
        assert_int_equal(policy_select(&none, &peer, NULL, &rule), 0);
        assert_ptr_equal(rule, &nothing);
        peer.known = false;
        assert_int_equal(policy_select(&policy, &peer, NULL, &rule), REASON_PEER_GONE);
}

static void a_policy_knows_whether_it_needs_units_and_keys(void **state)
{
        struct rule rules[] = {for_user(CRM), for_user(BATCH)};
        const struct policy policy = {.rules = rules, .n_rules = 2};

        (void)state;
        assert_false(policy_names_units(&policy));
        assert_false(policy_has_keys(&policy));
        rules[1].unit = (char *)"a.service";
        assert_true(policy_names_units(&policy));
        rules[1] = with_key(for_user(BATCH), "key");
        assert_true(policy_has_keys(&policy));
        assert_false(policy_names_units(&policy));
}

/*
 * The matrix. What is allowed is written a second time, as a table of what each caller can do, made
 * by hand from this policy:
 *
 *   batch: user BATCH, key "k":            client 1, userid:*,             core.*
 *   crm:   user CRM, unit crm@*.service:   client 0, username:pa*,         read core.*
 *   staff: group STAFF:                    clients 0 and 2, username:* and email:*@x,  read
 *   crm2:  user CRM:                       clients 0 to 2, username:root,  *
 */
static char *core[] = {(char *)"core.*"};
static char *read_core[] = {(char *)"read", (char *)"core.*"};
static char *read_only[] = {(char *)"read"};
static char *all_scopes[] = {(char *)"*"};
static size_t client_0[] = {0};
static size_t client_1[] = {1};
static size_t clients_0_2[] = {0, 2};
static size_t clients_all[] = {2, 1, 0};
static struct subject_pattern userids[] = {{SUBJECT_USERID, (char *)"*"}};
static struct subject_pattern pa[] = {{SUBJECT_USERNAME, (char *)"pa*"}};
static struct subject_pattern names_and_mail[] = {{SUBJECT_USERNAME, (char *)"*"},
                                                  {SUBJECT_EMAIL, (char *)"*@x"}};
static struct subject_pattern root_only[] = {{SUBJECT_USERNAME, (char *)"root"}};

#define GIVES(c, s, o)                                                                \
        .clients = (c), .n_clients = N_OF(c), .subjects = (s), .n_subjects = N_OF(s), \
        .scopes = (o), .n_scopes = N_OF(o)

struct matrix_subject {
        enum subject_kind kind;
        const char *subject;
};

static const struct matrix_subject subjects[] = {
        {SUBJECT_USERNAME, "pa"},  {SUBJECT_USERNAME, "paul"}, {SUBJECT_USERNAME, "root"},
        {SUBJECT_USERNAME, "xpa"}, {SUBJECT_USERID, "pa"},     {SUBJECT_USERID, "42"},
        {SUBJECT_EMAIL, "a@x"},    {SUBJECT_EMAIL, "a@xx"},    {SUBJECT_EMAIL, "pa"},
        {SUBJECT_USERNAME, "a@x"},
};

static const char *const scopes[] = {"read",       "core.a", "core.a core.b", "core.a read",
                                     "read write", "write",  "admin core.a",  "core",
                                     "core.*",     "READ"};

static bool begins(const char *text, const char *with)
{
        return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
        const size_t size = strlen(text), with_size = strlen(with);

        return size >= with_size && strcmp(text + size - with_size, with) == 0;
}

/* Whether each word of the scope begins or reads so. */
static bool oracle_scope(const char *scope, bool read_given, bool core_given)
{
        char copy[64], *rest = NULL;

        (void)snprintf(copy, sizeof(copy), "%s", scope);
        for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
                if (!(read_given && strcmp(word, "read") == 0) &&
                    !(core_given && begins(word, "core.")))
                        return false;
        return true;
}

static int oracle(char rule, size_t client, const struct matrix_subject *subject, const char *scope)
{
        const bool name = subject->kind == SUBJECT_USERNAME;
        bool client_ok = false, subject_ok = false, scope_ok = false;

        switch (rule) {
        case 'g': return REASON_PEER_GONE;
        case '-': return REASON_NOT_PERMITTED;
        case 'B': return REASON_BAD_KEY;
        case 'b':
                client_ok = client == 1;
                subject_ok = subject->kind == SUBJECT_USERID;
                scope_ok = oracle_scope(scope, false, true);
                break;
        case 'c':
                client_ok = client == 0;
                subject_ok = name && begins(subject->subject, "pa");
                scope_ok = oracle_scope(scope, true, true);
                break;
        case 's':
                client_ok = client != 1;
                subject_ok = name ||
                             (subject->kind == SUBJECT_EMAIL && ends(subject->subject, "@x"));
                scope_ok = oracle_scope(scope, true, false);
                break;
        case 'd':
                client_ok = true;
                subject_ok = name && strcmp(subject->subject, "root") == 0;
                scope_ok = true;
                break;
        default: fail();
        }
        if (!client_ok)
                return REASON_CLIENT_NOT_PERMITTED;
        if (!subject_ok)
                return REASON_SUBJECT_NOT_PERMITTED;
        return scope_ok ? 0 : REASON_SCOPE_NOT_PERMITTED;
}

static void a_matrix_of_callers_and_wishes_is_as_an_oracle_says(void **state)
{
        struct rule rules[] = {
                {.user = (char *)"batch", .uid = BATCH, GIVES(client_1, userids, core)},
                {.user = (char *)"crm",
                 .uid = CRM,
                 .unit = (char *)"crm@*.service",
                 GIVES(client_0, pa, read_core)},
                {.group = (char *)"staff",
                 .gid = STAFF,
                 GIVES(clients_0_2, names_and_mail, read_only)},
                {.user = (char *)"crm", .uid = CRM, GIVES(clients_all, root_only, all_scopes)},
        };
        const struct policy policy = {.rules = rules, .n_rules = N_OF(rules), .own_uid = OWN};
        const struct {
                struct peer peer;
                const char *key;
                char rule;
        } callers[] = {
                {{.known = true, .uid = BATCH}, "k", 'b'},
                {{.known = true, .uid = BATCH, .tcp = true}, "k", 'b'},
                {{.known = true, .uid = BATCH}, "wrong", 'B'},
                {{.known = true, .uid = BATCH}, NULL, 'B'},
                {{.known = true, .uid = BATCH, .groups = staff_last, .n_groups = 3}, NULL, 's'},
                {{.known = true, .uid = BATCH, .groups = staff_last, .n_groups = 3}, "k", 'b'},
                {{.known = true, .uid = CRM, .unit = (char *)"crm@7.service"}, NULL, 'c'},
                {{.known = true, .uid = CRM, .unit = (char *)"crm@7.service"}, "k", 'c'},
                {{.known = true, .uid = CRM, .unit = (char *)"x.service"}, NULL, 'd'},
                {{.known = true, .uid = CRM, .tcp = true}, NULL, 'd'},
                {{.known = true, .uid = CRM, .groups = staff_first, .n_groups = 3}, NULL, 's'},
                {{.known = true,
                  .uid = CRM,
                  .groups = staff_first,
                  .n_groups = 3,
                  .unit = (char *)"crm@7.service"},
                 NULL,
                 'c'},
                {{.known = true, .uid = OTHER, .unit = (char *)"crm@7.service"}, "k", '-'},
                {{.known = true, .uid = OTHER, .groups = no_staff, .n_groups = 2}, NULL, '-'},
                {{.known = true, .uid = OTHER, .groups = staff_first, .n_groups = 1}, NULL, 's'},
                {{.known = true, .uid = 0}, "k", '-'},
                {{.known = true, .uid = OWN}, "k", '-'},
                {{.uid = BATCH, .tcp = true}, "k", 'g'},
        };
        size_t n_allowed = 0;

        (void)state;
        rules[0] = with_key(rules[0], "k");
        for (size_t i = 0; i < N_OF(callers); i++) {
                const struct request_keys keys = keys_of(callers[i].key, NULL);

                for (size_t n = 0; n < 3 * N_OF(subjects) * N_OF(scopes); n++) {
                        const size_t client = n % 3;
                        const struct matrix_subject *subject = &subjects[n / 3 % N_OF(subjects)];
                        const char *scope = scopes[n / 3 / N_OF(subjects)];
                        const struct rule *rule;
                        int r;

                        r = policy_select(&policy, &callers[i].peer, &keys, &rule);
                        if (r == 0)
                                r = policy_check_client(rule, client);
                        if (r == 0)
                                r = policy_check_subject(rule, subject->kind,
                                                         TEXT(subject->subject));
                        if (r == 0)
                                r = policy_check_scope(rule, TEXT(scope));
                        n_allowed += r == 0;
                        if (r != oracle(callers[i].rule, client, subject, scope))
                                fail_msg("caller %zu, client %zu, %s, %s: %d", i, client,
                                         subject->subject, scope, r);
                }
        }
        assert_in_range(n_allowed, 100, 1000);
}

static void what_a_policy_owns_is_freed(void **state)
{
        struct policy policy = {.own_uid = OWN, .n_rules = 2};

        (void)state;
        policy_deinit(&(struct policy){});
        policy.rules = calloc(2, sizeof(*policy.rules));
        assert_non_null(policy.rules);
        policy.rules[0].name = strdup("a");
        policy.rules[0].user = strdup("b");
        policy.rules[0].group = strdup("c");
        policy.rules[0].unit = strdup("d");
        policy.rules[0].clients = calloc(3, sizeof(size_t));
        policy.rules[0].subjects = calloc(1, sizeof(struct subject_pattern));
        policy.rules[0].subjects[0].pattern = strdup("e");
        policy.rules[0].n_subjects = 1;
        policy.rules[0].scopes = calloc(1, sizeof(char *));
        policy.rules[0].scopes[0] = strdup("f");
        policy.rules[0].n_scopes = 1;
        policy_deinit(&policy);
        assert_int_equal(policy.n_rules, 0);
        assert_null(policy.rules);
        assert_int_equal(policy.own_uid, OWN);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(without_rules_root_and_our_own_user_are_served_and_nobody_else),
                cmocka_unit_test(
                        a_unit_that_could_not_be_found_out_stops_at_the_first_rule_it_matters_to),
                cmocka_unit_test(an_unknown_peer_is_nobody_whatever_the_rules_are),
                cmocka_unit_test(a_user_is_a_uid),
                cmocka_unit_test(a_group_may_be_any_of_the_peers),
                cmocka_unit_test(a_unit_is_a_name_or_any_instance_of_a_template),
                cmocka_unit_test(all_conditions_that_are_given_must_hold),
                cmocka_unit_test(
                        a_key_narrows_and_only_a_key_that_is_all_that_is_missing_is_called_bad),
                cmocka_unit_test(every_byte_of_a_key_counts),
                cmocka_unit_test(the_first_rule_that_is_selected_decides_alone),
                cmocka_unit_test(a_rule_gives_nothing_that_it_does_not_name),
                cmocka_unit_test(every_value_of_a_scope_must_be_given),
                cmocka_unit_test(a_right_of_the_policy_is_one_of_the_rule_and_of_the_listener),
                cmocka_unit_test(
                        without_rules_only_our_own_user_monitors_over_tcp_and_nobody_administers),
                cmocka_unit_test(a_peer_may_come_with_the_rule_that_entitles_it),
                cmocka_unit_test(a_policy_knows_whether_it_needs_units_and_keys),
                cmocka_unit_test(a_matrix_of_callers_and_wishes_is_as_an_oracle_says),
                cmocka_unit_test(what_a_policy_owns_is_freed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
