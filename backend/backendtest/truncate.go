package backendtest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func truncateClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.Truncater); !ok {
		t.Run("truncation without the capability is ErrUnsupported", func(t *testing.T) {
			s := fresh(t, b)
			s.add(2)
			wantErr(t, s.truncate(2), backend.ErrUnsupported)
			s.wantHistory(1, 2)
		})
		t.Skip("the backend is no backend.Truncater")
	}
	const version = 12
	for _, sizes := range [][]int{{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {12}, {1, 4, 2, 3, 1, 1}} {
		for _, before := range []uint64{0, 1, 2, 3, 6, 11, 12, 13, 14, 1000, math.MaxInt64, noLimit} {
			t.Run(fmt.Sprintf("commits of %v truncated before version %d have that as the first to read, and nothing else changed", sizes, before), func(t *testing.T) {
				t.Parallel()
				s := fresh(t, b)
				s.add(sizes...)
				info, whole := s.info(), s.all()
				must(t, s.truncate(before))
				first := min(max(before, 1), version+1)
				wantTruncated(t, s, first, version)
				wantSameInfo(t, info, s.info())
				wantSameEvents(t, whole[first-1:], s.all())
			})
		}
	}
	t.Run("versions go on after a truncation", func(t *testing.T) {
		t.Parallel()
		for _, before := range []uint64{3, 5, 6, noLimit} {
			s := fresh(t, b)
			s.add(2, 3)
			must(t, s.truncate(before))
			first := min(before, 6)
			if res := s.add(1); res.Version != 6 {
				t.Fatalf("truncated before %d, the next append led to version %d, want 6", before, res.Version)
			}
			wantTruncated(t, s, first, 6)
			s.mustAppend(backend.ExactVersion(6), events(4))
			wantTruncated(t, s, first, 10)
			_, err := s.appendTo(versioned(11, 2))
			must(t, err)
			wantTruncated(t, s, first, 12)
		}
	})
	t.Run("a stream truncated past its end is empty, and its version is what an append must expect", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2, 3)
		must(t, s.truncate(noLimit))
		wantTruncated(t, s, 6, 5)
		for _, wrong := range []uint64{0, 1, 4, 6} {
			_, err := s.append(backend.ExactVersion(wrong), events(1))
			wantWrongVersion(t, err, s.name, backend.ExactVersion(wrong), 5)
		}
		_, err := s.append(backend.NoStream(), events(1))
		wantErr(t, err, backend.ErrStreamExists)
		_, err = b.CreateStream(s.ctx, backend.Stream{UUID: s.name}, uuid.Nil)
		wantErr(t, err, backend.ErrStreamExists)
		given := events(2)
		s.mustAppend(backend.ExactVersion(5), given)
		wantTruncated(t, s, 6, 7)
		wantRecorded(t, s.all(), given)
	})
	t.Run("what was truncated stays so: truncating before an earlier version changes nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2, 3, 2)
		must(t, s.truncate(4))
		for _, before := range []uint64{0, 1, 2, 3, 4} {
			must(t, s.truncate(before))
			wantTruncated(t, s, 4, 7)
		}
	})
	t.Run("a stream is truncated again and again", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for round := range uint64(5) {
			s.add(2, 1, 3)
			end := 6 * (round + 1)
			for _, before := range []uint64{end - 4, end - 3, end - 1} {
				must(t, s.truncate(before))
				wantTruncated(t, s, before, end)
			}
		}
		for range 3 {
			must(t, s.truncate(noLimit))
			wantTruncated(t, s, 31, 30)
			must(t, s.truncate(31))
			wantTruncated(t, s, 31, 30)
		}
		must(t, s.truncate(1))
		wantTruncated(t, s, 31, 30)
	})
	t.Run("truncating past the end concerns no event that is appended later", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2)
		must(t, s.truncate(10))
		s.addSingly(12)
		wantTruncated(t, s, 3, 14)
	})
	t.Run("truncating a stream without events changes nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		created := s.create()
		for _, before := range []uint64{0, 1, 2, noLimit} {
			must(t, s.truncate(before))
			wantSameInfo(t, created, s.info())
		}
		s.mustAppend(backend.NoStream(), events(2))
		wantTruncated(t, s, 1, 2)
	})
	t.Run("truncating a missing stream returns ErrStreamNotFound", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for _, before := range []uint64{0, 1, 2, noLimit} {
			wantErr(t, s.truncate(before), backend.ErrStreamNotFound)
		}
		_, err := s.readInfo()
		wantErr(t, err, backend.ErrStreamNotFound)
	})
	t.Run("deletion expects the version of a truncated stream, not the number of its events", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2, 3)
		must(t, s.truncate(4))
		wantWrongVersion(t, s.delete(2), s.name, backend.ExactVersion(2), 5)
		must(t, s.truncate(noLimit))
		wantWrongVersion(t, s.delete(1), s.name, backend.ExactVersion(1), 5)
		must(t, s.delete(5))
		wantNotFound(t, s)
	})
	t.Run("a stream that was truncated, deleted and written again has all its events", func(t *testing.T) {
		t.Parallel()
		for _, before := range []uint64{2, noLimit} {
			s := fresh(t, b)
			s.add(2, 3)
			must(t, s.truncate(before))
			must(t, s.delete(0))
			given := events(3)
			s.mustAppend(backend.NoStream(), given)
			wantTruncated(t, s, 1, 3)
			wantRecorded(t, s.all(), given)
		}
	})
	t.Run("a truncation concerns no other stream", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		child, alike := named(t, b, s.name+".child"), named(t, b, s.name+"x")
		for range 2 {
			for _, s := range []*stream{s, child, alike} {
				s.add(1, 2)
			}
		}
		before, beforeAlike := child.state(), alike.state()
		must(t, s.truncate(4))
		must(t, s.truncate(noLimit))
		child.wantState(before)
		alike.wantState(beforeAlike)
	})
	t.Run("a long stream is truncated in the middle", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for range 20 {
			s.add(1, 7, 1, 1, 30)
		}
		whole := s.all()
		must(t, s.truncate(395))
		wantTruncated(t, s, 395, 800)
		wantSameEvents(t, whole[394:], s.all())
	})
}

// wantTruncated checks in every way of reading that the events of s are those
// from version first to last.
func wantTruncated(t tester, s *stream, first, last uint64) {
	t.Helper()
	whole := s.wantHistory(first, last)
	for _, version := range []uint64{0, 1, first - 1, first, first + 1, last, last + 1} {
		for _, limit := range []uint64{0, 1, 2, noLimit} {
			got, err := s.read(version, limit)
			must(t, err)
			from := min(max(version, first), last+1)
			want := whole[from-first:]
			wantSameEvents(t, want[:min(uint64(len(want)), limit)], got)
			if _, ok := s.b.(backend.BackwardReader); !ok {
				continue
			}
			got, err = s.readBackward(version, limit)
			must(t, err)
			from = min(version, last)
			if version == 0 {
				from = last // the end
			}
			want = nil
			if from >= first {
				want = slices.Clone(whole[:from-first+1])
				slices.Reverse(want)
			}
			wantSameEvents(t, want[:min(uint64(len(want)), limit)], got)
		}
	}
	for _, batchSize := range []int{1, 3, 1000} {
		batches := s.batches(batchSize)
		wantBatches(t, batches, batchSize)
		wantSameEvents(t, whole, slices.Concat(batches...))
	}
}
