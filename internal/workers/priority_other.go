//go:build !linux

package workers

// lowerPriority does nothing where niceness belongs to the whole process.
func lowerPriority() {}
