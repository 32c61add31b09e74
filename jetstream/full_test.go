package jetstream_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// fill appends events of a size until there is no room for another.
func fill(t *testing.T, s *store, name string, size int) {
	t.Helper()
	for {
		_, err := backend.Append(t.Context(), s, name, backend.AnyVersion(), sized(1, size), uuid.Nil)
		if errors.Is(err, backend.ErrStoreFull) {
			return
		}
		if err != nil {
			t.Fatalf("%v, want ErrStoreFull", err)
		}
	}
}

// fillUp leaves no room for anything.
func fillUp(t *testing.T, s *store, name string) (version uint64) {
	t.Helper()
	fill(t, s, name, 16<<10)
	fill(t, s, name, 1<<10)
	fill(t, s, name, 1)
	for i := 0; ; i++ { // what creates an event stream is smaller still
		_, err := s.CreateStream(t.Context(), backend.Stream{UUID: fmt.Sprintf("%s%d", name, i)}, uuid.Nil)
		if errors.Is(err, backend.ErrStoreFull) {
			return s.info(name).Version
		}
		if err != nil {
			t.Fatalf("%v, want ErrStoreFull", err)
		}
	}
}

func TestAFullStoreRefusesWritesAndLosesNothing(t *testing.T) {
	t.Run("on one server", func(t *testing.T) {
		full(t, newStore(t, jetstream.Config{MaxBytes: 256 << 10}), 1)
	})
	t.Run("on three replicas", func(t *testing.T) {
		c := testserver.Cluster(t, 3)
		full(t, openStore(t, c.Connect(t), jetstream.Config{MaxBytes: 256 << 10, Replicas: 3}), 3)
	})
}

func full(t *testing.T, s *store, replicas int) {
	ctx := t.Context()
	s.append("other", backend.NoStream(), sized(20, 1000))
	version := fillUp(t, s, "x")
	before := s.lastSeq()
	batches := s.again(jetstream.Config{EventsPerMessage: 1, Replicas: replicas})
	for name, write := range map[string]func() error{
		"an append of one message": func() error {
			_, err := backend.Append(ctx, s, "x", backend.ExactVersion(version), identified(1), uuid.Nil)
			return err
		},
		"an append to a new event stream": func() error {
			_, err := backend.Append(ctx, s, "y", backend.NoStream(), identified(1), uuid.Nil)
			return err
		},
		"an append in a batch": func() error {
			_, err := backend.Append(ctx, batches, "x", backend.AnyVersion(), sized(5, 1000), uuid.Nil)
			return err
		},
		"CreateStream": func() error {
			_, err := s.CreateStream(ctx, backend.Stream{UUID: "a-longer-name-than-those-before"}, uuid.Nil)
			return err
		},
		"SoftDelete": func() error { return s.SoftDelete(ctx, "x", backend.AnyVersion(), uuid.Nil) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := write(); !errors.Is(err, backend.ErrStoreFull) || errors.Is(err, backend.ErrOutcomeUnknown) {
				t.Errorf("error %v, want ErrStoreFull", err)
			}
		})
	}
	if got := s.lastSeq(); got != before {
		t.Errorf("%d messages were written", got-before)
	}
	wantStream(t, s, "x", version)
	wantStream(t, batches, "other", 20)

	t.Run("deleting and truncating, which write a marker first", func(t *testing.T) {
		if err := s.DeleteStream(ctx, backend.Stream{UUID: "other"}, uuid.Nil); !errors.Is(err, backend.ErrStoreFull) {
			t.Errorf("deleting: %v, want ErrStoreFull", err)
		}
		if err := s.Truncate(ctx, "x", version, uuid.Nil); !errors.Is(err, backend.ErrStoreFull) {
			t.Errorf("truncating: %v, want ErrStoreFull", err)
		}
		wantStream(t, s, "x", version)
	})
	t.Run("until there is more room", func(t *testing.T) {
		cfg := configOf(t, s.js, jetstream.DefaultStream)
		cfg.MaxBytes += 4 << 10
		if _, err := s.js.UpdateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
		s.append("x", backend.ExactVersion(version), identified(1))
		wantStream(t, s, "x", version+1)
		fill(t, s, "x", 4<<10)
	})
	t.Run("until something is deleted", func(t *testing.T) {
		if err := s.DeleteStream(ctx, backend.Stream{UUID: "other"}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		now := s.info("x").Version
		s.append("x", backend.ExactVersion(now), sized(1, 4<<10))
		batches.append("x", backend.AnyVersion(), identified(3))
		wantStream(t, s, "x", now+4)
		fill(t, s, "x", 4<<10)
	})
	t.Run("until something is truncated", func(t *testing.T) {
		now := s.info("x").Version
		if err := s.Truncate(ctx, "x", now, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		s.append("x", backend.ExactVersion(now), sized(10, 10<<10))
		wantVersions(t, s.all("x"), now, now+10)
	})
}

// A connection that broke while nothing was awaited lost nothing.
func TestTheFirstAnswerAfterAnIdleReconnectMayBeSlow(t *testing.T) {
	s := newShaky(t, jetstream.Config{MaxBytes: 64 << 10, RequestTimeout: patience})
	version := fillUp(t, s.direct, "x")
	s.info("x")
	eventually(t, "nothing is awaited", s.Idle)
	s.p.cut()
	eventually(t, "the client is back", func() bool { return s.nc.Stats().Reconnects == 1 && s.nc.IsConnected() })
	s.p.take()
	s.p.on(func(subject string) fate {
		if subject == "events.x" {
			s.p.answers = withheld
		}
		return arrives
	})
	done := appending(t.Context(), s.store, backend.ExactVersion(version), identified(1))
	eventually(t, "it is sent", func() bool { return s.p.seen("events.x") > 0 })
	time.Sleep(200 * time.Millisecond) // how late the answer is: several checks
	s.p.on(nil)
	s.p.set(flowing)
	if err := wantDone(t, done); !errors.Is(err, backend.ErrStoreFull) || errors.Is(err, backend.ErrOutcomeUnknown) {
		t.Errorf("error %v, want ErrStoreFull", err)
	}
	if sent := s.p.seen("events.x"); sent != 1 {
		t.Errorf("it was sent %d times", sent)
	}
}
