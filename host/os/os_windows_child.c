/* os_windows_child.c: a host on Windows is not supervised yet. What is missing: to hand a listening
 * socket on (WSADuplicateSocket), and to take it off the completion port of the process that has
 * ended (FileReplaceCompletionInformation), for a socket belongs to its first one for good. Until
 * then a service's own recovery restarts the host, and clients are refused meanwhile. */
#include "base/error.h"
#include "os/os_child.h"

bool os_child_init(struct error *error) {
    return error_set(error, "--supervise is for Linux only so far; let the service manager restart "
                            "the host");
}

struct os_child *os_child_start(const char *const *arguments, struct error *error) {
    (void)arguments;
    os_child_init(error);
    return NULL;
}

enum os_child_event os_child_wait(struct os_child *child, int timeout_ms) {
    (void)child;
    (void)timeout_ms;
    return OS_CHILD_ENDED;
}

struct os_link *os_child_link(struct os_child *child) {
    (void)child;
    return NULL;
}

struct os_child_end os_child_end(const struct os_child *child) {
    (void)child;
    return (struct os_child_end){.code = 1};
}

void os_child_ask(struct os_child *child, enum os_signal signal) {
    (void)child;
    (void)signal;
}

void os_child_destroy(struct os_child *child) {
    (void)child;
}

struct os_link *os_link_open(const char *text, struct error *error) {
    (void)text;
    os_child_init(error);
    return NULL;
}

bool os_link_send(struct os_link *link, const void *bytes, size_t size, intptr_t socket) {
    (void)link;
    (void)bytes;
    (void)size;
    (void)socket;
    return false;
}

void os_link_last_send(struct os_link *link, const void *bytes, size_t size) {
    (void)link;
    (void)bytes;
    (void)size;
}

bool os_link_receive(struct os_link *link, void *bytes, size_t size, intptr_t *socket,
                     int timeout_ms) {
    (void)link;
    (void)bytes;
    (void)size;
    (void)timeout_ms;
    *socket = OS_NO_SOCKET;
    return false;
}

void os_link_close(struct os_link *link) {
    (void)link;
}

void os_child_socket_close(intptr_t socket) {
    (void)socket;
}
