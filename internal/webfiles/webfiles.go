// Package webfiles serves the files of http_dir on WebSocket listeners, to
// whoever asks by plain HTTP: the page of a dashboard beside the broker it talks
// to.
//
// It serves regular files below one directory and never lists a directory,
// follows a link out of it, or runs anything. One request for each connection; an
// answer is read in pieces when the piece before has been written, so that a
// download takes no more memory the larger its file is. Files are read by
// goroutines that live as long as one piece takes, bounded in number.
//
// A [Dir] may be used from any goroutine.
package webfiles

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/midgemq/midge/internal/wsproto"
)

const (
	// piece is how much of a file is in memory, in bytes.
	piece = 64 << 10
	// reading is how many pieces are read at a time.
	reading = 8
	// maxOpen bounds the answers under way, each an open file; more get 503.
	maxOpen = 128
	// maxTarget is the longest path that is looked at, in bytes.
	maxTarget = 1024
)

// Dir is a directory whose files are served.
type Dir struct {
	root  *os.Root
	slots chan struct{}
	open  atomic.Int64
	wg    sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

var _ wsproto.Files = (*Dir)(nil)

// Open returns the directory of that name.
func Open(name string) (*Dir, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root, slots: make(chan struct{}, reading)}, nil
}

// Close ends serving and returns when nothing is read any more.
func (d *Dir) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.wg.Wait()
	return d.root.Close()
}

// Answer implements wsproto.Files.
func (d *Dir) Answer(r wsproto.Request, wake func()) wsproto.Answer {
	a := &answer{dir: d, req: r, wake: wake}
	if d.open.Add(1) > maxOpen {
		a.refuse(http.StatusServiceUnavailable)
		return a
	}
	a.work(a.begin)
	return a
}

// answer is one request under way.
type answer struct {
	// immutable
	dir  *Dir
	req  wsproto.Request
	wake func()

	// owned by the goroutine that works, and by nobody between two of them
	file *os.File
	left int64 // bytes of the file that have not been read

	mu      sync.Mutex
	out     []byte // ready to be sent
	status  int
	working bool
	given   bool // something was given out and not yet written
	last    bool // nothing follows what is in out
	dropped bool
	counted bool // no longer among the open ones
}

// work runs f on a goroutine of its own, unless the directory is closed.
func (a *answer) work(f func()) {
	d := a.dir
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	a.mu.Lock()
	a.working = true
	a.mu.Unlock()
	d.wg.Add(1)
	go func() {
		defer d.wg.Done()
		d.slots <- struct{}{}
		f()
		<-d.slots
		a.mu.Lock()
		a.working = false
		end := a.dropped || a.last
		a.mu.Unlock()
		if end {
			a.release()
		}
		a.wake()
	}()
}

// Next implements wsproto.Answer.
func (a *answer) Next(out []byte) (newOut []byte, status int, done bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.working {
		return out, a.status, false // the wake comes behind its work
	}
	if len(a.out) > 0 {
		out = append(out, a.out...)
		a.out, a.given = nil, true
		return out, a.status, false
	}
	return out, a.status, a.last && !a.given
}

// Drained implements wsproto.Answer.
func (a *answer) Drained() {
	a.mu.Lock()
	if !a.given {
		a.mu.Unlock()
		return
	}
	a.given = false
	last := a.last
	a.mu.Unlock()
	if last {
		a.wake()
		return
	}
	a.work(a.next)
}

// Drop implements wsproto.Answer.
func (a *answer) Drop() {
	a.mu.Lock()
	a.dropped = true
	working := a.working
	a.mu.Unlock()
	if !working {
		a.release()
	}
}

// release gives back what the answer holds.
func (a *answer) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.counted {
		return
	}
	a.counted = true
	a.dir.open.Add(-1)
	if a.file != nil {
		_ = a.file.Close()
		a.file = nil
	}
}

// begin finds the file and makes the head and the first piece.
func (a *answer) begin() {
	name, ok := fileName(a.req.Target)
	if !ok {
		a.refuse(http.StatusNotFound)
		return
	}
	f, err := a.dir.root.Open(name)
	if err != nil {
		status := http.StatusNotFound
		if errors.Is(err, fs.ErrPermission) {
			status = http.StatusForbidden
		}
		a.refuse(status)
		return
	}
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		_ = f.Close()
		a.refuse(http.StatusNotFound)
		return
	}
	modified := st.ModTime().UTC().Truncate(time.Second)
	since, err := http.ParseTime(a.req.IfModifiedSince)
	if err == nil && !modified.After(since) {
		_ = f.Close()
		a.put(head(http.StatusNotModified, "Last-Modified: "+modified.Format(http.TimeFormat)+"\r\n"), http.StatusNotModified, true)
		return
	}
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		kind = "application/octet-stream"
	}
	b := head(http.StatusOK, fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\nLast-Modified: %s\r\n", kind, st.Size(), modified.Format(http.TimeFormat)))
	if a.req.Method == http.MethodHead || st.Size() == 0 {
		_ = f.Close()
		a.put(b, http.StatusOK, true)
		return
	}
	a.file, a.left = f, st.Size()
	a.read(b)
}

// next makes a further piece.
func (a *answer) next() { a.read(nil) }

// read appends a piece of the file to b and puts it out.
func (a *answer) read(b []byte) {
	n := min(a.left, piece)
	start := len(b)
	b = append(b, make([]byte, n)...)
	if _, err := io.ReadFull(a.file, b[start:]); err != nil {
		// The length is promised already: the connection ends before it is reached,
		// which tells the client.
		a.put(b[:start], http.StatusOK, true)
		return
	}
	a.left -= n
	a.put(b, http.StatusOK, a.left == 0)
}

func (a *answer) put(b []byte, status int, last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.out, a.status, a.last = b, status, last
}

func (a *answer) refuse(status int) {
	text := http.StatusText(status) + "\n"
	b := head(status, fmt.Sprintf("Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n", len(text)))
	if a.req.Method != http.MethodHead {
		b = append(b, text...)
	}
	a.put(b, status, true)
	if status == http.StatusServiceUnavailable {
		a.release()
	}
}

func head(status int, fields string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n%s\r\n", status, http.StatusText(status), fields)
}

// fileName turns a request target into the path of a file below the directory.
func fileName(target string) (name string, ok bool) {
	if len(target) > maxTarget || !strings.HasPrefix(target, "/") {
		return "", false
	}
	target, _, _ = strings.Cut(target, "?")
	p, err := url.PathUnescape(target)
	if err != nil || strings.ContainsAny(p, "\x00\\:") {
		return "", false
	}
	if strings.HasSuffix(p, "/") {
		p += "index.html"
	}
	// Dots that lead upwards are no mistake to be mended: nobody sends them in
	// good faith.
	for part := range strings.SplitSeq(p[1:], "/") {
		if part == ".." || part == "." || part == "" {
			return "", false
		}
	}
	return p[1:], fs.ValidPath(p[1:])
}
