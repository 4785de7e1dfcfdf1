/* Echo with two threads a client, everything blocking: one receives, one sends, and between them a
 * ring of bytes that both wait at. A client that does not read stops its own two threads and nobody
 * else. */
#include "model_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define STACK_BYTES (64 * 1024)
#define CLIENTS_MAX 8000 /* then a machine may have no process numbers left for others */

static atomic_uint clients;

/* The first byte not yet sent is bytes[begin], behind it lie `size` of them. */
struct pair {
    int fd;
    const struct model_options *options;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t begin, size;
    bool received_all, broken; /* broken: the sender has given up, or has closed by itself */
    unsigned threads;
    uint8_t bytes[];
};

/* The one of the two that goes last closes. */
static void leave(struct pair *pair) {
    pthread_mutex_lock(&pair->mutex);
    bool last = --pair->threads == 0;
    pthread_cond_signal(&pair->changed);
    pthread_mutex_unlock(&pair->mutex);
    if (last) {
        close(pair->fd);
        pthread_cond_destroy(&pair->changed);
        pthread_mutex_destroy(&pair->mutex);
        free(pair);
        atomic_fetch_sub(&clients, 1);
    }
}

static size_t least(size_t left, size_t right) {
    return left < right ? left : right;
}

static void *receive_all(void *argument) {
    struct pair *pair = argument;
    size_t whole = pair->options->buffer_bytes;
    pthread_mutex_lock(&pair->mutex);
    while (!pair->received_all && !pair->broken) {
        if (pair->size == whole) {
            pthread_cond_wait(&pair->changed, &pair->mutex);
            continue;
        }
        size_t end = (pair->begin + pair->size) % whole;
        size_t room = least(whole - pair->size, whole - end);
        pthread_mutex_unlock(&pair->mutex);
        ssize_t size = recv(pair->fd, pair->bytes + end, room, 0);
        pthread_mutex_lock(&pair->mutex);
        if (size > 0) {
            pair->size += (size_t)size;
        } else {
            pair->received_all = true;
        }
        pthread_cond_signal(&pair->changed);
    }
    pthread_mutex_unlock(&pair->mutex);
    leave(pair);
    return NULL;
}

static void *send_all(void *argument) {
    struct pair *pair = argument;
    size_t whole = pair->options->buffer_bytes;
    uint64_t close_after = pair->options->close_after, echoed = 0;
    pthread_mutex_lock(&pair->mutex);
    while (!pair->broken && (pair->size > 0 || !pair->received_all)) {
        if (pair->size == 0) {
            pthread_cond_wait(&pair->changed, &pair->mutex);
            continue;
        }
        size_t piece = least(pair->size, whole - pair->begin);
        uint8_t *bytes = pair->bytes + pair->begin;
        pthread_mutex_unlock(&pair->mutex);
        ssize_t sent = send(pair->fd, bytes, piece, MSG_NOSIGNAL);
        pthread_mutex_lock(&pair->mutex);
        if (sent > 0) {
            pair->begin = (pair->begin + (size_t)sent) % whole;
            pair->size -= (size_t)sent;
            echoed += (uint64_t)sent;
        }
        pair->broken = sent <= 0 || (close_after > 0 && echoed >= close_after);
        pthread_cond_signal(&pair->changed);
    }
    pthread_mutex_unlock(&pair->mutex);
    shutdown(pair->fd, SHUT_RDWR); /* the other may still be in recv() */
    leave(pair);
    return NULL;
}

static void start(int fd, const struct model_options *options, const pthread_attr_t *small) {
    if (atomic_load(&clients) == CLIENTS_MAX) {
        model_limit("refused: %d clients have two threads each, and that is enough", CLIENTS_MAX);
        close(fd);
        return;
    }
    struct pair *pair = calloc(1, sizeof(*pair) + options->buffer_bytes);
    pthread_t thread;
    if (!pair) {
        model_limit("refused: no memory for another client");
        close(fd);
        return;
    }
    pair->fd = fd;
    pair->options = options;
    pair->threads = 2;
    atomic_fetch_add(&clients, 1);
    pthread_mutex_init(&pair->mutex, NULL);
    pthread_cond_init(&pair->changed, NULL);
    if (pthread_create(&thread, small, send_all, pair) != 0) {
        model_limit("refused: no thread for another client");
        pair->threads = 1;
        leave(pair);
    } else if (pthread_create(&thread, small, receive_all, pair) != 0) {
        model_limit("refused: no second thread for another client");
        pthread_mutex_lock(&pair->mutex);
        pair->broken = true;
        pthread_mutex_unlock(&pair->mutex);
        leave(pair);
    }
}

int main(int argc, char **argv) {
    struct model_options options;
    pthread_attr_t small;
    model_options_read(&options, argc, argv);
    model_descriptors();
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, STACK_BYTES);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    int listener = model_listen(&options);
    fcntl(listener, F_SETFL, 0); /* blocking, as everything here */
    for (;;) {
        int fd = model_accept(listener, 0);
        if (fd >= 0) {
            start(fd, &options, &small);
        }
    }
}
