/* bench-latency CPU CPU: how long a cache line takes from one core to another and back, halved, in
 * nanoseconds. Two pinned threads hand a counter to each other; the median of many short rounds is
 * printed, so that an interruption does not count.
 *
 * A virtual machine may be moved between cores that are near each other and cores that are not, and
 * everything that crosses from client to server then costs differently. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 201
#define TURNS 2000

static _Alignas(128) atomic_uint turn;

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        perror("sched_setaffinity");
        exit(1);
    }
}

static void *answer(void *cpu) {
    pin(*(int *)cpu);
    for (unsigned i = 0; i < ROUNDS * TURNS; i++) {
        while (atomic_load_explicit(&turn, memory_order_acquire) != 2 * i + 1) {
        }
        atomic_store_explicit(&turn, 2 * i + 2, memory_order_release);
    }
    return NULL;
}

static int compare(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

int main(int argc, char **argv) {
    static double rounds[ROUNDS];
    pthread_t other;
    if (argc != 3) {
        fputs("usage: bench-latency CPU CPU\n", stderr);
        return 2;
    }
    int cpus[] = {atoi(argv[1]), atoi(argv[2])};
    pin(cpus[0]);
    if (cpus[0] == cpus[1] || pthread_create(&other, NULL, answer, &cpus[1]) != 0) {
        fputs("bench-latency: it takes two different cores\n", stderr);
        return 1;
    }
    for (unsigned round = 0, i = 0; round < ROUNDS; round++) {
        double began = now_ns();
        for (unsigned end = i + TURNS; i < end; i++) {
            atomic_store_explicit(&turn, 2 * i + 1, memory_order_release);
            while (atomic_load_explicit(&turn, memory_order_acquire) != 2 * i + 2) {
            }
        }
        rounds[round] = (now_ns() - began) / TURNS / 2;
    }
    pthread_join(other, NULL);
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare);
    printf("%.1f\n", rounds[ROUNDS / 2]);
    return 0;
}
