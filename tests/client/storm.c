/* SPDX-License-Identifier: MIT */

/*
 * storm SOCKET THREADS CALLS SECONDS SUBJECTS KEEP_MS FORKS: threads that call the library until
 * they have made that many calls and that much time has passed. Every token must be of the subject
 * that was asked for. Meanwhile the process forks, and each child must get a token, too, without a
 * connection of its parent's.
 *
 * Says on standard output how far it is ("at 25"), and in the end what came of it.
 */

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "egain_token.h"

#define THREADS_MAX     256
#define CHILD_SECONDS   60
#define REJECTS_ONE_OF  5000
#define MIN_TTL_ONE_OF  97
#define PAYLOAD_MAX     8192
#define SUBJECT_MAX     64
#define ERRORS_SHOWN    5
#define ERROR_NUMBERS   64
#define TOKEN_MIN_TTL_S 1
#define DESCRIPTORS_MAX 1024

static struct {
        struct egain_token_broker *broker;
        const char *path;
        uint64_t calls_wanted;
        uint64_t begun_s, seconds;
        unsigned int subjects, percent;
        atomic_uint_fast64_t calls, wrong;
        atomic_uint_fast64_t errors[ERROR_NUMBERS];
        atomic_uint forks; /* still to come */
        atomic_uint shown;
} storm;

static uint64_t now_s(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec;
}

static int digit_of(char c)
{
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                     "0123456789-_";
        const char *at = c ? strchr(digits, c) : NULL;

        return at ? (int)(at - digits) : -1;
}

/* Whether the payload of a JWT names the subject. */
static bool is_of(const char *token, const char *subject)
{
        char payload[PAYLOAD_MAX], wanted[SUBJECT_MAX + 16];
        unsigned int bits = 0, n_bits = 0;
        const char *at = strchr(token, '.');
        size_t size = 0;
        int digit;

        while (at && (digit = digit_of(*++at)) >= 0 && size < sizeof(payload) - 1) {
                bits = bits << 6 | (unsigned int)digit;
                n_bits += 6;
                if (n_bits >= 8) {
                        n_bits -= 8;
                        payload[size++] = (char)(bits >> n_bits);
                }
        }
        payload[size] = '\0';
        (void)snprintf(wanted, sizeof(wanted), "\"sub\":\"%s\"", subject);
        return strstr(payload, wanted);
}

static void count_error(int error, const char *message)
{
        storm.errors[error >= 0 && error < ERROR_NUMBERS ? error : 0]++;
        if (atomic_fetch_add(&storm.shown, 1) < ERRORS_SHOWN)
                (void)fprintf(stderr, "error %d: %s\n", error, message);
}

/* One call, and now and then a second that says that the token was refused. */
static void call_once(unsigned int *seed)
{
        struct egain_token_request request = EGAIN_TOKEN_REQUEST_INIT;
        struct egain_token_failure failure = EGAIN_TOKEN_FAILURE_INIT;
        struct egain_token *token, *other;
        char subject[SUBJECT_MAX];
        int r;

        (void)snprintf(subject, sizeof(subject), "storm-%d", rand_r(seed) % (int)storm.subjects);
        request.kind = EGAIN_TOKEN_USERNAME;
        request.client = "portal";
        request.subject = subject;
        request.min_ttl_s = rand_r(seed) % MIN_TTL_ONE_OF == 0 ? TOKEN_MIN_TTL_S : 0;
        r = egain_token_get(storm.broker, &request, &token, &failure);
        if (r != EGAIN_TOKEN_OK) {
                count_error(r, failure.message);
                return;
        }
        storm.wrong += !is_of(egain_token_value(token), subject);
        if (rand_r(seed) % REJECTS_ONE_OF == 0 &&
            egain_token_reject(storm.broker, &request, token, &other, NULL) == EGAIN_TOKEN_OK) {
                /* Within a step the daemon has no other, which is no fault here. */
                storm.wrong += !is_of(egain_token_value(other), subject);
                egain_token_unref(other);
        }
        egain_token_unref(token);
}

static bool is_over(void)
{
        return storm.calls >= storm.calls_wanted && now_s() - storm.begun_s >= storm.seconds &&
               storm.forks == 0;
}

static void *run(void *data)
{
        unsigned int *seed = data;

        while (!is_over()) {
                call_once(seed);
                storm.calls++;
        }
        return NULL;
}

/* Connections to the daemon among the descriptors of this process. */
static unsigned int count_connections(void)
{
        struct sockaddr_un peer;
        unsigned int n = 0;
        socklen_t size;

        for (int fd = 3; fd < DESCRIPTORS_MAX; fd++) {
                peer = (struct sockaddr_un){};
                size = sizeof(peer);
                n += getpeername(fd, (struct sockaddr *)&peer, &size) == 0 &&
                     peer.sun_family == AF_UNIX && strcmp(peer.sun_path, storm.path) == 0;
        }
        return n;
}

/* 0: all is as it must be. */
static int be_child(unsigned int number)
{
        struct egain_token_counters counters = EGAIN_TOKEN_COUNTERS_INIT;

        (void)alarm(CHILD_SECONDS);
        if (count_connections() != 0)
                return 2;
        memset(storm.errors, 0, sizeof(storm.errors));
        storm.wrong = 0;
        call_once(&number);
        for (size_t i = 0; i < ERROR_NUMBERS; i++)
                if (storm.errors[i])
                        return 3;
        (void)egain_token_broker_counters(storm.broker, &counters);
        egain_token_broker_free(storm.broker);
        return storm.wrong ? 4 : 0;
}

static bool fork_once(unsigned int number)
{
        const pid_t child = fork();
        int status;

        if (child == 0)
                _exit(be_child(number));
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
                (void)fprintf(stderr, "child %u: status %#x\n", number, child < 0 ? -1 : status);
                return false;
        }
        return true;
}

/* How far it is, by what lags behind. */
static unsigned int percent_done(void)
{
        const uint64_t by_calls = storm.calls * 100 / storm.calls_wanted;
        const uint64_t by_time = storm.seconds ? (now_s() - storm.begun_s) * 100 / storm.seconds
                                               : 100;
        const uint64_t least = by_calls < by_time ? by_calls : by_time;

        return least < 100 ? (unsigned int)least : 100;
}

/* Forks all the time; how many children went wrong. */
static unsigned int watch(void)
{
        const struct timespec pause = {.tv_nsec = 5000000};
        unsigned int number = 0, bad = 0;

        while (!is_over()) {
                const unsigned int percent = percent_done();

                while (storm.percent < percent) {
                        (void)printf("at %u\n", ++storm.percent);
                        (void)fflush(stdout);
                }
                if (storm.forks > 0) {
                        bad += !fork_once(++number);
                        storm.forks--;
                }
                (void)nanosleep(&pause, NULL);
        }
        return bad;
}

static void report(unsigned int bad_children)
{
        struct egain_token_counters counters = EGAIN_TOKEN_COUNTERS_INIT;
        uint64_t errors = 0;

        for (size_t i = 0; i < ERROR_NUMBERS; i++)
                errors += storm.errors[i];
        (void)egain_token_broker_counters(storm.broker, &counters);
        (void)printf("calls=%" PRIu64 " errors=%" PRIu64 " wrong=%" PRIu64 " bad_children=%u "
                     "seconds=%" PRIu64 " kept=%" PRIu64 " joined=%" PRIu64 " asked=%" PRIu64
                     " retried=%" PRIu64 " evicted=%" PRIu64 "\n",
                     (uint64_t)storm.calls, errors, (uint64_t)storm.wrong, bad_children,
                     now_s() - storm.begun_s, counters.kept, counters.joined, counters.asked,
                     counters.retried, counters.evicted);
}

static unsigned int number(const char *text)
{
        return (unsigned int)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
        struct egain_token_options options = EGAIN_TOKEN_OPTIONS_INIT;
        unsigned int seeds[THREADS_MAX], n, bad;
        pthread_t threads[THREADS_MAX];

        if (argc != 8 || number(argv[2]) > THREADS_MAX)
                return 64;
        options.socket_path = storm.path = argv[1];
        options.timeout_ms = 120000;
        options.patience_ms = 60000;
        options.keep_ms = number(argv[6]);
        n = number(argv[2]);
        storm.calls_wanted = number(argv[3]);
        storm.seconds = number(argv[4]);
        storm.subjects = number(argv[5]);
        storm.forks = number(argv[7]);
        storm.begun_s = now_s();
        if (egain_token_broker_new(&storm.broker, &options) != EGAIN_TOKEN_OK)
                return 70;
        for (unsigned int i = 0; i < n; i++) {
                seeds[i] = i + 1;
                if (pthread_create(&threads[i], NULL, run, &seeds[i]) != 0)
                        return 71;
        }
        bad = watch();
        for (unsigned int i = 0; i < n; i++)
                (void)pthread_join(threads[i], NULL);
        report(bad);
        egain_token_broker_free(storm.broker);
        return 0;
}
