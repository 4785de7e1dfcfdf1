/* error_report.h: what is wrong with a manifest and its plugins, on standard error, a line each.
 *
 * Where the log is JSON, all of it is.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_ERROR_REPORT_H
#define BERTH_HOST_CONTROL_ERROR_REPORT_H

struct reconcile_problems;
struct config_snapshot;
struct manifest_look;

/* Loads the manifest at `given`, or the default one. EXIT_FINE, or the exit code after its errors
 * have been printed. `look` may be NULL. */
int error_report_load(const char *given, const struct manifest_look *look,
                      struct config_snapshot **config_snapshot);

/* Prints the problems, those without a place into the log; returns the exit code they mean. */
int error_report_print(const struct reconcile_problems *problems, const char *path);
int error_report_code(const struct reconcile_problems *problems);

/* The same as lines of the log, for a host that runs. */
void error_report_log(const struct reconcile_problems *problems, const char *path);

#endif
