/* SPDX-License-Identifier: MIT */

/*
 * The server of credentials with real sockets and a real broker; the issuer, the time and the unit
 * that a process is in are the test's. Systemd's part is played by this process, which must be root
 * for it.
 */

#include "../../daemon/credential-server.h"
#include "../../daemon/reload.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../daemon/audit.h"
#include "../../lib/metrics.h"
#include "../../daemon/reload-compare.h"

#define TOKEN "a-token-of-the-test"

#define CLIENTS                                                                             \
        "clients = ({ name = \"portal\"; client_id = \"p\"; client_secret_file = \"/s\"; "  \
        "user_token_url = \"https://h/t\"; default_scope = \"read\"; }); "                  \
        "listen = ({ credentials = \"/run/c\"; }); limits = { header_timeout = \"1s\"; }; " \
        "audit = { to = \"/tmp/test-credential-server.audit\"; };"
#define ENTRY(unit, subject) \
        "{ id = \"t\"; unit = \"" unit "\"; client = \"portal\"; subject = \"" subject "\"; }"
#define CONFIG                                                                  \
        CLIENTS "credentials = (" ENTRY("a.service", "username:pa") ", " ENTRY( \
                "w@*.service", "username:worker") ");"

static struct config *config;
static struct loop loop;
static struct broker *broker;
static struct audit *audit;
static struct peer_finder finder;
static struct reload reload;
static struct metrics metrics;
static struct credential_server server;
static int listening;
static struct sockaddr_un address;
static socklen_t address_size;
static const char *unit; /* that we are in; NULL: none */
static struct flight *flight;
static unsigned int n_fetches;

static int unit_of(pid_t pid, char **ret)
{
        (void)pid;
        if (!unit)
                return -ENODATA;
        *ret = strdup(unit);
        return *ret ? 0 : -ENOMEM;
}

static struct config *parse(const char *text)
{
        struct config *parsed = NULL;

        assert_int_equal(config_parse(&parsed, "t.conf", text, strlen(text), true, stderr), 0);
        return parsed;
}

static socklen_t abstract(struct sockaddr_un *ret, const char *name)
{
        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        memcpy(ret->sun_path + 1, name, strlen(name));
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
}

static int set_up(void **state)
{
        static const uint8_t hash_key[SIPHASH_KEY_BYTES] = {1};
        struct secret secrets[CREDENTIALS_MAX] = {SECRET_INIT(64), SECRET_INIT(64)};
        char name[64];

        (void)state;
        config = parse(CONFIG);
        assert_int_equal(loop_init(&loop), 0);
        assert_int_equal(broker_new(&broker, &config->settings, &config->policy, hash_key), 0);
        assert_int_equal(secret_assign(&secrets[0], "s", 1), 0);
        broker_set_secrets(broker, 0, secrets);
        for (size_t i = 0; i < CREDENTIALS_MAX; i++)
                secret_deinit(&secrets[i]);
        assert_int_equal(audit_new(&audit, &config->audit), 0);
        assert_int_equal(peer_finder_init(&finder, false), 0);
        finder.unit_of = unit_of;
        reload_init(&reload, &loop, config, NULL, NULL);
        metrics = (struct metrics){};
        assert_int_equal(credential_server_init(&server, &loop, broker, audit, &metrics, &finder,
                                                &reload, config),
                         0);

        listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)snprintf(name, sizeof(name), "test-credential-server-%d", (int)getpid());
        address_size = abstract(&address, name);
        assert_int_equal(bind(listening, (struct sockaddr *)&address, address_size), 0);
        assert_int_equal(listen(listening, 128), 0);
        unit = "a.service";
        flight = NULL;
        n_fetches = 0;
        return 0;
}

/* Carries out what the broker wants done. */
static void carry_out(void)
{
        struct command command;

        while (broker_next(broker, loop.now_ms, &command)) {
                switch (command.kind) {
                case COMMAND_FETCH:
                        secret_deinit(&command.form);
                        flight = command.flight;
                        n_fetches++;
                        break;
                case COMMAND_REPLY:
                        assert_true(credential_server_owns(command.waiter));
                        credential_server_resume(&server, command.waiter);
                        break;
                default: break;
                }
        }
}

/* As a reload does; the client application is the same in all of them. */
static void use_rules_of(struct config *other)
{
        reload_keep_identities(other, config);
        assert_int_equal(broker_reconfigure(broker, &other->settings, &other->policy, loop.now_ms),
                         0);
        carry_out();
}

static int tear_down(void **state)
{
        (void)state;
        broker_abort(broker, loop.now_ms);
        carry_out();
        credential_server_deinit(&server);
        credential_server_deinit(&server);
        peer_finder_deinit(&finder);
        audit_free(audit);
        broker_free(broker);
        loop_deinit(&loop);
        config_free(config);
        close(listening);
        (void)unlink("/tmp/test-credential-server.audit");
        return 0;
}

/* Connects from an address of this end (NULL: from none), and is taken over. */
static int connect_from(const char *from)
{
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        static unsigned int n;
        struct sockaddr_un un;
        char name[128];
        socklen_t size;
        int taken;

        assert_true(fd >= 0);
        if (from) {
                (void)snprintf(name, sizeof(name), "%x%s", ++n, from);
                size = abstract(&un, name);
                assert_int_equal(bind(fd, (struct sockaddr *)&un, size), 0);
        }
        assert_int_equal(connect(fd, (struct sockaddr *)&address, address_size), 0);
        assert_int_equal(shutdown(fd, SHUT_WR), 0); /* as systemd does */
        taken = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        assert_true(taken >= 0);
        credential_server_accept(&server, taken);
        carry_out();
        return fd;
}

#define OURS "/unit/a.service/t"

/* Lets the server write, and reads, until the end; how many bytes that were. */
static size_t read_all(int fd, char *begin, size_t capacity)
{
        char buffer[65536];
        size_t total = 0;
        ssize_t n;

        begin[0] = '\0';
        do {
                assert_int_equal(loop_turn(&loop, 0), 0);
                while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
                        for (ssize_t i = 0; i < n && total + (size_t)i < capacity - 1; i++) {
                                begin[total + (size_t)i] = buffer[i];
                                begin[total + (size_t)i + 1] = '\0';
                        }
                        total += (size_t)n;
                }
        } while (n < 0 && errno == EAGAIN);
        assert_int_equal(n, 0);
        close(fd);
        return total;
}

static void gets_token(int fd)
{
        char begin[256];

        assert_int_equal(read_all(fd, begin, sizeof(begin)), strlen(TOKEN));
        assert_string_equal(begin, TOKEN);
}

static void gets_refusal(int fd, enum reason reason)
{
        char begin[1024], *line_end;

        assert_int_equal(read_all(fd, begin, sizeof(begin)), 1024 * 1024 + 1);
        line_end = strchr(begin, '\n');
        assert_non_null(line_end);
        assert_int_equal(strspn(line_end, "\n"), strlen(line_end));
        assert_memory_equal(begin, "egain-tokend: no token", 22);
        assert_non_null(strstr(begin, reason_info(reason)->code));
        assert_null(strstr(begin, TOKEN));
}

static void land(const char *scope)
{
        struct fetch_result result = {.status = 200};
        char body[256];

        (void)snprintf(body, sizeof(body),
                       "{\"access_token\":\"%s\",\"token_type\":\"Bearer\",\"expires_in\":3600,"
                       "\"scope\":\"%s\"}",
                       TOKEN, scope);
        result.body = TEXT(body);
        assert_non_null(flight);
        (void)broker_fetch_done(broker, flight, &result, loop.now_ms, INT64_C(1700000000000));
        flight = NULL;
        carry_out();
}

static void test_token(void **state)
{
        int fd = connect_from(OURS), other = connect_from(OURS);

        (void)state;
        assert_int_equal(server.n, 2);
        assert_int_equal(n_fetches, 1);
        land("read");
        gets_token(fd);
        gets_token(other);
        /* Now from memory. */
        gets_token(connect_from(OURS));
        unit = "w@7.service";
        fd = connect_from("/unit/w@7.service/t");
        assert_int_equal(n_fetches, 2);
        land("read");
        gets_token(fd);
        assert_int_equal(server.n, 0);
        assert_int_equal(server.counters.accepted, 4);
        assert_int_equal(server.counters.granted, 4);
        assert_int_equal(server.counters.refused + server.counters.cut, 0);
        assert_int_equal(metrics.requests[METRICS_CREDENTIAL][REASON_NONE], 4);
        assert_int_equal(metrics.tokens[CACHE_STATUS_HIT][false], 1);
        assert_int_equal(metrics.tokens[CACHE_STATUS_FWD_MISS][false], 2);
        assert_int_equal(metrics.tokens[CACHE_STATUS_FWD_MISS][true], 1);
}

static void test_refused(void **state)
{
        uint64_t n_counted = 0;

        (void)state;
        gets_refusal(connect_from(NULL), REASON_NOT_SYSTEMD);
        gets_refusal(connect_from("/unit/a.service"), REASON_NOT_SYSTEMD);
        gets_refusal(connect_from("/user/a.service/t"), REASON_NOT_SYSTEMD);
        gets_refusal(connect_from("/unit/a.service/t/"), REASON_NOT_SYSTEMD);
        gets_refusal(connect_from("/unit/b.service/t"), REASON_OTHER_UNIT);
        gets_refusal(connect_from("/unit/w@7.service/t"), REASON_OTHER_UNIT);
        gets_refusal(connect_from("/unit/a.service/u"), REASON_NO_CREDENTIAL);
        unit = NULL;
        gets_refusal(connect_from(OURS), REASON_OTHER_UNIT);
        unit = "b.service";
        gets_refusal(connect_from("/unit/b.service/t"), REASON_NO_CREDENTIAL);
        gets_refusal(connect_from(OURS), REASON_OTHER_UNIT);
        assert_int_equal(n_fetches, 0);
        assert_int_equal(server.counters.refused, 10);
        assert_int_equal(metrics.requests[METRICS_CREDENTIAL][REASON_NONE], 0);
        for (enum reason reason = 0; reason < _REASON_N; reason++)
                n_counted += metrics.requests[METRICS_CREDENTIAL][reason];
        assert_int_equal(n_counted, 10);
        assert_int_equal(server.n, 0);
}

/* Whoever is not root is refused, and never has more than a quarter of the connections. */
static void test_not_root(void **state)
{
        int fds[CREDENTIAL_CONNECTIONS_MAX];
        char begin[8];

        (void)state;
        assert_int_equal(seteuid(65534), 0);
        for (size_t i = 0; i < CREDENTIAL_CONNECTIONS_MAX; i++)
                fds[i] = connect_from(OURS);
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(server.n, CREDENTIAL_CONNECTIONS_MAX / 4);
        for (size_t i = 0; i < CREDENTIAL_CONNECTIONS_MAX; i++) {
                if (i < CREDENTIAL_CONNECTIONS_MAX / 4)
                        gets_refusal(fds[i], REASON_NOT_SYSTEMD);
                else
                        assert_int_equal(read_all(fds[i], begin, sizeof(begin)), 0);
        }
        assert_int_equal(n_fetches, 0);
        assert_int_equal(server.n, 0);
}

static void test_cap(void **state)
{
        int fds[CREDENTIAL_CONNECTIONS_MAX];

        (void)state;
        for (size_t i = 0; i < CREDENTIAL_CONNECTIONS_MAX; i++) {
                assert_false(credential_server_is_full(&server));
                fds[i] = connect_from(OURS);
        }
        assert_true(credential_server_is_full(&server));
        credential_server_note_full(&server);
        assert_int_equal(server.counters.full, 1);
        land("read");
        for (size_t i = 0; i < CREDENTIAL_CONNECTIONS_MAX; i++)
                gets_token(fds[i]);
        assert_false(credential_server_is_full(&server));
        assert_int_equal(n_fetches, 1);
}

/* More was granted than the entry says: it is not handed out. */
static void test_granted_too_much(void **state)
{
        int fd = connect_from(OURS);

        (void)state;
        land("read write");
        gets_refusal(fd, REASON_GRANTED_TOO_MUCH);
}

static void test_peers_that_do_not_read(void **state)
{
        int fd = connect_from("/unit/b.service/t");
        uint64_t deadline_ms;

        (void)state;
        deadline_ms = credential_server_next_tick_ms(&server);
        assert_true(deadline_ms == loop.now_ms + 1000);
        assert_int_equal(loop_turn(&loop, 0), 0);
        loop.now_ms = deadline_ms - 1;
        credential_server_tick(&server);
        assert_int_equal(server.n, 1);
        loop.now_ms = deadline_ms;
        credential_server_tick(&server);
        assert_int_equal(server.n, 0);
        assert_int_equal(server.counters.cut, 1);
        assert_true(credential_server_next_tick_ms(&server) == LOOP_NEVER);
        close(fd);

        /* One that hangs up is noticed as it is written to. */
        fd = connect_from("/unit/b.service/t");
        close(fd);
        assert_int_equal(loop_turn(&loop, 0), 0);
        assert_int_equal(server.n, 0);
        assert_int_equal(server.counters.cut, 2);
}

static void test_peers_that_go_while_they_wait(void **state)
{
        int fd = connect_from(OURS);
        struct waiter *waiter = broker_next_waiter(flight, NULL);

        (void)state;
        assert_non_null(waiter);
        assert_true(credential_server_owns(waiter));
        assert_false(credential_server_caller_is_gone(waiter));
        close(fd);
        assert_true(credential_server_caller_is_gone(waiter));
        land("read");
        assert_int_equal(loop_turn(&loop, 0), 0);
        assert_int_equal(server.n, 0);
        assert_int_equal(server.counters.cut, 1);
        assert_int_equal(server.counters.granted, 0);
}

static void test_the_daemon_stops(void **state)
{
        int fd = connect_from(OURS);

        (void)state;
        broker_abort(broker, loop.now_ms);
        carry_out();
        gets_refusal(fd, REASON_SHUTTING_DOWN);
}

/* Other entries hold while some wait, who are judged by these. */
static void test_entries_change(void **state)
{
        struct config *same = parse(CONFIG);
        struct config *others = parse(CLIENTS
                                      "credentials = (" ENTRY("a.service", "userid:1") ");");
        struct config *gone = parse(CLIENTS "credentials = (" ENTRY("b.service", "userid:1") ");");
        int fd = connect_from(OURS), fd2;

        (void)state;
        credential_server_use(&server, same);
        use_rules_of(same);
        land("read");
        gets_token(fd);

        unit = "w@1.service";
        fd = connect_from("/unit/w@1.service/t");
        unit = "a.service";
        fd2 = connect_from(OURS); /* from memory: it is written already */
        credential_server_use(&server, others);
        use_rules_of(others);
        config_free(same);
        gets_token(fd2);
        gets_refusal(fd, REASON_CLIENT_NOT_PERMITTED);

        fd = connect_from(OURS); /* another subject, that is not in memory */
        credential_server_use(&server, config);
        use_rules_of(config);
        config_free(others);
        gets_refusal(fd, REASON_SUBJECT_NOT_PERMITTED);

        credential_server_use(&server, gone);
        gets_refusal(connect_from(OURS), REASON_NO_CREDENTIAL);
        credential_server_use(&server, config);
        config_free(gone);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_token, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_refused, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_not_root, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_cap, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_granted_too_much, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_peers_that_do_not_read, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_peers_that_go_while_they_wait, set_up,
                                                tear_down),
                cmocka_unit_test_setup_teardown(test_the_daemon_stops, set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_entries_change, set_up, tear_down),
        };

        if (geteuid() != 0) {
                printf("1..0 # SKIP needs root, to be taken for systemd\n");
                return 0;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
