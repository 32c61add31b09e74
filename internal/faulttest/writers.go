package faulttest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// Writers append to some event streams, whatever becomes of it. They are for
// faults that make a store refuse appends, which a [Load] doesn't expect.
type Writers struct {
	Ledger *Ledger

	tb      testing.TB
	b       *jetstream.Backend
	bytes   int           // of an event's data
	within  time.Duration // each append's deadline
	stop    context.CancelFunc
	working sync.WaitGroup

	mu       sync.Mutex
	outcomes map[string]int // how many appends ended so
}

// writersStreams is how many event streams are written, each by one writer.
const writersStreams = 4

// StartWriters has writers append events of a size until they are stopped.
func StartWriters(tb testing.TB, b *jetstream.Backend, bytes int, within time.Duration) *Writers {
	tb.Helper()
	w := &Writers{Ledger: NewLedger(), tb: tb, b: b, bytes: bytes, within: within}
	w.GoOn(b)
	return w
}

// GoOn has writers append after a stop, by a backend.
func (w *Writers) GoOn(b *jetstream.Backend) {
	w.b, w.outcomes = b, make(map[string]int)
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.tb.Cleanup(func() {
		stop()
		w.working.Wait()
	})
	for i := range writersStreams {
		w.working.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				w.append(i, n)
			}
		})
	}
}

func (w *Writers) append(i, n int) {
	events := Events(1 + n%3)
	for j := range events {
		events[j].Data = randomBytes(randomOf(events[j].EventUUID), w.bytes)
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.within)
	defer cancel()
	_, err := w.Ledger.Append(ctx, i, w.b, fmt.Sprintf("w.%d", i), backend.AnyVersion(), events)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outcomes[w.outcome(err)]++
}

func (w *Writers) outcome(err error) string {
	switch {
	case err == nil:
		return "acknowledged"
	case errors.Is(err, backend.ErrStoreFull):
		return "full"
	case errors.Is(err, backend.ErrOutcomeUnknown):
		return "unknown"
	case errors.Is(err, backend.ErrUnavailable):
		return "unavailable"
	}
	w.Ledger.violate("an append: %v", err)
	return "something else"
}

// Stop has the writers end, and tells how their appends did.
func (w *Writers) Stop() map[string]int {
	w.stop()
	w.working.Wait()
	return w.outcomes
}

// Wait waits until so many more appends were acknowledged.
func (w *Writers) Wait(n int64) {
	w.tb.Helper()
	from := w.Ledger.Acknowledged()
	must(w.tb, eventually("appends are acknowledged", func() error {
		if now := w.Ledger.Acknowledged(); now < from+n {
			return fmt.Errorf("%d of %d are", now-from, n)
		}
		return nil
	}))
}

// WaitRefused waits until an append has ended in one of some ways.
func (w *Writers) WaitRefused(ways ...string) {
	w.tb.Helper()
	must(w.tb, eventually("appends are refused", func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, way := range ways {
			if w.outcomes[way] > 0 {
				return nil
			}
		}
		return fmt.Errorf("they are %v", w.outcomes)
	}))
}

// Check compares what was asked with what is stored. Violations fail the test.
func (w *Writers) Check(b *jetstream.Backend) Result {
	w.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stored, _ := w.Ledger.readEverything(ctx, b, "w", 0)
	res := w.Ledger.Compare(stored)
	w.Ledger.finish(&res)
	for _, v := range res.Violations {
		w.tb.Error(v)
	}
	return res
}
