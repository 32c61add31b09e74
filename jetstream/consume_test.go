package jetstream_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/blockfile"
)

// Whoever reads next comes upon the same damage: what lies before it, and isn't
// handled before the member ends, never would be.
func TestConsumeHandlesWhatComesBeforeDamage(t *testing.T) {
	const good = 100 // commits
	var bad uint64
	s := damaged(t, func(s *store) {
		for range good / 2 {
			s.add("x", 1)
			s.add("y", 1)
		}
		bad = s.add("x", 1).Position
		s.add("x", 1)
		s.add("y", 1)
	}, func(dir string, records []blockfile.Record) { flip(t, bad)(dir, records) })
	var handled []uint64 // positions; one at a time
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	options := backend.ConsumeOptions{RetryDelay: 20 * time.Millisecond}
	for range 2 { // the second has nothing left to do
		err := s.Consume(ctx, "damaged", options, func(_ context.Context, c backend.Commit) error {
			if c.StreamUUID == "y" && c.Attempt == 1 && c.Events[0].StreamVersion%20 == 0 {
				return errors.New("not yet")
			}
			handled = append(handled, c.Position)
			return nil
		})
		wantCorrupted(t, err, bad)
		slices.Sort(handled) // of x and of y
		if len(handled) != good || handled[0] != 1 || handled[good-1] != good {
			t.Fatalf("%d commits were handled, want the %d before the damage: %v", len(handled), good, handled)
		}
	}
	infos, err := s.Subscriptions(ctx)
	if err != nil || len(infos) != 1 || infos[0].Position != good {
		t.Errorf("the subscription is %+v, error %v, want position %d", infos, err, good)
	}
}
