/* os_windows_processor.h: which group of processors a thread belongs to. */
#ifndef BERTH_HOST_OS_OS_WINDOWS_PROCESSOR_H
#define BERTH_HOST_OS_OS_WINDOWS_PROCESSOR_H

/* The group that has the index-th processor, counted cyclically over all groups. */
unsigned windows_processor_group(const unsigned *counts, unsigned groups, unsigned index);

#endif
