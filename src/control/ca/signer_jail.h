/* SPDX-License-Identifier: Apache-2.0
 *
 * What the signer gives up before it sees a key.
 */
#ifndef CONTROL_CA_SIGNER_JAIL_H
#define CONTROL_CA_SIGNER_JAIL_H

/* No core dumps, no debugger of the same user, death with the parent, no new sockets, programs or processes. As far as the
 * kernel lets: each is a second line of defence, and none is a reason not to start. */
void signer_jail_enter(void);

#endif
