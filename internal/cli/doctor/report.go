package doctor

import (
	"encoding/json"
	"fmt"
	"io"
)

// Severities of findings.
const (
	fine    = "ok"
	warning = "warning"
	problem = "problem"
)

// finding is one thing that was looked at.
type finding struct {
	Severity string `json:"severity"`
	// Code is the name of the finding for programs; it never changes its meaning.
	Code    string `json:"code"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`

	Path string `json:"path,omitempty"`
	Mode string `json:"mode,omitempty"`
	UID  *int   `json:"uid,omitempty"` // who would read or write it
	Line int    `json:"line,omitempty"`
}

type report struct {
	o        *options
	out      io.Writer
	findings []finding
	problems int
	warnings int
}

func (r *report) subject() string {
	if r.o.file != "" {
		return r.o.file
	}
	return r.o.conn.URL()
}

func (r *report) begin() {
	if !r.o.json && !r.o.quiet {
		fmt.Fprintf(r.out, "Examining %s\n", r.subject())
	}
}

// add takes a finding and prints it.
func (r *report) add(f finding) {
	r.findings = append(r.findings, f)
	mark := "ok     "
	switch f.Severity {
	case problem:
		r.problems++
		mark = "PROBLEM"
	case warning:
		r.warnings++
		mark = "warning"
	}
	if r.o.json || r.o.quiet && f.Severity == fine {
		return
	}
	if f.Severity == fine {
		fmt.Fprintf(r.out, "%s  %s\n", mark, f.Message)
		return
	}
	fmt.Fprintf(r.out, "%s  [%s] %s\n", mark, f.Code, f.Message)
	if f.Advice != "" {
		fmt.Fprintf(r.out, "         -> %s\n", f.Advice)
	}
}

func (r *report) ok(code, format string, args ...any) {
	r.add(finding{Severity: fine, Code: code, Message: fmt.Sprintf(format, args...)})
}

func (r *report) bad(code, advice, format string, args ...any) {
	r.add(finding{Severity: problem, Code: code, Advice: advice, Message: fmt.Sprintf(format, args...)})
}

func (r *report) warn(code, advice, format string, args ...any) {
	r.add(finding{Severity: warning, Code: code, Advice: advice, Message: fmt.Sprintf(format, args...)})
}

// end prints the sum and returns the exit status.
func (r *report) end() int {
	if r.o.json {
		list := r.findings
		if list == nil {
			list = []finding{}
		}
		json.NewEncoder(r.out).Encode(map[string]any{"subject": r.subject(), "problems": r.problems, "warnings": r.warnings, "findings": list})
	} else if !r.o.quiet {
		switch {
		case r.problems > 0:
			fmt.Fprintf(r.out, "%d problem(s), %d warning(s).\n", r.problems, r.warnings)
		case r.warnings > 0:
			fmt.Fprintf(r.out, "No problem found, %d warning(s).\n", r.warnings)
		default:
			fmt.Fprintln(r.out, "No problem found.")
		}
	}
	if r.problems > 0 {
		return ExitProblem
	}
	return ExitOK
}
