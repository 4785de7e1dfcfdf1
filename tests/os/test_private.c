/* test_private.c: os_private.h, the same on every system. */
#include "unit.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"
#include "os/os_private.h"

enum { LIBRARY_BYTES = 200000 };

static struct os_private *place; /* of each test, with what it makes in it */

static int setup(void **state) {
    struct error error = {0};
    (void)state;
    place = os_private_create(NULL, &error);
    if (!place) {
        fail_msg("%s", error.message);
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    os_private_remove(place);
    return 0;
}

static void path_in(char *path, const char *folder, const char *name) {
    assert_true(os_path_join(path, OS_PATH_MAX, folder, name));
}

static bool is_there(const char *folder) {
    return os_folder_visit(folder, NULL, NULL, NULL);
}

static bool count_entry(void *context, const char *name) {
    unsigned *count = context;
    (void)name;
    return ++*count > 0;
}

static unsigned entries_of(const char *folder) {
    unsigned count = 0;
    assert_true(os_folder_visit(folder, count_entry, &count, NULL));
    return count;
}

static void make_file(const char *folder, const char *name) {
    char path[OS_PATH_MAX];
    path_in(path, folder, name);
    assert_true(os_file_write_atomic(path, "x", 1, NULL));
}

/* A folder as a killed process leaves it: nobody holds it. */
static void make_left(char *path, const char *name) {
    path_in(path, os_private_path(place), name);
    assert_true(os_folder_create(path, NULL));
    make_file(path, "echo.1.so");
}

/* -- folders --------------------------------------------------------------- */

static void test_private_folder_is_new_and_goes_with_its_files(void **state) {
    char path[OS_PATH_MAX];
    struct error error = {0};
    (void)state;
    struct os_private *folder = os_private_create(os_private_path(place), &error);
    assert_non_null(folder);
    snprintf(path, sizeof(path), "%s", os_private_path(folder));
    assert_true(os_path_is_absolute(path));
    assert_int_equal(entries_of(path), 0);
    make_file(path, "file");
    os_private_remove(folder);
    os_private_remove(NULL);
    assert_int_equal(entries_of(os_private_path(place)), 0);
}

static void test_private_folder_in_no_place_says_why(void **state) {
    char path[OS_PATH_MAX];
    struct error error = {0};
    (void)state;
    path_in(path, os_private_path(place), "none");
    assert_null(os_private_create(path, &error));
    assert_non_null(strstr(error.message, path));
}

static void test_private_folder_without_memory_leaves_nothing(void **state) {
    struct error error = {0};
    (void)state;
    long live = alloc_live();
    alloc_fail_after(0, true);
    assert_null(os_private_create(os_private_path(place), &error));
    alloc_fail_after(-1, false);
    assert_string_equal(error.message, "out of memory");
    assert_int_equal(alloc_live(), live);
    assert_int_equal(entries_of(os_private_path(place)), 0);
}

static void test_clean_leaves_a_folder_that_is_held_whatever_its_process_id(void **state) {
    char path[OS_PATH_MAX];
    (void)state;
    struct os_private *folder = os_private_create(os_private_path(place), NULL);
    assert_non_null(folder);
    snprintf(path, sizeof(path), "%s", os_private_path(folder));
    make_file(path, "echo.1.so");
    os_private_clean(os_private_path(place));
    assert_int_equal(entries_of(path), 1);
    os_private_remove(folder);
    assert_false(is_there(path));
}

static void test_clean_removes_what_nobody_holds_whatever_its_process_id(void **state) {
    char gone[OS_PATH_MAX];
    char own[OS_PATH_MAX];
    char name[64];
    (void)state;
    make_left(gone, "berth-4000000000-abcdef");
    /* The number of a process that lives: ours, as a container's first one always has it. */
    snprintf(name, sizeof(name), "berth-%llu-left", (unsigned long long)os_process_id());
    make_left(own, name);
    os_private_clean(os_private_path(place));
    assert_false(is_there(gone));
    assert_false(is_there(own));
}

static void test_clean_touches_no_other_name(void **state) {
    static const char *const names[] = {"berth", "berth-", "berth-x-1", "berth-12", "other-1-a"};
    char paths[ARRAY_COUNT(names)][OS_PATH_MAX];
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        make_left(paths[i], names[i]);
    }
    make_file(os_private_path(place), "berth-1-file"); /* no folder */
    os_private_clean(os_private_path(place));
    assert_int_equal(entries_of(os_private_path(place)), ARRAY_COUNT(names) + 1);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        assert_int_equal(entries_of(paths[i]), 1);
        char file[OS_PATH_MAX];
        path_in(file, paths[i], "echo.1.so");
        assert_true(os_file_remove(file));
        assert_true(os_folder_remove(paths[i]));
    }
}

/* -- copies ---------------------------------------------------------------- */

static void open_library(struct os_file *file) {
    static char bytes[LIBRARY_BYTES];
    char path[OS_PATH_MAX];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)(i % 251);
    }
    path_in(path, os_private_path(place), "library");
    assert_true(os_file_write_atomic(path, bytes, sizeof(bytes), NULL));
    assert_true(os_file_open(file, path, NULL));
}

static void test_copy_has_the_bytes_of_the_open_file(void **state) {
    struct os_copy_rules rules = {os_private_path(place), LIBRARY_BYTES};
    struct error error = {0};
    struct os_file file;
    char *text = NULL;
    char *again = NULL;
    size_t size = 0;
    size_t again_size = 0;
    (void)state;
    open_library(&file);
    struct os_copy *copy = os_copy_create(&file, "library.1", &rules, &error);
    assert_non_null(copy);
    assert_string_equal(os_copy_note(copy), "");
    assert_int_equal(os_copy_descriptor(copy), -1);
    assert_true(os_file_read(os_copy_path(copy), SIZE_MAX / 2, &text, &size, &error));
    assert_int_equal(size, LIBRARY_BYTES);
    for (size_t i = 0; i < size; i++) {
        assert_int_equal((unsigned char)text[i], i % 251);
    }
    alloc_free(text);
    struct os_copy *other = os_copy_create(&file, "library.1", &rules, &error);
    assert_non_null(other);
    assert_string_not_equal(os_copy_path(other), os_copy_path(copy));
    os_copy_remove(copy, false);
    assert_true(os_file_read(os_copy_path(other), SIZE_MAX / 2, &again, &again_size, &error));
    assert_int_equal(again_size, LIBRARY_BYTES);
    alloc_free(again);
    os_copy_remove(other, false);
    os_copy_remove(NULL, false);
    os_file_close(&file);
    assert_int_equal(entries_of(os_private_path(place)), 1);
}

static void test_copy_of_a_file_that_grows_is_bounded(void **state) {
    struct os_copy_rules rules = {os_private_path(place), LIBRARY_BYTES - 1};
    struct error error = {0};
    struct os_file file;
    (void)state;
    open_library(&file); /* larger than it was when its size was asked for */
    assert_null(os_copy_create(&file, "library.1", &rules, &error));
    assert_non_null(strstr(error.message, "it grows while it is copied"));
    os_file_close(&file);
    assert_int_equal(entries_of(os_private_path(place)), 1);
}

static void test_copy_where_there_is_no_place_says_which(void **state) {
    char none[OS_PATH_MAX];
    struct os_copy_rules rules = {none, LIBRARY_BYTES};
    struct error error = {0};
    struct os_file file;
    (void)state;
    path_in(none, os_private_path(place), "none");
    open_library(&file);
    assert_null(os_copy_create(&file, "library.1", &rules, &error));
    assert_non_null(strstr(error.message, none));
    os_file_close(&file);
}

#define PRIVATE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv) {
    struct error error = {0};
    if (!os_start(&argc, &argv, &error)) {
        fputs(error.message, stderr);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        PRIVATE(test_private_folder_is_new_and_goes_with_its_files),
        PRIVATE(test_private_folder_in_no_place_says_why),
        PRIVATE(test_private_folder_without_memory_leaves_nothing),
        PRIVATE(test_clean_leaves_a_folder_that_is_held_whatever_its_process_id),
        PRIVATE(test_clean_removes_what_nobody_holds_whatever_its_process_id),
        PRIVATE(test_clean_touches_no_other_name),
        PRIVATE(test_copy_has_the_bytes_of_the_open_file),
        PRIVATE(test_copy_of_a_file_that_grows_is_bounded),
        PRIVATE(test_copy_where_there_is_no_place_says_which),
    };
    return cmocka_run_group_tests_name("private", tests, NULL, NULL);
}
