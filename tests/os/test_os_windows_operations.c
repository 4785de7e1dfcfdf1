/* test_os_windows_operations.c: waits for pipes and devices end, also where a cancelled operation
 * does not, as with the drivers of some devices. No pipe of the system is like that: here the
 * cancel itself is lost. */
#include "unit.h"

#include <stdio.h>
#include <windows.h>

#include "base/error.h"
#include "os/os.h"
#include "os/os_child.h"
#include "os/os_windows.h"
#include "os/os_windows_operation.h"

enum {
    SOON_MS = 50,
    BYTES_MAX = 65536,
    LONG_MS = 60000,
    END_MS = 30000, /* a wait that ends at all */
};

/* -- the system's CancelIoEx(), of which the linker takes the first that it finds -- */

static bool cancels_are_lost;
static bool files_stay_open; /* after a cancel: closing the handle would end the operation */
static HANDLE file_of_cancel;

static BOOL WINAPI cancel(HANDLE file, OVERLAPPED *operation) {
    typedef BOOL(WINAPI * cancel_function)(HANDLE, OVERLAPPED *);
    FARPROC found = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "CancelIoEx");
    cancel_function real = NULL;
    memcpy(&real, &found, sizeof(real));
    if (!cancels_are_lost) {
        return real(file, operation);
    }
    if (files_stay_open) {
        DuplicateHandle(GetCurrentProcess(), file, GetCurrentProcess(), &file_of_cancel, 0, FALSE,
                        DUPLICATE_SAME_ACCESS);
    }
    return TRUE;
}

extern BOOL(WINAPI *cancel_io)(HANDLE, OVERLAPPED *) __asm__("__imp_CancelIoEx");
BOOL(WINAPI *cancel_io)(HANDLE, OVERLAPPED *) = cancel;

/* -- pipes ----------------------------------------------------------------- */

struct ends {
    wchar_t wide[128];
    char path[128];
    HANDLE server;
    HANDLE client;
};

static void open_server(struct ends *ends) {
    static unsigned number;
    snprintf(ends->path, sizeof(ends->path), "\\\\.\\pipe\\berth-test-%lu-%u",
             GetCurrentProcessId(), number++);
    _snwprintf(ends->wide, ARRAY_COUNT(ends->wide), L"%hs", ends->path);
    ends->client = INVALID_HANDLE_VALUE;
    ends->server = CreateNamedPipeW(ends->wide, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED,
                                    PIPE_TYPE_BYTE | PIPE_WAIT, 1, 512, 512, 0, NULL);
    assert_ptr_not_equal(ends->server, INVALID_HANDLE_VALUE);
}

static void open_ends(struct ends *ends) {
    open_server(ends);
    ends->client =
        CreateFileW(ends->wide, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    assert_ptr_not_equal(ends->client, INVALID_HANDLE_VALUE);
}

static void close_ends(struct ends *ends) {
    CloseHandle(ends->server);
    if (ends->client != INVALID_HANDLE_VALUE) {
        CloseHandle(ends->client);
    }
}

static int set_up(void **state) {
    (void)state;
    cancels_are_lost = false;
    files_stay_open = false;
    file_of_cancel = NULL;
    windows_operation_cancel_ms = SOON_MS;
    return 0;
}

/* -- operations ------------------------------------------------------------ */

static struct windows_operation *begin_read(struct ends *ends) {
    struct windows_operation *operation = windows_operation_create(8);
    assert_non_null(operation);
    assert_true(windows_operation_begun(
        ReadFile(ends->server, operation->bytes, 8, NULL, windows_operation_prepare(operation))));
    return operation;
}

static void test_operation_that_ends_in_time_has_its_result(void **state) {
    struct ends ends;
    DWORD count;
    (void)state;
    open_ends(&ends);
    struct windows_operation *operation = begin_read(&ends);
    assert_true(WriteFile(ends.client, "word", 4, &count, NULL));
    assert_true(windows_operation_end(&operation, ends.server, NULL, LONG_MS, &count, "it"));
    assert_int_equal(count, 4);
    assert_memory_equal(operation->bytes, "word", 4);
    windows_operation_destroy(operation);
    close_ends(&ends);
}

static void test_operation_that_does_not_end_in_time_is_cancelled_and_used_again(void **state) {
    struct ends ends;
    DWORD count;
    (void)state;
    windows_operation_cancel_ms = LONG_MS;
    open_ends(&ends);
    struct windows_operation *operation = begin_read(&ends);
    assert_false(windows_operation_end(&operation, ends.server, NULL, 1, &count, "it"));
    assert_int_equal(GetLastError(), ERROR_OPERATION_ABORTED);
    assert_non_null(operation);
    windows_operation_cancel_ms = 0;
    assert_true(windows_operation_begun(
        ReadFile(ends.server, operation->bytes, 8, NULL, windows_operation_prepare(operation))));
    assert_true(WriteFile(ends.client, "word", 4, &count, NULL));
    assert_true(windows_operation_end(&operation, ends.server, NULL, LONG_MS, &count, "it"));
    assert_int_equal(count, 4);
    windows_operation_destroy(operation);
    close_ends(&ends);
}

static void test_operation_whose_cancel_is_lost_keeps_its_memory(void **state) {
    struct ends ends;
    DWORD count;
    (void)state;
    open_ends(&ends);
    cancels_are_lost = true;
    struct windows_operation *operation = begin_read(&ends);
    struct windows_operation *kept = operation;
    assert_false(windows_operation_end(&operation, ends.server, NULL, 1, &count, "it"));
    assert_int_equal(GetLastError(), ERROR_OPERATION_ABORTED);
    assert_null(operation);
    assert_int_equal(count, 0);
    assert_true(WriteFile(ends.client, "late", 4, &count, NULL));
    assert_int_equal(WaitForSingleObject(kept->overlapped.hEvent, LONG_MS), WAIT_OBJECT_0);
    assert_memory_equal(kept->bytes, "late", 4);
    windows_operation_destroy(kept);
    close_ends(&ends);
}

static void test_operation_that_another_handle_interrupts_ends(void **state) {
    struct ends ends;
    DWORD count;
    HANDLE until = CreateEventW(NULL, TRUE, TRUE, NULL);
    (void)state;
    open_ends(&ends);
    struct windows_operation *operation = begin_read(&ends);
    assert_false(windows_operation_end(&operation, ends.server, until, INFINITE, &count, "it"));
    windows_operation_destroy(operation);
    close_ends(&ends);
    CloseHandle(until);
}

/* -- the control channel --------------------------------------------------- */

struct host {
    struct os_channel *channel;
    struct os_pipe *pipe;
    struct os_thread thread;
    char name[64];
};

static void accept_one(void *argument) {
    struct host *host = argument;
    host->pipe = os_channel_accept(host->channel);
}

static void start_host(struct host *host) {
    struct error error = {0};
    snprintf(host->name, sizeof(host->name), "test-%lu", GetCurrentProcessId());
    host->pipe = NULL;
    host->channel = os_channel_open(host->name, &error);
    assert_non_null(host->channel);
    assert_true(os_thread_start(&host->thread, "accept", accept_one, host, &error));
}

/* Wine lets everybody open a pipe, whatever its access list says. */
static void test_channel_whose_name_somebody_has_says_so(void **state) {
    SECURITY_DESCRIPTOR nobody;
    ACL empty;
    SECURITY_ATTRIBUTES security = {sizeof(security), &nobody, FALSE};
    struct error error = {0};
    wchar_t path[128];
    char name[64];
    (void)state;
    assert_true(InitializeSecurityDescriptor(&nobody, SECURITY_DESCRIPTOR_REVISION));
    assert_true(InitializeAcl(&empty, sizeof(empty), ACL_REVISION));
    assert_true(SetSecurityDescriptorDacl(&nobody, TRUE, &empty, FALSE));
    snprintf(name, sizeof(name), "taken-%lu", GetCurrentProcessId());
    _snwprintf(path, ARRAY_COUNT(path), L"\\\\.\\pipe\\berth-%hs", name);
    HANDLE taken =
        CreateNamedPipeW(path, PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE, 1, 512, 512, 0, &security);
    assert_ptr_not_equal(taken, INVALID_HANDLE_VALUE);
    assert_null(os_channel_open(name, &error));
    assert_int_equal(error.kind, ERROR_KIND_TAKEN);
    assert_non_null(strstr(error.message, name));
    assert_true(strstr(error.message, "another host of this name") != NULL ||
                strstr(error.message, "another user") != NULL);
    CloseHandle(taken);
}

static void test_pipe_whose_cancels_are_lost_ends_its_waits(void **state) {
    struct host host;
    struct error error = {0};
    static char many[4 * BYTES_MAX];
    char bytes[8];
    (void)state;
    start_host(&host);
    struct os_pipe *client = os_pipe_connect(host.name, &error);
    assert_non_null(client);
    os_thread_join(&host.thread);
    assert_non_null(host.pipe);
    cancels_are_lost = true;
    uint64_t begin_ms = os_now_ms();
    assert_int_equal(os_pipe_read(client, bytes, sizeof(bytes), 1), -1);
    assert_int_equal(os_pipe_read(client, bytes, sizeof(bytes), LONG_MS), -1); /* at once */
    assert_false(os_pipe_write(client, "x", 1, LONG_MS));
    assert_false(os_pipe_write(host.pipe, many, sizeof(many), 1));
    assert_true(os_now_ms() - begin_ms < END_MS);
    os_pipe_close(client);
    os_pipe_close(host.pipe);
    os_channel_close(host.channel);
}

static void test_channel_whose_cancel_is_lost_ends_its_wait_for_a_client(void **state) {
    struct host host;
    (void)state;
    cancels_are_lost = true;
    start_host(&host);
    Sleep(SOON_MS); /* it may wait already, or not */
    os_channel_interrupt(host.channel);
    os_thread_join(&host.thread);
    assert_null(host.pipe);
    os_channel_close(host.channel);
}

/* -- files that a user has named ------------------------------------------- */

static void test_output_whose_write_is_not_ended_is_not_written_again_before(void **state) {
    static char text[4 * BYTES_MAX];
    struct error error = {0};
    struct ends ends;
    DWORD count;
    (void)state;
    cancels_are_lost = true;
    files_stay_open = true;
    open_server(&ends);
    memset(text, 'x', sizeof(text));
    assert_false(os_output_write(ends.path, text, sizeof(text), &error));
    assert_int_equal(error.kind, ERROR_KIND_NO_READER);
    assert_non_null(strstr(error.message, "has taken nothing"));
    assert_non_null(file_of_cancel);
    assert_false(os_output_write(ends.path, text, sizeof(text), &error));
    assert_int_equal(error.kind, ERROR_KIND_NO_READER);
    assert_non_null(strstr(error.message, "has not ended"));
    /* The device ends it after all. */
    CloseHandle(file_of_cancel);
    close_ends(&ends);
    open_server(&ends);
    cancels_are_lost = false;
    struct windows_operation *reader = windows_operation_create(16);
    assert_true(
        windows_operation_begun(ConnectNamedPipe(ends.server, windows_operation_prepare(reader))));
    assert_true(os_output_write(ends.path, "ready", 5, &error));
    assert_true(windows_operation_end(&reader, ends.server, NULL, LONG_MS, &count, "it"));
    windows_operation_destroy(reader);
    close_ends(&ends);
}

/* -- the link between a host and its supervisor ---------------------------- */

/* In the child: it stays until its parent's end is closed. */
static int stay_linked(const char *text) {
    struct error error = {0};
    intptr_t socket;
    char byte;
    struct os_link *link = os_link_open(text, &error);
    return link && !os_link_receive(link, &byte, 1, &socket, LONG_MS) ? 0 : 1;
}

static void test_link_whose_cancels_are_lost_ends_its_waits(void **state) {
    static const char *const arguments[] = {"--linked", NULL};
    struct error error = {0};
    (void)state;
    assert_true(os_child_init(&error));
    struct os_child *child = os_child_start(arguments, 64, &error);
    assert_non_null(child);
    assert_int_equal(os_child_wait(child, 1), OS_CHILD_NOTHING);
    cancels_are_lost = true;
    uint64_t begin_ms = os_now_ms();
    os_child_destroy(child);
    assert_true(os_now_ms() - begin_ms < END_MS);
}

/* In the child: a word for its parent before it stays. */
static int speak_and_stay(const char *text) {
    struct error error = {0};
    intptr_t socket;
    char byte = 'x';
    struct os_link *link = os_link_open(text, &error);
    bool spoken = link && os_link_send(link, &byte, 1, OS_NO_SOCKET);
    return spoken && !os_link_receive(link, &byte, 1, &socket, LONG_MS) ? 0 : 1;
}

/* Ctrl-C ends a wait once, and the word that has come with it is taken first. */
static void test_stop_that_is_asked_for_while_the_host_speaks_is_not_lost(void **state) {
    static const char *const arguments[] = {"--speaking", NULL};
    struct error error = {0};
    intptr_t socket;
    char byte;
    (void)state;
    assert_true(os_child_init(&error));
    struct os_child *child = os_child_start(arguments, 64, &error);
    assert_non_null(child);
    assert_int_equal(os_child_wait(child, LONG_MS), OS_CHILD_SAYS);
    windows_signals_ask();
    assert_int_equal(os_child_wait(child, LONG_MS), OS_CHILD_SAYS);
    assert_true(os_link_receive(os_child_link(child), &byte, 1, &socket, LONG_MS));
    assert_int_equal(os_child_wait(child, LONG_MS), OS_CHILD_STOP);
    os_child_destroy(child);
}

int main(int argc, char **argv) {
    struct error error = {0};
    if (argc == 3 && strcmp(argv[1], "--linked") == 0) {
        return stay_linked(argv[2]);
    }
    if (argc == 3 && strcmp(argv[1], "--speaking") == 0) {
        return speak_and_stay(argv[2]);
    }
    if (!os_start(&argc, &argv, &error)) {
        fputs(error.message, stderr);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_operation_that_ends_in_time_has_its_result, set_up),
        cmocka_unit_test_setup(test_operation_that_does_not_end_in_time_is_cancelled_and_used_again,
                               set_up),
        cmocka_unit_test_setup(test_operation_whose_cancel_is_lost_keeps_its_memory, set_up),
        cmocka_unit_test_setup(test_operation_that_another_handle_interrupts_ends, set_up),
        cmocka_unit_test_setup(test_channel_whose_name_somebody_has_says_so, set_up),
        cmocka_unit_test_setup(test_pipe_whose_cancels_are_lost_ends_its_waits, set_up),
        cmocka_unit_test_setup(test_channel_whose_cancel_is_lost_ends_its_wait_for_a_client,
                               set_up),
        cmocka_unit_test_setup(test_output_whose_write_is_not_ended_is_not_written_again_before,
                               set_up),
        cmocka_unit_test_setup(test_link_whose_cancels_are_lost_ends_its_waits, set_up),
        cmocka_unit_test_setup(test_stop_that_is_asked_for_while_the_host_speaks_is_not_lost,
                               set_up),
    };
    return cmocka_run_group_tests_name("os_windows_operations", tests, NULL, NULL);
}
