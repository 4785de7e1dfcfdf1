#include "base/siphash.h"

struct state {
    uint64_t v[4];
};

static uint64_t siphash_rotate(uint64_t word, unsigned bits) {
    return word << bits | word >> (64 - bits);
}

static void siphash_rounds(struct state *state, unsigned count) {
    uint64_t *v = state->v;
    for (unsigned i = 0; i < count; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = siphash_rotate(v[1], 13) ^ v[0];
        v[3] = siphash_rotate(v[3], 16) ^ v[2];
        v[0] = siphash_rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = siphash_rotate(v[1], 17) ^ v[2];
        v[3] = siphash_rotate(v[3], 21) ^ v[0];
        v[2] = siphash_rotate(v[2], 32);
    }
}

static void siphash_compress(struct state *state, uint64_t word) {
    state->v[3] ^= word;
    siphash_rounds(state, 2);
    state->v[0] ^= word;
}

/* Up to eight bytes, the first one lowest. */
static uint64_t siphash_load(const uint8_t *bytes, size_t size) {
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++) {
        word |= (uint64_t)bytes[i] << 8 * i;
    }
    return word;
}

uint64_t siphash(const struct siphash_key *key, const void *bytes, size_t size) {
    const uint8_t *at = bytes;
    uint64_t k0 = key->words[0];
    uint64_t k1 = key->words[1];
    struct state state = {{
        k0 ^ UINT64_C(0x736f6d6570736575),
        k1 ^ UINT64_C(0x646f72616e646f6d),
        k0 ^ UINT64_C(0x6c7967656e657261),
        k1 ^ UINT64_C(0x7465646279746573),
    }};
    size_t rest = size;
    for (; rest >= 8; rest -= 8, at += 8) {
        siphash_compress(&state, siphash_load(at, 8));
    }
    siphash_compress(&state, siphash_load(at, rest) | (uint64_t)size << 56);
    state.v[2] ^= 0xff;
    siphash_rounds(&state, 4);
    return state.v[0] ^ state.v[1] ^ state.v[2] ^ state.v[3];
}
