package jetstream_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/blockfile"
	"github.com/tributary-es/tributary/jetstream"
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
	// The last commit of x before the damage, by which x comes upon it again.
	if err != nil || len(infos) != 1 || infos[0].Position != good-1 {
		t.Errorf("the subscription is %+v, error %v, want position %d", infos, err, good-1)
	}
}

// Erasing what is parked begins with a marker, for which a full store has no room.
func TestASubscriptionIsDeletedFromAFullStore(t *testing.T) {
	s := newStore(t, jetstream.Config{MaxBytes: 256 << 10})
	s.add("y", 1, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Consume(ctx, "full", backend.ConsumeOptions{MaxAttempts: 1}, func(context.Context, backend.Commit) error {
			return errors.New("never")
		})
	}()
	messages := func() uint64 {
		const subject = jetstream.DefaultPrefix + ".$parked.full"
		return s.stored(subject).Subjects[subject]
	}
	eventually(t, "both commits are parked", func() bool {
		parked, err := s.Parked(ctx, "full")
		return err == nil && len(parked) == 2
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	fillUp(t, s, "x")
	if err := s.DeleteSubscription(t.Context(), "full"); err != nil {
		t.Errorf("deleting: %v", err)
	}
	if infos, err := s.Subscriptions(t.Context()); err != nil || len(infos) != 0 {
		t.Errorf("the subscriptions are %+v, error %v", infos, err)
	}
	if n := messages(); n != 2 {
		t.Errorf("%d messages tell what is parked, want 2", n)
	}
	cfg := configOf(t, s.js, jetstream.DefaultStream)
	cfg.MaxBytes += 4 << 10
	if _, err := s.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSubscription(t.Context(), "full"); !errors.Is(err, backend.ErrSubscriptionNotFound) {
		t.Errorf("deleting again: %v, want ErrSubscriptionNotFound", err)
	}
	if n := messages(); n != 1 {
		t.Errorf("%d messages are left, want the marker", n)
	}
}
