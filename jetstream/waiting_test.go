package jetstream_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// A read that waits for the server has nothing to wait for once its backend is
// closed, or what it reads is gone.
func TestAReadThatWaitsEnds(t *testing.T) {
	for name, end := range map[string]func(s *shaky) error{
		"when its backend is closed": func(s *shaky) error { return s.Close() },
		"when the store is deleted": func(s *shaky) error {
			err := s.direct.js.DeleteStream(t.Context(), jetstream.DefaultStream)
			s.p.on(nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShaky(t, jetstream.Config{})
			s.add("x", 1, 1)
			s.p.take()
			s.p.on(func(subject string) fate {
				if strings.HasPrefix(subject, "$JS.API.CONSUMER.") {
					return swallow
				}
				return arrives
			})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := readAll(ctx, s.store, backend.ReadAllOptions{})
				ended <- err
			}()
			eventually(t, "it waits", func() bool { return s.p.seen("$JS.API.CONSUMER.") > 0 })
			if err := end(s); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, backend.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want ErrUnavailable before the deadline", err)
			}
		})
	}
}
