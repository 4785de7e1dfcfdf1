/* report.h: what the results look like to people, and to programs as JSON. */
#ifndef BERTH_LOAD_REPORT_H
#define BERTH_LOAD_REPORT_H

#include <stdbool.h>

struct error;
struct options;
struct result;

void report_print(const struct options *options, const struct result *result);
bool report_write_json(const struct options *options, const struct result *result,
                       struct error *error);

#endif
