/* startup_report.h: reports where the host listens, on standard output and in the ready file.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_STARTUP_REPORT_H
#define BERTH_HOST_CONTROL_STARTUP_REPORT_H

struct runtime;

void startup_report_listeners(const struct runtime *runtime);
/* The text of the ready file: the caller's to free, or NULL without memory. */
char *startup_report_text(const struct runtime *runtime);

#endif
