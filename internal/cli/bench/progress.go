package bench

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a run is: as a bar on a terminal, as lines when asked for, otherwise not at all. One goroutine at a time
// uses it.
type progress struct {
	w    io.Writer
	bar  *progressbar.ProgressBar
	tty  bool
	live bool
	what string
}

// rateless is given where there are no rates to show.
var rateless = rate{-1, -1}

func newProgress(w io.Writer, live bool) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, tty: ok && term.IsTerminal(int(f.Fd())), live: live}
}

func (p *progress) start(what string, total int64) {
	p.stop()
	p.what = what
	if p.tty {
		p.bar = progressbar.NewOptions64(max(total, 1), progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(what),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetWidth(30))
	}
}

func (p *progress) step(n int64, r rate) {
	if p.bar != nil {
		if r.Published >= 0 {
			p.bar.Describe(fmt.Sprintf("%s  published %s/s  delivered %s/s", p.what, short(r.Published), short(r.Delivered)))
		}
		p.bar.Set64(n)
	}
	if p.live && !p.tty && r.Published >= 0 {
		fmt.Fprintf(p.w, "published %.0f/s delivered %.0f/s\n", r.Published, r.Delivered)
	}
}

func (p *progress) stop() {
	if p.bar != nil {
		p.bar.Finish()
		p.bar = nil
	}
}

// short writes a number as people read it: 12.3k, 4.56M.
func short(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.1fk", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}
