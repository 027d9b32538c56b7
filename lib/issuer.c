/* SPDX-License-Identifier: MIT */

/*
 * An issuer stands in the list of those that are ready exactly while it has a flight to start, a
 * free place, and a breaker that lets it. Starting takes from the front and puts the issuer at the
 * back, so that one slow URL with a long queue cannot keep the places of all.
 *
 * `next` is the first caller's flight that may have a place, NULL if none may. Whatever changes the
 * queue, the places, or who waits for a queued flight, sees to it here, and then to the lists.
 *
 * Callers' flights stand in the order in which they will be served: in rounds, and in each round
 * every uid has one turn. A uid that walks through ten thousand subjects so makes nobody else wait
 * for more than one of them. Places that are taken are not given back, though, so the last quarter
 * of them is kept for uids that have none: whoever hangs on an issuer's silence hangs alone. A
 * flight that several uids wait for has the earliest of their turns, and the kept places are open
 * to it while any of them has none: who joins is never worse off than with a flight of his own.
 *
 * Refreshes have queues and lists of their own, which are looked at when no caller's flight can
 * start anywhere; they never take more than half of an issuer's places, so that slow ones do not
 * stand in the way of callers who come later, and one is a half-open breaker's probe only where no
 * caller queues.
 */

#include "issuer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"

#define ROOT_UID 0

void issuers_init(struct issuers *issuers, const struct settings *settings)
{
        *issuers = (struct issuers){
                .max_in_flight = settings->max_in_flight_total,
                .max_in_flight_each = settings->max_in_flight,
        };
        list_init(&issuers->all);
        list_init(&issuers->ready);
        list_init(&issuers->refresh_ready);
}

void issuers_deinit(struct issuers *issuers)
{
        assert(!issuers->all.next || list_empty(&issuers->all));
        *issuers = (struct issuers){};
}

struct issuer *issuers_find(const struct issuers *issuers, const char *url)
{
        list_for_each (link, &issuers->all) {
                struct issuer *issuer = list_entry(link, struct issuer, link);

                if (strcmp(issuer->url, url) == 0)
                        return issuer;
        }
        return NULL;
}

int issuer_ref(struct issuer **ret, struct issuers *issuers, const char *url)
{
        struct issuer *issuer = issuers_find(issuers, url);

        if (!issuer) {
                const size_t url_size = strlen(url) + 1;

                issuer = calloc(1, sizeof(*issuer) + url_size);
                if (!issuer)
                        return error_trace(-ENOMEM);
                memcpy(issuer->url, url, url_size);
                list_init(&issuer->queue);
                list_init(&issuer->refreshes);
                list_init(&issuer->placed);
                list_init(&issuer->turn);
                list_init(&issuer->refresh_turn);
                for (size_t i = 0; i < ISSUER_TURNS; i++)
                        list_init(&issuer->turns[i].queued);
                issuer->round = 1;
                issuer->max_in_flight = issuers->max_in_flight_each;
                list_push_back(&issuers->all, &issuer->link);
        }
        issuer->n_refs++;
        *ret = issuer;
        return 0;
}

void issuer_unref(struct issuers *issuers, struct issuer *issuer)
{
        if (--issuer->n_refs > 0)
                return;
        assert(list_empty(&issuer->queue) && list_empty(&issuer->refreshes) &&
               issuer->n_in_flight == 0);
        list_unlink(&issuer->turn);
        list_unlink(&issuer->refresh_turn);
        list_unlink(&issuer->link);
        free(issuer);
}

static struct flight *flight_of(struct list *link)
{
        return list_entry(link, struct flight, link);
}

static struct issuer_turns *turns_of(struct issuer *issuer, uid_t uid)
{
        return &issuer->turns[uid % ISSUER_TURNS];
}

/* The last of this uid's in the queue, or NULL. */
static struct flight *last_queued(struct issuer *issuer, uid_t uid)
{
        struct list *queued = &turns_of(issuer, uid)->queued;

        for (struct list *at = queued->prev; at != queued; at = at->prev) {
                struct flight *flight = list_entry(at, struct flight, turn_link);

                if (flight->turn_uid == uid)
                        return flight;
        }
        return NULL;
}

/* The round in which a further flight of this uid will be served: the present one, unless it had
 * its turn there, so that who comes again and again with one flight overtakes nobody. */
static uint64_t next_round(struct issuer *issuer, uid_t uid)
{
        const struct flight *last = last_queued(issuer, uid);
        const uint64_t served = turns_of(issuer, uid)->served;

        if (last)
                return last->round + 1;
        return served < issuer->round ? issuer->round : served + 1;
}

/* Into the next round of its uid, behind the others there. It is looked for from where the uid's
 * last stands, a round earlier, so that a long queue costs no more than a short one. */
static void queue_in_turn(struct issuer *issuer, struct flight *flight)
{
        struct flight *last = last_queued(issuer, flight->turn_uid);
        struct list *at = last ? &last->link : &issuer->queue;

        flight->round = next_round(issuer, flight->turn_uid);
        if (!list_empty(&issuer->queue) && flight_of(issuer->queue.prev)->round <= flight->round)
                at = issuer->queue.prev;
        while (at->next != &issuer->queue && flight_of(at->next)->round <= flight->round)
                at = at->next;
        list_insert_between(at, at->next, &flight->link);
        list_push_back(&turns_of(issuer, flight->turn_uid)->queued, &flight->turn_link);
}

static void take_out(struct flight *flight)
{
        list_unlink(&flight->link);
        list_unlink(&flight->turn_link);
}

/* Whether a uid has one of the places; root may have all. */
static bool has_place(const struct issuer *issuer, uid_t uid)
{
        list_for_each (link, &issuer->placed) {
                const struct flight *flight = list_entry(link, struct flight, place_link);

                if (flight->turn_uid == uid && !flight->refresh)
                        return uid != ROOT_UID;
        }
        return false;
}

/* Whether one of those who wait for a flight has no place. *ret_uid: who, the one whose turn it has
 * before others. */
static bool find_placeless(const struct issuer *issuer, const struct flight *flight, uid_t *ret_uid)
{
        bool is = false;

        *ret_uid = flight->turn_uid;
        if (!flight->shared)
                return !has_place(issuer, flight->turn_uid);
        list_for_each (link, &flight->waiters) {
                const uid_t uid = list_entry(link, struct waiter, link)->peer->uid;

                if (has_place(issuer, uid))
                        continue;
                *ret_uid = uid;
                is = true;
                if (uid == flight->turn_uid)
                        break;
        }
        return is;
}

/* Whether only the places are left that are kept for uids that have none. */
static bool is_in_reserve(const struct issuer *issuer)
{
        return issuer->n_in_flight + issuer->max_in_flight / 4 >= issuer->max_in_flight;
}

/* Whether a caller's flight may have a place. */
static bool may_have_place(const struct issuer *issuer, const struct flight *flight)
{
        uid_t uid;

        return issuer->n_in_flight < issuer->max_in_flight &&
               (!is_in_reserve(issuer) || find_placeless(issuer, flight, &uid));
}

/* Whether one flight of the queue stands before another. */
static bool precedes(const struct issuer *issuer, const struct flight *flight,
                     const struct flight *other)
{
        if (flight->round != other->round)
                return flight->round < other->round;
        for (struct list *at = flight->link.next; at != &issuer->queue; at = at->next) {
                if (flight_of(at) == other)
                        return true;
                if (flight_of(at)->round > flight->round)
                        break;
        }
        return false;
}

/* A flight has come into the queue, or may have a place now that might not before. */
static void consider(struct issuer *issuer, struct flight *flight)
{
        if ((!issuer->next || precedes(issuer, flight, issuer->next)) &&
            may_have_place(issuer, flight))
                issuer->next = flight;
}

/* None before `from` in the queue may have a place. */
static void find_next(struct issuer *issuer, struct list *from)
{
        issuer->next = NULL;
        if (issuer->n_in_flight >= issuer->max_in_flight)
                return;
        while (from != &issuer->queue && !may_have_place(issuer, flight_of(from)))
                from = from->next;
        if (from != &issuer->queue)
                issuer->next = flight_of(from);
}

static void settle_turn(struct list *ready_list, struct list *turn, bool ready)
{
        if (ready && list_empty(turn))
                list_push_back(ready_list, turn);
        else if (!ready)
                list_unlink(turn);
}

/* Puts the issuer into the lists of those that are ready, or takes it out, by its `next`, its
 * refreshes and its breaker. */
static void settle(struct issuers *issuers, struct issuer *issuer, uint64_t now_ms)
{
        const size_t max_for_refreshes = (issuer->max_in_flight + 1) / 2;
        const bool may_start = breaker_may_start(&issuer->breaker, now_ms);
        const bool may_refresh = issuer->breaker.state == BREAKER_CLOSED ||
                                 list_empty(&issuer->queue);

        settle_turn(&issuers->ready, &issuer->turn, may_start && issuer->next);
        settle_turn(&issuers->refresh_ready, &issuer->refresh_turn,
                    may_start && may_refresh && !list_empty(&issuer->refreshes) &&
                            issuer->n_in_flight < max_for_refreshes);
}

/* The same after there have come to be other places, or others who have them. */
static void settle_places(struct issuers *issuers, struct issuer *issuer, uint64_t now_ms)
{
        find_next(issuer, issuer->queue.next);
        settle(issuers, issuer, now_ms);
}

void issuer_enqueue(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                    uint64_t now_ms)
{
        flight->state = FLIGHT_QUEUED;
        issuer->n_queued++;
        if (flight->refresh) {
                list_push_back(&issuer->refreshes, &flight->link);
        } else {
                queue_in_turn(issuer, flight);
                consider(issuer, flight);
        }
        settle(issuers, issuer, now_ms);
}

void issuer_requeue(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                    uint64_t now_ms)
{
        flight->state = FLIGHT_QUEUED;
        list_unlink(&flight->place_link);
        issuer->n_queued++;
        if (flight->refresh) {
                list_push_front(&issuer->refreshes, &flight->link);
        } else {
                flight->round = issuer->round;
                list_push_front(&issuer->queue, &flight->link);
                list_push_front(&turns_of(issuer, flight->turn_uid)->queued, &flight->turn_link);
                consider(issuer, flight);
        }
        settle(issuers, issuer, now_ms);
}

void issuer_dequeue(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                    uint64_t now_ms)
{
        struct list *behind = flight->link.next;

        assert(flight->state == FLIGHT_QUEUED);
        take_out(flight);
        issuer->n_queued--;
        if (flight == issuer->next)
                find_next(issuer, behind);
        settle(issuers, issuer, now_ms);
}

/* A refresh becomes a caller's, who takes over its place if it has one. */
static void take_over(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                      uid_t uid, uint64_t now_ms)
{
        const bool queued = flight->state == FLIGHT_QUEUED;

        if (queued)
                issuer_dequeue(issuers, issuer, flight, now_ms);
        flight->refresh = false;
        flight->turn_uid = uid;
        if (queued)
                issuer_enqueue(issuers, issuer, flight, now_ms);
        else
                settle_places(issuers, issuer, now_ms);
}

/* A queued flight takes this uid's turn if it comes earlier. */
static void hasten(struct issuer *issuer, struct flight *flight, uid_t uid)
{
        if (next_round(issuer, uid) >= flight->round)
                return;
        take_out(flight);
        flight->turn_uid = uid;
        queue_in_turn(issuer, flight);
}

void issuer_join(struct issuers *issuers, struct issuer *issuer, struct flight *flight, uid_t uid,
                 uint64_t now_ms)
{
        if (flight->refresh) {
                take_over(issuers, issuer, flight, uid, now_ms);
                return;
        }
        if (flight->turn_uid == uid)
                return;
        flight->shared = true;
        if (flight->state != FLIGHT_QUEUED)
                return;
        hasten(issuer, flight, uid);
        consider(issuer, flight);
        settle(issuers, issuer, now_ms);
}

void issuer_leave(struct issuers *issuers, struct issuer *issuer, struct flight *flight,
                  uint64_t now_ms)
{
        if (flight != issuer->next)
                return;
        find_next(issuer, &flight->link);
        settle(issuers, issuer, now_ms);
}

/* The present round is that of the first who still waits, should others have been passed over. Who
 * starts in an earlier turn, as somebody else's or after a failure, has had its later ones. */
static void take_turn(struct issuer *issuer, const struct flight *flight)
{
        struct list *link = list_first(&issuer->queue);
        struct issuer_turns *turns = turns_of(issuer, flight->turn_uid);

        if (turns->served < flight->round)
                turns->served = flight->round;
        issuer->round = flight->round;
        if (link && flight_of(link)->round < flight->round)
                issuer->round = flight_of(link)->round;
}

static struct flight *start_at(struct issuers *issuers, struct issuer *issuer,
                               struct flight *flight, struct list *turn, uint64_t now_ms)
{
        uid_t uid;

        assert(flight); /* or the issuer would have no turn */
        if (!flight->refresh && is_in_reserve(issuer) && find_placeless(issuer, flight, &uid))
                flight->turn_uid = uid;
        take_out(flight);
        list_push_back(&issuer->placed, &flight->place_link);
        list_unlink(turn);
        if (!flight->refresh)
                take_turn(issuer, flight);
        issuer->n_queued--;
        issuer->n_in_flight++;
        issuers->n_in_flight++;
        breaker_started(&issuer->breaker, flight->key.hash);
        settle_places(issuers, issuer, now_ms);
        return flight;
}

struct flight *issuers_start(struct issuers *issuers, uint64_t now_ms)
{
        struct issuer *issuer;
        struct list *turn;

        if (issuers->n_in_flight >= issuers->max_in_flight)
                return NULL;
        turn = list_first(&issuers->ready);
        if (turn) {
                issuer = list_entry(turn, struct issuer, turn);
                return start_at(issuers, issuer, issuer->next, turn, now_ms);
        }
        turn = list_first(&issuers->refresh_ready);
        if (turn) {
                issuer = list_entry(turn, struct issuer, refresh_turn);
                return start_at(issuers, issuer, flight_of(list_front(&issuer->refreshes)), turn,
                                now_ms);
        }
        return NULL;
}

void issuer_finish(struct issuers *issuers, struct issuer *issuer, uint64_t now_ms)
{
        assert(issuer->n_in_flight > 0 && issuers->n_in_flight > 0);
        issuer->n_in_flight--;
        issuers->n_in_flight--;
        settle_places(issuers, issuer, now_ms);
}

void issuers_tick(struct issuers *issuers, uint64_t now_ms)
{
        list_for_each (link, &issuers->all) {
                struct issuer *issuer = list_entry(link, struct issuer, link);

                if (issuer->breaker.state != BREAKER_CLOSED)
                        settle(issuers, issuer, now_ms);
        }
}

uint64_t issuers_next_tick_ms(const struct issuers *issuers)
{
        uint64_t next_ms = UINT64_MAX;

        list_for_each (link, &issuers->all) {
                const struct issuer *issuer = list_entry(link, struct issuer, link);

                if (breaker_next_ms(&issuer->breaker) < next_ms)
                        next_ms = breaker_next_ms(&issuer->breaker);
        }
        return next_ms;
}

void issuers_set_limits(struct issuers *issuers, const struct settings *settings, uint64_t now_ms)
{
        issuers->max_in_flight = settings->max_in_flight_total;
        issuers->max_in_flight_each = settings->max_in_flight;
        list_for_each (link, &issuers->all) {
                struct issuer *issuer = list_entry(link, struct issuer, link);

                issuer->max_in_flight = settings->max_in_flight;
                settle_places(issuers, issuer, now_ms);
        }
}
