/* sim_port.c: engines and ports. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "engine/sim/sim_private.h"

enum {
    TURN_MAX = 256,    /* tasks in one turn */
    WAIT_SLICE_MS = 1, /* a real wait, with threads */
    TRIES_MAX =
        1000000, /* events in one wait of a port: more means that the world never becomes idle */
};

struct sim_post {
    struct sim_op op; /* first: the pool's link may overlap it */
    struct sim_post *next;
};

/* -- engines --------------------------------------------------------------- */

static const struct sim_traits *traits_of(const char *name) {
    if (!name || strcmp(name, "auto") == 0) {
        return &sim_traits[sim->options.personality];
    }
    for (unsigned i = 0; i < SIM_PERSONALITIES; i++) {
        if (strcmp(name, sim_traits[i].name) == 0) {
            return &sim_traits[i];
        }
    }
    return NULL;
}

static void create_a_world(void) {
    struct sim_options options = sim_options_calm(SIM_URING, 1);
    options.threads = true;
    sim_world_create(&options);
    sim->is_engines = true;
}

struct engine *engine_create(const struct engine_options *options, struct error *error) {
    struct engine *engine = alloc_zeroed(sizeof(*engine));
    if (!engine) {
        error_set(error, "out of memory");
        return NULL;
    }
    if (!sim) {
        create_a_world();
    }
    sim_enter();
    engine->sim = traits_of(options->engine);
    if (engine->sim) {
        LL_PREPEND(sim->engines, engine);
    }
    sim_leave();
    if (!engine->sim) {
        error_set(error,
                  "there is no simulated engine \"%s\": \"iocp\", \"io_uring\" and \"epoll\" are",
                  options->engine);
        alloc_free(engine);
        return NULL;
    }
    engine->inherited_sockets = options->inherited_sockets;
    engine->direct_descriptors = options->direct_descriptors;
    bool is_automatic = !options->engine || strcmp(options->engine, "auto") == 0;
    engine->traits = (struct engine_traits){
        .name = engine->sim->name,
        .socket_reuse = engine->sim->socket_reuse,
        .accept_on_workers = engine->sim->accept_on_workers,
        .backlog_is_fixed = engine->sim->backlog_is_fixed,
        .fallback = is_automatic && engine->sim == &sim_traits[SIM_URING] ? "epoll" : NULL,
    };
    return engine;
}

void engine_destroy(struct engine *engine) {
    if (!engine) {
        return;
    }
    sim_enter();
    for (const struct engine_port *port = sim->ports; port; port = port->next) {
        ASSERT(port->engine != engine);
    }
    LL_DELETE(sim->engines, engine);
    sim_leave();
    alloc_free(engine);
    if (sim->is_engines && !sim->engines) {
        sim_world_destroy();
    }
}

const struct engine_traits *engine_traits(const struct engine *engine) {
    return &engine->traits;
}

bool engine_file_take(struct engine *engine) {
    (void)engine;
    sim_enter();
    bool taken = sim_fault(SIM_FILE) == 0 && sim->files < sim->options.files_max;
    sim->files += taken;
    sim_leave();
    return taken;
}

void engine_file_give(struct engine *engine) {
    (void)engine;
    sim_enter();
    if (sim->files == 0) {
        sim_broken("more files are given back than were taken");
    } else {
        sim->files--;
    }
    sim_leave();
}

/* -- posts ----------------------------------------------------------------- */

static void run_posts(struct sim_task *task) {
    struct engine_port *port = CONTAINER_OF(task, struct engine_port, post_task);
    unsigned count = port->post_turn;
    count = sim_chance(SIM_ALWAYS / 2) ? count : (unsigned)sim_between(1, count);
    port->post_turn -= count;
    for (; count > 0; count--) {
        struct sim_post *post = port->posts;
        port->posts = post->next;
        port->post_count--;
        sim_op_complete(&post->op, 0);
        sim_pool_give(&sim->free_posts, post);
    }
}

void engine_port_post(struct engine_port *port, struct engine_op *op) {
    sim_enter();
    struct sim_post *post = sim_pool_take(&sim->free_posts, sizeof(*post));
    if (!sim_op_start(&post->op, op, port, SIM_OP_POST)) {
        sim_pool_give(&sim->free_posts, post);
        sim_leave();
        return;
    }
    post->next = NULL;
    if (port->posts) {
        port->posts_last->next = post;
    } else {
        port->posts = post;
    }
    port->posts_last = post;
    port->post_count++;
    sim_leave();
}

/* -- creating and destroying ----------------------------------------------- */

struct engine_port *engine_port_create(struct engine *engine,
                                       const struct engine_port_options *options,
                                       struct error *error) {
    struct engine_port *port = alloc_zeroed(sizeof(*port));
    if (!port) {
        error_set(error, "out of memory");
        return NULL;
    }
    if (!sim_buffers_init(port, engine, options)) {
        error_set(error, "out of memory");
        alloc_free(port);
        return NULL;
    }
    sim_enter();
    int64_t fault = sim_fault(SIM_PORT);
    if (fault < 0) {
        sim_leave();
        error_set(error, "%s", engine_error_text(fault));
        alloc_free(port->ring);
        alloc_free(port);
        return NULL;
    }
    port->engine = engine;
    port->direct_free = engine->sim->buffer_ring ? engine->direct_descriptors : 0;
    port->number = ++sim->port_number;
    port->post_task.run = run_posts;
    sim_buffers_begin(port);
    LL_APPEND(sim->ports, port);
    sim_leave();
    return port;
}

void engine_port_destroy(struct engine_port *port) {
    if (!port) {
        return;
    }
    sim_enter();
    if (port->pending > 0 || port->is_running) {
        sim_broken("engine_port_destroy: %u operations are in flight%s", port->pending,
                   port->is_running ? ", and the port runs" : "");
        sim_leave();
        return;
    }
    sim_listeners_forget_port(port);
    while (port->ready_count > 0) {
        sim_task_cancel(port->ready[port->ready_count - 1]);
    }
    sim_buffers_end(port);
    LL_DELETE(sim->ports, port);
    sim_memory_free(port->ready);
    sim_leave();
    alloc_free(port->ring);
    alloc_free(port);
}

unsigned engine_port_pending(const struct engine_port *port) {
    sim_enter();
    unsigned pending = port->pending;
    sim_leave();
    return pending;
}

/* -- running --------------------------------------------------------------- */

bool sim_port_is_ready(const struct engine_port *port) {
    return port->ready_count > 0 || port->post_count > 0;
}

static void run_turn(struct engine_port *port) {
    port->post_turn = port->post_count;
    if (port->post_turn > 0) {
        sim_task_ready(&port->post_task, port);
    }
    if (port->wants) {
        sim_task_ready(&port->want_task, port);
    }
    uint32_t count = port->ready_count < TURN_MAX ? port->ready_count : TURN_MAX;
    if (count > 1 && sim_chance(sim->options.partial_turn)) {
        count = (uint32_t)sim_between(1, count);
    }
    port->turn_left = port->ready_count;
    while (count-- > 0 && port->turn_left > 0) {
        struct sim_task *task = port->ready[sim_random(port->turn_left)];
        sim_task_cancel(task);
        task->run(task);
    }
    port->is_saturated = port->turn_left > 0 || port->post_turn > 0;
    port->turn_left = 0;
}

/* Lets time pass until the port has something to do. */
static void sim_port_wait_for_work(struct engine_port *port, int timeout_ms) {
    uint64_t deadline =
        timeout_ms < 0 ? UINT64_MAX : sim_now_us() + (uint64_t)timeout_ms * UINT64_C(1000);
    bool has_waited = false;
    for (unsigned tries = 0; !sim_port_is_ready(port) && sim_now_us() < deadline; tries++) {
        ASSERT(tries < TRIES_MAX || sim->options.threads);
        if (sim_fire_next(deadline)) {
            continue;
        }
        if (sim->options.threads && (timeout_ms < 0 || !has_waited)) {
            sim_wait_really(WAIT_SLICE_MS);
            has_waited = true;
            continue;
        }
        if (timeout_ms < 0) {
            return; /* no event will ever come */
        }
        atomic_store_explicit(&sim->now_us, deadline, memory_order_relaxed);
    }
}

unsigned engine_port_run(struct engine_port *port, int timeout_ms) {
    sim_enter();
    if (port->is_running) {
        sim_broken("a port runs within its own run");
        sim_leave();
        return 0;
    }
    port->ran = 0;
    while (sim_fire_next(sim_now_us())) {
    }
    sim_port_wait_for_work(port, timeout_ms);
    port->is_running = true;
    run_turn(port);
    port->is_running = false;
    unsigned ran = port->ran;
    sim_leave();
    return ran;
}
