package hub

import (
	"context"
	"sync"
	"time"

	"github.com/midgemq/midge/internal/auth"
	"github.com/midgemq/midge/mqtt"
)

const (
	// authWorkers is how many authentications are under way at a time. Most of them
	// wait, for a back end or for a thread that hashes; what computes is bounded
	// where it computes.
	authWorkers = 32
	// authDeadline denies what no back end has decided, waiting for a turn included.
	authDeadline = 20 * time.Second
)

// authPool runs authentications off the loops, in order and a few at a time, so
// that a storm of logins takes no more than its connections.
type authPool struct {
	mu      sync.Mutex
	waiting []authJob
	running int
}

// authJob is one authentication; work returns what to do on the loop, late is
// done there when its time is up before it began, or when a back end panicked.
type authJob struct {
	sh     *Shard
	ctx    context.Context // ends with its time
	cancel context.CancelFunc
	work   func(context.Context) func()
	late   func()
}

func (p *authPool) submit(j authJob) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, j)
	if p.running < authWorkers {
		p.running++
		go p.run()
	}
}

// run works until nothing waits.
func (p *authPool) run() {
	for {
		p.mu.Lock()
		if len(p.waiting) == 0 {
			p.waiting = nil
			p.running--
			p.mu.Unlock()
			return
		}
		j := p.waiting[0]
		p.waiting[0] = authJob{}
		p.waiting = p.waiting[1:]
		p.mu.Unlock()
		j.run()
	}
}

func (j *authJob) run() {
	then := j.late
	defer func() { j.sh.Post(then) }()
	defer func() {
		if r := recover(); r != nil {
			j.sh.Hub.Log.Error("Error: authentication back end panicked: %v", r)
		}
	}()
	defer j.cancel()
	if j.ctx.Err() == nil {
		then = j.work(j.ctx)
	}
}

var tooLong = auth.Decision{Code: mqtt.ServerBusy, Reason: "authentication took too long"}

// Authenticate asks the authenticator off the loop; done runs on the loop.
func (sh *Shard) Authenticate(a *Admission, done func(auth.Decision)) {
	sh.offLoop(func(ctx context.Context) func() {
		d := a.Under.Authenticator.Authenticate(ctx, &a.Request)
		return func() { done(d) }
	}, func() { done(tooLong) })
}

// Exchange gives data to an enhanced authentication off the loop; done runs on
// the loop.
func (sh *Shard) Exchange(a *Admission, data []byte, done func(out []byte, more bool, d auth.Decision)) {
	x := a.Exchange
	sh.offLoop(func(ctx context.Context) func() {
		out, more, d := x.Next(ctx, data)
		return func() { done(out, more, d) }
	}, func() { done(nil, false, tooLong) })
}

// offLoop runs work in the pool and what it returns on the loop.
func (sh *Shard) offLoop(work func(context.Context) func(), late func()) {
	ctx, cancel := context.WithTimeout(context.Background(), authDeadline)
	sh.Hub.logins.submit(authJob{sh: sh, ctx: ctx, cancel: cancel, work: work, late: late})
}
