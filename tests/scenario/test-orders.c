/* SPDX-License-Identifier: MIT */

/*
 * Every order of hit, join, fail, deadline, cancel, evict and expire: all sequences of events up to
 * a depth, and long random ones, played in the world and in the model, which must agree after each
 * event.
 */

#include "model.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Sequences of this many events are tried without exception. */
#define DEPTH 6

#define WALKS       3000
#define WALK_EVENTS 60

enum event {
        EVENT_ASK_A,
        EVENT_ASK_B,
        EVENT_ASK_A_LONG, /* with a min_ttl that only a young token satisfies */
        EVENT_REJECT_A,   /* somebody who was given the current token reports it */
        EVENT_TOKEN,
        EVENT_REFUSE,
        EVENT_FAIL,
        EVENT_NEXT, /* time passes until something comes due */
        EVENT_11_S, /* a young token is no longer young, and a refusal is forgiven */
        EVENT_55_S, /* a new token is spent; every deadline has passed */
        EVENT_SLEEP_58_S,
        EVENT_SLEEP_1_H,
        EVENT_WAKE, /* the first tick after a sleep */
        EVENT_DRAIN,
        EVENT_ABORT,
        _EVENT_N,
};

static const char *const event_names[_EVENT_N] = {
        "ask-a", "ask-b", "ask-a-long", "reject-a", "token", "refuse", "fail",  "next",
        "11s",   "55s",   "sleep-58s",  "sleep-1h", "wake",  "drain",  "abort",
};

static const char *const key_names[MODEL_KEYS] = {"a", "b"};

/* One sequence, being played. */
struct play {
        struct world world;
        struct model model;
        struct caller callers[MODEL_CALLERS_MAX];
        enum event events[MODEL_CALLERS_MAX];
        size_t n_events;
        bool asleep; /* a sleep, and no tick since */
};

static struct play *in_progress; /* printed where a test fails */

static int print_sequence(void **state)
{
        (void)state;
        if (!in_progress)
                return 0;
        print_error("# the sequence was:");
        for (size_t i = 0; i < in_progress->n_events; i++)
                print_error(" %s", event_names[in_progress->events[i]]);
        print_error("\n");
        in_progress = NULL;
        return 0;
}

static void compare(struct play *play)
{
        const struct broker_counters counters = world_counters(&play->world);
        size_t n_flights = 0;

        for (size_t i = 0; i < play->model.n_callers; i++) {
                const struct model_caller *expected = &play->model.callers[i];
                const struct caller *caller = &play->callers[i];

                assert_int_equal(caller->waits, expected->waits);
                if (expected->waits)
                        continue;
                assert_int_equal(caller->n_replies, 1);
                assert_int_equal(caller->reason, expected->reason);
                assert_int_equal(caller->serial, expected->serial);
        }
        for (int i = 0; i < MODEL_KEYS; i++)
                n_flights += play->model.keys[i].in_flight;
        assert_int_equal(counters.flights, n_flights);
        assert_int_equal(counters.in_flight, model_running(&play->model) >= 0);
        assert_int_equal(counters.entries, play->model.cached_serial > 0);
}

static void set_lifetime(struct world *world, struct fetch *fetch)
{
        (void)world;
        fetch->lifetime_s = MODEL_LIFETIME_MS / 1000;
}

static void begin(struct play *play)
{
        play->model = (struct model){.cached_key = -1};
        play->n_events = 0;
        play->asleep = false;
        world_init(&play->world);
        model_settings(&play->world.settings);
        play->world.script = set_lifetime;
        world_start(&play->world);
        in_progress = play;
}

static void end(struct play *play)
{
        world_end(&play->world);
        in_progress = NULL;
}

static void ask(struct play *play, int key, uint64_t min_ttl_s, const struct caller *rejects)
{
        struct caller *caller = &play->callers[play->model.n_callers];

        *caller = (struct caller){};
        model_ask(&play->model, key, min_ttl_s * 1000, rejects != NULL, play->world.now_ms);
        world_ask(&play->world, caller,
                  (struct wish){.subject = TEXT(key_names[key]),
                                .min_ttl_s = min_ttl_s,
                                .rejects = rejects});
}

/* Somebody who was given the token that is cached for the first key, or NULL. */
static const struct caller *holder(const struct play *play)
{
        const struct model *model = &play->model;

        for (size_t i = 0; i < model->n_callers; i++)
                if (model->cached_serial && model->cached_key == 0 &&
                    play->callers[i].serial == model->cached_serial)
                        return &play->callers[i];
        return NULL;
}

static void finish(struct play *play, enum ending ending)
{
        const int key = model_running(&play->model);
        struct fetch *fetch = world_oldest(&play->world);

        assert_true(text_equal(fetch->matter.subject, TEXT(key_names[key])));
        assert_int_equal(fetch->sent_at_ms, play->model.keys[key].sent_at_ms);
        model_finish(&play->model, ending, play->world.now_ms);
        world_finish(&play->world, fetch, ending);
}

static void pass(struct play *play, uint64_t ms)
{
        const uint64_t from_ms = play->world.now_ms;

        world_advance(&play->world, ms);
        model_pass(&play->model, from_ms, play->world.now_ms);
        play->asleep = false;
}

/* Until something comes due, which may be over already. */
static void pass_to_next(struct play *play)
{
        const uint64_t next_ms = broker_next_tick_ms(play->world.broker);

        pass(play, next_ms > play->world.now_ms ? next_ms - play->world.now_ms : 0);
}

static bool has_happened(const struct play *play, enum event event)
{
        for (size_t i = 0; i < play->n_events; i++)
                if (play->events[i] == event)
                        return true;
        return false;
}

/* Whether the event can happen now, would change anything, and is not what another sequence tries
 * with a and b exchanged. */
static bool can_happen(const struct play *play, enum event event)
{
        const bool asked = play->model.n_callers > 0;

        switch (event) {
        case EVENT_ASK_B: return asked;
        case EVENT_REJECT_A: return holder(play) != NULL;
        case EVENT_TOKEN:
                return play->world.n_fetches > 0 &&
                       !model_is_too_late(&play->model, play->world.now_ms);
        case EVENT_REFUSE:
        case EVENT_FAIL: return play->world.n_fetches > 0;
        case EVENT_NEXT:
                return !play->asleep && broker_next_tick_ms(play->world.broker) != TIMERHEAP_NEVER;
        case EVENT_11_S:
        case EVENT_55_S:
        case EVENT_SLEEP_58_S:
        case EVENT_SLEEP_1_H: return !play->asleep && asked;
        case EVENT_WAKE: return play->asleep;
        case EVENT_DRAIN: return !has_happened(play, event);
        case EVENT_ABORT: return asked && !has_happened(play, event);
        default: return true;
        }
}

static void happen(struct play *play, enum event event)
{
        struct world *world = &play->world;

        play->events[play->n_events++] = event;
        switch (event) {
        case EVENT_ASK_A: ask(play, 0, 0, NULL); break;
        case EVENT_ASK_B: ask(play, 1, 0, NULL); break;
        case EVENT_ASK_A_LONG: ask(play, 0, 3600, NULL); break;
        case EVENT_REJECT_A: ask(play, 0, 0, holder(play)); break;
        case EVENT_TOKEN: finish(play, ENDING_TOKEN); break;
        case EVENT_REFUSE: finish(play, ENDING_SUBJECT_REFUSED); break;
        case EVENT_FAIL: finish(play, ENDING_REDIRECT); break;
        case EVENT_NEXT: pass_to_next(play); break;
        case EVENT_11_S: pass(play, 11 * SECONDS); break;
        case EVENT_55_S: pass(play, 55 * SECONDS); break;
        case EVENT_SLEEP_58_S:
        case EVENT_SLEEP_1_H:
                world_suspend(world, event == EVENT_SLEEP_1_H ? 1 * HOURS : 58 * SECONDS);
                play->asleep = true;
                break;
        case EVENT_WAKE: pass(play, 0); break;
        case EVENT_DRAIN:
                broker_drain(world->broker, world->now_ms);
                model_drain(&play->model);
                break;
        case EVENT_ABORT:
                world_abort(world);
                model_abort(&play->model, world->now_ms);
                break;
        case _EVENT_N: break;
        }
        compare(play);
}

/* Plays the events, and puts the first that cannot happen into *ret, or the number of events. */
static size_t play_sequence(struct play *play, const enum event events[static DEPTH])
{
        size_t i = 0;

        begin(play);
        while (i < DEPTH && can_happen(play, events[i]))
                happen(play, events[i++]);
        end(play);
        return i;
}

static void the_broker_agrees_with_the_model_on_every_sequence_of_events(void **state)
{
        static struct play play;
        enum event events[DEPTH] = {0};
        uint64_t n_played = 0;

        (void)state;
        for (;;) {
                size_t at = play_sequence(&play, events);

                n_played += at == DEPTH;
                /* On to the next sequence, past all that begin like one that cannot happen. */
                at = at < DEPTH ? at : DEPTH - 1;
                for (size_t i = at + 1; i < DEPTH; i++)
                        events[i] = 0;
                while (++events[at] == _EVENT_N) {
                        events[at] = 0;
                        if (at-- == 0) {
                                print_message("# %" PRIu64 " sequences of %d events\n", n_played,
                                              DEPTH);
                                return;
                        }
                }
        }
}

static void the_broker_agrees_with_the_model_on_long_random_walks(void **state)
{
        static struct play play;

        (void)state;
        for (unsigned int seed = 1; seed <= WALKS; seed++) {
                unsigned int random = seed;

                begin(&play);
                while (play.n_events < WALK_EVENTS) {
                        const enum event event = (enum event)(rand_r(&random) % _EVENT_N);

                        /* The end comes late, if at all. */
                        if (event >= EVENT_DRAIN && play.n_events < WALK_EVENTS - 10)
                                continue;
                        if (can_happen(&play, event))
                                happen(&play, event);
                }
                end(&play);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(
                        the_broker_agrees_with_the_model_on_every_sequence_of_events,
                        print_sequence),
                cmocka_unit_test_teardown(the_broker_agrees_with_the_model_on_long_random_walks,
                                          print_sequence),
        };

        return cmocka_run_group_tests_name("orders", tests, NULL, NULL);
}
