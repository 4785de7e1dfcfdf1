/* Writes a run as a transcript for `plugin test`. */
#include <stdio.h>
#include <string.h>

#include "devkit/fuzz.h"

struct writer {
    fuzz_write_fn *write;
    void *context;
};

static void fuzz_write_put(const struct writer *writer, const char *text) {
    writer->write(writer->context, text, strlen(text));
}

static void fuzz_write_put_text(const struct writer *writer, const struct bytes *text) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < text->size; i++) {
        uint8_t byte = text->data[i];
        char escaped[5] = {'\\', 'x', digits[byte >> 4], digits[byte & 15], '\0'};
        bool last = i + 1 == text->size;
        bool plain = byte > ' ' && byte < 0x7f && byte != '\\' && byte != '{';
        if (plain || (byte == ' ' && !last)) {
            writer->write(writer->context, (const char *)&text->data[i], 1);
        } else if (byte == '\n' || byte == '\r') {
            fuzz_write_put(writer, byte == '\n' ? "\\n" : "\\r");
        } else {
            fuzz_write_put(writer, escaped);
        }
    }
}

static void put_name(const struct writer *writer, const struct transcript *transcript,
                     unsigned client, bool alone) {
    const char *name = alone ? "" : transcript->clients[client].name;
    fuzz_write_put(writer, name);
    fuzz_write_put(writer, name[0] ? " " : "");
}

static void put_step(const struct writer *writer, const struct step *step) {
    char text[96];
    char services[80];
    switch (step->kind) {
    case STEP_SEND:
        fuzz_write_put(writer, "> ");
        fuzz_write_put_text(writer, &step->text);
        fuzz_write_put(writer, "\n\n"); /* the next line begins another message */
        return;
    case STEP_WAIT:
        snprintf(text, sizeof(text), "@ +%llums\n", (unsigned long long)step->wait_ms);
        break;
    case STEP_REFUSE:
        transcript_refusals(step->refuses, services, sizeof(services));
        snprintf(text, sizeof(text), "* refuses %s\n", services);
        break;
    case STEP_RESTART:
        snprintf(text, sizeof(text), "* restart\n");
        break;
    default:
        snprintf(text, sizeof(text), step->kind == STEP_FINISH ? "|\n" : "!\n");
        break;
    }
    fuzz_write_put(writer, text);
}

static void fuzz_write_put_number(const struct writer *writer, const char *word, uint32_t number) {
    char text[48];
    snprintf(text, sizeof(text), "%s %lu\n", word, (unsigned long)number);
    fuzz_write_put(writer, number != 0 ? text : "");
}

static void put_head(const struct writer *writer, const struct transcript *transcript) {
    if (transcript->config) {
        fuzz_write_put(writer, "config ");
        fuzz_write_put(writer, transcript->config);
        fuzz_write_put(writer, "\n");
    }
    fuzz_write_put(writer, transcript->datagrams ? "transport udp\n" : "");
    fuzz_write_put_number(writer, "world", transcript->world);
    fuzz_write_put_number(writer, "workers", transcript->workers);
    fuzz_write_put_number(writer, "takes", transcript->taken_at_a_time);
}

/* Expects any answer for the clients that are still connected. */
static void put_answers(const struct writer *writer, const struct transcript *transcript,
                        const bool *seen, bool alone) {
    bool any = false;
    for (unsigned i = 0; i < TRANSCRIPT_CLIENTS_MAX; i++) {
        if (seen[i] && !(transcript->datagrams && any)) {
            put_name(writer, transcript, i, alone);
            fuzz_write_put(writer, "< {**}\n");
            any = true;
        }
    }
}

static bool is_of_client(const struct step *step) {
    return !step->is_idle && (step->kind == STEP_SEND || step->kind == STEP_WAIT ||
                              step->kind == STEP_FINISH || step->kind == STEP_RESET);
}

void fuzz_write(const struct transcript *transcript, size_t steps, fuzz_write_fn *write,
                void *context) {
    const struct writer writer = {write, context};
    bool seen[TRANSCRIPT_CLIENTS_MAX] = {false};
    bool alone = true;
    const struct step *first = NULL;
    for (size_t i = 0; i < steps; i++) {
        const struct step *step = &transcript->steps[i];
        if (is_of_client(step)) {
            first = first ? first : step;
            alone &=
                step->client == first->client && transcript->clients[step->client].upstream < 0;
        }
    }
    put_head(&writer, transcript);
    for (size_t i = 0; i < steps; i++) {
        const struct step *step = &transcript->steps[i];
        if (is_of_client(step)) {
            seen[step->client] = true;
            put_name(&writer, transcript, step->client, alone);
        } else if (step->kind == STEP_RESTART) {
            memset(seen, 0, sizeof(seen));
        }
        if (is_of_client(step) || step_is_host(step)) {
            put_step(&writer, step);
        }
    }
    put_answers(&writer, transcript, seen, alone);
}
