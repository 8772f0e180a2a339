// SPDX-License-Identifier: Apache-2.0

// Program xdsserver serves go-control-plane's own test resources by go-control-plane's server and cache.
//
//	xdsserver -mode ads|delta|xds -upstream PORT -base PORT [-tls]
//
// It prints "listening PORT", then for each line "VERSION" of its input it takes a snapshot of that version into the cache, and tells
// "ack TYPE VERSION" and "nack TYPE MESSAGE" as clients answer.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"

	cluster "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	extension "github.com/envoyproxy/go-control-plane/envoy/service/extension/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	runtime "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	server "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	resource "github.com/envoyproxy/go-control-plane/pkg/test/resource/v3"
	"google.golang.org/grpc"
)

var told sync.Mutex

func tell(format string, args ...interface{}) {
	told.Lock()
	defer told.Unlock()
	fmt.Printf(format+"\n", args...)
}

func short(typeURL string) string {
	return typeURL[strings.LastIndex(typeURL, ".")+1:]
}

func note(typeURL, nonce, version, fault string) {
	if fault != "" {
		tell("nack %s %s", short(typeURL), strings.ReplaceAll(fault, "\n", " "))
	} else if nonce != "" {
		tell("ack %s %s", short(typeURL), version)
	}
}

func callbacks() server.Callbacks {
	return server.CallbackFuncs{
		StreamRequestFunc: func(_ int64, r *discovery.DiscoveryRequest) error {
			note(r.TypeUrl, r.ResponseNonce, r.VersionInfo, r.GetErrorDetail().GetMessage())
			return nil
		},
		StreamDeltaRequestFunc: func(_ int64, r *discovery.DeltaDiscoveryRequest) error {
			note(r.TypeUrl, r.ResponseNonce, "-", r.GetErrorDetail().GetMessage())
			return nil
		},
	}
}

func register(s *grpc.Server, x server.Server) {
	discovery.RegisterAggregatedDiscoveryServiceServer(s, x)
	endpoint.RegisterEndpointDiscoveryServiceServer(s, x)
	cluster.RegisterClusterDiscoveryServiceServer(s, x)
	route.RegisterRouteDiscoveryServiceServer(s, x)
	listener.RegisterListenerDiscoveryServiceServer(s, x)
	secret.RegisterSecretDiscoveryServiceServer(s, x)
	runtime.RegisterRuntimeDiscoveryServiceServer(s, x)
	extension.RegisterExtensionConfigDiscoveryServiceServer(s, x)
}

func main() {
	mode := flag.String("mode", "ads", "ads, delta or xds")
	upstream := flag.Uint("upstream", 0, "port of the only endpoint")
	base := flag.Uint("base", 0, "port of the first listener")
	tls := flag.Bool("tls", false, "listeners with secrets")
	flag.Parse()
	snapshots := cache.NewSnapshotCache(*mode != "xds", cache.IDHash{}, nil)
	s := grpc.NewServer()
	register(s, server.NewServer(context.Background(), snapshots, callbacks()))
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	tell("listening %d", socket.Addr().(*net.TCPAddr).Port)
	go func() { panic(s.Serve(socket)) }()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		made := resource.TestSnapshot{Xds: *mode, Version: lines.Text(), UpstreamPort: uint32(*upstream), BasePort: uint32(*base),
			NumClusters: 4, NumHTTPListeners: 1, NumTCPListeners: 1, NumRuntimes: 1, TLS: *tls}
		if err := snapshots.SetSnapshot(context.Background(), "test-node", made.Generate()); err != nil {
			panic(err)
		}
	}
}
