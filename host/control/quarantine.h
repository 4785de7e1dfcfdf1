/* quarantine.h: the crashes of plugins that a supervisor counts, and the plugins that it leaves out
 * for them.
 *
 * Owner: the supervisor. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_QUARANTINE_H
#define BERTH_HOST_CONTROL_QUARANTINE_H

#include <stdint.h>

/* A plugin that is left out. */
struct banned {
    struct banned *prev; /* utlist */
    struct banned *next;
    char plugin[64];
    char why[256];
    uint64_t since_ms;
};

struct quarantine_crash;

struct quarantine {
    struct quarantine_crash *crashes; /* utlist, the oldest first: those within the window */
    unsigned crash_count;
    struct banned *banned;
    uint32_t crashes_max;
    uint64_t window_ms;
};

struct call_info;

/* A crash that is laid to that call's plugin: the last one that is allowed bans the plugin, which
 * is logged. A call without a plugin is nobody's crash. */
void quarantine_note(struct quarantine *quarantine, const struct call_info *call);

/* It keeps the host from serving anybody: it is banned at once. */
void quarantine_ban(struct quarantine *quarantine, const struct call_info *call);

void quarantine_lift(struct quarantine *quarantine, const char *plugin);
void quarantine_fini(struct quarantine *quarantine);

#endif
