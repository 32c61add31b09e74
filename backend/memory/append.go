package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

// AppendToStream is as [backend.Backend] says. A repeated append is recognised
// as in [Backend.Append].
func (b *Backend) AppendToStream(ctx context.Context, streamUUID string, events []backend.UnsavedEvent, correlationID uuid.UUID) ([]uuid.UUID, error) {
	if err := check(ctx, streamUUID); err != nil {
		return nil, err
	}
	prepared, expected, err := backend.Prepare(streamUUID, events, correlationID)
	if err != nil {
		return nil, err
	}
	if expected == backend.AnyVersion() {
		expected = backend.StreamExists()
	}
	recorded := record(streamUUID, prepared)

	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := b.find(streamUUID); err != nil {
		return nil, err
	}
	res, err := b.append(streamUUID, expected, events, recorded)
	return res.EventUUIDs, err
}

// Append is as [backend.Append] says. Where no exact version is expected, ids
// are looked for in the last 16 commits.
func (b *Backend) Append(ctx context.Context, streamUUID string, expected backend.ExpectedVersion, events []backend.UnsavedEvent, correlationID uuid.UUID) (backend.AppendResult, error) {
	if err := check(ctx, streamUUID); err != nil {
		return backend.AppendResult{}, err
	}
	prepared, given, err := backend.Prepare(streamUUID, events, correlationID)
	if err != nil {
		return backend.AppendResult{}, err
	}
	if err := backend.Agree(expected, given); err != nil {
		return backend.AppendResult{}, err
	}
	recorded := record(streamUUID, prepared)

	b.mu.Lock()
	defer b.mu.Unlock()
	return b.append(streamUUID, expected, events, recorded)
}

// record makes of prepared events what will be read back, but for what the place
// in the store decides.
func record(streamUUID string, prepared []backend.UnsavedEvent) []backend.RecordedEvent {
	recorded := make([]backend.RecordedEvent, len(prepared))
	for i := range prepared {
		e := &prepared[i]
		recorded[i] = backend.RecordedEvent{
			EventUUID:     e.EventUUID,
			StreamUUID:    streamUUID,
			CausationID:   e.CausationID,
			CorrelationID: e.CorrelationID,
			EventType:     e.EventType,
			Data:          copyBytes(e.Data),
			Metadata:      copyBytes(e.Metadata),
			CreatedAt:     e.CreatedAt,
		}
	}
	return recorded
}

// append appends recorded, of which events are the originals: they tell which
// ids the caller gave. The caller holds b.mu.
func (b *Backend) append(streamUUID string, expected backend.ExpectedVersion, events []backend.UnsavedEvent, recorded []backend.RecordedEvent) (backend.AppendResult, error) {
	if err := b.open(); err != nil {
		return backend.AppendResult{}, err
	}
	s := b.streams[streamUUID]
	var current *backend.Stream
	if s != nil {
		current = &s.info
	}
	verified := expected.Verify(streamUUID, current)
	if s != nil && len(events) > 0 && !errors.Is(verified, backend.ErrStreamDeleted) {
		res, repeated, err := s.repeated(expected, verified, events)
		if repeated || err != nil {
			return res, err
		}
	}
	if verified != nil {
		return backend.AppendResult{}, verified
	}
	if len(events) == 0 {
		if s == nil {
			return backend.AppendResult{}, nil
		}
		return backend.AppendResult{Version: s.info.Version}, nil
	}

	if s == nil {
		s = b.create(streamUUID, time.Time{})
	}
	b.position++
	c := &commit{position: b.position, streamUUID: streamUUID, events: recorded}
	ids := make([]uuid.UUID, len(recorded))
	now := time.Now().UTC().Round(0)
	for i := range recorded {
		e := &recorded[i]
		e.StreamVersion = s.info.Version + 1 + uint64(i)
		e.EventNumber = e.StreamVersion
		e.Position = c.position
		e.RecordedAt = now
		ids[i] = e.EventUUID
	}
	s.info.Version += uint64(len(recorded))
	s.commits = append(s.commits, c)
	b.log = append(b.log, c)
	b.waiting.wake(streamUUID)
	return backend.AppendResult{EventUUIDs: ids, Version: s.info.Version, Position: c.position}, nil
}

func copyBytes(b []byte) []byte {
	if len(b) == 0 {
		return nil // zero length is read back as nil
	}
	return bytes.Clone(b)
}

// recentCommits is how many commits are searched for the ids of an append that
// expects no exact version. The contract asks for 15 at least.
const recentCommits = 16

// repeated tells whether events were appended to s before, and with which
// result. An id that was left to be generated is like no other. The error comes
// where only some of the events were; verified is what expected says of s.
func (s *stream) repeated(expected backend.ExpectedVersion, verified error, events []backend.UnsavedEvent) (res backend.AppendResult, repeated bool, err error) {
	before, exact := expected.Exact()
	if exact {
		if before >= s.info.Version || before+1 < s.first {
			return res, false, nil
		}
		original, n := s.match(before+1, events)
		switch {
		case n == len(events):
			return original, true, nil
		case n == 0:
			return res, false, nil
		case before+uint64(n) == s.info.Version:
			return res, false, s.partlyRepeated(expected, fmt.Sprintf("only the first %d of the %d events are recorded", n, len(events)))
		}
		return res, false, s.partlyRepeated(expected, fmt.Sprintf("the first %d of the %d events are recorded, then another event at version %d", n, len(events), before+1+uint64(n)))
	}
	if verified != nil {
		return res, false, nil
	}

	given := givenIDs(events)
	if len(given) == 0 {
		return res, false, nil
	}
	found := 0
	for _, c := range s.commits[max(0, len(s.commits)-recentCommits):] {
		for i := range c.events {
			e := &c.events[i]
			if _, ok := given[e.EventUUID]; !ok || e.StreamVersion < s.first {
				continue
			}
			found++
			if e.EventUUID != events[0].EventUUID {
				continue
			}
			if original, n := s.match(e.StreamVersion, events); n == len(events) {
				return original, true, nil
			}
		}
	}
	if found > 0 {
		return res, false, s.partlyRepeated(expected, fmt.Sprintf("of the %d events some are recorded, or all in another order", len(events)))
	}
	return res, false, nil
}

// match counts the events from the first on whose ids are recorded from version
// on, and returns the result of the append of those.
func (s *stream) match(version uint64, events []backend.UnsavedEvent) (res backend.AppendResult, n int) {
	for _, c := range s.commits[commitOf(s.commits, version):] {
		for i := version - c.events[0].StreamVersion; i < uint64(len(c.events)); i++ {
			e := &c.events[i]
			if n == len(events) || events[n].EventUUID != e.EventUUID { // which uuid.Nil always is
				return res, n
			}
			res.EventUUIDs = append(res.EventUUIDs, e.EventUUID)
			res.Version, res.Position = e.StreamVersion, c.position
			version++
			n++
		}
	}
	return res, n
}

func (s *stream) partlyRepeated(expected backend.ExpectedVersion, detail string) error {
	return &backend.WrongExpectedVersionError{
		StreamUUID: s.info.UUID,
		Expected:   expected,
		Actual:     s.info.Version,
		Detail:     detail,
	}
}

func givenIDs(events []backend.UnsavedEvent) map[uuid.UUID]struct{} {
	var given map[uuid.UUID]struct{} // not made where no ids are given, as is most common in tests
	for i := range events {
		if events[i].EventUUID == uuid.Nil {
			continue
		}
		if given == nil {
			given = make(map[uuid.UUID]struct{}, len(events))
		}
		given[events[i].EventUUID] = struct{}{}
	}
	return given
}
