/* Random conversations: new ones and variations of given transcripts. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "devkit/fuzz.h"

enum {
    MESSAGES_MAX = 3,
    BYTES_MAX = 24,
    EDITS_MAX = 4,
    TEXT_MAX = 16384, /* of a message; a longer one is not extended */
    WORLD_OF = 2,     /* one run in so many has a disturbed network, */
    WORKERS_OF = 4,   /* several workers, */
    SLOW_OF = 4,      /* clients that read little at a time, */
    REFUSES_OF = 3,   /* a host that refuses services, or */
    RESTART_OF = 8,   /* a restart */
    UPSTREAMS = TRANSCRIPT_CLIENTS_MAX / 2,
};

static uint64_t fuzz_make_draw(struct fuzz_random *random, uint64_t below) {
    uint64_t mixed = (random->state += 0x9e3779b97f4a7c15u);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    mixed ^= mixed >> 31;
    return below > 0 ? mixed % below : mixed;
}

static const char *const lines[] = {
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "hello\n",
    "quit\r\n",
    "GET ",
    " HTTP/1.1\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "Host: ",
    "Content-Length: ",
    "0",
    "-1",
    "65536",
    "4294967296",
    "99999999999999999999",
    "%s%n",
    "../",
    "/",
    ":",
    "{}",
    "/nick ",
    "USER ",
    "PASS ",
    "STAT\r\n",
    "RETR 1\r\n",
    "chunked\r\n",
    "{\"a\":1}",
    "\xff\xff\xff\xff",
    "\xc3\xa4",
    "\x1b[2J",
};

static void fuzz_make_insert(struct bytes *text, size_t at, const void *bytes, size_t size) {
    if (text->size + size > TEXT_MAX || size == 0 || !bytes_add(text, bytes, size)) {
        return;
    }
    size_t behind = text->size - size - at;
    uint8_t *place = text->data + at;
    memmove(place + size, place, behind);
    memcpy(place, bytes, size);
}

static void add_random(struct fuzz_random *random, struct bytes *text) {
    size_t at = (size_t)fuzz_make_draw(random, text->size + 1);
    if (fuzz_make_draw(random, 2) == 0) {
        const char *line = lines[fuzz_make_draw(random, ARRAY_COUNT(lines))];
        fuzz_make_insert(text, at, line, strlen(line));
        return;
    }
    uint8_t bytes[BYTES_MAX];
    size_t size = 1 + (size_t)fuzz_make_draw(random, BYTES_MAX);
    bool readable = fuzz_make_draw(random, 2) == 0;
    for (size_t i = 0; i < size; i++) {
        bytes[i] =
            (uint8_t)(readable ? ' ' + fuzz_make_draw(random, 95) : fuzz_make_draw(random, 256));
    }
    fuzz_make_insert(text, at, bytes, size);
}

/* Removes or duplicates some bytes. */
static void cut_or_repeat(struct fuzz_random *random, struct bytes *text) {
    uint8_t copy[64];
    size_t at = (size_t)fuzz_make_draw(random, text->size);
    size_t size = 1 + (size_t)fuzz_make_draw(random, text->size - at);
    size = size < sizeof(copy) ? size : sizeof(copy);
    memcpy(copy, text->data + at, size);
    if (fuzz_make_draw(random, 2) == 0) {
        fuzz_make_insert(text, at, copy, size);
        return;
    }
    memmove(text->data + at, text->data + at + size, text->size - at - size);
    text->size -= size;
}

static void fuzz_make_edit(struct fuzz_random *random, struct bytes *text) {
    uint64_t edits = fuzz_make_draw(random, EDITS_MAX + 1);
    for (uint64_t i = 0; i < edits; i++) {
        uint64_t kind = text->size > 0 ? fuzz_make_draw(random, 4) : 0;
        if (kind == 0) {
            add_random(random, text);
        } else if (kind == 1) {
            text->data[fuzz_make_draw(random, text->size)] ^=
                (uint8_t)(1u << fuzz_make_draw(random, 8));
        } else if (kind == 2) {
            text->data[fuzz_make_draw(random, text->size)] = (uint8_t)fuzz_make_draw(random, 256);
        } else {
            cut_or_repeat(random, text);
        }
    }
}

/* -- steps ----------------------------------------------------------------- */

static struct step *add_step(struct transcript *to, enum plan_item_kind kind, unsigned client) {
    struct step *grown = alloc_resize(to->steps, (to->step_count + 1) * sizeof(*grown));
    if (!grown) {
        return NULL;
    }
    to->steps = grown;
    struct step *step = &grown[to->step_count++];
    *step = (struct step){.kind = kind, .client = client};
    return step;
}

static void add_message(struct fuzz_random *random, struct transcript *to, unsigned client,
                        const struct bytes *given) {
    struct step *step = add_step(to, STEP_SEND, client);
    if (!step) {
        return;
    }
    if (given) {
        bytes_add(&step->text, given->data, given->size);
        fuzz_make_edit(random, &step->text);
    } else {
        for (uint64_t left = 1 + fuzz_make_draw(random, MESSAGES_MAX); left > 0; left--) {
            add_random(random, &step->text);
        }
    }
    if (step->text.size == 0) {
        bytes_add(&step->text, "\n", 1);
    }
}

static void add_end(struct fuzz_random *random, struct transcript *to, unsigned client) {
    static const uint64_t waits_ms[] = {1, 250, 6000, 61000};
    if (fuzz_make_draw(random, 64) == 0) {
        struct step *step = add_step(to, STEP_WAIT, client);
        if (step) {
            step->wait_ms = waits_ms[fuzz_make_draw(random, ARRAY_COUNT(waits_ms))];
        }
    }
    uint64_t end = to->datagrams ? 3 : fuzz_make_draw(random, 4);
    if (end < 2) {
        add_step(to, end == 0 ? STEP_FINISH : STEP_RESET, client);
    }
}

/* Adds a variation of one client of a given transcript, and the answers of the upstream servers
 * that follow it there. */
static void add_similar(struct fuzz_random *random, struct transcript *to, unsigned client,
                        unsigned upstream, const struct transcript *like) {
    unsigned whom = (unsigned)fuzz_make_draw(random, like->client_count);
    for (size_t i = 0; i < like->step_count; i++) {
        const struct step *step = &like->steps[i];
        uint64_t chance = fuzz_make_draw(random, 16);
        int server = step_is_host(step) ? -1 : like->clients[step->client].upstream;
        unsigned speaker = server < 0 ? client : upstream + (unsigned)server;
        bool speaks = server < 0 ? step->client == whom : upstream > 0;
        if (step->kind != STEP_SEND || !speaks || speaker >= TRANSCRIPT_CLIENTS_MAX ||
            chance == 0) {
            continue;
        }
        add_message(random, to, speaker, &step->text);
        if (chance == 1) {
            add_message(random, to, speaker, &step->text);
        }
        if (chance == 2 && server >= 0) {
            add_end(random, to, speaker);
            upstream = 0; /* no further steps of this server or later ones */
        }
    }
}

static void add_conversation(struct fuzz_random *random, struct transcript *to, unsigned client,
                             unsigned upstream, const struct transcript *like) {
    size_t before = to->step_count;
    if (like && fuzz_make_draw(random, 8) > 0) {
        add_similar(random, to, client, upstream, like);
    }
    if (to->step_count == before) {
        for (uint64_t left = 1 + fuzz_make_draw(random, MESSAGES_MAX); left > 0; left--) {
            add_message(random, to, client, NULL);
        }
    }
    add_end(random, to, client);
}

/* Interleaves the last conversation of the transcript with the one before. */
static void fuzz_make_mix(struct fuzz_random *random, struct transcript *to, size_t from) {
    for (size_t i = from + 1; i < to->step_count; i++) {
        for (size_t at = i; at > from && to->steps[at - 1].client != to->steps[at].client; at--) {
            if (fuzz_make_draw(random, 3) == 0) {
                break;
            }
            struct step other = to->steps[at - 1];
            to->steps[at - 1] = to->steps[at];
            to->steps[at] = other;
        }
    }
}

/* -- the host -------------------------------------------------------------- */

static void insert_host_step(struct fuzz_random *random, struct transcript *to,
                             const struct step *step) {
    if (add_step(to, step->kind, 0)) {
        size_t at = (size_t)fuzz_make_draw(random, to->step_count);
        memmove(&to->steps[at + 1], &to->steps[at], (to->step_count - 1 - at) * sizeof(*step));
        to->steps[at] = *step;
    }
}

/* Adds services that the host refuses for a while, and a restart. */
static void add_host_steps(struct fuzz_random *random, struct transcript *to) {
    if (fuzz_make_draw(random, REFUSES_OF) == 0) {
        for (uint64_t left = 1 + fuzz_make_draw(random, 3); left > 0; left--) {
            uint32_t refuses = (uint32_t)fuzz_make_draw(random, 256);
            refuses &= (uint32_t)fuzz_make_draw(random, 256); /* usually few of them */
            insert_host_step(random, to, &(struct step){.kind = STEP_REFUSE, .refuses = refuses});
        }
    }
    if (fuzz_make_draw(random, RESTART_OF) == 0) {
        insert_host_step(random, to, &(struct step){.kind = STEP_RESTART});
    }
}

static void draw_head(struct fuzz_random *random, struct transcript *to) {
    static const uint32_t takes[] = {7, 100, 1000};
    to->world = fuzz_make_draw(random, WORLD_OF) == 0
                    ? (uint32_t)fuzz_make_draw(random, UINT32_MAX) + 1
                    : 0;
    to->workers =
        fuzz_make_draw(random, WORKERS_OF) == 0 ? 2 + (uint32_t)fuzz_make_draw(random, 3) : 0;
    to->taken_at_a_time = fuzz_make_draw(random, SLOW_OF) == 0
                              ? takes[fuzz_make_draw(random, ARRAY_COUNT(takes))]
                              : 0;
}

/* Names the clients and the upstream servers. */
static void name_clients(struct transcript *to, unsigned conversations) {
    for (unsigned i = 0; i < TRANSCRIPT_CLIENTS_MAX; i++) {
        struct transcript_client *client = &to->clients[i];
        client->upstream = i < conversations ? -1 : (int)(i - conversations);
        if (client->upstream == 0) {
            snprintf(client->name, sizeof(client->name), "upstream");
        } else if (client->upstream > 0) {
            snprintf(client->name, sizeof(client->name), "upstream%d", client->upstream + 1);
        } else {
            snprintf(client->name, sizeof(client->name), to->datagrams ? "" : "c%u", i + 1);
        }
    }
    to->client_count = TRANSCRIPT_CLIENTS_MAX;
}

/* -- a run ----------------------------------------------------------------- */

static void add_conversations(struct fuzz_random *random, struct transcript *to,
                              unsigned conversations, const struct transcript *like) {
    size_t before = 0;
    unsigned servers = 0;
    for (unsigned i = 0; i < like->client_count; i++) {
        servers += like->clients[i].upstream >= 0;
    }
    unsigned upstream = conversations;
    for (unsigned i = 0; i < conversations; i++) {
        size_t from = to->step_count;
        bool has_servers = servers > 0 && upstream < TRANSCRIPT_CLIENTS_MAX;
        add_conversation(random, to, i, has_servers ? upstream : 0, like->path ? like : NULL);
        upstream += has_servers ? servers : 0;
        if (fuzz_make_draw(random, 4) == 0) {
            fuzz_make_mix(random, to, before);
        }
        before = from;
    }
}

struct transcript *fuzz_make(uint64_t seed, uint64_t run, const struct fuzz_seeds *seeds,
                             bool datagrams, unsigned *conversations) {
    static const struct transcript none;
    struct fuzz_random random = {.state = seed};
    random.state = fuzz_make_draw(&random, 0) + run * 0xd1342543de82ef95u;
    const struct transcript *like =
        seeds->count > 0 ? seeds->all[fuzz_make_draw(&random, seeds->count)] : &none;
    struct transcript *made = alloc_zeroed(sizeof(*made));
    if (!made) {
        return NULL;
    }
    made->path = alloc_string(like->path ? like->path : "fuzz");
    made->config = like->config ? alloc_string(like->config) : NULL;
    made->datagrams = like->path ? like->datagrams : datagrams;
    draw_head(&random, made);
    *conversations = transcript_has_upstreams(like) && fuzz_make_draw(&random, 4) > 0
                         ? UPSTREAMS
                         : FUZZ_CONVERSATIONS;
    name_clients(made, *conversations);
    add_conversations(&random, made, *conversations, like);
    if (made->step_count > 0) {
        add_host_steps(&random, made);
    }
    if (!made->path || made->step_count == 0) {
        transcript_free(made);
        return NULL;
    }
    return made;
}
