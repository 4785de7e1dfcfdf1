#include <windows.h>

#include <bcrypt.h>

#include "crypto.h"

bool crypto_pbkdf2_sha256(const void *password, size_t password_size, const void *salt,
                          size_t salt_size, uint32_t rounds, uint8_t key[CRYPTO_SHA256_BYTES]) {
    BCRYPT_ALG_HANDLE sha256;
    if (BCryptOpenAlgorithmProvider(&sha256, BCRYPT_SHA256_ALGORITHM, NULL,
                                    BCRYPT_ALG_HANDLE_HMAC_FLAG) != 0) {
        return false;
    }
    NTSTATUS status = BCryptDeriveKeyPBKDF2(sha256, (PUCHAR)(uintptr_t)password,
                                            (ULONG)password_size, (PUCHAR)(uintptr_t)salt,
                                            (ULONG)salt_size, rounds, key, CRYPTO_SHA256_BYTES, 0);
    BCryptCloseAlgorithmProvider(sha256, 0);
    return status == 0;
}

bool crypto_md5(const void *first, size_t first_size, const void *second, size_t second_size,
                uint8_t digest[CRYPTO_MD5_BYTES]) {
    BCRYPT_ALG_HANDLE md5;
    BCRYPT_HASH_HANDLE hash;
    if (BCryptOpenAlgorithmProvider(&md5, BCRYPT_MD5_ALGORITHM, NULL, 0) != 0) {
        return false;
    }
    bool done = BCryptCreateHash(md5, &hash, NULL, 0, NULL, 0, 0) == 0;
    if (done) {
        done = BCryptHashData(hash, (PUCHAR)(uintptr_t)first, (ULONG)first_size, 0) == 0 &&
               BCryptHashData(hash, (PUCHAR)(uintptr_t)second, (ULONG)second_size, 0) == 0 &&
               BCryptFinishHash(hash, digest, CRYPTO_MD5_BYTES, 0) == 0;
        BCryptDestroyHash(hash);
    }
    BCryptCloseAlgorithmProvider(md5, 0);
    return done;
}

bool crypto_random(void *bytes, size_t size) {
    return BCryptGenRandom(NULL, bytes, (ULONG)size, BCRYPT_USE_SYSTEM_PREFERRED_RNG) == 0;
}
