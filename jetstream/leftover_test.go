package jetstream_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// cutShort makes an event stream of three events, and a marker that has erased
// none of them: what a server leaves that is killed between the two.
func cutShort(t *testing.T, kind wire.Kind) *store {
	t.Helper()
	s := newStore(t, jetstream.Config{})
	s.add("x", 1, 2)
	s.add("y", 1)
	after := s.state("x")
	if kind == wire.Truncated {
		after.First = after.Version + 1
	}
	s.put("x", wire.EncodeMarker(kind, uuid.New(), after, nil))
	return s
}

// eachHead runs a test with a backend that knows the head before the marker, and
// with one that knows none.
func eachHead(t *testing.T, kind wire.Kind, test func(t *testing.T, s *store)) {
	t.Run("a known head", func(t *testing.T) { test(t, cutShort(t, kind)) })
	t.Run("no head", func(t *testing.T) { test(t, cutShort(t, kind).again(jetstream.Config{})) })
}

// wantStored fails the test where x doesn't consist of so many messages, or
// ReadAll shows anything of it but the versions first to last.
func wantStored(t *testing.T, s *store, messages, first, last uint64) {
	t.Helper()
	if got := s.stored("events.x").Subjects["events.x"]; got != messages {
		t.Errorf("%d messages are left, want %d", got, messages)
	}
	all, err := readAll(t.Context(), s, backend.ReadAllOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(e backend.RecordedEvent) bool { return e.StreamUUID != "x" })
	wantVersions(t, all, first, last)
}

func TestWhatIsLeftOfAnErasedEventStreamIsOutOfSight(t *testing.T) {
	eachHead(t, wire.Erased, func(t *testing.T, s *store) {
		if _, err := s.ReadStreamInfo(t.Context(), "x", uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
			t.Errorf("info: %v, want ErrStreamNotFound", err)
		}
		for _, r := range readers {
			if events, err := r.read(t.Context(), s, "x"); !errors.Is(err, backend.ErrStreamNotFound) {
				t.Errorf("%s: %d events, error %v, want ErrStreamNotFound", r.name, len(events), err)
			}
		}
	})
}

func TestDeletingAgainClearsWhatIsLeft(t *testing.T) {
	eachHead(t, wire.Erased, func(t *testing.T, s *store) {
		if err := s.DeleteStream(t.Context(), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		wantStored(t, s, 1, 1, 0)
		for _, b := range []*store{s, s.again(jetstream.Config{})} {
			err := b.DeleteStream(t.Context(), backend.Stream{UUID: "x"}, uuid.Nil)
			if !errors.Is(err, backend.ErrStreamNotFound) {
				t.Errorf("nothing is left: error %v, want ErrStreamNotFound", err)
			}
		}
		s.append("x", backend.NoStream(), identified(2))
		wantStream(t, s, "x", 2)
		wantStream(t, s, "y", 1)
	})
}

func TestABeginningClearsWhatIsLeft(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, s *store) (version uint64){
		"CreateStream": func(t *testing.T, s *store) uint64 {
			if _, err := s.CreateStream(t.Context(), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
				t.Fatal(err)
			}
			return 0
		},
		"an append": func(t *testing.T, s *store) uint64 {
			return s.append("x", backend.AnyVersion(), identified(2)).Version
		},
		"an append that expects none": func(t *testing.T, s *store) uint64 {
			return s.append("x", backend.NoStream(), unnamed(2)).Version
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachHead(t, wire.Erased, func(t *testing.T, s *store) {
				version := begin(t, s)
				wantStored(t, s, 1, 1, version)
				s.append("x", backend.ExactVersion(version), identified(1))
				wantStored(t, s, 2, 1, version+1)
				for _, b := range []*store{s, s.again(jetstream.Config{})} {
					wantStream(t, b, "x", version+1)
				}
			})
		})
	}
	t.Run("an append in a batch", func(t *testing.T) {
		s := cutShort(t, wire.Erased).again(jetstream.Config{EventsPerMessage: 1})
		s.append("x", backend.NoStream(), identified(3))
		wantStored(t, s, 3, 1, 3)
		wantStream(t, s, "x", 3)
		wantStream(t, s.again(jetstream.Config{}), "x", 3)
	})
}

func TestTruncatingAgainClearsWhatIsLeft(t *testing.T) {
	eachHead(t, wire.Truncated, func(t *testing.T, s *store) {
		if got := s.all("x"); len(got) != 0 {
			t.Errorf("%d events in sight", len(got))
		}
		if err := s.Truncate(t.Context(), "x", 4, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		wantStored(t, s, 1, 1, 0)
		position := s.lastSeq()
		if err := s.Truncate(t.Context(), "x", 4, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		if got := s.lastSeq(); got != position {
			t.Errorf("nothing is left, and something was written at %d", got)
		}
		s.append("x", backend.ExactVersion(3), identified(2))
		wantVersions(t, s.all("x"), 4, 5)
		wantStored(t, s, 2, 4, 5)
	})
}

func TestDeletingClearsWhatIsLeftOfATruncatedEventStream(t *testing.T) {
	eachHead(t, wire.Truncated, func(t *testing.T, s *store) {
		if err := s.DeleteStream(t.Context(), backend.Stream{UUID: "x", Version: 3}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		wantStored(t, s, 1, 1, 0)
		s.append("x", backend.NoStream(), identified(2))
		wantStored(t, s, 1, 1, 2)
	})
}

// A server that is killed while it erases may leave the end of a commit of several
// messages, of which nothing is missed.
func TestTheEndOfACommitThatWasErasedIsOutOfSight(t *testing.T) {
	for _, kind := range []wire.Kind{wire.Erased, wire.Truncated} {
		t.Run(kind.String(), func(t *testing.T) {
			s := newStore(t, jetstream.Config{})
			s.add("y", 1, 1)
			before := begun()
			s.put("x", encode(t, 3, before, nil, 1)[1:]...)
			after := before
			after.Version = 3
			if kind == wire.Truncated {
				after.First = 4
			}
			s.put("x", wire.EncodeMarker(kind, uuid.New(), after, nil))
			for from, want := range map[uint64]int{0: 2, 3: 0} { // 3 is within the commit
				if events, err := readAll(t.Context(), s, backend.ReadAllOptions{After: from}); err != nil || len(events) != want {
					t.Errorf("ReadAll after %d: %d events, error %v, want %d", from, len(events), err, want)
				}
				if events, err := subscribed(t, s, backend.SubscribeOptions{From: backend.AfterPosition(from)}); err != nil || len(events) != want {
					t.Errorf("Subscribe after %d: %d events, error %v, want %d", from, len(events), err, want)
				}
			}
		})
	}
}
