/* Which drafts of the ABI a host takes: its own, whatever it is. */
#include "unit.h"

#include <string.h>

#include "base/error.h"
#include "base/macros.h"
#include "plugin/descriptor.h"

static void test_descriptor_loads_on_a_host_of_its_very_draft(void **state) {
    static const struct {
        uint32_t magic;
        uint16_t draft;
        unsigned host;
        const char *words; /* NULL: it is taken */
    } cases[] = {
        {BERTH_PLUGIN_MAGIC_DRAFT, 2, 2, NULL},
        {BERTH_PLUGIN_MAGIC_DRAFT, 3, 3, NULL},
        {BERTH_PLUGIN_MAGIC_RELEASED, 0, 0, NULL},
        {BERTH_PLUGIN_MAGIC_DRAFT, 0, 2,
         "built for draft 1 of ABI 1.0 and this host serves draft 2"},
        {BERTH_PLUGIN_MAGIC_DRAFT, 1, 2,
         "built for draft 1 of ABI 1.0 and this host serves draft 2"},
        {BERTH_PLUGIN_MAGIC_DRAFT, 2, 3, "build it against this host's plugin-api"},
        {BERTH_PLUGIN_MAGIC_DRAFT, 3, 2, "use a newer host"},
        {BERTH_PLUGIN_MAGIC_RELEASED, 0, 2, "use a newer host"},
        {BERTH_PLUGIN_MAGIC_RELEASED, 2, 2, "contradicts itself"},
        {BERTH_PLUGIN_MAGIC_RELEASED, 2, 0, "contradicts itself"},
        /* The freeze: no binary of a candidate is taken for a released one. */
        {BERTH_PLUGIN_MAGIC_DRAFT, 0, 0,
         "built for draft 1 of ABI 1.0 and this host serves the released"},
        {BERTH_PLUGIN_MAGIC_DRAFT, 2, 0,
         "built for draft 2 of ABI 1.0 and this host serves the released"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct error error = {0};
        struct berth_plugin found = {
            .magic = cases[i].magic, .abi_major = 1, .abi_draft = cases[i].draft};
        bool taken = descriptor_check_draft(&found, cases[i].host, &error);
        assert_int_equal(taken, cases[i].words == NULL);
        assert_true(taken || strstr(error.message, cases[i].words));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptor_loads_on_a_host_of_its_very_draft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
