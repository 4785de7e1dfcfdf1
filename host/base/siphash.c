#include "base/siphash.h"

struct state {
    uint64_t v[4];
};

static uint64_t rotate(uint64_t word, unsigned bits) {
    return word << bits | word >> (64 - bits);
}

static void rounds(struct state *state, unsigned count) {
    uint64_t *v = state->v;
    for (unsigned i = 0; i < count; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void compress(struct state *state, uint64_t word) {
    state->v[3] ^= word;
    rounds(state, 2);
    state->v[0] ^= word;
}

/* Up to eight bytes, the first one lowest. */
static uint64_t load(const uint8_t *bytes, size_t size) {
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
        compress(&state, load(at, 8));
    }
    compress(&state, load(at, rest) | (uint64_t)size << 56);
    state.v[2] ^= 0xff;
    rounds(&state, 4);
    return state.v[0] ^ state.v[1] ^ state.v[2] ^ state.v[3];
}
