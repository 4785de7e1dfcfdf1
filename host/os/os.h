/* os.h: all that the host needs from an operating system besides sockets; those are the engine's.
 *
 * os_linux.c and os_windows.c implement every function here, and nothing else in the host includes
 * a system header (the engines apart). Paths and texts are UTF-8 on every system. Set-up functions
 * fill the error with the system's message; callers add what they tried. */
#ifndef BERTH_HOST_OS_OS_H
#define BERTH_HOST_OS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

#define OS_PATH_MAX 4096

/* -- the process ----------------------------------------------------------- */

/* Called first in main(): makes argv UTF-8 where it is not, the console too; sets what is inherited
 * (standard descriptors, signals, timers, umask); and blocks the signals that os_signals_wait()
 * reports in all threads to come. */
bool os_start(int *argc, char ***argv, struct error *error);

/* For a program that never calls os_signals_wait(): a request to stop ends it at once. */
void os_signals_leave(void);

/* On Linux, as process 1: continues in a child, where this returns false. Process 1 itself passes
 * signals on, reaps all orphans, and returns true with the exit code of the child when that has
 * ended. Elsewhere false. Called before any thread is started. */
bool os_init_process(int *code);

uint64_t os_process_id(void);
void os_random(void *bytes, size_t size); /* at most 256 bytes that cannot be guessed. [any] */
/* The same, of any number, for what must be a secret; false if the system has none to give. */
bool os_random_secret(void *bytes, size_t size);
int64_t os_unix_ns(void);    /* the time of day, since 1970; it may jump. [any] */
unsigned os_cpu_count(void); /* usable by this process, at least 1 */
/* The calling thread is the index-th of some that are to use all processors together. */
void os_thread_spread(unsigned index);
const char *os_name(void); /* "linux", "windows" */

/* The folder of the running executable, absolute. */
bool os_executable_folder(char *path, size_t size, struct error *error);

/* -- clock and memory ------------------------------------------------------ */

uint64_t os_now_ms(void); /* monotonic; counts while the machine runs */
uint64_t os_now_us(void); /* the same clock, in microseconds */

/* Whole pages, page-aligned, contents undefined; NULL when there are none. [any] */
void *os_pages_alloc(size_t size);
void os_pages_free(void *pages, size_t size);
size_t os_page_bytes(void);

/* Gives what the heap keeps free back to the system, as far as it can. May take milliseconds. [any]
 */
void os_heap_trim(void);

/* -- threads --------------------------------------------------------------- */

struct os_thread {
    uintptr_t handle;
};

/* `name` is seen in debuggers and tools, at most 15 characters. */
bool os_thread_start(struct os_thread *thread, const char *name, void (*function)(void *argument),
                     void *argument, struct error *error);

/* The same with a stack of 256 KiB, for a thread that runs no code of plugins: what is reserved for
 * stacks counts where the address space is limited. */
bool os_thread_start_small(struct os_thread *thread, const char *name,
                           void (*function)(void *argument), void *argument, struct error *error);
void os_thread_join(struct os_thread *thread);
void os_thread_abandon(struct os_thread *thread); /* instead of a join: it ends with the process */
/* What the calling thread has used so far. */
struct os_thread_usage {
    uint64_t cpu_us;
    uint64_t waits;  /* for anything, voluntarily; UINT64_MAX: the system does not report it */
    uint64_t faults; /* pages that had to be read */
};
void os_thread_usage(struct os_thread_usage *usage);

void os_sleep_ms(unsigned ms); /* for a thread of its own, or a crash */

/* A number that no other running thread has. Cheap: asked at every buffer's release. */
uintptr_t os_thread_id(void);

/* How much processor time that running thread has used so far; 0 if it cannot be read. */
uint64_t os_thread_processor_us(uintptr_t id);

/* A lock, and a condition to wait for under it. Embedded; the room fits every system. */
struct os_mutex {
    uint64_t room[8];
};
struct os_condition {
    uint64_t room[8];
};
void os_mutex_init(struct os_mutex *mutex);
void os_mutex_fini(struct os_mutex *mutex);
void os_mutex_lock(struct os_mutex *mutex);
void os_mutex_unlock(struct os_mutex *mutex);
void os_condition_init(struct os_condition *condition);
void os_condition_fini(struct os_condition *condition);
void os_condition_signal(struct os_condition *condition); /* one waiting thread, if any */
void os_condition_signal_all(struct os_condition *condition);
/* Waits with the mutex held; false when the time-out passed (negative: none). Wakeups may be
 * spurious: test the condition again. */
bool os_condition_wait(struct os_condition *condition, struct os_mutex *mutex, int timeout_ms);

/* -- requests to stop ------------------------------------------------------ */

enum os_signal {
    OS_SIGNAL_NONE,   /* the time-out passed, or os_signals_wake() was called */
    OS_SIGNAL_STOP,   /* Ctrl-C, SIGTERM, the console closes, the system shuts down */
    OS_SIGNAL_RELOAD, /* SIGHUP; not on Windows */
};

/* Waits on the control thread. Linux: SIGINT, SIGTERM, SIGHUP. Windows: console control events; the
 * handler of a close or shutdown event blocks until os_signals_finished(), which delays the end of
 * the process. */
bool os_signals_start(struct error *error);
enum os_signal os_signals_wait(int timeout_ms); /* negative: no time-out */
enum os_signal os_signals_look(void); /* without waiting, and without consuming a wake. [any] */
void os_signals_wake(void);           /* [any] */
void os_signals_finished(void);       /* the host has stopped in good order */

/* -- the network ----------------------------------------------------------- */

/* The index of the network interface with that name (on Windows also the name that is shown to
 * users, "Ethernet") or that number. False: there is no such interface. Fits address_zone_fn. */
bool os_interface_find(const char *name, uint32_t *index);

/* -- files ----------------------------------------------------------------- */

/* Reads a whole regular file; more than max_bytes is an error. The text is terminated (also when it
 * holds NULs) and freed with alloc_free(). */
bool os_file_read(const char *path, size_t max_bytes, char **text, size_t *size,
                  struct error *error);

/* Writes a temporary file in the same folder and renames it over the file: readers see the old file
 * or the new one, whole. */
bool os_file_write_atomic(const char *path, const char *text, size_t size, struct error *error);

/* For a file that need not survive a crash of the machine; other users may not read it. */
bool os_file_write_new(const char *path, const char *text, size_t size, struct error *error);

bool os_file_exists(const char *path); /* a regular file */
bool os_file_remove(const char *path);
/* Whether both paths lead to the same file; false where one of them leads to none. */
bool os_file_same(const char *one, const char *other);

/* -- files that a user has named, to be written --------------------------------------------------
 *
 * A regular file, or none, is replaced whole, as os_file_write_atomic() does it. A symbolic link, a
 * named pipe or a device stays what it is: the text is written into it. Nothing waits for ever: a
 * named pipe without a reader is ERROR_KIND_NO_READER at once, and a reader that does not read
 * makes the write fail. */
bool os_output_write(const char *path, const char *text, size_t size, struct error *error);
/* Whether it could be written now, without a change to anything that is there. */
bool os_output_try(const char *path, struct error *error);
/* Empties what a link leads to, and removes a regular file; a pipe or a device is left alone. */
void os_output_clear(const char *path);

/* A regular file, open for reading at any place of it; others may go on writing and removing it. */
struct os_file {
    intptr_t handle; /* the system's: a descriptor, a HANDLE */
};
struct os_file_status {
    uint64_t size;
    int64_t modified_unix_ms;
    int64_t modified_unix_ns;
    int64_t changed_unix_ns; /* of its data or its attributes; a program cannot set it */
    uint64_t volume;         /* the file is this one: volume and id */
    uint64_t id[2];
};
bool os_file_open(struct os_file *file, const char *path, struct error *error); /* sets its kind */
/* How many bytes were read, at most so many; 0 at the end of the file, -1 on a failure. */
int64_t os_file_read_at(const struct os_file *file, uint64_t offset, void *bytes, size_t size);
bool os_file_status(const struct os_file *file, struct os_file_status *status, struct error *error);
/* Whether two status reads saw the same file, unchanged between them as far as identity, size and
 * both times show. A file system without lasting ids may report a change of a file that has not
 * changed; compare the contents where that matters. */
static inline bool os_file_status_same(const struct os_file_status *one,
                                       const struct os_file_status *other) {
    return one->size == other->size && one->modified_unix_ns == other->modified_unix_ns &&
           one->changed_unix_ns == other->changed_unix_ns && one->volume == other->volume &&
           one->id[0] == other->id[0] && one->id[1] == other->id[1];
}
void os_file_close(struct os_file *file);

/* Calls visit for every entry but "." and "..", in the order of the names' bytes; stops when visit
 * returns false. False only when the folder cannot be read. */
bool os_folder_visit(const char *path, bool (*visit)(void *context, const char *name),
                     void *context, struct error *error);

bool os_folder_create(const char *path, struct error *error); /* must not exist */
bool os_folder_remove(const char *path);                      /* must be empty */

bool os_path_is_absolute(const char *path);
/* folder + separator + name, or name alone when it is absolute. False when it does not fit. */
bool os_path_join(char *path, size_t size, const char *folder, const char *name);
/* The folder part of a path ("." when there is none). */
bool os_path_folder(char *folder, size_t size, const char *path);
/* The path from the root, with every link in its folder part followed: one spelling for one name,
 * whether there is a file of that name or not. False: there is no such folder. */
bool os_path_real(char *real, size_t size, const char *path);
/* Whether two such paths are the same name. */
bool os_path_same(const char *one, const char *other);

/* -- a channel to a running host ------------------------------------------- */

/* Linux: a Unix socket NAME.sock, mode 0600, in a folder of this user's alone: $BERTH_RUNTIME_DIR,
 * else /run/berth (root), $XDG_RUNTIME_DIR/berth or /tmp/berth-UID; root finds those of other
 * users, too. Windows: the named pipe \\.\pipe\berth-NAME, for its owner, Administrators and the
 * system, from this machine only. Both ends authenticate the peer: the host checks the user of each
 * client, and the client checks the user of the host, and that no other user can have created the
 * channel. */
struct os_channel;
struct os_pipe; /* one connection; bytes both ways */

/* ERROR_KIND_TAKEN: another process already serves that name. */
struct os_channel *os_channel_open(const char *name, struct error *error);
/* Waits for a client, on one thread. NULL: interrupted. */
struct os_pipe *os_channel_accept(struct os_channel *channel);
void os_channel_interrupt(struct os_channel *channel); /* for good. [any] */
void os_channel_close(struct os_channel *channel);     /* no thread waits in it; NULL is legal */

/* The error lists all paths that were tried. Waits no longer than some seconds. */
struct os_pipe *os_pipe_connect(const char *name, struct error *error);
/* Connects to every channel that can be found, one after the other, until `visit`, which owns the
 * pipe, returns false. Not all systems can list the channels. */
void os_pipe_visit(bool (*visit)(void *context, struct os_pipe *pipe), void *context);
/* How many bytes came; 0 or less: the other end is closed, the time-out passed, or interrupted. */
int64_t os_pipe_read(struct os_pipe *pipe, void *bytes, size_t size, int timeout_ms);
bool os_pipe_write(struct os_pipe *pipe, const void *bytes, size_t size, int timeout_ms);
void os_pipe_interrupt(struct os_pipe *pipe); /* reads end from now on. [any] */
void os_pipe_cut(struct os_pipe *pipe);       /* reads and writes end from now on. [any] */
/* The host's end: waits until the client has read what was written, where a close would lose it. */
void os_pipe_finish(struct os_pipe *pipe);
void os_pipe_close(struct os_pipe *pipe); /* NULL is legal */

/* -- libraries ------------------------------------------------------------- */

struct os_library; /* a loaded library */

const char *os_library_suffix(void); /* ".so", ".dll" */

/* Whether the file is a library for this machine, not larger than that, and whole. A file that is
 * still being written must not be loaded: on Linux that crashes the process. */
bool os_library_check(const char *path, uint64_t bytes_max, struct error *error);

/* Loads the file at an absolute path and binds all of its symbols now (RTLD_NOW|RTLD_LOCAL;
 * LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR|LOAD_LIBRARY_SEARCH_SYSTEM32: the libraries it needs come from
 * its own folder or from the system, never from the current folder or PATH). */
struct os_library *os_library_open(const char *path, struct error *error);
/* Whether the system returned the same library for both. */
bool os_library_same(const struct os_library *one, const struct os_library *other);
void *os_library_symbol(struct os_library *library, const char *name); /* NULL: not exported */

/* The name of a symbol of that file that exists once a process, however many copies of the library
 * are loaded (STB_GNU_UNIQUE); "" if there is none. Cut to fit. */
void os_library_unique_symbol(const char *path, char *symbol, size_t size);

/* Unloads it. True when it is no longer mapped in the process, verified by asking the system. */
bool os_library_close(struct os_library *library);

#endif
