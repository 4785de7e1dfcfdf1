/* checks.h: the checks of `plugin validate`. checks.c runs them in a child process, because the
 * plugin may crash it; validate.c reads the results. */
#ifndef BERTH_HOST_DEVKIT_CHECKS_H
#define BERTH_HOST_DEVKIT_CHECKS_H

#include "devkit/results.h"
#include "devkit/tool.h"

enum check {
    CHECK_FILE,
    CHECK_LIBRARY,
    CHECK_EXPORTS,
    CHECK_ENTRY,
    CHECK_DESCRIPTOR,
    CHECK_LOAD,
    CHECK_LISTENER_OPEN,
    CHECK_CONFIG,
    CHECK_CONVERSATION,
    CHECK_BUSY,
    CHECK_LATER_HOST,
    CHECK_NO_EXTENSIONS,
    CHECK_SHORTAGE,
    CHECK_LOAD_CYCLES,
    CHECK_GENERATIONS,
    CHECK_COUNT,
};

extern const char *const check_names[CHECK_COUNT];

/* Lines of the child's results begin with this mark, to tell them from the plugin's output. */
#define CHECKS_MARK '\x01'
/* A line: mark, one of these, the check's name, a tab, the text with \v for each newline. */
#define CHECKS_BEGIN 'b' /* the check begins; no text */
#define CHECKS_DONE 'd'  /* all checks are done; no name, no text */
/* or '0' + enum result */

/* The child. EXIT_FINE when all checks ran, whatever their results. */
int checks_run(const struct command *command);

#endif
