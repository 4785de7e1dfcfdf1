/* Echo with two threads a client, everything blocking: one receives, one sends, and between them a
 * ring of bytes that both wait at. A client that does not read stops its own two threads and nobody
 * else. */
#include "model_linux.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define STACK_BYTES (64 * 1024)
#define THREAD_MAPS 2            /* its stack, and the page below */
#define THREAD_BYTES (48 * 1024) /* its stacks, here and in the kernel, and what goes with them */

static atomic_uint clients;
static unsigned clients_max;
static const char *clients_why;

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

/* The number in a file that begins with it, or behind a word there; 0: it cannot be told. */
static unsigned long long number_in(const char *path, const char *word) {
    char text[4096] = "";
    FILE *file = fopen(path, "r");
    if (file) {
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        fclose(file);
    }
    const char *place = strstr(text, word);
    return place ? strtoull(place + strlen(word), NULL, 10) : 0;
}

static void allow_at_most(unsigned long long most, const char *why) {
    if (most < clients_max) {
        clients_max = (unsigned)most;
        clients_why = why;
    }
}

/* An eighth is left to others, and so is half of the memory. */
static void find_clients_max(size_t buffer_bytes) {
    static const struct {
        const char *path, *name;
        unsigned each;
    } limits[] = {
        {"/proc/sys/kernel/pid_max", "kernel.pid_max", 1},
        {"/proc/sys/kernel/threads-max", "kernel.threads-max", 1},
        {"/sys/fs/cgroup/pids.max", "its group's pids.max", 1},
        {"/proc/sys/vm/max_map_count", "vm.max_map_count", THREAD_MAPS},
    };
    struct sysinfo system;
    clients_max = UINT_MAX;
    unsigned long long others = sysinfo(&system) == 0 ? system.procs : 0;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        unsigned long long most = number_in(limits[i].path, "");
        if (most > 0) {
            most = most / 8 * 7 / limits[i].each;
            allow_at_most(most > others ? (most - others) / 2 : 0, limits[i].name);
        }
    }
    unsigned long long memory = number_in("/proc/meminfo", "MemAvailable:") * 1024 / 2;
    allow_at_most(memory / (buffer_bytes + 2 * THREAD_BYTES), "the memory");
}

static void start(int fd, const struct model_options *options, const pthread_attr_t *small) {
    if (atomic_load(&clients) >= clients_max) {
        model_limit("refused: %u clients with two threads each are all that %s allows", clients_max,
                    clients_why);
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
    find_clients_max(options.buffer_bytes);
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
