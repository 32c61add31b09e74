package backendtest

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/tributary-es/tributary/backend"
)

func checkpointClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.Checkpointer); !ok {
		t.Run("opening a checkpoint without the capability is ErrUnsupported", func(t *testing.T) {
			_, err := backend.OpenCheckpoint(t.Context(), b, "projection")
			wantErr(t, err, backend.ErrUnsupported)
		})
		t.Skip("the backend is no backend.Checkpointer")
	}
	t.Run("a checkpoint that was never saved is at 0", func(t *testing.T) {
		t.Parallel()
		name := uuid.NewString()
		for range 2 { // opening and loading one makes none
			held(t, b, name).wantLoad(0)
		}
	})
	t.Run("a checkpoint is at the position that was saved last, also when that is lower", func(t *testing.T) {
		t.Parallel()
		name := uuid.NewString()
		c := held(t, b, name)
		c.wantLoad(0)
		for _, position := range []uint64{1, 7, 1 << 40, 7, 7, 0, noLimit, 3} {
			must(t, c.Save(c.ctx, position))
			held(t, b, name).wantLoad(position)
			c.wantLoad(position)
		}
	})
	t.Run("a checkpoint and a named subscription of one name have nothing to do with each other", func(t *testing.T) {
		if _, ok := b.(backend.SubscriptionManager); !ok {
			t.Skip("the backend is no backend.SubscriptionManager")
		}
		t.Parallel()
		s := subscribed(t, b, 1)
		c := held(t, b, s.id)
		must(t, c.Save(c.ctx, 7))
		if _, exists := s.describe(); exists {
			t.Error("the checkpoint is a subscription")
		}
		last := s.streams[0].add(1, 1).Position
		s.start(nil)
		s.waitFor(last)
		held(t, b, s.id).wantLoad(7)
		must(t, c.Save(c.ctx, 8))
		if info, _ := s.describe(); info.Position < last {
			t.Errorf("the subscription went to position %d", info.Position)
		}
		must(t, backend.DeleteSubscription(s.ctx, b, s.id))
		held(t, b, s.id).wantLoad(8)
	})
	t.Run("a checkpoint can be saved time and again without loading it", func(t *testing.T) {
		t.Parallel()
		name := uuid.NewString()
		c := held(t, b, name)
		for position := range uint64(20) {
			must(t, c.Save(c.ctx, position))
		}
		held(t, b, name).wantLoad(19)
	})
	t.Run("of two that hold a checkpoint the second to save gets ErrCheckpointMoved, and what the first saved is kept", func(t *testing.T) {
		t.Parallel()
		name := uuid.NewString()
		for _, before := range []uint64{0, 5} {
			one, two := held(t, b, name), held(t, b, name)
			one.wantLoad(before)
			two.wantLoad(before)
			must(t, one.Save(one.ctx, 11))
			for range 2 {
				wantErr(t, two.Save(two.ctx, 22), backend.ErrCheckpointMoved)
				wantErr(t, two.Save(two.ctx, 11), backend.ErrCheckpointMoved)
				held(t, b, name).wantLoad(11)
			}
			two.wantLoad(11)
			must(t, two.Save(two.ctx, 5)) // having loaded it, it may
			wantErr(t, one.Save(one.ctx, 12), backend.ErrCheckpointMoved)
			held(t, b, name).wantLoad(5)
		}
	})
	t.Run("a checkpoint that was neither loaded nor saved here can't be saved where it was saved before", func(t *testing.T) {
		t.Parallel()
		name := uuid.NewString()
		one := held(t, b, name)
		must(t, one.Save(one.ctx, 11))
		two := held(t, b, name)
		wantErr(t, two.Save(two.ctx, 22), backend.ErrCheckpointMoved)
		held(t, b, name).wantLoad(11)
	})
	t.Run("of many that save a checkpoint at once one succeeds, in every round", func(t *testing.T) {
		t.Parallel()
		name := uuid.NewString()
		for round := range uint64(10) {
			holders := make([]checkpoint, 8)
			for i := range holders {
				holders[i] = held(t, b, name)
				holders[i].wantLoad(round)
			}
			saved := 0
			for _, r := range together(len(holders), 1, func(i int) (backend.AppendResult, error) {
				return backend.AppendResult{}, holders[i].Save(holders[i].ctx, round+1)
			}) {
				if r.err == nil {
					saved++
				} else {
					wantErr(t, r.err, backend.ErrCheckpointMoved)
				}
			}
			if saved != 1 {
				t.Fatalf("round %d: %d saved it", round, saved)
			}
		}
	})
	t.Run("checkpoints are kept apart by their names, byte for byte", func(t *testing.T) {
		t.Parallel()
		id := uuid.NewString()[:8]
		names := []string{id, id + "-", id + "_", "-" + id, "_" + id, strings.ToUpper("x" + id), "x" + id, id + strings.Repeat("x", backend.MaxSubscriptionNameBytes-len(id))}
		for i, name := range names {
			c := held(t, b, name)
			c.wantLoad(0)
			must(t, c.Save(c.ctx, uint64(i+1)))
		}
		for i, name := range names {
			held(t, b, name).wantLoad(uint64(i + 1))
		}
	})
	for what, name := range illegalSubscriptionNames() {
		t.Run(what+" as the name of a checkpoint is ErrInvalidArgument", func(t *testing.T) {
			t.Parallel()
			_, err := backend.OpenCheckpoint(t.Context(), b, name)
			wantErr(t, err, backend.ErrInvalidArgument)
			if len(err.Error()) > 1000 {
				t.Errorf("the error's text has %d bytes", len(err.Error()))
			}
		})
	}
	t.Run("following from a checkpoint that is saved after every batch deals with each event once", func(t *testing.T) {
		t.Parallel()
		if _, ok := b.(backend.Subscriber); !ok {
			t.Skip("the backend is no backend.Subscriber")
		}
		s := fresh(t, b)
		name := uuid.NewString()
		var got []backend.RecordedEvent
		for len(got) < 20 {
			s.add(1, 2, 1)
			c := held(t, b, name)
			position, err := c.Load(c.ctx)
			must(t, err)
			f := s.follow(backend.SubscribeOptions{Stream: s.name, From: backend.AfterPosition(position), BatchSize: 2})
			for range 2 {
				got = append(got, f.batch().Events...)
				must(t, c.Save(c.ctx, f.last.Position))
			}
			f.stop()
		}
		wantSameEvents(t, s.all()[:len(got)], got)
	})
	t.Run("a checkpoint is loaded and saved with the context's error when that has ended, and stays as it was", func(t *testing.T) {
		t.Parallel()
		name := uuid.NewString()
		c := held(t, b, name)
		must(t, c.Save(c.ctx, 4))
		ctx, cancel := context.WithCancel(c.ctx)
		cancel()
		_, err := c.Load(ctx)
		wantErr(t, err, context.Canceled)
		wantErr(t, c.Save(ctx, 5), context.Canceled)
		held(t, b, name).wantLoad(4)
	})
}

// checkpoint is a clause's hold on a checkpoint.
type checkpoint struct {
	backend.Checkpoint
	t   tester
	ctx context.Context
}

// held opens a checkpoint, which must succeed.
func held(t tester, b backend.Backend, name string) checkpoint {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c, err := backend.OpenCheckpoint(ctx, b, name)
	must(t, err)
	return checkpoint{Checkpoint: c, t: t, ctx: ctx}
}

func (c checkpoint) wantLoad(want uint64) {
	c.t.Helper()
	got, err := c.Load(c.ctx)
	must(c.t, err)
	if got != want {
		c.t.Fatalf("the checkpoint is at %d, want %d", got, want)
	}
}

// illegalSubscriptionNames returns what can't be the name of a named subscription,
// nor of a checkpoint.
func illegalSubscriptionNames() map[string]string {
	return map[string]string{
		"nothing":                "",
		"a text with a dot":      "a.b",
		"a text with a space":    "a b",
		"a text with a newline":  "a\nb",
		"a text with NUL":        "a\x00b",
		"a text with a slash":    "a/b",
		"a text with a wildcard": "a*",
		"a wildcard":             ">",
		"a reserved name":        "$a",
		"a text with an umlaut":  "projektiön",
		"invalid UTF-8":          "a\xff",
		"a text too long":        strings.Repeat("a", backend.MaxSubscriptionNameBytes+1),
		"a text far too long":    strings.Repeat("\r\n", 100_000),
	}
}
