package backendtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

// patience is how long a clause may take: a backend that hangs is to fail the
// clause, not the whole test binary.
const patience = 2 * time.Minute

// noLimit is the limit of a read that is to return everything.
const noLimit = math.MaxUint64

// stream is a clause's own event stream. Its methods are the backend's, less
// what most clauses don't care about.
type stream struct {
	t    tester
	b    backend.Backend
	ctx  context.Context
	name string
}

// fresh returns an event stream that does not exist yet.
func fresh(t tester, b backend.Backend) *stream {
	t.Helper()
	return named(t, b, "clause-"+uuid.NewString())
}

func named(t tester, b backend.Backend, name string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &stream{t: t, b: b, ctx: ctx, name: name}
}

// events returns n events to append, of which no two have the same data.
func events(n int) []backend.UnsavedEvent {
	events := make([]backend.UnsavedEvent, n)
	for i := range events {
		events[i] = backend.UnsavedEvent{EventType: "Happened", Data: fmt.Appendf(nil, "event %d of %d, %s", i+1, n, uuid.NewString())}
	}
	return events
}

// identified returns n events that have ids.
func identified(n int) []backend.UnsavedEvent {
	events := events(n)
	for i := range events {
		events[i].EventUUID = uuid.New()
	}
	return events
}

// versioned returns n events that are to get the versions from first on.
func versioned(first uint64, n int) []backend.UnsavedEvent {
	events := events(n)
	for i := range events {
		events[i].StreamVersion = first + uint64(i)
	}
	return events
}

func (s *stream) append(expected backend.ExpectedVersion, events []backend.UnsavedEvent) (backend.AppendResult, error) {
	return backend.Append(s.ctx, s.b, s.name, expected, events, uuid.Nil)
}

func (s *stream) appendTo(events []backend.UnsavedEvent) ([]uuid.UUID, error) {
	return s.b.AppendToStream(s.ctx, s.name, events, uuid.Nil)
}

func (s *stream) read(version, limit uint64) ([]backend.RecordedEvent, error) {
	return s.b.ReadStream(s.ctx, s.name, version, limit, uuid.Nil)
}

func (s *stream) readBackward(version, limit uint64) ([]backend.RecordedEvent, error) {
	return backend.ReadStreamBackward(s.ctx, s.b, s.name, version, limit, uuid.Nil)
}

func (s *stream) forward(batchSize int) iter.Seq2[[]backend.RecordedEvent, error] {
	return s.b.StreamForward(s.ctx, s.name, batchSize, uuid.Nil)
}

func (s *stream) readInfo() (backend.Stream, error) {
	return s.b.ReadStreamInfo(s.ctx, s.name, uuid.Nil)
}

func (s *stream) delete(version uint64) error {
	return s.b.DeleteStream(s.ctx, backend.Stream{UUID: s.name, Version: version}, uuid.Nil)
}

func (s *stream) softDelete(expected backend.ExpectedVersion) error {
	return backend.SoftDelete(s.ctx, s.b, s.name, expected, uuid.Nil)
}

func (s *stream) restore() error { return backend.Restore(s.ctx, s.b, s.name, uuid.Nil) }

func (s *stream) truncate(before uint64) error {
	return backend.Truncate(s.ctx, s.b, s.name, before, uuid.Nil)
}

// create creates the event stream, which must succeed.
func (s *stream) create() backend.Stream {
	s.t.Helper()
	info, err := s.b.CreateStream(s.ctx, backend.Stream{UUID: s.name}, uuid.Nil)
	must(s.t, err)
	return info
}

// mustAppend appends, which must succeed.
func (s *stream) mustAppend(expected backend.ExpectedVersion, events []backend.UnsavedEvent) backend.AppendResult {
	s.t.Helper()
	res, err := s.append(expected, events)
	must(s.t, err)
	return res
}

// add appends commits of the given numbers of events, creating the event stream
// where it is missing, and returns the result of the last.
func (s *stream) add(sizes ...int) (res backend.AppendResult) {
	s.t.Helper()
	for _, n := range sizes {
		res = s.mustAppend(backend.AnyVersion(), events(n))
	}
	return res
}

// addSingly appends n commits of one event.
func (s *stream) addSingly(n int) (res backend.AppendResult) {
	s.t.Helper()
	return s.add(slices.Repeat([]int{1}, n)...)
}

// info describes the event stream, which must exist.
func (s *stream) info() backend.Stream {
	s.t.Helper()
	info, err := s.readInfo()
	must(s.t, err)
	return info
}

// all returns every event of the event stream, which must be readable.
func (s *stream) all() []backend.RecordedEvent {
	s.t.Helper()
	got, err := s.read(1, noLimit)
	must(s.t, err)
	return got
}

// batches ranges over the event stream to the end, without an error.
func (s *stream) batches(batchSize int) [][]backend.RecordedEvent {
	s.t.Helper()
	batches, err := collect(s.t, s.forward(batchSize))
	must(s.t, err)
	return batches
}

// collect ranges over seq and checks that its pairs are as the contract says.
func collect(t tester, seq iter.Seq2[[]backend.RecordedEvent, error]) (batches [][]backend.RecordedEvent, end error) {
	t.Helper()
	for batch, err := range seq {
		switch {
		case end != nil:
			t.Fatalf("after the error %q came another pair: %d events, error %v", end, len(batch), err)
		case err != nil && batch != nil:
			t.Fatalf("the error %q came with a batch of %d events", err, len(batch))
		case err == nil && len(batch) == 0:
			t.Fatal("a batch is empty")
		case err != nil:
			end = err
		default:
			batches = append(batches, batch)
		}
	}
	return batches, end
}

// state is all that can be seen of an event stream.
type state struct {
	exists bool
	info   backend.Stream
	events []backend.RecordedEvent // none where it is soft-deleted
}

func (s *stream) state() state {
	s.t.Helper()
	info, err := s.readInfo()
	if errors.Is(err, backend.ErrStreamNotFound) {
		return state{}
	}
	must(s.t, err)
	if info.DeletedAt != nil {
		return state{exists: true, info: info}
	}
	return state{exists: true, info: info, events: s.all()}
}

// wantState checks that nothing changed.
func (s *stream) wantState(before state) {
	s.t.Helper()
	after := s.state()
	if after.exists != before.exists {
		s.t.Fatalf("event stream %q exists: %t, before: %t", s.name, after.exists, before.exists)
	}
	if before.exists {
		wantSameInfo(s.t, before.info, after.info)
		wantSameEvents(s.t, before.events, after.events)
	}
}

// wantHistory checks that the event stream has the given version, that its info
// says so too, and that every event from version first on can be read.
func (s *stream) wantHistory(first, version uint64) []backend.RecordedEvent {
	s.t.Helper()
	if info := s.info(); info.Version != version {
		s.t.Fatalf("event stream %q is at version %d, want %d", s.name, info.Version, version)
	}
	got := s.all()
	wantVersions(s.t, got, s.name, first, version)
	return got
}
