package backendtest

import (
	"iter"
	"slices"

	"github.com/tributary-es/tributary/backend"
)

// following is a range over a subscription, a batch at a time, which is checked
// for all that a batch must be.
type following struct {
	t       tester
	options backend.SubscribeOptions
	next    func() (backend.Batch, error, bool)
	stop    func()
	last    backend.Batch           // the latest
	batches int                     // how many came
	events  []backend.RecordedEvent // of all of them
}

func (s *stream) subscribe(options backend.SubscribeOptions) iter.Seq2[backend.Batch, error] {
	return backend.Subscribe(s.ctx, s.b, options)
}

// follow begins to range over a subscription.
func (s *stream) follow(options backend.SubscribeOptions) *following {
	s.t.Helper()
	f := &following{t: s.t, options: options}
	f.last.Position, _ = options.From.Position()
	f.next, f.stop = iter.Pull2(s.subscribe(options))
	s.t.Cleanup(f.stop)
	return f
}

// batch waits for the next batch.
func (f *following) batch() backend.Batch {
	f.t.Helper()
	batch, err, ok := f.next()
	must(f.t, err)
	if !ok {
		f.t.Fatal("the subscription ended without an error")
	}
	if n := len(batch.Events); n > 0 {
		if first := batch.Events[0].Position; first <= f.last.Position {
			f.t.Fatalf("after a batch up to position %d came one from position %d on", f.last.Position, first)
		}
		last := batch.Events[n-1].Position
		if batch.Position < last {
			f.t.Fatalf("a batch up to position %d has an event of position %d", batch.Position, last)
		}
		size := f.options.BatchSize
		if size == 0 {
			size = backend.DefaultBatchSize
		}
		if i := slices.IndexFunc(batch.Events, func(e backend.RecordedEvent) bool { return e.Position == last }); i >= size {
			f.t.Fatalf("a batch goes on with a commit after %d events, the batch size is %d", i, size)
		}
	} else if f.batches > 0 && batch.Position == f.last.Position && batch.CaughtUp == f.last.CaughtUp {
		f.t.Fatalf("a batch without events, up to position %d, tells nothing that the one before it did not", batch.Position)
	}
	if batch.Position < f.last.Position {
		f.t.Fatalf("after a batch up to position %d came one up to position %d", f.last.Position, batch.Position)
	}
	if len(f.options.EventTypes) == 0 { // which leave gaps within a commit
		wantPositionOrder(f.t, batch.Events)
	}
	f.events = append(f.events, batch.Events...)
	f.last = batch
	f.batches++
	return batch
}

// until waits for that many events in all, and returns all.
func (f *following) until(n int) []backend.RecordedEvent {
	f.t.Helper()
	for len(f.events) < n {
		f.batch()
	}
	if len(f.events) > n {
		f.t.Fatalf("the subscription yielded %d events, want %d", len(f.events), n)
	}
	return f.events
}

// untilPosition waits for the subscription to be at a position.
func (f *following) untilPosition(position uint64) {
	f.t.Helper()
	for f.last.Position < position {
		f.batch()
	}
}

// untilCaughtUp waits for a batch that tells that the subscription has caught up.
func (f *following) untilCaughtUp() {
	f.t.Helper()
	for f.batches == 0 || !f.last.CaughtUp {
		f.batch()
	}
}

// wantEnd checks that the subscription ends with an error, once, yielding what
// it may yet yield before.
func (f *following) wantEnd(want error) {
	f.t.Helper()
	for {
		batch, err, ok := f.next()
		if !ok {
			f.t.Fatal("the subscription ended without an error")
		}
		if err == nil {
			continue
		}
		wantErr(f.t, err, want)
		if len(batch.Events) != 0 || batch.Position != 0 || batch.CaughtUp {
			f.t.Fatalf("the error %q came with a batch of %d events, up to position %d", err, len(batch.Events), batch.Position)
		}
		if _, err, ok := f.next(); ok {
			f.t.Fatalf("after the error came another pair, error %v", err)
		}
		return
	}
}

// typed returns events of these types, in one commit.
func typed(eventTypes ...string) []backend.UnsavedEvent {
	events := events(len(eventTypes))
	for i := range events {
		events[i].EventType = eventTypes[i]
	}
	return events
}

// ofTypes returns the events among events that are of one of the types.
func ofTypes(events []backend.RecordedEvent, eventTypes ...string) []backend.RecordedEvent {
	return slices.DeleteFunc(slices.Clone(events), func(e backend.RecordedEvent) bool { return !slices.Contains(eventTypes, e.EventType) })
}

// after returns the events among events that are after a position.
func after(events []backend.RecordedEvent, position uint64) []backend.RecordedEvent {
	return slices.DeleteFunc(slices.Clone(events), func(e backend.RecordedEvent) bool { return e.Position <= position })
}
