package durable

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tributary-es/tributary/backend"
)

// The types of the events in a parking event stream.
const (
	eventParked    = "CommitParked"
	eventReplayed  = "CommitReplayed"
	eventDiscarded = "CommitDiscarded"
)

const (
	maxErrorBytes = 4 << 10
	maxStackBytes = 16 << 10
)

// parkingStream is the event stream that holds what a subscription has parked.
func parkingStream(name string) string { return "$parked." + name }

// parkedEvent is what an event in a parking event stream says.
type parkedEvent struct {
	Stream   string    `json:"stream"`
	Position uint64    `json:"position"` // of the commit
	First    uint64    `json:"first_version,omitempty"`
	Last     uint64    `json:"last_version,omitempty"`
	Attempts int       `json:"attempts,omitempty"` // 0: it waits behind another
	Error    string    `json:"error,omitempty"`
	Stack    string    `json:"stack,omitempty"`
	ParkedAt time.Time `json:"parked_at,omitzero"`
	Member   string    `json:"member,omitempty"`
	Life     string    `json:"life"`
	Epoch    uint64    `json:"epoch,omitempty"`
}

// commit is the event as the contract says it.
func (e *parkedEvent) commit() backend.ParkedCommit {
	return backend.ParkedCommit{
		StreamUUID: e.Stream, Position: e.Position, FirstVersion: e.First, LastVersion: e.Last,
		Attempts: e.Attempts, Error: e.Error, Stack: e.Stack, ParkedAt: e.ParkedAt, Member: e.Member,
	}
}

// parking is what a subscription has parked.
type parking struct {
	commits []parkedEvent // in position order
	events  int           // that were read
	keep    uint64        // the version of the first event that still tells something
	end     uint64        // the version after the last event
}

// readParking reads what a subscription has parked.
func (s *Subscriptions) readParking(ctx context.Context, name string, d *document) (*parking, error) {
	events, err := s.store.ReadReserved(ctx, parkingStream(name))
	if err != nil {
		return nil, fmt.Errorf("reading what %q has parked: %w", name, err)
	}
	type stored struct {
		parkedEvent
		version uint64
	}
	parked := make(map[uint64]stored)
	p := &parking{events: len(events)}
	for i := range events {
		e := stored{version: events[i].StreamVersion}
		if err := json.Unmarshal(events[i].Data, &e.parkedEvent); err != nil {
			return nil, &backend.CorruptedError{StreamUUID: parkingStream(name), FirstVersion: e.version, LastVersion: e.version,
				Position: events[i].Position, Reason: "what is parked can't be read", Err: err}
		}
		p.keep = e.version + 1
		if e.Life != d.Life {
			continue // of one of the name that was deleted
		}
		switch before, again := parked[e.Position]; {
		case events[i].EventType != eventParked:
			delete(parked, e.Position)
		case d.forgets(e.Epoch, e.Position):
		case again && before.Attempts > 0 && e.Attempts == 0:
			// It comes once more, since its member died before it had told that it
			// parked it: it waits behind itself.
		default:
			parked[e.Position] = e
		}
	}
	p.end = p.keep
	for _, e := range parked {
		p.commits = append(p.commits, e.parkedEvent)
		p.keep = min(p.keep, e.version)
	}
	slices.SortFunc(p.commits, func(a, b parkedEvent) int {
		if a.Position < b.Position {
			return -1
		}
		return 1
	})
	return p, nil
}

const (
	// tidyEvents is how many events that tell nothing any more are left before they
	// are erased, where others come after them: that takes two requests, and a
	// permission that a member may not have.
	tidyEvents = 256

	// tidyEmpty is the same where nothing is parked: that takes one.
	tidyEmpty = 16
)

// tidy erases what tells nothing any more, when it is much: each member that
// begins with a partition reads all of it.
func (s *Subscriptions) tidy(ctx context.Context, name string, p *parking) {
	if len(p.commits) > 0 && p.events-len(p.commits) < tidyEvents || p.events < tidyEmpty {
		return
	}
	s.erase(ctx, name, p.keep)
}

// erase erases what is parked under a name before a version, which tells nothing
// any more: where it can't be, it does no harm.
func (s *Subscriptions) erase(ctx context.Context, name string, before uint64) {
	if err := s.store.TruncateReserved(ctx, parkingStream(name), before); err != nil {
		s.log.DebugContext(ctx, "erasing what was parked", "subscription", name, "error", err)
	}
}

// of returns what is parked of an event stream, in order.
func (p *parking) of(streamUUID string) []parkedEvent {
	var of []parkedEvent
	for _, e := range p.commits {
		if e.Stream == streamUUID {
			of = append(of, e)
		}
	}
	return of
}

// find returns the commit that is parked at a position; nil: none is.
func (p *parking) find(position uint64) *parkedEvent {
	for i := range p.commits {
		if p.commits[i].Position == position {
			return &p.commits[i]
		}
	}
	return nil
}

// record appends to the parking event stream.
func (s *Subscriptions) record(ctx context.Context, name, eventType string, e parkedEvent) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return s.store.AppendReserved(ctx, parkingStream(name), backend.UnsavedEvent{EventType: eventType, Data: data})
}

// shortened cuts a text that may be of any length and content.
func shortened(text string, most int) string {
	if len(text) <= most {
		return strings.ToValidUTF8(text, "\uFFFD")
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return strings.ToValidUTF8(text[:most], "\uFFFD")
}
