/* quarantine.h: counts the crashes of plugins for a supervisor, and lists the plugins that it
 * disables because of them.
 *
 * Owner: the supervisor. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_QUARANTINE_H
#define BERTH_HOST_CONTROL_QUARANTINE_H

#include <stdint.h>

/* A plugin in quarantine. */
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

/* Counts a crash that is attributed to that call's plugin. The last crash that is allowed puts
 * the plugin in quarantine, which is logged. A call without a plugin is not counted. */
void quarantine_note(struct quarantine *quarantine, const struct call_info *call);

/* The plugin keeps the host from serving: it is put in quarantine at once. */
void quarantine_ban(struct quarantine *quarantine, const struct call_info *call);

void quarantine_lift(struct quarantine *quarantine, const char *plugin);
void quarantine_fini(struct quarantine *quarantine);

#endif
