/* SPDX-License-Identifier: Apache-2.0
 *
 * Signer's process, once, at its start. The filter is a list of what is refused (with EPERM), not of what is allowed: a libc
 * that makes a memory call that we haven't heard of must not stop the CA. What it is for: bytes of a request that got
 * control of this process find no way to send the key anywhere but to weftd.
 */
#include "control/ca/signer_jail.h"

#include "base/check.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef ARCH
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define REFUSE BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define NOT(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##call, 0, 1), REFUSE

static void refuse_calls(void)
{
    static struct sock_filter code[] = {
        LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH, 1, 0), REFUSE,
        LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), REFUSE, /* x86's other numbering */
        NOT(socket), NOT(socketpair), NOT(connect), NOT(bind), NOT(listen), NOT(accept), NOT(accept4),
        NOT(execve), NOT(execveat), NOT(clone), NOT(clone3),
#ifdef __x86_64__
        NOT(fork), NOT(vfork),
#endif
        NOT(ptrace), NOT(process_vm_readv), NOT(process_vm_writev), NOT(pidfd_getfd), NOT(io_uring_setup), NOT(bpf),
        NOT(userfaultfd), NOT(perf_event_open), NOT(keyctl), NOT(add_key), NOT(request_key), NOT(open_by_handle_at),
        NOT(mount), NOT(unshare), NOT(setns), NOT(memfd_create),
        ALLOW,
    };
    static const struct sock_fprog program = {.len = ARRAY_LEN(code), .filter = code};
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}
#else
static void refuse_calls(void)
{
}
#endif

void signer_jail_enter(void)
{
    struct rlimit no_core = {0, 0};
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setrlimit(RLIMIT_CORE, &no_core);
    refuse_calls();
}
