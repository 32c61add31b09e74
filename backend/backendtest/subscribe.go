package backendtest

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/tributary-es/tributary/backend"
)

func subscribeClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.Subscriber); !ok {
		t.Run("subscribing without the capability yields ErrUnsupported once", func(t *testing.T) {
			fresh(t, b).follow(backend.SubscribeOptions{}).wantEnd(backend.ErrUnsupported)
		})
		t.Skip("the backend is no backend.Subscriber")
	}
	subscribeOverClauses(t, b)
	subscribeFromClauses(t, b)
	eventTypeClauses(t, b)
	batchClauses(t, b)

	event := func(name string) backend.SubscribeOptions { return backend.SubscribeOptions{Stream: name} }
	for what, row := range map[string]struct {
		options backend.SubscribeOptions
		err     error
		names   string // what is wrong
	}{
		"an event stream and a prefix":    {backend.SubscribeOptions{Stream: "one", Under: "other"}, backend.ErrInvalidArgument, "prefix"},
		"an event stream's illegal name":  {event("with space"), backend.ErrInvalidStreamUUID, "space"},
		"an event stream's reserved name": {event("$parked"), backend.ErrInvalidStreamUUID, "reserved"},
		"a name too long":                 {event(strings.Repeat("a", 256)), backend.ErrInvalidStreamUUID, "256 bytes"},
		"an illegal prefix":               {backend.SubscribeOptions{Under: "a\r\nb"}, backend.ErrInvalidStreamUUID, "control character"},
		"a reserved prefix":               {backend.SubscribeOptions{Under: "$JS"}, backend.ErrInvalidStreamUUID, "reserved"},
		"a version of all event streams":  {backend.SubscribeOptions{From: backend.FromVersion(2)}, backend.ErrInvalidArgument, "version 2"},
		"a version under a prefix":        {backend.SubscribeOptions{Under: "a", From: backend.FromVersion(7)}, backend.ErrInvalidArgument, "version 7"},
		"a negative batch size":           {backend.SubscribeOptions{BatchSize: -3}, backend.ErrInvalidArgument, "batch size -3"},
		"the least batch size":            {backend.SubscribeOptions{BatchSize: math.MinInt}, backend.ErrInvalidArgument, "batch size"},
		"an empty event type":             {backend.SubscribeOptions{EventTypes: []string{"a", ""}}, backend.ErrInvalidArgument, "event type 1"},
		"an event type too long":          {backend.SubscribeOptions{EventTypes: []string{strings.Repeat("a", backend.MaxEventTypeBytes+1)}}, backend.ErrInvalidArgument, "event type 0"},
	} {
		t.Run("subscribing to "+what+" yields an error that says so, once, in every range", func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			for range 2 {
				s.follow(row.options).wantEnd(row.err)
			}
			for _, err := range s.subscribe(row.options) {
				if !strings.Contains(err.Error(), row.names) || len(err.Error()) > 1000 {
					t.Errorf("the error %.1000q doesn't say %q, or much else", err, row.names)
				}
			}
		})
	}
}

func subscribeOverClauses(t *testing.T, b backend.Backend) {
	t.Run("Subscribe yields the events that are stored, and then those that are appended, as they are read", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 4)
		for i, n := range []int{1, 3, 1, 2, 5, 1, 1, 4} {
			streams[i%4].add(n)
		}
		f := s.follow(backend.SubscribeOptions{Under: s.name})
		f.until(18)
		for i, n := range []int{2, 1, 1, 6} {
			streams[i%4].add(n)
			f.until(len(f.events) + n)
		}
		wantSameEvents(t, s.mustReadAll(backend.ReadAllOptions{Under: s.name}), f.events)
	})
	t.Run("Subscribe to one event stream yields its events alone", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		others := []*stream{named(t, b, s.name+".a"), named(t, b, s.name+"a"), named(t, b, s.name+"."), named(t, b, "x."+s.name), fresh(t, b)}
		for _, other := range others {
			other.add(2)
		}
		s.add(1, 2)
		f := s.follow(backend.SubscribeOptions{Stream: s.name})
		f.until(3)
		for _, other := range others {
			other.add(1)
		}
		s.add(3)
		wantVersions(t, f.until(6), s.name, 1, 6)
		wantSameEvents(t, s.all(), f.events)
	})
	t.Run("Subscribe to event streams whose names look like wildcards yields their events alone", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for _, name := range []string{s.name + ".*", s.name + ".>", s.name + "*", s.name + "%", s.name + "..a"} {
			one := named(t, b, name)
			one.add(1)
			f := one.follow(backend.SubscribeOptions{Stream: name})
			f.until(1)
			named(t, b, s.name+".other").add(1)
			one.add(2)
			wantSameEvents(t, one.all(), f.until(3))
		}
	})
	t.Run("Subscribe under a name covers the names below it, not itself, and not those that only begin alike", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		names := []string{".a", "", ".a.b", "a", ".b.c.d", "a.b", ".*", "*", "..a", "-.a", "."}
		covered := 0
		for _, name := range names {
			named(t, b, s.name+name).add(1)
			if strings.HasPrefix(name, ".") {
				covered++
			}
		}
		f := s.follow(backend.SubscribeOptions{Under: s.name})
		f.until(covered)
		for _, name := range names {
			named(t, b, s.name+name).add(2)
		}
		for _, e := range f.until(3 * covered) {
			if !strings.HasPrefix(e.StreamUUID, s.name+".") {
				t.Errorf("under %q it yielded an event of %q", s.name, e.StreamUUID)
			}
		}
		wantSameEvents(t, s.mustReadAll(backend.ReadAllOptions{Under: s.name}), f.events)
	})
	t.Run("Subscribe to neither an event stream nor a prefix yields the events of all", func(t *testing.T) {
		t.Parallel()
		one, two := fresh(t, b), fresh(t, b)
		before := one.add(1).Position - 1
		two.add(2)
		f := one.follow(backend.SubscribeOptions{From: backend.AfterPosition(before)})
		f.untilPosition(two.add(1).Position)
		one.add(3)
		f.untilPosition(two.add(1).Position)
		wantSameEvents(t, one.all(), only(f.events, one))
		wantSameEvents(t, two.all(), only(f.events, two))
	})
	t.Run("an event stream to subscribe to need not exist yet", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		f := s.follow(backend.SubscribeOptions{Stream: s.name})
		if batch := f.batch(); len(batch.Events) != 0 || !batch.CaughtUp {
			t.Fatalf("first came a batch of %d events, caught up: %t", len(batch.Events), batch.CaughtUp)
		}
		s.add(1)
		f.until(1)
		s.add(2)
		wantSameEvents(t, s.all(), f.until(3))
	})
	t.Run("a prefix to subscribe to need not have event streams yet", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		f := s.follow(backend.SubscribeOptions{Under: s.name})
		if batch := f.batch(); len(batch.Events) != 0 || !batch.CaughtUp {
			t.Fatalf("first came a batch of %d events, caught up: %t", len(batch.Events), batch.CaughtUp)
		}
		streams[1].add(1)
		streams[0].add(2)
		wantSameEvents(t, s.mustReadAll(backend.ReadAllOptions{Under: s.name}), f.until(3))
	})
	t.Run("a subscription to an event stream without events waits for them", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		f := s.follow(backend.SubscribeOptions{Stream: s.name})
		f.untilCaughtUp()
		s.add(2)
		wantSameEvents(t, s.all(), f.until(2))
	})
	t.Run("a commit that needs more than one message comes whole", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.mustAppend(backend.AnyVersion(), padded(events(500), 3000))
		f := s.follow(backend.SubscribeOptions{Stream: s.name, BatchSize: 2})
		f.until(500)
		for range 3 {
			res := s.mustAppend(backend.AnyVersion(), padded(events(500), 3000))
			f.until(int(res.Version))
			if n := len(f.last.Events); n != 500 {
				t.Fatalf("the last batch has %d events of a commit of 500", n)
			}
			s.add(1)
			f.until(int(res.Version) + 1)
		}
		wantSameEvents(t, s.all(), f.events)
	})
}

func subscribeFromClauses(t *testing.T, b backend.Backend) {
	t.Run("a subscription starts after a position, exclusively, whether or not something is stored there", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		for i := range 10 {
			streams[i%2].add(1 + i%3)
		}
		whole := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
		afters := []uint64{0, 1, whole[0].Position - 1}
		for _, e := range whole {
			afters = append(afters, e.Position, e.Position+1)
		}
		slices.Sort(afters)
		for _, position := range slices.Compact(afters) {
			for _, options := range []backend.SubscribeOptions{{Under: s.name}, {Stream: streams[0].name}, {BatchSize: 2, Stream: streams[1].name}} {
				options.From = backend.AfterPosition(position)
				want := after(whole, position)
				if options.Stream != "" {
					want = only(want, named(t, b, options.Stream))
				}
				if len(want) == 0 {
					continue // which is what the next clause is about
				}
				f := s.follow(options)
				wantSameEvents(t, want, f.until(len(want)))
				f.stop()
			}
		}
	})
	t.Run("a position beyond the end is waited for", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		beyond := s.add(1, 2).Position + 10
		f := s.follow(backend.SubscribeOptions{Stream: s.name, From: backend.AfterPosition(beyond)})
		if batch := f.batch(); len(batch.Events) != 0 || !batch.CaughtUp {
			t.Fatalf("first came a batch of %d events, caught up: %t", len(batch.Events), batch.CaughtUp)
		}
		for s.add(1).Position <= beyond {
		}
		s.add(2)
		want := after(s.all(), beyond)
		wantSameEvents(t, want, f.until(len(want)))
	})
	for _, position := range []uint64{1 << 62, noLimit} {
		t.Run(fmt.Sprintf("position %d is waited for", position), func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			s.add(1)
			next, stop := iter.Pull2(s.subscribe(backend.SubscribeOptions{Stream: s.name, From: backend.AfterPosition(position)}))
			defer stop()
			batch, err, _ := next()
			must(t, err)
			if len(batch.Events) != 0 || !batch.CaughtUp {
				t.Fatalf("first came a batch of %d events, caught up: %t", len(batch.Events), batch.CaughtUp)
			}
		})
	}
	t.Run("a subscription starts with a version, inclusively, of which 0 and 1 both mean the first", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1, 1, 3, 1, 4, 1, 1, 1)
		s.addSingly(20)
		whole := s.wantHistory(1, 33)
		for _, version := range []uint64{0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 13, 20, 33} {
			f := s.follow(backend.SubscribeOptions{Stream: s.name, From: backend.FromVersion(version), BatchSize: 5})
			want := whole[max(version, 1)-1:]
			wantSameEvents(t, want, f.until(len(want)))
			f.stop()
		}
	})
	for what, size := range map[string]int{"with events": 3, "that is missing": 0} {
		t.Run("a version beyond the end of an event stream "+what+" is waited for", func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			if size > 0 {
				s.add(size)
			}
			f := s.follow(backend.SubscribeOptions{Stream: s.name, From: backend.FromVersion(6)})
			if batch := f.batch(); len(batch.Events) != 0 || !batch.CaughtUp {
				t.Fatalf("first came a batch of %d events, caught up: %t", len(batch.Events), batch.CaughtUp)
			}
			for s.add(1).Version < 8 {
			}
			wantSameEvents(t, s.all()[5:], f.until(3))
		})
	}
	for what, over := range map[string]func(*stream) backend.SubscribeOptions{
		"an event stream":   func(s *stream) backend.SubscribeOptions { return backend.SubscribeOptions{Stream: s.name + ".0"} },
		"a prefix":          func(s *stream) backend.SubscribeOptions { return backend.SubscribeOptions{Under: s.name} },
		"all event streams": func(s *stream) backend.SubscribeOptions { return backend.SubscribeOptions{} },
	} {
		t.Run("a subscription to "+what+" from now tells its position by a first batch, caught up and without events, and yields what is appended after", func(t *testing.T) {
			t.Parallel()
			s, streams := family(t, b, 1)
			one := streams[0]
			for round := range 5 {
				before := one.add(1, 2)
				options := over(s)
				options.From = backend.FromNow()
				f := s.follow(options)
				first := f.batch()
				if len(first.Events) != 0 || !first.CaughtUp || first.Position < before.Position {
					t.Fatalf("round %d: after position %d the first batch has %d events, position %d, caught up: %t",
						round, before.Position, len(first.Events), first.Position, first.CaughtUp)
				}
				f.untilPosition(one.add(1, 2).Position)
				want := one.all()[before.Version:]
				wantSameEvents(t, want, only(f.events, one))

				options.From = backend.AfterPosition(first.Position)
				again := s.follow(options)
				again.untilPosition(f.last.Position)
				wantSameEvents(t, want, only(again.events, one))
				f.stop()
				again.stop()
			}
		})
	}
	t.Run("a subscription from now to an event stream that does not exist yields it when it comes to be", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		f := s.follow(backend.SubscribeOptions{Stream: s.name, From: backend.FromNow()})
		if batch := f.batch(); len(batch.Events) != 0 || !batch.CaughtUp {
			t.Fatalf("first came a batch of %d events, caught up: %t", len(batch.Events), batch.CaughtUp)
		}
		s.add(2, 1)
		wantSameEvents(t, s.all(), f.until(3))
	})
	t.Run("going on after the position of any batch yields what followed that batch", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 3)
		for i := range 20 {
			streams[i%3].mustAppend(backend.AnyVersion(), typed([]string{"A", "B", "A"}[:1+i%3]...))
		}
		whole := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
		for _, options := range []backend.SubscribeOptions{
			{Under: s.name, BatchSize: 1},
			{Under: s.name, BatchSize: 4},
			{Under: s.name, BatchSize: 2, EventTypes: []string{"A"}},
			{Under: s.name, BatchSize: 1, EventTypes: []string{"B"}},
			{Stream: streams[1].name, BatchSize: 3},
		} {
			want := whole
			if options.Stream != "" {
				want = only(want, streams[1])
			}
			if len(options.EventTypes) > 0 {
				want = ofTypes(want, options.EventTypes...)
			}
			f := s.follow(options)
			for len(f.events) < len(want)-1 {
				f.batch()
				done := len(f.events)
				if done == len(want) {
					break
				}
				options.From = backend.AfterPosition(f.last.Position)
				rest := s.follow(options)
				wantSameEvents(t, want[done:], rest.until(len(want)-done))
				rest.stop()
			}
			wantSameEvents(t, want, f.until(len(want)))
			f.stop()
		}
	})
}
