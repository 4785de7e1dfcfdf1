/* SipHash-2-4 against the vectors of its authors, and against itself. */
#include "base/siphash.h"

#include "unit.h"

/* Key 00 01 … 0f, input 00 01 … of so many bytes; the reference implementation's vectors. */
static void test_siphash_matches_the_vectors_of_its_authors(void **state) {
    static const struct {
        size_t size;
        uint64_t hash;
    } cases[] = {
        {0, UINT64_C(0x726fdb47dd0e0e31)},  {1, UINT64_C(0x74f839c593dc67fd)},
        {7, UINT64_C(0xab0200f58b01d137)},  {8, UINT64_C(0x93f5f5799a932462)},
        {15, UINT64_C(0xa129ca6149be45e5)}, {63, UINT64_C(0x958a324ceb064572)},
    };
    const struct siphash_key key = {{UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)}};
    uint8_t bytes[64];
    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)i;
    }
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        assert_true(siphash(&key, bytes, cases[i].size) == cases[i].hash);
    }
}

static void test_siphash_depends_on_its_key(void **state) {
    const struct siphash_key one = {{1, 2}};
    const struct siphash_key other = {{2, 1}};
    (void)state;
    assert_true(siphash(&one, "a", 1) != siphash(&other, "a", 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_siphash_matches_the_vectors_of_its_authors),
        cmocka_unit_test(test_siphash_depends_on_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
