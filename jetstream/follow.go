package jetstream

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
)

// Subscribe is as the function [backend.Subscribe] says. A range reads through an
// ordered consumer of its own, which it deletes when it ends, and to which the
// server sends what is appended as soon as it is stored. It returns
// [backend.ErrUnavailable] where that can't be made within [Config.Timeout] at the
// beginning; later on it waits for the server for as long as it takes.
//
// Of ranges over single event streams, 64 at a time have a consumer; beyond that,
// those that have caught up share one, which is sent all that is appended.
func (b *Backend) Subscribe(ctx context.Context, options backend.SubscribeOptions) iter.Seq2[backend.Batch, error] {
	return b.follow(ctx, options, nil)
}

// follow is Subscribe for the event streams that keep doesn't pass over; nil: for
// all.
func (b *Backend) follow(ctx context.Context, options backend.SubscribeOptions, keep func(uuid string) bool) iter.Seq2[backend.Batch, error] {
	options, bad := options.Prepare()
	return func(yield func(backend.Batch, error) bool) {
		if bad != nil {
			yield(backend.Batch{}, bad)
			return
		}
		f := follower{b: b, options: options, commits: assembly{b: b, keep: keep}}
		more := true
		err := f.run(ctx, func(batch backend.Batch) bool {
			more = yield(batch, nil)
			return more
		})
		if more && len(f.events) > 0 { // what was read before an error is good, and comes before it
			more = yield(f.batch(), nil)
		}
		if more {
			yield(backend.Batch{}, err)
		}
	}
}

const (
	// followAhead is how many messages are on their way at most to a subscription
	// to one event stream. To another there are pullBatch. It bounds what 10,000
	// subscriptions hold.
	followAhead = 128

	// lull is how long more is waited for, when the server has said that more is
	// there, before what came is yielded.
	lull = 10 * time.Millisecond

	// maxOvercounts is how many consumers are made anew before it is believed that
	// the server counts messages that it doesn't have: what was truncated a moment ago
	// is one in few.
	maxOvercounts = 3

	// recedes is after how many request timeouts it is believed that the store ends
	// before what has come of it. A leader that was cut off is one for 11 s.
	recedes = 15

	// passLimit is how many batches' worth of messages are passed over, because
	// of their types, before that is told.
	passLimit = 16
)

// follower is one range over a subscription.
type follower struct {
	b       *Backend
	options backend.SubscribeOptions
	one     target // the event stream, where it is one
	filter  string // the subjects
	scan    *scan
	commits assembly
	status  chan nats.Status // where the connection comes back, or is closed
	slot    bool             // it has one of followSlots
	tail    *tailer          // nil: it has a consumer of its own
	deliver func(*stored)    // is given the messages; nil: they are to be yielded

	events     []backend.RecordedEvent // to be yielded
	reached    uint64                  // the position up to which everything is in events or was yielded
	passed     int                     // messages since the last batch
	caughtUp   bool
	tell       bool      // that caughtUp has changed
	asked      bool      // the leader was, since the last message, whether that was the end
	opened     bool      // a consumer was made once
	overcounts int       // consumers in a row that said that there is more than there is
	came       bool      // something was sent, so that reached exists
	receded    time.Time // since when the store has ended before reached; zero: it doesn't
	openBy     time.Time // when the first must have been made

	// Of one event stream:
	from    uint64 // the first version that is wanted; 0: any
	id      uint64 // of the event stream that the last commit was of; 0: none came yet
	want    uint64 // the version that comes next; 0: not known
	guessed bool   // want is what some server said
	retried int    // how often want was looked for anew
}

// run yields batches until yield returns false, then it returns nil, or until
// there is an error.
func (f *follower) run(ctx context.Context, yield func(backend.Batch) bool) error {
	if err := f.start(ctx); err != nil {
		return err
	}
	f.status = f.b.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer f.b.nc.RemoveStatusListener(f.status)
	defer f.end(ctx)
	if f.caughtUp && !yield(f.batch()) { // from now
		return nil
	}
	for {
		m, err := f.next(ctx)
		switch {
		case m == nil:
		case f.deliver != nil:
			f.deliver(m)
			f.reached, f.came, f.overcounts = m.position, true, 0
		default:
			f.came, f.overcounts = true, 0
			err = f.take(ctx, m)
		}
		if err != nil {
			if err = f.recover(ctx, err); err != nil {
				return err
			}
			continue
		}
		if m == nil {
			if err := f.checkCaughtUp(ctx); err != nil {
				if err = f.recover(ctx, err); err != nil {
					return err
				}
				continue
			}
		}
		if f.ready(m == nil) && !yield(f.batch()) {
			return nil
		}
	}
}

// start finds out where to start.
func (f *follower) start(ctx context.Context) (err error) {
	if err := f.b.mayBegin(ctx); err != nil {
		return err
	}
	f.openBy = time.Now().Add(f.b.cfg.Timeout)
	ctx, cancel := within(ctx, f.b.cfg.Timeout)
	defer cancel()
	if f.options.Stream != "" {
		if f.filter, err = f.b.subjects.Subject(f.options.Stream); err != nil {
			return err
		}
		f.one = target{uuid: f.options.Stream, subject: f.filter}
	} else if f.filter, err = f.b.subjects.Under(f.options.Under); err != nil {
		return err
	}
	position, isPosition := f.options.From.Position()
	version, isVersion := f.options.From.Version()
	switch {
	case isPosition:
		f.reached = min(position, math.MaxUint64-1) // something must come after it
		if position == 0 {
			f.want = 1
		}
	case isVersion:
		f.from, f.want = version, version
		if f.reached, err = f.beforeVersion(ctx, version); err != nil {
			return err
		}
	default:
		info, err := f.b.checkSame(ctx, "")
		if err != nil {
			return err
		}
		f.reached, f.caughtUp, f.came = info.State.LastSeq, true, true
	}
	f.commits.known.from = f.reached
	f.commits.trusts = f.one.subject != ""
	f.scan = f.b.newScan(f.filter, f.reached, math.MaxUint64, math.MaxUint64)
	f.scan.live = true
	if f.options.Stream != "" {
		f.scan.ahead = followAhead
	}
	return nil
}

// beforeVersion returns a position that a version comes after.
func (f *follower) beforeVersion(ctx context.Context, version uint64) (uint64, error) {
	h, err := f.b.readHead(ctx, f.one)
	if err != nil || !h.exists {
		return 0, err
	}
	if version > h.state.Version {
		return h.position, nil
	}
	// Without links: those of the head are a hint, and nothing that is read from a
	// place past the version could tell that they are wrong.
	_, after := f.b.seek(ctx, f.one, h, max(version, h.state.First), false)
	return after, nil
}

// next returns the next message; nil: nothing has come for the moment, and there
// may be something to tell.
func (f *follower) next(ctx context.Context) (*stored, error) {
	if err := f.b.mayBegin(ctx); err != nil {
		return nil, err
	}
	if f.tail != nil {
		return f.nextOfTail(ctx)
	}
	s := f.scan
	if s.sub == nil {
		if err := f.takeSlot(ctx); err != nil {
			return nil, err
		}
		if err := f.open(ctx); err != nil {
			return nil, err
		}
	}
	for {
		select {
		case msg := <-s.messages:
			f.asked = false
			if m, err := s.accept(ctx, msg); m != nil || err != nil {
				return m, err
			}
			continue
		default:
		}
		if err := s.pull(); err != nil {
			return nil, err
		}
		wait := 3 * f.b.cfg.RequestTimeout // a heartbeat comes in each
		switch untold := len(f.events) > 0 || f.passed > 0; {
		case s.pending == 0 && (untold || !f.caughtUp && !f.asked):
			return nil, nil
		case untold:
			wait = lull
		}
		if msg, err := f.wait(ctx, wait); err != nil || f.tail != nil {
			return nil, err
		} else if msg == nil {
			return nil, nil
		} else if m, err := s.accept(ctx, msg); m != nil || err != nil {
			f.asked = false
			return m, err
		} else if s.idle && s.pending > 0 {
			if err := f.checkPending(ctx); err != nil {
				return nil, err
			}
		}
		f.asked = false
	}
}

// checkPending returns an error where the server says that more messages are
// there, sends none of them, and the leader has none. That is so where it dropped a
// part of a damaged block (nats-server 2.15.2 still counts what was in it).
func (f *follower) checkPending(ctx context.Context) error {
	next, err := f.scan.upcoming(ctx)
	if err != nil || next != nil {
		return err
	}
	if f.overcounts++; f.overcounts > maxOvercounts {
		return &backend.CorruptedError{StreamUUID: f.options.Stream, Position: f.reached,
			Reason: fmt.Sprintf("the server counts %d messages after it, and has none of them", f.scan.pending)}
	}
	return fmt.Errorf("the consumer has %d more messages, and the leader none", f.scan.pending)
}

// wait waits for what the consumer sends; nil: nothing came in a lull.
func (f *follower) wait(ctx context.Context, wait time.Duration) (*nats.Msg, error) {
	s := f.scan
	s.timer.Reset(wait)
	defer s.timer.Stop()
	var wanted chan struct{}
	if f.slot && f.caughtUp && wait != lull {
		wanted = f.b.tails.wanted
	}
	select {
	case <-wanted:
		return nil, f.moveToTail(ctx)
	case msg := <-s.messages:
		return msg, nil
	case <-s.timer.C:
		if wait == lull {
			return nil, nil
		}
		return nil, f.b.explain(f.b.api.consumerNext+s.name, nats.ErrTimeout)
	case <-f.status:
		return nil, nats.ErrDisconnected
	case <-f.b.done:
		return nil, errClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// open makes a consumer that goes on where the last one ended.
func (f *follower) open(ctx context.Context) error {
	ctx, cancel := within(ctx, f.b.cfg.Timeout)
	defer cancel()
	for len(f.status) > 0 {
		<-f.status // of a connection before
	}
	f.scan.after = f.reached
	f.commits.commit.clear()
	if _, err := f.scan.open(ctx); err != nil {
		return err
	}
	// Positions mean nothing in another JetStream stream of the name.
	info, err := f.b.checkSame(ctx, "")
	if err != nil {
		return err
	}
	if last := info.State.LastSeq; f.came && last < f.reached {
		return f.wentBack(last)
	}
	f.receded = time.Time{}
	f.opened = true
	return nil
}

// wentBack is the error where the store ends before what has come of it: what is
// appended next gets positions that were given before, and would never be sent.
// For a while that may be a leader that was just elected, or is cut off.
func (f *follower) wentBack(last uint64) error {
	if f.receded.IsZero() {
		f.receded = time.Now()
	}
	if time.Since(f.receded) < recedes*f.b.cfg.RequestTimeout {
		return fmt.Errorf("the store ends at position %d, before %d", last, f.reached)
	}
	return &backend.CorruptedError{StreamUUID: f.options.Stream, Position: last,
		Reason: fmt.Sprintf("the store ends there, after this subscription was sent position %d: "+
			"either the server lost what it had acknowledged, or the leader is cut off from its peers", f.reached)}
}

// recover makes it possible to go on after an error, or returns the error that
// ends the range.
func (f *follower) recover(ctx context.Context, err error) error {
	apiErr, isAPIError := errors.AsType[*apiError](err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("subscribed up to position %d: %w", f.reached, ctx.Err())
	case f.b.closed.Load():
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, errClosed)
	case errors.Is(err, backend.ErrCorrupted):
		return err
	case f.b.nc.IsClosed():
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, nats.ErrConnectionClosed)
	case isAPIError && apiErr.ErrCode == codeStreamNotFound,
		errors.Is(err, nats.ErrPermissionViolation),
		!f.opened && !time.Now().Before(f.openBy):
		if errors.Is(err, backend.ErrUnavailable) {
			return err
		}
		return fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	f.leaveTail()
	f.scan.replace(ctx, err)
	pause(ctx, f.scan.replaced)
	return nil
}

// take adds a message to what is to be yielded.
func (f *follower) take(ctx context.Context, m *stored) error {
	c, err := f.commits.add(ctx, m)
	if err != nil {
		return err
	}
	if c == nil {
		if len(f.commits.commit.parts) == 0 { // else it is a part of a commit
			f.reached = m.position
			f.passed++
		}
		return nil
	}
	f.passed++
	if f.one.subject != "" {
		if err := f.checkVersions(ctx, c); err != nil {
			return err
		}
	}
	if f.events == nil {
		f.events = make([]backend.RecordedEvent, 0, min(f.options.BatchSize, int(c.events())+int(f.scan.pending)))
	}
	before := len(f.events)
	if f.events, err = c.appendEvents(f.events, f.commits.uuid, f.from, c.version()); err != nil {
		return err
	}
	if len(f.options.EventTypes) > 0 {
		kept := slices.DeleteFunc(f.events[before:], func(e backend.RecordedEvent) bool {
			return !slices.Contains(f.options.EventTypes, e.EventType)
		})
		f.events = f.events[:before+len(kept)]
	}
	if c.version() >= f.from {
		f.from = 0
	}
	f.reached = c.position()
	return nil
}

// end gives up all that the range holds.
func (f *follower) end(ctx context.Context) {
	f.leaveTail()
	f.scan.drop(ctx)
	f.giveSlot()
}

// checkVersions returns an error where versions are missing before a commit of
// the one event stream that is subscribed to.
func (f *follower) checkVersions(ctx context.Context, c *commit) error {
	if f.id != 0 && f.id != c.streamID() {
		if c.forgetful() {
			return c.forgotten(f.one.uuid)
		}
		f.want, f.from = 1, 0 // it was deleted, and this is another
	}
	if f.want == 0 && f.id == 0 { // only the chain says what comes before the first commit
		if err := f.commits.checkContinuity(ctx); err != nil {
			return err
		}
	}
	if f.want != 0 && c.before() >= f.want {
		now, err := f.leaderHead(ctx)
		if err != nil {
			return err
		}
		// What was truncated meanwhile, or erased, isn't missing.
		if first := max(f.want, now.state.First); now.exists && now.state.ID == c.streamID() && first <= c.before() {
			gap := &backend.CorruptedError{StreamUUID: f.one.uuid, FirstVersion: first, LastVersion: c.before(), Position: f.reached, Reason: "events are missing after it"}
			switch f.retried++; {
			case f.retried <= 2:
				return fmt.Errorf("%w: position %d", errGap, f.reached)
			case !f.guessed:
				return gap
			}
		}
	}
	f.id, f.want, f.guessed, f.retried = c.streamID(), c.version()+1, false, 0
	return nil
}

// leaderHead reads the head from the leader, for as long as it takes to find out
// that something is lost, whatever [Config.Timeout] is: a subscription would begin
// again, and never know.
func (f *follower) leaderHead(ctx context.Context) (*head, error) {
	ctx, cancel := within(ctx, max(f.b.cfg.Timeout, f.b.lostAfter()+2*f.b.cfg.RequestTimeout))
	defer cancel()
	return f.b.refreshHead(ctx, f.one)
}

// checkCaughtUp finds out whether there is nothing more, where that may be so.
// What the consumer's replica says must be the leader's word, too.
func (f *follower) checkCaughtUp(ctx context.Context) error {
	if f.caughtUp || f.asked || f.scan.pending > 0 {
		return nil
	}
	f.asked = true
	next, err := f.scan.upcoming(ctx)
	if err != nil {
		f.b.log.DebugContext(ctx, "asking for the end", "filter", f.filter, "error", err)
		return nil
	}
	if known := f.b.heads.get(f.one.subject); next == nil && known != nil && known.position > max(f.reached, f.scan.after) {
		// This process has seen more than the leader has. (What was sent of a commit that
		// was never finished isn't reached.)
		_, err := f.leaderHead(ctx)
		f.asked = false
		return err
	}
	f.caughtUp, f.tell = next == nil, next == nil
	return nil
}

// ready reports whether there is something to yield; idle: nothing more has come
// for the moment.
func (f *follower) ready(idle bool) bool {
	if waiting := f.scan.pending + uint64(len(f.scan.messages)); f.caughtUp && waiting > uint64(f.options.BatchSize) {
		f.caughtUp, f.tell = false, true
	}
	return f.tell || idle && (len(f.events) > 0 || f.passed > 0) ||
		len(f.events) >= f.options.BatchSize || f.passed/passLimit >= f.options.BatchSize
}

// batch returns what is to be yielded, once.
func (f *follower) batch() backend.Batch {
	batch := backend.Batch{Events: f.events, Position: f.reached, CaughtUp: f.caughtUp}
	f.events, f.passed, f.tell = nil, 0, false
	return batch
}
