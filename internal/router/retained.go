package router

import (
	"hash/maphash"
	"sync"
)

// Retained is the index of retained messages: at most one M for each topic. Any goroutine may call any method.
//
// It costs about 55 bytes for each topic when M is a pointer, and the topic's text. The string given to Set is kept, so a message
// that has its own topic can share it.
type Retained[M any] struct {
	mu   sync.RWMutex
	tree btree[M]
}

// NewRetained gives an empty index.
func NewRetained[M any]() *Retained[M] {
	r := new(Retained[M])
	r.tree.seed = maphash.MakeSeed()
	return r
}

// Set makes m the retained message of topic and gives the one it displaced [MQTT-3.3.1-5]. seq numbers the changes of all topics in
// ascending order: a Cursor passes by what was set after it was made.
func (r *Retained[M]) Set(topic string, m M, seq uint64) (old M, had bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, had := r.tree.set(entry[M]{topic, m, seq})
	return e.msg, had
}

// Delete removes the retained message of topic and gives it back [MQTT-3.3.1-6].
func (r *Retained[M]) Delete(topic string) (old M, had bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, had := r.tree.del(topic)
	return e.msg, had
}

// DeleteIf is Delete if the message is there and match is true for it, for those who judged it some time ago, as expiry does. match
// is called with the index locked.
func (r *Retained[M]) DeleteIf(topic string, match func(M) bool) (old M, had bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id := r.tree.find(topic); id == 0 || !match(r.tree.items.at(id).msg) {
		return old, false
	}
	e, had := r.tree.del(topic)
	return e.msg, had
}

// Get gives the retained message of topic.
func (r *Retained[M]) Get(topic string) (m M, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if id := r.tree.find(topic); id != 0 {
		return r.tree.items.at(id).msg, true
	}
	return m, false
}

// Len gives the number of topics that have a retained message.
func (r *Retained[M]) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.tree.items.live
}
