/* plugin_callback.h: what a plugin is called for.
 *
 * Threads: any. */
#ifndef BERTH_HOST_NET_PLUGIN_CALLBACK_H
#define BERTH_HOST_NET_PLUGIN_CALLBACK_H

enum plugin_callback {
    PLUGIN_ENTRY, /* and what runs of itself when its library is loaded */
    PLUGIN_LOAD,
    PLUGIN_UNLOAD,
    PLUGIN_LISTENER_OPEN,
    PLUGIN_CHECK_CONFIG,
    PLUGIN_LISTENER_DRAINING,
    PLUGIN_LISTENER_CLOSE, /* the last of those on the control thread */
    PLUGIN_WORKER_START,
    PLUGIN_WORKER_END,
    PLUGIN_OPENED,
    PLUGIN_RECEIVED,
    PLUGIN_PEER_CLOSED,
    PLUGIN_FILLED,
    PLUGIN_DRAINED,
    PLUGIN_CLOSING,
    PLUGIN_CLOSED,
    PLUGIN_BUSY,
    PLUGIN_DATAGRAM,
    PLUGIN_TIMER,
    PLUGIN_WORK,
    PLUGIN_WORK_DONE,
    PLUGIN_POST,
    PLUGIN_POST_WORKER,
    PLUGIN_CONNECTED,
    PLUGIN_CALLBACKS, /* how many there are */
};

/* As plugin-api calls it. */
const char *plugin_callback_name(enum plugin_callback callback);

#endif
