#include "replaced.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "control/guard.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "os/os.h"
#include "plugin/module.h"
#include "plugin/plugin_stats.h"
#include "plugin/timed_call.h"

static const struct server_driver *driver;
static const struct berth_plugin *plugin;
static uint64_t random_state;

void replaced_seed(uint64_t seed) {
    random_state = seed;
}

void replaced_begin(const struct server_driver *by, const struct berth_plugin *every) {
    driver = by;
    plugin = every;
}

// NOLINTBEGIN(bugprone-reserved-identifier): the linker wants these names.
void __wrap_os_random(void *bytes, size_t size);
struct server *__real_server_create(const struct server_options *options, struct error *error);
struct server *__wrap_server_create(const struct server_options *options, struct error *error);
enum timed_call_result __wrap_timed_call_run(void (*function)(void *argument), void *argument,
                                             const struct timed_call_limit *limit,
                                             struct error *error);
void __wrap_guard_await_aborted(struct guard *guard, const struct listener *listener);
struct module *__wrap_module_open(const char *folder, const char *id,
                                  const struct module_rules *rules,
                                  const struct berth_host *services, unsigned generation,
                                  struct error *error);
bool __wrap_module_is_current(const struct module *module);
bool __wrap_os_library_same(const struct os_library *one, const struct os_library *other);

/* Keys of hash tables and the like come from the seed. */
void __wrap_os_random(void *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        ((uint8_t *)bytes)[i] = (uint8_t)(random_state >> 56);
    }
}

struct server *__wrap_server_create(const struct server_options *options, struct error *error) {
    struct server_options driven = *options;
    driven.driver = driver;
    struct server *server = __real_server_create(&driven, error);
    *(struct server **)driver->context = server;
    return server;
}

enum timed_call_result __wrap_timed_call_run(void (*function)(void *argument), void *argument,
                                             const struct timed_call_limit *limit,
                                             struct error *error) {
    (void)limit;
    (void)error;
    function(argument);
    return TIMED_CALL_DONE;
}

void __wrap_guard_await_aborted(struct guard *guard, const struct listener *listener) {
    (void)guard;
    while (atomic_load(&listener->references) > 0) {
        driver->step(driver->context, "connections that were cut to end");
    }
}

struct module *__wrap_module_open(const char *folder, const char *id,
                                  const struct module_rules *rules,
                                  const struct berth_host *services, unsigned generation,
                                  struct error *error) {
    struct module *module = alloc_zeroed(sizeof(*module));
    (void)folder;
    (void)rules;
    if (!module) {
        error_set(error, "out of memory");
        return NULL;
    }
    snprintf(module->id, sizeof(module->id), "%s", id);
    module->subject.plugin = module->id;
    module->host = *services;
    module->generation = generation;
    module->plugin = *plugin;
    module->file = alloc_string(id);
    module->stats = plugin_stats_create(id, generation);
    if (!module->file || !module->stats) {
        module_close(module);
        error_set(error, "out of memory");
        return NULL;
    }
    return module;
}

bool __wrap_module_is_current(const struct module *module) {
    (void)module;
    return true;
}

bool __wrap_os_library_same(const struct os_library *one, const struct os_library *other) {
    (void)one;
    (void)other;
    return false;
}
// NOLINTEND(bugprone-reserved-identifier)
