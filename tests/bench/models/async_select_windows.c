/* Echo with WSAAsyncSelect, one thread: every event of a socket is a message to a window, which a
 * program of this kind has anyway; here it is one that nobody sees. */
#include "model_windows.h"

#include <stdlib.h>

#define WM_SOCKET (WM_USER + 1)

static struct model_options options;
static uint8_t *buffer;
static SOCKET listener;

/* Its clients are found by socket: handles are multiples of four. */
static struct client **clients;
static size_t clients_size;

static struct client **place_of(SOCKET socket) {
    size_t index = (size_t)socket / 4;
    if (index >= clients_size) {
        size_t size = 2 * index + 64;
        struct client **larger = realloc(clients, size * sizeof(struct client *));
        if (!larger) {
            model_fail("no memory");
        }
        for (size_t i = clients_size; i < size; i++) {
            larger[i] = NULL;
        }
        clients = larger;
        clients_size = size;
    }
    return &clients[index];
}

static void accept_client(HWND window) {
    SOCKET socket = model_accept(listener);
    if (socket == INVALID_SOCKET) {
        return;
    }
    struct client *client = calloc(1, sizeof(*client));
    if (!client || WSAAsyncSelect(socket, window, WM_SOCKET, FD_READ | FD_WRITE | FD_CLOSE) != 0) {
        model_limit("refused: WSAAsyncSelect takes no more, error %d", WSAGetLastError());
        free(client);
        model_close(socket);
        return;
    }
    client->socket = socket;
    *place_of(socket) = client;
}

/* FD_CLOSE comes with bytes still to be read, FD_READ again after each recv() that left some. */
static void serve(SOCKET socket, WORD event) {
    struct client **place = place_of(socket);
    struct client *client = *place;
    enum client_wants wants = CLIENT_RECEIVES;
    if (!client) {
        return; /* a message that was on its way when the socket was closed */
    }
    client->finished = client->finished || event == FD_CLOSE;
    if (event == FD_WRITE && client->rest) {
        wants = client_send_rest(client, &options);
    }
    if (wants == CLIENT_RECEIVES && !client->rest) {
        /* Also behind an FD_WRITE: its FD_READ may have come and gone. */
        wants = client->finished ? client_echo_all(client, &options, buffer)
                                 : client_echo(client, &options, buffer);
    }
    if (wants == CLIENT_ENDS) {
        *place = NULL;
        client_close(client);
        free(client);
    }
}

static LRESULT CALLBACK on_message(HWND window, UINT message, WPARAM socket, LPARAM what) {
    if (message != WM_SOCKET) {
        return DefWindowProcW(window, message, socket, what);
    }
    if (WSAGETSELECTEVENT(what) == FD_ACCEPT) {
        accept_client(window);
    } else {
        serve((SOCKET)socket, WSAGETSELECTEVENT(what));
    }
    return 0;
}

int main(int argc, char **argv) {
    WNDCLASSW kind = {.lpfnWndProc = on_message, .lpszClassName = L"berth model"};
    MSG message;
    model_options_read(&options, argc, argv);
    buffer = malloc(options.buffer_bytes);
    RegisterClassW(&kind);
    HWND window =
        CreateWindowW(kind.lpszClassName, L"", 0, 0, 0, 0, 0, HWND_MESSAGE, NULL, NULL, NULL);
    if (!buffer || !window) {
        model_fail("no memory, or no window: error %lu", GetLastError());
    }
    listener = model_listen(&options);
    if (WSAAsyncSelect(listener, window, WM_SOCKET, FD_ACCEPT) != 0) {
        model_fail("WSAAsyncSelect: error %d", WSAGetLastError());
    }
    while (GetMessageW(&message, NULL, 0, 0) > 0) {
        DispatchMessageW(&message);
    }
    return 1;
}
