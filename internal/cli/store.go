package cli

import (
	"github.com/midgemq/midge/internal/cli/dbdump"
	"github.com/midgemq/midge/internal/cli/storecmd"
)

func runDBDump(e *Env, program string, args []string) int {
	return dbdump.Run(&dbdump.Env{Program: program, Stdout: e.Stdout, Stderr: e.Stderr}, args)
}

func runStore(e *Env, program string, args []string) int {
	return storecmd.Run(&storecmd.Env{Program: program, Stdout: e.Stdout, Stderr: e.Stderr, Directory: "midge.store"}, args)
}
