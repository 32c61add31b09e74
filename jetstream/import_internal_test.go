package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
)

// importing returns n appends to event streams of which the first is x, and
// calls each before it yields one.
func importing(n int, each func(i int)) iter.Seq2[backend.StreamAppend, error] {
	return func(yield func(backend.StreamAppend, error) bool) {
		for i := range n {
			each(i)
			name := "x"
			if i%10 != 0 {
				name = fmt.Sprint("y", i%10)
			}
			if !yield(backend.StreamAppend{StreamUUID: name, Events: []backend.UnsavedEvent{event(fmt.Sprint(i))}}, nil) {
				return
			}
		}
	}
}

// importerGoroutines counts those of imports.
func importerGoroutines() int {
	buf := make([]byte, 4<<20)
	n := 0
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "jetstream.(*importer)") {
			n++
		}
	}
	return n
}

// wantNothingUnderWay waits until nothing of an import is left: writes, turns,
// goroutines.
func wantNothingUnderWay(t *testing.T, b *Backend, turns int) {
	t.Helper()
	var awaiting, open, goroutines int
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		b.acks.mu.Lock()
		awaiting = len(b.acks.awaiting)
		b.acks.mu.Unlock()
		b.queues.mu.Lock()
		open = len(b.queues.open)
		b.queues.mu.Unlock()
		goroutines = importerGoroutines()
		if awaiting == 0 && open == turns && goroutines == 0 {
			return
		}
	}
	t.Fatalf("left are %d answers to wait for, %d turns (want %d), %d goroutines", awaiting, open, turns, goroutines)
}

func TestAnImportLeavesNothingBehindHoweverItEnds(t *testing.T) {
	c := newCrowd(t, Config{}) // which has the turn to x
	other := target{uuid: "y5", subject: "events.y5"}
	errStop := errors.New("stop")
	for name, row := range map[string]struct {
		each     func(cancel func(), i int)
		progress func(backend.ImportProgress)
		want     error
	}{
		"done":      {each: func(func(), int) {}},
		"cancelled": {each: func(cancel func(), i int) { cancelAt(i, 50, cancel) }, want: context.Canceled},
		"cancelled, after the last": {each: func(cancel func(), i int) { cancelAt(i, 199, cancel) },
			want: context.Canceled},
		"the iterator panics": {each: func(_ func(), i int) {
			if i == 50 {
				panic(errStop)
			}
		}, want: errStop},
		"the iterator ends its goroutine": {each: func(_ func(), i int) {
			if i == 50 {
				runtime.Goexit()
			}
		}, want: errStop},
		"Progress panics": {progress: func(backend.ImportProgress) { panic(errStop) }, want: errStop},
		"Progress panics while the last are waited for": {progress: func(p backend.ImportProgress) {
			if p.Appends > 0 && p.Appends < 100 {
				panic(errStop)
			}
		}},
	} {
		for _, turn := range []string{"", ", while another has the turn"} {
			t.Run(name+turn, func(t *testing.T) {
				wantNothingUnderWay(t, c.b, 1)
				held := 1
				if turn == "" {
					c.b.unlock(c.target)
					held = 0
				} else if err := c.b.lock(t.Context(), other); err != nil {
					t.Fatal(err)
				} else {
					// It is given on while the import waits for it.
					timer := time.AfterFunc(20*time.Millisecond, func() { c.b.unlock(other); c.b.unlock(c.target) })
					defer timer.Stop()
					held = 0
				}
				subscriptions := c.b.nc.NumSubscriptions()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan error, 1)
				go func() {
					err := errStop // where it doesn't return
					defer func() {
						if recovered := recover(); recovered != nil {
							err = recovered.(error)
						}
						ended <- err
					}()
					options := backend.ImportOptions{Progress: row.progress, ProgressEvery: 1, Window: 64}
					_, err = backend.Import(ctx, c.b, importing(200, func(i int) {
						if row.each != nil {
							row.each(cancel, i)
						}
					}), options, uuid.Nil)
				}()
				select {
				case err := <-ended:
					if row.want != nil && !errors.Is(err, row.want) || row.want == nil && err != nil && !errors.Is(err, errStop) {
						t.Errorf("error %v, want %v", err, row.want)
					}
				case <-time.After(30 * time.Second):
					t.Fatal("it hangs")
				}
				wantNothingUnderWay(t, c.b, held)
				if got := c.b.nc.NumSubscriptions(); got > subscriptions+1 { // that of all answers, which may be the first
					t.Errorf("%d subscriptions, before %d", got, subscriptions)
				}
				if err := c.b.lock(t.Context(), c.target); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

func cancelAt(i, at int, cancel func()) {
	if i == at {
		cancel()
	}
}

func TestAnImportHoldsUpOnlyWhatWaitsForTheTurn(t *testing.T) {
	c := newCrowd(t, Config{})
	released := false
	done, err := backend.Import(t.Context(), c.b, importing(100, func(i int) {
		if i == 99 { // the others are stored, while x waits
			for n := 1; n < 9; n++ {
				c.wantVersion(fmt.Sprint("y", n), 10)
			}
			if _, err := c.b.ReadStreamInfo(t.Context(), "x", uuid.Nil); !errors.Is(err, backend.ErrStreamNotFound) {
				t.Errorf("x: %v", err)
			}
			released = true
			c.b.unlock(c.target)
		}
	}), backend.ImportOptions{}, uuid.Nil)
	if err != nil || done.Appends != 100 || !released {
		t.Fatalf("%+v, %v", done, err)
	}
	c.wantVersion("x", 10)
}

// wantVersion waits until an event stream has a version.
func (c *crowd) wantVersion(name string, version uint64) {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if info, err := c.b.ReadStreamInfo(c.t.Context(), name, uuid.Nil); err == nil && info.Version == version {
			return
		}
	}
	c.t.Fatalf("%s never has version %d", name, version)
}

func TestAnAppendOfAnImportTakesTheRoomOfItsBytes(t *testing.T) {
	b, err := Open(t.Context(), testserver.Single(t).Connect(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ window, bytes, cost int }{
		{1, 0, 1}, {1, 1 << 19, 1}, {512, 0, 1}, {512, 1000, 1}, {512, 1 << 19, 1 + 8}, {4, 1 << 19, 1}, {1 << 40, 1 << 19, 1 + maxWindow/64},
	} {
		im := newImporter(b, backend.ImportOptions{Window: row.window})
		item, err := im.prepare(backend.StreamAppend{StreamUUID: "x", Events: []backend.UnsavedEvent{{EventType: "A", Data: make([]byte, row.bytes)}}}, 0, uuid.Nil)
		if err != nil {
			t.Fatal(err)
		}
		if item.cost != row.cost {
			t.Errorf("%d bytes take the room of %d in a window of %d, want %d", row.bytes, item.cost, row.window, row.cost)
		}
	}
}

// What an import recognises as stored is what Append would: by id, by version, and
// in order, from the first on.
func TestWhatIsStoredIsRecognisedUpToWhatIsNot(t *testing.T) {
	b, err := Open(t.Context(), testserver.Single(t).Connect(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	var stored []backend.UnsavedEvent
	for i := range 60 {
		stored = append(stored, event(fmt.Sprint(i)))
	}
	for i := 0; i < len(stored); i += 2 {
		if _, err := b.Append(t.Context(), "x", backend.AnyVersion(), stored[i:i+2], uuid.Nil); err != nil {
			t.Fatal(err)
		}
	}
	at := func(first, n int) *appendage {
		return &appendage{expected: backend.ExactVersion(uint64(first)), events: stored[first : first+n], given: true}
	}
	whenever := func(first, n int) *appendage {
		a := at(first, n)
		a.expected = backend.AnyVersion()
		return a
	}
	foreign := func(first int) *appendage {
		return &appendage{expected: backend.ExactVersion(uint64(first)), events: []backend.UnsavedEvent{event("foreign")}, given: true}
	}
	for name, row := range map[string]struct {
		members []*appendage
		want    int
	}{
		"all, as they were stored":         {[]*appendage{at(0, 2), at(2, 2), at(4, 2)}, 3},
		"all, cut otherwise":               {[]*appendage{at(0, 1), at(1, 5), at(6, 54)}, 3},
		"not in order":                     {[]*appendage{at(50, 2), at(0, 2), at(40, 10), at(2, 2)}, 4},
		"by ids alone":                     {[]*appendage{whenever(50, 2), whenever(52, 1), whenever(53, 7)}, 3},
		"by ids alone, and by versions":    {[]*appendage{whenever(50, 2), at(2, 1), whenever(53, 7), at(40, 2)}, 4},
		"up to one that isn't":             {[]*appendage{at(0, 2), at(2, 2), foreign(4), at(4, 2)}, 2},
		"up to one without ids":            {[]*appendage{at(0, 2), {expected: backend.AnyVersion(), events: stored[2:4]}, at(2, 2)}, 1},
		"up to one that has no events":     {[]*appendage{at(0, 2), {expected: backend.AnyVersion()}, at(2, 2)}, 1},
		"up to what isn't stored yet":      {[]*appendage{at(58, 2), foreign(60), foreign(61)}, 1},
		"none":                             {[]*appendage{foreign(0), at(0, 2)}, 0},
		"none that is stored only partly":  {[]*appendage{{expected: backend.ExactVersion(59), events: []backend.UnsavedEvent{stored[59], event("new")}, given: true}}, 0},
		"none of an event stream's future": {[]*appendage{foreign(70), at(0, 2)}, 0},
	} {
		members := make([]*waiter, len(row.members))
		for i := range members {
			members[i] = &waiter{append: row.members[i]}
		}
		fresh, err := Open(t.Context(), b.nc, Config{})
		if err != nil {
			t.Fatal(err)
		}
		x := target{uuid: "x", subject: "events.x"}
		h, err := fresh.refreshHead(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		got := fresh.recognised(t.Context(), x, h, members)
		if got != row.want {
			t.Errorf("%s: %d are recognised, want %d", name, got, row.want)
		}
		for i := range got {
			a := row.members[i]
			want, err := b.Append(t.Context(), "x", a.expected, a.events, uuid.Nil)
			if res := members[i].outcome.res; err != nil || res.Version != want.Version || res.Position != want.Position {
				t.Errorf("%s: append %d has the result %+v, want %+v, %v", name, i, res, want, err)
			}
		}
	}
}

func TestAnswersToOthersAreIgnored(t *testing.T) {
	b, err := Open(t.Context(), testserver.Single(t).Connect(t), Config{})
	if err != nil {
		t.Fatal(err)
	}
	ack := b.acks.get("")
	token, err := b.acks.expect(ack)
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"", ".", "a", b.acks.inbox, b.acks.inbox + ".", b.acks.inbox + ".!", b.acks.inbox + ".zzz", b.acks.inbox + ".0"} {
		b.acks.receive(&nats.Msg{Subject: subject})
	}
	if !b.acks.forget(token) || b.acks.forget(token) {
		t.Error("it was taken by another's answer, or twice")
	}
}
