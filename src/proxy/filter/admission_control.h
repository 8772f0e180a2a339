/* SPDX-License-Identifier: Apache-2.0
 *
 * Admission control (extensions.filters.http.admission_control.v3).
 */
#ifndef PROXY_FILTER_ADMISSION_CONTROL_H
#define PROXY_FILTER_ADMISSION_CONTROL_H

#include "proxy/filter/http_filter.h"

/* Requests of the last while, in slices of a second. One worker's. */
struct admission_slice { uint64_t begun_us; uint32_t requests, successes; };
struct admission_window {
    uint64_t length_us;
    uint32_t requests, successes;      /* of all slices */
    uint32_t first, count, cap;        /* a ring */
    struct admission_slice slices[];
};
struct admission_window *admission_window_new(uint64_t length_us);
/* What is too old goes. */
void admission_window_turn(struct admission_window *w, uint64_t now_us);
void admission_window_note(struct admission_window *w, uint64_t now_us, bool success);
/* Requests a second, over the age of what is known (a second at least). */
uint64_t admission_window_rps(const struct admission_window *w, uint64_t now_us);

struct runtime_double { struct str key; double value; };
struct status_range { int32_t start, end; }; /* half open */
struct admission_config {
    struct str enabled_key; bool enabled;
    uint64_t window_us;                     /* 30 s */
    struct runtime_double aggression;       /* 1.0 */
    struct runtime_double success_pct;      /* 95 */
    struct runtime_double max_rejection_pct; /* 80 */
    struct str rps_key; uint64_t rps;       /* below it nothing is rejected */
    struct status_range *http; uint32_t http_count; /* empty: below 500 */
    uint32_t *grpc; uint32_t grpc_count;    /* empty: all but what is a server's failure */
    struct admission_window **windows;      /* by thread, each made by its worker; NULL before */
    struct stat_scope *stats;               /* http.<prefix>.admission_control. */
};
extern const struct http_filter_def admission_control_filter;

/* (requests - successes / success_ratio) / (requests + 1), to the power of 1 / aggression, at most `most`. */
double admission_rejection(uint32_t requests, uint32_t successes, double success_ratio, double aggression, double most);

#endif
