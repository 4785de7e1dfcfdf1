/* Networks and lists of them: what they contain, how they are written, and who may come. */
#include "unit.h"

#include "base/address.h"
#include "base/error.h"
#include "net/lib/access_list.h"

static struct berth_address address(const char *text) {
    struct berth_address parsed;
    assert_true(address_parse(&parsed, text, NULL));
    return parsed;
}

/* A machine whose only interface is "seven", with the number 7. */
static bool zone_seven(const char *zone, uint32_t *index) {
    *index = 7;
    return strcmp(zone, "seven") == 0 || strcmp(zone, "7") == 0;
}

static struct address_prefix prefix(const char *text) {
    struct address_prefix parsed;
    assert_true(address_prefix_parse(&parsed, text, zone_seven, NULL));
    return parsed;
}

static void test_prefix_contains_its_network_and_no_other(void **state) {
    static const struct {
        const char *prefix;
        const char *address;
        bool contained;
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255:1", true},
        {"10.0.0.0/8", "11.0.0.0:1", false},
        {"10.0.0.0/8", "[::ffff:10.1.2.3]:1", true},
        {"10.0.0.0/8", "[::10.1.2.3]:1", false},
        {"192.168.1.7", "192.168.1.7:65535", true},
        {"192.168.1.7", "192.168.1.6:65535", false},
        {"192.168.1.4/31", "192.168.1.5:1", true},
        {"192.168.1.4/31", "192.168.1.6:1", false},
        {"0.0.0.0/0", "255.255.255.255:1", true},
        {"0.0.0.0/0", "[::1]:1", false},
        {"0.0.0.0/0", "[::ffff:1.2.3.4]:1", true},
        {"::/0", "[::1]:1", true},
        {"::/0", "1.2.3.4:1", false},
        {"2001:db8::/32", "[2001:db8:ffff::1]:1", true},
        {"2001:db8::/32", "[2001:db9::1]:1", false},
        {"2001:db8:0:8000::/49", "[2001:db8:0:ffff::]:1", true},
        {"2001:db8:0:8000::/49", "[2001:db8:0:7fff::]:1", false},
        {"fe80::1", "[fe80::1%3]:1", true},
        {"fe80::1%seven", "[fe80::1%7]:1", true},
        {"fe80::1%7", "[fe80::1%7]:1", true},
        {"fe80::1%seven", "[fe80::1%3]:1", false},
        {"fe80::%seven/64", "[fe80::abcd%7]:1", true},
        {"fe80::%seven/64", "[fe80::abcd]:1", false},
        {"2001:db8::%seven/32", "[2001:db8::1]:1", true},
        {"::ffff:10.0.0.0/104", "10.9.9.9:1", true},
        {"::ffff:10.0.0.0/104", "11.9.9.9:1", false},
        {"::ffff:10.0.0.1", "10.0.0.1:1", true},
        {"::ffff:0:0/96", "10.0.0.1:1", true},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct address_prefix network = prefix(cases[i].prefix);
        struct berth_address one = address(cases[i].address);
        assert_int_equal(address_prefix_contains(&network, &one), cases[i].contained);
    }
}

static void test_prefix_bad_text_is_refused_with_the_reason(void **state) {
    static const struct {
        const char *text;
        const char *reason;
    } cases[] = {
        {"", "not an IPv4 or IPv6 address"},
        {"/8", "not an IPv4 or IPv6 address"},
        {"10.0.0/8", "not an IPv4 or IPv6 address"},
        {"10.0.0.0:80/8", "not an IPv4 or IPv6 address"},
        {"10.0.0.0:80", "not an IPv4 or IPv6 address"},
        {"[::1]/128", "not an IPv4 or IPv6 address"},
        {"fe80::1%3/64", "no network interface \"3\""},
        {"fe80::1%/64", "not an IPv6 address"},
        {"fe80::1%seven/64", "the network is \"fe80::%7/64\""},
        {"localhost", "not an IPv4 or IPv6 address"},
        {" 10.0.0.0/8", "not an IPv4 or IPv6 address"},
        {"1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222:3333:4444:5555:6666:7777/8",
         "not an IPv4 or IPv6 address"},
        {"10.0.0.0/", "a number from 0 to 32"},
        {"10.0.0.0/33", "a number from 0 to 32"},
        {"10.0.0.0/08", "a number from 0 to 32"},
        {"10.0.0.0/-1", "a number from 0 to 32"},
        {"10.0.0.0/8 ", "a number from 0 to 32"},
        {"10.0.0.0/8/8", "a number from 0 to 32"},
        {"::/129", "a number from 0 to 128"},
        {"::/9999999999", "a number from 0 to 128"},
        {"10.1.2.3/8", "the network is \"10.0.0.0/8\""},
        {"10.0.0.1/31", "the network is \"10.0.0.0/31\""},
        {"2001:db8::1/32", "the network is \"2001:db8::/32\""},
        {"::1/0", "the network is \"::/0\""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct address_prefix parsed;
        struct error error = {0};
        assert_false(address_prefix_parse(&parsed, cases[i].text, zone_seven, &error));
        assert_non_null(strstr(error.message, cases[i].reason));
    }
}

static void test_access_list_empty_allows_everybody(void **state) {
    struct access_list list = {0};
    struct berth_address one = address("1.2.3.4:5");
    (void)state;
    assert_true(access_list_allows(&list, &one));
}

static void test_access_list_deny_counts_more_than_allow(void **state) {
    struct address_prefix allow[] = {prefix("10.0.0.0/8"), prefix("2001:db8::/32")};
    struct address_prefix deny[] = {prefix("10.1.0.0/16"), prefix("2001:db8:1::/48")};
    static const struct {
        const char *address;
        bool both;
        bool allow_only;
        bool deny_only;
    } cases[] = {
        {"10.0.0.1:1", true, true, true},          {"10.1.0.1:1", false, true, false},
        {"11.0.0.1:1", false, false, true},        {"[2001:db8::1]:1", true, true, true},
        {"[2001:db8:1::1]:1", false, true, false}, {"[::1]:1", false, false, true},
        {"[::ffff:10.0.0.1]:1", true, true, true}, {"[::ffff:10.1.0.1]:1", false, true, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct berth_address one = address(cases[i].address);
        struct access_list both = {allow, 2, deny, 2};
        struct access_list allow_only = {allow, 2, NULL, 0};
        struct access_list deny_only = {NULL, 0, deny, 2};
        assert_int_equal(access_list_allows(&both, &one), cases[i].both);
        assert_int_equal(access_list_allows(&allow_only, &one), cases[i].allow_only);
        assert_int_equal(access_list_allows(&deny_only, &one), cases[i].deny_only);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix_contains_its_network_and_no_other),
        cmocka_unit_test(test_prefix_bad_text_is_refused_with_the_reason),
        cmocka_unit_test(test_access_list_empty_allows_everybody),
        cmocka_unit_test(test_access_list_deny_counts_more_than_allow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
