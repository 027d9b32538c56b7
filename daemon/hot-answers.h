/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * Answers as libmicrohttpd takes them, and a small table of those that are asked for again and
 * again: a token in one format is the same answer for as long as its expires_in is, one second. The
 * table is for hits alone, of which nothing but the token, the format and the second tells one from
 * another. Who may have the token was decided before anybody looks here.
 */

#include <stdbool.h>
#include <stdint.h>

#include "../lib/token.h"
#include "render.h"

#define HOT_ANSWERS_SLOTS  256
#define HOT_ANSWERS_SPARES 16

struct MHD_Response;

/* How a token is handed out. */
enum hot_form {
        HOT_JSON,
        HOT_BARE,
        HOT_HEADER, /* of the answer */
};

/* One place in the table: an answer that is wanted, or is there. */
struct hot_answer {
        uint64_t serial; /* of the token; 0: free */
        uint64_t expires_in_s;
        uint64_t until_ms; /* then expires_in_s is another */
        enum hot_form form;
        unsigned int status;
        struct MHD_Response *response; /* a reference; NULL: it was asked for once */
};

struct hot_answers {
        struct hot_answer slots[HOT_ANSWERS_SLOTS];
        uint64_t sweep_at_ms;
        struct hot_body *spares; /* bodies that were sent; owned */
        size_t n_spares;
};

void hot_answers_init(struct hot_answers *answers);

/* Gives all of them back, wiped. Nothing is sent any more. Takes one that is all zeros. */
void hot_answers_deinit(struct hot_answers *answers);

/* Where the answer that hands out `token` is kept, or may be; NULL: nobody has asked for it before
 * in this second. Borrowed until the next call. */
struct hot_answer *hot_answers_find(struct hot_answers *answers, const struct token *token,
                                    uint64_t expires_in_s, enum hot_form form);

/* Gives an empty body memory that another had, if some is left. */
void hot_answers_lend(struct hot_answers *answers, struct secret *bytes);

/* A response of libmicrohttpd's made of this one, whose body it takes; `closing`: it says that its
 * connection ends. It must be given back before the table ends. NULL if memory is out. */
struct MHD_Response *hot_answers_dress(struct hot_answers *answers, struct response *response,
                                       bool closing);

/* Keeps a response in its place; a reference is taken over. */
void hot_answers_keep(struct hot_answers *answers, struct hot_answer *answer, unsigned int status,
                      struct MHD_Response *response, uint64_t now_ms);

/* Gives back what no request can ask for any more. */
void hot_answers_tick(struct hot_answers *answers, uint64_t now_ms);
uint64_t hot_answers_next_tick_ms(const struct hot_answers *answers);
