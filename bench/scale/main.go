//go:build linux

// Command scale tells what many connections cost, in two ways.
//
// Without further options it attaches synthetic connections, which have no
// descriptor, to the real hub, a million of them: memory by kind of session, the
// CPU time of a publish to a random one beside what memory alone takes on this
// machine, what keep alive costs for clients that say nothing, the share of the
// garbage collection and its pauses. One loop, the store in memory, the garbage
// collector at its defaults. Memory is the growth of the resident set divided by
// the sessions, without a forced collection before it is read.
//
// With -real it starts the binary and opens connections to it from a second
// process, as the limit of descriptors holds for each: memory of the broker, and
// of the kernel, for each connection, and the CPU time of a connect. With -limit
// it measures plain connections beside them, and ends with status 1 when one takes
// so much more. `make scale` runs all but the last for all kinds, `make bench-tls`
// the last for TLS.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"os"
)

// kind is a kind of session.
type kind struct {
	subs  int // subscriptions
	clean bool
	ws    bool
	tls   uint16 // the highest version; 0: none
	most  int    // connections with -real
}

var kinds = map[string]kind{
	"idle":          {clean: true, most: 19000},
	"persistent-1":  {subs: 1, most: 19000},
	"persistent-10": {subs: 10, most: 19000},
	"ws":            {clean: true, ws: true, most: 19000},
	"tls":           {clean: true, tls: tls.VersionTLS13, most: 5000},
	"tls12":         {clean: true, tls: tls.VersionTLS12, most: 5000},
}

func main() {
	n := flag.Int("n", 1_000_000, "sessions; with -real 19000, and 5000 for tls")
	name := flag.String("kind", "idle", "idle, persistent-1, persistent-10, ws; with -real tls and tls12 as well")
	publishes := flag.Int("publishes", 200_000, "messages to random sessions")
	broker := flag.String("real", "", "the broker's binary: measure real connections")
	limit := flag.Float64("limit", 0, "with -real: KiB of resident memory, once it has settled, that a connection may take beyond one of kind idle; 0: not measured")
	client := flag.String("client", "", "address; used by -real for its second process")
	flag.Parse()
	k, ok := kinds[*name]
	var err error
	switch {
	case !ok || k.tls > 0 && *broker == "" && *client == "":
		fmt.Fprintf(os.Stderr, "scale: unknown kind %q\n", *name)
		os.Exit(2)
	case *client != "":
		err = serveClients(*client, min(*n, k.most), k)
	case *broker != "" && *limit > 0:
		err = beyondIdle(*broker, *name, min(*n, k.most), k, *limit)
	case *broker != "":
		_, err = measureReal(*broker, *name, min(*n, k.most), k, look)
	default:
		err = run(*n, k, *name, *publishes)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}
