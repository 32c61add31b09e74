package jetstream

import (
	"container/list"
	"hash/maphash"
	"sync"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// maxLinks is how many commits a head names: its own, and those of the chain.
const maxLinks = wire.MaxChain + 1

// maxRecent is how many ids are kept with a head at most, 24 bytes each.
const maxRecent = 8192

// head is what is known of an event stream as of one of its messages. It is
// never changed once it is made.
type head struct {
	position uint64      // of its last message, which fences the next; 0: it has none
	upTo     uint64      // no later one was there up to this position, as far as was told
	exists   bool        // false: never begun, or erased
	gone     bool        // erased: the last message says so
	state    wire.State  // zero where it doesn't exist
	links    []wire.Link // the latest commits, newest first
	recent   []recent    // the latest events, newest last; for as many as known
	tail     *stored     // the last message, just after it was read
}

// recent is an event of the latest commits.
type recent struct {
	id       uuid.UUID
	position uint64
}

// describe describes an event stream that exists.
func describe(streamUUID string, state *wire.State) backend.Stream {
	s := backend.Stream{ID: state.ID, UUID: streamUUID, Version: state.Version, CreatedAt: state.Created}
	if !state.Deleted.IsZero() {
		deleted := state.Deleted
		s.DeletedAt = &deleted
	}
	return s
}

// stream describes the event stream.
func (h *head) stream(streamUUID string) backend.Stream { return describe(streamUUID, &h.state) }

// linked is how many events the latest commits have, as far as links go and
// events are kept.
func (h *head) linked() uint64 {
	var n uint64
	for _, l := range h.links {
		n += uint64(l.Events)
	}
	return min(n, h.state.Version+1-h.state.First)
}

// bytes is about what the head takes in memory.
func (h *head) bytes() int { return 320 + 16*len(h.links) + 24*len(h.recent) }

// after returns the head after a commit of events in parts messages, whose
// position is yet to be set. begun is the state before it, or of the event stream
// that it begins.
func (h *head) after(begun wire.State, events []backend.UnsavedEvent, parts int) *head {
	begun.Version += uint64(len(events))
	next := &head{exists: true, state: begun}
	kept := h.links[:min(len(h.links), maxLinks-1)]
	next.links = make([]wire.Link, 1, len(kept)+1)
	next.links[0] = wire.Link{Events: uint32(len(events)), Parts: uint32(parts)}
	next.links = append(next.links, kept...)
	// Ids are kept for the commits that links name, and not for huge ones.
	n := min(next.linked(), uint64(len(h.recent)+len(events)))
	if n > maxRecent {
		return next
	}
	next.recent = make([]recent, 0, n)
	if old := int(n) - len(events); old > 0 {
		next.recent = append(next.recent, h.recent[len(h.recent)-old:]...)
	}
	for i := max(0, len(events)-int(n)); i < len(events); i++ {
		next.recent = append(next.recent, recent{id: events[i].EventUUID})
	}
	return next
}

// setPosition completes the head that after returned.
func (h *head) setPosition(position uint64) {
	h.position = position
	h.links[0].Position = position
	for i := max(0, len(h.recent)-int(h.links[0].Events)); i < len(h.recent); i++ {
		h.recent[i].position = position
	}
}

// headCache remembers the heads of the event streams last used, bounded in
// number and in bytes.
type headCache struct {
	mu       sync.Mutex
	max      int
	maxBytes int
	bytes    int
	entries  map[string]*list.Element // by subject
	used     list.List                // of *headEntry, the last used first

	// What stays of those dropped: the greatest position among those whose subjects
	// share a place, so that the event stream is not seen at an earlier one.
	floors []uint64 // nil: none was dropped
	seed   maphash.Seed
}

type headEntry struct {
	subject string
	head    *head
	bytes   int
}

func (e *headEntry) set(h *head) {
	e.head = h
	e.bytes = h.bytes() + len(e.subject)
}

// bytesPerHead bounds the cache's bytes: that many for each head it may hold.
const bytesPerHead = 1024

func newHeadCache(most int) *headCache {
	return &headCache{max: most, maxBytes: most * bytesPerHead, entries: make(map[string]*list.Element), seed: maphash.MakeSeed()}
}

// placesPerHead and maxPlaces are how many floors there are, of 8 bytes each.
const (
	placesPerHead = 4
	maxPlaces     = 1 << 20
)

// get returns the head known for a subject; nil: none.
func (c *headCache) get(subject string) *head {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[subject]
	if !ok {
		return nil
	}
	c.used.MoveToFront(e)
	return e.Value.(*headEntry).head
}

// put remembers a head, unless a newer one is known, or may be, or one that knows
// more.
func (c *headCache) put(subject string, h *head) {
	keep := h
	if h.tail != nil {
		without := *h
		without.tail = nil
		keep = &without
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[subject]; ok {
		entry := e.Value.(*headEntry)
		known := entry.head
		c.used.MoveToFront(e)
		if known.position > h.position ||
			known.position == h.position && known.state.ID == h.state.ID && len(known.recent) > len(h.recent) {
			return
		}
		c.bytes -= entry.bytes
		entry.set(keep)
		c.bytes += entry.bytes
	} else {
		if c.floors != nil && max(h.position, h.upTo) < *c.place(subject) {
			return
		}
		entry := &headEntry{subject: subject}
		entry.set(keep)
		c.entries[subject] = c.used.PushFront(entry)
		c.bytes += entry.bytes
	}
	for (c.used.Len() > c.max || c.bytes > c.maxBytes) && c.used.Len() > 1 {
		c.drop(c.used.Back())
	}
}

func (c *headCache) drop(e *list.Element) {
	entry := c.used.Remove(e).(*headEntry)
	delete(c.entries, entry.subject)
	c.bytes -= entry.bytes
	if c.floors == nil {
		c.floors = make([]uint64, min(placesPerHead*c.max, maxPlaces))
	}
	floor := c.place(entry.subject)
	*floor = max(*floor, entry.head.position)
}

func (c *headCache) place(subject string) *uint64 {
	return &c.floors[maphash.String(c.seed, subject)%uint64(len(c.floors))]
}

// seen returns the head known for a subject, if any, and a position that what is
// read of the subject must not be before, for this process has seen it there. Where
// the head is not known any more, it may be another subject that was seen there.
func (c *headCache) seen(subject string) (known *head, floor uint64) {
	if known = c.get(subject); known != nil {
		return known, known.position
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.floors == nil {
		return nil, 0
	}
	return nil, *c.place(subject)
}
