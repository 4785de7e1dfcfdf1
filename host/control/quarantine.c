#include "control/quarantine.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/log.h"
#include "engine/engine.h"
#include "plugin/call_page.h"

enum { CRASHES_REMEMBERED = 1000 };

struct quarantine_crash {
    struct quarantine_crash *prev; /* utlist */
    struct quarantine_crash *next;
    char plugin[64];
    uint64_t at_ms;
};

/* Removes the crashes of a plugin (NULL: of all) that are older than `before_ms`; returns how
 * many crashes of the plugin remain. */
static unsigned forget_crashes(struct quarantine *quarantine, const char *plugin,
                               uint64_t before_ms) {
    unsigned left = 0;
    struct quarantine_crash *crash;
    struct quarantine_crash *next;
    DL_FOREACH_SAFE(quarantine->crashes, crash, next) {
        bool meant = !plugin || strcmp(crash->plugin, plugin) == 0;
        if (meant && crash->at_ms < before_ms) {
            DL_DELETE(quarantine->crashes, crash);
            quarantine->crash_count--;
            alloc_free(crash);
        } else {
            left += meant;
        }
    }
    return left;
}

/* `why`: what the plugin has done; the callback is appended. */
static void quarantine_start(struct quarantine *quarantine, const struct call_info *call,
                             const char *why) {
    struct log_subject subject = {.plugin = call->plugin};
    struct banned *banned = alloc_zeroed(sizeof(*banned));
    if (!banned) {
        return;
    }
    snprintf(banned->plugin, sizeof(banned->plugin), "%s", call->plugin);
    bool has_listener = call->listener[0] != '\0';
    snprintf(banned->why, sizeof(banned->why), "%s in callback %s of generation %u%s%s%s", why,
             call->callback, call->generation, has_listener ? ", listener \"" : "", call->listener,
             has_listener ? "\"" : "");
    banned->since_ms = engine_now_ms();
    DL_APPEND(quarantine->banned, banned);
    log_error(&subject, "quarantine: %s; its listeners are closed until \"berth release %s\"",
              banned->why, call->plugin);
}

void quarantine_note(struct quarantine *quarantine, const struct call_info *call) {
    uint64_t now_ms = engine_now_ms();
    struct quarantine_crash *crash = call->plugin[0] != '\0' ? alloc_zeroed(sizeof(*crash)) : NULL;
    if (!crash) {
        return;
    }
    forget_crashes(quarantine, NULL,
                   now_ms > quarantine->window_ms ? now_ms - quarantine->window_ms : 0);
    if (quarantine->crash_count == CRASHES_REMEMBERED) {
        forget_crashes(quarantine, NULL, now_ms);
    }
    snprintf(crash->plugin, sizeof(crash->plugin), "%s", call->plugin);
    crash->at_ms = now_ms;
    DL_APPEND(quarantine->crashes, crash);
    quarantine->crash_count++;
    unsigned count = forget_crashes(quarantine, call->plugin, 0);
    if (count >= quarantine->crashes_max) {
        char why[96];
        snprintf(why, sizeof(why), "%u crashes within %llu ms, the last one", count,
                 (unsigned long long)quarantine->window_ms);
        quarantine_start(quarantine, call, why);
        /* The count starts again at 0 when the plugin is released. */
        forget_crashes(quarantine, call->plugin, UINT64_MAX);
    }
}

void quarantine_ban(struct quarantine *quarantine, const struct call_info *call) {
    quarantine_start(quarantine, call,
                     "the host does not get ready, also as it was before the crash: it hangs");
    forget_crashes(quarantine, call->plugin, UINT64_MAX);
}

void quarantine_lift(struct quarantine *quarantine, const char *plugin) {
    struct banned *banned;
    struct banned *next;
    DL_FOREACH_SAFE(quarantine->banned, banned, next) {
        if (strcmp(banned->plugin, plugin) == 0) {
            DL_DELETE(quarantine->banned, banned);
            alloc_free(banned);
        }
    }
}

void quarantine_fini(struct quarantine *quarantine) {
    forget_crashes(quarantine, NULL, UINT64_MAX);
    while (quarantine->banned) {
        quarantine_lift(quarantine, quarantine->banned->plugin);
    }
}
