package backendtest

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func allClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.AllReader); !ok {
		t.Run("reading all streams without the capability yields ErrUnsupported once", func(t *testing.T) {
			_, err := collect(t, fresh(t, b).allUnder(backend.ReadAllOptions{}))
			wantErr(t, err, backend.ErrUnsupported)
		})
		t.Skip("the backend is no backend.AllReader")
	}
	t.Run("ReadAll yields the events of all streams in position order, as reading each does", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 4)
		for i, n := range []int{1, 3, 1, 2, 5, 1, 1, 4} {
			streams[i%4].add(n)
		}
		got := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
		wantPositionOrder(t, got)
		for _, child := range streams {
			wantSameEvents(t, child.all(), only(got, child))
		}
		if len(got) != 18 {
			t.Fatalf("it yielded %d events, 18 were appended", len(got))
		}
	})
	t.Run("ReadAll without a prefix yields the events of any stream", func(t *testing.T) {
		t.Parallel()
		one, two := fresh(t, b), fresh(t, b)
		after := one.add(1).Position - 1
		for range 3 {
			two.add(2)
			one.add(1, 1)
		}
		last := two.add(1).Position
		var got []backend.RecordedEvent
		for batch, err := range one.allUnder(backend.ReadAllOptions{After: after, BatchSize: 5}) {
			must(t, err)
			if got = append(got, batch...); got[len(got)-1].Position >= last {
				break
			}
		}
		wantPositionOrder(t, got)
		wantSameEvents(t, one.all(), only(got, one))
		wantSameEvents(t, two.all(), only(got, two))
	})
	t.Run("ReadAll starts after a position, exclusively, whether or not something is stored there", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		for i := range 10 {
			streams[i%2].add(1 + i%3)
		}
		whole := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
		last := whole[len(whole)-1].Position
		afters := []uint64{0, whole[0].Position - 1, last, last + 1, last + 1000, 1 << 62, noLimit}
		for _, e := range whole {
			afters = append(afters, e.Position, e.Position-1, e.Position+1)
		}
		for _, after := range afters {
			want := slices.DeleteFunc(slices.Clone(whole), func(e backend.RecordedEvent) bool { return e.Position <= after })
			wantSameEvents(t, want, s.mustReadAll(backend.ReadAllOptions{After: after, Under: s.name}))
		}
	})
	t.Run("a batch of ReadAll ends with the commit that reaches the batch size", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		for i := range 12 {
			streams[i%2].add(1 + i%4)
		}
		whole := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
		for _, batchSize := range []int{1, 2, 3, 7, len(whole), len(whole) + 1} {
			batches, err := collect(t, s.allUnder(backend.ReadAllOptions{Under: s.name, BatchSize: batchSize}))
			must(t, err)
			wantSameEvents(t, whole, slices.Concat(batches...))
			for i, batch := range batches {
				lastCommit := batch[len(batch)-1].Position
				first := slices.IndexFunc(batch, func(e backend.RecordedEvent) bool { return e.Position == lastCommit })
				if first >= batchSize {
					t.Fatalf("batch size %d: batch %d reached it before its last commit", batchSize, i)
				}
				if i < len(batches)-1 && (len(batch) < batchSize || batches[i+1][0].Position == lastCommit) {
					t.Fatalf("batch size %d: batch %d ends after %d events, within or before the commit that reaches it", batchSize, i, len(batch))
				}
			}
		}
	})
	t.Run("ReadAll with a batch size of 0 yields batches of DefaultBatchSize", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 1)
		streams[0].add(slices.Repeat([]int{backend.DefaultBatchSize / 10}, 11)...)
		batches, err := collect(t, s.allUnder(backend.ReadAllOptions{Under: s.name}))
		must(t, err)
		if len(batches) != 2 || len(batches[0]) != backend.DefaultBatchSize || len(batches[1]) != backend.DefaultBatchSize/10 {
			t.Fatalf("it yielded %d batches", len(batches))
		}
	})
	t.Run("ReadAll with a negative batch size yields ErrInvalidArgument once", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		batches, err := collect(t, s.allUnder(backend.ReadAllOptions{BatchSize: -1}))
		wantErr(t, err, backend.ErrInvalidArgument)
		if len(batches) != 0 {
			t.Fatalf("before the error came %d batches", len(batches))
		}
	})
	t.Run("ReadAll ends with the commit that reaches the limit", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		for i := range 9 {
			streams[i%2].add(1 + i%3)
		}
		whole := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
		for limit := range len(whole) + 2 {
			want := len(whole)
			for i := limit; limit > 0 && i < len(whole); i++ {
				if whole[i].Position != whole[i-1].Position {
					want = i
					break
				}
			}
			for _, batchSize := range []int{0, 1, 4} {
				got := s.mustReadAll(backend.ReadAllOptions{Under: s.name, Limit: uint64(limit), BatchSize: batchSize})
				wantSameEvents(t, whole[:want], got)
			}
		}
		wantSameEvents(t, whole, s.mustReadAll(backend.ReadAllOptions{Under: s.name, Limit: noLimit}))
	})
	t.Run("going on after the last position of a batch yields every event once", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 3)
		for i := range 20 {
			streams[i%3].add(1 + i%4)
		}
		whole := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
		for _, limit := range []uint64{1, 2, 7} {
			var got []backend.RecordedEvent
			var after uint64
			for {
				more := s.mustReadAll(backend.ReadAllOptions{Under: s.name, After: after, Limit: limit})
				if len(more) == 0 {
					break
				}
				got = append(got, more...)
				if after = more[len(more)-1].Position; len(got) > len(whole) {
					t.Fatalf("it yielded %d events, %d are there", len(got), len(whole))
				}
			}
			wantSameEvents(t, whole, got)
		}
	})
	t.Run("ReadAll under a name covers the names below it, not itself, and not those that only begin alike", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		under := map[string]bool{
			s.name + ".a": true, s.name + ".a.b": true, s.name + ".b.c.d": true, s.name + ".*": true, s.name + ".>": true, s.name + "..a": true, s.name + ".": true,
			s.name: false, s.name + "a": false, s.name + "a.b": false, s.name + "*": false, s.name + "-.a": false, "x." + s.name + ".a": false,
		}
		want := 0
		for name, covered := range under {
			named(t, b, name).add(1, 2)
			if covered {
				want += 3
			}
		}
		got := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
		for _, e := range got {
			if !under[e.StreamUUID] {
				t.Errorf("under %q it yielded an event of %q", s.name, e.StreamUUID)
			}
		}
		if len(got) != want {
			t.Errorf("it yielded %d events, want %d", len(got), want)
		}
		for prefix, count := range map[string]int{s.name + ".a": 3, s.name + ".b": 3, s.name + ".b.c": 3, s.name + ".b.c.d": 0, s.name + ".c": 0, s.name + ".": 3, s.name + ".*": 0, s.name + ".>": 0, s.name + "-": 3} {
			if got := s.mustReadAll(backend.ReadAllOptions{Under: prefix}); len(got) != count {
				t.Errorf("under %q it yielded %d events, want %d", prefix, len(got), count)
			}
		}
	})
	t.Run("ReadAll under a name without streams below it yields no pair", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(1)
		for batch, err := range s.allUnder(backend.ReadAllOptions{Under: s.name}) {
			t.Fatalf("it yielded %d events, error %v", len(batch), err)
		}
	})
	t.Run("ReadAll yields nothing of streams without events", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		streams[0].create()
		streams[1].create()
		streams[1].add(1)
		wantSameEvents(t, streams[1].all(), s.mustReadAll(backend.ReadAllOptions{Under: s.name}))
	})
	t.Run("ReadAll ends with the event that was last when the range began", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		streams[0].addSingly(5)
		streams[1].addSingly(5)
		n := 0
		for batch, err := range s.allUnder(backend.ReadAllOptions{Under: s.name, BatchSize: 3}) {
			must(t, err)
			streams[0].add(2) // in the loop's body: the iteration must not hold what an append needs
			n += len(batch)
		}
		if n != 10 {
			t.Fatalf("it yielded %d events, 10 were there when it began", n)
		}
	})
	t.Run("breaking out of ReadAll ends it, and it can be ranged over again", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 1)
		streams[0].addSingly(6)
		seq := s.allUnder(backend.ReadAllOptions{Under: s.name, BatchSize: 2})
		for range 3 {
			for batch, err := range seq {
				must(t, err)
				wantVersions(t, batch, streams[0].name, 1, 2)
				break
			}
		}
		streams[0].add(1)
		batches, err := collect(t, seq)
		must(t, err)
		wantVersions(t, slices.Concat(batches...), streams[0].name, 1, 7)
	})
	t.Run("what ReadAll yields belongs to the caller", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 1)
		given := events(3)
		streams[0].mustAppend(backend.AnyVersion(), given)
		for range 2 {
			got := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
			wantRecorded(t, got, given)
			for i := range got {
				clear(got[i].Data)
			}
			clear(got)
		}
		wantRecorded(t, streams[0].all(), given)
	})
	t.Run("ReadAll yields nothing of a deleted stream, and of its next life all", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		streams[0].add(2, 1)
		streams[1].add(3)
		must(t, streams[0].delete(0))
		wantSameEvents(t, streams[1].all(), s.mustReadAll(backend.ReadAllOptions{Under: s.name}))
		streams[0].add(2)
		got := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
		wantPositionOrder(t, got)
		wantSameEvents(t, slices.Concat(streams[1].all(), streams[0].all()), got)
	})
	t.Run("ReadAll still yields the events of a soft-deleted stream", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		for i := range 4 {
			streams[i%2].add(1 + i)
		}
		before := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
		mustOrSkip(t, streams[0].softDelete(backend.AnyVersion()))
		wantSameEvents(t, before, s.mustReadAll(backend.ReadAllOptions{Under: s.name}))
		must(t, streams[0].restore())
		wantSameEvents(t, before, s.mustReadAll(backend.ReadAllOptions{Under: s.name}))
	})
	t.Run("ReadAll leaves truncated events out by whole commits", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 2)
		for _, child := range streams {
			child.add(2, 3, 1, 4)
		}
		whole, other := streams[0].all(), streams[1].all()
		for _, row := range []struct{ before, first uint64 }{{2, 1}, {3, 3}, {4, 3}, {5, 3}, {6, 6}, {7, 7}, {10, 7}, {11, 11}, {noLimit, 11}} {
			mustOrSkip(t, streams[0].truncate(row.before))
			got := s.mustReadAll(backend.ReadAllOptions{Under: s.name})
			wantPositionOrder(t, got)
			wantSameEvents(t, whole[row.first-1:], only(got, streams[0]))
			wantSameEvents(t, other, only(got, streams[1]))
		}
		streams[0].add(1)
		wantVersions(t, only(s.mustReadAll(backend.ReadAllOptions{Under: s.name}), streams[0]), streams[0].name, 11, 11)
	})
	t.Run("ReadAll while streams are written to yields whole commits, and all that were acknowledged before", func(t *testing.T) {
		t.Parallel()
		s, streams := family(t, b, 4)
		done := make(chan error, len(streams))
		for _, child := range streams {
			go func() {
				for range 30 {
					if _, err := child.append(backend.AnyVersion(), events(3)); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for writing := len(streams); writing > 0; {
			select {
			case err := <-done:
				must(t, err)
				writing--
			default:
			}
			acknowledged := make([]uint64, len(streams))
			for i, child := range streams {
				if info, err := child.readInfo(); err == nil {
					acknowledged[i] = info.Version
				}
			}
			got := s.mustReadAll(backend.ReadAllOptions{Under: s.name, BatchSize: 7})
			wantPositionOrder(t, got)
			for i, child := range streams {
				of := only(got, child)
				if uint64(len(of)) < acknowledged[i] || len(of)%3 != 0 {
					t.Fatalf("it yielded %d events of %q, %d were acknowledged", len(of), child.name, acknowledged[i])
				}
				wantVersions(t, of, child.name, 1, uint64(len(of)))
			}
		}
		if got := s.mustReadAll(backend.ReadAllOptions{Under: s.name}); len(got) != 4*90 {
			t.Fatalf("it yielded %d events in the end, want 360", len(got))
		}
	})
}

func (s *stream) allUnder(options backend.ReadAllOptions) iter.Seq2[[]backend.RecordedEvent, error] {
	return backend.ReadAll(s.ctx, s.b, options, uuid.Nil)
}

// mustReadAll returns all that ReadAll yields, which must be without an error.
func (s *stream) mustReadAll(options backend.ReadAllOptions) []backend.RecordedEvent {
	s.t.Helper()
	batches, err := collect(s.t, s.allUnder(options))
	must(s.t, err)
	return slices.Concat(batches...)
}

// family returns n event streams whose names are below that of the first.
func family(t tester, b backend.Backend, n int) (parent *stream, children []*stream) {
	t.Helper()
	parent = fresh(t, b)
	for i := range n {
		children = append(children, named(t, b, fmt.Sprintf("%s.%d", parent.name, i)))
	}
	return parent, children
}

// only returns the events of s among events.
func only(events []backend.RecordedEvent, s *stream) []backend.RecordedEvent {
	return slices.DeleteFunc(slices.Clone(events), func(e backend.RecordedEvent) bool { return e.StreamUUID != s.name })
}

// wantPositionOrder checks that positions rise from commit to commit, and that
// a commit is of one event stream.
func wantPositionOrder(t tester, got []backend.RecordedEvent) {
	t.Helper()
	for i := 1; i < len(got); i++ {
		last, e := got[i-1], got[i]
		together := e.Position == last.Position && e.StreamUUID == last.StreamUUID && e.StreamVersion == last.StreamVersion+1
		if e.Position <= last.Position && !together {
			t.Fatalf("position %d (%q, version %d) came after position %d (%q, version %d)",
				e.Position, e.StreamUUID, e.StreamVersion, last.Position, last.StreamUUID, last.StreamVersion)
		}
	}
}
