package auth

import "fmt"

// FileError is what is wrong with a security file. Its text is the log line, in
// the words that scripts look for.
type FileError struct {
	Path string
	// Line is where, from 1; 0: the file as a whole.
	Line int
	// What is Mosquitto's text, Cause the particulars.
	What  string
	Cause error
}

// NewFileError makes a FileError.
func NewFileError(path string, line int, what string, cause error) error {
	return &FileError{Path: path, Line: line, What: what, Cause: cause}
}

func (e *FileError) Error() string {
	at := e.Path
	if e.Line > 0 {
		at = fmt.Sprintf("%s, line %d", e.Path, e.Line)
	}
	return fmt.Sprintf("Error: %s (%s): %v.", e.What, at, e.Cause)
}

func (e *FileError) Unwrap() error { return e.Cause }
