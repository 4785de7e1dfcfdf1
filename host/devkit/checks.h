/* checks.h: what `plugin validate` looks at, in a process of its own, which the plugin may take
 * down. checks.c runs them there, validate.c reads what they came to. */
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

/* What the child writes: lines that begin so, whatever the plugin prints in between. */
#define CHECKS_MARK '\x01'
/* mark, one of these, the check's name, a tab, the words with \v in place of new lines */
#define CHECKS_BEGIN 'b' /* it begins; no words */
#define CHECKS_DONE 'd'  /* all is said; no name and no words */
/* and '0' + enum verdict */

/* The child. EXIT_FINE when all was looked at, whatever was found. */
int checks_run(const struct command *command);

#endif
