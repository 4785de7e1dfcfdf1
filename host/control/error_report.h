/* error_report.h: the errors of a manifest and its plugins, printed on standard error, one a
 * line.
 *
 * If the log format is JSON, all of them are JSON.
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

/* Prints the problems, and logs those without a position; returns the exit code for them. */
int error_report_print(const struct reconcile_problems *problems, const char *path);
int error_report_code(const struct reconcile_problems *problems);

/* Logs the same problems, for a running host. */
void error_report_log(const struct reconcile_problems *problems, const char *path);

#endif
