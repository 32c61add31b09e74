package jetstream_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// A request that is under way when the connection breaks gets no answer any more:
// it is sent again as soon as there is another connection, however long an answer
// is waited for.
func TestWhatIsAskedAsTheConnectionBreaksIsAskedAgain(t *testing.T) {
	for _, test := range []struct {
		name, subject string // whose first request breaks the connection
		cfg           jetstream.Config
		read          func(ctx context.Context, s *store) error
	}{
		{"the head", requestLast + "x", jetstream.Config{}, func(ctx context.Context, s *store) error {
			_, err := s.ReadStreamInfo(ctx, "x", uuid.Nil)
			return err
		}},
		{"the head, of the leader", "$JS.API.STREAM.MSG.GET.EVENTS", jetstream.Config{ReadConsistency: jetstream.ReadLeader}, func(ctx context.Context, s *store) error {
			_, err := s.ReadStreamInfo(ctx, "x", uuid.Nil)
			return err
		}},
		{"messages by position", requestMessage, jetstream.Config{}, func(ctx context.Context, s *store) error {
			_, err := s.ReadStream(ctx, "x", 0, 10, uuid.Nil)
			return err
		}},
		{"the JetStream stream", "$JS.API.STREAM.INFO.EVENTS", jetstream.Config{}, func(ctx context.Context, s *store) error {
			_, err := readAll(ctx, s, backend.ReadAllOptions{})
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := test.cfg
			cfg.RequestTimeout = hasty.RequestTimeout
			s := newShaky(t, cfg)
			s.add("x", 1, 1, 1)
			asked := 0
			s.p.on(func(subject string) fate {
				if subject == test.subject {
					asked++
					return severed
				}
				return arrives
			})
			if err := test.read(within(t, promptly), s.store); err != nil {
				t.Error(err)
			}
			if asked == 0 {
				t.Errorf("nothing was asked by %s", test.subject)
			}
		})
	}
}

// A connection that drains, which takes as long as somebody's handler does, is
// connected, but the inbox of the answers is gone.
func TestADrainingConnectionRefusesAtOnceAndSendsNothing(t *testing.T) {
	// Longer than the test waits.
	cfg := jetstream.Config{RequestTimeout: time.Hour, Timeout: time.Hour}
	for name, do := range map[string]func(s *store) error{
		"an append": func(s *store) error {
			_, err := backend.Append(s.t.Context(), s, "x", backend.AnyVersion(), identified(1), uuid.Nil)
			return err
		},
		"an import": func(s *store) error {
			_, err := backend.Import(s.t.Context(), s, func(yield func(backend.StreamAppend, error) bool) {
				yield(backend.StreamAppend{StreamUUID: "x", Expected: backend.AnyVersion(), Events: identified(1)}, nil)
			}, backend.ImportOptions{}, uuid.Nil)
			return err
		},
		"DeleteStream": func(s *store) error { return s.DeleteStream(s.t.Context(), backend.Stream{UUID: "x"}, uuid.Nil) },
		"a read": func(s *store) error {
			_, err := s.ReadStream(s.t.Context(), "x", 0, 10, uuid.Nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := testserver.Single(t)
			s, direct := openStore(t, srv.Connect(t), cfg), openStore(t, srv.Connect(t), cfg)
			s.add("x", 1, 1)
			before := s.lastSeq()
			handling, handled := make(chan struct{}), make(chan struct{})
			defer close(handled)
			if _, err := s.nc.Subscribe("busy", func(*nats.Msg) {
				close(handling)
				<-handled
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.nc.Publish("busy", nil); err != nil {
				t.Fatal(err)
			}
			<-handling
			if err := s.nc.Drain(); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- do(s) }()
			if err := wantDone(t, done); !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, backend.ErrOutcomeUnknown) || !errors.Is(err, nats.ErrConnectionDraining) {
				t.Errorf("error %v, want ErrUnavailable and ErrConnectionDraining", err)
			}
			if got := direct.lastSeq(); got != before {
				t.Errorf("%d messages were stored", got-before)
			}
		})
	}
}
