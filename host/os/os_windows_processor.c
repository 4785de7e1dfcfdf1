/* os_windows_processor.c: processors, of which Windows counts at most 64 in a group.
 *
 * Before Windows 11 and Server 2022 a process and the threads it starts stay in one group, and half
 * of a machine with 128 processors would be idle. So threads that are to use all processors call
 * os_thread_spread(), and are bound to the groups in proportion to their processors. Within a group
 * the system chooses. A process that was started with an affinity mask of its own keeps it. Wine
 * never has two groups: only a real Windows with more than 64 processors (or one started with
 * "bcdedit /set groupsize") can show that threads run in the second one. */
#include <windows.h>

#include "base/macros.h"
#include "os/os_windows.h"
#include "os/os_windows_processor.h"

enum { GROUPS_MAX = 64 };

/* How many processors the groups have; 0 groups: the process keeps its mask. */
static unsigned read_groups(unsigned counts[GROUPS_MAX]) {
    DWORD_PTR mask = 0;
    DWORD_PTR of_system = 0;
    /* Both are empty where the process runs in several groups already. */
    if (!GetProcessAffinityMask(GetCurrentProcess(), &mask, &of_system) || mask != of_system) {
        return 0;
    }
    unsigned groups = GetActiveProcessorGroupCount();
    groups = groups < GROUPS_MAX ? groups : GROUPS_MAX;
    for (unsigned i = 0; i < groups; i++) {
        counts[i] = GetActiveProcessorCount((WORD)i);
    }
    return groups;
}

unsigned os_cpu_count(void) {
    DWORD_PTR mask = 0;
    DWORD_PTR of_system = 0;
    unsigned counts[GROUPS_MAX];
    unsigned groups = read_groups(counts);
    unsigned count = 0;
    for (unsigned i = 0; i < groups; i++) {
        count += counts[i];
    }
    if (count == 0 && GetProcessAffinityMask(GetCurrentProcess(), &mask, &of_system)) {
        for (; mask; mask &= mask - 1) {
            count++;
        }
    }
    return count > 0 ? count : 1;
}

unsigned windows_processor_group(const unsigned *counts, unsigned groups, unsigned index) {
    unsigned total = 0;
    for (unsigned i = 0; i < groups; i++) {
        total += counts[i];
    }
    unsigned at = total > 0 ? index % total : 0;
    for (unsigned i = 0; i < groups; i++) {
        if (at < counts[i]) {
            return i;
        }
        at -= counts[i];
    }
    return 0;
}

void os_thread_spread(unsigned index) {
    unsigned counts[GROUPS_MAX];
    unsigned groups = read_groups(counts);
    if (groups < 2) {
        return;
    }
    unsigned group = windows_processor_group(counts, groups, index);
    GROUP_AFFINITY affinity = {.Group = (WORD)group};
    affinity.Mask = counts[group] >= 64 ? ~(KAFFINITY)0 : ((KAFFINITY)1 << counts[group]) - 1;
    SetThreadGroupAffinity(GetCurrentThread(), &affinity, NULL); /* on failure it stays */
}
