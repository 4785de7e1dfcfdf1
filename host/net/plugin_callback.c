#include "net/plugin_callback.h"

const char *plugin_callback_name(enum plugin_callback callback) {
    static const char *const names[PLUGIN_CALLBACKS] = {
        [PLUGIN_ENTRY] = "entry",
        [PLUGIN_LOAD] = "load",
        [PLUGIN_UNLOAD] = "unload",
        [PLUGIN_LISTENER_OPEN] = "listener_open",
        [PLUGIN_CHECK_CONFIG] = "check_config",
        [PLUGIN_LISTENER_DRAINING] = "listener_draining",
        [PLUGIN_LISTENER_CLOSE] = "listener_close",
        [PLUGIN_WORKER_START] = "worker_start",
        [PLUGIN_WORKER_END] = "worker_end",
        [PLUGIN_OPENED] = "opened",
        [PLUGIN_RECEIVED] = "received",
        [PLUGIN_PEER_CLOSED] = "peer_closed",
        [PLUGIN_FILLED] = "filled",
        [PLUGIN_DRAINED] = "drained",
        [PLUGIN_CLOSING] = "closing",
        [PLUGIN_CLOSED] = "closed",
        [PLUGIN_BUSY] = "busy",
        [PLUGIN_DATAGRAM] = "datagram",
        [PLUGIN_TIMER] = "timer",
        [PLUGIN_WORK] = "work",
        [PLUGIN_WORK_DONE] = "work_done",
        [PLUGIN_POST] = "post",
        [PLUGIN_POST_WORKER] = "post_worker",
        [PLUGIN_CONNECTED] = "connected",
    };
    return callback < PLUGIN_CALLBACKS ? names[callback] : "?";
}
