/* report.h: what is wrong with a manifest and its plugins, on standard error, a line each.
 *
 * Where the log is JSON, all of it is.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_REPORT_H
#define BERTH_HOST_CONTROL_REPORT_H

struct change_problems;
struct edition;
struct manifest_look;

/* Loads the manifest at `given`, or the default one. EXIT_FINE, or the exit code after its errors
 * have been printed. `look` may be NULL. */
int report_load(const char *given, const struct manifest_look *look, struct edition **edition);

/* Prints the problems, those without a place into the log; returns the exit code they mean. */
int report_problems(const struct change_problems *problems, const char *path);
int report_code(const struct change_problems *problems);

/* The same as lines of the log, for a host that runs. */
void report_log_problems(const struct change_problems *problems, const char *path);

#endif
