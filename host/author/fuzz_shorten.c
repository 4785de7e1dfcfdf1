/* What is left of a run when everything is removed that the broken rule does not need. */
#include <stdio.h>
#include <string.h>

#include "author/fuzz.h"
#include "base/alloc.h"

enum { ATTEMPTS_MAX = 3000 };

struct shortening {
    const struct fuzz_trial *trial;
    struct transcript *transcript;
    const char *rule;
    unsigned attempts;
};

static bool still_fails(struct shortening *shortening) {
    struct testbed_finding found;
    struct bytes words = {0};
    shortening->attempts++;
    fuzz_run(shortening->trial, shortening->transcript, shortening->rule, &found, &words);
    bytes_free(&words);
    return found.name[0] != '\0';
}

/* Without these steps, if the rule is broken nevertheless. */
static bool try_without(struct shortening *shortening, size_t from, size_t count) {
    struct transcript *transcript = shortening->transcript;
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
    if (transcript->step_count > 0 && still_fails(shortening)) {
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

static void fewer_steps(struct shortening *shortening) {
    size_t size = shortening->transcript->step_count / 2;
    while (size > 0 && shortening->attempts < ATTEMPTS_MAX) {
        bool any = false;
        for (size_t at = 0; at + size <= shortening->transcript->step_count &&
                            shortening->attempts < ATTEMPTS_MAX;) {
            bool gone = try_without(shortening, at, size);
            at += gone ? 0 : size;
            any |= gone;
        }
        size = any && size == 1 ? 1 : size / 2;
    }
}

/* Without these bytes of a message. */
static bool try_text(struct shortening *shortening, struct bytes *text, size_t from, size_t count) {
    struct bytes all = *text;
    struct bytes fewer = {0};
    if (all.size == count || !bytes_add(&fewer, all.data, from) ||
        !bytes_add(&fewer, all.data + from + count, all.size - from - count)) {
        bytes_free(&fewer);
        return false;
    }
    *text = fewer;
    if (still_fails(shortening)) {
        bytes_free(&all);
        return true;
    }
    bytes_free(&fewer);
    *text = all;
    return false;
}

static void fewer_bytes(struct shortening *shortening, struct bytes *text) {
    for (size_t size = text->size / 2; size > 0; size /= 2) {
        for (size_t at = 0; at + size <= text->size && shortening->attempts < ATTEMPTS_MAX;) {
            at += try_text(shortening, text, at, size) ? 0 : size;
        }
    }
}

void fuzz_shorten(const struct fuzz_trial *trial, struct transcript *transcript, const char *rule) {
    struct shortening shortening = {.trial = trial, .transcript = transcript, .rule = rule};
    uint32_t world = transcript->world;
    transcript->world = 0;
    if (world != 0 && !still_fails(&shortening)) {
        transcript->world = world;
    }
    fewer_steps(&shortening);
    for (size_t i = 0; i < transcript->step_count; i++) {
        fewer_bytes(&shortening, &transcript->steps[i].text);
    }
}

/* -- as text ------------------------------------------------------------------------------------
 */

typedef void write_fn(const char *text, size_t size);

static void write_text(write_fn *write, const struct bytes *text) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < text->size; i++) {
        uint8_t byte = text->data[i];
        char escaped[4] = {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        bool last = i + 1 == text->size;
        bool plain = byte > ' ' && byte < 0x7f && byte != '\\' && byte != '{';
        if (plain || (byte == ' ' && !last)) {
            write((const char *)&text->data[i], 1);
        } else if (byte == '\n' || byte == '\r') {
            write(byte == '\n' ? "\\n" : "\\r", 2);
        } else {
            write(escaped, sizeof(escaped));
        }
    }
}

static void write_name(write_fn *write, const struct transcript *transcript, unsigned client,
                       bool alone) {
    const char *name = alone ? "" : transcript->clients[client].name;
    write(name, strlen(name));
    write(" ", name[0] ? 1 : 0);
}

static void write_step(write_fn *write, const struct step *step) {
    char text[48];
    switch (step->kind) {
    case STEP_SEND:
        write("> ", 2);
        write_text(write, &step->text);
        write("\n\n", 2); /* what follows is another message */
        break;
    case STEP_WAIT:
        snprintf(text, sizeof(text), "@ +%llums\n", (unsigned long long)step->wait_ms);
        write(text, strlen(text));
        break;
    default:
        write(step->kind == STEP_FINISH ? "|\n" : "!\n", 2);
        break;
    }
}

void fuzz_write(const struct transcript *transcript, size_t steps, write_fn *write) {
    bool seen[TRANSCRIPT_CLIENTS_MAX] = {false};
    bool alone = true;
    char text[48];
    for (size_t i = 0; i < steps; i++) {
        seen[transcript->steps[i].client] = true;
        alone &= transcript->steps[i].client == transcript->steps[0].client;
    }
    if (transcript->config) {
        write("config ", 7);
        write(transcript->config, strlen(transcript->config));
        write("\n", 1);
    }
    write("transport udp\n", transcript->datagrams ? 14 : 0);
    snprintf(text, sizeof(text), "world %lu\n", (unsigned long)transcript->world);
    write(text, transcript->world != 0 ? strlen(text) : 0);
    for (size_t i = 0; i < steps; i++) {
        write_name(write, transcript, transcript->steps[i].client, alone);
        write_step(write, &transcript->steps[i]);
    }
    for (unsigned i = 0; i < TRANSCRIPT_CLIENTS_MAX; i++) {
        if (seen[i] && (!transcript->datagrams || i == transcript->steps[0].client)) {
            write_name(write, transcript, i, alone);
            write("< {**}\n", 7);
        }
    }
}
