package jetstream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tributary-es/tributary/backend"
)

const (
	// followSlots is how many subscriptions to one event stream each have a
	// consumer of their own at the same time. A server has 1,000 for a JetStream
	// stream, all clients together, unless it is configured otherwise
	// (default_max_consumers, nats-server 2.15.2), and each costs it some 30 KB.
	followSlots = 64

	// slotPatience is for how long nobody may have given up a slot. Then a
	// subscription has a consumer all the same: those who have the slots may be
	// waiting for loops that never go on.
	slotPatience = time.Second

	// tailBuffer is how many messages wait for a subscription that shares the tail,
	// and tailBytes how large they are together, but for one. One that has more to
	// catch up with does so by itself.
	tailBuffer = 64
	tailBytes  = 64 << 10
)

// tails lets any number of subscriptions to single event streams share one
// consumer, which is sent everything: those that have caught up, while others need
// the slots. What each is given is checked by the versions.
type tails struct {
	b      *Backend
	slots  chan struct{} // has a value for each that is free
	taken  atomic.Uint64 // counts the times that one was
	wanted chan struct{} // is sent to where none is

	mu   sync.Mutex
	tail *tail // nil: nobody shares one
}

func newTails(b *Backend) *tails {
	t := &tails{b: b, slots: make(chan struct{}, followSlots), wanted: make(chan struct{})}
	for range followSlots {
		t.slots <- struct{}{}
	}
	return t
}

// tail is the consumer that is shared, as long as anybody does.
type tail struct {
	cancel context.CancelFunc
	ready  chan struct{} // closed when it has begun, or ended

	mu      sync.Mutex
	of      map[string][]*tailer // by subject
	sharing int
	ended   bool
}

// tailer is a subscription's place at a tail.
type tailer struct {
	tail    *tail
	subject string
	come    chan struct{} // has a value when there is something new

	waiting []*stored // guarded by tail.mu
	bytes   int       // of these
	lost    bool      // there was no room for all of it, or the tail has ended
}

// takeSlot takes a slot, for a subscription to one event stream.
func (f *follower) takeSlot(ctx context.Context) error {
	if f.slot || f.one.subject == "" {
		return nil
	}
	t := f.b.tails
	select {
	case <-t.slots:
		return f.tookSlot()
	default:
	}
	taken := t.taken.Load()
	patience := time.NewTimer(slotPatience)
	defer patience.Stop()
	wanted := t.wanted
	for {
		select {
		case <-t.slots:
			return f.tookSlot()
		case wanted <- struct{}{}:
			wanted = nil // somebody gives one up, unless it can't
		case <-patience.C:
			now := t.taken.Load()
			if now == taken {
				return nil
			}
			taken, wanted = now, t.wanted
			patience.Reset(slotPatience)
		case <-f.b.done:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *follower) tookSlot() error {
	f.slot = true
	f.b.tails.taken.Add(1)
	return nil
}

func (f *follower) giveSlot() {
	if f.slot {
		f.slot = false
		f.b.tails.slots <- struct{}{}
	}
}

// moveToTail gives up the follower's own consumer, and its slot, where the tail
// can take over.
func (f *follower) moveToTail(ctx context.Context) error {
	ctx, cancel := within(ctx, f.b.cfg.Timeout)
	defer cancel()
	place, err := f.b.tails.join(ctx, f.one.subject)
	if err != nil {
		return nil // it goes on as before
	}
	// What came before it joined it must have by itself.
	h, err := f.b.refreshHead(ctx, f.one)
	if err != nil || h.position > f.reached {
		f.b.tails.leave(place)
		return nil
	}
	if f.want == 0 { // so that what comes next can be checked
		f.id, f.want, f.guessed = h.state.ID, h.state.Version+1, true
	}
	f.tail = place
	f.scan.drop(ctx)
	f.scan.pending, f.scan.messages = 0, nil
	f.giveSlot()
	return nil
}

// leaveTail has the follower go on by itself.
func (f *follower) leaveTail() {
	if f.tail != nil {
		f.b.tails.leave(f.tail)
		f.tail = nil
	}
}

// nextOfTail is next where the tail is shared.
func (f *follower) nextOfTail(ctx context.Context) (*stored, error) {
	for {
		m, left, lost := f.tail.take()
		if lost {
			f.leaveTail()
			return nil, nil
		}
		f.scan.pending = uint64(left)
		switch {
		case m != nil && m.position > f.reached:
			f.scan.after, f.asked = m.position, false
			return m, nil
		case m != nil:
			continue // it has come before
		case len(f.events) > 0 || f.passed > 0 || !f.caughtUp && !f.asked:
			return nil, nil
		}
		select {
		case <-f.tail.come:
		case <-f.b.done:
			return nil, errClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take returns the next message that waits, and how many are left.
func (p *tailer) take() (m *stored, left int, lost bool) {
	p.tail.mu.Lock()
	defer p.tail.mu.Unlock()
	if len(p.waiting) > 0 {
		m = p.waiting[0]
		p.waiting[0] = nil
		p.waiting = p.waiting[1:]
		p.bytes -= m.size()
	}
	return m, len(p.waiting), p.lost && m == nil
}

// size is about how much memory a message takes, in bytes.
func (m *stored) size() int {
	n := len(m.body)
	for name, values := range m.header {
		n += len(name)
		for _, value := range values {
			n += len(value)
		}
	}
	return n
}

// join gives a place at the tail, which is started where there is none.
func (t *tails) join(ctx context.Context, subject string) (*tailer, error) {
	t.mu.Lock()
	if t.tail == nil {
		t.tail = t.start()
	}
	shared := t.tail
	shared.mu.Lock()
	shared.sharing++
	shared.mu.Unlock()
	t.mu.Unlock()

	place := &tailer{tail: shared, subject: subject, come: make(chan struct{}, 1)}
	var err error
	select {
	case <-shared.ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	shared.mu.Lock()
	if err == nil && shared.ended {
		err = backend.ErrUnavailable
	}
	if err == nil {
		shared.of[subject] = append(shared.of[subject], place)
	}
	shared.mu.Unlock()
	if err != nil {
		t.leave(place)
		return nil, err
	}
	return place, nil
}

// leave gives up a place. The last one ends the tail.
func (t *tails) leave(place *tailer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	shared := place.tail
	shared.mu.Lock()
	defer shared.mu.Unlock()
	others := shared.of[place.subject]
	for i, p := range others {
		if p == place {
			others[i] = others[len(others)-1]
			others = others[:len(others)-1]
			break
		}
	}
	if len(others) > 0 {
		shared.of[place.subject] = others
	} else {
		delete(shared.of, place.subject)
	}
	if shared.sharing--; shared.sharing == 0 {
		shared.cancel()
		if t.tail == shared {
			t.tail = nil
		}
	}
}

// start starts a tail. It has a goroutine until the last place is left, or there
// is an error that is final.
func (t *tails) start() *tail {
	ctx, cancel := context.WithCancel(context.Background())
	shared := &tail{cancel: cancel, ready: make(chan struct{}), of: make(map[string][]*tailer)}
	options, _ := backend.SubscribeOptions{From: backend.FromNow()}.Prepare()
	f := &follower{b: t.b, options: options, commits: assembly{b: t.b}, deliver: shared.give}
	begun := false
	go func() {
		err := f.run(ctx, func(backend.Batch) bool {
			if !begun { // it has a position now, and misses nothing after it
				begun = true
				close(shared.ready)
			}
			return true
		})
		t.b.log.DebugContext(ctx, "the shared consumer has ended", "error", err)
		t.mu.Lock()
		if t.tail == shared {
			t.tail = nil
		}
		t.mu.Unlock()
		shared.end(begun)
	}()
	return shared
}

// end has those who share the tail go on by themselves.
func (t *tail) end(begun bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	if !begun {
		close(t.ready)
	}
	for _, places := range t.of {
		for _, p := range places {
			p.lose()
		}
	}
}

// give gives a message to those who wait for it.
func (t *tail) give(m *stored) {
	t.mu.Lock()
	defer t.mu.Unlock()
	places := t.of[m.subject]
	if len(places) == 0 {
		return
	}
	kept := *m // m is good until the next
	for _, p := range places {
		if p.lost || len(p.waiting) >= tailBuffer || len(p.waiting) > 0 && p.bytes+kept.size() > tailBytes {
			p.lose()
			continue
		}
		p.waiting = append(p.waiting, &kept)
		p.bytes += kept.size()
		p.tell()
	}
}

// lose has a subscription go on by itself after what waits for it.
func (p *tailer) lose() {
	p.lost = true
	p.tell()
}

func (p *tailer) tell() {
	select {
	case p.come <- struct{}{}:
	default:
	}
}
