// Package httpapi is the HTTP API of a listener with `protocol http_api`: the
// figures of $SYS, the listeners and the version, for scripts and dashboards
// that know Mosquitto's, and the files of http_dir.
//
// It reads and never changes: whatever steers the broker goes through the
// control socket. Its handler may be called from any goroutine; it never runs on
// an event loop, so an authentication that takes its time holds up nobody else.
package httpapi

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"

	"github.com/midgemq/midge/internal/auth"
)

// ClientID is the client id that requests are authenticated and authorised
// under, as Mosquitto has it, so that rules for it can be written.
const ClientID = "http-api"

const (
	// maxPath bounds the path of a request, which is asked for as a topic.
	maxPath = 1024
	realm   = `Basic realm="Mosquitto API", charset="UTF-8"`
)

// Listener is one entry of /api/v1/listeners. Exactly one of Port and Path is
// set.
type Listener struct {
	Port           int    `json:"port,omitempty"`
	Path           string `json:"path,omitempty"`
	Protocol       string `json:"protocol"`
	TLS            bool   `json:"tls"`
	MutualTLS      bool   `json:"mtls"`
	AllowAnonymous bool   `json:"allow_anonymous"`
}

// Source is what the API shows. Its methods may be called from any goroutine.
type Source interface {
	// SysTree gives the figures of $SYS as of the last update, by topic.
	SysTree() map[string]int64
	Listeners() []Listener
	// Policy decides who may ask; read anew for each request, because a reload
	// may have changed it.
	Policy() (p auth.Policy, allowAnonymous bool)
}

// Options is what New needs.
type Options struct {
	Source  Source
	Version string
	// Dir is http_dir; empty serves no files.
	Dir string
}

// api answers one listener's requests.
type api struct {
	Options
	files *os.Root
}

// New makes the handler. The error is that of opening the directory, which stays
// open, so that no link inside it leads outside.
func New(o Options) (http.Handler, error) {
	a := &api{Options: o}
	if o.Dir != "" {
		root, err := os.OpenRoot(o.Dir)
		if err != nil {
			return nil, err
		}
		a.files = root
	}
	return a, nil
}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Invalid HTTP Method", http.StatusMethodNotAllowed)
		return
	}
	if len(r.URL.Path) > maxPath || !a.permitted(r) {
		w.Header().Set("WWW-Authenticate", realm)
		http.Error(w, "Not authorised", http.StatusUnauthorized)
		return
	}
	switch r.URL.Path {
	case "/api/v1/systree":
		a.json(w, a.Source.SysTree())
	case "/api/v1/listeners":
		a.json(w, struct {
			Listeners []Listener `json:"listeners"`
		}{a.Source.Listeners()})
	case "/api/v1/version":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(a.Version))
	default:
		if strings.HasPrefix(r.URL.Path, "/api/") || a.files == nil {
			http.Error(w, "Not found.", http.StatusNotFound)
			return
		}
		a.file(w, r)
	}
}

// permitted authenticates by the rules for MQTT clients and asks for the right
// to read the path as if it were a topic.
func (a *api) permitted(r *http.Request) bool {
	policy, anonymous := a.Source.Policy()
	user, password, has := r.BasicAuth()
	q := &auth.Request{AllowAnonymous: anonymous, HasPassword: has, Password: []byte(password)}
	q.ID, q.Address, q.UserName, q.HasUserName = ClientID, r.RemoteAddr, user, has
	d, ok := policy.Immediate(q)
	if !ok {
		d = policy.Authenticator.Authenticate(r.Context(), q)
	}
	if d.Code.IsError() {
		return false
	}
	if d.UserName != "" {
		q.UserName = d.UserName
	}
	return policy.Authorizer == nil || !policy.Authorizer.Authorize(&q.Client, auth.Receive, r.URL.Path).IsError()
}

func (a *api) json(w http.ResponseWriter, v any) {
	b, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b)
}

// file serves one regular file below http_dir; a path that ends in a slash
// stands for its index.html. Directories are never listed.
func (a *api) file(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	if strings.HasSuffix(r.URL.Path, "/") {
		name = path.Join(name, "index.html")
	}
	if !fs.ValidPath(name) {
		http.NotFound(w, r)
		return
	}
	f, err := a.files.Open(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	// ServeContent never redirects, as FileServer would for index.html.
	http.ServeContent(w, r, name, info.ModTime(), f)
}
