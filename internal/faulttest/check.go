package faulttest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// Result is what a check came to.
type Result struct {
	Acknowledged int // appends, of which some were repeated
	Conflicts    int // appends that were not stored, as another was faster
	Refused      int // appends that were not stored, as was said, for another reason
	Unknown      int // appends whose outcome the caller never learned
	Stored       int // of these, those that were stored after all
	Lost         int // acknowledged, and not there
	Doubled      int // events that are there more than once
	Reads        int
	Events       int           // that are stored
	Late         time.Duration // the longest that a call outlasted its deadline

	// Violations are all promises that were found broken; none is as it should be.
	Violations []string
}

// Add adds the figures of another result.
func (r *Result) Add(other Result) {
	r.Acknowledged += other.Acknowledged
	r.Conflicts += other.Conflicts
	r.Refused += other.Refused
	r.Unknown += other.Unknown
	r.Stored += other.Stored
	r.Lost += other.Lost
	r.Doubled += other.Doubled
	r.Reads += other.Reads
	r.Events += other.Events
	r.Late = max(r.Late, other.Late)
	r.Violations = append(r.Violations, other.Violations...)
}

// String is the figures in a line.
func (r Result) String() string {
	return fmt.Sprintf("%d acknowledged, %d conflicts, %d refused, %d unknown (%d of them stored), %d lost, %d doubled; %d events, %d reads, %d violations; at most %v late",
		r.Acknowledged, r.Conflicts, r.Refused, r.Unknown, r.Stored, r.Lost, r.Doubled, r.Events, r.Reads, len(r.Violations), r.Late.Round(time.Millisecond))
}

// check reads the whole store of the load, and compares.
func (l *Load) check() Result {
	l.tb.Helper()
	client := l.c.NewClient(l.tb)
	defer client.Close()
	cfg := l.cfg.Store
	cfg.ReadConsistency = jetstream.ReadLeader
	b := l.c.open(l.tb, client.Conn, cfg)
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()

	stored, all := l.Ledger.readEverything(ctx, b, l.name, l.after)
	l.checkFollowers(ctx, b, stored, all)
	l.unfollow()
	l.followed.Wait()
	res := l.Ledger.Compare(stored)
	l.Ledger.checkLives(ctx, b, all, &res)
	l.checkSum(stored)
	l.checkLinearizable()
	if err := b.DeleteSubscription(ctx, l.subscriptionName()); err != nil {
		l.Ledger.violate("deleting the subscription: %v", err)
	}
	for _, p := range l.parties {
		p.b.Close()
		p.client.Close()
	}
	l.Ledger.finish(&res)
	return res
}

// finish adds what was found on the way.
func (l *Ledger) finish(res *Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	res.Reads, res.Late = l.reads, l.late
	res.Violations = l.violations
	if l.more > 0 {
		res.Violations = append(res.Violations, fmt.Sprintf("and %d more", l.more))
	}
}

// readEverything reads all event streams of the ledger, one by one and all
// together, which must be the same.
func (l *Ledger) readEverything(ctx context.Context, b *jetstream.Backend, under string, after uint64) (map[string][]backend.RecordedEvent, []backend.RecordedEvent) {
	stored := make(map[string][]backend.RecordedEvent)
	for _, name := range l.streams() {
		events, err := readStream(ctx, b, name)
		if err != nil && !errors.Is(err, backend.ErrStreamNotFound) {
			l.violate("the last read of %s: %v", name, err)
		}
		stored[name] = events
	}
	var all []backend.RecordedEvent
	for batch, err := range b.ReadAll(ctx, backend.ReadAllOptions{Under: under, After: after}, uuid.Nil) {
		if err != nil {
			l.violate("ReadAll: %v", err)
			break
		}
		all = append(all, batch...)
	}
	together := make(map[string][]backend.RecordedEvent)
	position := uint64(0)
	for _, e := range all {
		if e.Position < position {
			l.violate("ReadAll: position %d after %d", e.Position, position)
		}
		position = e.Position
		if l.lives[e.StreamUUID] != nil {
			continue // see checkLives
		}
		together[e.StreamUUID] = append(together[e.StreamUUID], e)
	}
	for name := range together {
		if _, ok := stored[name]; !ok {
			l.violate("ReadAll has %s, to which nothing was appended", name)
		}
	}
	for name, events := range stored {
		if !slices.EqualFunc(events, together[name], func(a, b backend.RecordedEvent) bool {
			return reflect.DeepEqual(a, b)
		}) {
			l.violate("%s has %d events, by ReadAll %d, or others", name, len(events), len(together[name]))
		}
	}
	return stored, all
}

// readStream reads an event stream to its end.
func readStream(ctx context.Context, b *jetstream.Backend, name string) (events []backend.RecordedEvent, err error) {
	err = insist(ctx, patience, func(ctx context.Context) error {
		events = nil
		for batch, err := range b.StreamForward(ctx, name, 500, uuid.Nil) {
			if err != nil {
				return err
			}
			events = append(events, batch...)
		}
		return nil
	})
	return events, err
}

// streams are those to which anything was appended.
func (l *Ledger) streams() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	known := make(map[string]bool)
	for i := range l.ops {
		if name := l.ops[i].Stream; !known[name] {
			known[name] = true
			names = append(names, name)
		}
	}
	return names
}

// found is an event that is stored.
type found struct {
	place
	position uint64
	times    int
}

// Compare compares what is stored of the event streams of the ledger, in full and
// in order, with what was asked and answered. It notes what it finds broken.
func (l *Ledger) Compare(stored map[string][]backend.RecordedEvent) Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	var res Result
	events := make(map[uuid.UUID]*found)
	for name, recorded := range stored {
		for i, e := range recorded {
			res.Events++
			l.readLocked("in the end", &e)
			if e.StreamVersion != uint64(i)+1 {
				l.violateLocked("%s has version %d where %d is due", name, e.StreamVersion, i+1)
			}
			if f := events[e.EventUUID]; f != nil {
				f.times++
				res.Doubled++
				l.violateLocked("event %s is %s version %d and %s version %d", e.EventUUID, f.stream, f.version, name, e.StreamVersion)
				continue
			}
			events[e.EventUUID] = &found{place: place{name, e.StreamVersion}, position: e.Position, times: 1}
		}
	}
	for _, a := range l.appends() {
		l.compareLocked(a, events, &res)
		for _, op := range a.ops {
			if actual, ok := op.refusedAt(); ok && actual > uint64(len(stored[a.stream])) {
				l.violateLocked("an append to %s was refused as it was at version %d, and it ends at %d", a.stream, actual, len(stored[a.stream]))
			}
		}
		for _, id := range a.ids {
			delete(events, id)
		}
	}
	for id, f := range events {
		l.violateLocked("event %s, version %d of %s, was never appended", id, f.version, f.stream)
	}
	l.orderLocked()
	return res
}

// appended is an append with all its repetitions.
type appended struct {
	stream  string
	ids     []uuid.UUID
	ops     []*Op
	outcome Outcome
}

// appends groups the operations that are repetitions.
func (l *Ledger) appends() []*appended {
	byID := make(map[uuid.UUID]*appended)
	var all []*appended
	for i := range l.ops {
		op := &l.ops[i]
		a := byID[op.IDs[0]]
		if a == nil {
			a = &appended{stream: op.Stream, ids: op.IDs, outcome: Failed}
			byID[op.IDs[0]] = a
			all = append(all, a)
		}
		a.ops = append(a.ops, op)
		switch outcomeOf(op.Err) {
		case Acked:
			a.outcome = Acked
		case Unknown:
			if a.outcome == Failed {
				a.outcome = Unknown
			}
		case Failed:
			// That another event is at the version which it expected to get is certain,
			// whatever was unknown before.
			if _, exact := op.Expected.Exact(); exact && a.outcome == Unknown && isConflict(op.Err) {
				a.outcome = Failed
			}
		}
	}
	return all
}

// compareLocked compares an append with what is stored.
func (l *Ledger) compareLocked(a *appended, events map[uuid.UUID]*found, res *Result) {
	there, whole := 0, true
	var first *found
	for i, id := range a.ids {
		f := events[id]
		if f == nil {
			continue
		}
		there++
		if first == nil {
			first = f
		}
		if f.stream != a.stream || f.version != first.version+uint64(i) || f.position != first.position {
			whole = false
		}
	}
	if there != 0 && (there != len(a.ids) || !whole) {
		l.violateLocked("an append to %s is stored in part, or not as one: %d of %d events", a.stream, there, len(a.ids))
	}
	switch a.outcome {
	case Acked:
		res.Acknowledged++
		if there == 0 {
			res.Lost++
			l.violateLocked("lost: an append to %s, acknowledged as version %d, is not there", a.stream, a.acknowledged().Version)
			return
		}
		for _, op := range a.ops {
			if op.Err == nil && (op.Version != first.version+uint64(len(a.ids))-1 || op.Position != first.position) {
				l.violateLocked("an append to %s was acknowledged as version %d at %d, and begins at version %d at %d", a.stream, op.Version, op.Position, first.version, first.position)
			}
		}
	case Failed:
		if slices.ContainsFunc(a.ops, func(op *Op) bool { return isConflict(op.Err) }) {
			res.Conflicts++
		} else {
			res.Refused++
		}
		if there != 0 {
			l.violateLocked("an append to %s is stored as version %d, and had failed for good: %v", a.stream, first.version, a.ops[len(a.ops)-1].Err)
		}
	case Unknown:
		res.Unknown++
		if there != 0 {
			res.Stored++
		}
	}
	if there != 0 {
		for _, op := range a.ops {
			if v, exact := op.Expected.Exact(); exact && op.Err == nil && first.version != v+1 {
				l.violateLocked("an append to %s expected version %d and begins at version %d", a.stream, v, first.version)
			}
		}
	}
}

func (a *appended) acknowledged() *Op {
	for _, op := range a.ops {
		if op.Err == nil {
			return op
		}
	}
	return nil
}

// orderLocked checks that an append that was acknowledged before another began
// has the lower version.
func (l *Ledger) orderLocked() {
	byStream := make(map[string][]*Op)
	firstTime := make(map[uuid.UUID]*Op)
	for i := range l.ops {
		op := &l.ops[i]
		if firstTime[op.IDs[0]] == nil {
			firstTime[op.IDs[0]] = op
		}
		if op.Err == nil {
			byStream[op.Stream] = append(byStream[op.Stream], op)
		}
	}
	for name, ops := range byStream {
		slices.SortStableFunc(ops, func(a, b *Op) int { return int(a.Version) - int(b.Version) })
		// No later version may have returned before an earlier one was called for the
		// first time.
		earliest := time.Duration(1<<63 - 1)
		for _, op := range slices.Backward(ops) {
			if began := firstTime[op.IDs[0]].Call; earliest < began {
				l.violateLocked("%s: version %d was acknowledged before the append of version %d began", name, op.Version+1, op.Version)
			}
			earliest = min(earliest, op.Return)
		}
	}
}

// checkFollowers waits until everybody was told everything, and compares.
func (l *Load) checkFollowers(ctx context.Context, b *jetstream.Backend, stored map[string][]backend.RecordedEvent, all []backend.RecordedEvent) {
	last := l.after
	if len(all) > 0 {
		last = all[len(all)-1].Position
	}
	if l.members != nil {
		if err := eventually("the named subscription gets to the end", func() error {
			if err := l.members.over(); err != nil {
				return nil // which is told below; waiting is of no use
			}
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			return b.WaitFor(ctx, l.subscriptionName(), last)
		}); err != nil {
			l.Ledger.violate("to %d: %v", last, err)
		}
		parked, err := b.Parked(ctx, l.subscriptionName())
		if err != nil || len(parked) > 0 {
			l.Ledger.violate("the named subscription parked %d commits, error %v", len(parked), err)
		}
	}
	kept := 0
	for _, events := range stored {
		kept += len(events)
	}
	followers := l.Ledger.followers
	if l.members != nil {
		followers = append(slices.Clone(followers), l.members)
	}
	for _, f := range followers {
		if err := eventually(f.what+" is told everything", func() error { return f.reached(last) }); err != nil {
			l.Ledger.violate("%v", err)
		}
		f.mu.Lock()
		if f.ended != nil {
			l.Ledger.violate("%v", f.ended)
		}
		if f.wrong != "" {
			l.Ledger.violate("%s", f.wrong)
		}
		missing := 0
		for name, events := range stored {
			for _, e := range events {
				if f.events[place{name, e.StreamVersion}] != e.EventUUID {
					missing++
				}
			}
		}
		if missing > 0 || len(f.events) != kept {
			l.Ledger.violate("%s was told %d events, %d are stored, of which it lacks %d", f.what, len(f.events), kept, missing)
		}
		for name, v := range l.Ledger.lives {
			for i, id := range v.events {
				if f.lives[id] == 0 {
					l.Ledger.violate("%s was not told version %d of %s", f.what, v.first+uint64(i), name)
				}
			}
		}
		f.mu.Unlock()
	}
}

// checkSum adds up the accounts: every transfer took what it gave.
func (l *Load) checkSum(stored map[string][]backend.RecordedEvent) {
	sum, bookings := 0, 0
	for i := range accounts {
		for _, e := range stored[l.account(i)] {
			amount, err := strconv.Atoi(string(e.Data))
			if err != nil {
				l.Ledger.violate("%s version %d: %v", e.StreamUUID, e.StreamVersion, err)
			}
			sum += amount
			bookings++
		}
	}
	if sum != 0 || bookings != 2*l.bank.done {
		l.Ledger.violate("%d transfers made %d bookings, which add up to %d", l.bank.done, bookings, sum)
	}
}
