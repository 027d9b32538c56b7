/* SPDX-License-Identifier: MIT */
#pragma once

/* Rules of misbehaviour: which request is answered how, when it is not answered normally. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"
#include "text.h"

#define RULES_MAX       1024
#define RULE_REASON_MAX 200
#define RULE_FILL_MAX   (1 << 30) /* bytes of body_size */

struct json_object;

struct rule_number {
        bool given;
        int64_t value;
};

enum {
        RULE_OMIT_ACCESS_TOKEN = 1 << 0,
        RULE_OMIT_TOKEN_TYPE = 1 << 1,
        RULE_OMIT_EXPIRES_IN = 1 << 2,
        RULE_OMIT_SCOPE = 1 << 3,
};

/*
 * The members from `count` on are fields of the JSON object under the same names; `body` is given
 * as text or, under the name body_base64, encoded. Strings are owned and NULL where the rule does
 * not have the field.
 */
struct rule {
        unsigned refs;
        struct list link; /* rules::entries */
        uint64_t id;

        struct rule_number count; /* how many requests more it applies to; absent: until a reset */
        struct rule_number every; /* of the requests that fit, only each so-manieth; absent: all */
        uint64_t n_fitted;        /* so far, since the last that it applied to */
        char *subject;            /* filter: "kind:subject" */
        char *tenant;             /* filter */

        /* when: at once, unless one of these is there */
        bool hold;                   /* at a release */
        bool stall;                  /* never, or at a reset */
        struct rule_number delay_ms; /* so much later */

        /* what: the normal answer, unless one of these is there; see rule_is_literal() */
        struct rule_number status; /* absent: 200, or 400 with `error` */
        bool has_body;
        struct text body;             /* literally */
        struct rule_number body_size; /* so many bytes of 'x' */
        char *error;                  /* {"error": …} */
        char *error_description;      /* {"error_description": …} beside it */

        /* to both: */
        struct json_object *headers; /* owned; name → string; they prevail over the usual ones */
        char *content_type;          /* absent: application/json; none without a body */

        /* to the normal answer, when it is a token: */
        struct rule_number lifetime;     /* expires_in, in seconds */
        char *expires_in_json;           /* the value of expires_in, literally */
        struct rule_number jwt_lifetime; /* exp - iat; absent: as `lifetime` */
        char *token_type;                /* absent: Bearer */
        char *granted_scope;             /* the member scope; absent: as asked for */
        unsigned omit;                   /* members left out; an array of their names in JSON */
        bool repeat_token;               /* the last token of this tenant, client, subject, scope */
        bool remaining;                  /* with repeat_token: expires_in is what is left of it, and
                                          * one that has run out is not repeated */
        char *mint_subject;              /* sub of the token; absent: as asked for */

        /* how: whole, unless one of these is there */
        bool close;                    /* RST instead of an answer */
        bool close_after_headers;      /* half of the body, then the end of the connection */
        struct rule_number trickle_ms; /* the body byte by byte, so long apart */
};

struct rules {
        struct list entries;
        size_t n_entries;
        uint64_t last_id;
};

enum {
        RULES_E_INVALID = 1, /* see `reason` */
        RULES_E_FULL,
};

void rules_init(struct rules *rules);

/* Takes out every rule. Requests that have one keep it alive. */
void rules_clear(struct rules *rules);

/* Takes out one rule, if it is still there. */
void rules_remove(struct rules *rules, uint64_t id);

/* Adds the rule that `json` describes. 0, -ENOMEM, RULES_E_FULL or RULES_E_INVALID. */
int rules_add(struct rules *rules, struct json_object *json, uint64_t *ret_id,
              char reason[static RULE_REASON_MAX]);

/*
 * The first rule whose filters fit and whose count is not used up, one less afterwards; NULL: none.
 * `label` may be NULL. The caller owns a reference.
 */
struct rule *rules_match(struct rules *rules, const char *tenant, const char *label);

/* Takes NULL. */
void rule_unref(struct rule *rule);

/* Whether the rule puts a literal answer in place of what the issuer would say. */
bool rule_is_literal(const struct rule *rule);
