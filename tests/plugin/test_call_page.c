/* Notes of calls that outlive the process: what a reader makes of them, also when a plugin has
 * written over them; and whose end it is. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "control/last_end.h"
#include "net/listen/listener.h"
#include "plugin/call_page.h"
#include "plugin/callback_guard.h"
#include "plugin/plugin_stats.h"

enum { HEADER_BYTES = 64, ROUNDS = 200 };

struct world {
    void *page;
    struct plugin_stats *shop;
    struct plugin_stats *bank;
    struct listener_label *label;
};

static int begin(void **state) {
    struct world *world = alloc_zeroed(sizeof(*world));
    world->page = alloc_zeroed(call_page_bytes());
    plugin_thread_leave();
    call_page_start(world->page);
    world->shop = plugin_stats_create("shop", 3);
    world->bank = plugin_stats_create("bank", 4);
    plugin_stats_set_version(world->shop, "1.4.0");
    world->label = alloc_zeroed(sizeof(*world->label) + sizeof("front"));
    world->label->generation = 5;
    memcpy(world->label->name, "front", sizeof("front"));
    call_page_name(world->label->name, 5, world->label->name, "");
    *state = world;
    return 0;
}

static int end(void **state) {
    struct world *world = *state;
    plugin_thread_leave();
    call_page_start(NULL);
    plugin_stats_close(world->shop);
    plugin_stats_close(world->bank);
    alloc_free(world->label);
    alloc_free(world->page);
    alloc_free(world);
    return 0;
}

static struct calls_seen look(const struct world *world) {
    struct calls_seen seen;
    call_page_read(world->page, &seen);
    return seen;
}

/* A call on another thread, as far as the notes tell. */
static struct call_record *call_elsewhere(struct plugin_stats *stats, unsigned callback) {
    struct call_record *record = call_page_take();
    assert_non_null(record);
    atomic_store(&record->stats, stats);
    atomic_store(&record->callback, callback);
    atomic_store(&record->sequence, 7);
    return record;
}

static void test_call_page_call_that_goes_on_is_read_as_it_is(void **state) {
    struct world *world = *state;
    char text[256];
    struct plugin_thread *call =
        callback_guard_begin(world->shop, world->label->name, NULL, PLUGIN_RECEIVED);
    struct calls_seen seen = look(world);
    assert_true(seen.readable);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.all, "shop");
    assert_string_equal(seen.running, "shop");
    call_info_describe(&seen.calls[0], text, sizeof(text));
    assert_string_equal(
        text, "callback received of plugin \"shop\", generation 5 (1.4.0), listener \"front\"");
    callback_guard_end(call);
    assert_int_equal(look(world).total, 0);
}

static void test_call_page_of_a_host_that_ends_itself_names_nobody(void **state) {
    struct world *world = *state;
    call_elsewhere(world->shop, PLUGIN_LOAD);
    assert_int_equal(look(world).total, 1);
    call_page_end();
    assert_int_equal(look(world).total, 0);
    assert_true(look(world).readable);
}

static void test_call_page_that_no_host_has_begun_is_not_readable(void **state) {
    struct world *world = *state;
    memset(world->page, 0, HEADER_BYTES);
    call_elsewhere(world->shop, PLUGIN_LOAD);
    assert_false(look(world).readable);
    assert_int_equal(look(world).count, 0);
}

static void test_call_page_plugin_that_is_gone_is_not_named(void **state) {
    struct world *world = *state;
    call_elsewhere(world->shop, PLUGIN_TIMER);
    call_page_forget(world->shop);
    struct calls_seen seen = look(world);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.calls[0].plugin, "");
    assert_string_equal(seen.all, "");
}

static void test_call_page_thread_without_a_record_leaves_it_open(void **state) {
    struct world *world = *state;
    for (int i = 0; i < CALL_RECORDS_MAX - 1; i++) {
        assert_non_null(call_page_take());
    }
    struct call_record *last = call_elsewhere(world->shop, PLUGIN_RECEIVED);
    assert_string_equal(look(world).all, "shop");
    assert_null(call_page_take());
    assert_string_equal(look(world).all, "");
    assert_string_equal(look(world).running, "");
    call_page_give_back(NULL);
    assert_string_equal(look(world).all, "shop");
    call_page_give_back(last);
    for (size_t i = 0; i < CALL_RECORDS_MAX - 1; i++) {
        call_page_give_back(last - 1 - i);
    }
}

static void test_call_page_calls_that_ran_are_told_before_those_that_waited(void **state) {
    struct world *world = *state;
    for (int i = 0; i < 2 * CALLS_REPORTED_MAX; i++) {
        atomic_store(&call_elsewhere(world->bank, PLUGIN_WORK)->waits, 7);
    }
    call_elsewhere(world->shop, PLUGIN_RECEIVED);
    struct calls_seen seen = look(world);
    bool found = false;
    assert_int_equal(seen.total, 2 * CALLS_REPORTED_MAX + 1);
    assert_int_equal(seen.count, CALLS_REPORTED_MAX);
    for (size_t i = 0; i < seen.count; i++) {
        found = found || strcmp(seen.calls[i].plugin, "shop") == 0;
    }
    assert_true(found);
    assert_string_equal(seen.running, "shop");
}

/* -- what a plugin has written over ---------------------------------------- */

static bool is_safe(const char *text, size_t size) {
    bool safe = memchr(text, '\0', size) != NULL;
    for (size_t i = 0; safe && text[i] != '\0'; i++) {
        safe = (unsigned char)text[i] >= ' ' && text[i] != 0x7f;
    }
    return safe;
}

static void scribble(struct world *world, unsigned from) {
    unsigned char *bytes = world->page;
    for (size_t i = from; i < call_page_bytes(); i++) {
        bytes[i] = (unsigned char)(rand() % 256);
    }
}

static void test_call_page_full_of_anything_is_read_within_bounds(void **state) {
    struct world *world = *state;
    char text[320];
    srand(1);
    for (int round = 0; round < ROUNDS; round++) {
        scribble(world, HEADER_BYTES);
        struct calls_seen seen = look(world);
        assert_true(seen.readable);
        assert_in_range(seen.count, 1, CALLS_REPORTED_MAX);
        assert_in_range(seen.total, seen.count, CALL_RECORDS_MAX);
        for (size_t i = 0; i < seen.count; i++) {
            assert_true(is_safe(seen.calls[i].plugin, sizeof(seen.calls[i].plugin)));
            assert_true(is_safe(seen.calls[i].callback, sizeof(seen.calls[i].callback)));
            call_info_describe(&seen.calls[i], text, sizeof(text));
        }
        assert_string_equal(seen.all, "");
    }
}

static void test_call_page_names_with_anything_in_them_are_made_safe(void **state) {
    struct world *world = *state;
    char wild[64];
    memset(wild, '\x1b', sizeof(wild)); /* not terminated either */
    plugin_stats_set_version(world->shop, "\x1b[31m\n");
    call_page_name(world->label->name, 5, "\x1b]0;title\a", "");
    struct call_record *record = call_elsewhere(world->shop, PLUGIN_CALLBACKS + 1000);
    atomic_store(&record->listener, world->label->name);
    struct calls_seen seen = look(world);
    assert_true(is_safe(seen.calls[0].version, sizeof(seen.calls[0].version)));
    assert_true(is_safe(seen.calls[0].listener, sizeof(seen.calls[0].listener)));
    assert_string_equal(seen.calls[0].callback, "?");
    assert_string_equal(seen.calls[0].plugin, "shop");
    call_page_name(world->shop, 3, "../shop", "1");
    assert_string_equal(look(world).calls[0].plugin, "");
    /* Every text of the page, ended by nothing. */
    for (char *at = world->page; at + sizeof(wild) <= (char *)world->page + call_page_bytes();
         at++) {
        if (memcmp(at, "../shop", sizeof("../shop")) == 0) {
            memset(at, 'x', sizeof(wild));
        }
    }
    seen = look(world);
    assert_int_equal(strlen(seen.calls[0].plugin), sizeof(seen.calls[0].plugin) - 1);
}

/* -- whose end it is ------------------------------------------------------- */

static struct last_end judge(const struct world *world, enum os_end_by by) {
    struct calls_seen seen = look(world);
    struct last_end end = {0};
    last_end_judge(&end, &seen, by);
    return end;
}

static void assert_whose(const struct last_end *end, const char *plugin, const char *text) {
    char described[2048];
    last_end_describe(end, described, sizeof(described));
    assert_non_null(strstr(described, text));
    assert_int_equal(end->attributed, plugin != NULL);
    if (plugin) {
        assert_string_equal(end->calls[0].plugin, plugin);
    }
}

static void test_last_end_without_a_call_is_nobodys(void **state) {
    struct last_end end = judge(*state, OS_END_BY_ITSELF);
    assert_whose(&end, NULL, "no plugin was being called");
}

static void test_last_end_in_calls_of_one_plugin_is_its_own(void **state) {
    struct world *world = *state;
    call_elsewhere(world->shop, PLUGIN_WORK);
    call_elsewhere(world->shop, PLUGIN_RECEIVED);
    struct last_end end = judge(world, OS_END_BY_ANY);
    assert_whose(&end, "shop", ", in callback ");
    assert_int_equal(end.count, 2);
}

static void test_last_end_in_calls_of_two_plugins_is_nobodys(void **state) {
    struct world *world = *state;
    call_elsewhere(world->shop, PLUGIN_WORK);
    call_elsewhere(world->bank, PLUGIN_RECEIVED);
    struct last_end end = judge(world, OS_END_BY_ITSELF);
    assert_whose(&end, NULL, "cannot be told which");
    end = judge(world, OS_END_BY_KILL);
    assert_whose(&end, NULL, "cannot be told which");
}

static void test_last_end_sets_calls_that_waited_aside_for_a_kill_alone(void **state) {
    struct world *world = *state;
    atomic_store(&call_elsewhere(world->bank, PLUGIN_WORK)->waits, 7);
    call_elsewhere(world->shop, PLUGIN_RECEIVED);
    struct last_end end = judge(world, OS_END_BY_KILL);
    assert_whose(&end, "shop", ", in callback received of plugin \"shop\"");
    assert_int_equal(end.count, 2);
    end = judge(world, OS_END_BY_ITSELF);
    assert_whose(&end, NULL, "cannot be told which");
    end = judge(world, OS_END_BY_ANY);
    assert_whose(&end, NULL, "cannot be told which");
}

static void test_last_end_while_one_waits_is_its_own_unless_it_may_come_from_outside(void **state) {
    struct world *world = *state;
    atomic_store(&call_elsewhere(world->bank, PLUGIN_WORK)->waits, 7);
    struct last_end end = judge(world, OS_END_BY_ITSELF);
    assert_whose(&end, "bank", ", in callback work");
    end = judge(world, OS_END_BY_KILL);
    assert_whose(&end, NULL, "only waited");
    end = judge(world, OS_END_BY_ANY);
    assert_whose(&end, NULL, "only waited");
}

int main(void) {
#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        IN_WORLD(test_call_page_call_that_goes_on_is_read_as_it_is),
        IN_WORLD(test_call_page_of_a_host_that_ends_itself_names_nobody),
        IN_WORLD(test_call_page_that_no_host_has_begun_is_not_readable),
        IN_WORLD(test_call_page_plugin_that_is_gone_is_not_named),
        IN_WORLD(test_call_page_thread_without_a_record_leaves_it_open),
        IN_WORLD(test_call_page_calls_that_ran_are_told_before_those_that_waited),
        IN_WORLD(test_call_page_full_of_anything_is_read_within_bounds),
        IN_WORLD(test_call_page_names_with_anything_in_them_are_made_safe),
        IN_WORLD(test_last_end_without_a_call_is_nobodys),
        IN_WORLD(test_last_end_in_calls_of_one_plugin_is_its_own),
        IN_WORLD(test_last_end_in_calls_of_two_plugins_is_nobodys),
        IN_WORLD(test_last_end_sets_calls_that_waited_aside_for_a_kill_alone),
        IN_WORLD(test_last_end_while_one_waits_is_its_own_unless_it_may_come_from_outside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
