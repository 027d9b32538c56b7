/* SPDX-License-Identifier: MIT */

/*
 * A request is sent whole or in pieces, its answer is read when it comes or a while later. Whatever
 * comes when nothing is awaited is wrong, and so is a connection that ends while something is, but
 * for those that the service itself has spoilt, and while the daemon is down.
 */

#include "service.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BAD_MANNERS_ONE_IN 12
#define SHORT_ONE_IN       8   /* connections that are for one request */
#define AGAIN_ONE_IN       4   /* questions that are asked again, */
#define REJECT_ONE_IN      400 /* with the token that came reported as refused */
#define PIECE_BYTES        40
#define PIECE_PAUSE_MS     60
#define READING_PAUSE_MS   1500
#define IDLE_MAX_MS        4000 /* past that the daemon may have closed it meanwhile */

void service_init(struct service *service)
{
        memset(service, 0, offsetof(struct service, bytes));
        service->fd = -1;
}

static void set_events(struct service *service, const struct town *town, bool out)
{
        struct epoll_event event = {
                .events = EPOLLIN | EPOLLRDHUP | (out ? EPOLLOUT : 0),
                .data.ptr = service,
        };

        if (service->registered_out == out)
                return;
        service->registered_out = out;
        (void)epoll_ctl(town->epoll, EPOLL_CTL_MOD, service->fd, &event);
}

static void set_reading(struct service *service, const struct town *town, bool reads)
{
        struct epoll_event event = {
                .events = reads ? EPOLLIN | EPOLLRDHUP : 0,
                .data.ptr = service,
        };

        service->registered_out = false;
        (void)epoll_ctl(town->epoll, EPOLL_CTL_MOD, service->fd, &event);
}

static void close_connection(struct service *service)
{
        if (service->fd >= 0)
                (void)close(service->fd);
        service->fd = -1;
        service->used = false;
}

static void become_free(struct service *service, struct town *town)
{
        town->n_busy -= service->state != SERVICE_FREE;
        service->state = SERVICE_FREE;
        service->free_since_ms = check_now_ms();
        service->size = 0;
}

/* Whether the daemon may have answered it: it has all of it, or so much that it can refuse it. */
static bool may_be_counted(const struct service *service)
{
        const struct question *question = &service->question;

        return question->counted && (service->sent == question->size ||
                                     (question->wanted && service->sent >= question->head_size));
}

void service_drop(struct service *service, struct town *town)
{
        close_connection(service);
        if (service->state != SERVICE_FREE && may_be_counted(service))
                town->check->tally.unseen++;
        service->rejectable[0] = '\0';
        become_free(service, town);
}

static struct exchange exchange_of(const struct service *service)
{
        return (struct exchange){
                .question = &service->question,
                .sent_ms = service->sent_ms,
                .received_ms = check_now_ms(),
                .excuses = service->excuses,
                .half_closed = service->manner == SERVICE_HALF_CLOSING,
                .bytes = service->bytes,
                .size = service->size,
        };
}

static void fail(struct service *service, struct town *town, const char *what)
{
        const struct exchange exchange = exchange_of(service);

        check_fail(town->check, &exchange, what);
        service_drop(service, town);
}

static bool open_connection(struct service *service, struct town *town)
{
        const uint32_t i = dice_below(&town->dice, (uint32_t)town->n_addresses);
        const struct sockaddr *address = (const struct sockaddr *)&town->addresses[i];
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLOUT, .data.ptr = service};

        service->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (service->fd < 0)
                return false;
        if ((connect(service->fd, address, town->address_sizes[i]) < 0 && errno != EINPROGRESS) ||
            epoll_ctl(town->epoll, EPOLL_CTL_ADD, service->fd, &event) < 0) {
                close_connection(service);
                return false;
        }
        service->used = false;
        service->lives = !dice_one_in(&town->dice, SHORT_ONE_IN);
        service->registered_out = true;
        return true;
}

static void draw(struct service *service, struct town *town)
{
        struct dice *dice = &town->dice;
        const bool again = service->rejectable[0] && dice_one_in(dice, AGAIN_ONE_IN);
        const bool rejects = again && dice_one_in(dice, REJECT_ONE_IN);

        question_draw(&service->question, town->questions, dice, again ? &service->question : NULL,
                      rejects ? service->rejectable : NULL);
        service->rejectable[0] = '\0';
        service->manner = SERVICE_GOOD;
        if (town->manners && dice_one_in(dice, BAD_MANNERS_ONE_IN))
                service->manner = 1 + dice_below(dice, _SERVICE_MANNER_N - 1);
}

static bool is_due_to_hang_up(const struct service *service)
{
        return service->manner == SERVICE_HALF && service->sent >= service->question.size / 2;
}

/* How much may go out now. */
static size_t allowance(const struct service *service, uint64_t now_ms)
{
        const size_t left = service->question.size - service->sent;

        if (service->manner == SERVICE_HALF)
                return service->question.size / 2 - service->sent;
        if (service->manner != SERVICE_SLOW_SENDING)
                return left;
        if (now_ms < service->pause_until_ms)
                return 0;
        return left < PIECE_BYTES ? left : PIECE_BYTES;
}

static void finish_sending(struct service *service, struct town *town, uint64_t now_ms)
{
        service->state = SERVICE_WAITING;
        set_events(service, town, false);
        if (service->manner == SERVICE_HANGING_UP) {
                service_drop(service, town);
        } else if (service->manner == SERVICE_HALF_CLOSING) {
                (void)shutdown(service->fd, SHUT_WR);
        } else if (service->manner == SERVICE_SLOW_READING) {
                service->pause_until_ms = now_ms + dice_below(&town->dice, READING_PAUSE_MS);
                set_reading(service, town, false);
        }
}

/* Of those who are turned away at the door only so many have time to read why. */
static bool may_be_turned_away(const struct service *service, const struct town *town)
{
        return !service->used && ((service->excuses | town->check->excuses) & EXCUSE_LIMIT) != 0;
}

/* A connection that the daemon had closed meanwhile, or that it could not take: not its fault. */
static bool may_end(const struct service *service, const struct town *town)
{
        return town->down || service->manner == SERVICE_HALF_CLOSING ||
               may_be_turned_away(service, town) ||
               (service->used && service->size == 0 &&
                service->sent_ms - service->free_since_ms > IDLE_MAX_MS);
}

static void lose(struct service *service, struct town *town, const char *what)
{
        if (may_end(service, town))
                service_drop(service, town);
        else
                fail(service, town, what);
}

static void send_more(struct service *service, struct town *town, uint64_t now_ms)
{
        const size_t size = allowance(service, now_ms);
        ssize_t n;

        if (size > 0) {
                n = send(service->fd, service->question.bytes + service->sent, size, MSG_NOSIGNAL);
                if (n < 0 && errno == EAGAIN) {
                        set_events(service, town, true);
                        return;
                }
                if (n < 0) {
                        lose(service, town, "the connection broke while a request was sent");
                        return;
                }
                service->sent += (size_t)n;
                service->pause_until_ms = now_ms + dice_below(&town->dice, PIECE_PAUSE_MS);
        }
        if (is_due_to_hang_up(service))
                service_drop(service, town);
        else if (service->sent == service->question.size)
                finish_sending(service, town, now_ms);
        else
                set_events(service, town, service->manner != SERVICE_SLOW_SENDING);
}

bool service_ask(struct service *service, struct town *town, uint64_t now_ms)
{
        bool fresh;

        if (service->fd >= 0 && (!service->lives || now_ms - service->free_since_ms > IDLE_MAX_MS))
                close_connection(service);
        fresh = service->fd < 0;
        if (fresh && (town->down || !open_connection(service, town)))
                return false;
        draw(service, town);
        service->state = SERVICE_SENDING;
        town->n_busy++;
        service->sent = 0;
        service->size = 0;
        service->sent_ms = now_ms;
        service->pause_until_ms = 0;
        service->excuses = town->check->excuses;
        if (!fresh)
                send_more(service, town, now_ms);
        return true;
}

static void understand(struct service *service, struct town *town)
{
        struct exchange exchange = exchange_of(service);
        const bool gone = service->manner == SERVICE_HALF_CLOSING;
        struct answer answer;
        const char *wrong;
        size_t size;
        int r;

        r = answer_parse(&answer, service->bytes, service->size, service->question.bare, &size,
                         &wrong);
        if (r == ANSWER_E_PARTIAL && service->size < sizeof(service->bytes))
                return;
        if (r) {
                fail(service, town, r == ANSWER_E_ODD ? wrong : "the answer does not end");
                return;
        }
        if (size < service->size) {
                fail(service, town, "more than one answer");
                return;
        }
        check_answer(town->check, &exchange, &answer, service->rejectable);
        if (service->question.wanted)
                service->rejectable[0] = '\0';
        service->used = true;
        if (answer.closes || gone || !service->lives || town->down ||
            service->sent < service->question.size)
                close_connection(service);
        become_free(service, town);
}

static void receive(struct service *service, struct town *town)
{
        const ssize_t n = recv(service->fd, service->bytes + service->size,
                               sizeof(service->bytes) - service->size, 0);

        if (n < 0 && errno == EAGAIN)
                return;
        if (service->state == SERVICE_FREE) {
                if (n > 0) {
                        service->size = (size_t)n;
                        fail(service, town, "bytes that nobody has asked for");
                } else {
                        close_connection(service);
                }
                return;
        }
        if (n <= 0) {
                lose(service, town, "the connection ended in the place of an answer");
                return;
        }
        service->size += (size_t)n;
        /* Whatever comes before the request is whole is an error, and the last that comes. */
        understand(service, town);
}

void service_handle(struct service *service, struct town *town, uint32_t events, uint64_t now_ms)
{
        if (service->fd < 0)
                return;
        if (service->state == SERVICE_SENDING && events & EPOLLOUT) {
                set_events(service, town, false);
                send_more(service, town, now_ms);
        }
        if (service->fd >= 0 && events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                receive(service, town);
}

void service_tick(struct service *service, struct town *town, uint64_t now_ms)
{
        if (service->state == SERVICE_FREE || service->fd < 0)
                return;
        if (now_ms > service->sent_ms + town->answer_max_ms) {
                fail(service, town, "no answer came");
                return;
        }
        if (service->pause_until_ms == 0 || now_ms < service->pause_until_ms)
                return;
        if (service->state == SERVICE_SENDING && service->manner == SERVICE_SLOW_SENDING &&
            service->sent > 0)
                send_more(service, town, now_ms);
        else if (service->state == SERVICE_WAITING && service->manner == SERVICE_SLOW_READING) {
                service->pause_until_ms = 0;
                set_reading(service, town, true);
        }
}
