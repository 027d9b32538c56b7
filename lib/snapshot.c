/* SPDX-License-Identifier: MIT */

/*
 * Head (HEAD_BYTES), records, SHA-256. The head tells the size of it all and how many records of
 * each kind there are; they come kind by kind, so that none needs a tag.
 *
 * The checksum finds damage, and nobody who means ill: whoever can put a snapshot where the daemon
 * looks for one is root. All the same no value is taken that this program does not write, since a
 * token that fits no header or a client without a token URL would do harm much later.
 */

#include "snapshot.h"

#include <assert.h>

#include "answer.h"
#include "breaker.h"
#include "cache.h"
#include "memory.h"
#include "retryafter.h"
#include "sha256.h"

#define MAGIC       "eGTokend"
#define MAGIC_BYTES 8
#define HEAD_BYTES  88

/* Where the writer comes back to. */
#define SIZE_AT   16
#define COUNTS_AT 72

/* A token URL longer than this was never configured. */
#define URL_MAX_BYTES 8192

/* The time of day is within some 100,000 years of CLOCK_BOOTTIME. */
#define WALL_AHEAD_MAX_MS (INT64_C(1) << 52)

/* Stands for any subject. */
#define KIND_ANY 0xff

_Static_assert(SNAPSHOT_DIGEST_BYTES == SHA256_BYTES, "the checksum is a digest, too");

static const enum reason refusal_reasons[] = {
        REASON_NONE,
        REASON_SUBJECT_REFUSED,
        REASON_SCOPE_REFUSED,
        REASON_CLIENT_UNAUTHORIZED,
};

#define N_REFUSAL_REASONS (sizeof(refusal_reasons) / sizeof(refusal_reasons[0]))

const char *snapshot_fault(int r)
{
        static const char *const faults[] = {
                [0] = "nothing is wrong",
                [SNAPSHOT_E_NOISE] = "it is something else",
                [SNAPSHOT_E_VERSION] = "it is of another format",
                [SNAPSHOT_E_BOOT] = "it is of another boot",
                [SNAPSHOT_E_TRUNCATED] = "its size is not what it says",
                [SNAPSHOT_E_CHECKSUM] = "its checksum is wrong",
                [SNAPSHOT_E_MALFORMED] = "it is malformed",
                [SNAPSHOT_E_TIME] = "a time in it cannot be",
                [SNAPSHOT_E_DUPLICATE] = "something is in it twice",
        };

        if (r < 0 || r > SNAPSHOT_E_DUPLICATE)
                return "out of memory";
        return faults[r];
}

static void put(struct snapshot_writer *writer, const void *bytes, size_t size)
{
        if (writer->bytes && size > 0)
                memcpy(writer->bytes + writer->size, bytes, size);
        writer->size += size;
}

static void put_number(struct snapshot_writer *writer, uint64_t number, size_t size)
{
        uint8_t bytes[8];

        for (size_t i = 0; i < size; i++)
                bytes[i] = (uint8_t)(number >> 8 * i);
        put(writer, bytes, size);
}

static void put_u8(struct snapshot_writer *writer, uint8_t number)
{
        put_number(writer, number, 1);
}

static void put_u32(struct snapshot_writer *writer, uint32_t number)
{
        put_number(writer, number, 4);
}

static void put_u64(struct snapshot_writer *writer, uint64_t number)
{
        put_number(writer, number, 8);
}

static void put_text(struct snapshot_writer *writer, struct text text)
{
        put_u32(writer, (uint32_t)text.size);
        put(writer, text.bytes, text.size);
}

static void put_counts(struct snapshot_writer *writer)
{
        put_u32(writer, writer->head.n_clients);
        put_u32(writer, writer->head.n_holds);
        put_u32(writer, writer->head.n_refusals);
        put_u32(writer, writer->head.n_tokens);
}

void snapshot_begin(struct snapshot_writer *writer, void *bytes, const struct snapshot_head *head)
{
        *writer = (struct snapshot_writer){.bytes = bytes, .head = *head};
        writer->head.n_clients = 0;
        writer->head.n_holds = 0;
        writer->head.n_refusals = 0;
        writer->head.n_tokens = 0;

        put(writer, MAGIC, MAGIC_BYTES);
        put_u32(writer, SNAPSHOT_VERSION);
        put_u32(writer, head->wall_known);
        assert(writer->size == SIZE_AT);
        put_u64(writer, 0);
        put(writer, head->stamp.boot_id, SNAPSHOT_BOOT_BYTES);
        put_u64(writer, head->stamp.sequence);
        put_u64(writer, head->saved_at_ms);
        put_u64(writer, head->due_since_ms);
        put_u64(writer, (uint64_t)head->wall_ahead_ms);
        assert(writer->size == COUNTS_AT);
        put_counts(writer);
        assert(writer->size == HEAD_BYTES);
}

void snapshot_write_client(struct snapshot_writer *writer,
                           const uint8_t digest[static SNAPSHOT_DIGEST_BYTES])
{
        put(writer, digest, SNAPSHOT_DIGEST_BYTES);
        writer->head.n_clients++;
}

void snapshot_write_hold(struct snapshot_writer *writer, const struct snapshot_hold *hold)
{
        put_u64(writer, hold->until_ms);
        put_u32(writer, hold->step_ms);
        put_text(writer, hold->url);
        writer->head.n_holds++;
}

static uint8_t number_of_reason(enum reason reason)
{
        uint8_t i = 0;

        while (refusal_reasons[i] != reason) {
                i++;
                assert(i < N_REFUSAL_REASONS);
        }
        return i;
}

void snapshot_write_refusal(struct snapshot_writer *writer, const struct snapshot_refusal *refusal)
{
        put_u32(writer, refusal->client);
        put_u8(writer, refusal->any_subject ? KIND_ANY : (uint8_t)refusal->kind);
        put_u8(writer, number_of_reason(refusal->reason));
        put_u64(writer, refusal->touched_at_ms);
        put_u64(writer, refusal->refusal_until_ms);
        put_u32(writer, refusal->refusal_step_ms);
        put_u64(writer, refusal->rejection_until_ms);
        put_u32(writer, refusal->rejection_step_ms);
        put_text(writer, refusal->subject);
        put_text(writer, refusal->scope);
        writer->head.n_refusals++;
}

void snapshot_write_token(struct snapshot_writer *writer, const struct snapshot_token *token)
{
        put_u32(writer, token->client);
        put_u8(writer, (uint8_t)token->kind);
        put_u8(writer, (uint8_t)token->marks);
        put_u64(writer, token->sent_at_ms);
        put_u64(writer, token->refresh_at_ms);
        put_u64(writer, token->expires_at_ms);
        put_text(writer, token->subject);
        put_text(writer, token->scope);
        put_text(writer, token->value);
        put_text(writer, token->granted);
        writer->head.n_tokens++;
}

size_t snapshot_end(struct snapshot_writer *writer)
{
        const size_t size = writer->size, whole = size + SNAPSHOT_DIGEST_BYTES;

        if (writer->bytes) {
                writer->size = SIZE_AT;
                put_u64(writer, whole);
                writer->size = COUNTS_AT;
                put_counts(writer);
                sha256(writer->bytes, size, writer->bytes + size);
        }
        writer->size = whole;
        return whole;
}

/* Readers of parts return false where the bytes end before. */
static bool get(struct snapshot_reader *reader, const uint8_t **ret, size_t size)
{
        if (reader->snapshot->size - reader->at < size)
                return false;
        *ret = reader->snapshot->bytes + reader->at;
        reader->at += size;
        return true;
}

static bool get_number(struct snapshot_reader *reader, uint64_t *ret, size_t size)
{
        const uint8_t *bytes;

        if (!get(reader, &bytes, size))
                return false;
        *ret = 0;
        for (size_t i = 0; i < size; i++)
                *ret |= (uint64_t)bytes[i] << 8 * i;
        return true;
}

static bool get_u8(struct snapshot_reader *reader, uint8_t *ret)
{
        uint64_t number;

        if (!get_number(reader, &number, 1))
                return false;
        *ret = (uint8_t)number;
        return true;
}

static bool get_u32(struct snapshot_reader *reader, uint32_t *ret)
{
        uint64_t number;

        if (!get_number(reader, &number, 4))
                return false;
        *ret = (uint32_t)number;
        return true;
}

static bool get_u64(struct snapshot_reader *reader, uint64_t *ret)
{
        return get_number(reader, ret, 8);
}

static bool get_text(struct snapshot_reader *reader, struct text *ret)
{
        const uint8_t *bytes;
        uint32_t size;

        if (!get_u32(reader, &size) || !get(reader, &bytes, size))
                return false;
        *ret = (struct text){(const char *)bytes, size};
        return true;
}

static bool read_head(struct snapshot_head *ret, const struct snapshot *snapshot,
                      uint32_t *ret_flags)
{
        struct snapshot_reader reader = {.snapshot = snapshot, .at = SIZE_AT + 8};
        const uint8_t *boot_id;
        uint64_t wall_ahead_ms;

        if (!get(&reader, &boot_id, SNAPSHOT_BOOT_BYTES) ||
            !get_u64(&reader, &ret->stamp.sequence) || !get_u64(&reader, &ret->saved_at_ms) ||
            !get_u64(&reader, &ret->due_since_ms) || !get_u64(&reader, &wall_ahead_ms) ||
            !get_u32(&reader, &ret->n_clients) || !get_u32(&reader, &ret->n_holds) ||
            !get_u32(&reader, &ret->n_refusals) || !get_u32(&reader, &ret->n_tokens))
                return false; /* GCOVR_EXCL_LINE: check_frame() has seen that the head is whole */
        memcpy(ret->stamp.boot_id, boot_id, SNAPSHOT_BOOT_BYTES);
        ret->wall_ahead_ms = (int64_t)wall_ahead_ms;
        reader.at = MAGIC_BYTES + 4;
        return get_u32(&reader, ret_flags);
}

/* What the first bytes say, as far as it can be judged before the rest is believed. */
static int check_frame(const uint8_t *bytes, size_t size)
{
        const struct snapshot snapshot = {.bytes = bytes, .size = size};
        struct snapshot_reader reader = {.snapshot = &snapshot, .at = MAGIC_BYTES};
        uint64_t whole;
        uint32_t version;

        if (size < MAGIC_BYTES || memcmp(bytes, MAGIC, MAGIC_BYTES) != 0)
                return SNAPSHOT_E_NOISE;
        if (!get_u32(&reader, &version))
                return SNAPSHOT_E_TRUNCATED;
        if (version != SNAPSHOT_VERSION)
                return SNAPSHOT_E_VERSION;
        reader.at = SIZE_AT;
        if (size < HEAD_BYTES + SNAPSHOT_DIGEST_BYTES || !get_u64(&reader, &whole) || whole != size)
                return SNAPSHOT_E_TRUNCATED;
        return 0;
}

int snapshot_open(struct snapshot *ret, const void *bytes, size_t size,
                  const uint8_t boot_id[static SNAPSHOT_BOOT_BYTES], uint64_t now_ms)
{
        struct snapshot snapshot = {.bytes = bytes};
        const struct snapshot_head *head = &snapshot.head;
        uint8_t digest[SNAPSHOT_DIGEST_BYTES];
        uint32_t flags;
        int r;

        r = check_frame(bytes, size);
        if (r)
                return r;
        snapshot.size = size - SNAPSHOT_DIGEST_BYTES;
        sha256(snapshot.bytes, snapshot.size, digest);
        if (memcmp(digest, snapshot.bytes + snapshot.size, sizeof(digest)) != 0)
                return SNAPSHOT_E_CHECKSUM;
        if (!read_head(&snapshot.head, &snapshot, &flags) || flags > 1 ||
            head->n_clients > SNAPSHOT_CLIENTS_MAX || head->n_holds > SNAPSHOT_HOLDS_MAX)
                return SNAPSHOT_E_MALFORMED;
        snapshot.head.wall_known = flags;
        if (memcmp(head->stamp.boot_id, boot_id, SNAPSHOT_BOOT_BYTES) != 0)
                return SNAPSHOT_E_BOOT;
        if (head->saved_at_ms > now_ms || head->due_since_ms > head->saved_at_ms ||
            head->wall_ahead_ms > WALL_AHEAD_MAX_MS || head->wall_ahead_ms < -WALL_AHEAD_MAX_MS)
                return SNAPSHOT_E_TIME;
        *ret = snapshot;
        return 0;
}

void snapshot_rewind(struct snapshot_reader *reader, const struct snapshot *snapshot, bool believed)
{
        *reader = (struct snapshot_reader){
                .snapshot = snapshot, .at = HEAD_BYTES, .believed = believed};
}

bool snapshot_is_read(const struct snapshot_reader *reader)
{
        return reader->at == reader->snapshot->size;
}

int snapshot_read_client(struct snapshot_reader *reader, const uint8_t **ret_digest)
{
        return get(reader, ret_digest, SNAPSHOT_DIGEST_BYTES) ? 0 : SNAPSHOT_E_MALFORMED;
}

int snapshot_read_hold(struct snapshot_reader *reader, struct snapshot_hold *ret)
{
        const uint64_t saved_at_ms = reader->snapshot->head.saved_at_ms;

        if (!get_u64(reader, &ret->until_ms) || !get_u32(reader, &ret->step_ms) ||
            !get_text(reader, &ret->url) || ret->url.size == 0 || ret->url.size > URL_MAX_BYTES)
                return SNAPSHOT_E_MALFORMED;
        if (ret->until_ms <= saved_at_ms || ret->until_ms - saved_at_ms > RETRYAFTER_MAX_MS ||
            ret->step_ms > BREAKER_HOLD_MAX_MS)
                return SNAPSHOT_E_TIME;
        return 0;
}

/* One that is written: an exchange's is not. */
static bool is_kind(uint8_t kind)
{
        return kind < _SUBJECT_KIND_N && kind != SUBJECT_EXCHANGE;
}

static bool is_subject(enum subject_kind kind, struct text subject)
{
        if (!subject_kind_names(kind))
                return subject.size == 0;
        return subject.size > 0 && subject.size <= REQUEST_SUBJECT_MAX_BYTES &&
               text_is_plain_utf8(subject);
}

static bool is_canonical_scope(struct text scope)
{
        char copy[REQUEST_SCOPE_MAX_BYTES];
        size_t size = scope.size;

        if (scope.size == 0 || scope.size > sizeof(copy))
                return false;
        memcpy(copy, scope.bytes, scope.size);
        return scope_canonicalise(copy, &size) == 0 && text_equal((struct text){copy, size}, scope);
}

/* Whether a time to wait until is what a step of at most `max_ms` can have made of it. */
static bool is_step(uint64_t until_ms, uint32_t step_ms, uint32_t max_ms, uint64_t touched_at_ms)
{
        if (step_ms == 0)
                return until_ms == 0;
        return step_ms <= max_ms && until_ms <= touched_at_ms + max_ms;
}

int snapshot_read_refusal(struct snapshot_reader *reader, struct snapshot_refusal *ret)
{
        const struct snapshot_head *head = &reader->snapshot->head;
        uint8_t kind, reason;

        if (!get_u32(reader, &ret->client) || !get_u8(reader, &kind) || !get_u8(reader, &reason) ||
            !get_u64(reader, &ret->touched_at_ms) || !get_u64(reader, &ret->refusal_until_ms) ||
            !get_u32(reader, &ret->refusal_step_ms) || !get_u64(reader, &ret->rejection_until_ms) ||
            !get_u32(reader, &ret->rejection_step_ms) || !get_text(reader, &ret->subject) ||
            !get_text(reader, &ret->scope))
                return SNAPSHOT_E_MALFORMED;
        ret->any_subject = kind == KIND_ANY;
        if (ret->client >= head->n_clients || reason >= N_REFUSAL_REASONS ||
            (reason > 0) != (ret->refusal_step_ms > 0) ||
            (ret->refusal_step_ms == 0 && ret->rejection_step_ms == 0) ||
            (!is_kind(kind) && !ret->any_subject) ||
            (ret->any_subject ? ret->subject.size > 0 : !is_subject(kind, ret->subject)) ||
            !is_canonical_scope(ret->scope))
                return SNAPSHOT_E_MALFORMED;
        ret->kind = ret->any_subject ? SUBJECT_USERNAME : (enum subject_kind)kind;
        ret->reason = refusal_reasons[reason];
        if (ret->touched_at_ms > head->saved_at_ms || ret->touched_at_ms < reader->touched_at_ms ||
            !is_step(ret->refusal_until_ms, ret->refusal_step_ms, MEMORY_REFUSAL_MAX_MS,
                     ret->touched_at_ms) ||
            !is_step(ret->rejection_until_ms, ret->rejection_step_ms, MEMORY_REJECTION_MAX_MS,
                     ret->touched_at_ms))
                return SNAPSHOT_E_TIME;
        reader->touched_at_ms = ret->touched_at_ms;
        return 0;
}

int snapshot_read_token(struct snapshot_reader *reader, struct snapshot_token *ret)
{
        const struct snapshot_head *head = &reader->snapshot->head;
        uint8_t kind, marks;

        if (!get_u32(reader, &ret->client) || !get_u8(reader, &kind) || !get_u8(reader, &marks) ||
            !get_u64(reader, &ret->sent_at_ms) || !get_u64(reader, &ret->refresh_at_ms) ||
            !get_u64(reader, &ret->expires_at_ms) || !get_text(reader, &ret->subject) ||
            !get_text(reader, &ret->scope) || !get_text(reader, &ret->value) ||
            !get_text(reader, &ret->granted))
                return SNAPSHOT_E_MALFORMED;
        ret->kind = (enum subject_kind)kind;
        ret->marks = marks;
        if (reader->believed)
                return 0;
        if (ret->client >= head->n_clients || !is_kind(kind) ||
            (marks & ~(unsigned int)CACHE_MARKS) != 0 || !is_subject(kind, ret->subject) ||
            !is_canonical_scope(ret->scope) || !answer_is_token(ret->value) ||
            (ret->granted.size > 0 && !answer_is_scope(ret->granted)))
                return SNAPSHOT_E_MALFORMED;
        if (ret->sent_at_ms > head->saved_at_ms || ret->expires_at_ms <= head->saved_at_ms ||
            ret->refresh_at_ms < ret->sent_at_ms || ret->refresh_at_ms > ret->expires_at_ms ||
            ret->expires_at_ms - ret->sent_at_ms > (uint64_t)ANSWER_LIFETIME_MAX_S * 1000)
                return SNAPSHOT_E_TIME;
        return 0;
}
