package jetstream_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// recreated has ten commits in the event stream x, and then its JetStream
// stream deleted and made again by another process, under an open backend.
func recreated(t *testing.T) (known, other *store) {
	t.Helper()
	s := newStore(t, jetstream.Config{RequestTimeout: 50 * time.Millisecond, Timeout: 5 * time.Second})
	s.add("x", slices.Repeat([]int{2}, 10)...)
	if err := s.js.DeleteStream(t.Context(), jetstream.DefaultStream); err != nil {
		t.Fatal(err)
	}
	return s, s.again(jetstream.Config{})
}

// wantRefused fails the test where an error is not a clear one.
func wantRefused(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, backend.ErrCorrupted) && !errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("%s: error %v, want ErrCorrupted or ErrUnavailable", what, err)
	}
}

func TestAnotherJetStreamStreamOfTheNameIsNotMixedWithTheKnownOne(t *testing.T) {
	t.Run("which is empty", func(t *testing.T) {
		known, other := recreated(t)
		wantAllRefused(t, known)
		if got := other.lastSeq(); got != 0 {
			t.Errorf("%d messages were written", got)
		}
	})
	t.Run("which has less", func(t *testing.T) {
		known, other := recreated(t)
		other.add("x", 1, 1)
		wantAllRefused(t, known)
		wantStream(t, other, "x", 2)
	})
	t.Run("which has as much, of other sizes", func(t *testing.T) {
		known, other := recreated(t)
		other.add("x", slices.Repeat([]int{1}, 10)...)
		wantReadsRefusedOrNew(t, known, other)
		wantStream(t, other, "x", 10)
	})
	t.Run("which has more", func(t *testing.T) {
		known, other := recreated(t)
		other.add("x", slices.Repeat([]int{1}, 15)...)
		wantReadsRefusedOrNew(t, known, other)
		wantStream(t, other, "x", 15)
	})
}

func wantAllRefused(t *testing.T, known *store) {
	t.Helper()
	ctx := t.Context()
	started := time.Now()
	for _, r := range readers {
		events, err := r.read(ctx, known, "x")
		if err == nil {
			t.Errorf("%s: %d events", r.name, len(events))
			continue
		}
		wantRefused(t, r.name, err)
	}
	for _, expected := range []backend.ExpectedVersion{backend.AnyVersion(), backend.ExactVersion(20), backend.NoStream()} {
		_, err := backend.Append(ctx, known, "x", expected, identified(1), uuid.Nil)
		wantRefused(t, "append to "+expected.String(), err)
	}
	wantRefused(t, "deleting", known.DeleteStream(ctx, backend.Stream{UUID: "x"}, uuid.Nil))
	_, err := readAll(ctx, known, backend.ReadAllOptions{})
	wantRefused(t, "ReadAll", err)
	if took := time.Since(started); took > patience {
		t.Errorf("it took %v", took)
	}
}

// wantReadsRefusedOrNew allows what is there now, but no mixture.
func wantReadsRefusedOrNew(t *testing.T, known, other *store) {
	t.Helper()
	now := other.all("x")
	for _, r := range readers {
		events, err := r.read(t.Context(), known, "x")
		if err != nil {
			wantRefused(t, r.name, err)
			continue
		}
		if !slices.EqualFunc(events, now, func(a, b backend.RecordedEvent) bool {
			return a.EventUUID == b.EventUUID && a.StreamVersion == b.StreamVersion && a.Position == b.Position
		}) {
			t.Errorf("%s: %d events, which are not those that are there now", r.name, len(events))
		}
	}
	if info, err := known.ReadStreamInfo(t.Context(), "x", uuid.Nil); err == nil && info != other.info("x") {
		t.Errorf("info: %+v, want %+v", info, other.info("x"))
	}
	_, err := readAll(t.Context(), known, backend.ReadAllOptions{})
	wantRefused(t, "ReadAll", err)
	if other.lastSeq() == 10 {
		// By chance the last position is the same in both. An append that is
		// fenced with it would succeed: there is nothing in JetStream to tell one
		// stream of a name from another.
		return
	}
	// The version that it had must not be continued.
	_, err = backend.Append(t.Context(), known, "x", backend.ExactVersion(20), identified(1), uuid.Nil)
	if err == nil {
		t.Error("an append to a version that is only known of the one before succeeded")
	}
}

func TestAJetStreamStreamThatIsGoneIsUnavailable(t *testing.T) {
	s := newStore(t, jetstream.Config{RequestTimeout: 50 * time.Millisecond, Timeout: 300 * time.Millisecond})
	s.add("x", 1, 2)
	if err := s.js.DeleteStream(t.Context(), jetstream.DefaultStream); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x", "unknown"} {
		for _, r := range readers {
			started := time.Now()
			_, err := r.read(t.Context(), s, name)
			wantRefused(t, r.name, err)
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("%s took %v", r.name, took)
			}
		}
		_, err := backend.Append(t.Context(), s, name, backend.AnyVersion(), identified(1), uuid.Nil)
		wantRefused(t, "append", err)
	}
	_, err := readAll(t.Context(), s, backend.ReadAllOptions{})
	wantRefused(t, "ReadAll", err)
}
