package jetstream_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

// swallowWrites has all that is written to x get lost, until the rule changes.
func (s *shaky) swallowWrites() {
	s.p.take()
	s.p.on(func(subject string) fate {
		if subject == "events.x" {
			return swallow
		}
		return arrives
	})
}

// startAppend appends to x in the background, and returns once it was sent in so
// many messages.
func (s *shaky) startAppend(ctx context.Context, expected backend.ExpectedVersion, events []backend.UnsavedEvent, messages int) <-chan error {
	s.t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := backend.Append(ctx, s, "x", expected, events, uuid.Nil)
		done <- err
	}()
	eventually(s.t, "it was sent", func() bool { return s.p.seen("events.x") >= messages })
	return done
}

// Two processes repeat the append that begins an event stream. It is stored once
// and has the id that one of them gave it, which the other must go on with.
func TestAnEventStreamThatAnotherProcessBeganWithTheSameAppendGoesOn(t *testing.T) {
	for name, perMessage := range map[string]int{"in one message": 0, "in a batch": 1} {
		for _, expected := range []backend.ExpectedVersion{backend.NoStream(), backend.ExactVersion(0), backend.AnyVersion()} {
			t.Run(name+", "+expected.String(), func(t *testing.T) {
				t.Parallel()
				s := newShaky(t, jetstream.Config{EventsPerMessage: perMessage})
				events := identified(2)
				s.swallowWrites()
				done := s.startAppend(t.Context(), expected, events, 1)
				s.direct.append("x", expected, events)
				s.p.on(nil)
				if err := wantDone(t, done); err != nil {
					t.Fatal(err)
				}
				s.append("x", backend.ExactVersion(2), identified(1))
				s.append("x", backend.StreamExists(), identified(2))
				if mine, others := s.info("x"), s.direct.info("x"); mine != others {
					t.Errorf("info %+v, and of the process that began it %+v", mine, others)
				}
				for _, b := range []*store{s.store, s.direct, s.direct.again(jetstream.Config{})} {
					wantStream(t, b, "x", 5)
				}
			})
		}
	}
}

// calling is a log handler that calls a function with each message.
type calling struct {
	slog.Handler
	call func(message string)
}

func (calling) Enabled(context.Context, slog.Level) bool { return true }

func (c calling) Handle(_ context.Context, r slog.Record) error {
	c.call(r.Message)
	return nil
}

// A batch of which a part is there may yet be finished by the server, whatever
// becomes of the append afterwards.
func TestAnAppendThatIsThereInPartIsNeverCalledUnavailable(t *testing.T) {
	for name, cancelled := range map[string]bool{"the connection breaks": false, "it is cancelled": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var ctx context.Context
			var cancel context.CancelFunc
			var s *shaky
			var once sync.Once
			met := make(chan struct{})
			s = newShaky(t, jetstream.Config{EventsPerMessage: 1, Logger: slog.New(calling{slog.DiscardHandler, func(message string) {
				if message != "append met another" {
					return
				}
				once.Do(func() {
					s.p.refuse(true)
					if cancelled {
						cancel()
					}
					close(met)
				})
			}})})
			s.add("x", 2)
			events, _, err := backend.Prepare("x", identified(3), uuid.Nil)
			if err != nil {
				t.Fatal(err)
			}
			messages, err := wire.EncodeEvents(events, s.state("x"), false, nil, wire.Limits{MaxMessageBytes: 1 << 20, EventsPerMessage: 1, MaxMessages: 1000})
			if err != nil {
				t.Fatal(err)
			}
			s.swallowWrites()
			ctx, cancel = context.WithTimeout(t.Context(), 5*time.Second) // to meet what is there, and some more
			defer cancel()
			done := s.startAppend(ctx, backend.StreamExists(), events, 3)
			s.direct.put("x", messages[:2]...)
			s.p.on(nil)
			err = wantDone(t, done)
			select {
			case <-met:
			default:
				t.Fatalf("the unfinished commit was not met: %v", err)
			}
			if !errors.Is(err, backend.ErrOutcomeUnknown) || errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("error %v, want ErrOutcomeUnknown and not ErrUnavailable", err)
			}
			if want := ctx.Err(); !errors.Is(err, want) {
				t.Errorf("error %v, want the context's, too: %v", err, want)
			}
			s.direct.put("x", messages[2]) // the server goes on with what it was applying
			wantStream(t, s.direct, "x", 5)
			s.p.refuse(false)
			s.append("x", backend.StreamExists(), events)
			wantStream(t, s.store, "x", 5)
		})
	}
}

// What passed the fence can't be read: that is another request's error, and the
// write's outcome is unknown nevertheless.
func TestAnUnknownOutcomeIsNeverAlsoUnavailable(t *testing.T) {
	for name, end := range map[string]func(s *shaky){
		"the deadline passes":      func(*shaky) {},
		"the connection is closed": func(s *shaky) { s.nc.Close() },
		"the backend is closed":    func(s *shaky) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShaky(t, jetstream.Config{})
			s.swallowWrites()
			done := s.startAppend(within(t, 2*time.Second), backend.NoStream(), identified(2), 1)
			s.direct.append("x", backend.NoStream(), identified(1))
			s.p.on(func(subject string) fate {
				if subject == "$JS.API.STREAM.MSG.GET.EVENTS" {
					return swallow
				}
				return arrives
			})
			eventually(t, "it asks what passed the fence", func() bool { return s.p.seen("$JS.API.STREAM.MSG.GET.EVENTS") > 0 })
			end(s)
			err := wantDone(t, done)
			if !errors.Is(err, backend.ErrOutcomeUnknown) || errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("error %v, want ErrOutcomeUnknown and not ErrUnavailable", err)
			}
		})
	}
}

// What a process remembers of an event stream proves nothing once another has
// deleted it.
func TestARepetitionIsNotAcknowledgedFromAStaleHead(t *testing.T) {
	for _, expected := range []backend.ExpectedVersion{backend.NoStream(), backend.ExactVersion(0), backend.AnyVersion()} {
		t.Run(expected.String(), func(t *testing.T) {
			s := newStore(t, jetstream.Config{})
			other := s.again(jetstream.Config{})
			events := identified(2)
			first := s.append("x", expected, events)
			if err := other.DeleteStream(t.Context(), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
				t.Fatal(err)
			}
			res := s.append("x", expected, events)
			if res.Position <= first.Position {
				t.Errorf("position %d, that of the deleted events is %d", res.Position, first.Position)
			}
			wantStream(t, s, "x", 2)
			wantStream(t, other, "x", 2)
		})
	}
	t.Run("of one that must exist", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		other := s.again(jetstream.Config{})
		s.add("x", 1)
		events := identified(2)
		s.append("x", backend.StreamExists(), events)
		if err := other.DeleteStream(t.Context(), backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		if _, err := backend.Append(t.Context(), s, "x", backend.StreamExists(), events, uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
			t.Errorf("error %v, want ErrStreamNotFound", err)
		}
	})
	t.Run("of one that is soft-deleted", func(t *testing.T) {
		s := newStore(t, jetstream.Config{})
		other := s.again(jetstream.Config{})
		events := identified(2)
		s.append("x", backend.NoStream(), events)
		if err := other.SoftDelete(t.Context(), "x", backend.ExactVersion(2), uuid.Nil); err != nil {
			t.Fatal(err)
		}
		if _, err := backend.Append(t.Context(), s, "x", backend.NoStream(), events, uuid.Nil); !errors.Is(err, backend.ErrStreamDeleted) {
			t.Errorf("error %v, want ErrStreamDeleted", err)
		}
	})
}
