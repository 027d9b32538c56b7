/* SPDX-License-Identifier: MIT */

/*
 * services: hundreds of services of one user that ask egain-tokend for tokens, at a rate, and a
 * checker that holds every answer against what was asked.
 *
 * Commands come as lines on standard input, and each is answered with a line of JSON when it has
 * been taken in. A failure is a line of JSON, too, that begins with "failure"; unless told to keep
 * going, it is the last. Times are of CLOCK_MONOTONIC.
 *
 *   rate N            questions a second
 *   pause, go         no question begins; they do again
 *   down, up          from now on connections may end; a new life of the daemon begins
 *   manners on|off    whether some services are slow, or hang up
 *   excuse WORDS      what the issuer and the operator do just now, see check.h
 *   repeats on|off    whether the issuer may hand out one token twice
 *   taken CLIENT KIND SUBJECT SCOPE AT_MS
 *   stats             what was asked and answered in this life of the daemon
 *   quit
 */

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <signal.h>
#include <unistd.h>

#include <json-c/json.h>

#include "service.h"

#define EVENTS           64
#define TICK_MS          10
#define TURN_MS          2
#define RATE_DEFAULT     200
#define SERVICES_DEFAULT 50
#define SERVICES_MAX     4096
#define COMMAND_BYTES    65536
#define BURST_MS         200 /* of questions that could not be asked in time, no more are made up for */
#define USAGE_STATUS     64

static struct {
        struct town town;
        struct service *services;
        size_t n_services, next;
        double rate, budget;
        bool paused, ended;
        char command[COMMAND_BYTES];
        size_t command_size;
} program = {.n_services = SERVICES_DEFAULT, .rate = RATE_DEFAULT};

static struct check check;
static struct questions questions;

static void say(struct json_object *json)
{
        (void)printf("%s\n", json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN));
        (void)fflush(stdout);
        json_object_put(json);
}

static void add_number(struct json_object *json, const char *name, uint64_t number)
{
        if (number > 0)
                (void)json_object_object_add(json, name, json_object_new_uint64(number));
}

static struct json_object *render_reasons(const uint64_t counts[static _REASON_N])
{
        struct json_object *json = json_object_new_object();

        for (enum reason reason = REASON_NONE; reason < _REASON_N; reason++)
                add_number(json, reason ? reason_info(reason)->code : "none", counts[reason]);
        return json;
}

static struct json_object *render_stats(void)
{
        const struct tally *tally = &check.tally;
        struct json_object *json = json_object_new_object(), *tokens = json_object_new_object();
        char name[32];

        for (enum answer_cache cache = ANSWER_CACHE_HIT; cache < _ANSWER_CACHE_N; cache++)
                for (int collapsed = 0; collapsed < 2; collapsed++) {
                        (void)snprintf(name, sizeof(name), "%s%s", answer_cache_names[cache],
                                       collapsed ? "+collapsed" : "");
                        add_number(tokens, name, tally->tokens[cache][collapsed]);
                }
        (void)json_object_object_add(json, "answers", render_reasons(tally->answers));
        (void)json_object_object_add(json, "others", render_reasons(tally->others));
        (void)json_object_object_add(json, "tokens", tokens);
        (void)json_object_object_add(json, "old", json_object_new_uint64(tally->old));
        (void)json_object_object_add(json, "unseen", json_object_new_uint64(tally->unseen));
        (void)json_object_object_add(json, "busy", json_object_new_uint64(program.town.n_busy));
        (void)json_object_object_add(json, "checked", json_object_new_uint64(check.n_checked));
        (void)json_object_object_add(json, "failures", json_object_new_uint64(check.n_failures));
        return json;
}

static void begin_life(void)
{
        for (size_t i = 0; i < program.n_services; i++)
                service_drop(&program.services[i], &program.town);
        check.tally = (struct tally){0};
        program.town.down = false;
}

static bool is_on(const char *word, bool *ret)
{
        *ret = strcmp(word, "on") == 0;
        return *ret || strcmp(word, "off") == 0;
}

/* Whether the command is one. */
static bool obey(const char *command, const char *rest)
{
        bool on;

        if (strcmp(command, "rate") == 0) {
                program.rate = strtod(rest, NULL);
        } else if (strcmp(command, "pause") == 0) {
                program.paused = true;
        } else if (strcmp(command, "go") == 0) {
                program.paused = false;
        } else if (strcmp(command, "down") == 0) {
                program.town.down = true;
        } else if (strcmp(command, "up") == 0) {
                begin_life();
        } else if (strcmp(command, "manners") == 0 && is_on(rest, &on)) {
                program.town.manners = on;
        } else if (strcmp(command, "repeats") == 0 && is_on(rest, &on)) {
                check_repeat(&check, on);
        } else if (strcmp(command, "excuse") == 0) {
                return check_excuse(&check, rest);
        } else if (strcmp(command, "taken") == 0) {
                return check_take(&check, rest);
        } else if (strcmp(command, "quit") == 0) {
                program.ended = true;
        } else {
                return false;
        }
        return true;
}

static void take_line(char *line)
{
        struct json_object *json;
        char *rest = line, *command = strsep(&rest, " ");
        bool good = true;

        if (strcmp(command, "stats") == 0) {
                say(render_stats());
                return;
        }
        good = obey(command, rest ? rest : "");
        json = json_object_new_object();
        (void)json_object_object_add(json, good ? "done" : "unknown",
                                     json_object_new_string(command));
        say(json);
}

static void take_commands(void)
{
        const ssize_t n = read(STDIN_FILENO, program.command + program.command_size,
                               sizeof(program.command) - program.command_size);
        char *at = program.command, *end;

        if (n <= 0) {
                program.ended = n == 0 || errno != EAGAIN;
                return;
        }
        program.command_size += (size_t)n;
        while ((end = memchr(at, '\n', (size_t)(program.command + program.command_size - at)))) {
                *end = '\0';
                take_line(at);
                at = end + 1;
        }
        program.command_size -= (size_t)(at - program.command);
        memmove(program.command, at, program.command_size);
        if (program.command_size == sizeof(program.command))
                program.ended = true;
}

/* The next service that asks nothing; NULL: there is none. */
static struct service *find_free(void)
{
        for (size_t i = 0; i < program.n_services; i++) {
                struct service *service = &program.services[program.next];

                program.next = (program.next + 1) % program.n_services;
                if (service->state == SERVICE_FREE)
                        return service;
        }
        return NULL;
}

static void ask(uint64_t elapsed_ms, uint64_t now_ms)
{
        const double most = program.rate * BURST_MS / 1000 + 1;
        struct service *service;

        if (program.paused)
                return;
        program.budget += program.rate * (double)elapsed_ms / 1000;
        if (program.budget > most)
                program.budget = most;
        while (program.budget >= 1 && (service = find_free())) {
                program.budget--;
                if (!service_ask(service, &program.town, now_ms))
                        break;
        }
}

static void run(void)
{
        struct epoll_event events[EVENTS];
        uint64_t now_ms = check_now_ms(), ticked_ms = now_ms;

        while (!program.ended) {
                const uint64_t before_ms = now_ms;
                const int n = epoll_wait(program.town.epoll, events, EVENTS, TURN_MS);

                now_ms = check_now_ms();
                for (int i = 0; i < n; i++) {
                        if (events[i].data.ptr)
                                service_handle(events[i].data.ptr, &program.town, events[i].events,
                                               now_ms);
                        else
                                take_commands();
                }
                if (now_ms >= ticked_ms + TICK_MS) {
                        ticked_ms = now_ms;
                        for (size_t i = 0; i < program.n_services; i++)
                                service_tick(&program.services[i], &program.town, now_ms);
                }
                ask(now_ms - before_ms, now_ms);
        }
}

static bool add_unix(struct town *town, const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};

        const size_t size = strlen(path) + 1;

        if (size > sizeof(address.sun_path) || town->n_addresses > 0)
                return false;
        memcpy(address.sun_path, path, size);
        memcpy(&town->addresses[0], &address, sizeof(address));
        town->address_sizes[town->n_addresses++] = sizeof(address);
        return true;
}

static bool add_tcp(struct town *town, long port)
{
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};

        if (town->n_addresses > 1 || port < 1 || port > UINT16_MAX)
                return false;
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        v6.sin6_addr = in6addr_loopback;
        memcpy(&town->addresses[town->n_addresses], &v4, sizeof(v4));
        town->address_sizes[town->n_addresses++] = sizeof(v4);
        memcpy(&town->addresses[town->n_addresses], &v6, sizeof(v6));
        town->address_sizes[town->n_addresses++] = sizeof(v6);
        return true;
}

static bool parse_option(int option, char *value)
{
        static char nothing[] = "";
        static uint64_t seed;
        long number;

        value = value ? value : nothing;
        number = strtol(value, NULL, 10);

        switch (option) {
        case 'u': return add_unix(&program.town, value);
        case 't': return add_tcp(&program.town, number);
        case 'c': return questions_add_client(&questions, value);
        case 'n': program.n_services = (size_t)number; return number > 0 && number <= SERVICES_MAX;
        case 's': seed = (uint64_t)number; break;
        case 'p': questions.process = (unsigned int)number; break;
        case 'a': program.town.answer_max_ms = (uint64_t)number; return number > 0;
        case 'f': check.fetch_max_ms = (uint64_t)number; return number > 0;
        case 'l': questions.limited = true; return true;
        case 'k': check.keep_going = true; return true;
        default: return false;
        }
        program.town.dice = dice_of(seed * 1009 + questions.process);
        return true;
}

static bool parse(int argc, char **argv)
{
        static const struct option options[] = {
                {"unix", required_argument, NULL, 'u'},
                {"tcp", required_argument, NULL, 't'},
                {"client", required_argument, NULL, 'c'},
                {"services", required_argument, NULL, 'n'},
                {"seed", required_argument, NULL, 's'},
                {"process", required_argument, NULL, 'p'},
                {"answer-max-ms", required_argument, NULL, 'a'},
                {"fetch-max-ms", required_argument, NULL, 'f'},
                {"limited", no_argument, NULL, 'l'},
                {"keep-going", no_argument, NULL, 'k'},
                {0},
        };
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
                if (!parse_option(option, optarg))
                        return false;
        return optind == argc && program.town.n_addresses > 0 && questions.n_clients > 0;
}

int main(int argc, char **argv)
{
        struct epoll_event event = {.events = EPOLLIN};

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        questions_init(&questions, 0);
        check.fetch_max_ms = 15000;
        check.token_life_max_ms = 86400000;
        program.town.answer_max_ms = 35000;
        program.town.check = &check;
        program.town.questions = &questions;
        program.town.dice = dice_of(1);
        program.paused = true;
        if (!parse(argc, argv)) {
                (void)fprintf(stderr, "usage: services [--unix PATH] [--tcp PORT] --client NAME:ID:"
                                      "TENANT:ucad … [--services N] [--process N] [--seed N]\n");
                return USAGE_STATUS;
        }
        program.services = calloc(program.n_services, sizeof(*program.services));
        program.town.epoll = epoll_create1(EPOLL_CLOEXEC);
        if (!program.services || program.town.epoll < 0 ||
            epoll_ctl(program.town.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
                return 1;
        for (size_t i = 0; i < program.n_services; i++)
                service_init(&program.services[i]);
        run();
        for (size_t i = 0; i < program.n_services; i++)
                service_drop(&program.services[i], &program.town);
        free(program.services);
        (void)close(program.town.epoll);
        return check.n_failures > 0;
}
