/* password.h: entries of passwords, as the users file has them.
 *
 *     $pbkdf2-sha256$ROUNDS$SALT$HASH   only a hash of the password, in the form of passlib
 *     {apop}SECRET                      the password itself, which APOP needs
 *
 * SALT and HASH are base64 with "." for "+" and without padding. Threads: any. */
#ifndef BERTH_PLUGINS_POP3_PASSWORD_H
#define BERTH_PLUGINS_POP3_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto.h"

enum {
    PASSWORD_ROUNDS_DEFAULT = 100000,
    PASSWORD_ROUNDS_MIN = 1000,
    PASSWORD_ROUNDS_MAX = 10000000,
    PASSWORD_SALT_MAX = 64,
    PASSWORD_SECRET_MAX = 128,
    PASSWORD_ENTRY_MAX = 256,
};

struct password {
    uint32_t rounds; /* 0: there is only the secret */
    uint32_t salt_size;
    uint32_t secret_size;
    uint8_t salt[PASSWORD_SALT_MAX];
    uint8_t hash[CRYPTO_SHA256_BYTES];
    char secret[PASSWORD_SECRET_MAX];
};

/* NULL: valid, else a description of the error. */
const char *password_read(const char *entry, size_t size, struct password *password);

/* Whether the words are that password. Wrong words take the time of `rounds_max`, that of the most
 * expensive entry, whatever the entry, and also if there is no hash or no such user (password
 * NULL): the time must not reveal which users exist. */
bool password_verify(const struct password *password, uint32_t rounds_max, const char *words,
                     size_t size);

/* Whether it is the digest that APOP asks for: MD5 of the greeting's stamp and the secret, as 32
 * hexadecimal digits. */
bool password_verify_apop(const struct password *password, const char *stamp, const char *digest,
                          size_t digest_size);

/* Writes a hashed entry, with a salt of its own. */
bool password_write(const char *words, size_t size, uint32_t rounds,
                    char entry[PASSWORD_ENTRY_MAX]);

/* Overwrites secrets, so that they do not stay in memory. */
void password_forget(void *bytes, size_t size);

#endif
