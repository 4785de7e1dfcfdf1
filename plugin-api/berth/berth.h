/* berth.h: all of the plugin ABI. Every header also compiles alone. */
#ifndef BERTH_BERTH_H
#define BERTH_BERTH_H

#include "abi.h"
#include "address.h"
#include "buffer.h"
#include "connect.h"
#include "connection.h"
#include "datagram.h"
#include "file.h"
#include "framing.h"
#include "host.h"
#include "metrics.h"
#include "plugin.h"
#include "status.h"
#include "timer.h"
#include "work.h"

#endif
