/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * One question to the daemon, and what became of it. Whatever goes wrong on the way, there or in
 * the answer, ends as a struct cli_trouble: an exit status and a sentence.
 */

#include <json-c/json.h>

#include "broker-answer.h"
#include "cli.h"

#define CLI_TROUBLE_TEXT_MAX_BYTES 600

struct cli_trouble {
        int exit; /* one of enum cli_exit; CLI_EXIT_OK: none */

        /* Where it happened: */
        enum broker_fault fault; /* before there was an answer of the daemon's kind */
        unsigned int status;     /* 0: there was no answer */
        char error[BROKER_REFUSAL_ERROR_MAX_BYTES]; /* of the daemon's answer; "": it has none */
        unsigned int retry_after_s;                 /* 0: not said */

        char text[CLI_TROUBLE_TEXT_MAX_BYTES]; /* may hold anything; "": it was said already */
};

struct cli_question {
        const char *method;
        const char *path;    /* without a query */
        struct buffer query; /* empty: none */
        struct buffer form;
        bool patient; /* wait a moment for a daemon that is not there: it may be restarting */
};

#define CLI_QUERY_MAX_BYTES ((size_t)16 * 1024)
#define CLI_FORM_MAX_BYTES  ((size_t)64 * 1024)

#define CLI_QUESTION(how, where)                                          \
        ((struct cli_question){.method = (how),                           \
                               .path = (where),                           \
                               .query = BUFFER_INIT(CLI_QUERY_MAX_BYTES), \
                               .form = BUFFER_INIT(CLI_FORM_MAX_BYTES)})
void cli_question_deinit(struct cli_question *question);

/* The way to the daemon that the options name. */
struct cli_link {
        const struct cli *cli;
        struct broker_http *http;
        struct buffer key; /* that a rule may want; empty: none was given */
};

/* Nothing is connected yet. CLI_EXIT_OK, or the exit status of `trouble`. `ret` goes to
 * cli_close(), also on failure. */
int cli_open(const struct cli *cli, struct cli_link *ret, struct cli_trouble *trouble);
void cli_close(struct cli_link *link);

/*
 * Asks. The key goes along in the form, or as the password of HTTP Basic where there is none.
 * CLI_EXIT_OK and a whole answer of any status, or the exit status of `trouble`.
 */
int cli_send(struct cli_link *link, const struct cli_question *question, struct broker_answer *ret,
             struct cli_trouble *trouble);

/* The same for an answer of status 200 that is an object, which goes to json_release(). */
int cli_ask(struct cli_link *link, const struct cli_question *question, json_object **ret,
            struct cli_trouble *trouble);

/* Fills in what the broker refuses, or how what it says is odd; returns the exit status. `r` is
 * what broker_answer_token() or broker_answer_check() said. */
int cli_trouble_of_answer(struct cli_trouble *trouble, int r, const struct broker_refusal *refusal,
                          const struct broker_error *error);

/* The same of an answer that has another form than the daemon's. */
int cli_not_understood(struct cli_trouble *trouble);

/* cli_open() and cli_ask() for who has one question only; trouble is said. */
int cli_ask_once(const struct cli *cli, const struct cli_question *question, json_object **ret);

/* Prints what came, and releases it. An exit status. */
int cli_put_json(json_object *object);

/* Fills in a trouble of our own; returns `exit`. */
__attribute__((format(printf, 3, 4))) int cli_trouble_set(struct cli_trouble *trouble, int exit,
                                                          const char *format, ...);

/* Says it on standard error; returns its exit status. */
int cli_tell(const struct cli *cli, const struct cli_trouble *trouble);

/* Appends the parameters that name tokens: subject, scope and client application. 0 or a negative
 * errno. */
int cli_append_filter(const struct cli *cli, struct buffer *out);

/* One parameter; no value, no parameter. 0 or -ENOMEM. */
int cli_append(struct buffer *out, const char *name, const char *value);
