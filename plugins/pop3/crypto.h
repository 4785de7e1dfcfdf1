/* crypto.h: what the plugin needs of cryptography, done by the system's own library: nettle on
 * Linux, bcrypt.dll on Windows. Nothing is kept between calls. Threads: any. */
#ifndef BERTH_PLUGINS_POP3_CRYPTO_H
#define BERTH_PLUGINS_POP3_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CRYPTO_SHA256_BYTES = 32, CRYPTO_MD5_BYTES = 16 };

/* All of them: false when the system cannot do it. */

bool crypto_pbkdf2_sha256(const void *password, size_t password_size, const void *salt,
                          size_t salt_size, uint32_t rounds, uint8_t key[CRYPTO_SHA256_BYTES]);

/* Of two byte strings, concatenated. */
bool crypto_md5(const void *first, size_t first_size, const void *second, size_t second_size,
                uint8_t digest[CRYPTO_MD5_BYTES]);

bool crypto_random(void *bytes, size_t size);

#endif
