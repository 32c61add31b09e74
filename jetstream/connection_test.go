package jetstream_test

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
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
