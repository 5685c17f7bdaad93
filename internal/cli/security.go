package cli

import "github.com/midgemq/midge/internal/cli/passwd"

func runPasswd(e *Env, program string, args []string) int {
	return passwd.Run(&passwd.Env{Program: program, Stdin: e.Stdin, Stdout: e.Stdout, Stderr: e.Stderr}, args)
}
