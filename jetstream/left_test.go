package jetstream_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// queued is appends to x that wait behind one whose answer the proxy withholds.
type queued struct {
	*shaky
	first <-chan error
	n     int
}

// newQueued begins x with one event. The append that has the turn writes another.
func newQueued(t *testing.T, cfg jetstream.Config) *queued {
	t.Helper()
	q := &queued{shaky: newShaky(t, cfg)}
	q.add("x", 1)
	before := q.direct.lastSeq()
	q.p.on(func(subject string) fate {
		if subject == "events.x" {
			q.p.answers = withheld
		}
		return arrives
	})
	q.first = appending(t.Context(), q.store, backend.AnyVersion(), unnamed(1))
	eventually(t, "the server has the first", func() bool { return q.direct.lastSeq() > before })
	return q
}

// appending appends to x in the background.
func appending(ctx context.Context, s *store, expected backend.ExpectedVersion, events []backend.UnsavedEvent) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := backend.Append(ctx, s, "x", expected, events, uuid.Nil)
		done <- err
	}()
	return done
}

// join has an append wait.
func (q *queued) join(ctx context.Context, expected backend.ExpectedVersion, events []backend.UnsavedEvent) <-chan error {
	q.t.Helper()
	done := appending(ctx, q.store, expected, events)
	q.n++
	eventually(q.t, "it waits", func() bool { return q.Waiting("events.x") == q.n })
	return done
}

// run lets the answers through, and has the rule for what is published then.
func (q *queued) run(rule func(subject string) fate) {
	q.t.Helper()
	q.p.take()
	q.p.on(rule)
	q.p.set(flowing)
	if err := wantDone(q.t.(*testing.T), q.first); err != nil {
		q.t.Fatal(err)
	}
}

// wantLeft fails the test where a caller that left was not told that its append
// may have been written.
func wantLeft(t *testing.T, done <-chan error) {
	t.Helper()
	if err := wantDone(t, done); !errors.Is(err, backend.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want ErrOutcomeUnknown and Canceled", err)
	}
}

// Whoever left repeats the append, which finds it by its fence or its ids, unless
// it is written after that.
func TestAnAppendWhoseCallerHasLeftIsNotWrittenAfterANewerHead(t *testing.T) {
	q := newQueued(t, jetstream.Config{RequestTimeout: patience})
	ctx, leave := context.WithCancel(t.Context())
	stays := identified(1)
	leaver := q.join(ctx, backend.AnyVersion(), identified(1))
	stayer := q.join(t.Context(), backend.AnyVersion(), stays)
	q.direct.append("x", backend.AnyVersion(), unnamed(1)) // so that they meet a conflict
	const head = "$JS.API.STREAM.MSG.GET.EVENTS"
	q.run(func(subject string) fate {
		if subject == head {
			q.p.answers = withheld
		}
		return arrives
	})
	eventually(t, "they ask for the head", func() bool { return q.p.seen(head) > 0 })
	leave()
	wantLeft(t, leaver)
	q.p.on(nil)
	q.p.set(flowing)
	if err := wantDone(t, stayer); err != nil {
		t.Fatal(err)
	}
	events := q.direct.all("x")
	wantVersions(t, events, 1, 4)
	wantEvents(t, events[3:], stays, 4)
}

// A caller who was told what became of an append may use its memory for something
// else.
func TestAnAppendWhoseCallerHasLeftIsSentAgainAsItWas(t *testing.T) {
	q := newQueued(t, jetstream.Config{RequestTimeout: patience})
	refused := q.join(t.Context(), backend.NoStream(), unnamed(1)) // so that the others go on
	ctx, leave := context.WithCancel(t.Context())
	left := sized(1, 1000)
	want := []backend.UnsavedEvent{left[0]}
	want[0].Data = bytes.Clone(left[0].Data)
	leaver := q.join(ctx, backend.AnyVersion(), left)
	before := q.direct.lastSeq()
	q.run(func(subject string) fate {
		if subject == "events.x" {
			return swallow
		}
		return arrives
	})
	eventually(t, "it was sent", func() bool { return q.p.seen("events.x") > 0 })
	leave()
	wantLeft(t, leaver)
	clear(left[0].Data)
	q.p.cut()
	if err := wantDone(t, refused); !errors.Is(err, backend.ErrStreamExists) {
		t.Errorf("the other: %v, want ErrStreamExists", err)
	}
	if got := q.direct.lastSeq(); got != before+1 {
		t.Fatalf("%d messages were stored, want 1", got-before)
	}
	wantEvents(t, q.direct.all("x")[2:], want, 3)
}
