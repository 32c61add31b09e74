package jetstream_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// halfApplied has a server fail in the middle of applying a batch of three
// messages: it has the first two of them, and answers nothing. then is called
// before the append is sent again.
func halfApplied(t *testing.T, then func(s *shaky)) (*shaky, []backend.UnsavedEvent, backend.AppendResult) {
	t.Helper()
	s := newShaky(t, jetstream.Config{EventsPerMessage: 1})
	s.add("x", 2)
	events, _, err := backend.Prepare("x", identified(3), uuid.Nil)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := wire.EncodeEvents(events, s.state("x"), false, nil, wire.Limits{MaxMessageBytes: 1 << 20, EventsPerMessage: 1, MaxMessages: 1000})
	if err != nil {
		t.Fatal(err)
	}
	s.p.take()
	s.p.on(func(subject string) fate {
		if subject == "events.x" {
			return swallow
		}
		return arrives
	})
	var res backend.AppendResult
	done := make(chan error, 1)
	go func() {
		var err error
		res, err = backend.Append(t.Context(), s, "x", backend.StreamExists(), events, uuid.Nil)
		done <- err
	}()
	eventually(t, "the first attempt was sent", func() bool { return s.p.seen("events.x") >= 3 })
	s.direct.put("x", messages[:2]...)
	then(s)
	s.p.on(nil)
	if err := wantDone(t, done); err != nil {
		t.Fatal(err)
	}
	return s, events, res
}

func TestAHalfAppliedBatchIsWrittenAgain(t *testing.T) {
	s, events, res := halfApplied(t, func(*shaky) {})
	wantStream(t, s.direct, "x", 5)
	wantEvents(t, s.direct.all("x")[2:], events, 3)
	if res.Version != 5 || res.Position != s.lastSeq() {
		t.Errorf("version %d at %d, want 5 at %d", res.Version, res.Position, s.lastSeq())
	}
}

// What stands where the last part should is not it, because it is of the same
// event stream.
func TestAHalfAppliedBatchIsNotTakenForStored(t *testing.T) {
	s, events, res := halfApplied(t, func(s *shaky) { s.direct.append("x", backend.ExactVersion(2), identified(1)) })
	wantStream(t, s.direct, "x", 6)
	wantEvents(t, s.direct.all("x")[3:], events, 4)
	if res.Version != 6 || res.Position != s.lastSeq() {
		t.Errorf("version %d at %d, want 6 at %d", res.Version, res.Position, s.lastSeq())
	}
}

// Another process repeats the append meanwhile, and divides it into messages in
// its own way.
func TestAnAppendThatAnotherProcessRepeatedHasItsResult(t *testing.T) {
	for name, perMessage := range map[string][2]int{
		"one message, stored as three":  {0, 1},
		"three messages, stored as one": {1, 0},
		"three messages, stored as two": {1, 2},
		"two messages, stored as three": {2, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShaky(t, jetstream.Config{EventsPerMessage: perMessage[0]})
			s.add("x", 2)
			other := s.direct.again(jetstream.Config{EventsPerMessage: perMessage[1]})
			events := identified(3)
			s.p.take()
			s.p.on(func(subject string) fate {
				if subject == "events.x" {
					return swallow
				}
				return arrives
			})
			var res backend.AppendResult
			done := make(chan error, 1)
			go func() {
				var err error
				res, err = backend.Append(t.Context(), s, "x", backend.ExactVersion(2), events, uuid.Nil)
				done <- err
			}()
			eventually(t, "the first attempt was sent", func() bool { return s.p.seen("events.x") >= 1 })
			want := other.append("x", backend.ExactVersion(2), events)
			s.p.on(nil)
			if err := wantDone(t, done); err != nil {
				t.Fatal(err)
			}
			if res.Version != want.Version || res.Position != want.Position {
				t.Errorf("version %d at %d, want %d at %d", res.Version, res.Position, want.Version, want.Position)
			}
			wantStream(t, s.direct, "x", 5)
			wantStream(t, s.store, "x", 5)
			s.append("x", backend.ExactVersion(5), identified(1))
			wantStream(t, s.store, "x", 6)
		})
	}
	t.Run("only the first event of it", func(t *testing.T) {
		s := newShaky(t, jetstream.Config{})
		s.add("x", 2)
		events := identified(3)
		s.p.take()
		s.p.on(func(subject string) fate {
			if subject == "events.x" {
				return swallow
			}
			return arrives
		})
		done := make(chan error, 1)
		go func() {
			_, err := backend.Append(t.Context(), s, "x", backend.ExactVersion(2), events, uuid.Nil)
			done <- err
		}()
		eventually(t, "the first attempt was sent", func() bool { return s.p.seen("events.x") >= 1 })
		s.direct.append("x", backend.ExactVersion(2), events[:1])
		s.p.on(nil)
		if err := wantDone(t, done); !errors.Is(err, backend.ErrWrongExpectedVersion) {
			t.Errorf("error %v, want a wrong expected version: two of the three events are not there", err)
		}
		wantStream(t, s.direct, "x", 3)
	})
}

// A subscription has caught up with a commit that was never finished, also where
// its process knows where that ends.
func TestASubscriptionCatchesUpWithAnUnfinishedCommit(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	s.add("x", 2)
	s.put("x", encode(t, 3, s.state("x"), nil, 1)[:2]...)
	reader := s.again(jetstream.Config{})
	wantStream(t, reader, "x", 2)
	events := 0
	for batch, err := range reader.Subscribe(within(t, patience), backend.SubscribeOptions{Stream: "x"}) {
		if err != nil {
			t.Fatal(err)
		}
		if events += len(batch.Events); batch.CaughtUp {
			break
		}
	}
	if events != 2 {
		t.Errorf("%d events, want 2", events)
	}
}
