package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/bench/internal/postgres"
)

// start starts a server, or skips the test where there is none to start.
func start(t *testing.T, durable bool) *postgres.Server {
	t.Helper()
	s, err := postgres.Start(t.Context(), durable)
	if errors.Is(err, postgres.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func open(t *testing.T, s *postgres.Server) *postgres.Store {
	t.Helper()
	store, err := s.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func TestStore(t *testing.T) {
	server := start(t, false)
	if server.Version() == "" {
		t.Error("the server has no version")
	}
	store := open(t, server)

	t.Run("what is appended is read back", func(t *testing.T) {
		want := []postgres.Event{{
			ID: uuid.New(), Type: "Opened", Data: []byte("a\x00b"), Metadata: []byte("m"), CausationID: uuid.New(), CorrelationID: uuid.New(),
			Created: time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
		}, {ID: uuid.New(), Type: "Closed", Data: []byte{}, Created: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC)}}
		mustAppend(t, store, "one", 0, want[:1], 1)
		mustAppend(t, store, "many", 0, want, 2)
		for _, stream := range []string{"one", "many"} {
			got := load(t, store, stream, 1, 10)
			for i, e := range got {
				w := want[i]
				if e.Stream != stream || e.ID != w.ID || e.Type != w.Type || !bytes.Equal(e.Data, w.Data) || !bytes.Equal(e.Metadata, w.Metadata) ||
					e.CausationID != w.CausationID || e.CorrelationID != w.CorrelationID || e.Created != w.Created {
					t.Errorf("%s: got %+v, want %+v", stream, e, w)
				}
			}
			wantVersions(t, got, 1, len(got))
		}
	})

	t.Run("an exact version that is taken is a conflict, of all events", func(t *testing.T) {
		mustAppend(t, store, "taken", 0, events(3), 3)
		for _, n := range []int{1, 2, 5} {
			for _, expected := range []int64{0, 2} {
				if _, err := store.Append(t.Context(), "taken", expected, events(n)); !errors.Is(err, postgres.ErrConflict) {
					t.Errorf("%d events after version %d: %v", n, expected, err)
				}
			}
		}
		wantVersions(t, load(t, store, "taken", 1, 100), 1, 3)
		mustAppend(t, store, "taken", 3, events(1), 4)
	})

	t.Run("writers of one event stream leave no gap", func(t *testing.T) {
		const writers, appends = 16, 20
		var wg sync.WaitGroup
		errs := make([]error, writers)
		for w := range writers {
			wg.Go(func() { errs[w] = write(t.Context(), store, "hot", appends) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		wantVersions(t, load(t, store, "hot", 1, 10_000), 1, writers*appends*3/2)
	})

	t.Run("loading begins at the version and ends at the limit", func(t *testing.T) {
		mustAppend(t, store, "loaded", 0, events(10), 10)
		wantVersions(t, load(t, store, "loaded", 4, 3), 4, 6)
		wantVersions(t, load(t, store, "loaded", 9, 5), 9, 10)
		if got := load(t, store, "loaded", 11, 5); len(got) != 0 {
			t.Errorf("%d events past the end", len(got))
		}
	})

	t.Run("forward yields batches of one size, then the rest", func(t *testing.T) {
		mustAppend(t, store, "long", 0, events(25), 25)
		var sizes []int
		var all []postgres.Event
		err := store.Forward(t.Context(), "long", 10, func(batch []postgres.Event) error {
			sizes, all = append(sizes, len(batch)), append(all, batch...)
			return nil
		})
		if err != nil || fmt.Sprint(sizes) != "[10 10 5]" {
			t.Errorf("batches %v, error %v", sizes, err)
		}
		wantVersions(t, all, 1, 25)
		enough := errors.New("enough")
		if err := store.Forward(t.Context(), "long", 10, func([]postgres.Event) error { return enough }); err != enough {
			t.Errorf("error %v, want that of the function", err)
		}
	})

	t.Run("settling changes nothing", func(t *testing.T) {
		if err := store.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantVersions(t, load(t, store, "loaded", 1, 100), 1, 10)
	})
}

func TestDurableServerSharesItsEvents(t *testing.T) {
	server := start(t, true)
	mustAppend(t, open(t, server), "shared", 0, events(2), 2)
	wantVersions(t, load(t, open(t, server), "shared", 1, 10), 1, 2)
}

func TestCloseLeavesNothing(t *testing.T) {
	// Not t.TempDir, where PostgreSQL's own account doesn't get in.
	dir, err := os.MkdirTemp("", "tributary-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	server, err := postgres.Start(t.Context(), false)
	if errors.Is(err, postgres.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, error %v", left, err)
	}
	if _, err := server.Open(t.Context()); err == nil {
		t.Error("the server still answers")
	}
}

func TestStartTellsThatPostgreSQLIsMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	server, err := postgres.Start(t.Context(), false)
	if err == nil {
		_ = server.Close()
		t.Skip("PostgreSQL is installed where it is looked for without PATH")
	}
	if !errors.Is(err, postgres.ErrMissing) {
		t.Error(err)
	}
}

// write appends with an exact version, each time until it fits.
func write(ctx context.Context, store *postgres.Store, stream string, appends int) error {
	version := int64(0)
	for i := range appends {
		for {
			next, err := store.Append(ctx, stream, version, events(1+i%2))
			if err == nil {
				version = next
				break
			}
			if !errors.Is(err, postgres.ErrConflict) {
				return err
			}
			later, err := store.Load(ctx, stream, version+1, 10_000)
			if err != nil {
				return err
			}
			version += int64(len(later))
		}
	}
	return nil
}

func events(n int) []postgres.Event {
	events := make([]postgres.Event, n)
	for i := range events {
		events[i] = postgres.Event{Type: "Tested", Data: fmt.Appendf(nil, `{"i":%d}`, i)}
	}
	return events
}

func mustAppend(t *testing.T, store *postgres.Store, stream string, expected int64, events []postgres.Event, want int64) {
	t.Helper()
	version, err := store.Append(t.Context(), stream, expected, events)
	if err != nil || version != want {
		t.Fatalf("appending to %s: version %d, error %v, want version %d", stream, version, err, want)
	}
}

func load(t *testing.T, store *postgres.Store, stream string, from, limit int64) []postgres.Event {
	t.Helper()
	events, err := store.Load(t.Context(), stream, from, limit)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// wantVersions fails the test where events are not those of the versions first to
// last.
func wantVersions(t *testing.T, events []postgres.Event, first, last int) {
	t.Helper()
	if len(events) != last+1-first {
		t.Fatalf("%d events, want versions %d to %d", len(events), first, last)
	}
	for i, e := range events {
		if e.Version != int64(first+i) {
			t.Fatalf("event %d has version %d, want %d", i, e.Version, first+i)
		}
	}
}
