# SPDX-License-Identifier: Apache-2.0
"""The language of the wire tests: real programs on one side, raw peers on the other.

  wait      wait_until(condition): the only way to wait; no test sleeps
  dns       a DNS server that answers what a test says
  streams   sockets with a buffer and a time limit
  http1     HTTP/1 messages as they stand on the wire
  origin    an HTTP/1 server that records requests and answers scripted bytes
  http2     an HTTP/2 client and origin (package h2 on the far side)
  ca        certificates made for one test
  config    bootstraps as plain dictionaries
  proxy     the program under test: start, ports, statistics, logs, clean exit
  golang    peers built from Go modules (h2spec, gRPC interop)
"""
