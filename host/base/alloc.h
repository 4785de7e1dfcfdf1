/* alloc.h: every allocation of the host, in one place so that tests can make any of them fail.
 *
 * Threads: any. A NULL return is an ordinary failure that every caller handles. */
#ifndef BERTH_HOST_BASE_ALLOC_H
#define BERTH_HOST_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

void *alloc_zeroed(size_t size);               /* free with alloc_free */
void *alloc_array(size_t count, size_t size);  /* zeroed; NULL on overflow */
void *alloc_resize(void *memory, size_t size); /* as realloc; on failure the old block stays */
char *alloc_string(const char *text);          /* a copy */
void alloc_free(void *memory);                 /* NULL is legal */

/* As alloc_free(), but the memory can still be read until ALLOC_LATE_MAX more blocks were freed in
 * this way. For memory to which a plugin may still have a pointer by mistake. */
#define ALLOC_LATE_MAX 1024
void alloc_free_late(void *memory);

/* For the devkit: from now on alloc_free() does the same as alloc_free_late(), so that memory to
 * which a plugin still has a pointer is not soon reused. */
void alloc_keep_freed(bool keep);

/* For tests: lets `countdown` more allocations pass, then fails one, or all that follow.
 * A negative countdown switches that off, which is the default. */
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

/* Frees memory that the calling thread caches. Called within an allocation of this thread that has
 * failed. True: memory was freed, and the allocation is tried again. NULL: the thread caches none.
 */
typedef bool alloc_reclaim_fn(void *context);
void alloc_set_reclaim(alloc_reclaim_fn *reclaim, void *context);

/* For other allocators of the host: an allocation of theirs has failed. True: try once more. */
bool alloc_failed(void);

#endif
