/* SPDX-License-Identifier: Apache-2.0
 *
 * The signer: a process of weftd's own binary that holds the authority's keys and nothing else. main() looks here first.
 */
#ifndef CONTROL_CA_SIGNER_PROCESS_H
#define CONTROL_CA_SIGNER_PROCESS_H

#include <stdbool.h>

#define SIGNER_ARGUMENT "ca-signer" /* argv[1] */
#define SIGNER_FD 3                 /* its end of the socket pair */

bool signer_is_asked_for(int argc, char **argv);
/* Until weftd closes its end, or dies; then the process exits. */
_Noreturn void signer_main(void);

#endif
