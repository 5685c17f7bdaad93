// Package arch holds the rules that keep the shape of this module: which package may import which, what a pure package
// must not touch, how large a file, a function, an interface and a package may grow, and which words never enter the tree.
//
// It reads the sources in the test process. It never asks the go command: the test cache does not see what a child
// process reads, so a forbidden import added later would replay an old pass. It is used by its own tests only and is never
// part of the broker; all functions work on values and may be called from any goroutine.
package arch
