// SPDX-License-Identifier: Apache-2.0

// Command grpcinterop is gRPC's interop suite (google.golang.org/grpc/interop) as one program: a
// server, or a client that runs the named cases one after another and prints a line for each. The
// suite ends the process where a case fails, so whoever calls runs one process a case.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"net"
	"os"
	"sort"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

var (
	serve   = flag.Bool("serve", false, "be the server; the port is printed")
	target  = flag.String("target", "", "host:port to call")
	name    = flag.String("authority", "test.local", "authority and server name")
	ca      = flag.String("ca", "", "trusted CA file: TLS")
	cert    = flag.String("cert", "", "certificate file of this end")
	key     = flag.String("key", "", "key file of this end")
	listing = flag.Bool("list", false, "print the cases")
)

type testCase func(client testgrpc.TestServiceClient, conn *grpc.ClientConn)

func plain(run func(testgrpc.TestServiceClient, ...grpc.CallOption)) testCase {
	return func(client testgrpc.TestServiceClient, _ *grpc.ClientConn) { run(client) }
}

func soak(client testgrpc.TestServiceClient, _ *grpc.ClientConn) {
	for i := 0; i < 50; i++ {
		interop.DoEmptyUnaryCall(client)
		interop.DoLargeUnaryCall(client)
	}
}

var cases = map[string]testCase{
	"empty_unary":                 plain(interop.DoEmptyUnaryCall),
	"large_unary":                 plain(interop.DoLargeUnaryCall),
	"client_streaming":            plain(interop.DoClientStreaming),
	"server_streaming":            plain(interop.DoServerStreaming),
	"ping_pong":                   plain(interop.DoPingPong),
	"empty_stream":                plain(interop.DoEmptyStream),
	"timeout_on_sleeping_server":  plain(interop.DoTimeoutOnSleepingServer),
	"cancel_after_begin":          plain(interop.DoCancelAfterBegin),
	"cancel_after_first_response": plain(interop.DoCancelAfterFirstResponse),
	"custom_metadata":             plain(interop.DoCustomMetadata),
	"status_code_and_message":     plain(interop.DoStatusCodeAndMessage),
	"special_status_message":      plain(interop.DoSpecialStatusMessage),
	"unimplemented_method": func(_ testgrpc.TestServiceClient, conn *grpc.ClientConn) {
		interop.DoUnimplementedMethod(conn)
	},
	"unimplemented_service": func(_ testgrpc.TestServiceClient, conn *grpc.ClientConn) {
		interop.DoUnimplementedService(testgrpc.NewUnimplementedServiceClient(conn))
	},
	"rpc_soak": soak,
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func tlsConfig() *tls.Config {
	pem, err := os.ReadFile(*ca)
	if err != nil {
		fail("%v", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: pool, ClientCAs: pool, ServerName: *name}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			fail("%v", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

func runServer() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fail("%v", err)
	}
	server := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer())
	fmt.Printf("%d\n", listener.Addr().(*net.TCPAddr).Port)
	if err := server.Serve(listener); err != nil {
		fail("%v", err)
	}
}

func runClient(names []string) {
	transport := insecure.NewCredentials()
	if *ca != "" {
		transport = credentials.NewTLS(tlsConfig())
	}
	conn, err := grpc.Dial(*target, grpc.WithTransportCredentials(transport), grpc.WithAuthority(*name))
	if err != nil {
		fail("%v", err)
	}
	defer conn.Close()
	for _, name := range names {
		run, ok := cases[name]
		if !ok {
			fail("no case %q", name)
		}
		run(testgrpc.NewTestServiceClient(conn), conn)
		fmt.Printf("%s: passed\n", name)
	}
}

func main() {
	flag.Parse()
	switch {
	case *serve:
		runServer()
	case *listing:
		names := make([]string, 0, len(cases))
		for name := range cases {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Println(strings.Join(names, "\n"))
	default:
		runClient(flag.Args())
	}
}
