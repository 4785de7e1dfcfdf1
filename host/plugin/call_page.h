/* call_page.h: which plugin each thread is calling, in memory that outlives the process.
 *
 * A process can end without a crash report: by _exit(), by SIGKILL, by __fastfail, ExitProcess or
 * TerminateProcess. So a supervised host keeps the records of its calls (callback_guard.h) in
 * memory that it shares with its supervisor, which reads them after the process has ended. A record
 * is written at each call and holds addresses only. The names for these addresses are written when
 * a plugin is loaded and when a listener is created. A thread for which the page has no free record
 * keeps its record in its own memory, and is counted.
 *
 * The reader does not trust the page, because code of plugins runs in the process that writes it.
 * The reader works on a copy, bounds every index, terminates every text and makes it safe, and
 * ignores an id that is not a valid plugin id. A plugin can still write the name of another plugin
 * there; nothing prevents that.
 *
 * Threads: any, where nothing else is said. */
#ifndef BERTH_HOST_PLUGIN_CALL_PAGE_H
#define BERTH_HOST_PLUGIN_CALL_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CALL_RECORDS_MAX = 1216, /* workers, work threads (host.work.threads_max), and some more */
    CALL_NAMES_MAX = 1024,   /* generations of plugins and of listeners */
};

struct plugin_stats;

/* The record of a thread. It fills one cache line, which avoids false sharing. */
struct call_record {
    atomic_uint sequence;                 /* odd: in a callback */
    atomic_uint callback;                 /* enum plugin_callback */
    _Atomic(struct plugin_stats *) stats; /* NULL in tests without a module */
    _Atomic(const char *) listener;       /* its name, or NULL */
    atomic_ullong connection;             /* its id; 0: none */
    atomic_ullong began;                  /* in ticks */
    atomic_uint waits; /* the sequence in which it was last seen waiting, not running */
    uint32_t unused[5];
};

struct call_page; /* the memory */

size_t call_page_bytes(void);

/* -- the host's side ------------------------------------------------------- */

/* From now on records are kept in this zeroed memory, which is never freed; NULL: not in a page.
 * Called before any plugin is called. [control] */
void call_page_start(void *memory);
bool call_page_is_kept(void);
void call_page_end(void); /* the host ends on purpose, even if calls have not returned. [any] */

/* A free record of the page; NULL: there is no page, or no free record. The caller holds a lock. */
struct call_record *call_page_take(void);
void call_page_give_back(struct call_record *record); /* NULL: the page had no free record */

/* Sets the name for an address in records, from now on. */
void call_page_name(const void *address, unsigned generation, const char *text,
                    const char *version);
void call_page_forget(const void *address);

/* -- the reader's side ----------------------------------------------------- */

/* A call of a plugin, as text. */
struct call_info {
    char plugin[64]; /* its id; "": not known */
    char version[32];
    char listener[64]; /* or "" */
    char callback[32];
    unsigned generation;
    uint64_t connection; /* its id, or 0 */
    bool waits;          /* it was waiting, not running, at the last check */
};

/* "callback received of plugin "x", generation 1 (1.0), listener "l", connection 7" */
void call_info_describe(const struct call_info *call, char *text, size_t size);

enum { CALLS_REPORTED_MAX = 16 };

/* The calls that had not returned when the process ended. */
struct calls_seen {
    struct call_info calls[CALLS_REPORTED_MAX]; /* the first ones */
    size_t count;                               /* of those */
    size_t total;
    char all[64];     /* the plugin of all calls; "": there are several, or none */
    char running[64]; /* likewise, of the calls that were not waiting */
    bool any_running;
    bool readable; /* the host has kept records, and they are intact */
};
void call_page_read(const void *copy, struct calls_seen *seen);

#endif
