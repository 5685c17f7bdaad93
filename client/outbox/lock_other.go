//go:build !unix

package outbox

import "os"

// lockFile does nothing where there is no flock: such systems refuse to rename or open a file in use in their own way.
func lockFile(*os.File) error { return nil }
