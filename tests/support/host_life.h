/* host_life.h: a host's whole life, all of it real: start, conversations, reloads, a restart of its
 * plugins, and the stop; while something fails. Whatever that is, it is told or done without: a
 * change is done or says why not, a client is served or hears its end, nothing waits for ever, no
 * memory is lost, and once nothing fails any more all can be done again. */
#ifndef BERTH_TESTS_NET_HOST_LIFE_H
#define BERTH_TESTS_NET_HOST_LIFE_H

#include "unit.h"

struct life_plan {
    /* Lets it fail from now on; `at_end`: for the stop alone. */
    void (*begin)(const struct life_plan *plan, bool at_end);
    void (*end)(void); /* nothing fails any more */
    long number;       /* the plan's own */
    bool lasts;        /* it fails until the end: clients may have to wait for it */
};

/* First in main(): the host starts its own program to try plugins. */
void host_life_main(int argc, char **argv);

/* NULL: nothing fails. The engine is the one that TEST_ENGINE names. */
void host_live(const struct life_plan *plan);

/* Lives by that plan, numbered from 0 to below `total`: all of them, or as many as are quick,
 * another part each time. The environment variable of that name holds the number of a single one.
 */
void host_live_each(const struct life_plan *plan, long total, const char *variable);

#endif
