// Command mutate proves that the tests bite: it breaks the broker on purpose and wants to see a test fail.
//
//	mutate faults [-verify] [-run REGEXP] [-list FILE] [-j N]
//	mutate operators [-min PERCENT] [-sample N] [-seed S] [-pkg DIR] [-scripts=false] [-write FILE]
//
// faults are seeded by hand in test/mutate, and every one must be caught. operators negate conditions, remove statements
// and step off by one, mechanically, in the packages that hold the protocol.
//
// The tree itself is never changed: altered files reach the compiler through go's -overlay. It runs from the module root
// and is no part of the broker.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "mutate: want a command: faults or operators")
		os.Exit(2)
	}
	var err error
	switch os.Args[1] {
	case "faults":
		err = runFaults(ctx, os.Args[2:], os.Stdout)
	case "operators":
		err = runOperators(ctx, os.Args[2:], os.Stdout)
	default:
		err = fmt.Errorf("unknown command %q: want faults or operators", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}
