package jetstream

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tributary-es/tributary/backend"
)

// run sends the appends that it gets, and ends when there are no more and
// nothing is under way.
func (im *importer) run(ctx context.Context) {
	defer close(im.ended)
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	items, done := im.items, ctx.Done()
	for items != nil || len(im.underway) > 0 || im.slowly > 0 {
		select {
		case item, ok := <-items:
			if !ok {
				items = nil
				continue
			}
			im.add(ctx, item)
		case w := <-im.answers:
			im.answered(ctx, w)
		case done := <-im.slow:
			im.slowly--
			im.settle(ctx, done.stream, done.n)
		case <-ticker.C:
			im.giveUp(ctx, false)
		case <-done:
			im.giveUp(ctx, true)
			done = nil
		}
	}
}

func (im *importer) add(ctx context.Context, item *importItem) {
	im.events = append(im.events, 0)
	s := im.streams[item.subject]
	if s == nil {
		s = &importStream{target: item.target, most: maxGroup}
		im.streams[item.subject] = s
	}
	s.waiting = append(s.waiting, item)
	if s.taken == 0 {
		im.next(ctx, s)
	}
}

// next goes on with an event stream that nobody writes to.
func (im *importer) next(ctx context.Context, s *importStream) {
	if ctx.Err() != nil || im.hasFailed() {
		for _, item := range s.waiting {
			im.leave(item)
		}
		s.waiting = nil
	}
	switch {
	case len(s.waiting) == 0:
		delete(im.streams, s.subject)
	case !im.b.queues.enterFree(s.subject): // others of this process write to it, too
		im.goOn(ctx, s, 1, nil, false)
	default:
		im.send(ctx, s)
	}
}

// send sends as many of the appends to an event stream as go together, where it
// takes no more than that.
func (im *importer) send(ctx context.Context, s *importStream) {
	g := im.group(ctx, s)
	if g == nil {
		im.goOn(ctx, s, maxGroup, nil, true)
		return
	}
	w := &importWrite{group: g, im: im, stream: s}
	if w.err = im.b.ready(ctx); w.err != nil {
		w.v = vAgain
	} else {
		w.connection, w.lastError = im.b.acks.current(), im.b.nc.LastError()
		w.token, w.v, w.err = im.b.send(ctx, &g.write, w)
	}
	w.sent = time.Now()
	if w.err != nil {
		im.goOn(ctx, s, len(g.planned), w, true)
		return
	}
	s.taken = len(g.planned)
	im.underway[w] = struct{}{}
}

// group makes ready to write as many of the appends to an event stream as go
// together; nil: it takes another request to tell what becomes of the first.
func (im *importer) group(ctx context.Context, s *importStream) *group {
	h := im.b.heads.get(s.subject)
	if h == nil {
		expected := s.waiting[0].append.expected
		if version, ok := expected.Exact(); ok && version > 0 || expected == backend.StreamExists() {
			return nil
		}
		h = &head{} // a guess, which the fence corrects
	}
	for {
		members := im.members(s, s.most)
		if i := slices.IndexFunc(members, func(w *waiter) bool {
			return len(w.append.events) == 0 || w.append.looksBack(h)
		}); i >= 0 {
			members = members[:i]
		}
		g, err := im.b.plan(ctx, s.target, h, false, members, maxGroupEvents)
		if err != nil || g.writers == 0 {
			return nil
		}
		for i := range g.planned {
			if !g.planned[i].written {
				// Nothing must be written after what fails. And by itself, what is
				// stored already can't seem to have failed with what is written.
				return nil
			}
		}
		switch err := im.b.encode(s.target, h, g); {
		case err == nil && g.rollup:
			return nil // what takes the place of a marker may be erased with it, which is then looked at
		case err == nil:
			return g
		case !errors.Is(err, errTooLarge):
			return nil
		}
		s.most = g.writers / 2
	}
}

// members returns the next appends to an event stream that may be written
// together, n at most.
func (im *importer) members(s *importStream, n int) []*waiter {
	if !im.b.queues.group {
		n = 1
	}
	members := make([]*waiter, min(n, len(s.waiting)))
	for i := range members {
		members[i] = &s.waiting[i].waiter
	}
	return members
}

// answered goes on after the server's answer to an attempt.
func (im *importer) answered(ctx context.Context, w *importWrite) {
	delete(im.underway, w)
	var position uint64
	if position, w.v, w.err = im.b.judge(w.answer, &w.write); w.v != vStored {
		im.goOn(ctx, w.stream, w.stream.taken, w, true)
		return
	}
	im.b.stored(w.group, position)
	im.b.unlock(w.target)
	for i := range w.planned {
		w.stream.waiting[i].outcome = w.planned[i].appendOutcome
	}
	im.settle(ctx, w.stream, w.stream.taken)
}

// giveUp goes on with the attempts that have waited long enough, or with all.
func (im *importer) giveUp(ctx context.Context, all bool) {
	l := im.b.acks.looked.Load()
	for w := range im.underway {
		refused := l.refused(w.token, w.subject, w.lastError)
		if !all && refused == nil && l.lost(w.token, w.connection) == nil && time.Since(w.sent) < im.b.cfg.RequestTimeout || !im.b.acks.forget(w.token) {
			continue
		}
		delete(im.underway, w)
		w.v, w.err = vUnknown, im.b.explainWait(w.subject, nats.ErrTimeout)
		if refused != nil {
			w.v, w.err = vRefused, notPermitted(refused)
		}
		im.goOn(ctx, w.stream, w.stream.taken, w, true)
	}
}

// settle takes the next n appends to an event stream, which have their outcomes,
// and goes on with the others.
func (im *importer) settle(ctx context.Context, s *importStream, n int) {
	for _, item := range s.waiting[:n] {
		if err := item.outcome.err; err != nil {
			im.fail(&backend.ImportError{Index: item.index, StreamUUID: item.uuid, Err: err})
		} else {
			im.done(item)
		}
		im.leave(item)
	}
	s.waiting = slices.Delete(s.waiting, 0, n)
	s.taken = 0
	im.next(ctx, s)
}

// leave makes room for others.
func (im *importer) leave(item *importItem) {
	for range item.cost {
		<-im.room
	}
}

// done counts an append that is done.
func (im *importer) done(item *importItem) {
	im.events[item.index-im.first] = 1 + uint32(len(item.append.events))
	n := 0
	im.mu.Lock()
	for n < len(im.events) && im.events[n] > 0 {
		im.progress.Appends++
		im.progress.Events += uint64(im.events[n] - 1)
		n++
	}
	im.mu.Unlock()
	im.events = im.events[n:]
	im.first += uint64(n)
}

// goOn goes on with the next n appends to an event stream, at most, in a goroutine
// of its own: it takes longer. begun, if not nil, is a first attempt to write them, that
// was not acknowledged; turn tells that the event stream's turn is there.
func (im *importer) goOn(ctx context.Context, s *importStream, n int, begun *importWrite, turn bool) {
	members := im.members(s, n)
	s.taken = len(members)
	im.slowly++
	go func() {
		im.slow <- slowAppend{s, im.appendSlowly(ctx, s.target, members, begun, turn)}
	}()
}

// appendSlowly appends for members: for all of them where that is what begun
// comes to, else for those that are stored already, or for the first. It returns
// how many have their outcomes.
func (im *importer) appendSlowly(ctx context.Context, t target, members []*waiter, begun *importWrite, turn bool) int {
	b := im.b
	ctx, cancel := b.bound(ctx)
	defer cancel()
	failAll := func(err error) int {
		for _, w := range members {
			w.settle(ctx, appendOutcome{err: err})
		}
		return len(members)
	}
	if !turn {
		if err := b.lock(ctx, t); err != nil {
			return failAll(unavailable(ctx, err))
		}
	}
	defer b.unlock(t)
	first := members[0]
	askLeader := turn && first.append.given // it may be stored already: only the leader's word is good enough
	if begun != nil {
		position, err := b.insist(ctx, &begun.write, begun.v, begun.err)
		switch {
		case err == nil:
			b.stored(begun.group, position)
			for i, w := range members {
				w.outcome = begun.planned[i].appendOutcome
			}
			return len(members)
		case errors.Is(err, errUnfinished):
			begun.doubt(members)
			askLeader = true
		case errors.Is(err, errConflict):
			askLeader = true
		case !errors.Is(err, errInFlight):
			return failAll(err)
		}
	}
	var h *head
	if askLeader {
		h, _ = b.refreshHead(ctx, t) // where it fails, what comes next will, too
	}
	if h != nil && first.append.given {
		if n := b.recognised(ctx, t, h, members); n > 0 {
			return n
		}
	}
	if len(first.append.events) == 0 {
		first.outcome.res, first.outcome.err = b.appendNothing(ctx, t, first.append)
	} else {
		b.appendTogether(ctx, t, h, members[:1])
	}
	return 1
}

// recognised gives their outcomes to those of members, from the first on, that
// are stored already in the event stream that the leader just said to have the
// head h, and returns how many these are. Appending each of them would take
// requests for each.
func (b *Backend) recognised(ctx context.Context, t target, h *head, members []*waiter) int {
	first, recorded := b.recordedFor(ctx, t, h, members)
	for i, w := range members {
		a := w.append
		if !a.given {
			return i
		}
		var res backend.AppendResult
		var done bool
		var err error
		version, ok := a.expected.Exact()
		if ok && version+1 >= first && version+uint64(len(a.events)) < first+uint64(len(recorded)) {
			res, done, err = a.compare(t, h, recorded[version+1-first:][:len(a.events)], version+1)
		} else {
			res, done, err = b.repeated(ctx, t, h, a)
			if known := b.heads.get(t.subject); known != nil && known.position == h.position {
				h = known // with the ids that this read
			}
		}
		if err != nil || !done {
			return i
		}
		w.outcome = appendOutcome{res: res}
	}
	return len(members)
}

// recordedFor returns what is recorded, from version first on, where members
// expect exact versions, one after the other, and may be stored already.
func (b *Backend) recordedFor(ctx context.Context, t target, h *head, members []*waiter) (first uint64, recorded []recent) {
	version, ok := members[0].append.expected.Exact()
	if !ok || !h.exists || !h.state.Deleted.IsZero() || version+1 < h.state.First {
		return 0, nil
	}
	last := version
	for _, w := range members {
		v, ok := w.append.expected.Exact()
		if after := last + uint64(len(w.append.events)); ok && v == last && after <= h.state.Version && after-version <= maxRecent {
			last = after
			continue
		}
		break
	}
	if last == version {
		return 0, nil
	}
	recorded, err := b.recentEvents(ctx, t, h, version+1, last)
	if err != nil {
		return 0, nil // what comes next will tell
	}
	return version + 1, recorded
}
