/* test_os.c: os.h, the same on every system. */
#include "unit.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"
#include "os/os_private.h"

/* A private folder for each test. */
static struct os_private *private_folder;
static const char *folder;

static int setup(void **state) {
    struct error error = {0};
    (void)state;
    private_folder = os_private_create(NULL, &error);
    if (!private_folder) {
        fail_msg("%s", error.message);
    }
    folder = os_private_path(private_folder);
    return 0;
}

static int teardown(void **state) {
    char path[OS_PATH_MAX];
    (void)state;
    snprintf(path, sizeof(path), "%s", folder);
    os_private_remove(private_folder);
    assert_false(os_folder_visit(path, NULL, NULL, NULL));
    return 0;
}

static const char *inside(const char *name) {
    static char paths[2][OS_PATH_MAX]; /* two may be in use at once */
    static unsigned next;
    char *path = paths[next++ % 2];
    assert_true(os_path_join(path, OS_PATH_MAX, folder, name));
    return path;
}

/* -- the process ----------------------------------------------------------- */

static void test_process_tells_about_itself(void **state) {
    char path[OS_PATH_MAX];
    char none[2];
    struct error error = {0};
    (void)state;
    assert_true(os_process_id() > 0);
    assert_true(os_cpu_count() >= 1);
    assert_true(strcmp(os_name(), "linux") == 0 || strcmp(os_name(), "windows") == 0);
    assert_true(os_executable_folder(path, sizeof(path), &error));
    assert_true(os_path_is_absolute(path));
    assert_false(os_executable_folder(none, sizeof(none), &error));
    assert_string_not_equal(error.message, "");
}

static void test_clock_runs_forward_in_both_units(void **state) {
    (void)state;
    uint64_t ms = os_now_ms();
    uint64_t us = os_now_us();
    assert_true(us / 1000 >= ms);
    for (int i = 0; i < 1000; i++) {
        uint64_t later_us = os_now_us();
        assert_true(later_us >= us);
        us = later_us;
    }
    assert_true(os_now_ms() >= ms);
}

/* -- memory ---------------------------------------------------------------- */

static void test_pages_are_aligned_and_writable(void **state) {
    (void)state;
    size_t page = os_page_bytes();
    assert_true(page >= 4096 && (page & (page - 1)) == 0);
    const size_t sizes[] = {1, page - 1, page, page + 1, 64 * page};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        char *pages = os_pages_alloc(sizes[i]);
        assert_non_null(pages);
        assert_int_equal((uintptr_t)pages % page, 0);
        memset(pages, 0xA5, sizes[i]);
        os_pages_free(pages, sizes[i]);
    }
    os_pages_free(NULL, page);
}

static void test_pages_that_a_test_wants_to_fail_do(void **state) {
    (void)state;
    alloc_fail_after(0, false);
    assert_null(os_pages_alloc(1));
    alloc_fail_after(-1, false);
}

static void test_pages_beyond_all_memory_fail(void **state) {
    (void)state;
    assert_null(os_pages_alloc(SIZE_MAX / 2));
}

/* -- threads --------------------------------------------------------------- */

struct counting {
    struct os_mutex mutex;
    struct os_condition condition;
    unsigned count;
    unsigned waiters;
    bool go;
    atomic_uintptr_t id;
};

static void count_up(void *argument) {
    struct counting *counting = argument;
    for (int i = 0; i < 10000; i++) {
        os_mutex_lock(&counting->mutex);
        counting->count++;
        os_mutex_unlock(&counting->mutex);
    }
}

static void tell_id(void *argument) {
    struct counting *counting = argument;
    atomic_store(&counting->id, os_thread_id());
}

static void wait_for_go(void *argument) {
    struct counting *counting = argument;
    os_mutex_lock(&counting->mutex);
    counting->waiters++;
    os_condition_signal_all(&counting->condition);
    while (!counting->go) {
        os_condition_wait(&counting->condition, &counting->mutex, -1);
    }
    counting->count++;
    os_mutex_unlock(&counting->mutex);
}

static void counting_init(struct counting *counting) {
    memset(counting, 0, sizeof(*counting));
    os_mutex_init(&counting->mutex);
    os_condition_init(&counting->condition);
}

static void counting_fini(struct counting *counting) {
    os_condition_fini(&counting->condition);
    os_mutex_fini(&counting->mutex);
}

static void test_mutex_keeps_threads_apart(void **state) {
    struct counting counting;
    struct os_thread threads[4];
    (void)state;
    counting_init(&counting);
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        assert_true(os_thread_start(&threads[i], "counter", count_up, &counting, NULL));
    }
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        os_thread_join(&threads[i]);
    }
    assert_int_equal(counting.count, 40000);
    counting_fini(&counting);
}

static void test_condition_wakes_all_that_wait(void **state) {
    struct counting counting;
    struct os_thread threads[3];
    (void)state;
    counting_init(&counting);
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        assert_true(os_thread_start(&threads[i], "waiter", wait_for_go, &counting, NULL));
    }
    os_mutex_lock(&counting.mutex);
    while (counting.waiters < ARRAY_COUNT(threads)) {
        os_condition_wait(&counting.condition, &counting.mutex, -1);
    }
    counting.go = true;
    os_condition_signal_all(&counting.condition);
    os_mutex_unlock(&counting.mutex);
    for (size_t i = 0; i < ARRAY_COUNT(threads); i++) {
        os_thread_join(&threads[i]);
    }
    assert_int_equal(counting.count, 3);
    counting_fini(&counting);
}

static void test_condition_nobody_signals_times_out(void **state) {
    struct counting counting;
    (void)state;
    counting_init(&counting);
    os_mutex_lock(&counting.mutex);
    uint64_t start_ms = os_now_ms();
    while (os_condition_wait(&counting.condition, &counting.mutex, 20)) {
        assert_true(os_now_ms() - start_ms < 20000); /* it may wake for nothing, not for ever */
    }
    assert_false(os_condition_wait(&counting.condition, &counting.mutex, 0));
    os_mutex_unlock(&counting.mutex);
    counting_fini(&counting);
}

static void test_thread_has_an_id_of_its_own(void **state) {
    struct counting counting;
    struct os_thread thread;
    (void)state;
    counting_init(&counting);
    assert_true(
        os_thread_start(&thread, "a-name-that-is-longer-than-15", tell_id, &counting, NULL));
    os_thread_join(&thread);
    assert_true(atomic_load(&counting.id) != os_thread_id());
    assert_true(os_thread_id() == os_thread_id());
    counting_fini(&counting);
}

static void test_thread_without_memory_is_not_started(void **state) {
    struct os_thread thread;
    struct error error = {0};
    (void)state;
    alloc_fail_after(0, false);
    assert_false(os_thread_start(&thread, "none", tell_id, NULL, &error));
    alloc_fail_after(-1, false);
    assert_string_equal(error.message, "out of memory");
}

/* -- signals --------------------------------------------------------------- */

static void wake(void *argument) {
    (void)argument;
    os_signals_wake();
}

static void test_signals_wait_ends_by_time_and_by_wake(void **state) {
    struct os_thread thread;
    struct error error = {0};
    (void)state;
    assert_true(os_signals_start(&error));
    assert_int_equal(os_signals_wait(0), OS_SIGNAL_NONE);
    assert_int_equal(os_signals_wait(10), OS_SIGNAL_NONE);
    os_signals_wake(); /* before the wait: not lost */
    assert_int_equal(os_signals_wait(-1), OS_SIGNAL_NONE);
    assert_true(os_thread_start(&thread, "waker", wake, NULL, &error));
    assert_int_equal(os_signals_wait(-1), OS_SIGNAL_NONE);
    os_thread_join(&thread);
    assert_int_equal(os_signals_wait(0), OS_SIGNAL_NONE);
}

/* -- files ----------------------------------------------------------------- */

static void expect_file(const char *path, const char *text, size_t size) {
    struct error error = {0};
    char *read = NULL;
    size_t read_size = 0;
    if (!os_file_read(path, 1000, &read, &read_size, &error)) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(read_size, size);
    assert_memory_equal(read, text, size);
    assert_int_equal(read[size], '\0');
    alloc_free(read);
}

static bool count_entry(void *context, const char *name) {
    (void)name;
    ++*(unsigned *)context;
    return true;
}

static void test_file_is_written_whole_and_replaced(void **state) {
    struct error error = {0};
    (void)state;
    const char *path = inside("f\xC3\xA4hre.json");
    assert_false(os_file_exists(path));
    assert_true(os_file_write_atomic(path, "first", 5, &error));
    expect_file(path, "first", 5);
    assert_true(os_file_write_atomic(path, "s\0cond", 6, &error));
    expect_file(path, "s\0cond", 6);
    assert_true(os_file_write_atomic(path, "", 0, &error));
    expect_file(path, "", 0);
    assert_true(os_file_exists(path));
    unsigned count = 0; /* nothing is left beside it */
    assert_true(os_folder_visit(folder, count_entry, &count, &error));
    assert_int_equal(count, 1);
    assert_true(os_file_remove(path));
    assert_false(os_file_exists(path));
    assert_false(os_file_remove(path));
}

static void test_file_that_cannot_be_written_says_why(void **state) {
    struct error error = {0};
    (void)state;
    assert_false(os_file_write_atomic(inside("none/file"), "x", 1, &error));
    assert_string_not_equal(error.message, "");
}

static void test_file_larger_than_allowed_is_refused(void **state) {
    struct error error = {0};
    char *text = NULL;
    size_t size = 0;
    (void)state;
    const char *path = inside("large");
    assert_true(os_file_write_atomic(path, "0123456789", 10, &error));
    assert_true(os_file_read(path, 10, &text, &size, &error));
    alloc_free(text);
    text = NULL;
    assert_false(os_file_read(path, 9, &text, &size, &error));
    assert_string_not_equal(error.message, "");
}

static void test_file_that_is_not_there_or_a_folder_is_not_read(void **state) {
    char *text = NULL;
    size_t size = 0;
    struct error error = {0};
    (void)state;
    assert_false(os_file_read(inside("none"), 10, &text, &size, &error));
    assert_string_not_equal(error.message, "");
    error.message[0] = '\0';
    assert_false(os_file_read(folder, 10, &text, &size, &error));
    assert_string_not_equal(error.message, "");
    assert_false(os_file_exists(folder));
}

static void test_file_read_without_memory_fails(void **state) {
    char *text = NULL;
    size_t size = 0;
    struct error error = {0};
    (void)state;
    const char *path = inside("file");
    assert_true(os_file_write_atomic(path, "x", 1, &error));
    alloc_fail_after(0, true);
    assert_false(os_file_read(path, 10, &text, &size, &error));
    alloc_fail_after(-1, false);
    assert_string_equal(error.message, "out of memory");
}

static void test_file_status_tells_another_file_of_the_same_content(void **state) {
    struct error error = {0};
    struct os_file_status first;
    struct os_file_status again;
    struct os_file file;
    (void)state;
    assert_true(os_file_write_atomic(inside("file"), "same", 4, &error));
    assert_true(os_file_open(&file, inside("file"), &error));
    assert_true(os_file_status(&file, &first, &error));
    assert_true(os_file_status(&file, &again, &error));
    os_file_close(&file);
    assert_true(os_file_status_same(&first, &again));
    assert_int_equal(first.size, 4);
    assert_int_equal(first.modified_unix_ns / 1000000, first.modified_unix_ms);
    assert_true(
        os_file_write_atomic(inside("file"), "same", 4, &error)); /* beside it, then over it */
    assert_true(os_file_open(&file, inside("file"), &error));
    assert_true(os_file_status(&file, &again, &error));
    os_file_close(&file);
    assert_false(os_file_status_same(&first, &again));
    again.modified_unix_ns = first.modified_unix_ns;
    again.changed_unix_ns = first.changed_unix_ns;
    assert_false(os_file_status_same(&first, &again)); /* its id alone tells */
}

/* -- folders --------------------------------------------------------------- */

struct names {
    char text[64];
    unsigned stop_after;
    unsigned count;
};

static bool gather(void *context, const char *name) {
    struct names *names = context;
    size_t used = strlen(names->text);
    snprintf(names->text + used, sizeof(names->text) - used, "%s ", name);
    return ++names->count != names->stop_after;
}

static void test_folder_is_visited_in_the_order_of_bytes(void **state) {
    static const char *const files[] = {"b", "C", "a", "a.so", "10", "9"};
    struct error error = {0};
    struct names all = {0};
    struct names two = {.stop_after = 2};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(files); i++) {
        assert_true(os_file_write_atomic(inside(files[i]), "", 0, &error));
    }
    assert_true(os_folder_visit(folder, gather, &all, &error));
    assert_string_equal(all.text, "10 9 C a a.so b ");
    assert_true(os_folder_visit(folder, gather, &two, &error));
    assert_string_equal(two.text, "10 9 ");
}

static void test_folder_that_is_not_there_says_why(void **state) {
    struct error error = {0};
    (void)state;
    assert_false(os_folder_visit(inside("none"), count_entry, NULL, &error));
    assert_string_not_equal(error.message, "");
}

static void test_folder_with_files_is_not_removed(void **state) {
    struct error error = {0};
    (void)state;
    assert_true(os_file_write_atomic(inside("file"), "", 0, &error));
    assert_false(os_folder_remove(folder));
}

/* -- paths ----------------------------------------------------------------- */

static void test_path_join_and_folder_undo_each_other(void **state) {
    char path[OS_PATH_MAX];
    char back[OS_PATH_MAX];
    (void)state;
    assert_true(os_path_join(path, sizeof(path), folder, "name"));
    assert_true(os_path_is_absolute(path));
    assert_true(os_path_folder(back, sizeof(back), path));
    assert_string_equal(back, folder);
    assert_true(os_path_join(path, sizeof(path), "plugins", folder)); /* absolute: alone */
    assert_string_equal(path, folder);
    assert_true(os_path_folder(back, sizeof(back), "name"));
    assert_string_equal(back, ".");
    assert_false(os_path_is_absolute("plugins/echo"));
    assert_false(os_path_is_absolute(""));
}

static void test_path_that_does_not_fit_is_refused(void **state) {
    char path[8];
    (void)state;
    assert_true(os_path_join(path, sizeof(path), "abc", "def"));
    assert_int_equal(strlen(path), 7);
    assert_false(os_path_join(path, sizeof(path), "abcd", "def"));
    assert_false(os_path_folder(path, 4, "abcd/e"));
    assert_true(os_path_folder(path, 5, "abcd/e"));
    assert_string_equal(path, "abcd");
}

/* -- libraries ------------------------------------------------------------- */

static void test_library_that_is_not_there_or_no_library_says_why(void **state) {
    struct error error = {0};
    char name[32];
    (void)state;
    snprintf(name, sizeof(name), "none%s", os_library_suffix());
    assert_null(os_library_open(inside(name), &error));
    assert_string_not_equal(error.message, "");
    error.message[0] = '\0';
    assert_true(os_file_write_atomic(inside(name), "no library", 10, &error));
    assert_null(os_library_open(inside(name), &error));
    assert_string_not_equal(error.message, "");
}

static void test_library_without_memory_is_not_opened(void **state) {
    struct error error = {0};
    (void)state;
    long live = alloc_live();
    alloc_fail_after(0, true);
    assert_null(os_library_open(inside("any"), &error));
    alloc_fail_after(-1, false);
    assert_string_not_equal(error.message, "");
    assert_int_equal(alloc_live(), live);
}

#define FILES(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv) {
    struct error error = {0};
    if (!os_start(&argc, &argv, &error)) {
        fputs(error.message, stderr);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process_tells_about_itself),
        cmocka_unit_test(test_clock_runs_forward_in_both_units),
        cmocka_unit_test(test_pages_are_aligned_and_writable),
        cmocka_unit_test(test_pages_that_a_test_wants_to_fail_do),
        cmocka_unit_test(test_pages_beyond_all_memory_fail),
        cmocka_unit_test(test_mutex_keeps_threads_apart),
        cmocka_unit_test(test_condition_wakes_all_that_wait),
        cmocka_unit_test(test_condition_nobody_signals_times_out),
        cmocka_unit_test(test_thread_has_an_id_of_its_own),
        cmocka_unit_test(test_thread_without_memory_is_not_started),
        cmocka_unit_test(test_signals_wait_ends_by_time_and_by_wake),
        FILES(test_file_is_written_whole_and_replaced),
        FILES(test_file_that_cannot_be_written_says_why),
        FILES(test_file_larger_than_allowed_is_refused),
        FILES(test_file_that_is_not_there_or_a_folder_is_not_read),
        FILES(test_file_read_without_memory_fails),
        FILES(test_file_status_tells_another_file_of_the_same_content),
        FILES(test_folder_is_visited_in_the_order_of_bytes),
        FILES(test_folder_that_is_not_there_says_why),
        FILES(test_folder_with_files_is_not_removed),
        FILES(test_path_join_and_folder_undo_each_other),
        FILES(test_path_that_does_not_fit_is_refused),
        FILES(test_library_that_is_not_there_or_no_library_says_why),
        FILES(test_library_without_memory_is_not_opened),
    };
    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
