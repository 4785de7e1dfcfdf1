/* The plugin `pop3`: that a wrong password costs the same whoever it is for. Cryptography is
 * counted here and not done. */
#include "pop3/password.h"

#include <string.h>

#include "unit.h"

static uint64_t rounds_done;

bool crypto_pbkdf2_sha256(const void *password, size_t password_size, const void *salt,
                          size_t salt_size, uint32_t rounds, uint8_t key[CRYPTO_SHA256_BYTES]) {
    (void)salt;
    (void)salt_size;
    rounds_done += rounds;
    memset(key, password_size > 0 ? *(const char *)password : 0, CRYPTO_SHA256_BYTES);
    return true;
}

bool crypto_md5(const void *first, size_t first_size, const void *second, size_t second_size,
                uint8_t digest[CRYPTO_MD5_BYTES]) {
    (void)first;
    (void)first_size;
    (void)second;
    (void)second_size;
    memset(digest, 0, CRYPTO_MD5_BYTES);
    return true;
}

bool crypto_random(void *bytes, size_t size) {
    memset(bytes, 0, size);
    return true;
}

enum { MOST = 100000 };

static struct password entry(const char *text) {
    struct password password;
    assert_null(password_read(text, strlen(text), &password));
    return password;
}

static struct password hashed(uint32_t rounds) {
    char text[PASSWORD_ENTRY_MAX];
    assert_true(password_write("right", 5, rounds, text));
    return entry(text);
}

static uint64_t cost_of_wrong(const struct password *password) {
    rounds_done = 0;
    assert_false(password_verify(password, MOST, "wrong", 5));
    return rounds_done;
}

static void test_password_wrong_costs_the_same_for_every_entry_and_for_none(void **state) {
    static const uint32_t rounds[] = {1, 1000, 12500, MOST - 1, MOST};
    struct password secret = entry("{apop}tanstaaf");
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(rounds); i++) {
        struct password password = hashed(rounds[i]);
        assert_int_equal(cost_of_wrong(&password), MOST);
    }
    assert_int_equal(cost_of_wrong(&secret), MOST);
    assert_int_equal(cost_of_wrong(NULL), MOST);
}

static void test_password_right_costs_no_more_than_its_entry(void **state) {
    struct password password = hashed(1000);
    (void)state;
    rounds_done = 0;
    assert_true(password_verify(&password, MOST, "right", 5));
    assert_int_equal(rounds_done, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_password_wrong_costs_the_same_for_every_entry_and_for_none),
        cmocka_unit_test(test_password_right_costs_no_more_than_its_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
