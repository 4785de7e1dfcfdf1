#include "control/announce.h"

#include <stdio.h>
#include <utlist.h>

#include "base/address.h"
#include "base/alloc.h"
#include "control/control.h"
#include "control/instance.h"
#include "manifest/ready.h"
#include "net/listener.h"
#include "net/server.h"

static const char *accept_name(const struct listener *listener) {
    return listener->options.datagrams        ? "datagrams"
           : listener->options.accept_on_data ? "data"
                                              : "connect";
}

void announce_listeners(const struct instance *instance) {
    const struct unit *unit;
    DL_FOREACH(instance->serving, unit) {
        const struct listener *listener = unit->listener;
        printf("%s: listening on ", listener->options.name);
        for (size_t a = 0; a < listener->options.address_count; a++) {
            char text[BERTH_ADDRESS_TEXT_MAX];
            struct berth_address address = listener_address(listener, a);
            address_format(&address, text, sizeof(text));
            printf("%s%s", a > 0 ? ", " : "", text);
        }
        printf(" with %s %s, %s, engine %s\n", listener->plugin->id, listener->plugin->version,
               listener->options.datagrams        ? "takes datagrams"
               : listener->options.accept_on_data ? "accepts on first data"
                                                  : "accepts on connect",
               server_traits(instance->server)->name);
    }
    fflush(stdout);
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

char *announce_text(const struct instance *instance) {
    size_t count = instance->edition->manifest->listener_count;
    struct ready_listener *listeners = alloc_array(count, sizeof(*listeners));
    char *text = NULL;
    bool complete = listeners != NULL;
    size_t described = 0;
    const struct unit *unit;
    DL_FOREACH(instance->serving, unit) {
        complete = complete && describe_listener(unit->listener, &listeners[described++]);
    }
    if (complete) {
        struct ready ready = {
            .pid = os_process_id(),
            .name = instance->edition->manifest->host.name,
            .version = BERTH_VERSION,
            .engine = server_traits(instance->server)->name,
            .socket_reuse = server_traits(instance->server)->socket_reuse,
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
