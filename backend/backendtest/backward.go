package backendtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/tributary-es/tributary/backend"
)

func backwardClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.BackwardReader); !ok {
		t.Run("reading backward without the capability is ErrUnsupported", func(t *testing.T) {
			s := fresh(t, b)
			s.add(1)
			_, err := s.readBackward(0, 1)
			wantErr(t, err, backend.ErrUnsupported)
		})
		t.Skip("the backend is no backend.BackwardReader")
	}
	for _, sizes := range [][]int{{1, 1, 1, 1, 1, 1, 1, 1}, {8}, {2, 1, 3, 1, 1}} {
		t.Run(fmt.Sprintf("every range of commits of %v reads backward as it does forward, in reverse", sizes), func(t *testing.T) {
			t.Parallel()
			s := fresh(t, b)
			s.add(sizes...)
			whole := s.wantHistory(1, 8)
			for _, version := range []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100, noLimit} {
				from := min(version, 8)
				if version == 0 {
					from = 8 // the end
				}
				for _, limit := range []uint64{0, 1, 2, 3, 7, 8, 9, noLimit - 1, noLimit} {
					got, err := s.readBackward(version, limit)
					must(t, err)
					want := slices.Clone(whole[from-min(from, limit) : from])
					slices.Reverse(want)
					wantSameEvents(t, want, got)
				}
			}
		})
	}
	t.Run("reading a stream without events backward returns none", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		s.create()
		for _, version := range []uint64{0, 1, noLimit} {
			got, err := s.readBackward(version, noLimit)
			must(t, err)
			if len(got) != 0 {
				t.Fatalf("it returned %d events", len(got))
			}
		}
	})
	t.Run("a long stream reads backward whole, and in pages", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for range 20 {
			s.add(1, 7, 1, 1, 30)
		}
		whole := s.wantHistory(1, 800)
		slices.Reverse(whole)
		got, err := s.readBackward(0, noLimit)
		must(t, err)
		wantSameEvents(t, whole, got)
		var paged []backend.RecordedEvent
		for from := uint64(800); from > 0; {
			page, err := s.readBackward(from, 33)
			must(t, err)
			if len(page) == 0 || len(paged) > len(whole) {
				t.Fatalf("the page from version %d has %d events, after %d", from, len(page), len(paged))
			}
			paged = append(paged, page...)
			from = page[len(page)-1].StreamVersion - 1
		}
		wantSameEvents(t, whole, paged)
	})
	t.Run("an append that was acknowledged is the first event of a backward read", func(t *testing.T) {
		t.Parallel()
		s := fresh(t, b)
		for i := range uint64(20) {
			s.add(1)
			got, err := s.readBackward(0, 1)
			must(t, err)
			wantVersions(t, got, s.name, i+1, i+1)
		}
	})
}
