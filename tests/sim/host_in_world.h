/* host_in_world.h: the control room's instance in a world: started, changed and stopped by what the
 * seed says, with a plugin that is part of this program in place of libraries.
 *
 * A change is all or nothing; a generation is unloaded once nothing of it is left. */
#ifndef BERTH_TESTS_SIM_HOST_IN_WORLD_H
#define BERTH_TESTS_SIM_HOST_IN_WORLD_H

#include <stdbool.h>

#include "berth/plugin.h"

struct listener;
struct server_driver;
struct config_snapshot;

enum { LISTENER_TIMERS = 3 };
struct listener_timer {
    struct open_listener *owner;
    struct berth_timer *timer;
    uint64_t due_ms;
    bool is_running;
};

/* One generation of the plugin, what its `load` sets. */
struct generation {
    const struct berth_host *host;
    struct berth_file *file; /* NULL: it could not be opened */
    unsigned listeners;
};

/* One listener that it has open, or had: it is kept to the end of the world. */
struct open_listener {
    const struct berth_listener *public; /* NULL: it is closed */
    struct generation *generation;
    struct open_listener *next;
    unsigned accepted;      /* connections that are open */
    unsigned outbound;      /* likewise, and attempts */
    unsigned outbound_late; /* attempts that were told as failed and may still be under way */
    unsigned works;         /* that are not answered yet */
    unsigned answers;       /* posts to workers, works and attempts likewise */
    struct listener_timer timers[LISTENER_TIMERS];
};

/* What the plugin knows of a timer of a listener (listener_timers.c). */
void listener_timers_create(const struct berth_listener *listener, struct open_listener *open);
void listener_timer_by_chance(const struct berth_listener *listener);

void host_start(const struct server_driver *driver);
/* Reloads, restarts, pauses or resumes, or does nothing, by chance. */
void host_change(void);
/* What is retired and done goes. */
void host_look_after(void);
void host_resume(void);                    /* if it is paused */
struct listener *host_main_listener(void); /* NULL in the midst of a change */
/* `check` runs when all connections have ended, and all there is still is. */
void host_stop(void (*check)(void));

struct listener *host_datagram_listener(void); /* NULL: there is none */
struct open_listener *host_open_listeners(void);
bool host_is_open(const struct berth_listener *listener); /* what was closed may be freed */
uint32_t host_works_waiting(void);                        /* for a thread, of all listeners */

/* What is written into manifests (manifests_by_chance.c): for a whole world, and for a change. */
void manifest_settings_by_chance(void);
struct config_snapshot *config_snapshot_by_chance(unsigned config, unsigned workers);

/* The plugin's part. */
int32_t BERTH_CALL host_on_load(const struct berth_host *host, void **state,
                                struct berth_error *error);
void BERTH_CALL host_on_unload(void *state);
int32_t BERTH_CALL host_on_listener_open(const struct berth_listener *listener, void **state,
                                         struct berth_error *error);
void BERTH_CALL host_on_listener_close(const struct berth_listener *listener);

#endif
