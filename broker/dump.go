package broker

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/midgemq/midge/internal/hub"
	"github.com/midgemq/midge/internal/record"
	"github.com/midgemq/midge/mqtt"
)

// subscription is one line of a dump.
type subscription struct {
	levels []string // of the filter, the group of a shared one first
	client string
	qos    mqtt.QoS
}

// DumpSubscriptions writes the tree of subscriptions: a line for each level,
// indented, with the clients that subscribe there and their QoS. It must not be
// called on a loop.
func (b *Broker) DumpSubscriptions(ctx context.Context, w io.Writer) error {
	perShard := make([][]subscription, len(b.hub.Shards))
	if err := b.onAllStill(ctx, func(sh *hub.Shard) {
		var mine []*hub.Client
		b.hub.Clients(func(c *hub.Client) {
			if sh.Owns(c) {
				mine = append(mine, c)
			}
		})
		for _, c := range mine {
			c.S.Subscriptions(func(s *record.Subscription) bool {
				perShard[sh.ID] = append(perShard[sh.ID], subscription{strings.Split(s.Filter, "/"), c.ID, s.QoS})
				return true
			})
		}
	}); err != nil {
		return fmt.Errorf("list subscriptions: %w", err)
	}
	all := slices.Concat(perShard...)
	slices.SortFunc(all, func(a, b subscription) int {
		if c := slices.Compare(a.levels, b.levels); c != 0 {
			return c
		}
		return strings.Compare(a.client, b.client)
	})
	if _, err := io.WriteString(w, "Subscriptions:\n"); err != nil {
		return err
	}
	return writeTree(w, all, 0)
}

// writeTree writes the levels from depth on of subscriptions that share those
// above.
func writeTree(w io.Writer, list []subscription, depth int) error {
	for len(list) > 0 {
		level := list[0].levels[depth]
		n := 1
		for n < len(list) && list[n].levels[depth] == level {
			n++
		}
		here := list[:n]
		list = list[n:]
		var line strings.Builder
		fmt.Fprintf(&line, "%s%s", strings.Repeat(" ", 2*(depth+1)), level)
		for len(here) > 0 && len(here[0].levels) == depth+1 {
			fmt.Fprintf(&line, " (%s, %d)", here[0].client, here[0].qos)
			here = here[1:]
		}
		line.WriteByte('\n')
		if _, err := io.WriteString(w, line.String()); err != nil {
			return err
		}
		if err := writeTree(w, here, depth+1); err != nil {
			return err
		}
	}
	return nil
}
