// Command mutate proves that the tests bite: it breaks the broker on purpose and wants to see a test fail.
//
//	mutate faults [-verify] [-run REGEXP] [-j N]      seeded faults from test/mutate: every one must be caught
//	mutate operators [-min PERCENT] [-sample N]       negated conditions, removed statements, off-by-one steps,
//	                 [-pkg DIR] [-write FILE]         applied mechanically to the packages that hold the protocol
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
