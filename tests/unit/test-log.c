/* SPDX-License-Identifier: MIT */

/* The test is journald, whoever reads standard error, and the clock. */

#include "audit-helpers.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../daemon/log-fold.h"
#include "../../daemon/log.h"
#include "../../daemon/outlet.h"

#define FOLDED(n) "(and " #n " others like it)"

static struct journal journal;
static int saved_stderr = -1;
static int reader = -1; /* of what is written to standard error, unless that is a file */
static char stream[64];

static int set_up(void **state)
{
        (void)state;
        folder_make();
        saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        return saved_stderr >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
        (void)state;
        log_deinit();
        (void)dup2(saved_stderr, STDERR_FILENO);
        close(saved_stderr);
        if (reader >= 0)
                close(reader);
        reader = -1;
        folder_remove();
        return 0;
}

static const char *socket_path(void)
{
        static char path[128];

        (void)snprintf(path, sizeof(path), "%s", folder_path("journal"));
        return path;
}

static void become_stderr(int fd)
{
        struct stat st;

        assert_true(dup2(fd, STDERR_FILENO) >= 0);
        close(fd);
        assert_int_equal(fstat(STDERR_FILENO, &st), 0);
        (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                       (unsigned long long)st.st_ino);
}

/* Standard error becomes a file of the folder, … */
static const char *to_file(void)
{
        const char *const path = folder_path("log");
        const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        become_stderr(fd);
        return path;
}

/* … a pipe, … */
static void to_pipe(void)
{
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_true(fcntl(fds[0], F_SETPIPE_SZ, 4096) >= 0);
        reader = fds[0];
        become_stderr(fds[1]);
}

/* … or a socket, as journald has it. */
static void to_socket(void)
{
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        reader = fds[0];
        become_stderr(fds[1]);
}

static void start(enum log_format format)
{
        log_init_with(LOG_LEVEL_INFO, format, socket_path(), NULL);
}

static void start_under_journal(void)
{
        to_socket();
        journal_open(&journal, socket_path());
        log_init_with(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, socket_path(), stream);
}

/* All there is to read; good until the next call. */
static const char *read_all(void)
{
        static char text[1024 * 1024];
        size_t size = 0;
        ssize_t n;

        assert_int_equal(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
        while ((n = read(reader, text + size, sizeof(text) - 1 - size)) > 0)
                size += (size_t)n;
        text[size] = '\0';
        return text;
}

static size_t count_of(const char *text, const char *what)
{
        size_t n = 0;

        for (; (text = strstr(text, what)); text += strlen(what))
                n++;
        return n;
}

static size_t count_in_file(const char *path, const char *what)
{
        char *text = read_file(path);
        const size_t n = count_of(text, what);

        free(text);
        return n;
}

static uint64_t dropped(void)
{
        struct log_counters counters;

        log_get_counters(&counters);
        return counters.dropped;
}

static void the_journal_gets_fields(void **state)
{
        (void)state;
        start_under_journal();
        log_event(LOG_EVENT_BREAKER_OPENED,
                  LOG_FIELDS(.client = "portal", .url = "https://idp.example/t",
                             .reason = "issuer_unreachable", .for_ms = 1500),
                  "too many failures");
        journal_receive(&journal);
        assert_string_equal(journal_field(&journal, "MESSAGE"), "too many failures");
        assert_string_equal(journal_field(&journal, "PRIORITY"), "4");
        assert_string_equal(journal_field(&journal, "SYSLOG_IDENTIFIER"), "egain-tokend");
        assert_string_equal(journal_field(&journal, "MESSAGE_ID"),
                            log_event_info(LOG_EVENT_BREAKER_OPENED)->message_id);
        assert_string_equal(journal_field(&journal, "EGAIN_EVENT"), "breaker_opened");
        assert_string_equal(journal_field(&journal, "EGAIN_CLIENT"), "portal");
        assert_string_equal(journal_field(&journal, "EGAIN_URL"), "https://idp.example/t");
        assert_string_equal(journal_field(&journal, "EGAIN_REASON"), "issuer_unreachable");
        assert_string_equal(journal_field(&journal, "EGAIN_FOR_MS"), "1500");
        assert_null(journal_field(&journal, "EGAIN_COUNT"));
        assert_null(journal_field(&journal, "EGAIN_OTHERS"));

        log_error("just a line, %d", 7);
        journal_receive(&journal);
        assert_string_equal(journal.datagram, "MESSAGE=just a line, 7\nPRIORITY=3\n"
                                              "SYSLOG_IDENTIFIER=egain-tokend\n");
        log_debug("not asked for");
        assert_true(journal_is_empty(&journal));
        assert_string_equal(read_all(), ""); /* nothing twice */
        journal_close(&journal, socket_path());
}

static void only_a_stream_that_matches_is_the_journal(void **state)
{
        static const char *const others[] = {
                "",     "1",    "1:",   ":1",    "a:b", "1:2:3", " 1:2",
                "+1:2", "1: 2", "1:2 ", "-1:-1", "0:0", "1:0x2", "99999999999999999999:1",
                NULL};
        char longer[72];

        (void)state;
        to_socket();
        assert_true(outlet_stderr_is_journal(stream));
        for (size_t i = 0; i < N_OF(others); i++)
                assert_false(outlet_stderr_is_journal(others[i]));
        (void)snprintf(longer, sizeof(longer), "%s0", stream);
        assert_false(outlet_stderr_is_journal(longer));
        (void)snprintf(longer, sizeof(longer), "%s\n", stream);
        assert_false(outlet_stderr_is_journal(longer));

        /* Redirected by whoever systemd started: what it was is not what it is. */
        journal_open(&journal, socket_path());
        (void)snprintf(longer, sizeof(longer), "%s", stream);
        close(reader);
        to_pipe();
        log_init_with(LOG_LEVEL_INFO, LOG_FORMAT_TEXT, socket_path(), longer);
        log_warning("to the pipe");
        assert_string_equal(read_all(), "egain-tokend: warning: to the pipe\n");
        assert_true(journal_is_empty(&journal));
        journal_close(&journal, socket_path());
}

static void without_a_socket_the_stream_takes_lines(void **state)
{
        (void)state;
        to_socket();
        log_init_with(LOG_LEVEL_INFO, LOG_FORMAT_JSON, socket_path(), stream);
        log_event(LOG_EVENT_ISSUER_WELL, LOG_FIELDS(.client = "portal"), "well");
        log_error("bad");
        assert_string_equal(read_all(), "<6>well\n<3>bad\n");

        journal_open(&journal, socket_path()); /* it comes up */
        log_warning("now");
        journal_receive(&journal);
        assert_string_equal(journal_field(&journal, "MESSAGE"), "now");
        journal_close(&journal, socket_path());

        journal_open(&journal, socket_path()); /* and in its place another */
        log_warning("and again");
        journal_receive(&journal);
        assert_string_equal(journal_field(&journal, "MESSAGE"), "and again");
        assert_string_equal(read_all(), "");
        journal_close(&journal, socket_path());
        assert_int_equal(dropped(), 0);
}

/* What others write into a message, or a field, stays in there. */
static const char *const injections[] = {
        "two\nlines",
        "MESSAGE=x\nPRIORITY=0\nEGAIN_CLIENT=root\n",
        "\nEGAIN_CLIENT\n\x08\0\0\0\0\0\0\0",
        "\"},{\"level\":\"x\",\"client\":\"root",
        "\\",
        "\\\"",
        "tab\there, bell\a, delete\x7f, escape\x1b[31m",
        "c1 \xc2\x85 next line",
        "not utf-8 \xff\xfe\x80 \xc3",
        "\xed\xa0\x80 surrogate, \xf5\x80\x80\x80 beyond, \xc0\xaf overlong",
        "\r<0>kernel: panic",
        "\xf0\x9f\x94\x91 fine, \xc3\xbc",
        "%s%n",
        "",
};

static void what_others_write_ends_where_it_should_in_the_journal(void **state)
{
        (void)state;
        start_under_journal();
        for (size_t i = 0; i < N_OF(injections); i++) {
                log_event(LOG_EVENT_RELOADED,
                          LOG_FIELDS(.client = injections[i], .source = injections[i]), "%s",
                          injections[i]);
                journal_receive(&journal);
                assert_string_equal(journal_field(&journal, "PRIORITY"), "6");
                assert_string_equal(journal_field(&journal, "EGAIN_EVENT"), "reloaded");
                assert_string_equal(journal_field(&journal, "EGAIN_CLIENT"),
                                    journal_field(&journal, "MESSAGE"));
                assert_string_equal(journal_field(&journal, "EGAIN_SOURCE"),
                                    journal_field(&journal, "MESSAGE"));
                assert_int_equal(count_of(journal.datagram, "\n"), 7);
                assert_true(text_is_utf8(TEXT(journal.datagram)));
        }
        journal_close(&journal, socket_path());
}

static void what_others_write_is_one_line_of_text(void **state)
{
        const char *const path = to_file();
        char *text;

        (void)state;
        start(LOG_FORMAT_TEXT);
        for (size_t i = 0; i < N_OF(injections); i++)
                log_event(LOG_EVENT_RELOADED, NULL, "%s", injections[i]);
        text = read_file(path);
        assert_int_equal(count_lines(path), N_OF(injections));
        assert_int_equal(count_of(text, "egain-tokend: info: "), N_OF(injections));
        for (const char *at = text; *at; at++)
                assert_true(*at == '\n' || (unsigned char)*at >= 0x20);
        assert_true(text_is_utf8(TEXT(text)));
        free(text);
}

static const char *string_of(struct json_object *object, const char *name)
{
        struct json_object *member;

        return json_object_object_get_ex(object, name, &member) ? json_object_get_string(member)
                                                                : NULL;
}

/* The line at *at, which is moved behind it. */
static struct json_object *parse_line(const char **at)
{
        struct json_tokener *tokener = json_tokener_new();
        const char *end = strchr(*at, '\n');
        struct json_object *object;

        assert_non_null(end);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        object = json_tokener_parse_ex(tokener, *at, (int)(end - *at));
        assert_int_equal(json_tokener_get_error(tokener), json_tokener_success);
        assert_int_equal(json_tokener_get_parse_end(tokener), end - *at);
        assert_true(json_object_is_type(object, json_type_object));
        json_tokener_free(tokener);
        *at = end + 1;
        return object;
}

static void json_has_members(void **state)
{
        const char *const path = to_file(), *at;
        struct json_object *object, *number;
        char *text;

        (void)state;
        start(LOG_FORMAT_JSON);
        log_event(LOG_EVENT_CLIENT_HELD,
                  LOG_FIELDS(.client = "portal", .url = "https://idp.example/t", .reason = "r",
                             .detail = "d", .listener = "l", .source = "s", .changed = "c",
                             .count = UINT64_C(1) << 40, .for_ms = 30000),
                  "held");
        log_warning("just a line");
        text = read_file(path);
        at = text;
        object = parse_line(&at);
        assert_int_equal(json_object_object_length(object), 13);
        assert_string_equal(string_of(object, "level"), "error");
        assert_string_equal(string_of(object, "message"), "held");
        assert_string_equal(string_of(object, "event"), "client_held");
        assert_string_equal(string_of(object, "client"), "portal");
        assert_string_equal(string_of(object, "url"), "https://idp.example/t");
        assert_string_equal(string_of(object, "reason"), "r");
        assert_string_equal(string_of(object, "detail"), "d");
        assert_string_equal(string_of(object, "listener"), "l");
        assert_string_equal(string_of(object, "source"), "s");
        assert_string_equal(string_of(object, "changed"), "c");
        assert_true(json_object_object_get_ex(object, "count", &number));
        assert_int_equal(json_object_get_int64(number), INT64_C(1) << 40);
        assert_true(json_object_object_get_ex(object, "for_ms", &number));
        assert_int_equal(json_object_get_int64(number), 30000);
        assert_int_equal(strlen(string_of(object, "time")), strlen("2026-11-22T14:50:55.123Z"));
        json_object_put(object);

        object = parse_line(&at);
        assert_int_equal(json_object_object_length(object), 3);
        assert_string_equal(string_of(object, "level"), "warning");
        assert_string_equal(string_of(object, "message"), "just a line");
        json_object_put(object);
        assert_string_equal(at, "");
        free(text);
}

static void what_others_write_is_a_string_of_json(void **state)
{
        const char *const path = to_file(), *at;
        char *text;

        (void)state;
        start(LOG_FORMAT_JSON);
        for (size_t i = 0; i < N_OF(injections); i++)
                log_event(LOG_EVENT_RELOADED,
                          LOG_FIELDS(.client = injections[i], .url = injections[i]), "%s",
                          injections[i]);
        text = read_file(path);
        at = text;
        for (size_t i = 0; i < N_OF(injections); i++) {
                struct json_object *object = parse_line(&at);

                assert_int_equal(json_object_object_length(object), 6);
                assert_string_equal(string_of(object, "level"), "info");
                if (text_is_utf8(TEXT(injections[i])))
                        assert_string_equal(string_of(object, "message"), injections[i]);
                assert_string_equal(string_of(object, "client"), string_of(object, "message"));
                assert_string_equal(string_of(object, "url"), string_of(object, "message"));
                json_object_put(object);
        }
        assert_string_equal(at, "");
        free(text);
}

static void what_is_too_long_is_cut(void **state)
{
        static char message[8192], value[8192];
        const char *const path = to_file(), *at;
        struct json_object *object;
        char *text;

        (void)state;
        memset(message, '\x01', sizeof(message) - 1);
        memset(value, '"', sizeof(value) - 1);
        start(LOG_FORMAT_JSON);
        log_event(LOG_EVENT_RELOADED, LOG_FIELDS(.client = "portal", .url = value, .reason = "r"),
                  "%s", message);
        text = read_file(path);
        at = text;
        object = parse_line(&at);
        assert_int_equal(strlen(string_of(object, "message")), LOG_MESSAGE_MAX_BYTES - 1);
        assert_string_equal(string_of(object, "client"), "portal");
        assert_int_equal(strlen(string_of(object, "url")),
                         LOG_VALUES_MAX_BYTES - sizeof("portal") - 1);
        assert_null(string_of(object, "reason"));
        json_object_put(object);
        free(text);
}

static void levels_hold(void **state)
{
        const char *const path = to_file();

        (void)state;
        start(LOG_FORMAT_TEXT);
        log_configure(LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
        log_info("no");
        log_event(LOG_EVENT_READY, NULL, "no");
        log_warning("yes");
        log_event(LOG_EVENT_RELOAD_FAILED, NULL, "yes");
        log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
        log_debug("yes");
        assert_int_equal(count_in_file(path, "yes"), 3);
        assert_int_equal(count_in_file(path, "no"), 0);
        assert_int_equal(count_in_file(path, "{\"time\""), 1);
}

static void repeats_are_folded(void **state)
{
        const char *const path = to_file();
        struct log_counters counters;
        char *text;

        (void)state;
        start(LOG_FORMAT_TEXT);
        log_tick(1000);
        assert_int_equal(log_next_tick_ms(), UINT64_MAX);
        for (unsigned int i = 0; i < LOG_FOLD_LINES; i++)
                log_warning("no %s: %u", "luck", i);
        assert_int_equal(count_lines(path), LOG_FOLD_LINES);
        assert_int_equal(log_next_tick_ms(), UINT64_MAX);
        for (unsigned int i = 0; i < 124; i++) {
                log_warning("no %s: %u", "luck", LOG_FOLD_LINES + i);
                log_tick(1001 + i);
        }
        assert_int_equal(count_lines(path), LOG_FOLD_LINES);
        log_get_counters(&counters);
        assert_int_equal(counters.folded, 124);
        assert_int_equal(log_next_tick_ms(), 1000 + LOG_FOLD_WINDOW_MS);
        log_tick(1000 + LOG_FOLD_WINDOW_MS - 1);
        assert_int_equal(count_lines(path), LOG_FOLD_LINES);
        log_tick(1000 + LOG_FOLD_WINDOW_MS);
        text = read_file(path);
        assert_int_equal(count_lines(path), LOG_FOLD_LINES + 1);
        assert_non_null(strstr(text, "warning: no luck: 10 " FOLDED(123) "\n"));
        free(text);
        assert_int_equal(log_next_tick_ms(), UINT64_MAX);

        /* A new window: the next line goes through, and one that is folded alone is as it was. */
        for (unsigned int i = 0; i < LOG_FOLD_LINES + 1; i++)
                log_warning("no %s: %u", "luck", 500 + i);
        assert_int_equal(count_lines(path), 2 * LOG_FOLD_LINES + 1);
        log_deinit();
        assert_int_equal(count_lines(path), 2 * LOG_FOLD_LINES + 2);
        assert_int_equal(count_in_file(path, "no luck: 510\n"), 1);
}

static void each_window_is_told_of_while_it_goes_on(void **state)
{
        const char *const path = to_file();

        (void)state;
        start(LOG_FORMAT_TEXT);
        for (uint64_t s = 1; s <= 3600; s++) {
                log_tick(s * 1000);
                for (unsigned int i = 0; i < 5; i++)
                        log_warning("again");
        }
        assert_in_range(count_lines(path), 360 * (LOG_FOLD_LINES + 1) - LOG_FOLD_LINES,
                        360 * (LOG_FOLD_LINES + 1));
        assert_in_range(count_in_file(path, FOLDED(39)), 359, 360);
}

static void folded_events_keep_their_fields(void **state)
{
        (void)state;
        start_under_journal();
        for (unsigned int i = 0; i < LOG_FOLD_LINES + 5; i++) {
                char client[16];

                (void)snprintf(client, sizeof(client), "portal"); /* gone when it is told */
                log_event(LOG_EVENT_FETCH_FAILED, LOG_FIELDS(.client = client, .reason = "r"),
                          "no token %u", i);
                memset(client, 'x', sizeof(client) - 1);
        }
        for (unsigned int i = 0; i < LOG_FOLD_LINES; i++)
                journal_receive(&journal);
        assert_true(journal_is_empty(&journal));
        log_tick(LOG_FOLD_WINDOW_MS);
        journal_receive(&journal);
        assert_string_equal(journal_field(&journal, "MESSAGE"), "no token 10 " FOLDED(4));
        assert_string_equal(journal_field(&journal, "EGAIN_OTHERS"), "4");
        assert_string_equal(journal_field(&journal, "EGAIN_CLIENT"), "portal");
        assert_string_equal(journal_field(&journal, "EGAIN_EVENT"), "fetch_failed");
        journal_close(&journal, socket_path());
}

static void what_differs_is_not_folded_together(void **state)
{
        const char *const path = to_file();

        (void)state;
        start(LOG_FORMAT_TEXT);
        for (unsigned int i = 0; i < 2 * LOG_FOLD_LINES; i++) {
                log_event(LOG_EVENT_FETCH_FAILED, LOG_FIELDS(.client = "a"), "of a");
                log_event(LOG_EVENT_FETCH_FAILED, LOG_FIELDS(.client = "b"), "of b");
                log_event(LOG_EVENT_FETCH_FAILED, LOG_FIELDS(.client = "b", .url = "u"), "at u");
                log_event(LOG_EVENT_FETCH_FAILED, LOG_FIELDS(.client = "b", .reason = "u"),
                          "for u");
                log_warning("%s", "mistake 1");
                log_warning("%s", "mistake 2");
        }
        assert_int_equal(count_lines(path), 6 * LOG_FOLD_LINES);
        log_deinit();
        assert_int_equal(count_in_file(path, FOLDED(9)), 6);
}

static void changes_of_state_and_what_is_for_debugging_are_never_folded(void **state)
{
        const char *const path = to_file();

        (void)state;
        start(LOG_FORMAT_TEXT);
        log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
        for (unsigned int i = 0; i < 500; i++) {
                log_event(LOG_EVENT_ISSUER_WELL, NULL, "well");
                log_debug("detail");
        }
        assert_int_equal(count_lines(path), 1000);
}

/* However many different lines there are, what is written is bounded. */
static void the_table_is_bounded(void **state)
{
        const char *const path = to_file();
        struct log_counters counters;
        uint64_t told = 0;
        char *text;

        (void)state;
        start(LOG_FORMAT_TEXT);
        for (unsigned int i = 0; i < 5000; i++)
                log_warning("%s", (char[]){(char)('A' + i % 50), (char)('A' + i / 50 % 50), 0});
        assert_int_equal(count_lines(path), (LOG_FOLD_KEYS * 2) + LOG_FOLD_LINES);
        log_get_counters(&counters);
        assert_int_equal(counters.lines + counters.folded, 5000);
        log_tick(LOG_FOLD_WINDOW_MS);
        text = read_file(path);
        for (const char *at = text; (at = strstr(at, "(and ")); at++)
                told += strtoull(at + 5, NULL, 10);
        log_get_counters(&counters);
        assert_int_equal(counters.lines + told, 5000);
        assert_int_equal(counters.folded, told);
        free(text);
}

static void a_journal_that_takes_nothing_is_not_waited_for(void **state)
{
        const int small = 4096;
        uint64_t sent = 0, n = 0;
        char said[64];

        (void)state;
        start_under_journal();
        assert_int_equal(setsockopt(journal.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
        while (dropped() < 100) {
                log_event(LOG_EVENT_ISSUER_WELL, NULL, "line %llu", (unsigned long long)sent++);
                assert_true(sent < 100000);
        }
        assert_int_equal(log_next_tick_ms(), 1000);
        log_tick(1000); /* still nobody reads; to say so is no line lost */
        assert_int_equal(dropped(), 100);
        assert_int_equal(log_next_tick_ms(), 2000);
        while (!journal_is_empty(&journal)) {
                journal_receive(&journal);
                (void)snprintf(said, sizeof(said), "line %llu", (unsigned long long)n++);
                assert_string_equal(journal_field(&journal, "MESSAGE"), said);
        }
        assert_int_equal(n, sent - 100);
        log_tick(1999);
        assert_true(journal_is_empty(&journal));
        log_tick(2000);
        journal_receive(&journal);
        assert_string_equal(journal_field(&journal, "MESSAGE"),
                            "100 log lines could not be written");
        assert_string_equal(journal_field(&journal, "EGAIN_COUNT"), "100");
        assert_string_equal(journal_field(&journal, "EGAIN_EVENT"), "log_dropped");
        assert_true(journal_is_empty(&journal));
        assert_int_equal(log_next_tick_ms(), UINT64_MAX);
        log_tick(3000);
        assert_true(journal_is_empty(&journal));
        journal_close(&journal, socket_path());
}

static void dropped_lines_are_told_of_before_the_next(void **state)
{
        const char *text;

        (void)state;
        to_pipe();
        start(LOG_FORMAT_TEXT);
        while (dropped() < 3)
                log_event(LOG_EVENT_ISSUER_WELL, NULL, "line");
        (void)read_all();
        log_warning("after");
        text = read_all();
        assert_string_equal(text, "egain-tokend: warning: 3 log lines could not be written\n"
                                  "egain-tokend: warning: after\n");
        assert_int_equal(dropped(), 3);

        /* With what was folded they count, too. */
        for (unsigned int i = 0; i < LOG_FOLD_LINES + 50; i++)
                log_warning("repeated");
        while (dropped() < 4)
                log_event(LOG_EVENT_ISSUER_WELL, NULL, "line");
        log_tick(LOG_FOLD_WINDOW_MS);
        assert_int_equal(dropped(), 4 + 50);
        (void)read_all();
        log_tick(UINT64_C(2) * LOG_FOLD_WINDOW_MS);
        assert_string_equal(read_all(),
                            "egain-tokend: warning: 51 log lines could not be written\n");
}

/* The pipe has room for a part of a line: the rest of it follows, before anything else. */
static void a_line_that_was_begun_is_ended(void **state)
{
        static char written[64 * 1024];
        const char *at = written + 1;
        char message[600];

        (void)state;
        to_pipe();
        start(LOG_FORMAT_JSON);
        memset(message, '\x01', sizeof(message) - 1); /* six times that: more than is atomic */
        message[sizeof(message) - 1] = '\0';
        assert_int_equal(write(STDERR_FILENO, "\n", 1), 1);
        log_event(LOG_EVENT_READY, LOG_FIELDS(.client = message, .url = message), "%s", message);
        assert_int_equal(dropped(), 0);
        log_event(LOG_EVENT_ISSUER_WELL, NULL, "in between");
        assert_int_equal(dropped(), 1);
        for (unsigned int i = 0; i < 4; i++) {
                const size_t size = strlen(written);

                (void)snprintf(written + size, sizeof(written) - size, "%s", read_all());
                log_event(LOG_EVENT_ISSUER_WELL, NULL, "behind");
        }
        for (unsigned int i = 0; i < 3; i++)
                json_object_put(parse_line(&at));
}

static void nobody_at_the_other_end(void **state)
{
        (void)state;
        signal(SIGPIPE, SIG_IGN);
        to_pipe();
        start(LOG_FORMAT_TEXT);
        close(reader);
        reader = -1;
        log_warning("to whom?");
        assert_int_equal(dropped(), 1);
        to_socket();
        log_deinit();
        start(LOG_FORMAT_TEXT);
        close(reader);
        reader = -1;
        log_warning("to whom?");
        assert_int_equal(dropped(), 1);
}

static void before_and_after_nothing_is_written(void **state)
{
        const char *const path = to_file();

        (void)state;
        log_warning("before");
        log_event(LOG_EVENT_READY, NULL, "before");
        log_tick(1);
        assert_false(log_is_mine());
        start(LOG_FORMAT_TEXT);
        assert_true(log_is_mine());
        log_deinit();
        log_warning("after");
        log_deinit();
        assert_int_equal(count_lines(path), 0);
}

static void *ask_whose(void *ret)
{
        *(bool *)ret = log_is_mine();
        return NULL;
}

static void *log_a_line(void *argument)
{
        (void)argument;
        log_warning("from elsewhere");
        return NULL;
}

static void one_thread_logs(void **state)
{
        const char *const path = to_file();
        bool is_mine = true;
        pthread_t thread;
        int status;
        pid_t pid;

        (void)state;
        start(LOG_FORMAT_TEXT);
        assert_int_equal(pthread_create(&thread, NULL, ask_whose, &is_mine), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_false(is_mine);

        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                if (pthread_create(&thread, NULL, log_a_line, NULL) == 0)
                        (void)pthread_join(thread, NULL);
                _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        assert_int_equal(count_in_file(path, "from elsewhere"), 0);
}

/* The names, levels and ids are what operators rely on: the manual has them all. */
static void every_event_is_in_the_manual(void **state)
{
        static const char *const levels[] = {
                [LOG_LEVEL_ERROR] = "error",
                [LOG_LEVEL_WARNING] = "warning",
                [LOG_LEVEL_INFO] = "info",
        };
        char *page = read_file(TEST_MAN_PAGE_8), row[160];

        (void)state;
        for (int i = LOG_EVENT_NONE + 1; i < _LOG_EVENT_N; i++) {
                const struct log_event_info *info = log_event_info(i);

                assert_non_null(info->name);
                assert_int_equal(strspn(info->message_id, "0123456789abcdef"), 32);
                assert_int_equal(strlen(info->message_id), 32);
                (void)snprintf(row, sizeof(row), "|  _%s_, %s: ", info->name, levels[info->level]);
                assert_int_equal(count_of(page, row), 1);
                assert_int_equal(count_of(page, info->message_id), 1);
        }
        for (size_t i = 0; i < LOG_FIELD_N; i++) {
                (void)snprintf(row, sizeof(row), "|  %s\n:  %s\n", log_field_infos[i].json,
                               log_field_infos[i].journal);
                assert_non_null(strstr(page, row)); /* the audit record has some of them, too */
        }
        free(page);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(the_journal_gets_fields),
                TEST(only_a_stream_that_matches_is_the_journal),
                TEST(without_a_socket_the_stream_takes_lines),
                TEST(what_others_write_ends_where_it_should_in_the_journal),
                TEST(what_others_write_is_one_line_of_text),
                TEST(json_has_members),
                TEST(what_others_write_is_a_string_of_json),
                TEST(what_is_too_long_is_cut),
                TEST(levels_hold),
                TEST(repeats_are_folded),
                TEST(each_window_is_told_of_while_it_goes_on),
                TEST(folded_events_keep_their_fields),
                TEST(what_differs_is_not_folded_together),
                TEST(changes_of_state_and_what_is_for_debugging_are_never_folded),
                TEST(the_table_is_bounded),
                TEST(a_journal_that_takes_nothing_is_not_waited_for),
                TEST(dropped_lines_are_told_of_before_the_next),
                TEST(a_line_that_was_begun_is_ended),
                TEST(nobody_at_the_other_end),
                TEST(before_and_after_nothing_is_written),
                TEST(one_thread_logs),
                TEST(every_event_is_in_the_manual),
        };

        return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
