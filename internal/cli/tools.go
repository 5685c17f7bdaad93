package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/midgemq/midge/internal/cli/bench"
	"github.com/midgemq/midge/internal/cli/doctor"
	"github.com/midgemq/midge/internal/cli/flagtable"
	"github.com/midgemq/midge/internal/cli/monitor"
	"github.com/midgemq/midge/internal/cli/ping"
	"github.com/midgemq/midge/internal/cli/reach"
)

// measuring are the tools that look at brokers from outside.
func measuring() []tool {
	return []tool{
		{"bench", reaching(bench.Run), []flagtable.Command{bench.Command()}},
		{"doctor", reaching(doctor.Run), []flagtable.Command{doctor.Command()}},
		{"monitor", reaching(monitor.Run), []flagtable.Command{monitor.Command()}},
		{"ping", reaching(ping.Run), []flagtable.Command{ping.Command()}},
	}
}

// reaching runs such a tool until it ends or a signal ends it.
func reaching(run func(*reach.Env, []string) int) func(*Env, string, []string) int {
	return func(e *Env, program string, args []string) int {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return run(&reach.Env{
			Context: ctx, Program: program, Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr, Version: e.Version,
		}, args)
	}
}
