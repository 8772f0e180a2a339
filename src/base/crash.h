/* SPDX-License-Identifier: Apache-2.0
 *
 * Last words: on SIGSEGV, SIGBUS, SIGABRT, SIGILL and SIGFPE the process prints the signal, what
 * the thread was doing (check_context) and a backtrace to stderr, then dies of the same signal.
 */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

/* Once, early in main. `version` is printed too; static lifetime. Sanitizer builds keep the
 * sanitizer's own handlers for the signals it reports on. */
void crash_install(const char *version);

/* An alternate stack for the calling thread, so that a stack overflow can be reported; every thread
 * calls it first thing, and crash_thread_fini last. Without it overflows die silently. */
void crash_thread_init(void);
void crash_thread_fini(void);

#endif
