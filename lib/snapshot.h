/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * What a broker knows, as bytes for the one that comes after it on the same boot of the same
 * machine: a head, client applications, holds, refusals, tokens, and a SHA-256 of it all. Integers
 * are little-endian, texts stand behind their lengths, and times are CLOCK_BOOTTIME as everywhere,
 * which is why no other boot can read them.
 *
 * Reading is strict. Whoever reads goes through everything before a word of it is believed: there
 * is no telling which part of damaged bytes is still true.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"
#include "request.h"
#include "text.h"

#define SNAPSHOT_VERSION      1
#define SNAPSHOT_BOOT_BYTES   16
#define SNAPSHOT_DIGEST_BYTES 32

/* More client applications, or holds, are not believed. */
#define SNAPSHOT_CLIENTS_MAX 4096
#define SNAPSHOT_HOLDS_MAX   (2 * SNAPSHOT_CLIENTS_MAX)

/* Why a snapshot is of no use. */
enum {
        SNAPSHOT_E_NOISE = 1, /* this is something else */
        SNAPSHOT_E_VERSION,   /* of another format than SNAPSHOT_VERSION */
        SNAPSHOT_E_BOOT,      /* of another boot */
        SNAPSHOT_E_TRUNCATED, /* shorter or longer than it says */
        SNAPSHOT_E_CHECKSUM,
        SNAPSHOT_E_MALFORMED, /* a record that nobody writes */
        SNAPSHOT_E_TIME,      /* a time that cannot be */
        SNAPSHOT_E_DUPLICATE, /* the same thing twice */
};

/* The reason in words. */
const char *snapshot_fault(int r);

/* Whose snapshot it is, and which of several. */
struct snapshot_stamp {
        uint8_t boot_id[SNAPSHOT_BOOT_BYTES];
        uint64_t sequence; /* larger is newer */
};

struct snapshot_head {
        struct snapshot_stamp stamp;
        uint64_t saved_at_ms;
        /* As in struct broker. */
        uint64_t due_since_ms;
        int64_t wall_ahead_ms;
        bool wall_known;
        /* How many of each follow. */
        uint32_t n_clients;
        uint32_t n_holds;
        uint32_t n_refusals;
        uint32_t n_tokens;
};

/* A token URL whose issuer asked for fewer requests. */
struct snapshot_hold {
        struct text url;
        uint64_t until_ms;
        uint32_t step_ms; /* the last one that we chose ourselves; 0: none */
};

/* What is remembered of a grant that brought no token; never of an exchange. */
struct snapshot_refusal {
        uint32_t client;  /* which one of those before */
        bool any_subject; /* it holds whatever the subject, which is empty */
        enum subject_kind kind;
        struct text subject;
        struct text scope;
        uint64_t touched_at_ms; /* never before that of the one before */
        enum reason reason;     /* REASON_NONE: only the steps between rejections are known */
        uint64_t refusal_until_ms;
        uint32_t refusal_step_ms;
        uint64_t rejection_until_ms;
        uint32_t rejection_step_ms;
};

/* Never one that was exchanged: what it would be found by does not go through a restart. */
struct snapshot_token {
        uint32_t client;
        enum subject_kind kind;
        unsigned int marks; /* enum cache_mark */
        uint64_t sent_at_ms;
        uint64_t refresh_at_ms;
        uint64_t expires_at_ms;
        struct text subject;
        struct text scope; /* asked for */
        struct text value;
        struct text granted;
};

/* Writes into a block that is large enough, or only counts. */
struct snapshot_writer {
        uint8_t *bytes; /* borrowed; NULL: only counted */
        size_t size;
        struct snapshot_head head; /* counts what was written */
};

/* The counts in `head` do not matter. What follows must be in this order: clients, holds, refusals,
 * tokens. */
void snapshot_begin(struct snapshot_writer *writer, void *bytes, const struct snapshot_head *head);
void snapshot_write_client(struct snapshot_writer *writer,
                           const uint8_t digest[static SNAPSHOT_DIGEST_BYTES]);
void snapshot_write_hold(struct snapshot_writer *writer, const struct snapshot_hold *hold);
void snapshot_write_refusal(struct snapshot_writer *writer, const struct snapshot_refusal *refusal);
void snapshot_write_token(struct snapshot_writer *writer, const struct snapshot_token *token);

/* Completes it. Returns the size of it all. */
size_t snapshot_end(struct snapshot_writer *writer);

/* One that is whole, of this format and of this boot; what is in it is still to be read. */
struct snapshot {
        const uint8_t *bytes; /* borrowed */
        size_t size;          /* without the checksum */
        struct snapshot_head head;
};

/* 0, SNAPSHOT_E_NOISE, _VERSION, _TRUNCATED, _CHECKSUM, _BOOT, _MALFORMED or _TIME. */
int snapshot_open(struct snapshot *ret, const void *bytes, size_t size,
                  const uint8_t boot_id[static SNAPSHOT_BOOT_BYTES], uint64_t now_ms);

struct snapshot_reader {
        const struct snapshot *snapshot; /* borrowed */
        size_t at;
        bool believed;          /* it was gone through before, to the end */
        uint64_t touched_at_ms; /* of the refusal before */
};

/* At the first client. The caller reads as many of each as the head says. What is `believed` is not
 * judged once more: its bytes must not have changed since. */
void snapshot_rewind(struct snapshot_reader *reader, const struct snapshot *snapshot,
                     bool believed);

/* Each: 0, SNAPSHOT_E_MALFORMED or _TIME; what is returned borrows from the bytes. */
int snapshot_read_client(struct snapshot_reader *reader, const uint8_t **ret_digest);
int snapshot_read_hold(struct snapshot_reader *reader, struct snapshot_hold *ret);
int snapshot_read_refusal(struct snapshot_reader *reader, struct snapshot_refusal *ret);
int snapshot_read_token(struct snapshot_reader *reader, struct snapshot_token *ret);

/* Whether nothing is left. */
bool snapshot_is_read(const struct snapshot_reader *reader);
