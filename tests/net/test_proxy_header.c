/* The PROXY protocol's header: what is one, what is none, and how it comes in pieces. */
#include "net/lib/proxy_header.h"

#include <string.h>

#include "base/address.h"
#include "base/macros.h"
#include "unit.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static char text_of_from[BERTH_ADDRESS_TEXT_MAX];
static char text_of_to[BERTH_ADDRESS_TEXT_MAX];

static enum proxy_verdict read_text(const char *text, struct proxy_header *header) {
    enum proxy_verdict verdict =
        proxy_header_read((const uint8_t *)text, (uint32_t)strlen(text), header);
    address_format(&header->from, text_of_from, sizeof(text_of_from));
    address_format(&header->to, text_of_to, sizeof(text_of_to));
    return verdict;
}

static void test_line_names_client_and_what_follows_is_left(void **state) {
    struct proxy_header header;
    (void)state;
    static const char four[] = "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET /\r\n";
    assert_int_equal(read_text(four, &header), PROXY_HEADER_WHOLE);
    assert_true(header.names_client);
    assert_int_equal(header.size, strlen(four) - 7);
    assert_string_equal(text_of_from, "192.0.2.1:56324");
    assert_string_equal(text_of_to, "198.51.100.7:443");
    assert_int_equal(read_text("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", &header),
                     PROXY_HEADER_WHOLE);
    assert_string_equal(text_of_from, "[2001:db8::1]:0");
    assert_string_equal(text_of_to, "[::1]:65535");
    static const char longest[] = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                                  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_int_equal(strlen(longest), 107);
    assert_int_equal(read_text(longest, &header), PROXY_HEADER_WHOLE);
    assert_false(header.names_client);
    assert_int_equal(read_text("PROXY UNKNOWN\r\n", &header), PROXY_HEADER_WHOLE);
    assert_false(header.names_client);
}

static void test_line_in_pieces_is_awaited(void **state) {
    struct proxy_header header;
    (void)state;
    static const char line[] = "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
    for (uint32_t size = 0; size < sizeof(line) - 1; size++) {
        assert_int_equal(proxy_header_read((const uint8_t *)line, size, &header),
                         PROXY_HEADER_PART);
    }
}

static void test_wrong_lines_are_malformed(void **state) {
    static const char *const wrong[] = {
        "GET / HTTP/1.1\r\n",
        "PROXX",
        "proxy TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 \r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 -1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n",
        "PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
        "PROXY TCP6 fe80::1%2 ::1 1 2\r\n",
        "PROXY TCP6 [::1] ::1 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535 \r\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct proxy_header header;
        if (read_text(wrong[i], &header) != PROXY_HEADER_MALFORMED || !header.fault) {
            fail_msg("taken for right: %s", wrong[i]);
        }
    }
}

/* A header of version 2, and its size. */
static uint32_t build(uint8_t *bytes, uint8_t command, uint8_t family, const void *body,
                      uint32_t length) {
    memcpy(bytes, SIGNATURE, 12);
    bytes[12] = command;
    bytes[13] = family;
    bytes[14] = (uint8_t)(length >> 8);
    bytes[15] = (uint8_t)length;
    memcpy(bytes + 16, body, length);
    return 16 + length;
}

static const uint8_t four[12] = {192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb};

static void test_binary_names_client_in_pieces_too(void **state) {
    struct proxy_header header;
    uint8_t bytes[256];
    (void)state;
    uint32_t size = build(bytes, 0x21, 0x11, four, sizeof(four));
    for (uint32_t part = 0; part < size; part++) {
        assert_int_equal(proxy_header_read(bytes, part, &header), PROXY_HEADER_PART);
    }
    bytes[size] = 'x';
    assert_int_equal(proxy_header_read(bytes, size + 1, &header), PROXY_HEADER_WHOLE);
    assert_int_equal(header.size, size);
    assert_true(header.names_client);
    address_format(&header.from, text_of_from, sizeof(text_of_from));
    assert_string_equal(text_of_from, "192.0.2.1:56324");
    uint8_t six[36] = {0};
    six[0] = 0x20;
    six[15] = 1;
    six[31] = 1;
    six[33] = 80;
    size = build(bytes, 0x21, 0x21, six, sizeof(six));
    assert_int_equal(proxy_header_read(bytes, size, &header), PROXY_HEADER_WHOLE);
    address_format(&header.from, text_of_from, sizeof(text_of_from));
    address_format(&header.to, text_of_to, sizeof(text_of_to));
    assert_string_equal(text_of_from, "[2000::1]:80");
    assert_string_equal(text_of_to, "[::1]:0");
}

static void test_binary_of_the_proxy_itself_or_of_others_names_nobody(void **state) {
    struct proxy_header header;
    uint8_t bytes[512];
    uint8_t body[216] = {0};
    (void)state;
    static const struct {
        uint8_t command;
        uint8_t family;
        uint32_t length;
    } cases[] = {{0x20, 0x00, 0},   {0x20, 0x11, 12},  {0x20, 0xff, 7},  {0x21, 0x00, 100},
                 {0x21, 0x00, 0},   {0x21, 0x31, 216}, {0x21, 0x12, 12}, {0x21, 0x22, 36},
                 {0x21, 0x32, 216}, {0x21, 0x12, 3}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint32_t size = build(bytes, cases[i].command, cases[i].family, body, cases[i].length);
        assert_int_equal(proxy_header_read(bytes, size, &header), PROXY_HEADER_WHOLE);
        assert_false(header.names_client);
        assert_int_equal(header.size, size);
    }
}

static void test_binary_that_does_not_fit_is_malformed(void **state) {
    struct proxy_header header;
    uint8_t bytes[512];
    uint8_t body[64] = {0};
    (void)state;
    static const struct {
        uint8_t command;
        uint8_t family;
        uint32_t length;
    } cases[] = {{0x11, 0x11, 12}, {0x22, 0x11, 12}, {0x31, 0x11, 12}, {0x21, 0x10, 12},
                 {0x21, 0x01, 36}, {0x21, 0x41, 12}, {0x21, 0x11, 11}, {0x21, 0x21, 35},
                 {0x21, 0x31, 60}, {0x21, 0x11, 14}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint32_t size = build(bytes, cases[i].command, cases[i].family, body, cases[i].length);
        assert_int_equal(proxy_header_read(bytes, size, &header), PROXY_HEADER_MALFORMED);
        assert_non_null(header.fault);
    }
}

static void test_binary_extras_are_skipped_and_their_checksum_is_looked_at(void **state) {
    struct proxy_header header;
    uint8_t bytes[256];
    uint8_t body[64];
    (void)state;
    memcpy(body, four, sizeof(four));
    memcpy(body + 12, "\x04\0\3abc\x03\0\4\0\0\0\0\x30\0\0", 16);
    uint32_t size = build(bytes, 0x21, 0x11, body, 12 + 16);
    assert_int_equal(proxy_header_read(bytes, size, &header), PROXY_HEADER_MALFORMED);
    /* CRC-32C of the header above, as another implementation computes it. */
    static const uint8_t right[4] = {0x9e, 0x8b, 0xc8, 0xee};
    memcpy(bytes + 16 + 12 + 6 + 3, right, 4);
    assert_int_equal(proxy_header_read(bytes, size, &header), PROXY_HEADER_WHOLE);
    assert_true(header.names_client);
    bytes[18] ^= 1;
    assert_int_equal(proxy_header_read(bytes, size, &header), PROXY_HEADER_MALFORMED);
    memcpy(body + 12, "\x04\0\4abc", 6);
    size = build(bytes, 0x21, 0x11, body, 12 + 6);
    assert_int_equal(proxy_header_read(bytes, size, &header), PROXY_HEADER_MALFORMED);
}

static void test_mapped_addresses_are_ipv4_in_both_versions(void **state) {
    struct proxy_header header;
    uint8_t bytes[64];
    uint8_t six[36] = {[10] = 0xff, 0xff, 192, 0, 2, 1, [26] = 0xff, 0xff, 198, 51, 100, 7};
    (void)state;
    assert_int_equal(read_text("PROXY TCP6 ::ffff:192.0.2.1 ::FFFF:c633:6407 5 6\r\n", &header),
                     PROXY_HEADER_WHOLE);
    assert_string_equal(text_of_from, "192.0.2.1:5");
    assert_string_equal(text_of_to, "198.51.100.7:6");
    uint32_t size = build(bytes, 0x21, 0x21, six, sizeof(six));
    assert_int_equal(proxy_header_read(bytes, size, &header), PROXY_HEADER_WHOLE);
    address_format(&header.from, text_of_from, sizeof(text_of_from));
    address_format(&header.to, text_of_to, sizeof(text_of_to));
    assert_string_equal(text_of_from, "192.0.2.1:0");
    assert_string_equal(text_of_to, "198.51.100.7:0");
}

static void test_second_checksum_is_malformed_even_if_both_match(void **state) {
    struct proxy_header header;
    uint8_t bytes[64];
    uint8_t body[12 + 14];
    (void)state;
    memcpy(body, four, sizeof(four));
    memcpy(body + 12, "\x03\0\4\0\0\0\0\x03\0\4\0\0\0\0", 14);
    uint32_t size = build(bytes, 0x21, 0x11, body, sizeof(body));
    assert_int_equal(proxy_header_read(bytes, size, &header), PROXY_HEADER_MALFORMED);
    /* CRC-32C of the header above with its first checksum as zero, as another implementation
     * computes it. */
    static const uint8_t right[4] = {0x7c, 0x66, 0x7f, 0x36};
    memcpy(bytes + 16 + 12 + 3, right, 4);
    assert_int_equal(proxy_header_read(bytes, size, &header), PROXY_HEADER_MALFORMED);
    assert_string_equal(header.fault, "a second checksum");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_line_names_client_and_what_follows_is_left),
        cmocka_unit_test(test_line_in_pieces_is_awaited),
        cmocka_unit_test(test_wrong_lines_are_malformed),
        cmocka_unit_test(test_binary_names_client_in_pieces_too),
        cmocka_unit_test(test_binary_of_the_proxy_itself_or_of_others_names_nobody),
        cmocka_unit_test(test_binary_that_does_not_fit_is_malformed),
        cmocka_unit_test(test_binary_extras_are_skipped_and_their_checksum_is_looked_at),
        cmocka_unit_test(test_mapped_addresses_are_ipv4_in_both_versions),
        cmocka_unit_test(test_second_checksum_is_malformed_even_if_both_match),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
