/* Addresses: what is one, what is none and why, and that the text comes back as it should. */
#include "unit.h"

#include "base/address.h"
#include "base/error.h"

static void test_address_good_text_is_parsed_and_written_back(void **state) {
    static const struct {
        const char *text;
        const char *back; /* NULL: the same */
    } cases[] = {
        {"127.0.0.1:5001", NULL},
        {"0.0.0.0:0", NULL},
        {"255.255.255.255:65535", NULL},
        {"[::1]:5001", NULL},
        {"[::]:5001", NULL},
        {"[fe80::1%3]:80", NULL},
        {"[1:2:3:4:5:6:7:8]:1", NULL},
        {"[1::8]:1", NULL},
        {"[1:2::]:3", NULL},
        {"[ABCD::0001]:1", "[abcd::1]:1"},
        {"[1:0:0:4:0:0:0:8]:1", "[1:0:0:4::8]:1"},
        {"[1:0:0:4:5:0:0:8]:1", "[1::4:5:0:0:8]:1"},    /* the first of equals, RFC 5952 */
        {"[1:2:3:4:5:6:7::]:1", "[1:2:3:4:5:6:7:0]:1"}, /* one zero alone is not cut */
        {"[::ffff:1.2.3.4]:9", "[::ffff:102:304]:9"},
        {"[1:2:3:4:5:6:1.2.3.4]:9", "[1:2:3:4:5:6:102:304]:9"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct berth_address address;
        struct error error;
        char text[BERTH_ADDRESS_TEXT_MAX];
        assert_true(address_parse(&address, cases[i].text, &error));
        address_format(&address, text, sizeof(text));
        assert_string_equal(text, cases[i].back ? cases[i].back : cases[i].text);
    }
}

static void test_address_bad_text_is_refused_with_the_reason(void **state) {
    static const struct {
        const char *text;
        const char *reason;
    } cases[] = {
        {"", "not an IPv4 address"},
        {"1.2.3:4", "not an IPv4 address"},
        {"256.1.1.1:1", "not an IPv4 address"},
        {"01.2.3.4:1", "not an IPv4 address"},
        {"localhost:80", "names are not looked up"},
        {"1.2.3.4", "the port is missing"},
        {"1.2.3.4:", "the port is not a number"},
        {"1.2.3.4:65536", "the port is not a number"},
        {"1.2.3.4:99999999999999999999", "the port is not a number"},
        {"1.2.3.4:080", "the port is not a number"},
        {"1.2.3.4:1 ", "something follows"},
        {"[::1", "\"]\" is missing"},
        {"[::1]", "the port is missing"},
        {"[1::2::3]:1", "not an IPv6 address"},
        {"[1:2:3:4:5:6:7]:1", "not an IPv6 address"},
        {"[1:2:3:4:5:6:7:8:9]:1", "not an IPv6 address"},
        {"[1:2:3:4:5:6:7:8::]:1", "not an IPv6 address"},
        {"[12345::]:1", "not an IPv6 address"},
        {"[:1]:1", "not an IPv6 address"},
        {"[]:1", "not an IPv6 address"},
        {"[fe80::1%eth0]:1", "not an IPv6 address"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct berth_address address;
        struct error error = {0};
        assert_false(address_parse(&address, cases[i].text, &error));
        assert_non_null(strstr(error.message, cases[i].reason));
        assert_int_equal(address.family, BERTH_FAMILY_NONE);
    }
}

static void test_address_short_room_is_not_overrun(void **state) {
    struct berth_address address;
    char text[8] = "xxxxxxx";
    (void)state;
    assert_true(address_parse(&address, "127.0.0.1:5001", NULL));
    assert_int_equal(address_format(&address, text, 5), 14);
    assert_string_equal(text, "127.");
    assert_int_equal(text[5], 'x');
}

static void test_address_mapped_ipv4_becomes_ipv4(void **state) {
    struct berth_address mapped;
    struct berth_address plain;
    struct berth_address other;
    (void)state;
    assert_true(address_parse(&mapped, "[::ffff:127.0.0.1]:7", NULL));
    assert_true(address_parse(&plain, "127.0.0.1:7", NULL));
    assert_true(address_parse(&other, "[::fffe:127.0.0.1]:7", NULL));
    assert_false(address_equal(&mapped, &plain));
    address_unmap(&mapped);
    assert_true(address_equal(&mapped, &plain));
    address_map(&plain);
    assert_true(address_is_mapped(&plain));
    address_unmap(&plain);
    assert_true(address_equal(&mapped, &plain));
    address_map(&other);
    address_unmap(&other);
    assert_int_equal(other.family, BERTH_FAMILY_IPV6);
}

static void test_address_any_is_told_from_others(void **state) {
    struct berth_address address;
    (void)state;
    assert_true(address_parse(&address, "[::]:7", NULL));
    assert_true(address_is_any(&address));
    assert_true(address_parse(&address, "0.0.0.0:7", NULL));
    assert_true(address_is_any(&address));
    assert_true(address_parse(&address, "127.0.0.1:7", NULL));
    assert_false(address_is_any(&address));
}

/* A machine whose only interface is "eth0.7 [a", with the number 7. */
static bool only_interface(const char *zone, uint32_t *index) {
    *index = 7;
    return strcmp(zone, "eth0.7 [a") == 0 || strcmp(zone, "7") == 0;
}

static void test_address_zone_is_an_interface_by_name_or_number(void **state) {
    static const struct {
        const char *text;
        const char *back;
    } cases[] = {
        {"[fe80::1%eth0.7 [a]:80", "[fe80::1%7]:80"},
        {"[fe80::1%7]:80", "[fe80::1%7]:80"},
        {"[febf::1%7]:80", "[febf::1%7]:80"},
        {"[ff02::1%7]:80", "[ff02::1%7]:80"},
        {"[::1%eth0.7 [a]:80", "[::1]:80"}, /* means nothing where an address is not link-local */
        {"[fec0::1%7]:80", "[fec0::1]:80"},
        {"[ff05::1%7]:80", "[ff05::1]:80"},
        {"[fe80::1]:80", "[fe80::1]:80"},
    };
    static const char *const unknown[] = {"[fe80::1%eth1]:80", "[fe80::1%8]:80", "[::1%lo]:80"};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct berth_address address;
        char text[BERTH_ADDRESS_TEXT_MAX];
        assert_true(address_parse_zone(&address, cases[i].text, only_interface, NULL));
        address_format(&address, text, sizeof(text));
        assert_string_equal(text, cases[i].back);
    }
    for (size_t i = 0; i < ARRAY_COUNT(unknown); i++) {
        struct berth_address address;
        struct error error = {0};
        assert_false(address_parse_zone(&address, unknown[i], only_interface, &error));
        assert_non_null(strstr(error.message, "this machine has no network interface \""));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_good_text_is_parsed_and_written_back),
        cmocka_unit_test(test_address_bad_text_is_refused_with_the_reason),
        cmocka_unit_test(test_address_short_room_is_not_overrun),
        cmocka_unit_test(test_address_mapped_ipv4_becomes_ipv4),
        cmocka_unit_test(test_address_any_is_told_from_others),
        cmocka_unit_test(test_address_zone_is_an_interface_by_name_or_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
