/* test_os_windows.c: what the Windows side of os/ makes of codes and files that only a real Windows
 * brings: policies do not exist under Wine, nor DLLs of other processors. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"
#include "os/os_private.h"
#include "os/os_process.h"
#include "os/os_socket.h"
#include "os/os_windows.h"
#include "os/os_windows_processor.h"

/* -- codes of the loader --------------------------------------------------- */

static void test_library_error_of_a_policy_names_folder_and_setting(void **state) {
    static const unsigned long codes[] = {1260, 786, 4551};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(codes); i++) {
        struct error error = {0};
        char code[32];
        snprintf(code, sizeof(code), "error %lu", codes[i]);
        windows_library_error(&error, "C:\\Temp\\berth-1-a\\echo.1.dll", codes[i]);
        assert_non_null(strstr(error.message, code));
        assert_non_null(strstr(error.message, "C:\\Temp\\berth-1-a"));
        assert_non_null(strstr(error.message, "host.plugin_files.copies"));
    }
}

static void test_library_error_that_is_known_says_the_remedy(void **state) {
    static const struct {
        unsigned long code;
        const char *words;
    } known[] = {
        {126, "a library that it needs is missing"},
        {193, "built for another processor"},
        {225, "virus scanner"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        struct error error = {0};
        windows_library_error(&error, "C:\\echo.dll", known[i].code);
        assert_non_null(strstr(error.message, known[i].words));
    }
    struct error error = {0};
    windows_library_error(&error, "C:\\echo.dll", ERROR_ACCESS_DENIED);
    assert_null(strstr(error.message, "folder"));
    windows_library_error(NULL, "C:\\echo.dll", 1260);
}

/* -- files for other processors -------------------------------------------- */

/* A DLL that is headers alone. */
static void write_library(const char *path, WORD machine) {
    struct {
        IMAGE_DOS_HEADER dos;
        DWORD signature;
        IMAGE_FILE_HEADER header;
    } image = {
        .dos = {.e_magic = IMAGE_DOS_SIGNATURE, .e_lfanew = sizeof(IMAGE_DOS_HEADER)},
        .signature = IMAGE_NT_SIGNATURE,
        .header = {.Machine = machine, .Characteristics = IMAGE_FILE_DLL},
    };
    assert_true(os_file_write_atomic(path, (const char *)&image, sizeof(image), NULL));
}

static void test_library_of_another_processor_says_for_which_it_is_built(void **state) {
    static const struct {
        WORD machine;
        const char *words;
    } others[] = {
        {IMAGE_FILE_MACHINE_ARM64, "it is built for ARM64, and this host for x64"},
        {IMAGE_FILE_MACHINE_I386, "it is built for x86 (32 bits), and this host for x64"},
        {0x1234, "it is built for machine 0x1234, and this host for x64"},
    };
    char path[OS_PATH_MAX];
    (void)state;
    struct os_private *folder = os_private_create(NULL, NULL);
    assert_non_null(folder);
    assert_true(os_path_join(path, sizeof(path), os_private_path(folder), "other.dll"));
    for (size_t i = 0; i < ARRAY_COUNT(others); i++) {
        struct error error = {0};
        write_library(path, others[i].machine);
        assert_false(os_library_check(path, SIZE_MAX, &error));
        assert_non_null(strstr(error.message, others[i].words));
    }
    write_library(path, IMAGE_FILE_MACHINE_AMD64);
    assert_true(os_library_check(path, SIZE_MAX, NULL));
    os_private_remove(folder);
}

/* -- processes ------------------------------------------------------------- */

enum {
    EVENTS = 400,
    HOLDS_IT = 10,
    HOLDS_IT_NOT = 20,
    LONG_MS = 60000,
    LOOK_MS = 20,
    LOOKS_MAX = LONG_MS / LOOK_MS,
};

/* In the other process: whether the number is a handle to an event that is set. */
static int answer_holds(const char *number) {
    HANDLE handle = (HANDLE)(uintptr_t)strtoull(number, NULL, 10);
    return WaitForSingleObject(handle, 0) == WAIT_OBJECT_0 ? HOLDS_IT : HOLDS_IT_NOT;
}

static DWORD ask_holds(HANDLE handle, HANDLE given) {
    wchar_t program[WINDOWS_PATH_MAX];
    wchar_t command[128];
    const struct windows_standard standard = {.output = GetStdHandle(STD_OUTPUT_HANDLE),
                                              .error = given};
    struct windows_process process;
    DWORD code = 0;
    assert_true(GetModuleFileNameW(NULL, program, ARRAY_COUNT(program)) > 0);
    _snwprintf(command, ARRAY_COUNT(command), L"test --holds %llu",
               (unsigned long long)(uintptr_t)handle);
    assert_true(windows_process_start(program, command, 0, &standard, &process));
    assert_int_equal(WaitForSingleObject(process.handle, 60000), WAIT_OBJECT_0);
    assert_true(GetExitCodeProcess(process.handle, &code));
    CloseHandle(process.handle);
    return code;
}

/* The last of many: a number that the other process has no handle of its own for. */
static void test_process_inherits_what_it_is_given_and_nothing_else(void **state) {
    SECURITY_ATTRIBUTES inheritable = {.nLength = sizeof(inheritable), .bInheritHandle = TRUE};
    HANDLE events[EVENTS];
    (void)state;
    for (size_t i = 0; i < EVENTS; i++) {
        events[i] = CreateEventW(&inheritable, TRUE, TRUE, NULL);
        assert_non_null(events[i]);
    }
    HANDLE last = events[EVENTS - 1];
    assert_int_equal(ask_holds(last, NULL), HOLDS_IT_NOT);
    assert_int_equal(ask_holds(last, last), HOLDS_IT);
    for (size_t i = 0; i < EVENTS; i++) {
        CloseHandle(events[i]);
    }
}

static void check_not_inherited(const struct os_socket *socket) {
    DWORD flags = HANDLE_FLAG_INHERIT;
    assert_true(GetHandleInformation((HANDLE)socket->handle, &flags));
    assert_int_equal(flags & HANDLE_FLAG_INHERIT, 0);
}

static void test_sockets_of_a_recording_are_inherited_by_nobody(void **state) {
    const struct berth_address any = {.family = BERTH_FAMILY_IPV4, .bytes = {127, 0, 0, 1}};
    struct berth_address actual;
    struct berth_address again;
    struct os_socket listener;
    struct os_socket second;
    struct os_socket client;
    struct os_socket accepted;
    struct error error = {0};
    (void)state;
    assert_true(os_sockets_start(&error));
    assert_true(os_socket_listen(&listener, &any, &actual, &error));
    assert_false(os_socket_listen(&second, &actual, &again, &error));
    assert_true(os_socket_connect(&client, &actual, &error));
    assert_int_equal(os_socket_accept(&listener, LONG_MS, &accepted), 1);
    check_not_inherited(&listener);
    check_not_inherited(&client);
    check_not_inherited(&accepted);
    os_socket_close(&client, true);
    os_socket_close(&accepted, true);
    os_socket_close(&listener, false);
}

/* In the other process: runs one more, which says what it is called and never ends. */
static int run_one_that_stays(const char *file) {
    struct os_process_result result;
    struct error error = {0};
    char program[OS_PATH_MAX];
    assert_true(os_executable_path(program, sizeof(program), &error));
    const char *const arguments[] = {program, "--stays", file, NULL};
    os_process_run(arguments, -1, LONG_MS, 1024, &result, &error);
    return 0;
}

static int stay(const char *file) {
    char number[32];
    snprintf(number, sizeof(number), "%lu", GetCurrentProcessId());
    os_file_write_atomic(file, number, strlen(number), NULL);
    Sleep(LONG_MS);
    return 0;
}

/* That of the process which has written its number there. */
static HANDLE open_process_in(const char *file) {
    char *text = NULL;
    size_t size;
    for (int looks = 0; !text && looks < LOOKS_MAX; looks++) {
        if (!os_file_read(file, 64, &text, &size, NULL)) {
            Sleep(LOOK_MS);
        }
    }
    assert_non_null(text);
    HANDLE process = OpenProcess(SYNCHRONIZE, FALSE, (DWORD)strtoul(text, NULL, 10));
    alloc_free(text);
    return process;
}

static void test_process_that_is_run_ends_with_its_runner(void **state) {
    const struct windows_standard standard = {.output = GetStdHandle(STD_OUTPUT_HANDLE)};
    struct windows_process runner;
    wchar_t program[WINDOWS_PATH_MAX];
    wchar_t command[WINDOWS_PATH_MAX];
    char file[OS_PATH_MAX];
    (void)state;
    struct os_private *folder = os_private_create(NULL, NULL);
    assert_true(os_path_join(file, sizeof(file), os_private_path(folder), "number"));
    assert_true(GetModuleFileNameW(NULL, program, ARRAY_COUNT(program)) > 0);
    _snwprintf(command, ARRAY_COUNT(command), L"test --runs \"%hs\"", file);
    assert_true(windows_process_start(program, command, 0, &standard, &runner));
    HANDLE process = open_process_in(file);
    assert_non_null(process);
    assert_int_equal(WaitForSingleObject(process, 0), WAIT_TIMEOUT);
    assert_true(TerminateProcess(runner.handle, 1));
    assert_int_equal(WaitForSingleObject(process, LONG_MS / 2), WAIT_OBJECT_0);
    CloseHandle(process);
    CloseHandle(runner.handle);
    os_private_remove(folder);
}

/* -- processors ------------------------------------------------------------ */

static void test_threads_are_spread_over_all_groups_of_processors(void **state) {
    static const unsigned counts[] = {64, 0, 36};
    unsigned found[ARRAY_COUNT(counts)] = {0};
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        found[windows_processor_group(counts, ARRAY_COUNT(counts), i)]++;
    }
    assert_int_equal(found[0], 128);
    assert_int_equal(found[1], 0);
    assert_int_equal(found[2], 72);
    assert_int_equal(windows_processor_group(counts, ARRAY_COUNT(counts), 63), 0);
    assert_int_equal(windows_processor_group(counts, ARRAY_COUNT(counts), 64), 2);
    assert_int_equal(windows_processor_group(counts, ARRAY_COUNT(counts), 100), 0);
    assert_int_equal(windows_processor_group(counts, 0, 5), 0);
}

/* Whoever started the process has chosen: no thread goes elsewhere. */
static void test_process_with_an_affinity_of_its_own_keeps_to_it(void **state) {
    DWORD_PTR before = 0;
    DWORD_PTR of_system = 0;
    (void)state;
    assert_true(GetProcessAffinityMask(GetCurrentProcess(), &before, &of_system));
    assert_true(os_cpu_count() >= 1);
    if (before == 1) {
        skip();
    }
    assert_true(SetProcessAffinityMask(GetCurrentProcess(), 1));
    assert_int_equal(os_cpu_count(), 1);
    os_thread_spread(70);
    GROUP_AFFINITY affinity = {0};
    assert_true(GetThreadGroupAffinity(GetCurrentThread(), &affinity));
    assert_int_equal(affinity.Group, 0);
    assert_int_equal(affinity.Mask, 1);
    assert_true(SetProcessAffinityMask(GetCurrentProcess(), before));
}

/* -- dialogs, files -------------------------------------------------------- */

static void test_no_dialog_holds_up_a_process(void **state) {
    typedef HRESULT(WINAPI * wer_get_flags)(HANDLE, DWORD *);
    wer_get_flags get = NULL;
    DWORD flags = 0;
    (void)state;
    windows_show_no_dialogs();
    assert_int_equal(GetErrorMode(), SEM_FAILCRITICALERRORS | SEM_NOOPENFILEERRORBOX);
    FARPROC found = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "WerGetFlags");
    if (found) {
        memcpy(&get, &found, sizeof(get));
    }
    if (!get || get(GetCurrentProcess(), &flags) != S_OK) {
        return; /* Wine has it as a stub, or not at all */
    }
    assert_int_equal(flags & 32, 32); /* WER_FAULT_REPORTING_NO_UI */
}

static void test_file_is_opened_to_be_read_from_front_to_back(void **state) {
    typedef LONG(NTAPI * query_file)(HANDLE, void *, void *, ULONG, int);
    enum { FILE_MODE_INFORMATION = 16, SEQUENTIAL_ONLY = 4 };
    struct {
        ULONG_PTR status;
        ULONG_PTR information;
    } block;
    char path[OS_PATH_MAX];
    wchar_t wide[MAX_PATH];
    struct os_file file;
    struct error error;
    query_file query = NULL;
    ULONG mode = 0;
    (void)state;
    FARPROC found = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtQueryInformationFile");
    memcpy(&query, &found, sizeof(query));
    assert_true(GetModuleFileNameW(NULL, wide, ARRAY_COUNT(wide)) > 0);
    assert_true(windows_text(wide, path, sizeof(path)));
    assert_true(os_file_open(&file, path, &error));
    LONG status = query((HANDLE)file.handle, &block, &mode, sizeof(mode), FILE_MODE_INFORMATION);
    os_file_close(&file);
    if (status != 0) {
        print_message("the system does not tell how a file was opened: 0x%lx\n", status);
        skip();
    }
    assert_int_equal(mode & SEQUENTIAL_ONLY, SEQUENTIAL_ONLY);
}

/* For the tests of hosts: whether programs have more rights than users here, and so distrust what
 * these can change. Under Wine 8 they do, under Wine 10 they do not. */
static int answer_elevated(void) {
    HANDLE token = NULL;
    TOKEN_ELEVATION elevation = {0};
    DWORD size = 0;
    bool elevated =
        OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token) &&
        GetTokenInformation(token, TokenElevation, &elevation, sizeof(elevation), &size) &&
        elevation.TokenIsElevated != 0;
    return elevated ? 0 : 1;
}

/* -- what the console tells ------------------------------------------------ */

enum { PATIENCE_MS = 30000, MOMENT_MS = 50, WAIT_MS = 100, WAITS_MAX = 300 };

struct told {
    unsigned long event;
    HANDLE thread;
};

static DWORD WINAPI tell_here(void *argument) {
    windows_console_event(((const struct told *)argument)->event);
    return 0;
}

/* As the system does it: on a thread of its own. */
static void tell(struct told *told, unsigned long event) {
    told->event = event;
    told->thread = CreateThread(NULL, 0, tell_here, told, 0, NULL);
    assert_non_null(told->thread);
}

static bool has_returned(struct told *told, DWORD wait_ms) {
    return WaitForSingleObject(told->thread, wait_ms) == WAIT_OBJECT_0;
}

static void expect_return(struct told *told) {
    assert_true(has_returned(told, PATIENCE_MS));
    CloseHandle(told->thread);
}

/* A wake may be left from before. */
static enum os_signal await_signal(void) {
    enum os_signal signal = OS_SIGNAL_NONE;
    for (int waits = 0; signal == OS_SIGNAL_NONE && waits < WAITS_MAX; waits++) {
        signal = os_signals_wait(WAIT_MS);
    }
    return signal;
}

static bool is_in_session_of_services(void) {
    DWORD session = 0;
    return ProcessIdToSessionId(GetCurrentProcessId(), &session) && session == 0;
}

static int start_signals(void **state) {
    struct error error;
    (void)state;
    return os_signals_start(&error) ? 0 : -1;
}

static void test_console_key_asks_to_stop_and_is_done(void **state) {
    static const unsigned long keys[] = {CTRL_C_EVENT, CTRL_BREAK_EVENT};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(keys); i++) {
        struct told told;
        tell(&told, keys[i]);
        expect_return(&told);
        assert_int_equal(await_signal(), OS_SIGNAL_STOP);
        assert_int_equal(os_signals_look(), OS_SIGNAL_NONE);
    }
}

/* The process ends when the handler returns: not before the host has stopped, and what takes too
 * long for that is asked once more, which cuts. */
static void test_console_that_closes_waits_for_the_stop_and_hurries_it(void **state) {
    struct told told;
    (void)state;
    tell(&told, CTRL_CLOSE_EVENT);
    assert_int_equal(await_signal(), OS_SIGNAL_STOP);
    assert_false(has_returned(&told, MOMENT_MS));
    assert_int_equal(await_signal(), OS_SIGNAL_STOP);
    assert_false(has_returned(&told, MOMENT_MS));
    os_signals_finished();
    expect_return(&told);
    assert_int_equal(os_signals_look(), OS_SIGNAL_NONE);
}

/* From here on the host has stopped: see the test before. */
static void test_console_end_of_the_session_asks_once_when_the_stop_is_quick(void **state) {
    static const unsigned long ends[] = {CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT};
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(ends); i++) {
        bool ignored = ends[i] == CTRL_LOGOFF_EVENT && is_in_session_of_services();
        struct told told;
        tell(&told, ends[i]);
        expect_return(&told);
        assert_int_equal(os_signals_look(), ignored ? OS_SIGNAL_NONE : OS_SIGNAL_STOP);
        assert_int_equal(os_signals_look(), OS_SIGNAL_NONE);
    }
}

/* A supervised host hears it by its parent, and stays until it has stopped all the same. */
static void test_console_of_a_supervised_host_asks_nothing(void **state) {
    struct told told;
    (void)state;
    windows_signals_by_parent();
    tell(&told, CTRL_SHUTDOWN_EVENT);
    expect_return(&told);
    tell(&told, CTRL_C_EVENT);
    expect_return(&told);
    assert_int_equal(os_signals_look(), OS_SIGNAL_NONE);
}

int main(int argc, char **argv) {
    struct error error = {0};
    if (argc == 2 && strcmp(argv[1], "--elevated") == 0) {
        return answer_elevated();
    }
    if (argc == 3 && strcmp(argv[1], "--holds") == 0) {
        return answer_holds(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "--runs") == 0) {
        return run_one_that_stays(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "--stays") == 0) {
        return stay(argv[2]);
    }
    if (!os_start(&argc, &argv, &error)) {
        fputs(error.message, stderr);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_library_error_of_a_policy_names_folder_and_setting),
        cmocka_unit_test(test_library_error_that_is_known_says_the_remedy),
        cmocka_unit_test(test_library_of_another_processor_says_for_which_it_is_built),
        cmocka_unit_test(test_process_inherits_what_it_is_given_and_nothing_else),
        cmocka_unit_test(test_sockets_of_a_recording_are_inherited_by_nobody),
        cmocka_unit_test(test_process_that_is_run_ends_with_its_runner),
        cmocka_unit_test(test_threads_are_spread_over_all_groups_of_processors),
        cmocka_unit_test(test_process_with_an_affinity_of_its_own_keeps_to_it),
        cmocka_unit_test(test_no_dialog_holds_up_a_process),
        cmocka_unit_test(test_file_is_opened_to_be_read_from_front_to_back),
        cmocka_unit_test_setup(test_console_key_asks_to_stop_and_is_done, start_signals),
        cmocka_unit_test(test_console_that_closes_waits_for_the_stop_and_hurries_it),
        cmocka_unit_test(test_console_end_of_the_session_asks_once_when_the_stop_is_quick),
        cmocka_unit_test(test_console_of_a_supervised_host_asks_nothing),
    };
    return cmocka_run_group_tests_name("os_windows", tests, NULL, NULL);
}
