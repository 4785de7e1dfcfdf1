#include "control/startup_report.h"

#include <stdio.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"
#include "control/control.h"
#include "control/runtime.h"
#include "manifest/ready.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "os/log_writer.h"

/* Sizes of the parts of a line: larger than the addresses that a listener may have. */
enum { ADDRESSES_BYTES = 2048, VERSION_BYTES = 512 };

static const char *accept_name(const struct listener *listener) {
    return listener->options.datagrams        ? "datagrams"
           : listener->options.accept_on_data ? "data"
                                              : "connect";
}

/* "NAME: listening on ADDRESS, … with PLUGIN VERSION, accepts on …, engine …", cut to fit. */
static size_t format_listener(const struct runtime *runtime, const struct listener *listener,
                              char *line, size_t size) {
    char addresses[ADDRESSES_BYTES] = "";
    char version[VERSION_BYTES];
    size_t used = 0;
    for (size_t a = 0; a < listener->options.address_count && used < sizeof(addresses); a++) {
        char text[BERTH_ADDRESS_TEXT_MAX];
        struct berth_address address = listener_address(listener, a);
        address_format(&address, text, sizeof(text));
        int length =
            snprintf(addresses + used, sizeof(addresses) - used, "%s%s", a > 0 ? ", " : "", text);
        used += length > 0 ? (size_t)length : 0;
    }
    int length = snprintf(line, size, "%s: listening on %s with %s %s, %s, engine %s\n",
                          listener->options.name, addresses, listener->plugin->id,
                          text_safe(version, sizeof(version), listener->plugin->version),
                          listener->options.datagrams        ? "takes datagrams"
                          : listener->options.accept_on_data ? "accepts on first data"
                                                             : "accepts on connect",
                          server_traits(runtime->server)->name);
    return length > 0 && (size_t)length < size ? (size_t)length : 0;
}

void startup_report_listeners(const struct runtime *runtime) {
    const struct listener_generation *generation;
    DL_FOREACH(runtime->serving, generation) {
        char line[LOG_LINE_MAX];
        log_writer_print(line, format_listener(runtime, generation->listener, line, sizeof(line)));
    }
}

static bool describe_listener(const struct listener *listener, struct ready_listener *ready) {
    *ready = (struct ready_listener){
        .name = listener->options.name,
        .plugin = listener->plugin->id,
        .version = listener->plugin->version,
        .accept = accept_name(listener),
        .addresses = alloc_array(listener->options.address_count, sizeof(char *)),
    };
    if (!ready->addresses) {
        return false;
    }
    for (; ready->address_count < listener->options.address_count; ready->address_count++) {
        char text[BERTH_ADDRESS_TEXT_MAX];
        struct berth_address address = listener_address(listener, ready->address_count);
        address_format(&address, text, sizeof(text));
        ready->addresses[ready->address_count] = alloc_string(text);
        if (!ready->addresses[ready->address_count]) {
            return false;
        }
    }
    return true;
}

char *startup_report_text(const struct runtime *runtime) {
    size_t count = runtime->config_snapshot->manifest->listener_count;
    struct ready_listener *listeners = alloc_array(count, sizeof(*listeners));
    char *text = NULL;
    bool complete = listeners != NULL;
    size_t described = 0;
    const struct listener_generation *generation;
    DL_FOREACH(runtime->serving, generation) {
        complete = complete && describe_listener(generation->listener, &listeners[described++]);
    }
    if (complete) {
        struct ready ready = {
            .pid = os_process_id(),
            .name = runtime->config_snapshot->manifest->host.name,
            .version = BERTH_VERSION,
            .engine = server_traits(runtime->server)->name,
            .socket_reuse = server_traits(runtime->server)->socket_reuse,
            .listeners = listeners,
            .listener_count = described,
        };
        text = ready_format(&ready);
    }
    for (size_t i = 0; listeners && i < count; i++) {
        for (size_t a = 0; a < listeners[i].address_count; a++) {
            alloc_free(listeners[i].addresses[a]);
        }
        alloc_free(listeners[i].addresses);
    }
    alloc_free(listeners);
    return text;
}
