package backendtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tributary-es/tributary/backend"
)

func eventTypeClauses(t *testing.T, b backend.Backend) {
	t.Run("a subscription to event types yields the events of these types, also of commits with others", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		add := func() {
			for i, types := range [][]string{{"A"}, {"B"}, {"A", "B", "C", "A"}, {"C", "C"}, {"B", "C"}, {"a"}, {"AA"}, {"C", "A"}} {
				streams[i%2].mustAppend(backend.AnyVersion(), typed(types...))
			}
		}
		add()
		for _, types := range [][]string{{"A"}, {"B"}, {"A", "B"}, {"C", "A", "C"}, {"a", "none"}, {"A", "B", "C", "a", "AA"}} {
			for _, batchSize := range []int{0, 1, 3} {
				f := s.follow(backend.SubscribeOptions{Under: s.name, EventTypes: types, BatchSize: batchSize})
				want := ofTypes(s.mustReadAll(backend.ReadAllOptions{Under: s.name}), types...)
				wantSameEvents(t, want, f.until(len(want)))
				add()
				want = ofTypes(s.mustReadAll(backend.ReadAllOptions{Under: s.name}), types...)
				wantSameEvents(t, want, f.until(len(want)))
				f.stop()
			}
		}
	})
	t.Run("an event type may be any text", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		types := []string{"with space", "with,comma", "with\nline break", "with%25", "ünïcode", "*", ">", "invalid \xff", strings.Repeat("x", backend.MaxEventTypeBytes)}
		s.mustAppend(backend.AnyVersion(), typed(types...))
		for i, eventType := range types {
			f := s.follow(backend.SubscribeOptions{Stream: s.name, EventTypes: []string{eventType}})
			wantSameEvents(t, s.all()[i:i+1], f.until(1))
			f.stop()
		}
	})
	t.Run("what event types leave out moves the position", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.mustAppend(backend.AnyVersion(), typed("A", "A"))
		f := s.follow(backend.SubscribeOptions{Stream: s.name, EventTypes: []string{"B"}})
		for range 5 {
			f.untilPosition(s.mustAppend(backend.AnyVersion(), typed("A")).Position)
		}
		if len(f.events) != 0 {
			t.Fatalf("it yielded %d events", len(f.events))
		}
		s.mustAppend(backend.AnyVersion(), typed("B"))
		wantSameEvents(t, s.all()[7:], f.until(1))
	})
	t.Run("while it catches up, a subscription is not told of each commit that event types leave out", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for range 300 {
			s.mustAppend(backend.AnyVersion(), typed("A"))
		}
		s.mustAppend(backend.AnyVersion(), typed("B"))
		f := s.follow(backend.SubscribeOptions{Stream: s.name, EventTypes: []string{"B"}})
		f.until(1)
		if f.batches > 100 {
			t.Fatalf("it took %d batches to pass over 300 commits", f.batches)
		}
	})
	t.Run("Subscribe does not modify the event types, and what becomes of them later has no effect", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		types := []string{"B", "A"}
		seq := s.subscribe(backend.SubscribeOptions{Stream: s.name, EventTypes: types})
		if !slices.Equal(types, []string{"B", "A"}) {
			t.Fatalf("the event types became %q", types)
		}
		types[0] = "C"
		s.mustAppend(backend.AnyVersion(), typed("A", "B", "C"))
		got := 0
		for batch, err := range seq {
			must(t, err)
			types[1] = "C"
			if n := len(batch.Events); n > 0 {
				if got += n; got == 2 {
					s.mustAppend(backend.AnyVersion(), typed("C", "A", "B"))
				}
			}
			if len(ofTypes(batch.Events, "C")) > 0 {
				t.Fatal("it yielded an event of a type that was not asked for")
			}
			if got == 4 {
				break
			}
		}
	})
}

func batchClauses(t *testing.T, b backend.Backend) {
	for _, batchSize := range []int{0, 1, 2, 3, 7, 20, 1000} {
		t.Run(fmt.Sprintf("a batch is of whole commits, and ends with the one that reaches the batch size, of %d", batchSize), func(t *testing.T) {
			t.Parallel()
			s, streams := family(t, b, 2)
			for i := range 12 {
				streams[i%2].add(1 + i%4)
			}
			f := s.follow(backend.SubscribeOptions{Under: s.name, BatchSize: batchSize})
			f.until(30)
			for i := range 12 {
				streams[i%2].add(1 + i%4)
			}
			wantSameEvents(t, s.mustReadAll(backend.ReadAllOptions{Under: s.name}), f.until(60))
		})
	}
	t.Run("nothing waits for a batch to become full", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2, 1)
		f := s.follow(backend.SubscribeOptions{Stream: s.name, BatchSize: 100_000})
		f.until(3)
		for n := 4; n < 10; n++ {
			s.add(1)
			f.until(n)
		}
	})
	t.Run("each range over a subscription starts anew", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 4, 1, 1)
		seq := s.subscribe(backend.SubscribeOptions{Stream: s.name, BatchSize: 2})
		for stop := range uint64(4) {
			var got []backend.RecordedEvent
			for batch, err := range seq {
				must(t, err)
				if got = append(got, batch.Events...); uint64(len(got)) > stop {
					break
				}
			}
			wantVersions(t, got, s.name, 1, uint64(len(got)))
		}
	})
	t.Run("each range over a subscription from now starts with what is then now", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		seq := s.subscribe(backend.SubscribeOptions{Stream: s.name, From: backend.FromNow()})
		for range 4 {
			last := s.add(2).Version
			told := false
			for batch, err := range seq {
				must(t, err)
				if !told {
					told = true
					s.add(1)
				}
				if len(batch.Events) > 0 {
					wantVersions(t, batch.Events, s.name, last+1, last+1)
					break
				}
			}
		}
	})
	t.Run("two subscriptions are independent of each other", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.addSingly(6)
		options := backend.SubscribeOptions{Stream: s.name, BatchSize: 1}
		one, two := s.follow(options), s.follow(options)
		one.until(2)
		two.until(1)
		one.until(6)
		two.until(2)
		s.addSingly(3)
		one.until(8)
		one.stop()
		wantVersions(t, two.until(9), s.name, 1, 9)
	})
	t.Run("ranges over one subscription at the same time are independent of each other", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.addSingly(6)
		seq := s.subscribe(backend.SubscribeOptions{Stream: s.name, BatchSize: 2})
		for outer, err := range seq {
			must(t, err)
			n := 0
			for inner, err := range seq {
				must(t, err)
				if n += len(inner.Events); n >= 6 {
					break
				}
			}
			if len(outer.Events) > 0 && outer.Events[len(outer.Events)-1].StreamVersion == 6 {
				break
			}
		}
	})
	t.Run("breaking out of Subscribe ends it, and the loop may append", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		n := uint64(0)
		for batch, err := range s.subscribe(backend.SubscribeOptions{Stream: s.name}) {
			must(t, err)
			for _, e := range batch.Events {
				if n++; e.StreamVersion != n {
					t.Fatalf("version %d came after %d", e.StreamVersion, n-1)
				}
				s.add(1) // the iteration must not hold what an append needs
			}
			if n >= 20 {
				break
			}
		}
	})
	t.Run("breaking out of Subscribe at an error is no trouble", func(t *testing.T) {
		t.Parallel()
		for range fresh(t, b).subscribe(backend.SubscribeOptions{BatchSize: -1}) {
			break
		}
	})
	t.Run("what Subscribe yields belongs to the caller", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		given := events(3)
		s.mustAppend(backend.AnyVersion(), given)
		for range 2 {
			f := s.follow(backend.SubscribeOptions{Stream: s.name})
			got := f.until(3)
			wantRecorded(t, got, given)
			for i := range got {
				clear(got[i].Data)
			}
			clear(got)
			f.stop()
		}
		wantRecorded(t, s.all(), given)
	})
}
