/* SPDX-License-Identifier: MIT */

/*
 * To render an answer and to dress it for libmicrohttpd costs more than all the rest of a hit, and
 * memory where every entry has its own. So an answer is kept only from the second hit in one second
 * on, in a direct-mapped table: what shares a slot pushes out what is there. A token is known by
 * its serial number, which no other ever has, so that nothing here keeps it alive. A response is
 * given back, which wipes it, at most a second after its own second is over.
 */

#include "hot-answers.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>

#include "../lib/timerheap.h"

#define SWEEP_EVERY_MS 1000

/* A body that took more memory gives it back. */
#define SPARE_MAX_BYTES 8192

/* What a response of libmicrohttpd's is sent from. */
struct hot_body {
        struct hot_body *next_spare;
        struct hot_answers *answers; /* borrowed */
        struct secret bytes;
};

void hot_answers_init(struct hot_answers *answers)
{
        *answers = (struct hot_answers){.sweep_at_ms = TIMERHEAP_NEVER};
}

static void clear(struct hot_answer *answer)
{
        if (answer->response)
                MHD_destroy_response(answer->response);
        *answer = (struct hot_answer){};
}

void hot_answers_deinit(struct hot_answers *answers)
{
        for (size_t i = 0; i < HOT_ANSWERS_SLOTS; i++)
                clear(&answers->slots[i]);
        answers->sweep_at_ms = TIMERHEAP_NEVER;
        while (answers->spares) {
                struct hot_body *body = answers->spares;

                answers->spares = body->next_spare;
                secret_deinit(&body->bytes);
                free(body);
        }
        answers->n_spares = 0;
}

struct hot_answer *hot_answers_find(struct hot_answers *answers, const struct token *token,
                                    uint64_t expires_in_s, enum hot_form form)
{
        struct hot_answer *answer = &answers->slots[token->serial % HOT_ANSWERS_SLOTS];

        if (answer->serial == token->serial && answer->expires_in_s == expires_in_s &&
            answer->form == form)
                return answer;
        clear(answer);
        answer->serial = token->serial;
        answer->expires_in_s = expires_in_s;
        answer->until_ms = token->expires_at_ms - expires_in_s * 1000 + 1;
        answer->form = form;
        return NULL;
}

/* Of the bodies that were sent a few are kept, wiped, for others to be written into: malloc() is
 * slow where it is asked for as much as that, again and again. */
static void free_body(void *data)
{
        struct hot_body *body = data;
        struct hot_answers *answers = body->answers;

        if (answers->n_spares == HOT_ANSWERS_SPARES || body->bytes.capacity > SPARE_MAX_BYTES) {
                secret_deinit(&body->bytes);
                free(body);
                return;
        }
        secret_clear(&body->bytes);
        body->next_spare = answers->spares;
        answers->spares = body;
        answers->n_spares++;
}

static struct hot_body *take_spare(struct hot_answers *answers)
{
        struct hot_body *body = answers->spares;

        if (!body)
                return calloc(1, sizeof(*body));
        answers->spares = body->next_spare;
        answers->n_spares--;
        return body;
}

void hot_answers_lend(struct hot_answers *answers, struct secret *bytes)
{
        if (answers->spares)
                secret_move(bytes, &answers->spares->bytes);
}

/* A response that owns `bytes`; NULL if memory is out. */
static struct MHD_Response *response_of_body(struct hot_answers *answers, struct secret *bytes)
{
        struct hot_body *body = take_spare(answers);
        struct MHD_Response *response;

        if (!body)
                return NULL;
        body->answers = answers;
        secret_move(&body->bytes, bytes);
        response = MHD_create_response_from_buffer_with_free_callback_cls(
                body->bytes.size, body->bytes.bytes, free_body, body);
        if (!response)
                free_body(body);
        return response;
}

static bool add_headers(struct MHD_Response *out, const struct response *response, bool closing)
{
        bool good = true;
        char seconds[16];

        if (response->content_type)
                good &= MHD_add_response_header(out, "Content-Type", response->content_type);
        if (response->no_store) {
                good &= MHD_add_response_header(out, "Cache-Control", "no-store");
                good &= MHD_add_response_header(out, "Pragma", "no-cache");
        }
        if (response->cache_status[0])
                good &= MHD_add_response_header(out, "Cache-Status", response->cache_status);
        if (response->allow)
                good &= MHD_add_response_header(out, "Allow", response->allow);
        if (response->authenticate)
                good &= MHD_add_response_header(out, "WWW-Authenticate", response->authenticate);
        if (response->authorization.size > 0)
                good &= MHD_add_response_header(out, "Authorization",
                                                response->authorization.bytes);
        if (response->retry_after_s > 0) {
                (void)snprintf(seconds, sizeof(seconds), "%u", response->retry_after_s);
                good &= MHD_add_response_header(out, "Retry-After", seconds);
        }
        if (closing)
                good &= MHD_add_response_header(out, "Connection", "close");
        return good;
}

struct MHD_Response *hot_answers_dress(struct hot_answers *answers, struct response *response,
                                       bool closing)
{
        struct MHD_Response *out = response_of_body(answers, &response->body);

        if (out && !add_headers(out, response, closing)) {
                MHD_destroy_response(out);
                return NULL;
        }
        return out;
}

void hot_answers_keep(struct hot_answers *answers, struct hot_answer *answer, unsigned int status,
                      struct MHD_Response *response, uint64_t now_ms)
{
        answer->status = status;
        answer->response = response;
        if (answers->sweep_at_ms == TIMERHEAP_NEVER)
                answers->sweep_at_ms = now_ms + SWEEP_EVERY_MS;
}

void hot_answers_tick(struct hot_answers *answers, uint64_t now_ms)
{
        bool any = false;

        if (now_ms < answers->sweep_at_ms)
                return;
        for (size_t i = 0; i < HOT_ANSWERS_SLOTS; i++) {
                struct hot_answer *answer = &answers->slots[i];

                if (answer->response && answer->until_ms <= now_ms)
                        clear(answer);
                any |= answer->response != NULL;
        }
        answers->sweep_at_ms = any ? now_ms + SWEEP_EVERY_MS : TIMERHEAP_NEVER;
}

uint64_t hot_answers_next_tick_ms(const struct hot_answers *answers)
{
        return answers->sweep_at_ms;
}
