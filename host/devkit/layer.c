/* Findings; begin and end of the layer. */
#include "devkit/layer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "net/lib/buffer.h"
#include "net/lib/file.h"
#include "plugin/callback_guard.h"
#include "plugin/plugin_fault.h"

int layer_callback(void) {
    return plugin_thread_calls(&plugin_thread) ? (int)atomic_load(&plugin_thread.record->callback)
                                               : -1;
}

const char *testbed_callback(void) {
    int callback = layer_callback();
    return callback < 0 ? "" : plugin_callback_name((enum plugin_callback)callback);
}

void layer_find(struct testbed *bed, const char *name, const char *format, ...) {
    struct testbed_finding found = {0};
    va_list arguments;
    snprintf(found.name, sizeof(found.name), "%s", name);
    snprintf(found.callback, sizeof(found.callback), "%s", testbed_callback());
    va_start(arguments, format);
    vsnprintf(found.words, sizeof(found.words), format, arguments);
    va_end(arguments);
    os_mutex_lock(&bed->mutex);
    bool known = false;
    for (unsigned i = 0; i < bed->findings && i < TESTBED_FINDINGS_MAX && !known; i++) {
        known = strcmp(bed->kept[i].name, found.name) == 0 &&
                strcmp(bed->kept[i].callback, found.callback) == 0;
    }
    if (!known && bed->findings < TESTBED_FINDINGS_MAX) {
        bed->kept[bed->findings] = found;
    }
    bed->findings += known ? 0 : 1;
    os_mutex_unlock(&bed->mutex);
}

size_t testbed_finding_count(const struct testbed *bed) {
    return bed->findings;
}

const struct testbed_finding *testbed_finding_at(const struct testbed *bed, size_t index) {
    return index < TESTBED_FINDINGS_MAX && index < bed->findings ? &bed->kept[index] : NULL;
}

/* A fault that the host reports, unless the layer has already reported it more precisely. */
static void on_fault(const char *text) {
    struct testbed *bed;
    DL_FOREACH(testbed_first(), bed) {
        if (bed->module && callback_guard_stats() == bed->module->stats &&
            bed->findings == bed->findings_before) {
            layer_find(bed, "fault", "%s", text);
        }
    }
}

static void on_violation(const char *text, void *context) {
    (void)context;
    if (testbed_first()) {
        layer_find(testbed_first(), "sent-bytes-changed", "%s", text);
    }
}

void layer_begin(struct testbed *bed) {
    os_mutex_init(&bed->mutex);
    layer_services(bed);
    layer_descriptor(bed);
    callback_guard_follow(layer_call_ended);
    plugin_faults_follow(on_fault);
    buffer_set_free_hook(layer_buffer_retire);
    sim_on_violation(on_violation, NULL);
}

static void check_files(struct testbed *bed) {
    struct layer_file *file;
    DL_FOREACH(bed->files, file) {
        if (file_plugin_holds(file->given)) {
            layer_find(bed, "file-leaked", "a file was never given back");
            while (file_plugin_releases(file->given)) {
            }
        }
    }
}

void layer_end(struct testbed *bed) {
    check_files(bed);
    layer_buffers_end(bed);
}

void layer_free(struct testbed *bed) {
    struct layer_file *file;
    struct layer_file *next_file;
    DL_FOREACH_SAFE(bed->files, file, next_file) {
        DL_DELETE(bed->files, file);
        alloc_free(file);
    }
    struct layer_conn *conn;
    struct layer_conn *next_conn;
    DL_FOREACH_SAFE(bed->layer_conns, conn, next_conn) {
        DL_DELETE(bed->layer_conns, conn);
        alloc_free(conn);
    }
    os_mutex_fini(&bed->mutex);
}
