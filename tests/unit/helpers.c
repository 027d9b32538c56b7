/* SPDX-License-Identifier: MIT */

/*
 * The linker sends the allocations of the tests and of lib/ through here (--wrap). Those of shared
 * libraries go their own way.
 */

#include "helpers.h"

#include <malloc.h>
#include <openssl/evp.h>
#include <stdio.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *block, size_t n, size_t size);
char *__real_strdup(const char *string);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *block, size_t n, size_t size);
char *__wrap_strdup(const char *string);
void __wrap_free(void *block);

static unsigned int fail_in;
static bool failed;
static const char *needle;
static size_t dirty;

static bool fails_now(void)
{
        if (fail_in == 0 || --fail_in > 0)
                return false;
        failed = true;
        return true;
}

void *__wrap_malloc(size_t size)
{
        return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
        return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_reallocarray(void *block, size_t n, size_t size)
{
        return fails_now() ? NULL : __real_reallocarray(block, n, size);
}

char *__wrap_strdup(const char *string)
{
        return fails_now() ? NULL : __real_strdup(string);
}

void __wrap_free(void *block)
{
        if (block && needle && memmem(block, malloc_usable_size(block), needle, strlen(needle)))
                dirty++;
        __real_free(block);
}

void alloc_fail_at(unsigned int n)
{
        fail_in = n;
        failed = false;
}

bool alloc_has_failed(void)
{
        fail_in = 0;
        return failed;
}

void frees_watch(const char *needle_)
{
        needle = needle_;
        dirty = 0;
}

size_t frees_dirty(void)
{
        return dirty;
}

char *copy_exactly(struct text text)
{
        char *copy = __real_malloc(text.size);

        assert_non_null(copy);
        if (text.size > 0)
                memcpy(copy, text.bytes, text.size);
        return copy;
}

void append(char *string, size_t capacity, const char *more)
{
        const size_t size = strlen(string);

        assert_true(strlen(more) < capacity - size);
        memcpy(string + size, more, strlen(more) + 1);
}

/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
uint64_t random_next(uint64_t *state)
{
        uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

struct grant_key key_of_subject(struct key_buffer *buffer, const char *subject)
{
        static const uint8_t hash_key[SIPHASH_KEY_BYTES] = "sixteen bytes...";
        const struct grant grant = {
                .identity = 1,
                .subject_kind = SUBJECT_USERNAME,
                .subject = TEXT(subject),
                .scope = TEXT("scope"),
        };

        buffer->key = grant_key_make(buffer->bytes, hash_key, &grant);
        return buffer->key;
}

struct grant_key key_of_number(struct key_buffer *buffer, unsigned int number)
{
        char subject[16];

        snprintf(subject, sizeof(subject), "%u", number);
        return key_of_subject(buffer, subject);
}

uint64_t count_buckets(const struct table *table)
{
        uint64_t n_buckets = 0;

        for (uint64_t at = 0; at < TABLE_END; n_buckets++) {
                size_t n = 0;

                for (struct table_node *it = *table_bucket(table, at); it; it = it->next)
                        n++;
                assert_in_range(n, 0, 10);
                at = table_bucket_end(table, at);
        }
        return n_buckets;
}

void encode_base64url(char *ret, struct text text)
{
        EVP_EncodeBlock((unsigned char *)ret, (const unsigned char *)text.bytes, (int)text.size);
        for (; *ret; ret++) {
                if (*ret == '+')
                        *ret = '-';
                else if (*ret == '/')
                        *ret = '_';
                else if (*ret == '=')
                        *ret-- = '\0';
        }
}
