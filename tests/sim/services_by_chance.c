/* The plugin uses the services of the host by chance, and knows what must come of each use. */
#include <stdlib.h>

#include "base/macros.h"
#include "berth/timer.h"
#include "berth/work.h"
#include "host_in_world.h"
#include "net/lib/work_pool.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "outbound_by_chance.h"
#include "rule.h"
#include "world.h"

enum {
    PULSE_MS = 300,
    PULSES_MAX = 40, /* then it closes, whatever else */
    DELAY_MS = 2000,
    WANT_BYTES = 5000,
    LATE_MS = 5000, /* that a timer may be, in a quiet world */
};

static const struct berth_timer_host *timers(const struct berth_conn *conn) {
    return conn->host->query(conn->host, BERTH_TIMER_ID);
}

static const struct berth_work_host *works(const struct berth_conn *conn) {
    return conn->host->query(conn->host, BERTH_WORK_ID);
}

/* -- the end --------------------------------------------------------------- */

static void use_shutdown_send(struct conversation *conversation) {
    struct berth_conn *conn = conversation->conn;
    if (sim_random(8) == 0 && conn->host->shutdown_send(conn) == BERTH_OK) {
        conversation->has_ended_send = true;
    }
}

void conversation_closes(struct conversation *conversation) {
    conversation->has_called_close = conversation->has_ended_send = true;
    conversation->taken_at_close =
        conversation->is_over ? UINT64_MAX : sim_peer_taken(conversation->peer);
}

void services_close(struct conversation *conversation) {
    struct berth_conn *conn = conversation->conn;
    conversation_closes(conversation);
    switch (sim_random(8)) {
    case 0:
        conn->host->abort(conn);
        conversation->was_killed = conversation->is_ending = true;
        break;
    case 1:
        conn->host->close_at_once(conn);
        conversation->was_killed |= conversation->sent > conversation->consumed ||
                                    !conversation->peer_has_closed; /* a reset may follow it */
        break;
    case 2:
        conn->host->close_with_timeout(conn, (uint32_t)sim_random(DELAY_MS));
        break;
    default:
        conn->host->close(conn);
        break;
    }
}

static void use_close(struct conversation *conversation) {
    if (conversation->consumed == conversation->size || sim_random(20) == 0) {
        services_close(conversation);
    }
}

/* -- receiving ------------------------------------------------------------- */

static void use_pause(struct conversation *conversation) {
    struct berth_conn *conn = conversation->conn;
    if (conversation->pulse.timer && !conversation->is_paused) {
        conn->host->receive_pause(conn);
        conversation->is_paused = true;
    }
}

static void use_resume(struct conversation *conversation) {
    struct berth_conn *conn = conversation->conn;
    if (conversation->is_paused) {
        conn->host->receive_resume(conn);
        conversation->is_paused = false;
        conversation->is_resumed = conversation->offered > conversation->consumed;
    }
}

static void use_want(struct conversation *conversation) {
    struct berth_conn *conn = conversation->conn;
    uint32_t size = (uint32_t)sim_random(WANT_BYTES);
    if (!conversation->pulse.timer) {
        return;
    }
    int32_t status = conn->host->want_at_least(conn, size);
    RULE(status == (conversation->is_ending                ? BERTH_E_GONE
                    : size > conn->listener->message_bytes ? BERTH_E_LIMIT
                                                           : BERTH_OK) ||
             status == BERTH_E_GONE,
         "limits.message_bytes is exact: %u is %d", size, status);
    if (status == BERTH_OK) {
        conversation->wanted = size;
    }
}

/* -- timers ---------------------------------------------------------------- */

static void fired(struct timer_model *model, const struct berth_timer *timer) {
    struct conversation *conversation = model->conversation;
    RULE(!conversation->has_closed, "no timer fires after closed");
    RULE(!conversation->is_ending, "no timer fires once its connection begins to end: client %u",
         conversation->number);
    RULE(model->timer == timer && model->is_running, "a timer fires once, and if it runs");
    uint64_t now_ms = conversation->conn->host->now_ms(conversation->conn->host);
    RULE(now_ms >= model->due_ms, "timers are not early: by %llu ms",
         (unsigned long long)(model->due_ms - now_ms));
    RULE(world.is_faulty || now_ms < model->due_ms + LATE_MS, "timers are not late: by %llu ms",
         (unsigned long long)(now_ms - model->due_ms));
    model->is_running = false;
}

static void timer_start(struct timer_model *model, uint64_t delay_ms) {
    struct berth_conn *conn = model->conversation->conn;
    model->is_running = true;
    model->due_ms = conn->host->now_ms(conn->host) + delay_ms;
    timers(conn)->start(model->timer, delay_ms);
}

static void BERTH_CALL on_timer(struct berth_timer *timer, void *argument) {
    struct timer_model *model = argument;
    callback_begin("timer");
    fired(model, timer);
    services_use(model->conversation);
    callback_end();
}

/* Those that a connection has. */
static unsigned timer_count(const struct conversation *conversation) {
    unsigned count = conversation->pulse.timer != NULL;
    for (unsigned i = 0; i < TIMERS; i++) {
        count += conversation->timers[i].timer != NULL;
    }
    return count;
}

static void timer_create(struct timer_model *model, struct conversation *conversation,
                         berth_timer_fn function) {
    struct berth_conn *conn = conversation->conn;
    unsigned before = timer_count(conversation);
    uint32_t most = ((const struct listener *)conn->listener)->options.timers_max;
    model->conversation = conversation;
    model->timer = timers(conn)->create_for_conn(conn, function, model);
    RULE(model->timer ? before < most
                      : before >= most || conversation->is_ending || memory_may_fail(),
         "limits.timers is exact: client %u, %u of %u", conversation->number, before, most);
}

static void use_timer(struct conversation *conversation) {
    struct timer_model *model = &conversation->timers[sim_random(TIMERS)];
    struct berth_conn *conn = conversation->conn;
    if (!model->timer) {
        timer_create(model, conversation, on_timer);
    } else if (sim_random(2) == 0) {
        timer_start(model, sim_random(DELAY_MS));
    } else if (sim_random(2) == 0) {
        timers(conn)->stop(model->timer);
        model->is_running = false;
    } else {
        timers(conn)->destroy(model->timer);
        *model = (struct timer_model){0};
    }
}

static void use_listener_timer(struct conversation *conversation) {
    listener_timer_by_chance(conversation->conn->listener);
}

/* What waits goes on, and the whole has an end. */
static void BERTH_CALL on_pulse(struct berth_timer *timer, void *argument) {
    struct timer_model *model = argument;
    struct conversation *conversation = model->conversation;
    callback_begin("timer");
    fired(model, timer);
    if (conversation->has_called_close) {
        callback_end();
        return;
    }
    use_resume(conversation);
    conversation->conn->host->want_at_least(conversation->conn, 1);
    conversation->wanted = 1;
    services_use(conversation);
    if (!conversation->has_called_close) {
        if (++conversation->pulses > PULSES_MAX) {
            services_close(conversation);
        } else {
            timer_start(model, 1 + sim_random(PULSE_MS));
        }
    }
    callback_end();
}

void services_pulse(struct conversation *conversation) {
    struct timer_model *model = &conversation->pulse;
    timer_create(model, conversation, on_pulse);
    if (model->timer) {
        timer_start(model, 1 + sim_random(PULSE_MS));
    }
}

void services_end(struct conversation *conversation) {
    conversation->pulse = (struct timer_model){0};
    for (unsigned i = 0; i < TIMERS; i++) {
        conversation->timers[i] = (struct timer_model){0};
    }
}

/* -- posts and works ------------------------------------------------------- */

/* One post or work, which is answered once. */
enum errand_kind { ERRAND_POST, ERRAND_POST_WORKER, ERRAND_WORK };
struct errand {
    struct conversation *conversation;
    struct open_listener *listener; /* which stays until it is answered; NULL for a post */
    enum errand_kind kind;
    bool has_run;
    uint32_t worker; /* that a post goes to */
};

static struct errand *errand_begin(struct conversation *conversation, enum errand_kind kind) {
    struct errand *errand = calloc(1, sizeof(*errand));
    RULE(errand, "there is memory for the model");
    errand->conversation = conversation;
    errand->kind = kind;
    errand->worker = conversation->conn->worker;
    return errand;
}

static void errand_note(struct errand *errand, int32_t status) {
    if (status == BERTH_OK) {
        world.pending++;
        world.posts[errand->worker] += errand->kind != ERRAND_WORK;
        if (errand->listener) {
            errand->listener->answers++;
            errand->listener->works += errand->kind == ERRAND_WORK;
        }
    } else {
        RULE(status == BERTH_E_LIMIT || status == BERTH_E_NO_MEMORY || status == BERTH_E_GONE,
             "a post or work fails for a known reason: %d", status);
        RULE(status != BERTH_E_NO_MEMORY || memory_may_fail(), "there is memory without a fault");
        free(errand);
    }
}

/* Its answer is here, and no longer under way. */
static void errand_answered(const struct errand *errand) {
    RULE(world.pending > 0, "posts and works are answered once");
    world.pending--;
    world.posts[errand->worker] -= errand->kind != ERRAND_WORK;
}

static void errand_end(struct errand *errand) {
    if (errand->listener) {
        errand->listener->answers--;
        errand->listener->works -= errand->kind == ERRAND_WORK;
    }
    free(errand);
}

static void check_posts(uint32_t worker, unsigned before, int32_t status) {
    RULE((status == BERTH_E_LIMIT) == (before >= world.posts_max),
         "host.limits.posts is exact: %u of %u wait for worker %u, status %d", before,
         world.posts_max, worker, status);
}

static void check_conn(const struct errand *errand, const struct berth_conn *conn, int32_t status) {
    const struct conversation *conversation = errand->conversation;
    RULE((status == BERTH_OK) == (conn != NULL), "an answer has a connection if it is OK");
    RULE(conn == NULL || (conn == conversation->conn && !conversation->has_closed),
         "an answer has its own connection: client %u", conversation->number);
}

static void BERTH_CALL on_post(struct berth_conn *conn, int32_t status, void *argument) {
    struct errand *errand = argument;
    callback_begin("post");
    errand_answered(errand);
    check_conn(errand, conn, status);
    if (conn) {
        services_use(errand->conversation);
    }
    errand_end(errand);
    callback_end();
}

static void use_post(struct conversation *conversation) {
    struct errand *errand = errand_begin(conversation, ERRAND_POST);
    const struct berth_host *host = conversation->conn->host;
    unsigned before = world.posts[errand->worker];
    int32_t status = host->post(host, conversation->conn_id, on_post, errand);
    check_posts(errand->worker, before, status);
    errand_note(errand, status);
}

static void BERTH_CALL on_worker(const struct berth_listener *listener, uint32_t worker,
                                 void *argument) {
    struct errand *errand = argument;
    callback_begin("post_worker");
    errand_answered(errand);
    RULE(worker == errand->worker && listener, "post_worker() runs on its worker");
    errand_end(errand);
    callback_end();
}

static void use_post_worker(struct conversation *conversation) {
    struct errand *errand = errand_begin(conversation, ERRAND_POST_WORKER);
    const struct berth_conn *conn = conversation->conn;
    errand->listener = conn->listener->state;
    errand->worker = (uint32_t)sim_random(conn->host->workers);
    unsigned before = world.posts[errand->worker];
    int32_t status = conn->host->post_worker(conn->listener, errand->worker, on_worker, errand);
    check_posts(errand->worker, before, status);
    errand_note(errand, status);
}

static void BERTH_CALL on_work(void *argument) {
    struct errand *errand = argument;
    RULE(!errand->has_run, "a work runs once");
    errand->has_run = true;
}

static void BERTH_CALL on_done(struct berth_conn *conn, int32_t status, void *argument) {
    struct errand *errand = argument;
    callback_begin("done");
    errand_answered(errand);
    RULE(errand->has_run == (status != BERTH_E_CANCELLED),
         "a work has run unless it was cancelled: %d", status);
    RULE(status != BERTH_E_GONE || errand->conversation->has_closed,
         "GONE is said after closed: client %u", errand->conversation->number);
    check_conn(errand, conn, status);
    if (conn && !errand->conversation->has_called_close) {
        services_use(errand->conversation);
    }
    errand_end(errand);
    callback_end();
}

static void BERTH_CALL on_listener_done(struct berth_conn *conn, int32_t status, void *argument) {
    struct errand *errand = argument;
    callback_begin("done");
    errand_answered(errand);
    RULE(!conn && (status == BERTH_OK || status == BERTH_E_CANCELLED),
         "a listener's work has no connection: %d", status);
    RULE(errand->has_run == (status == BERTH_OK), "a listener's work has run if it is OK");
    errand_end(errand);
    callback_end();
}

/* Those below their fair part can make a queue twice as full, and each client may have one. */
static void check_works(const struct berth_conn *conn, int32_t status, uint32_t before,
                        uint32_t all_before) {
    const struct listener *listener = (const struct listener *)conn->listener;
    const struct listener_options *options = &listener->options;
    uint32_t waiting = work_lane_waiting(world.server->work, &listener->work_lane);
    RULE(waiting <= 2 * world.works_max + ADDRESSES, "limits.works is not exceeded: %u", waiting);
    RULE(status != BERTH_E_LIMIT || before >= options->works_max ||
             before >= options->works_per_client || all_before >= world.queue_max,
         "limits.works is exact: %u wait of %u (%u of a client), %u of %u of the host", before,
         options->works_max, options->works_per_client, all_before, world.queue_max);
}

static void use_work(struct conversation *conversation) {
    struct errand *errand = errand_begin(conversation, ERRAND_WORK);
    struct berth_conn *conn = conversation->conn;
    const struct listener *listener = (const struct listener *)conn->listener;
    uint32_t before = work_lane_waiting(world.server->work, &listener->work_lane);
    uint32_t all_before = host_works_waiting();
    errand->listener = conn->listener->state;
    int32_t status =
        sim_random(2) == 0
            ? works(conn)->submit(conn, on_work, on_done, errand)
            : works(conn)->submit_for_listener(conn->listener, on_work, on_listener_done, errand);
    check_works(conn, status, before, all_before);
    errand_note(errand, status);
}

static void use_connect(struct conversation *conversation) {
    if (sim_random(4) == 0) {
        outbound_ask(conversation);
    }
}

/* -- any of them ----------------------------------------------------------- */

void services_use(struct conversation *conversation) {
    static void (*const services[])(struct conversation * conversation) = {
        send_by_chance, send_by_chance,  send_by_chance, use_shutdown_send, use_listener_timer,
        use_close,      use_pause,       use_resume,     use_want,          use_timer,
        use_post,       use_post_worker, use_work,       use_connect,
    };
    unsigned uses = (unsigned)sim_random(4);
    for (unsigned i = 0; i < uses && !conversation->has_called_close; i++) {
        services[sim_random(ARRAY_COUNT(services))](conversation);
    }
}
