//go:build !unix

package reach

import "time"

// CPU is the CPU time that this process has used: here nothing tells.
func CPU() time.Duration { return 0 }
