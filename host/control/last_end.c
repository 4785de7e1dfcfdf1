#include "control/last_end.h"

#include <stdio.h>
#include <string.h>

/* -- attribution ----------------------------------------------------------- */

/* Moves a call of that plugin to the front; a running call before a waiting one. */
static void put_first(struct last_end *end, const char *plugin) {
    uint32_t first = end->count;
    for (uint32_t i = 0; i < end->count; i++) {
        bool same = strcmp(end->calls[i].plugin, plugin) == 0;
        if (same && (first == end->count || (end->calls[first].waits && !end->calls[i].waits))) {
            first = i;
        }
    }
    if (first < end->count) {
        struct call_info call = end->calls[first];
        end->calls[first] = end->calls[0];
        end->calls[0] = call;
        end->attributed = true;
    }
}

/* The plugin that the end is attributed to; "": none. */
static const char *plugin_of(const struct calls_seen *seen, enum os_end_by by) {
    switch (by) {
    case OS_END_BY_KILL:
        return seen->running;
    case OS_END_BY_ANY:
        return seen->any_running ? seen->all : "";
    default:
        return seen->all;
    }
}

void last_end_judge(struct last_end *end, const struct calls_seen *seen, enum os_end_by by) {
    const char *plugin = plugin_of(seen, by);
    end->readable = seen->readable;
    end->total = (uint32_t)seen->total;
    end->count = (uint32_t)seen->count;
    memcpy(end->calls, seen->calls, sizeof(end->calls));
    if (plugin[0] != '\0') {
        put_first(end, plugin);
    }
}

/* -- as text --------------------------------------------------------------- */

static void last_end_add_text(char *text, size_t size, const char *more) {
    size_t used = strlen(text);
    snprintf(text + used, size - used, "%s", more);
}

static void add_calls(const struct last_end *end, char *text, size_t size) {
    char one[320];
    for (uint32_t i = 0; i < end->count; i++) {
        call_info_describe(&end->calls[i], one, sizeof(one));
        last_end_add_text(text, size, i > 0 ? "; " : "");
        last_end_add_text(text, size, one);
    }
    if (end->total > end->count) {
        snprintf(one, sizeof(one), "; and %u more", end->total - end->count);
        last_end_add_text(text, size, one);
    }
}

static bool all_wait(const struct last_end *end) {
    bool all = true;
    for (uint32_t i = 0; i < end->count; i++) {
        all = all && end->calls[i].waits;
    }
    return all;
}

void last_end_describe(const struct last_end *end, char *text, size_t size) {
    text[0] = '\0';
    if (end->reported || !end->readable) {
        return;
    }
    last_end_add_text(text, size, ", without a crash report");
    if (end->count == 0) {
        last_end_add_text(text, size, ", while no plugin was being called");
    } else if (end->attributed) {
        last_end_add_text(text, size, ", in ");
    } else if (all_wait(end)) {
        last_end_add_text(text, size, ", while a plugin only waited, which it is not laid to: ");
    } else {
        last_end_add_text(
            text, size,
            ", while several calls were under way, and it cannot be told which of them ended "
            "it: ");
    }
    add_calls(end, text, size);
}
