package jetstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// repeated recognises an append that is stored already, by its event ids, and
// returns the first result of it. done is false where it is none, and the append
// may go on; an error says that it is neither.
//
// It only compares where ids were given, and where h shows that the comparison
// matters: what h doesn't show, the fence will.
func (b *Backend) repeated(ctx context.Context, t target, h *head, a *appendage) (res backend.AppendResult, done bool, err error) {
	if !a.given || !h.exists || !h.state.Deleted.IsZero() || h.state.Version == 0 {
		return res, false, nil
	}
	if version, ok := a.expected.Exact(); ok {
		if version >= h.state.Version || version+1 < h.state.First {
			return res, false, nil
		}
		return b.repeatedAt(ctx, t, h, a, version+1)
	}
	return b.repeatedLately(ctx, t, h, a)
}

// looksBack reports whether repeated has to read events to tell.
func (a *appendage) looksBack(h *head) bool {
	if !a.given || !h.exists {
		return false
	}
	known := uint64(len(h.recent))
	if version, ok := a.expected.Exact(); ok {
		return version < h.state.Version && version < h.state.Version-known
	}
	return h.linked() > known
}

// repeatedAt compares with the events recorded from version first on.
func (b *Backend) repeatedAt(ctx context.Context, t target, h *head, a *appendage, first uint64) (backend.AppendResult, bool, error) {
	last := min(first+uint64(len(a.events))-1, h.state.Version)
	recorded, err := b.recentEvents(ctx, t, h, first, last)
	if err != nil {
		return backend.AppendResult{}, false, err
	}
	return a.compare(t, h, recorded, first)
}

// compare answers for an append whose first event may be the first recorded.
func (a *appendage) compare(t target, h *head, recorded []recent, first uint64) (backend.AppendResult, bool, error) {
	same := 0
	for same < len(recorded) && same < len(a.events) && recorded[same].id == a.events[same].EventUUID {
		same++
	}
	switch {
	case same == 0:
		return backend.AppendResult{}, false, nil
	case same == len(a.events):
		return a.result(first+uint64(same)-1, recorded[same-1].position), true, nil
	}
	return backend.AppendResult{}, false, a.partly(t, h, fmt.Sprintf("of %d events, the first %d are recorded at versions %d to %d, the next is not",
		len(a.events), same, first, first+uint64(same)-1))
}

func (a *appendage) partly(t target, h *head, detail string) error {
	return &backend.WrongExpectedVersionError{StreamUUID: t.uuid, Expected: a.expected, Actual: h.state.Version, Detail: detail}
}

// repeatedLately looks for the ids in the latest commits.
func (b *Backend) repeatedLately(ctx context.Context, t target, h *head, a *appendage) (backend.AppendResult, bool, error) {
	linked := h.linked()
	if linked == 0 {
		return backend.AppendResult{}, false, nil
	}
	first := h.state.Version - linked + 1
	recorded, err := b.recentEvents(ctx, t, h, first, h.state.Version)
	if err != nil {
		return backend.AppendResult{}, false, err
	}
	for i := range recorded {
		if recorded[i].id == a.events[0].EventUUID {
			return a.compare(t, h, recorded[i:], first+uint64(i))
		}
	}
	// The first is not there: no other must be.
	ids := make(map[uuid.UUID]struct{}, len(a.events)-1)
	for i := range a.events[1:] {
		ids[a.events[i+1].EventUUID] = struct{}{}
	}
	for i := range recorded {
		if _, ok := ids[recorded[i].id]; ok {
			return backend.AppendResult{}, false, a.partly(t, h, fmt.Sprintf("event %s is recorded at version %d, the first is not", recorded[i].id, first+uint64(i)))
		}
	}
	return backend.AppendResult{}, false, nil
}

// recentEvents returns the ids and positions of the events of versions first to
// last, from memory where they are known, and else remembers what it reads.
func (b *Backend) recentEvents(ctx context.Context, t target, h *head, first, last uint64) ([]recent, error) {
	oldest := h.state.Version - uint64(len(h.recent)) + 1 // the first version known
	if first >= oldest {
		return h.recent[first-oldest : last-oldest+1], nil
	}
	events, err := b.readRange(ctx, t, h, first, last)
	if errors.Is(err, backend.ErrStreamChanged) {
		return nil, nil // the fence will tell
	}
	if err != nil {
		return nil, err
	}
	read := make([]recent, len(events))
	for i := range events {
		read[i] = recent{id: events[i].EventUUID, position: events[i].Position}
	}
	if last == h.state.Version && len(read) <= maxRecent {
		filled := *h
		filled.recent = read
		filled.tail = nil
		b.heads.put(t.subject, &filled)
	}
	return read, nil
}
