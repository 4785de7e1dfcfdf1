/* Lines of pop3's users file: whatever stands there, a user's name and folder lie within the line
 * and are what a log-in or a path may be; all else is told with its reason. The cryptography is
 * none: nothing of an entry is computed when it is read.
 *
 * Input: a line without its end.
 *
 * Links: plugins/pop3/user_line.c plugins/pop3/password.c */
#include <string.h>

#include "fuzz.h"
#include "pop3/user_line.h"

enum { LINE_MAX = 4096 };

bool crypto_pbkdf2_sha256(const void *password, size_t password_size, const void *salt,
                          size_t salt_size, uint32_t rounds, uint8_t key[CRYPTO_SHA256_BYTES]) {
    (void)password, (void)password_size, (void)salt, (void)salt_size, (void)rounds;
    memset(key, 0, CRYPTO_SHA256_BYTES);
    return false;
}

bool crypto_md5(const void *first, size_t first_size, const void *second, size_t second_size,
                uint8_t digest[CRYPTO_MD5_BYTES]) {
    (void)first, (void)first_size, (void)second, (void)second_size;
    memset(digest, 0, CRYPTO_MD5_BYTES);
    return false;
}

bool crypto_random(void *bytes, size_t size) {
    memset(bytes, 0, size);
    return false;
}

static void check(const struct user_line *found, const char *line, size_t size) {
    FUZZ_CHECK(found->name == line);
    FUZZ_CHECK(found->name_size > 0 && found->name_size <= USER_NAME_MAX);
    FUZZ_CHECK(line[found->name_size] == ':');
    for (size_t i = 0; i < found->name_size; i++) {
        FUZZ_CHECK((unsigned char)line[i] > ' ' && line[i] != 0x7f && line[i] != ':');
    }
    FUZZ_CHECK(found->maildir_size > 0);
    FUZZ_CHECK(found->maildir + found->maildir_size == line + size);
    FUZZ_CHECK(found->maildir > line + found->name_size + 1 && found->maildir[-1] == ':');
    FUZZ_CHECK(!memchr(line, '\0', size));
    const struct password *password = &found->password;
    FUZZ_CHECK((password->rounds > 0) != (password->secret_size > 0));
    FUZZ_CHECK(password->rounds <= PASSWORD_ROUNDS_MAX);
    FUZZ_CHECK(password->secret_size <= PASSWORD_SECRET_MAX);
    FUZZ_CHECK(password->salt_size <= PASSWORD_SALT_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct user_line found;
    char words[USER_WORDS_MAX] = "";
    if (size > LINE_MAX) {
        return 0;
    }
    char *line = malloc(size > 0 ? size : 1); /* of its own, so that a read beyond it is seen */
    memcpy(line, data, size);
    if (!user_line_is_comment(line, size)) {
        if (user_line_read(line, size, &found, words)) {
            check(&found, line, size);
        } else {
            FUZZ_CHECK(words[0] != '\0' && memchr(words, '\0', sizeof(words)));
        }
    }
    free(line);
    return 0;
}
