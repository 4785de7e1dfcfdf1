/* report.h: what is wrong with a manifest and its plugins, on standard error, a line each.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_REPORT_H
#define BERTH_HOST_CONTROL_REPORT_H

struct instance_problems;
struct manifest;

/* Loads the manifest at `given`, or the default one. EXIT_FINE, or the exit code after its errors
 * have been printed. */
int report_load(const char *given, struct manifest **manifest);

/* Prints the problems; returns the exit code that they mean. */
int report_problems(const struct instance_problems *problems, const char *path);

#endif
