#include <nettle/md5.h>
#include <nettle/pbkdf2.h>
#include <sys/random.h>

#include "crypto.h"

bool crypto_pbkdf2_sha256(const void *password, size_t password_size, const void *salt,
                          size_t salt_size, uint32_t rounds, uint8_t key[CRYPTO_SHA256_BYTES]) {
    pbkdf2_hmac_sha256(password_size, password, rounds, salt_size, salt, CRYPTO_SHA256_BYTES, key);
    return true;
}

bool crypto_md5(const void *first, size_t first_size, const void *second, size_t second_size,
                uint8_t digest[CRYPTO_MD5_BYTES]) {
    struct md5_ctx md5;
    md5_init(&md5);
    md5_update(&md5, first_size, first);
    md5_update(&md5, second_size, second);
    md5_digest(&md5, CRYPTO_MD5_BYTES, digest);
    return true;
}

bool crypto_random(void *bytes, size_t size) {
    return getrandom(bytes, size, 0) == (ssize_t)size; /* whole up to 256 bytes */
}
