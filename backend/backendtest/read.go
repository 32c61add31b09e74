package backendtest

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func readClauses(t *testing.T, b backend.Backend) {
	// every way to cut 12 events into commits must read the same
	cuts := map[string][]int{
		"commits of one event":     {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
		"one commit":               {12},
		"commits of several sizes": {1, 4, 2, 3, 1, 1},
	}
	for name, sizes := range cuts {
		for _, row := range []struct {
			version, limit uint64
			first, last    uint64
			what           string
		}{
			{0, noLimit, 1, 12, "from version 0, which is the first"},
			{1, noLimit, 1, 12, "from version 1"},
			{0, 5, 1, 5, "from version 0, with a limit"},
			{1, 5, 1, 5, "from version 1, with a limit"},
			{1, 12, 1, 12, "with a limit of exactly the length"},
			{1, 13, 1, 12, "with a limit of one more than the length"},
			{0, 0, 1, 0, "with a limit of 0"},
			{5, 0, 5, 4, "from the middle, with a limit of 0"},
			{13, 0, 13, 12, "from past the end, with a limit of 0"},
			{5, 1, 5, 5, "one from the middle"},
			{3, 8, 3, 10, "a range in the middle"},
			{4, 3, 4, 6, "another range in the middle"},
			{7, noLimit, 7, 12, "from the middle to the end"},
			{10, 100, 10, 12, "from near the end, with a limit past it"},
			{12, 1, 12, 12, "the last one"},
			{12, noLimit, 12, 12, "from the last one on"},
			{13, noLimit, 13, 12, "from one past the end"},
			{14, 1, 14, 13, "from two past the end"},
			{1 << 40, 10, 1, 0, "from far past the end"},
			{math.MaxInt64, math.MaxInt64, 1, 0, "from the greatest signed version"},
			{noLimit, noLimit, 1, 0, "from the greatest version"},
			{2, math.MaxInt64, 2, 12, "with the greatest signed limit"},
			{2, noLimit - 1, 2, 12, "where version and limit add up to 0"},
		} {
			t.Run(fmt.Sprintf("reading %s %s returns what is there of it", name, row.what), func(t *testing.T) {
				t.Parallel()
				s := fresh(t, b)
				s.add(sizes...)
				got, err := s.read(row.version, row.limit)
				must(t, err)
				wantVersions(t, got, s.name, row.first, row.last)
				if len(got) > 0 {
					wantSameEvents(t, s.all()[row.first-1:row.last], got)
				}
			})
		}
	}
	t.Run("every range of a stream reads as that part of the whole", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2, 1, 3, 1, 1)
		whole := s.wantHistory(1, 8)
		for version := uint64(1); version <= 9; version++ {
			for limit := range uint64(10) {
				got, err := s.read(version, limit)
				must(t, err)
				end := min(8, version-1+limit)
				wantSameEvents(t, whole[version-1:end], got)
			}
		}
	})
	t.Run("a long stream reads the same in every way of reading it", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for range 25 {
			s.add(1, 7, 1, 1, 30)
		}
		const version = 25 * 40
		whole := s.wantHistory(1, version)
		for _, limit := range []uint64{1, 9, 400, 999} {
			for _, from := range []uint64{1, 2, 39, 500, 993, 1000} {
				got, err := s.read(from, limit)
				must(t, err)
				wantSameEvents(t, whole[from-1:min(version, from-1+limit)], got)
			}
		}
	})
	t.Run("reading is repeatable, and changes nothing", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(3, 1)
		before := s.state()
		for range 5 {
			s.wantState(before)
		}
	})
	t.Run("an append that was acknowledged is seen by every read after it", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for i := range uint64(50) {
			s.add(1)
			if info := s.info(); info.Version != i+1 {
				t.Fatalf("info has version %d after append %d", info.Version, i+1)
			}
			got, err := s.read(i+1, noLimit)
			must(t, err)
			wantVersions(t, got, s.name, i+1, i+1)
			if batches := s.batches(100); len(batches) != 1 || uint64(len(batches[0])) != i+1 {
				t.Fatalf("StreamForward yielded %d batches after append %d", len(batches), i+1)
			}
		}
	})
	t.Run("the correlation id of a read is not that of the events", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.add(2)
		got, err := b.ReadStream(s.ctx, s.name, 1, 10, uuid.New())
		must(t, err)
		wantSameEvents(t, s.all(), got)
	})
}
