package cli

import "github.com/midgemq/midge/internal/cli/dbdump"

func runDBDump(e *Env, program string, args []string) int {
	return dbdump.Run(&dbdump.Env{Program: program, Stdout: e.Stdout, Stderr: e.Stderr}, args)
}
