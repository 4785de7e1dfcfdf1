/* Entries of pop3's users file: whatever stands there, what is read of it lies within its bounds,
 * and says the same when only that much of it is there. The cryptography is none: a hash is made of
 * the password's own bytes, so that an entry that was written lets in that password, and no other.
 *
 * Input: an entry, and behind a zero byte a password.
 *
 * Links: plugins/pop3/password.c */
#include <string.h>

#include "fuzz.h"
#include "pop3/password.h"

enum { INPUT_MAX = 1024 };

bool crypto_pbkdf2_sha256(const void *password, size_t password_size, const void *salt,
                          size_t salt_size, uint32_t rounds, uint8_t key[CRYPTO_SHA256_BYTES]) {
    const uint8_t *bytes = password;
    const uint8_t *salts = salt;
    memset(key, (int)(rounds & 0xff), CRYPTO_SHA256_BYTES);
    for (size_t i = 0; i < password_size; i++) {
        key[i % CRYPTO_SHA256_BYTES] = (uint8_t)(key[i % CRYPTO_SHA256_BYTES] * 31 + bytes[i] + 1);
    }
    for (size_t i = 0; i < salt_size; i++) {
        key[i % CRYPTO_SHA256_BYTES] ^= salts[i];
    }
    return true;
}

bool crypto_md5(const void *first, size_t first_size, const void *second, size_t second_size,
                uint8_t digest[CRYPTO_MD5_BYTES]) {
    uint8_t key[CRYPTO_SHA256_BYTES];
    crypto_pbkdf2_sha256(first, first_size, second, second_size, 1, key);
    memcpy(digest, key, CRYPTO_MD5_BYTES);
    return true;
}

bool crypto_random(void *bytes, size_t size) {
    memset(bytes, 0xa5, size);
    return true;
}

static void try_entry(const char *entry, size_t size, const char *words, size_t words_size) {
    struct password password;
    const char *fault = password_read(entry, size, &password);
    FUZZ_CHECK(password.salt_size <= PASSWORD_SALT_MAX);
    FUZZ_CHECK(password.secret_size <= PASSWORD_SECRET_MAX);
    if (fault) {
        return;
    }
    FUZZ_CHECK((password.rounds > 0) != (password.secret_size > 0));
    FUZZ_CHECK(password.rounds <= PASSWORD_ROUNDS_MAX);
    bool right = password_verify(&password, 1, words, words_size);
    if (password.secret_size > 0) {
        FUZZ_CHECK(right == (words_size == password.secret_size &&
                             memcmp(words, password.secret, words_size) == 0));
    }
    if (password_verify_apop(&password, "<stamp>", words, words_size)) {
        FUZZ_CHECK(password.secret_size > 0 && words_size == CRYPTO_MD5_BYTES * 2);
    }
    FUZZ_CHECK(!password_verify(NULL, 1, words, words_size));
}

static void try_words(const char *words, size_t size) {
    char entry[PASSWORD_ENTRY_MAX];
    struct password password;
    FUZZ_CHECK(password_write(words, size, PASSWORD_ROUNDS_MAX, entry));
    FUZZ_CHECK(!password_read(entry, strlen(entry), &password));
    FUZZ_CHECK(password.rounds == PASSWORD_ROUNDS_MAX);
    FUZZ_CHECK(password_verify(&password, 1, words, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > INPUT_MAX) {
        return 0;
    }
    const uint8_t *zero = size > 0 ? memchr(data, 0, size) : NULL;
    size_t entry_size = zero ? (size_t)(zero - data) : size;
    size_t words_size = zero ? size - entry_size - 1 : 0;
    char *entry = malloc(
        entry_size > 0 ? entry_size : 1); /* each of its own, so that a read beyond it is seen */
    char *words = malloc(words_size > 0 ? words_size : 1);
    memcpy(entry, data, entry_size);
    if (words_size > 0) {
        memcpy(words, zero + 1, words_size);
    }
    try_entry(entry, entry_size, words, words_size);
    try_words(words, words_size);
    free(entry);
    free(words);
    return 0;
}
