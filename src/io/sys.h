/* SPDX-License-Identifier: Apache-2.0
 *
 * The system calls on the path of bytes. In release builds they are the calls themselves; where
 * WEFT_FAULT is defined (debug builds) they go through a table that a test replaces to see short
 * reads and writes, EAGAIN, EINTR and resets at every call.
 */
#ifndef IO_SYS_H
#define IO_SYS_H

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#if !defined(NDEBUG) && !defined(WEFT_FAULT)
#define WEFT_FAULT 1
#endif

struct sys_calls {
    ssize_t (*read)(int fd, void *p, size_t n);
    ssize_t (*write)(int fd, const void *p, size_t n);
    ssize_t (*readv)(int fd, const struct iovec *iov, int count);
    ssize_t (*writev)(int fd, const struct iovec *iov, int count);
    int (*accept4)(int fd, struct sockaddr *sa, socklen_t *len, int flags);
    int (*connect)(int fd, const struct sockaddr *sa, socklen_t len);
    ssize_t (*splice)(int from, int to, size_t n, unsigned flags);
};
extern const struct sys_calls sys_real;
#ifdef WEFT_FAULT
/* Not thread-safe: replace it before loops run. Put &sys_real back. */
extern const struct sys_calls *sys_calls;
#define SYS_CALL(name, ...) sys_calls->name(__VA_ARGS__)
#else
#define SYS_CALL(name, ...) name(__VA_ARGS__)
#endif

static inline ssize_t sys_read(int fd, void *p, size_t n)
{
    return SYS_CALL(read, fd, p, n);
}
static inline ssize_t sys_write(int fd, const void *p, size_t n)
{
    return SYS_CALL(write, fd, p, n);
}
static inline ssize_t sys_readv(int fd, const struct iovec *iov, int count)
{
    return SYS_CALL(readv, fd, iov, count);
}
static inline ssize_t sys_writev(int fd, const struct iovec *iov, int count)
{
    return SYS_CALL(writev, fd, iov, count);
}
static inline int sys_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
    return SYS_CALL(accept4, fd, sa, len, flags);
}
static inline int sys_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    return SYS_CALL(connect, fd, sa, len);
}
static inline ssize_t sys_splice(int from, int to, size_t n, unsigned flags)
{
#ifdef WEFT_FAULT
    return sys_calls->splice(from, to, n, flags);
#else
    return splice(from, NULL, to, NULL, n, flags);
#endif
}

#endif
