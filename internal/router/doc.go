// Package router answers two questions: who subscribed to this topic, and which retained messages does this filter select.
//
// It is pure: no network, no files, no clock, no goroutine of its own, and it never sends, stores or logs anything. It knows
// nothing of sessions; a subscriber is any comparable handle S and a retained message any value M. It does not judge text: filters
// and topics must have passed mqtt.CheckFilter and mqtt.CheckTopicName, a shared filter comes as its group and its inner filter
// (mqtt.ParseShared). Unchecked text does no harm beyond selecting what nobody expects, and 200 levels (mqtt.MaxTopicSlashes) bound
// the depth of everything here. What is selected is exactly what mqtt.Match says.
//
// Who may call: Tree, Group and Retained from any goroutine; Cache and Cursor belong to one goroutine at a time.
//
// # Subscriptions
//
// Tree is a tree of filter levels, "+" and "#" being levels like others. Three choices keep it small, because most nodes hold one
// subscription and nothing else:
//
//   - Level names are interned: a node has the number of its level, not its text.
//   - Children are not in the node. One hash table, keyed by (parent, level), holds all of them, so that a node with one child and a
//     node with a million cost the same per child. Only "+" and "#" have a link of their own.
//   - The first subscription lies in the node itself. The second moves all of them into a slice, the 33rd adds an index, so
//     subscribing and unsubscribing stay O(1) on a node with 100,000 subscribers.
//
// Nodes and names live in slabs, which avoids one allocation each and lets the hash table hold numbers instead of pointers.
//
// Match walks a frontier: the nodes that agree with the levels seen so far. Each node has one parent, so it can enter the frontier
// only once, and the work is bounded by the number of nodes, never by the 2^levels paths that "+" suggests; a topic of 200 levels
// costs nothing beyond the level where no filter agrees any more. Readers share an RWMutex for the length of one Match; writers
// hold it for one change.
//
// Cache remembers results by topic for one event loop. Its results are never changed after they were given out.
//
// # Retained messages
//
// Retained is a B+ tree over whole topic names in plain byte order, with a hash table for the topics that are there already, and
// Cursor is a monotone scan of the tree that skips: for each name it
// stands on it computes whether the filter matches and, if not, the smallest name behind it that still could (Cursor.judge), and
// goes there. "a/+/b" over a thousand devices costs a thousand look-ups, however many topics each device has; "a/b/#" costs what it
// delivers. A tree of levels was rejected: it needs two to three times the memory, and a position in it does not survive a change,
// whereas here the position is a name, so it cannot be invalidated. As the scan never goes back, an entry that is present all the
// time is visited exactly once, whatever is set or deleted around it.
//
// Why plain byte order suffices although '/' does not sort first: names with a common prefix are contiguous in any case, and that is
// all that skipping needs. "a", "a-b", "a/c" lie interleaved with respect to levels; the scan merely passes by.
package router
