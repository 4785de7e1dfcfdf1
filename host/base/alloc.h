/* alloc.h: the host's one way to memory, so that tests can make any allocation fail.
 *
 * Threads: any. A NULL return is an ordinary failure that every caller handles. */
#ifndef BERTH_HOST_BASE_ALLOC_H
#define BERTH_HOST_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

void *alloc_zeroed(size_t size);               /* free with alloc_free */
void *alloc_array(size_t count, size_t size);  /* zeroed; NULL on overflow */
void *alloc_resize(void *memory, size_t size); /* as realloc; the old block lives on failure */
char *alloc_string(const char *text);          /* a copy */
void alloc_free(void *memory);                 /* NULL is legal */

/* As alloc_free(), but the memory can be read for a while yet: until ALLOC_LATE_MAX more have gone
 * this way. For what somebody outside may still point to by mistake. */
#define ALLOC_LATE_MAX 1024
void alloc_free_late(void *memory);

/* For the tools of plugin authors: from now on all that is freed goes that way, so that what a
 * plugin still points to is not another's soon. */
void alloc_keep_freed(bool keep);

/* For tests: lets `countdown` more allocations pass, then fails one, or all that follow.
 * A negative countdown switches it off, which is how the host runs. */
void alloc_fail_after(long countdown, bool all_that_follow);

/* For other allocators of the host (whole pages, in os/): whether a test wants this one to fail. */
bool alloc_fails_now(void);

/* For tests: blocks now allocated and not yet freed, and all ever allocated. */
long alloc_live(void);
long alloc_total(void);

/* -- when memory is short -------------------------------------------------- */

/* Allocations that have failed so far: of the process, and of the calling thread. */
unsigned long alloc_failures(void);
unsigned long alloc_thread_failures(void);

/* Gives back what the calling thread keeps for later, within an allocation of its own that has
 * failed. True: that was something, and the allocation is tried again. NULL: there is nothing. */
typedef bool alloc_reclaim_fn(void *context);
void alloc_set_reclaim(alloc_reclaim_fn *reclaim, void *context);

/* For other allocators of the host: one of theirs has failed. True: try once more. */
bool alloc_failed(void);

#endif
