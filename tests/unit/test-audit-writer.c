/* SPDX-License-Identifier: MIT */

/*
 * The thread and its targets: a journal that is slow, gone and back, files that are renamed and
 * disks that are full, pipes that nobody reads. The queue is the test's own, so that nothing but
 * the writer takes from it.
 */

#include "audit-helpers.h"

#include <dirent.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../daemon/audit-queue.h"
#include "../../daemon/audit-sink.h"
#include "../../daemon/audit-writer.h"

#define MAX_RECORDS 2000

static struct journal journal;
static struct audit_queue *queue;
static struct audit_writer *writer;
static struct audit_config config;
static struct audit_naming naming;
static struct audit_queue_state seen;
static int error;

static int set_up(void **state)
{
        (void)state;
        folder_make();
        config = (struct audit_config){.max_records = MAX_RECORDS};
        journal.fd = -1;
        return audit_naming_init(&naming, &config) || audit_queue_new(&queue, MAX_RECORDS);
}

static int tear_down(void **state)
{
        (void)state;
        audit_writer_free(writer, audit_queue_clock_ms());
        writer = NULL;
        audit_queue_unref(queue);
        queue = NULL;
        audit_naming_deinit(&naming);
        if (journal.fd >= 0)
                close(journal.fd);
        folder_remove();
        return 0;
}

static void start(void)
{
        assert_int_equal(audit_writer_new(&writer, queue, &config, folder_path("journal"), &error),
                         0);
}

static void start_with_file(void)
{
        config.target = AUDIT_TO_FILE;
        config.file = (char *)folder_path("audit.jsonl");
        start();
}

/* Whether all that was queued was written within a second, as `seen` has it. The next writer gets a
 * queue of its own. */
static bool stop(void)
{
        audit_writer_free(writer, audit_queue_clock_ms() + 1000);
        writer = NULL;
        audit_queue_look(queue, &seen);
        audit_queue_unref(queue);
        assert_int_equal(audit_queue_new(&queue, MAX_RECORDS), 0);
        return seen.n[0] + seen.n[1] == 0;
}

static const struct audit_queue_state *look(void)
{
        audit_queue_look(queue, &seen);
        return &seen;
}

static int push(enum audit_lane lane, unsigned int number)
{
        const struct peer peer = {.known = true, .uid = number};
        const struct audit_decision decision = {
                .reason = lane == AUDIT_LANE_REFUSALS ? REASON_NOT_PERMITTED : REASON_NONE,
                .peer = &peer,
        };
        struct audit_record *record;
        int r;

        assert_int_equal(audit_record_new(&record, &decision, &naming, 1), 0);
        r = audit_queue_push(queue, lane, record);
        if (r)
                audit_record_free(record);
        return r;
}

static void push_grants(unsigned int from, unsigned int to)
{
        for (unsigned int i = from; i < to; i++)
                assert_int_equal(push(AUDIT_LANE_GRANTS, i), 0);
}

static void expect_uids(unsigned int from, unsigned int to)
{
        for (unsigned int i = from; i < to; i++) {
                char uid[16];

                (void)snprintf(uid, sizeof(uid), "%u", i);
                journal_receive(&journal);
                assert_string_equal(journal_field(&journal, "EGAIN_UID"), uid);
        }
}

/* Every line of the file is a record, of these uids in this order. */
static void expect_lines(const char *path, unsigned int from, unsigned int to)
{
        char *text = read_file(path), *at = text;

        for (unsigned int i = from; i < to; i++) {
                char *end = strchr(at, '\n');
                json_object *object, *uid;

                assert_non_null(end);
                *end = '\0';
                object = json_tokener_parse(at);
                assert_non_null(object);
                assert_true(json_object_object_get_ex(object, "uid", &uid));
                assert_int_equal(json_object_get_int64(uid), i);
                json_object_put(object);
                at = end + 1;
        }
        assert_string_equal(at, "");
        free(text);
}

static void the_queue_is_bounded_to_the_record(void **state)
{
        (void)state;
        for (unsigned int i = 0; i < MAX_RECORDS; i++) {
                assert_true(audit_queue_has_room(queue, AUDIT_LANE_GRANTS));
                assert_int_equal(push(AUDIT_LANE_GRANTS, i), 0);
        }
        assert_false(audit_queue_has_room(queue, AUDIT_LANE_GRANTS));
        assert_int_equal(push(AUDIT_LANE_GRANTS, 0), AUDIT_QUEUE_E_FULL);
        assert_true(audit_queue_has_room(queue, AUDIT_LANE_REFUSALS));
        assert_false(audit_queue_wait_room(queue, AUDIT_LANE_GRANTS, audit_queue_clock_ms()));
        /* What the writer has in its hands still counts. */
        assert_non_null(audit_queue_wait(queue));
        assert_int_equal(push(AUDIT_LANE_GRANTS, 0), AUDIT_QUEUE_E_FULL);
        audit_queue_done(queue, 1, true);
        assert_int_equal(push(AUDIT_LANE_GRANTS, 0), 0);
        assert_int_equal(look()->written, 1);
}

static void grants_are_written_first(void **state)
{
        (void)state;
        for (unsigned int i = 0; i < 5; i++)
                assert_int_equal(push(AUDIT_LANE_REFUSALS, 100 + i), 0);
        push_grants(0, 5);
        journal_open(&journal, folder_path("journal"));
        start();
        assert_int_equal(error, 0);
        expect_uids(0, 5);
        expect_uids(100, 105);
        assert_true(stop());
        assert_int_equal(seen.written, 10);
}

static void a_journal_that_is_slow_gets_everything(void **state)
{
        (void)state;
        journal_open(&journal, folder_path("journal"));
        start();
        push_grants(0, MAX_RECORDS);
        wait_until(look()->error == EAGAIN); /* its queue is full, and it does not read */
        assert_true(look()->n[AUDIT_LANE_GRANTS] > 0);
        expect_uids(0, MAX_RECORDS);
        wait_until(look()->written == MAX_RECORDS);
        assert_int_equal(look()->error, 0);
        assert_true(stop());
}

static void a_journal_that_never_reads_does_not_hold_up_the_end(void **state)
{
        uint64_t begin_ms;

        (void)state;
        journal_open(&journal, folder_path("journal"));
        start();
        push_grants(0, MAX_RECORDS);
        wait_until(look()->error == EAGAIN);
        begin_ms = audit_queue_clock_ms();
        assert_false(stop());
        assert_in_range(audit_queue_clock_ms() - begin_ms, 1000, 3000);
        assert_int_equal(seen.n[AUDIT_LANE_GRANTS] + seen.written, MAX_RECORDS);
}

static void a_journal_may_come_late_and_go_and_come_back(void **state)
{
        const char *const path = folder_path("journal");

        (void)state;
        start();
        assert_int_equal(error, ENOENT);
        push_grants(0, 3);
        wait_until(look()->error == ENOENT);
        assert_int_equal(look()->written, 0);
        journal_open(&journal, path);
        expect_uids(0, 3);
        journal_close(&journal, path);
        push_grants(3, 6);
        wait_until(look()->error != 0);
        assert_int_equal(look()->written, 3);
        journal_open(&journal, path);
        expect_uids(3, 6);
        /* dead, but its socket file is still there */
        close(journal.fd);
        push_grants(6, 9);
        wait_until(look()->error == ECONNREFUSED);
        assert_int_equal(unlink(path), 0);
        journal_open(&journal, path);
        expect_uids(6, 9);
        assert_true(stop());
        assert_int_equal(seen.written, 9);
        assert_int_equal(seen.error, 0);
}

static void what_the_journal_never_takes_is_said_to_be_so(void **state)
{
        static char huge[4 << 20];
        struct audit_sink sink;
        size_t at = 0;

        (void)state;
        journal_open(&journal, folder_path("journal"));
        assert_int_equal(audit_sink_open(&sink, &config, folder_path("journal")), 0);
        memset(huge, 'x', sizeof(huge));
        assert_int_equal(audit_sink_write(&sink, huge, sizeof(huge), &at), AUDIT_SINK_E_UNWRITABLE);
        assert_int_equal(audit_sink_write(&sink, "A=1\n", 4, &at), 0);
        journal_receive(&journal);
        assert_string_equal(journal_field(&journal, "A"), "1");
        audit_sink_close(&sink);
        assert_int_equal(push(AUDIT_LANE_REFUSALS, 1), 0);
        (void)audit_queue_wait(queue);
        audit_queue_done(queue, 1, false);
        assert_int_equal(look()->unwritable[AUDIT_LANE_REFUSALS], 1);
        assert_int_equal(look()->written, 0);
}

static void a_socket_path_too_long_breaks_nothing(void **state)
{
        char path[256];

        (void)state;
        memset(path, 'x', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        assert_int_equal(audit_writer_new(&writer, queue, &config, path, &error), 0);
        assert_int_equal(error, ENAMETOOLONG);
}

static void lines_are_appended_to_a_file_of_ours_alone(void **state)
{
        struct stat st;

        (void)state;
        start_with_file();
        push_grants(0, 3);
        assert_true(stop());
        assert_int_equal(stat(config.file, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        start_with_file();
        push_grants(3, 6);
        assert_true(stop());
        expect_lines(folder_path("audit.jsonl"), 0, 6);
}

static void a_renamed_or_removed_file_is_followed(void **state)
{
        (void)state;
        start_with_file();
        push_grants(0, 3);
        wait_until(look()->written == 3);
        assert_int_equal(rename(config.file, folder_path("audit.1")), 0);
        push_grants(3, 5);
        wait_until(look()->written == 5);
        expect_lines(config.file, 3, 5);
        assert_int_equal(unlink(config.file), 0);
        push_grants(5, 6);
        wait_until(look()->written == 6);
        expect_lines(config.file, 5, 6);
        expect_lines(folder_path("audit.1"), 0, 3);
        assert_true(stop());
}

static void the_old_file_is_kept_where_there_is_no_new_one(void **state)
{
        (void)state;
        start_with_file();
        push_grants(0, 1);
        wait_until(look()->written == 1);
        assert_int_equal(rename(config.file, folder_path("audit.1")), 0);
        assert_int_equal(symlink("/dev/null", config.file), 0);
        push_grants(1, 3);
        wait_until(look()->written == 3);
        assert_int_equal(look()->error, ELOOP);
        expect_lines(folder_path("audit.1"), 0, 3);
        assert_int_equal(unlink(config.file), 0);
        push_grants(3, 4);
        wait_until(look()->written == 4);
        assert_int_equal(look()->error, 0);
        expect_lines(config.file, 3, 4);
        assert_true(stop());
}

static void expect_refused(const char *path, int expected)
{
        config.target = AUDIT_TO_FILE;
        config.file = (char *)path;
        assert_int_equal(audit_writer_new(&writer, queue, &config, "", &error), -expected);
        assert_null(writer);
}

static void files_that_are_no_evidence_are_refused(void **state)
{
        const char *const path = folder_path("audit.jsonl");

        (void)state;
        assert_int_equal(symlink(folder_path("other"), path), 0);
        expect_refused(path, ELOOP);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        expect_refused(path, ENOTSUP); /* and does not wait for a reader */
        assert_int_equal(unlink(path), 0);
        expect_refused("/dev/full", ENOTSUP);
        expect_refused("/tmp", EISDIR);
        assert_int_equal(close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
        for (mode_t bit = 01; bit <= 0100; bit <<= 1) {
                assert_int_equal(chmod(path, 0600 | bit), 0);
                if (bit == S_IWGRP || bit == S_IWOTH) {
                        expect_refused(path, EPERM);
                        continue;
                }
                start_with_file();
                assert_true(stop());
        }
        if (geteuid() != 0)
                return;
        assert_int_equal(chmod(path, 0600), 0);
        assert_int_equal(chown(path, 54321, (gid_t)-1), 0);
        expect_refused(path, EPERM);
}

static void half_a_line_of_somebody_before_us_is_ended(void **state)
{
        char *text;
        int fd;

        (void)state;
        fd = open(folder_path("audit.jsonl"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, "{\"time\":", 8), 8);
        close(fd);
        start_with_file();
        push_grants(0, 1);
        assert_true(stop());
        text = read_file(config.file);
        assert_int_equal(strncmp(text, "{\"time\":\n{\"time\":\"1970", 22), 0);
        assert_int_equal(count_lines(config.file), 2);
        free(text);
}

static void limit_file_size(rlim_t size)
{
        struct rlimit limit;

        assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
        limit.rlim_cur = size;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The kernel writes what fits and refuses the rest, as on a disk that is full. The signal that
 * comes with it is the writer's, and blocked. */
static void a_full_disk_cuts_no_line(void **state)
{
        struct stat st;

        (void)state;
        start_with_file();
        push_grants(0, 2);
        wait_until(look()->written == 2);
        limit_file_size(600); /* some way into the third line */
        push_grants(2, 10);
        wait_until(look()->error == EFBIG);
        assert_int_equal(stat(config.file, &st), 0);
        assert_int_equal(st.st_size, 600);
        assert_int_equal(look()->written + look()->n[AUDIT_LANE_GRANTS], 10);
        limit_file_size(RLIM_INFINITY);
        wait_until(look()->written == 10);
        assert_int_equal(look()->error, 0);
        expect_lines(config.file, 0, 10);
        assert_true(stop());
}

static void a_line_that_was_cut_is_whole_in_the_next_file(void **state)
{
        (void)state;
        start_with_file();
        limit_file_size(100);
        push_grants(0, 1);
        wait_until(look()->error == EFBIG);
        assert_int_equal(rename(config.file, folder_path("audit.1")), 0);
        limit_file_size(RLIM_INFINITY);
        wait_until(look()->written == 1);
        expect_lines(config.file, 0, 1);
        assert_true(stop());
}

static void of_lines_written_at_once_only_what_was_cut_is_in_the_next_file(void **state)
{
        size_t whole;

        (void)state;
        start_with_file();
        limit_file_size(1000);
        push_grants(0, 20);
        wait_until(look()->error == EFBIG);
        whole = count_lines(config.file);
        assert_in_range(whole, 2, 18);
        wait_until(look()->written == whole);
        assert_int_equal(rename(config.file, folder_path("audit.1")), 0);
        limit_file_size(RLIM_INFINITY);
        wait_until(look()->written == 20);
        expect_lines(config.file, (unsigned int)whole, 20);
        assert_true(stop());
}

static void stderr_to(int fd)
{
        assert_true(dup2(fd, STDERR_FILENO) >= 0);
}

static void a_pipe_nobody_reads_does_not_hold_up_the_end(void **state)
{
        const int saved = dup(STDERR_FILENO);
        uint64_t begin_ms;
        int ends[2];
        char bytes[4096];
        ssize_t n;

        (void)state;
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        stderr_to(ends[1]);
        config.target = AUDIT_TO_STDERR;
        start();
        stderr_to(saved);
        push_grants(0, MAX_RECORDS);
        wait_until(look()->error == EAGAIN);
        assert_true(look()->written > 0);
        /* Others write to the pipe, too, and have not asked for this. */
        assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
        begin_ms = audit_queue_clock_ms();
        assert_false(stop());
        assert_in_range(audit_queue_clock_ms() - begin_ms, 1000, 3000);
        close(ends[1]);
        n = read(ends[0], bytes, sizeof(bytes));
        assert_true(n > 0);
        assert_int_equal(strncmp(bytes, "{\"time\":\"1970", 13), 0);
        close(ends[0]);
        close(saved);
}

static void a_pipe_that_is_read_gets_everything(void **state)
{
        const int saved = dup(STDERR_FILENO);
        size_t n_lines = 0;
        int ends[2];

        (void)state;
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        stderr_to(ends[1]);
        config.target = AUDIT_TO_STDERR;
        start();
        stderr_to(saved);
        close(ends[1]);
        push_grants(0, MAX_RECORDS);
        while (n_lines < MAX_RECORDS) {
                char bytes[4096];
                const ssize_t n = read(ends[0], bytes, sizeof(bytes));

                assert_true(n > 0);
                for (ssize_t i = 0; i < n; i++)
                        n_lines += bytes[i] == '\n';
        }
        assert_true(stop());
        assert_int_equal(seen.written, MAX_RECORDS);
        /* The last reader goes: no signal, and what comes then is not written. */
        close(ends[0]);
        close(saved);
}

static void a_pipe_whose_reader_went_kills_nobody(void **state)
{
        const int saved = dup(STDERR_FILENO);
        int ends[2];

        (void)state;
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        stderr_to(ends[1]);
        config.target = AUDIT_TO_STDERR;
        start();
        stderr_to(saved);
        close(ends[0]);
        push_grants(0, 1);
        wait_until(look()->error == EPIPE);
        close(ends[1]);
        close(saved);
}

static void standard_error_may_be_a_socket_or_a_file(void **state)
{
        const int saved = dup(STDERR_FILENO);
        char byte;
        int ends[2], file;

        (void)state;
        config.target = AUDIT_TO_STDERR;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        stderr_to(ends[1]);
        start();
        stderr_to(saved);
        push_grants(0, MAX_RECORDS);
        wait_until(look()->error == EAGAIN); /* nobody reads */
        for (size_t n_lines = 0; n_lines < MAX_RECORDS; n_lines += byte == '\n')
                assert_int_equal(read(ends[0], &byte, 1), 1);
        assert_true(stop());
        close(ends[0]);
        close(ends[1]);
        file = open(folder_path("stderr"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        stderr_to(file);
        start();
        stderr_to(saved);
        push_grants(0, 5);
        assert_true(stop());
        expect_lines(folder_path("stderr"), 0, 5);
        close(file);
        close(saved);
}

/* Of a thread of ours; as proc(5) has it. */
static uint64_t blocked_signals_of(const char *thread)
{
        char path[64], line[256];
        uint64_t blocked = 0;
        FILE *status;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/status", thread);
        status = fopen(path, "re");
        assert_non_null(status);
        while (fgets(line, sizeof(line), status))
                if (strncmp(line, "SigBlk:", 7) == 0)
                        blocked = strtoull(line + 7, NULL, 16);
        (void)fclose(status);
        return blocked;
}

static void signals_are_not_the_writers(void **state)
{
        const uint64_t wanted = UINT64_C(1) << (SIGTERM - 1) | UINT64_C(1) << (SIGHUP - 1) |
                                UINT64_C(1) << (SIGPIPE - 1) | UINT64_C(1) << (SIGXFSZ - 1) |
                                UINT64_C(1) << (SIGCHLD - 1);
        unsigned int n_blocking = 0;
        char own[16];
        DIR *threads;

        (void)state;
        start();
        (void)snprintf(own, sizeof(own), "%d", (int)getpid());
        assert_int_equal(blocked_signals_of(own) & wanted, 0);
        threads = opendir("/proc/self/task");
        assert_non_null(threads);
        for (struct dirent *it = readdir(threads); it; it = readdir(threads))
                if (it->d_name[0] != '.' && (blocked_signals_of(it->d_name) & wanted) == wanted)
                        n_blocking++;
        closedir(threads);
        assert_true(n_blocking >= 1);
}

static void an_idle_writer_ends_at_once(void **state)
{
        const uint64_t begin_ms = audit_queue_clock_ms();

        (void)state;
        for (int i = 0; i < 20; i++) {
                start();
                assert_true(stop());
        }
        assert_true(audit_queue_clock_ms() - begin_ms < 5000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        const struct CMUnitTest tests[] = {
                TEST(the_queue_is_bounded_to_the_record),
                TEST(grants_are_written_first),
                TEST(a_journal_that_is_slow_gets_everything),
                TEST(a_journal_that_never_reads_does_not_hold_up_the_end),
                TEST(a_journal_may_come_late_and_go_and_come_back),
                TEST(what_the_journal_never_takes_is_said_to_be_so),
                TEST(a_socket_path_too_long_breaks_nothing),
                TEST(lines_are_appended_to_a_file_of_ours_alone),
                TEST(a_renamed_or_removed_file_is_followed),
                TEST(the_old_file_is_kept_where_there_is_no_new_one),
                TEST(files_that_are_no_evidence_are_refused),
                TEST(half_a_line_of_somebody_before_us_is_ended),
                TEST(a_full_disk_cuts_no_line),
                TEST(a_line_that_was_cut_is_whole_in_the_next_file),
                TEST(of_lines_written_at_once_only_what_was_cut_is_in_the_next_file),
                TEST(a_pipe_nobody_reads_does_not_hold_up_the_end),
                TEST(a_pipe_that_is_read_gets_everything),
                TEST(a_pipe_whose_reader_went_kills_nobody),
                TEST(standard_error_may_be_a_socket_or_a_file),
                TEST(signals_are_not_the_writers),
                TEST(an_idle_writer_ends_at_once),
        };
#undef TEST

        return cmocka_run_group_tests(tests, NULL, NULL);
}
