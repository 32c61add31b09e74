package jetstream

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
	"github.com/tributary-es/tributary/internal/testserver"
)

// crowd is appends to one event stream that wait for their turn, in order, while
// the test has it.
type crowd struct {
	t       *testing.T
	b       *Backend
	target  target
	wg      sync.WaitGroup
	appends []*appendOutcome // of each, once run has returned
}

func newCrowd(t *testing.T, cfg Config) *crowd {
	t.Helper()
	b, err := Open(t.Context(), testserver.Single(t).Connect(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &crowd{t: t, b: b, target: target{uuid: "x", subject: "events.x"}}
	if err := b.lock(t.Context(), c.target); err != nil {
		t.Fatal(err)
	}
	return c
}

// join starts an append, and returns when it waits.
func (c *crowd) join(ctx context.Context, expected backend.ExpectedVersion, events ...backend.UnsavedEvent) {
	outcome := &appendOutcome{}
	c.appends = append(c.appends, outcome)
	c.wg.Go(func() {
		outcome.res, outcome.err = backend.Append(ctx, c.b, c.target.uuid, expected, events, uuid.Nil)
	})
	c.waiting(len(c.appends))
}

// waiting waits until there are n in the queue.
func (c *crowd) waiting(n int) {
	c.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		c.b.queues.mu.Lock()
		now := 0
		if line := c.b.queues.open[c.target.subject]; line != nil {
			now = len(line.waiting)
		}
		c.b.queues.mu.Unlock()
		if now == n {
			return
		}
	}
	c.t.Fatalf("there are never %d in the queue", n)
}

// run gives the turn on, and waits for all.
func (c *crowd) run() {
	c.b.unlock(c.target)
	c.wg.Wait()
}

func (c *crowd) failures() error {
	var all []error
	for _, a := range c.appends {
		all = append(all, a.err)
	}
	return errors.Join(all...)
}

func (c *crowd) messages() uint64 {
	c.t.Helper()
	info, err := c.b.streamInfo(c.t.Context(), "")
	if err != nil {
		c.t.Fatal(err)
	}
	return info.State.LastSeq
}

func (c *crowd) read() []backend.RecordedEvent {
	c.t.Helper()
	events, err := c.b.ReadStream(c.t.Context(), c.target.uuid, 1, 1<<40, uuid.Nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return events
}

func event(text string) backend.UnsavedEvent {
	return backend.UnsavedEvent{EventType: "Happened", EventUUID: uuid.New(), Data: []byte(text)}
}

func TestAppendsThatWaitAreWrittenInOneMessageInTheirOrder(t *testing.T) {
	c := newCrowd(t, Config{})
	for i := range 64 {
		c.join(t.Context(), backend.AnyVersion(), event(fmt.Sprint(i)), event("more"))
	}
	c.run()
	if got := c.messages(); got != 1 {
		t.Errorf("%d messages, want 1", got)
	}
	events := c.read()
	for i := range 64 {
		if c.appends[i].err != nil {
			t.Fatal(c.appends[i].err)
		}
		if want := uint64(2 * (i + 1)); c.appends[i].res.Version != want || c.appends[i].res.Position != 1 {
			t.Fatalf("append %d is at version %d, position %d, want %d, 1", i, c.appends[i].res.Version, c.appends[i].res.Position, want)
		}
		e := events[2*i]
		if string(e.Data) != fmt.Sprint(i) || e.EventUUID != c.appends[i].res.EventUUIDs[0] {
			t.Fatalf("version %d is %q", e.StreamVersion, e.Data)
		}
	}
}

func TestAnAppendInAGroupFailsAlone(t *testing.T) {
	c := newCrowd(t, Config{})
	c.join(t.Context(), backend.NoStream(), event("a"))
	c.join(t.Context(), backend.NoStream(), event("refused: it exists"))
	c.join(t.Context(), backend.ExactVersion(1), event("b"))
	c.join(t.Context(), backend.ExactVersion(1), event("refused: b was faster"))
	c.join(t.Context(), backend.ExactVersion(7), event("refused: never there"))
	c.join(t.Context(), backend.AnyVersion(), event("c"))
	c.join(t.Context(), backend.StreamExists(), event("d"))
	c.run()
	for i, want := range []error{nil, backend.ErrStreamExists, nil, backend.ErrWrongExpectedVersion, backend.ErrWrongExpectedVersion, nil, nil} {
		if !errors.Is(c.appends[i].err, want) {
			t.Errorf("append %d: %v, want %v", i, c.appends[i].err, want)
		}
	}
	if got := texts(c.read()); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("%q", got)
	}
}

func TestACancelledAppendDoesNotTakeTheOthersDown(t *testing.T) {
	c := newCrowd(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	c.join(t.Context(), backend.AnyVersion(), event("a"))
	c.join(ctx, backend.AnyVersion(), event("never"))
	c.join(t.Context(), backend.AnyVersion(), event("b"))
	cancel()
	c.waiting(2)
	c.run()
	if c.appends[0].err != nil || c.appends[2].err != nil || !errors.Is(c.appends[1].err, context.Canceled) || errors.Is(c.appends[1].err, backend.ErrOutcomeUnknown) {
		t.Error(c.failures())
	}
	if got := texts(c.read()); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
}

func TestTheSameAppendTwiceInAQueueIsWrittenOnce(t *testing.T) {
	c := newCrowd(t, Config{})
	same := event("same")
	for range 5 {
		c.join(t.Context(), backend.AnyVersion(), event("other"))
		c.join(t.Context(), backend.AnyVersion(), same)
	}
	c.run()
	if err := c.failures(); err != nil {
		t.Fatal(err)
	}
	for i := range c.appends {
		if i%2 == 1 && (c.appends[i].res.Version != 2 || c.appends[i].res.Position != c.appends[1].res.Position) {
			t.Errorf("append %d: %+v, want %+v", i, c.appends[i].res, c.appends[1].res)
		}
	}
	if got := c.read(); len(got) != 6 {
		t.Errorf("%d events, want 6: %q", len(got), texts(got))
	}
}

func TestAGroupGoesOnFromWhatAnotherProcessWrote(t *testing.T) {
	c := newCrowd(t, Config{})
	other, err := Open(t.Context(), c.b.nc, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.b.readHead(t.Context(), c.target); err != nil {
		t.Fatal(err)
	}
	c.join(t.Context(), backend.NoStream(), event("refused"))
	c.join(t.Context(), backend.AnyVersion(), event("b"))
	c.join(t.Context(), backend.ExactVersion(2), event("c"))
	if _, err := backend.Append(t.Context(), other, "x", backend.NoStream(), []backend.UnsavedEvent{event("a")}, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	c.run()
	if !errors.Is(c.appends[0].err, backend.ErrStreamExists) || c.appends[1].err != nil || c.appends[2].err != nil {
		t.Error(c.failures())
	}
	if got := texts(c.read()); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("%q", got)
	}
}

func TestAGroupIsWrittenInAsManyMessagesAsItTakes(t *testing.T) {
	for name, size := range map[string]int{"of data": 100_000, "of headers": 1} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t, Config{})
			for i := range 20 {
				e := event(strings.Repeat(string(rune('a'+i)), size))
				if size == 1 {
					e.Metadata = []byte(strings.Repeat(string(rune('a'+i)), 8000))
				}
				c.join(t.Context(), backend.AnyVersion(), e)
			}
			c.run()
			if err := c.failures(); err != nil {
				t.Fatal(err)
			}
			for i, text := range texts(c.read()) {
				if text[0] != byte('a'+i) || c.appends[i].res.Version != uint64(i+1) {
					t.Fatalf("version %d is %.10q", i+1, text)
				}
			}
			if n := c.messages(); n < 2 || n > 10 {
				t.Errorf("%d messages for 20 appends", n)
			}
		})
	}
}

func TestAnEventAMessageIsNeverGrouped(t *testing.T) {
	c := newCrowd(t, Config{EventsPerMessage: 1})
	for range 8 {
		c.join(t.Context(), backend.AnyVersion(), event("x"))
	}
	c.run()
	if err := c.failures(); err != nil {
		t.Fatal(err)
	}
	if got := c.messages(); got != 8 {
		t.Errorf("%d messages, want 8", got)
	}
}

func texts(events []backend.RecordedEvent) (texts []string) {
	for _, e := range events {
		texts = append(texts, string(e.Data))
	}
	return texts
}
