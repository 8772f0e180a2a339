/* SPDX-License-Identifier: Apache-2.0
 *
 * Time as parameters: monotonic and wall clock in microseconds. Code on a loop reads loop_now_us();
 * these are for start-up and for measuring handlers.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_us(void);
uint64_t clock_wall_us(void);

#endif
