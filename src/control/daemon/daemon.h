/* SPDX-License-Identifier: Apache-2.0
 *
 * weftd: a registry fills the store, the world is worked out of it, the view makes what proxies are sent, the push sends it. One
 * thread, one loop.
 */
#ifndef CONTROL_DAEMON_DAEMON_H
#define CONTROL_DAEMON_DAEMON_H

#include "control/daemon/options.h"

/* Until SIGTERM or SIGINT; SIGUSR2 announces a new root. An exit status: 0, or 1 where it couldn't start (why is on stderr). */
int daemon_main(const struct daemon_options *o);

#endif
