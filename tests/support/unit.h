/* unit.h: what every unit test includes: cmocka with the headers it wants before itself. */
#ifndef BERTH_TESTS_UNIT_UNIT_H
#define BERTH_TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/macros.h"

#endif
