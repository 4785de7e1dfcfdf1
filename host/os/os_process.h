/* os_process.h: other processes, and the end of this one; for the tools of plugin authors.
 *
 * os_linux_process.c and os_windows_process.c implement every function here. */
#ifndef BERTH_HOST_OS_OS_PROCESS_H
#define BERTH_HOST_OS_OS_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

struct error;

/* The running executable, absolute. */
bool os_executable_path(char *path, size_t size, struct error *error);
/* The path for os_process_run() to start this same program, though its file may have been replaced.
 * */
bool os_executable_again(char *path, size_t size, struct error *error);

/* Runs another program with this one's standard input, output and error; *code is the exit code of
 * that. On Linux it replaces this program, and the call does not return. `arguments` end with a
 * NULL; the first is the program's path, without the system's suffix. */
bool os_process_become(const char *const *arguments, int *code, struct error *error);

struct os_process_result {
    char *output; /* what it wrote to its standard output, terminated; free with alloc_free() */
    size_t output_size;
    int code;       /* its exit code; 0 when it ended otherwise */
    char end[64];   /* how it ended when it was not by an exit code: "SIGSEGV"; else "" */
    bool timed_out; /* it was killed */
};

/* Runs a program to its end, or kills it when the time-out passes. Its standard input is empty, its
 * standard error is this process's. `arguments` end with a NULL; the first is the program's path.
 * Output beyond output_max is discarded. `descriptor` is inherited under the same number; -1: none
 * (Windows: always). The program does not outlive this process: on Windows by a job that ends with
 * it, on Linux by os_process_end_with_parent(), which the program has to call. */
bool os_process_run(const char *const *arguments, int descriptor, int timeout_ms, size_t output_max,
                    struct os_process_result *result, struct error *error);

/* This process was started by os_process_run(): it ends when the process that started it ends,
 * however that ends. (On Windows a job does it.) Called before any code that may hang. */
void os_process_end_with_parent(void);

/* Calls the function when this process crashes, with the reason ("SIGSEGV", "exception
 * 0xC0000005"), on the thread that crashed. It must not return, and may rely on little. `no_code`:
 * the thread was at an address without code, as after the unloading of a library. */
void os_process_on_crash(void (*last_words)(const char *how, bool no_code));

/* From now on only os_process_write() writes to standard output: what else the process prints is
 * discarded. */
bool os_process_keep_output(struct error *error);

/* Writes to standard output without a buffer, and ends the process without any cleaning up. */
void os_process_write(const char *text, size_t size);
_Noreturn void os_process_exit_now(int code);
/* The process is ending, and is to end within so many seconds: for Linux, where the exit handlers
 * of libraries may hang. On Windows all other threads are gone by then, and the parent ends a
 * process that hangs. */
void os_process_end_within(unsigned seconds);

/* What this process uses at present; 0 when the system does not report it. */
size_t os_process_memory_bytes(void);
unsigned os_process_handle_count(void);

#endif
