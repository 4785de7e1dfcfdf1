/* together.h: what no single value shows: addresses that clash, watermarks in the wrong order. */
#ifndef BERTH_HOST_MANIFEST_TOGETHER_H
#define BERTH_HOST_MANIFEST_TOGETHER_H

#include "manifest/check.h"

/* After every value has been checked for itself. Values that were wrong are left out. */
void together_check(struct checker *checker);

#endif
