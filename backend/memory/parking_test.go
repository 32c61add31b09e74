package memory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// parkingLot is a store with a subscription whose handler fails until it is told
// otherwise.
type parkingLot struct {
	t    *testing.T
	b    *Backend
	ctx  context.Context
	well atomic.Bool
}

func newParkingLot(t *testing.T) *parkingLot {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return &parkingLot{t: t, b: New(), ctx: ctx}
}

const lot, lotEvents = "lot", "$parked.lot"

// consume is a member until stop is called. It returns when that has everything.
func (p *parkingLot) consume() (stop func()) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(p.ctx)
	var member sync.WaitGroup
	member.Go(func() {
		options := backend.ConsumeOptions{MaxAttempts: 2, RetryDelay: time.Nanosecond, TakeoverAfter: 100 * time.Millisecond}
		err := p.b.Consume(ctx, lot, options, func(context.Context, backend.Commit) error {
			if p.well.Load() {
				return nil
			}
			return errors.New("not well")
		})
		if !errors.Is(err, context.Canceled) {
			p.t.Error(err)
		}
	})
	p.until("a member has everything", func() bool {
		infos, err := p.b.Subscriptions(ctx)
		return err == nil && len(infos) == 1 && len(infos[0].Members) == 1 && infos[0].Members[0].Partitions == backend.DefaultPartitions
	})
	return func() {
		cancel()
		member.Wait()
	}
}

func (p *parkingLot) until(what string, is func() bool) {
	p.t.Helper()
	for !is() {
		if p.ctx.Err() != nil {
			p.t.Fatalf("it never came that %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// append appends n commits, one to each event stream in turn, and waits until they
// are dealt with.
func (p *parkingLot) append(n int, streams ...string) {
	p.t.Helper()
	var last uint64
	for i := range n {
		streamUUID := streams[i%len(streams)]
		res, err := p.b.Append(p.ctx, streamUUID, backend.AnyVersion(), []backend.UnsavedEvent{{EventType: "Happened"}}, uuid.Nil)
		if err != nil {
			p.t.Fatal(err)
		}
		last = res.Position
	}
	if err := p.b.WaitFor(p.ctx, lot, last); err != nil {
		p.t.Fatal(err)
	}
}

func (p *parkingLot) parked() []backend.ParkedCommit {
	p.t.Helper()
	parked, err := p.b.Parked(p.ctx, lot)
	if err != nil {
		p.t.Fatal(err)
	}
	return parked
}

// events is what is stored of what is parked.
func (p *parkingLot) events() []backend.RecordedEvent {
	p.t.Helper()
	events, err := durableStore{p.b}.ReadReserved(p.ctx, lotEvents)
	if err != nil {
		p.t.Fatal(err)
	}
	return events
}

// repeat stores something once more, changed.
func (p *parkingLot) repeat(e backend.RecordedEvent, change map[string]any) {
	p.t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(e.Data, &fields); err != nil {
		p.t.Fatal(err)
	}
	maps.Copy(fields, change)
	data, err := json.Marshal(fields)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := (durableStore{p.b}).AppendReserved(p.ctx, lotEvents, backend.UnsavedEvent{EventType: e.EventType, Data: data}); err != nil {
		p.t.Fatal(err)
	}
}

// A member that dies when it has parked a commit, and before it has told that it
// is past it, leaves the next one to park it as one that waits behind itself.
func TestACommitThatIsParkedAgainKeepsItsError(t *testing.T) {
	p := newParkingLot(t)
	stop := p.consume()
	p.append(1, "a")
	stop()
	p.repeat(p.events()[0], map[string]any{"attempts": 0, "error": "an earlier commit of the event stream is parked"})
	if parked := p.parked(); len(parked) != 1 || parked[0].Attempts != 2 || parked[0].Error != "not well" {
		t.Errorf("parked is %+v", parked)
	}
}

func TestWhatAnEarlierSubscriptionOfTheNameParkedIsForgotten(t *testing.T) {
	p := newParkingLot(t)
	stop := p.consume()
	p.append(1, "a")
	stop()
	old := p.events()[0]
	if err := p.b.DeleteSubscription(p.ctx, lot); err != nil {
		t.Fatal(err)
	}
	if left := p.events(); len(left) != 0 {
		t.Errorf("%d events are left of one that was deleted", len(left))
	}
	p.well.Store(true)
	stop = p.consume()
	p.append(1, "a")
	p.repeat(old, nil) // by a member that is late
	if parked := p.parked(); len(parked) != 0 {
		t.Errorf("parked is %+v", parked)
	}
	stop()
}

func TestWhatIsNoLongerParkedIsErased(t *testing.T) {
	p := newParkingLot(t)
	stop := p.consume()
	const commits = 200
	p.append(commits, "a")
	if parked := len(p.parked()); parked != commits {
		t.Fatalf("%d commits are parked, want %d", parked, commits)
	}
	p.append(1, "b") // remains
	p.well.Store(true)
	if err := p.b.ReplayParked(p.ctx, lot, p.parked()[0].Position); err != nil {
		t.Fatal(err)
	}
	p.until("those of one event stream are handled", func() bool { return len(p.parked()) == 1 })
	stop()
	stop = p.consume()
	// What was replayed is told after what remains.
	p.until("they are erased", func() bool { return len(p.events()) <= 1+commits })
	if parked := p.parked(); len(parked) != 1 || parked[0].StreamUUID != "b" || parked[0].Error != "not well" {
		t.Errorf("parked is %+v", parked)
	}
	if err := p.b.DiscardParked(p.ctx, lot, p.parked()[0].Position); err != nil {
		t.Fatal(err)
	}
	p.until("none is parked", func() bool { return len(p.parked()) == 0 })
	stop()
	stop = p.consume()
	p.until("all is erased", func() bool { return len(p.events()) == 0 })
	p.well.Store(false)
	p.append(1, "b")
	if parked := p.parked(); len(parked) != 1 || parked[0].FirstVersion != 2 {
		t.Errorf("parked is %+v", parked)
	}
	stop()
}

func TestRequestsAreBounded(t *testing.T) {
	p := newParkingLot(t)
	stop := p.consume()
	const most = 256
	var streams []string
	for i := range most + 1 {
		streams = append(streams, fmt.Sprint("s-", i))
	}
	p.append(len(streams), streams...)
	stop()
	for i, c := range p.parked() {
		err := p.b.DiscardParked(p.ctx, lot, c.Position)
		if i < most && err != nil || i == most && !errors.Is(err, backend.ErrUnavailable) {
			t.Fatalf("request %d: %v", i+1, err)
		}
	}
	p.well.Store(true)
	stop = p.consume()
	p.until("all requests are carried out", func() bool { return len(p.parked()) == 1 })
	stop()
}
