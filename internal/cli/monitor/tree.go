package monitor

import (
	"slices"
	"strings"
)

// node is one level of the topic tree.
type node struct {
	name     string
	parent   *node
	entry    *entry // nil where only deeper topics exist
	children []*node
	byName   map[string]*node // nil with few children
	sorted   bool
	open     bool
	depth    int
	topics   int // at and below
	messages uint64
}

// fewChildren is how many children are looked through; more get a map.
const fewChildren = 8

// insert adds the path of a topic below the root.
func (n *node) insert(e *entry) *node {
	n.topics++
	rest := e.topic
	for {
		name, deeper, more := strings.Cut(rest, "/")
		n = n.child(name)
		n.topics++
		if !more {
			n.entry = e
			return n
		}
		rest = deeper
	}
}

func (n *node) child(name string) *node {
	if n.byName != nil {
		if c := n.byName[name]; c != nil {
			return c
		}
	} else {
		for _, c := range n.children {
			if c.name == name {
				return c
			}
		}
	}
	c := &node{name: name, parent: n, depth: n.depth + 1}
	n.children = append(n.children, c)
	n.sorted = false
	switch {
	case n.byName != nil:
		n.byName[name] = c
	case len(n.children) > fewChildren:
		n.byName = make(map[string]*node, 2*len(n.children))
		for _, c := range n.children {
			n.byName[c.name] = c
		}
	}
	return c
}

// rows appends the nodes that are visible: those below open ones.
func (n *node) rows(list []*node) []*node {
	if !n.sorted {
		slices.SortFunc(n.children, func(x, y *node) int { return strings.Compare(x.name, y.name) })
		n.sorted = true
	}
	for _, c := range n.children {
		list = append(list, c)
		if c.open && len(c.children) > 0 {
			list = c.rows(list)
		}
	}
	return list
}

// openAll opens or closes a node and all below it.
func (n *node) openAll(open bool) {
	n.open = open
	for _, c := range n.children {
		c.openAll(open)
	}
}

// path is the topic that leads here.
func (n *node) path() string {
	if n.entry != nil {
		return n.entry.topic
	}
	var names []string
	for ; n != nil && n.parent != nil; n = n.parent {
		names = append(names, n.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}
