/* Shortens a run: removes everything that breaking the rule does not need. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "devkit/fuzz.h"
#include "os/os.h"

struct shortened {
    struct fuzz_shortening *by;
    struct transcript *transcript;
};

static bool fuzz_shorten_may_go_on(const struct fuzz_shortening *shortening) {
    return shortening->attempts < shortening->attempts_max && os_now_ms() < shortening->until_ms;
}

static bool still_fails(struct shortened *shortened) {
    struct fuzz_shortening *by = shortened->by;
    by->attempts++;
    return by->still_fails(by->context, shortened->transcript);
}

/* Removes these steps if the rule is broken without them. */
static bool try_without(struct shortened *shortened, size_t from, size_t count) {
    struct transcript *transcript = shortened->transcript;
    struct step *all = transcript->steps;
    size_t all_count = transcript->step_count;
    struct step *fewer = alloc_zeroed(all_count * sizeof(*fewer));
    if (!fewer) {
        return false;
    }
    memcpy(fewer, all, from * sizeof(*fewer));
    memcpy(fewer + from, all + from + count, (all_count - from - count) * sizeof(*fewer));
    transcript->steps = fewer;
    transcript->step_count = all_count - count;
    if (transcript->step_count > 0 && still_fails(shortened)) {
        for (size_t i = from; i < from + count; i++) {
            bytes_free(&all[i].text);
            bytes_free(&all[i].wild);
        }
        alloc_free(all);
        return true;
    }
    transcript->steps = all;
    transcript->step_count = all_count;
    alloc_free(fewer);
    return false;
}

static void fewer_steps(struct shortened *shortened) {
    size_t size = shortened->transcript->step_count / 2;
    while (size > 0 && fuzz_shorten_may_go_on(shortened->by)) {
        bool any = false;
        for (size_t at = 0; at + size <= shortened->transcript->step_count &&
                            fuzz_shorten_may_go_on(shortened->by);) {
            bool gone = try_without(shortened, at, size);
            at += gone ? 0 : size;
            any |= gone;
        }
        size = any && size == 1 ? 1 : size / 2;
    }
}

/* Removes these bytes of a message if the rule is broken without them. */
static bool try_text(struct shortened *shortened, struct bytes *text, size_t from, size_t count) {
    struct bytes all = *text;
    struct bytes fewer = {0};
    if (all.size == count || !bytes_add(&fewer, all.data, from) ||
        !bytes_add(&fewer, all.data + from + count, all.size - from - count)) {
        bytes_free(&fewer);
        return false;
    }
    *text = fewer;
    if (still_fails(shortened)) {
        bytes_free(&all);
        return true;
    }
    bytes_free(&fewer);
    *text = all;
    return false;
}

static void fewer_bytes(struct shortened *shortened, struct bytes *text) {
    for (size_t size = text->size / 2; size > 0; size /= 2) {
        for (size_t at = 0; at + size <= text->size && fuzz_shorten_may_go_on(shortened->by);) {
            at += try_text(shortened, text, at, size) ? 0 : size;
        }
    }
}

/* Keeps a single client if that is enough. Tries the last ones, which were there at the failure. */
static void fewer_clients(struct shortened *shortened) {
    enum { TRIES = 4 };
    struct transcript *transcript = shortened->transcript;
    bool seen[TRANSCRIPT_CLIENTS_MAX] = {false};
    struct step *all = transcript->steps;
    size_t count = transcript->step_count;
    struct step *fewer = alloc_zeroed(count * sizeof(*fewer));
    unsigned tries = 0;
    for (size_t at = count; fewer && at-- > 0 && tries < TRIES;) {
        unsigned client = all[at].client;
        if (step_is_host(&all[at]) || seen[client]) {
            continue;
        }
        seen[client] = true;
        tries++;
        transcript->step_count = 0;
        for (size_t i = 0; i < count; i++) {
            if (step_is_host(&all[i]) || all[i].client == client) {
                fewer[transcript->step_count++] = all[i];
            }
        }
        transcript->steps = fewer;
        bool is_less = transcript->step_count < count;
        if (is_less && fuzz_shorten_may_go_on(shortened->by) && still_fails(shortened)) {
            for (size_t i = 0; i < count; i++) {
                if (!step_is_host(&all[i]) && all[i].client != client) {
                    bytes_free(&all[i].text);
                    bytes_free(&all[i].wild);
                }
            }
            alloc_free(all);
            return;
        }
        transcript->steps = all;
        transcript->step_count = count;
    }
    alloc_free(fewer);
}

/* Makes a later upstream server the first one: then no earlier connects are needed. */
static void earlier_server(struct shortened *shortened) {
    struct transcript *transcript = shortened->transcript;
    struct transcript_client *last = NULL;
    struct transcript_client *first = NULL;
    for (size_t i = 0; i < transcript->step_count; i++) {
        const struct step *step = &transcript->steps[i];
        struct transcript_client *client = &transcript->clients[step->client];
        last = !step_is_host(step) && client->upstream > 0 ? client : last;
    }
    for (unsigned i = 0; i < transcript->client_count; i++) {
        first = transcript->clients[i].upstream == 0 ? &transcript->clients[i] : first;
    }
    if (!last) {
        return;
    }
    struct transcript_client before = *last;
    struct transcript_client other = first ? *first : before;
    snprintf(last->name, sizeof(last->name), "upstream");
    last->upstream = 0;
    if (first) {
        *first = before;
    }
    if (!still_fails(shortened)) {
        *last = before;
        if (first) {
            *first = other;
        }
        return;
    }
    fewer_steps(shortened);
}

static void simpler_head(struct shortened *shortened, uint32_t *number) {
    uint32_t before = *number;
    *number = 0;
    if (before != 0 && !still_fails(shortened)) {
        *number = before;
    }
}

static void drop_idle(struct transcript *transcript) {
    size_t kept = 0;
    for (size_t i = 0; i < transcript->step_count; i++) {
        struct step *step = &transcript->steps[i];
        if (step->is_idle) {
            bytes_free(&step->text);
            bytes_free(&step->wild);
        } else {
            transcript->steps[kept++] = *step;
        }
    }
    transcript->step_count = kept;
}

void fuzz_shorten(struct fuzz_shortening *shortening, struct transcript *transcript) {
    struct shortened shortened = {shortening, transcript};
    drop_idle(transcript);
    simpler_head(&shortened, &transcript->world);
    simpler_head(&shortened, &transcript->workers);
    simpler_head(&shortened, &transcript->taken_at_a_time);
    fewer_clients(&shortened);
    fewer_steps(&shortened);
    earlier_server(&shortened);
    for (size_t i = 0; i < transcript->step_count; i++) {
        fewer_bytes(&shortened, &transcript->steps[i].text);
    }
    still_fails(&shortened); /* updates which steps are idle */
    drop_idle(transcript);
}
