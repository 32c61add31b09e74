package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary"
	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

const headerFence = "Nats-Expected-Last-Subject-Sequence"

// pair opens two backends on one store, with a connection and a memory of heads
// each.
func pair(t *testing.T, connect func(testing.TB, ...nats.Option) *nats.Conn, cfg jetstream.Config) (a, b *store) {
	t.Helper()
	return openStore(t, connect(t, nats.Timeout(patience)), cfg), openStore(t, connect(t, nats.Timeout(patience)), cfg)
}

// ledger notes which appends were acknowledged, and with what.
type ledger struct {
	mu    sync.Mutex
	acked map[uuid.UUID]uint64 // id to version
}

func (l *ledger) note(t testing.TB, res backend.AppendResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acked == nil {
		l.acked = make(map[uuid.UUID]uint64)
	}
	for i, id := range res.EventUUIDs {
		if _, ok := l.acked[id]; ok {
			t.Errorf("event %s was acknowledged twice", id)
		}
		l.acked[id] = res.Version + 1 + uint64(i) - uint64(len(res.EventUUIDs))
	}
}

// wantAll fails the test where the events are not gapless, one is there twice,
// or one that was acknowledged is missing. more allows others.
func (l *ledger) wantAll(t *testing.T, events []backend.RecordedEvent, more bool) {
	t.Helper()
	wantVersions(t, events, 1, uint64(len(events)))
	found := make(map[uuid.UUID]uint64, len(events))
	for _, e := range events {
		if _, ok := found[e.EventUUID]; ok {
			t.Errorf("event %s is there twice", e.EventUUID)
		}
		found[e.EventUUID] = e.StreamVersion
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, version := range l.acked {
		if found[id] != version {
			t.Errorf("event %s was acknowledged as version %d, and is %d", id, version, found[id])
		}
	}
	if !more && len(found) != len(l.acked) {
		t.Errorf("%d events, %d acknowledged", len(found), len(l.acked))
	}
}

func TestAStaleHeadConflictsAndNeverWritesWrongly(t *testing.T) {
	ctx := t.Context()
	srv := testserver.Single(t)
	a, b := pair(t, srv.Connect, jetstream.Config{})
	a.add("x", 2)
	b.all("x")
	a.add("x", 1) // b doesn't know
	before := a.lastSeq()
	for _, expected := range []backend.ExpectedVersion{backend.ExactVersion(2), backend.ExactVersion(1), backend.ExactVersion(4)} {
		_, err := backend.Append(ctx, b, "x", expected, identified(1), uuid.Nil)
		wrong, ok := errors.AsType[*backend.WrongExpectedVersionError](err)
		if !ok || wrong.Actual != 3 {
			t.Errorf("expecting %s: error %v, want a wrong version, actual 3", expected, err)
		}
		b.again(jetstream.Config{}).all("x")
	}
	if _, err := backend.Append(ctx, b, "x", backend.NoStream(), identified(1), uuid.Nil); !errors.Is(err, backend.ErrStreamExists) {
		t.Errorf("expecting no stream: %v", err)
	}
	if got := a.lastSeq(); got != before {
		t.Fatalf("%d messages were written", got-before)
	}
	// Where the version expected is the one that it now has, though unknown to
	// the writer, it is written.
	a.add("x", 1)
	if res := b.append("x", backend.ExactVersion(4), identified(1)); res.Version != 5 {
		t.Errorf("version %d, want 5", res.Version)
	}
	a.append("x", backend.AnyVersion(), identified(1))
	wantStream(t, a, "x", 6)
	wantStream(t, b, "x", 6)
}

func TestAStaleHeadIsNoReasonToDeleteOrHide(t *testing.T) {
	ctx := t.Context()
	srv := testserver.Single(t)
	a, b := pair(t, srv.Connect, jetstream.Config{})
	a.add("x", 2)
	b.all("x")
	a.add("x", 1)
	if err := b.DeleteStream(ctx, backend.Stream{UUID: "x", Version: 2}, uuid.Nil); !errors.Is(err, backend.ErrWrongExpectedVersion) {
		t.Errorf("deleting version 2: %v", err)
	}
	a.add("x", 1)
	if err := b.SoftDelete(ctx, "x", backend.ExactVersion(3), uuid.Nil); !errors.Is(err, backend.ErrWrongExpectedVersion) {
		t.Errorf("hiding version 3: %v", err)
	}
	wantStream(t, b, "x", 4)
	a.add("x", 1)
	if err := b.DeleteStream(ctx, backend.Stream{UUID: "x", Version: 5}, uuid.Nil); err != nil {
		t.Errorf("deleting version 5, which it has: %v", err)
	}
}

// contended has two backends with eight goroutines each append to one event
// stream.
func contended(t *testing.T, a, b *store, name string, rounds int) {
	t.Helper()
	var l ledger
	var wg sync.WaitGroup
	for i := range 16 {
		s := []*store{a, b}[i%2]
		wg.Go(func() {
			for r := range rounds {
				res, err := backend.Append(within(t, patience), s, name, backend.AnyVersion(), identified(1+(i+r)%3), uuid.Nil)
				if err != nil {
					t.Errorf("append: %v", err)
					return
				}
				l.note(t, res)
			}
		})
	}
	wg.Wait()
	for _, s := range []*store{a, b, a.again(jetstream.Config{})} {
		l.wantAll(t, s.all(name), false)
	}
}

// exact has two backends race for each version.
func exact(t *testing.T, a, b *store, name string, versions int) {
	t.Helper()
	var l ledger
	for version := range versions {
		var wg sync.WaitGroup
		var mu sync.Mutex
		winners := 0
		for i := range 8 {
			s := []*store{a, b}[i%2]
			wg.Go(func() {
				res, err := backend.Append(within(t, patience), s, name, backend.ExactVersion(uint64(version)), identified(1), uuid.Nil)
				switch {
				case err == nil:
					l.note(t, res)
					mu.Lock()
					winners++
					mu.Unlock()
				case !errors.Is(err, backend.ErrWrongExpectedVersion):
					t.Errorf("version %d: %v", version, err)
				}
			})
		}
		wg.Wait()
		if winners != 1 {
			t.Fatalf("version %d: %d winners, want 1", version, winners)
		}
	}
	l.wantAll(t, a.all(name), false)
}

func TestTwoBackendsAppendToOneEventStream(t *testing.T) {
	srv := testserver.Single(t)
	for name, cfg := range map[string]jetstream.Config{"": {}, " in batches": {EventsPerMessage: 1}} {
		a, b := pair(t, srv.Connect, cfg)
		rounds := 20
		if cfg.EventsPerMessage == 1 {
			rounds = 4
		}
		t.Run("to any version"+name, func(t *testing.T) { contended(t, a, b, "any"+strconv.Itoa(rounds), rounds) })
		t.Run("to exact versions"+name, func(t *testing.T) { exact(t, a, b, "exact"+strconv.Itoa(rounds), rounds) })
	}
}

func TestTwoBackendsAppendToOneEventStreamOnThreeReplicas(t *testing.T) {
	c := testserver.Cluster(t, 3)
	a, b := pair(t, c.Connect, jetstream.Config{Replicas: 3})
	t.Run("to any version", func(t *testing.T) { contended(t, a, b, "any", 6) })
	t.Run("to exact versions", func(t *testing.T) { exact(t, a, b, "exact", 10) })
	t.Run("while it is deleted and created", func(t *testing.T) { deletedMeanwhile(t, a, b) })
	bb, ab := a.again(jetstream.Config{Replicas: 3, EventsPerMessage: 1}), b.again(jetstream.Config{Replicas: 3, EventsPerMessage: 1})
	t.Run("to any version in batches", func(t *testing.T) { contended(t, bb, ab, "batches", 4) })
	t.Run("in batches while it is deleted and created", func(t *testing.T) { deletedMeanwhile(t, ab, bb) })
}

// deletedMeanwhile appends with one backend, in steps that are known by what is
// in the event stream, while the other deletes and begins it.
func deletedMeanwhile(t *testing.T, a, b *store) {
	t.Helper()
	name := "x-" + uuid.NewString()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for range 15 {
			for {
				err := b.DeleteStream(ctx, backend.Stream{UUID: name}, uuid.Nil)
				if err == nil {
					break
				}
				if !errors.Is(err, backend.ErrStreamNotFound) {
					t.Errorf("deleting: %v", err)
					return
				}
			}
		}
	})
	for i := 0; ; i++ {
		select {
		case <-done:
			wg.Wait()
			// Whatever came last, the event stream is whole.
			events, err := a.ReadStream(ctx, name, 0, 1<<20, uuid.Nil)
			if !errors.Is(err, backend.ErrStreamNotFound) {
				if err != nil {
					t.Fatal(err)
				}
				wantVersions(t, events, 1, uint64(len(events)))
			}
			return
		default:
		}
		if _, err := backend.Append(ctx, a, name, backend.AnyVersion(), identified(2), uuid.Nil); err != nil {
			t.Errorf("append %d: %v", i, err)
			cancel()
			wg.Wait()
			return
		}
		events, err := a.ReadStream(ctx, name, 0, 1<<20, uuid.Nil)
		if errors.Is(err, backend.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			t.Errorf("read %d: %v", i, err)
			cancel()
			wg.Wait()
			return
		}
		wantVersions(t, events, 1, uint64(len(events)))
	}
}

func TestDeletingMeanwhileLosesNothingAndMixesNothing(t *testing.T) {
	srv := testserver.Single(t)
	a, b := pair(t, srv.Connect, jetstream.Config{})
	deletedMeanwhile(t, a, b)
}

// The event stream that a writer knows was deleted, and another of its name
// begun, which is at the same version.
func TestAnotherLifeOfTheNameIsNotTakenForTheKnownOne(t *testing.T) {
	ctx := t.Context()
	for name, again := range map[string]func(s *store){
		"as many commits": func(s *store) { s.add("x", 1, 1, 1) },
		"one commit":      func(s *store) { s.add("x", 3) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := testserver.Single(t)
			a, b := pair(t, srv.Connect, jetstream.Config{})
			a.add("x", 1, 1, 1)
			old := a.info("x")
			if err := b.DeleteStream(ctx, backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
				t.Fatal(err)
			}
			again(b)
			// a knows the old one. An append to version 3 goes to the new one.
			res := a.append("x", backend.ExactVersion(3), identified(1))
			if res.Version != 4 {
				t.Errorf("version %d, want 4", res.Version)
			}
			if now := a.info("x"); now.ID == old.ID || now.Version != 4 {
				t.Errorf("it is %+v, after %+v", now, old)
			}
			wantStream(t, a, "x", 4)
			wantStream(t, b, "x", 4)
		})
	}
	t.Run("deleted only", func(t *testing.T) {
		srv := testserver.Single(t)
		a, b := pair(t, srv.Connect, jetstream.Config{})
		a.add("x", 1, 1, 1)
		if err := b.DeleteStream(ctx, backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		_, err := backend.Append(ctx, a, "x", backend.ExactVersion(3), identified(1), uuid.Nil)
		wrong, ok := errors.AsType[*backend.WrongExpectedVersionError](err)
		if !ok || wrong.Actual != 0 {
			t.Errorf("error %v, want a wrong version, actual 0", err)
		}
		if _, err := a.AppendToStream(ctx, "x", identified(1), uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
			t.Errorf("AppendToStream: %v, want ErrStreamNotFound", err)
		}
		if _, err := a.ReadStream(ctx, "x", 0, 10, uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
			t.Errorf("reading: %v, want ErrStreamNotFound", err)
		}
		if res := a.append("x", backend.NoStream(), identified(1)); res.Version != 1 {
			t.Errorf("version %d, want 1", res.Version)
		}
	})
	t.Run("with some of the ids it had", func(t *testing.T) {
		srv := testserver.Single(t)
		a, b := pair(t, srv.Connect, jetstream.Config{})
		events := identified(3)
		a.append("x", backend.NoStream(), events)
		if err := b.DeleteStream(ctx, backend.Stream{UUID: "x"}, uuid.Nil); err != nil {
			t.Fatal(err)
		}
		// Of the event stream as it is, nothing speaks against it.
		res := a.append("x", backend.NoStream(), append(slices.Clone(events[:1]), identified(1)...))
		if res.Version != 2 {
			t.Errorf("version %d, want 2", res.Version)
		}
		wantStream(t, b, "x", 2)
	})
}

func TestFencesNameTheLiteralSubject(t *testing.T) {
	s := newStore(t, jetstream.Config{})
	for _, name := range []string{"a*b", ">", "*", "a.*.b", "a.>", "..", "a..b", "%", "%25", "ünï", "a.b.c"} {
		t.Run(name, func(t *testing.T) {
			subject, err := tributary.Subjects{}.Subject(name)
			if err != nil {
				t.Fatal(err)
			}
			fence := uint64(0)
			for i := range 3 {
				res := s.append(name, backend.ExactVersion(uint64(i)), identified(1))
				msg := s.message(res.Position)
				if msg.Subject != subject {
					t.Errorf("stored on %q, want %q", msg.Subject, subject)
				}
				if got, want := msg.Header[headerFence], strconv.FormatUint(fence, 10); !slices.Equal(got, []string{want}) {
					t.Errorf("fence %q, want %q", got, want)
				}
				fence = res.Position
			}
			wantVersions(t, s.all(name), 1, 3)
		})
	}
}

func TestNoMessageCarriesAnIDOrAWildcardFence(t *testing.T) {
	ctx := t.Context()
	s := newStore(t, jetstream.Config{})
	batches := s.again(jetstream.Config{EventsPerMessage: 1})
	s.add("a", 1, 2)
	batches.add("a", 3)
	if _, err := s.CreateStream(ctx, backend.Stream{UUID: "b"}, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	for i, err := range []error{
		s.SoftDelete(ctx, "a", backend.StreamExists(), uuid.Nil), s.Restore(ctx, "a", uuid.Nil),
		s.DeleteStream(ctx, backend.Stream{UUID: "b"}, uuid.Nil), s.Truncate(ctx, "a", 2, uuid.Nil),
	} {
		if err != nil {
			t.Fatal(i, err)
		}
	}
	state := s.stored("")
	seen := 0
	for position := state.FirstSeq; position <= state.LastSeq; position++ {
		msg, err := s.nc.Request("$JS.API.DIRECT.GET.EVENTS", fmt.Appendf(nil, `{"seq":%d}`, position), patience)
		if err != nil {
			t.Fatal(err)
		}
		if msg.Header.Get("Status") != "" {
			continue // erased
		}
		seen++
		for name := range msg.Header {
			switch name {
			case "Nats-Msg-Id", "Nats-Expected-Last-Sequence", "Nats-Expected-Last-Msg-Id", "Nats-Expected-Last-Subject-Sequence-Subject":
				t.Errorf("message %d has %s", position, name)
			}
		}
		if len(msg.Data) == 0 {
			t.Errorf("message %d has an empty body", position)
		}
	}
	if seen < 6 {
		t.Errorf("saw %d messages only", seen)
	}
}
