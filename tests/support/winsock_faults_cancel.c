/* winsock_faults_cancel.c: cancels that a driver loses. What was to be cancelled goes on, until the
 * socket is closed that it is about. */
#include <string.h>

#include "base/assert.h"
#include "winsock_faults_inner.h"

enum { IGNORED_MAX = 64 };

struct ignored {
    HANDLE handle;
    OVERLAPPED *overlapped; /* NULL: all of the handle's */
    SOCKET closes;          /* the socket whose end is theirs, too */
};

static struct ignored ignored[IGNORED_MAX];
static unsigned count;
static bool ignoring;

void fault_cancel_reset(void) {
    memset(ignored, 0, sizeof(ignored));
    count = 0;
    ignoring = false;
}

void faults_ignore_cancels(bool ignore) {
    ignoring = ignore;
}

unsigned faults_ignored_cancels(void) {
    return count;
}

bool fault_cancel_is_ignored(HANDLE handle, OVERLAPPED *overlapped) {
    if (!ignoring) {
        return false;
    }
    SOCKET other = overlapped ? fault_closes(overlapped) : INVALID_SOCKET;
    ASSERT(count < IGNORED_MAX);
    ignored[count++] =
        (struct ignored){handle, overlapped, other == INVALID_SOCKET ? (SOCKET)handle : other};
    return true;
}

/* In Wine the end of a socket is not that of its operations. */
static bool is_wine(void) {
    return GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version") != NULL;
}

void fault_cancel_of_closed(SOCKET socket) {
    for (unsigned i = 0; i < count; i++) {
        if (ignored[i].handle && ignored[i].closes == socket) {
            if (!fault_cancel_stalled(ignored[i].overlapped) && is_wine()) {
                fault_cancel(ignored[i].handle, ignored[i].overlapped);
            }
            ignored[i].handle = NULL;
        }
    }
}
