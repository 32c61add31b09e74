package jetstream_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// sized makes events with so much data each, which tells them apart.
func sized(n, size int) []backend.UnsavedEvent {
	events := identified(n)
	for i := range events {
		events[i].Data = bytes.Repeat(fmt.Appendf(nil, "%07d\n", i), size/8+1)[:size]
	}
	return events
}

// wantEvents fails the test where what was recorded is not what was appended.
func wantEvents(t *testing.T, recorded []backend.RecordedEvent, appended []backend.UnsavedEvent, first uint64) {
	t.Helper()
	wantVersions(t, recorded, first, first+uint64(len(appended))-1)
	for i := range appended {
		if recorded[i].EventUUID != appended[i].EventUUID || !bytes.Equal(recorded[i].Data, appended[i].Data) {
			t.Fatalf("event %d is %s with %d bytes, want %s with %d", i, recorded[i].EventUUID, len(recorded[i].Data), appended[i].EventUUID, len(appended[i].Data))
		}
	}
}

func TestACommitBeyondOneMessageIsReadBackEveryWay(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg      jetstream.Config
		opts     []testserver.Option
		n, size  int
		messages uint64
	}{
		"an event a message":      {cfg: jetstream.Config{EventsPerMessage: 1}, n: 20, size: 10, messages: 20},
		"three events a message":  {cfg: jetstream.Config{EventsPerMessage: 3}, n: 20, size: 10, messages: 7},
		"a small max payload":     {opts: []testserver.Option{testserver.MaxPayload(64 << 10)}, n: 1000, size: 1000, messages: 16},
		"a thousand messages":     {cfg: jetstream.Config{EventsPerMessage: 1}, n: 1000, size: 100, messages: 1000},
		"the headers are too big": {n: 1000, size: 0, messages: 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, tc.cfg, tc.opts...)
			s.add("other", 1)
			s.append("x", backend.NoStream(), sized(2, 5))
			before := s.stored("").Msgs
			events := sized(tc.n, tc.size)
			res := s.append("x", backend.ExactVersion(2), events)
			if got := s.stored("").Msgs - before; got < tc.messages || got > tc.messages+4 {
				t.Errorf("%d messages, want about %d", got, tc.messages)
			}
			if got := s.lastSeq(); res.Position != got {
				t.Errorf("position %d, want that of the last message, %d", res.Position, got)
			}
			s.append("x", backend.ExactVersion(2+uint64(tc.n)), sized(1, 5))
			for _, b := range []*store{s, s.again(jetstream.Config{})} {
				for _, r := range readers {
					recorded, err := r.read(t.Context(), b, "x")
					if err != nil {
						t.Fatalf("%s: %v", r.name, err)
					}
					wantEvents(t, recorded[2:2+tc.n], events, 3)
					for _, e := range recorded[2 : 2+tc.n] {
						if e.Position != res.Position {
							t.Fatalf("%s: version %d is at position %d, want %d", r.name, e.StreamVersion, e.Position, res.Position)
						}
					}
				}
				all, err := readAll(t.Context(), b, backend.ReadAllOptions{After: res.Position - tc.messages})
				if err != nil {
					t.Fatal(err)
				}
				wantEvents(t, all[len(all)-1-tc.n:len(all)-1], events, 3)
				// A few out of the middle.
				part, err := b.ReadStream(t.Context(), "x", uint64(tc.n/2), 3, uuid.Nil)
				if err != nil {
					t.Fatal(err)
				}
				wantVersions(t, part, uint64(tc.n/2), uint64(tc.n/2)+2)
			}
			again := s.append("x", backend.ExactVersion(2), events)
			if again.Version != res.Version || again.Position != res.Position {
				t.Errorf("repeated: %d at %d, want %d at %d", again.Version, again.Position, res.Version, res.Position)
			}
		})
	}
}

func TestReadAllFromWithinACommitYieldsAllOfIt(t *testing.T) {
	s := newStore(t, jetstream.Config{EventsPerMessage: 1})
	s.add("a", 1, 2)
	first := s.lastSeq()
	s.add("x", 5)
	last := s.lastSeq()
	s.add("a", 1)
	for after := first; after <= last; after++ {
		events, err := readAll(t.Context(), s, backend.ReadAllOptions{After: after})
		if err != nil {
			t.Fatal(err)
		}
		want := 6
		if after == last {
			want = 1
		}
		if len(events) != want {
			t.Errorf("after %d: %d events, want %d", after, len(events), want)
		}
	}
	t.Run("also of one that is followed by an unfinished one", func(t *testing.T) {
		unfinished(s, "x", s.state("x"), 2, 3)
		end := s.lastSeq()
		for after := last; after <= end; after++ {
			events, err := readAll(t.Context(), s, backend.ReadAllOptions{After: after})
			if err != nil || len(events) > 1 {
				t.Errorf("after %d: %d events, error %v", after, len(events), err)
			}
		}
	})
	t.Run("with batches that end in the middle of it", func(t *testing.T) {
		for size := 1; size <= 7; size++ {
			for batch, err := range s.ReadAll(t.Context(), backend.ReadAllOptions{After: first + 1, BatchSize: size}, uuid.Nil) {
				if err != nil {
					t.Fatal(err)
				}
				if batch[0].StreamUUID == "x" && len(batch) < 5 {
					t.Errorf("batch size %d: a part of a commit, %d events", size, len(batch))
				}
			}
		}
	})
}

func TestAnAppendThatIsTooLargeIsRefusedBeforeItIsSent(t *testing.T) {
	t.Run("more messages than a batch takes", func(t *testing.T) {
		s, p := counted(t, jetstream.Config{EventsPerMessage: 1})
		got := requests(t, s, p, func() {
			_, err := backend.Append(t.Context(), s, "x", backend.NoStream(), identified(1001), uuid.Nil)
			if !errors.Is(err, backend.ErrAppendTooLarge) || errors.Is(err, backend.ErrEventTooLarge) {
				t.Errorf("error %v, want ErrAppendTooLarge", err)
			}
		})
		wantRequests(t, got)
		res := s.append("x", backend.NoStream(), identified(1000))
		if res.Version != 1000 {
			t.Errorf("version %d, want 1000", res.Version)
		}
	})
	t.Run("an event beyond the max payload", func(t *testing.T) {
		p := newProxy(t, testserver.Single(t, testserver.MaxPayload(64<<10)))
		s := openStore(t, p.connect(), jetstream.Config{})
		got := requests(t, s, p, func() {
			_, err := backend.Append(t.Context(), s, "x", backend.NoStream(), append(sized(1, 10), sized(1, 65_400)...), uuid.Nil)
			if !errors.Is(err, backend.ErrEventTooLarge) {
				t.Fatalf("error %v, want ErrEventTooLarge", err)
			}
			for _, want := range []string{"event 1", "65", "65536"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error without %q: %v", want, err)
				}
			}
		})
		wantRequests(t, got)
	})
}

// The largest event that is taken must be one that the server takes, too.
func TestTheGreatestEventFits(t *testing.T) {
	s := newStore(t, jetstream.Config{}, testserver.MaxPayload(64<<10))
	low, high := 60_000, 70_000 // low fits, high doesn't
	for n := 0; high-low > 1; n++ {
		size := (low + high) / 2
		_, err := backend.Append(t.Context(), s, "x", backend.AnyVersion(), sized(1, size), uuid.Nil)
		switch {
		case err == nil:
			low = size
		case errors.Is(err, backend.ErrEventTooLarge):
			high = size
		default:
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	t.Logf("up to %d bytes", low)
	// Beside others, that share their headers.
	events := append(sized(40, 100), sized(1, low-2000)...)
	s.append("y", backend.NoStream(), events)
	wantEvents(t, s.all("y"), events, 1)
}

func TestAMaxMessageSizeOfTheJetStreamStreamCounts(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	stream, err := s.js.Stream(t.Context(), jetstream.DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.MaxMsgSize = 4096
	if _, err := s.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	b := s.again(jetstream.Config{})
	events := sized(10, 1000)
	b.append("x", backend.NoStream(), events)
	wantEvents(t, b.all("x"), events, 1)
	_, err = backend.Append(t.Context(), b, "x", backend.AnyVersion(), sized(1, 4000), uuid.Nil)
	if !errors.Is(err, backend.ErrEventTooLarge) {
		t.Errorf("error %v, want ErrEventTooLarge", err)
	}
	// A backend that was opened before doesn't know: the server refuses.
	_, err = backend.Append(t.Context(), s, "x", backend.AnyVersion(), sized(1, 5000), uuid.Nil)
	if !errors.Is(err, backend.ErrEventTooLarge) {
		t.Errorf("opened before: error %v, want ErrEventTooLarge", err)
	}
}

// The server holds no more than 50 open batches a JetStream stream.
func TestManyBatchesAtOnceAllSucceed(t *testing.T) {
	srv := testserver.Single(t)
	var wg sync.WaitGroup
	stores := make([]*store, 4)
	for i := range stores {
		stores[i] = openStore(t, srv.Connect(t, nats.Name(fmt.Sprint(i))), jetstream.Config{EventsPerMessage: 1})
	}
	for i := range 70 {
		s := stores[i%len(stores)]
		wg.Go(func() {
			name := fmt.Sprintf("x-%d", i)
			if _, err := backend.Append(within(t, 2*patience), s, name, backend.NoStream(), identified(3), uuid.Nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	if got := stores[0].stored("").Msgs; got != 210 {
		t.Errorf("%d messages, want 210", got)
	}
}
