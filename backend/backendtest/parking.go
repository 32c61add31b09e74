package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

func parkingClauses(t *testing.T, b backend.Backend) {
	if _, ok := b.(backend.Parker); !ok {
		t.Run("parked commits without the capability are ErrUnsupported", func(t *testing.T) {
			_, err := backend.Parked(t.Context(), b, "projection")
			wantErr(t, err, backend.ErrUnsupported)
			wantErr(t, backend.ReplayParked(t.Context(), b, "projection", 1), backend.ErrUnsupported)
			wantErr(t, backend.DiscardParked(t.Context(), b, "projection", 1), backend.ErrUnsupported)
		})
		t.Skip("the backend is no backend.Parker")
	}
	parkClauses(t, b)
	replayClauses(t, b)
}

// failing is a handler that fails for some commits, by the version of their first
// event, until it is told otherwise.
type failing struct {
	mu    sync.Mutex
	fails map[uint64]bool
	calls []string // "version.attempt", of those that failed
}

func newFailing(versions ...uint64) *failing {
	f := &failing{fails: make(map[uint64]bool)}
	for _, v := range versions {
		f.fails[v] = true
	}
	return f
}

func (f *failing) handle(_ context.Context, c backend.Commit) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	version := c.Events[0].StreamVersion
	if !f.fails[version] {
		return nil
	}
	f.calls = append(f.calls, fmt.Sprintf("%d.%d", version, c.Attempt))
	return fmt.Errorf("version %d can't be handled", version)
}

func (f *failing) repair(version uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails[version] = false
}

func (f *failing) failed() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func parkClauses(t *testing.T, b backend.Backend) {
	for _, attempts := range []int{0, 1, 3} {
		t.Run(fmt.Sprintf("a commit whose handler fails %d times, or by default 5, is parked with its last error", attempts), func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			s.options.MaxAttempts = attempts
			s.options.Member = "member 7"
			before := time.Now()
			s.streams[0].add(1)
			position := s.streams[0].add(3).Position
			f := newFailing(2)
			s.start(f.handle)
			parked := s.untilParked(position)[0]
			want := attempts
			if want == 0 {
				want = backend.DefaultMaxAttempts
			}
			if parked.StreamUUID != s.streams[0].name || parked.FirstVersion != 2 || parked.LastVersion != 4 || parked.Attempts != want ||
				parked.Error != "version 2 can't be handled" || parked.Stack != "" || parked.Member != "member 7" {
				t.Errorf("parked is %+v, after %d attempts", parked, want)
			}
			wantNow(t, "ParkedAt", parked.ParkedAt, before, 0)
			if calls := f.failed(); len(calls) != want {
				t.Errorf("the handler was called %q, want %d calls", calls, want)
			}
		})
	}
	t.Run("with HoldStream the later commits of an event stream with a parked one are parked behind it, untried, and other event streams go on", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 3)
		s.options.MaxAttempts = 2
		var positions []uint64
		for version := range 4 {
			for i, one := range s.streams {
				res := one.add(1)
				if i == 0 && version > 0 {
					positions = append(positions, res.Position)
				}
			}
		}
		f := newFailing(2)
		c := s.start(func(ctx context.Context, c backend.Commit) error {
			if c.StreamUUID != s.streams[0].name {
				return nil
			}
			return f.handle(ctx, c)
		})
		s.until(1 + 4 + 4)
		for i, p := range s.untilParked(positions...) {
			want := 0
			if i == 0 {
				want = 2
			}
			if p.Attempts != want || p.FirstVersion != uint64(i+2) || i == 0 && p.Error == "" {
				t.Errorf("parked commit %d is %+v", i, p)
			}
		}
		c.stop() // another member holds the event stream, too
		s.start(f.handle)
		positions = append(positions, s.streams[0].add(1).Position)
		s.untilParked(positions...)
		wantVersions(t, eventsOf(s.until(9), s.streams[0]), s.streams[0].name, 1, 1)
	})
	t.Run("with HoldStream a commit that was handled before another was parked is not parked behind it when it comes once more", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 2)
		s.options.Partitions, s.options.MaxAttempts, s.options.Concurrency = 1, 2, 2
		stuck, held := s.streams[0], s.streams[1]
		stuck.add(1)
		held.add(1)
		parked := held.add(1).Position
		f := newFailing(2)
		handler := func(ctx context.Context, c backend.Commit) error {
			if c.StreamUUID == held.name {
				return f.handle(ctx, c)
			}
			<-ctx.Done() // what comes after it isn't told to be dealt with
			return ctx.Err()
		}
		c := s.start(handler)
		s.until(1)
		s.untilParked(parked)
		c.stop()
		// Another member is given all of it once more.
		s.start(handler)
		behind := held.add(1).Position
		s.untilParked(parked, behind)
	})
	t.Run("with SkipCommit an event stream with a parked commit goes on", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.options.OnPark, s.options.MaxAttempts = backend.SkipCommit, 2
		var positions []uint64
		for range 6 {
			positions = append(positions, s.streams[0].add(1).Position)
		}
		s.start(newFailing(2, 5).handle)
		got := s.untilHandled(4)
		s.untilParked(positions[1], positions[4])
		for i, version := range []uint64{1, 3, 4, 6} {
			if got[i].Events[0].StreamVersion != version {
				t.Errorf("version %d was handled, want %d", got[i].Events[0].StreamVersion, version)
			}
		}
	})
	for what, row := range map[string]struct {
		panics func()
		err    string
	}{
		"with a text":     {func() { panic("out of reach") }, "out of reach"},
		"with an error":   {func() { panic(errors.New("an error's text")) }, "an error's text"},
		"of the runtime":  {func() { var none []int; none[len(none)]++ }, "index out of range"},
		"with a long one": {func() { panic(strings.Repeat("long ", 10_000)) }, "long long"},
	} {
		t.Run("a handler that panics "+what+" has its commit parked at once, with what and where, and its member lives", func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 2)
			position := s.streams[0].add(1).Position
			s.streams[1].add(1)
			s.start(func(_ context.Context, c backend.Commit) error {
				if c.StreamUUID == s.streams[0].name {
					row.panics()
				}
				return nil
			})
			p := s.untilParked(position)[0]
			if p.Attempts != 1 || !strings.Contains(p.Error, row.err) || len(p.Error) > 4<<10 {
				t.Errorf("parked after %d attempts with an error of %d bytes: %.200q", p.Attempts, len(p.Error), p.Error)
			}
			if !strings.Contains(p.Stack, "parkClauses") || len(p.Stack) > 16<<10 {
				t.Errorf("the stack, of %d bytes, doesn't show where it panicked:\n%s", len(p.Stack), p.Stack)
			}
			s.streams[1].add(1)
			s.until(2)
		})
	}
	t.Run("the error of a parked commit has at most 4 KiB", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.options.MaxAttempts = 1
		position := s.streams[0].add(1).Position
		s.start(func(context.Context, backend.Commit) error { return errors.New(strings.Repeat("ü", 100_000)) })
		if p := s.untilParked(position)[0]; len(p.Error) > 4<<10 || !strings.HasPrefix(p.Error, "üüü") {
			t.Errorf("the error has %d bytes: %.20q", len(p.Error), p.Error)
		}
	})
	t.Run("reads and subscriptions pass over the event streams in which parked commits are kept", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.options.MaxAttempts = 1
		first, second := s.streams[0].add(1), s.streams[0].add(1)
		s.start(newFailing(1).handle)
		s.untilParked(first.Position, second.Position)
		f := s.follow(backend.SubscribeOptions{From: backend.AfterPosition(first.Position - 1)})
		f.untilPosition(s.streams[0].add(1).Position)
		got := f.events
		for batch, err := range s.allUnder(backend.ReadAllOptions{After: first.Position - 1}) {
			must(t, err)
			got = append(got, batch...)
		}
		for _, e := range got {
			if strings.HasPrefix(e.StreamUUID, "$") {
				t.Fatalf("it yielded an event of %q", e.StreamUUID)
			}
		}
		wantSameEvents(t, s.streams[0].all(), only(f.events, s.streams[0]))
	})
	t.Run("many parked commits are listed in position order", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 5)
		s.options.MaxAttempts, s.options.OnPark, s.options.Concurrency = 1, backend.SkipCommit, 4
		var positions []uint64
		for range 10 {
			for _, one := range s.streams {
				positions = append(positions, one.add(1).Position)
			}
		}
		s.start(func(context.Context, backend.Commit) error { return errors.New("none can be handled") })
		s.untilParked(positions...)
	})
}

func replayClauses(t *testing.T, b backend.Backend) {
	// park has commits of one event each parked, from version 2 on with HoldStream.
	park := func(s *subscription, n int, f *failing) (positions []uint64, c *consumer) {
		s.t.Helper()
		s.options.MaxAttempts = 2
		for range n {
			positions = append(positions, s.streams[0].add(1).Position)
		}
		c = s.start(f.handle)
		if s.options.OnPark == backend.HoldStream {
			s.untilParked(positions[1:]...)
		}
		return positions, c
	}
	replay := func(s *subscription, position uint64) error { return backend.ReplayParked(s.ctx, s.b, s.id, position) }
	discard := func(s *subscription, position uint64) error { return backend.DiscardParked(s.ctx, s.b, s.id, position) }

	t.Run("a parked commit that is replayed and handled is no longer parked, and with HoldStream those behind it follow in order", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		f := newFailing(2)
		positions, _ := park(s, 5, f)
		f.repair(2)
		must(t, replay(s, positions[1]))
		s.wantHandled(s.until(5))
		s.untilParked()
		s.streams[0].add(1) // the event stream is as any other again
		s.wantHandled(s.until(6))
	})
	t.Run("a replayed commit is given to the handler as before: its events of the types asked for, together", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		s.options.EventTypes, s.options.MaxAttempts = []string{"A", "B"}, 1
		s.streams[0].mustAppend(backend.AnyVersion(), typed("A"))
		position := s.streams[0].mustAppend(backend.AnyVersion(), typed("C", "A", "C", "B", "A", "C")).Position
		f := newFailing(3)
		s.start(f.handle)
		s.untilParked(position)
		f.repair(3)
		must(t, replay(s, position))
		got := s.untilHandled(2)[1]
		if got.StreamUUID != s.streams[0].name || got.Position != position {
			t.Errorf("it is of %q, position %d, want %d", got.StreamUUID, got.Position, position)
		}
		wantSameEvents(t, ofTypes(s.streams[0].all()[1:], "A", "B"), got.Events)
	})
	t.Run("a parked commit that is replayed and fails is parked again, and those behind it stay", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		f := newFailing(2)
		positions, _ := park(s, 4, f)
		attempts := s.parked()[0].Attempts
		for range 10 { // no request is taken for the one before, which was just carried out
			attempts++
			must(t, replay(s, positions[1]))
			s.eventually("it is parked again", func() bool { return s.parked()[0].Attempts == attempts })
			s.untilParked(positions[1:]...)
		}
		f.repair(2)
		must(t, replay(s, positions[1]))
		s.wantHandled(s.until(4))
	})
	for what, vanish := range map[string]func(s *stream) error{
		"truncated": func(s *stream) error { return backend.Truncate(s.ctx, s.b, s.name, 2, uuid.Nil) },
		"deleted":   func(s *stream) error { return s.delete(0) },
	} {
		t.Run("a parked commit that is replayed when it was "+what+" is parked again with an error that says so, and can be discarded", func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			s.options.MaxAttempts = 1
			first, second := s.streams[0].add(1).Position, s.streams[0].add(1).Position
			f := newFailing(1)
			s.start(f.handle)
			s.untilParked(first, second)
			mustOrSkip(t, vanish(s.streams[0]))
			f.repair(1)
			must(t, backend.ReplayParked(s.ctx, b, s.id, first))
			s.eventually("it is parked again", func() bool { return s.parked()[0].Attempts == 2 })
			again := s.untilParked(first, second)[0]
			if again.Error == "" || strings.Contains(again.Error, "can't be handled") || again.FirstVersion != 1 {
				t.Errorf("parked again is %+v", again)
			}
			must(t, backend.DiscardParked(s.ctx, b, s.id, first))
			if what == "deleted" {
				s.untilParked(second) // it can't be read either
			} else {
				s.untilParked()
				s.until(1)
			}
		})
	}
	t.Run("those behind a replayed commit follow until one fails", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		f := newFailing(2, 4)
		positions, _ := park(s, 6, f)
		f.repair(2)
		must(t, replay(s, positions[1]))
		s.until(3)
		s.eventually("the next one that fails is parked as such", func() bool {
			left := s.untilParked(positions[3:]...)
			return left[0].Attempts > 0 && left[0].Error == "version 4 can't be handled"
		})
		f.repair(4)
		must(t, replay(s, positions[3]))
		s.wantHandled(s.until(6))
		s.untilParked()
	})
	for what, ask := range map[string]func(*subscription, uint64) error{"ReplayParked": replay, "DiscardParked": discard} {
		t.Run(what+" with HoldStream of a commit that is not the first of its event stream is ErrInvalidArgument", func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			positions, _ := park(s, 4, newFailing(2))
			for _, position := range positions[2:] {
				wantErr(t, ask(s, position), backend.ErrInvalidArgument)
			}
			s.untilParked(positions[1:]...)
		})
		t.Run(what+" of a commit that is not parked is ErrNotParked", func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			positions, _ := park(s, 3, newFailing(2))
			for _, position := range []uint64{0, positions[0], positions[1] - 1, positions[2] + 1, 1 << 50} {
				if position == positions[0] && position == positions[1]-1 {
					continue
				}
				wantErr(t, ask(s, position), backend.ErrNotParked)
			}
		})
		t.Run(what+" with SkipCommit is of any parked commit, and leaves the others", func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			s.options.OnPark = backend.SkipCommit
			f := newFailing(2, 4, 5)
			positions, _ := park(s, 6, f)
			s.untilParked(positions[1], positions[3], positions[4])
			f.repair(4)
			must(t, ask(s, positions[3]))
			s.untilParked(positions[1], positions[4])
			f.repair(2)
			f.repair(5)
			must(t, ask(s, positions[4]))
			must(t, ask(s, positions[1]))
			s.untilParked()
			want := 6
			if what == "DiscardParked" {
				want = 3
			}
			if got := s.untilHandled(want); len(got)-repeats(got) != want {
				t.Errorf("%d commits were handled, want %d", len(got), want)
			}
		})
		t.Run(what+" is carried out as soon as there is a member", func(t *testing.T) {
			t.Parallel()
			s := subscribed(t, b, 1)
			f := newFailing(2)
			positions, c := park(s, 4, f)
			c.stop()
			f.repair(2)
			must(t, ask(s, positions[1]))
			s.start(f.handle)
			s.untilParked()
			want := 4
			if what == "DiscardParked" {
				want = 3
			}
			s.untilHandled(want)
		})
	}
	t.Run("a parked commit that is discarded is forgotten, and with HoldStream those behind it follow in order", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		positions, _ := park(s, 5, newFailing(2))
		must(t, discard(s, positions[1]))
		s.untilHandled(4)
		s.untilParked()
		s.streams[0].add(1)
		got := s.untilHandled(5)
		for i, version := range []uint64{1, 3, 4, 5, 6} {
			if got[i].Events[0].StreamVersion != version {
				t.Errorf("version %d was handled, want %d", got[i].Events[0].StreamVersion, version)
			}
		}
	})
	t.Run("of an event stream whose first parked commit is discarded those that follow are parked again from the one that fails", func(t *testing.T) {
		t.Parallel()
		s := subscribed(t, b, 1)
		positions, _ := park(s, 6, newFailing(2, 4))
		must(t, discard(s, positions[1]))
		s.untilHandled(2)
		s.untilParked(positions[3:]...)
	})
}
