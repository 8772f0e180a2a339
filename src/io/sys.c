/* SPDX-License-Identifier: Apache-2.0
 *
 * The table behind sys.h. Tests replace the pointer, nobody else.
 */
#include "io/sys.h"

#include <stddef.h>

static ssize_t real_splice(int from, int to, size_t n, unsigned flags)
{
    return splice(from, NULL, to, NULL, n, flags);
}

/* glibc declares these with a transparent union for the address; these have the plain type. */
static int real_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
    return accept4(fd, sa, len, flags);
}
static int real_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    return connect(fd, sa, len);
}

const struct sys_calls sys_real = {
    .read = read,
    .write = write,
    .readv = readv,
    .writev = writev,
    .accept4 = real_accept4,
    .connect = real_connect,
    .splice = real_splice,
};
#ifdef WEFT_FAULT
const struct sys_calls *sys_calls = &sys_real;
#endif
