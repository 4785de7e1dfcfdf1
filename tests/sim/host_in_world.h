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

/* One generation of the plugin, what its `load` sets; and one listener that it has open. */
struct generation {
    const struct berth_host *host;
    unsigned listeners;
};
struct open_listener {
    struct generation *generation;
    unsigned connections;
    unsigned answers; /* posts to workers and works of it, not answered yet */
};

void host_start(const struct server_driver *driver);
/* Reloads, restarts, pauses or resumes, or does nothing, by chance. */
void host_change(void);
/* What is retired and done goes. */
void host_look_after(void);
void host_resume(void); /* if it is paused */
struct listener *host_main_listener(void);
/* `check` runs when all connections have ended, and all there is still is. */
void host_stop(void (*check)(void));

/* The plugin's part. */
int32_t BERTH_CALL host_on_load(const struct berth_host *host, void **state,
                                struct berth_error *error);
void BERTH_CALL host_on_unload(void *state);
int32_t BERTH_CALL host_on_listener_open(const struct berth_listener *listener, void **state,
                                         struct berth_error *error);
void BERTH_CALL host_on_listener_close(const struct berth_listener *listener);

#endif
