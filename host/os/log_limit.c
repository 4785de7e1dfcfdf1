#include "os/log_limit.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "os/os.h"

/* Without memory for the table's own parts a window is not added; by default the process ends. */
#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(window) ((window)->is_added = false)
#include <uthash.h>

enum {
    LINES_DEFAULT = 20,
    WINDOW_MS_DEFAULT = 10000,
    WINDOWS_MAX = 16384, /* beyond that they share one */
    BEGINNING_BYTES = 12,
    BEGINNINGS = 32, /* that are told apart: a bound for what clients and plugins can create */
    SAMPLE_BYTES = 100,
};

struct key {
    char listener[64];
    char plugin[64];
    uint8_t kind;
    uint8_t level;
    uint8_t beginning;
};

struct window {
    UT_hash_handle hh;
    bool is_added;
    struct key key;
    uint64_t end_ms;
    unsigned passed;
    uint64_t held_back;
    size_t sample_size;
    char sample[SAMPLE_BYTES]; /* the beginning of the latest suppressed line */
};

static struct {
    struct os_mutex mutex; /* of all that follows */
    struct window *windows;
    struct window shared;
    unsigned lines;
    unsigned window_ms;
    uint64_t held_back;
} limit;

void log_limit_init(void) {
    memset(&limit, 0, sizeof(limit));
    os_mutex_init(&limit.mutex);
    log_limit_configure(LINES_DEFAULT, WINDOW_MS_DEFAULT);
}

void log_limit_configure(unsigned lines, unsigned window_ms) {
    os_mutex_lock(&limit.mutex);
    limit.lines = lines;
    limit.window_ms = window_ms;
    os_mutex_unlock(&limit.mutex);
}

/* -- windows --------------------------------------------------------------- */

/* The beginning of a message: up to the first character that tends to differ. */
static uint8_t beginning_of(const char *text, size_t size) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size && i < BEGINNING_BYTES; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c != ' ' && c != '-' && (c < 'A' || c > 'z')) {
            break;
        }
        hash = (hash ^ c) * 16777619u;
    }
    return (uint8_t)((hash ^ hash >> 16) % BEGINNINGS);
}

static struct key log_limit_key_of(enum log_kind kind, enum log_level level,
                                   const struct log_subject *subject, const char *text,
                                   size_t size) {
    struct key key;
    memset(&key, 0, sizeof(key)); /* it is compared byte by byte */
    if (subject) {
        snprintf(key.listener, sizeof(key.listener), "%s",
                 subject->listener ? subject->listener : "");
        snprintf(key.plugin, sizeof(key.plugin), "%s", subject->plugin ? subject->plugin : "");
    }
    key.kind = (uint8_t)kind;
    key.level = (uint8_t)level;
    key.beginning = kind == LOG_KIND_PLUGIN ? beginning_of(text, size) : 0;
    return key;
}

/* A new window has ended already. */
static struct window *log_limit_find(const struct key *key) {
    struct window *window;
    HASH_FIND(hh, limit.windows, key, sizeof(*key), window);
    if (window) {
        return window;
    }
    window = HASH_COUNT(limit.windows) < WINDOWS_MAX ? alloc_zeroed(sizeof(*window)) : NULL;
    if (!window) {
        return &limit.shared;
    }
    window->key = *key;
    window->is_added = true;
    HASH_ADD(hh, limit.windows, key, sizeof(window->key), window);
    if (!window->is_added) {
        alloc_free(window);
        return &limit.shared;
    }
    return window;
}

/* Logs how many lines were suppressed in the window. */
static void log_limit_tell(struct window *window) {
    const struct key *key = &window->key;
    struct log_subject subject = {
        .plugin = key->plugin[0] ? key->plugin : NULL,
        .listener = key->listener[0] ? key->listener : NULL,
        .reason = "limited",
    };
    if (window->held_back > 0) {
        log_write((enum log_level)key->level, &subject,
                  "\xe2\x80\xa6 %llu more like this within %u ms: %.*s",
                  (unsigned long long)window->held_back, limit.window_ms, (int)window->sample_size,
                  window->sample);
        window->held_back = 0;
    }
}

static void note_sample(struct window *window, const char *text, size_t size) {
    size = size < SAMPLE_BYTES ? size : text_whole(text, SAMPLE_BYTES);
    memcpy(window->sample, text, size);
    window->sample_size = size;
}

bool log_limit_admit(enum log_kind kind, enum log_level level, const struct log_subject *subject,
                     const char *text, size_t size, uint64_t now_ms, bool *begins) {
    struct key key = log_limit_key_of(kind, level, subject, text, size);
    *begins = false;
    os_mutex_lock(&limit.mutex);
    struct window *window = limit.lines > 0 ? log_limit_find(&key) : NULL;
    if (window && now_ms >= window->end_ms) {
        log_limit_tell(window);
        window->end_ms = now_ms + limit.window_ms;
        window->passed = 0;
    }
    bool passes = !window || window->passed < limit.lines;
    if (window && passes) {
        window->passed++;
    } else if (window) {
        *begins = window->held_back++ == 0;
        limit.held_back++;
        note_sample(window, text, size);
    }
    os_mutex_unlock(&limit.mutex);
    return passes;
}

/* -- ended windows --------------------------------------------------------- */

int log_limit_tick(uint64_t now_ms, bool all) {
    struct window *window;
    struct window *next;
    uint64_t end_ms = UINT64_MAX;
    os_mutex_lock(&limit.mutex);
    HASH_ITER(hh, limit.windows, window, next) {
        if (all || now_ms >= window->end_ms) {
            log_limit_tell(window);
            HASH_DELETE(hh, limit.windows, window);
            alloc_free(window);
        } else if (window->held_back > 0 && window->end_ms < end_ms) {
            end_ms = window->end_ms;
        }
    }
    if (all || now_ms >= limit.shared.end_ms) {
        log_limit_tell(&limit.shared);
    } else if (limit.shared.held_back > 0 && limit.shared.end_ms < end_ms) {
        end_ms = limit.shared.end_ms;
    }
    /* Windows in which all passed are only forgotten then, and are few until then. */
    int left_ms = end_ms != UINT64_MAX            ? (int)(end_ms - now_ms)
                  : HASH_COUNT(limit.windows) > 0 ? (int)limit.window_ms
                                                  : -1;
    os_mutex_unlock(&limit.mutex);
    return left_ms;
}

uint64_t log_limit_held_back(void) {
    os_mutex_lock(&limit.mutex);
    uint64_t held_back = limit.held_back;
    os_mutex_unlock(&limit.mutex);
    return held_back;
}

void log_limit_fini(void) {
    struct window *window;
    struct window *next;
    HASH_ITER(hh, limit.windows, window, next) {
        HASH_DELETE(hh, limit.windows, window);
        alloc_free(window);
    }
    os_mutex_fini(&limit.mutex);
}
