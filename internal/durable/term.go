package durable

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

const (
	// saveInterval is how often a busy member tells the store what it has dealt
	// with: what it did since is repeated when it dies.
	saveInterval = 100 * time.Millisecond

	// idleSaveInterval is how often it does so where nothing waits, so that
	// [backend.WaitFor] returns soon; and passSaveInterval, where all it has to
	// tell is that it passed over event streams of other members.
	idleSaveInterval = 5 * time.Millisecond
	passSaveInterval = 100 * time.Millisecond

	// maxLook is how long a member doesn't look at the document at most.
	maxLook = time.Second

	// inFlightCommits is how many commits have been read and not been dealt with,
	// beside a batch: what a member reads ahead of its handlers.
	inFlightCommits = 256
)

// term is a member from joining to leaving. Its fields belong to the goroutine
// that runs it.
type term struct {
	*member
	id    string
	epoch uint64
	doc   *document // as it was last seen
	watch observer  // belongs to the save that is under way

	ctx    context.Context // of handlers: ends with the term
	cancel context.CancelFunc
	reader *reader                 // nil: it has no partition
	failed *backend.CorruptedError // what the reader ended with, while what it had read before is dealt with
	intact *uint64                 // the last position of that event stream before the damage; nil: not known yet

	owned    map[int]*ownership
	reached  uint64             // the position up to which all that those cover was read, where they aren't to be given up
	leaving  int                // how many of them are to be given up
	held     map[string]uint64  // the event streams that wait for what is parked of them, from the first such position on
	accepted map[uint64]request // by position: those that are being carried out
	carried  []request          // those that were, which the document is yet to be told
	work     work

	alive  time.Time // when the last save began that showed that it is alive
	looked time.Time // when the document was last looked at
	saving bool
	saves  chan saved
	dealt  time.Time // since when there is something to tell that was dealt with; zero: there isn't
	passed time.Time // since when there is a position to tell
}

// ownership is a partition that a member has.
type ownership struct {
	index     int
	began     uint64  // the position after which it was begun with
	reached   uint64  // the position up to which all its commits were given to lanes; or term.reached, where that is more
	pending   []*item // those that are not dealt with, in order, and some that are
	done      int     // how many of pending are
	running   int     // handlers
	releasing bool    // it is to be given up as soon as none is
}

// position is up to where a partition is dealt with. What is missing of a damaged
// event stream lies before it was noticed, and whoever begins once more must come by
// it again: until it is known where, positions remain what they were.
func (t *term) position(o *ownership) uint64 {
	switch {
	case t.failed == nil:
	case t.intact == nil:
		return t.doc.Partitions[o.index].Position
	case partitionOf(t.failed.StreamUUID, len(t.doc.Partitions)) == o.index:
		return min(*t.intact, t.readUpTo(o))
	}
	for len(o.pending) > 0 && o.pending[0].done {
		o.pending = o.pending[1:]
		o.done--
	}
	if len(o.pending) > 0 {
		return o.pending[0].commit.Position - 1
	}
	return t.readUpTo(o)
}

// deal notes that an item is dealt with. Those behind one that isn't are forgotten
// now and then: it may take for ever.
func (o *ownership) deal(it *item) {
	it.done = true
	it.commit.Events = nil
	if o.done++; o.done >= maxDone && o.done > len(o.pending)/2 {
		o.pending = slices.DeleteFunc(o.pending, func(it *item) bool { return it.done })
		o.done = 0
	}
}

// maxDone is how many items that are dealt with are kept, or as many as there are
// others.
const maxDone = 64

// readUpTo is up to where a partition's commits were given to lanes.
func (t *term) readUpTo(o *ownership) uint64 {
	if o.releasing {
		return o.reached
	}
	return max(o.reached, t.reached)
}

func newTerm(m *member, id string, now time.Time, d *document) *term {
	return &term{
		member:   m,
		id:       id,
		epoch:    d.Epoch,
		doc:      d,
		owned:    make(map[int]*ownership),
		held:     make(map[string]uint64),
		accepted: make(map[uint64]request),
		alive:    now,
		saves:    make(chan saved, 1),
	}
}

// run deals with commits until ctx ends, or the term does. When it returns, no
// handler is running.
func (t *term) run(ctx context.Context) error {
	t.ctx, t.cancel = context.WithCancel(ctx)
	defer t.cancel()
	t.work.init(t)

	err := t.loop()

	t.cancel()
	if t.reader != nil {
		t.reader.stop()
	}
	if t.saving {
		<-t.saves
	}
	t.work.drain()
	for i := range t.owned {
		t.partitions.set(i, false)
	}
	t.leave(ctx, err)
	return err
}

func (t *term) loop() error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var armed time.Time // when the timer fires
	for {
		// At once where this process was paused, whatever else there is to do: the
		// others may have taken over.
		now := time.Now()
		due := t.alive.Add(t.doc.Options.TakeoverAfter * 3 / 4)
		if !now.Before(due) || !now.Round(0).Before(due.Round(0)) { // by the clock on the wall, too: the other stands still while the machine sleeps
			return errSilent
		}
		t.work.start()
		if t.failed != nil && t.work.inFlight == 0 {
			t.intact = t.lastBefore(t.failed)
			return t.failed
		}
		var batches chan fetched
		if t.reader != nil && t.work.inFlight < inFlightCommits {
			batches = t.reader.batches
		}
		if !t.saving {
			if save := t.saveDue(); !now.Before(save) {
				t.startSave()
			} else if save.Before(due) {
				due = save
			}
		}
		if due != armed { // mostly it is the same for many commits
			timer.Reset(due.Sub(now))
			armed = due
		}
		select {
		case <-t.ctx.Done():
			return t.ctx.Err()
		case f := <-batches:
			if f.err == nil {
				t.dispatch(f.batch)
			} else if damage, ok := errors.AsType[*backend.CorruptedError](f.err); ok {
				t.failed = damage // what came before is good, and whoever reads next comes no further
			} else {
				return f.err
			}
		case r := <-t.work.results:
			if err := t.finish(r); err != nil {
				return err
			}
		case s := <-t.saves:
			t.saving = false
			if err := t.afterSave(s); err != nil {
				return err
			}
		case <-timer.C:
			armed = time.Time{}
		}
	}
}

// lastBefore returns the position of the last commit of an event stream before those
// that are damaged; where that isn't known, the one after which its partition was
// begun with.
func (t *term) lastBefore(damage *backend.CorruptedError) *uint64 {
	ctx, cancel := context.WithTimeout(t.ctx, leaveTimeout)
	defer cancel()
	if damage.FirstVersion > 1 {
		events, err := t.s.store.ReadStream(ctx, damage.StreamUUID, damage.FirstVersion-1, 1, uuid.Nil)
		if err == nil && len(events) > 0 {
			return &events[0].Position
		}
	}
	if o := t.owned[partitionOf(damage.StreamUUID, len(t.doc.Partitions))]; o != nil {
		return &o.began
	}
	return new(uint64)
}

// dispatch gives what was read to those who handle it.
func (t *term) dispatch(b backend.Batch) {
	for events := b.Events; len(events) > 0; {
		n := 1
		for n < len(events) && events[n].Position == events[0].Position {
			n++
		}
		c := backend.Commit{StreamUUID: events[0].StreamUUID, Position: events[0].Position, Events: events[:n:n]}
		events = events[n:]
		o := t.owned[partitionOf(c.StreamUUID, len(t.doc.Partitions))]
		if o == nil || o.releasing || c.Position <= o.reached {
			continue
		}
		it := &item{commit: c, part: o}
		o.pending = append(o.pending, it)
		o.reached = c.Position
		t.work.add(it)
	}
	if b.Position > t.reached {
		t.reached = b.Position
		if t.passed.IsZero() {
			t.passed = time.Now()
		}
	}
}

// idle reports whether there is nothing to do at the moment.
func (t *term) idle() bool {
	return t.work.inFlight == 0 && (t.reader == nil || len(t.reader.batches) == 0)
}

// saveDue is when the document is to be looked at, or written, next.
func (t *term) saveDue() time.Time {
	due := t.looked.Add(min(t.doc.Options.TakeoverAfter/4, maxLook))
	sooner := func(at time.Time) {
		if at.Before(due) {
			due = at
		}
	}
	if len(t.carried) > 0 || len(t.drained()) > 0 {
		sooner(t.looked.Add(idleSaveInterval))
	}
	if !t.dealt.IsZero() {
		sooner(t.dealt.Add(saveInterval))
		if t.idle() {
			sooner(t.looked.Add(idleSaveInterval))
		}
	}
	if !t.passed.IsZero() {
		sooner(t.passed.Add(saveInterval))
		if t.idle() {
			sooner(t.looked.Add(passSaveInterval))
		}
	}
	return due
}

// drained returns the partitions that can be given up.
func (t *term) drained() []int {
	if t.leaving == 0 {
		return nil
	}
	var drained []int
	for i, o := range t.owned {
		if o.releasing && o.running == 0 {
			drained = append(drained, i)
		}
	}
	return drained
}
