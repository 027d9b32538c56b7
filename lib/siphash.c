/* SPDX-License-Identifier: MIT */

/*
 * Written out from the paper's description. libcrypto has it too, behind an allocation and a
 * provider look-up that cost more than the hash; the unit test compares the two.
 */

#include "siphash.h"

#include <endian.h>
#include <string.h>

struct state {
        uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate(uint64_t x, unsigned int bits)
{
        return x << bits | x >> (64 - bits);
}

static inline uint64_t load64(const uint8_t *bytes)
{
        uint64_t word;

        memcpy(&word, bytes, sizeof(word));
        return le64toh(word);
}

static inline void round_once(struct state *s)
{
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 = rotate(s->v2, 32);
}

static inline void compress(struct state *s, uint64_t word)
{
        s->v3 ^= word;
        round_once(s);
        round_once(s);
        s->v0 ^= word;
}

uint64_t siphash(const uint8_t key[static SIPHASH_KEY_BYTES], const void *bytes, size_t size)
{
        const uint64_t k0 = load64(key), k1 = load64(key + 8);
        const uint8_t *in = bytes;
        size_t left = size;
        uint64_t last = (uint64_t)size << 56;
        struct state s = {
                .v0 = k0 ^ UINT64_C(0x736f6d6570736575),
                .v1 = k1 ^ UINT64_C(0x646f72616e646f6d),
                .v2 = k0 ^ UINT64_C(0x6c7967656e657261),
                .v3 = k1 ^ UINT64_C(0x7465646279746573),
        };

        for (; left >= 8; left -= 8, in += 8)
                compress(&s, load64(in));
        for (size_t i = 0; i < left; i++)
                last |= (uint64_t)in[i] << (8 * i);
        compress(&s, last);

        s.v2 ^= 0xff;
        for (int i = 0; i < 4; i++)
                round_once(&s);
        return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
