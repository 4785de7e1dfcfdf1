#include "password.h"

#include <stdio.h>
#include <string.h>

#define HASHED "$pbkdf2-sha256$"
#define SECRET "{apop}"

enum { SALT_BYTES = 16 };

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./";

/* The bytes that the text stands for; -1: it is no such text, or stands for more than `capacity`.
 */
static int password_decode(const char *text, size_t size, uint8_t *bytes, size_t capacity) {
    uint32_t bits = 0;
    unsigned count = 0;
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        const char *digit = text[i] != '\0' ? strchr(digits, text[i]) : NULL;
        if (!digit) {
            return -1;
        }
        bits = bits << 6 | (uint32_t)(digit - digits);
        count += 6;
        if (count >= 8) {
            count -= 8;
            if (used == capacity) {
                return -1;
            }
            bytes[used++] = (uint8_t)(bits >> count);
        }
    }
    return size % 4 == 1 || (bits & ((1U << count) - 1)) != 0 ? -1 : (int)used;
}

static char *password_encode(const uint8_t *bytes, size_t size, char *text) {
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | bytes[i];
        count += 8;
        for (; count >= 6; count -= 6) {
            *text++ = digits[bits >> (count - 6) & 63];
        }
    }
    if (count > 0) {
        *text++ = digits[bits << (6 - count) & 63];
    }
    *text = '\0';
    return text;
}

/* Takes the same time wherever they differ. */
static bool is_equal(const void *one, const void *other, size_t size) {
    const volatile uint8_t *a = one;
    const volatile uint8_t *b = other;
    uint8_t difference = 0;
    for (size_t i = 0; i < size; i++) {
        difference |= (uint8_t)(a[i] ^ b[i]);
    }
    return difference == 0;
}

void password_forget(void *bytes, size_t size) {
    volatile uint8_t *at = bytes;
    while (size-- > 0) {
        *at++ = 0;
    }
}

/* -- reading --------------------------------------------------------------- */

static const char *password_read_rounds(const char **at, const char *end,
                                        struct password *password) {
    uint32_t rounds = 0;
    const char *digit = *at;
    while (digit < end && *digit >= '0' && *digit <= '9' && rounds <= PASSWORD_ROUNDS_MAX) {
        rounds = rounds * 10 + (uint32_t)(*digit++ - '0');
    }
    if (digit == end || *digit != '$' || rounds < 1 || rounds > PASSWORD_ROUNDS_MAX) {
        return "its number of rounds must be 1 to 10000000";
    }
    password->rounds = rounds;
    *at = digit + 1;
    return NULL;
}

static const char *read_hashed(const char *at, const char *end, struct password *password) {
    const char *wrong = password_read_rounds(&at, end, password);
    if (wrong) {
        return wrong;
    }
    const char *between = memchr(at, '$', (size_t)(end - at));
    if (!between) {
        return "its salt or its hash is missing";
    }
    int salt = password_decode(at, (size_t)(between - at), password->salt, sizeof(password->salt));
    if (salt < 0) {
        return "its salt is not base64 of at most 64 bytes";
    }
    password->salt_size = (uint32_t)salt;
    if (password_decode(between + 1, (size_t)(end - between - 1), password->hash,
                        sizeof(password->hash)) != CRYPTO_SHA256_BYTES) {
        return "its hash is not base64 of 32 bytes";
    }
    return NULL;
}

static bool password_begins_with(const char *entry, size_t size, const char *beginning) {
    return size >= strlen(beginning) && memcmp(entry, beginning, strlen(beginning)) == 0;
}

const char *password_read(const char *entry, size_t size, struct password *password) {
    memset(password, 0, sizeof(*password));
    if (password_begins_with(entry, size, HASHED)) {
        return read_hashed(entry + strlen(HASHED), entry + size, password);
    }
    if (!password_begins_with(entry, size, SECRET)) {
        return "it begins neither with " HASHED " nor with " SECRET;
    }
    size -= strlen(SECRET);
    if (size < 1 || size > sizeof(password->secret)) {
        return "its secret must have 1 to 128 bytes";
    }
    memcpy(password->secret, entry + strlen(SECRET), size);
    password->secret_size = (uint32_t)size;
    return NULL;
}

/* -- verifying ------------------------------------------------------------- */

bool password_verify(const struct password *password, uint32_t rounds_max, const char *words,
                     size_t size) {
    static const struct password nobody = {.salt_size = SALT_BYTES};
    const struct password *known = password ? password : &nobody;
    uint32_t rounds = known->rounds > 0 ? known->rounds : rounds_max;
    uint8_t hash[CRYPTO_SHA256_BYTES];
    bool right = crypto_pbkdf2_sha256(words, size, known->salt, known->salt_size, rounds, hash);
    if (known->rounds > 0) {
        right &= is_equal(hash, known->hash, sizeof(hash));
    } else {
        char padded[PASSWORD_SECRET_MAX] = {0};
        memcpy(padded, words, size < sizeof(padded) ? size : sizeof(padded));
        right &= is_equal(padded, known->secret, sizeof(padded));
        right &= size == known->secret_size && size > 0;
        password_forget(padded, sizeof(padded));
    }
    if (!right && rounds < rounds_max) { /* what is cheaper to check takes as long to be wrong */
        crypto_pbkdf2_sha256(words, size, known->salt, known->salt_size, rounds_max - rounds, hash);
    }
    password_forget(hash, sizeof(hash));
    return right;
}

bool password_verify_apop(const struct password *password, const char *stamp, const char *digest,
                          size_t digest_size) {
    static const struct password nobody = {.secret_size = 1};
    const struct password *known = password && password->secret_size > 0 ? password : &nobody;
    uint8_t expected[CRYPTO_MD5_BYTES];
    char text[CRYPTO_MD5_BYTES * 2 + 1];
    char lower[CRYPTO_MD5_BYTES * 2] = {0};
    if (!crypto_md5(stamp, strlen(stamp), known->secret, known->secret_size, expected)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(expected); i++) {
        snprintf(text + i * 2, 3, "%02x", expected[i]);
    }
    for (size_t i = 0; i < digest_size && i < sizeof(lower); i++) {
        char c = digest[i];
        lower[i] = c >= 'A' && c <= 'F' ? (char)(c - 'A' + 'a') : c;
    }
    bool right = is_equal(text, lower, sizeof(lower));
    return right && digest_size == sizeof(lower) && known != &nobody;
}

/* -- writing --------------------------------------------------------------- */

bool password_write(const char *words, size_t size, uint32_t rounds,
                    char entry[PASSWORD_ENTRY_MAX]) {
    uint8_t salt[SALT_BYTES];
    uint8_t hash[CRYPTO_SHA256_BYTES];
    if (!crypto_random(salt, sizeof(salt)) ||
        !crypto_pbkdf2_sha256(words, size, salt, sizeof(salt), rounds, hash)) {
        return false;
    }
    int used = snprintf(entry, PASSWORD_ENTRY_MAX, HASHED "%u$", (unsigned)rounds);
    char *end = password_encode(salt, sizeof(salt), entry + used);
    *end++ = '$';
    password_encode(hash, sizeof(hash), end);
    return true;
}
