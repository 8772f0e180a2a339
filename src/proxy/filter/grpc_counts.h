/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics per gRPC method under Envoy's names, cluster.<cluster>.grpc.<service>.<method>.*: scopes that requests bring
 * forth. A worker finds a method's counts in a table of its own; the scope is made on the main thread, and what is counted
 * until it is there is kept and added then. Methods are a client's to choose: their number has a limit.
 */
#ifndef PROXY_FILTER_GRPC_COUNTS_H
#define PROXY_FILTER_GRPC_COUNTS_H

#include "proxy/stats/stats.h"

struct arena;
struct cluster;

#define GRPC_METHODS_MAX 4096      /* per configuration and worker; further ones are counted without their names */
#define GRPC_METHOD_NAME_MAX 512   /* bytes of a scope's whole prefix; longer ones likewise */

#define GRPC_STATUS_ROWS(X)                                                                        \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16)
#define GRPC_METHOD_STATS(X)                                                                       \
    X(GRPC_METHOD_SUCCESS, COUNTER, LAZY, "success", "Calls with status 0")                        \
    X(GRPC_METHOD_FAILURE, COUNTER, LAZY, "failure", "Calls with any other status")                \
    X(GRPC_METHOD_TOTAL, COUNTER, LAZY, "total", "Calls whose status was seen")                    \
    X(GRPC_METHOD_REQUEST_MESSAGES, COUNTER, LAZY, "request_message_count", "Messages to the method") \
    X(GRPC_METHOD_RESPONSE_MESSAGES, COUNTER, LAZY, "response_message_count", "Messages from it")  \
    X(GRPC_METHOD_UPSTREAM_TIME, HISTOGRAM, LAZY, "upstream_rq_time", "From the last byte sent to the last received, ms") \
    X(GRPC_METHOD_STATUS_OTHER, COUNTER, LAZY, "other_status", "Statuses that aren't among 0 to 16")
enum grpc_method_stat {
    GRPC_METHOD_STATS(STAT_ENUM_ROW)
    STAT_GRPC_METHOD_STATUS_0, /* and 16 more */
    STAT_GRPC_METHOD_COUNT = STAT_GRPC_METHOD_STATUS_0 + 17
};

enum grpc_counts_protocol { GRPC_COUNTS_GRPC, GRPC_COUNTS_GRPC_WEB };
struct grpc_counts_table;
struct grpc_counts;
/* Main thread. A configuration owns its table. */
struct grpc_counts_table *grpc_counts_table_new(void);
void grpc_counts_table_unref(struct grpc_counts_table **t);

/* Workers. A null service: the cluster's counts without names. Never NULL; lives as long as the table. */
struct grpc_counts *grpc_counts_of(struct grpc_counts_table *t, const struct cluster *c, enum grpc_counts_protocol protocol,
                                   struct str service, struct str method, bool replace_dots);
void grpc_count(struct grpc_counts *c, enum grpc_method_stat row, uint64_t n);
void grpc_count_time(struct grpc_counts *c, uint64_t ms);
/* A grpc-status value: success or failure, total, and the status itself. A null value counts nothing. */
void grpc_count_status(struct grpc_counts *c, struct str grpc_status);

#endif
