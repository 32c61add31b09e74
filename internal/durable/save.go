package durable

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/tributary-es/tributary/backend"
)

// change is what a member tells the document.
type change struct {
	positions map[int]uint64 // of its partitions
	given     []int          // those that it gives up
	carried   []request      // the requests that were carried out
	beat      bool           // it is time to show that it is alive
	at        time.Time
}

// saved is what became of it.
type saved struct {
	change
	loaded  time.Time // when the document was
	err     error
	doc     *document
	wrote   bool
	claimed []int    // partitions that are the member's, and that it hasn't begun with
	parking *parking // where some were claimed, and event streams may have to wait
}

// startSave looks at the document in the background, and changes it where there
// is something to change.
func (t *term) startSave() {
	now := time.Now()
	c := change{
		positions: make(map[int]uint64, len(t.owned)),
		given:     t.drained(),
		carried:   t.carried,
		beat:      now.Sub(t.alive) >= t.doc.Options.TakeoverAfter/4,
		at:        now,
	}
	for i, o := range t.owned {
		c.positions[i] = t.position(o)
	}
	t.carried, t.dealt, t.passed = nil, time.Time{}, time.Time{}
	t.looked, t.saving = now, true
	go func() { t.saves <- t.save(t.ctx, c) }()
}

// save looks at the document and changes it. It runs beside the loop.
func (t *term) save(ctx context.Context, c change) saved {
	s := saved{change: c}
	nothing := errors.New("nothing to change")
	_, _, err := t.s.update(ctx, t.name, func(d *document) (*document, error) {
		s.loaded = time.Now()
		changed, err := t.apply(d, &s)
		if err == nil && !changed && !c.beat {
			err = nothing
		}
		return d, err
	})
	s.wrote = err == nil
	if !errors.Is(err, nothing) {
		s.err = err
	}
	if s.err == nil && len(s.claimed) > 0 && t.options.OnPark == backend.HoldStream {
		if s.parking, s.err = t.s.readParking(ctx, t.name, s.doc); s.err == nil {
			t.s.tidy(ctx, t.name, s.parking)
		}
	}
	return s
}

// apply makes a change to a document, and reports whether it did.
func (t *term) apply(d *document, s *saved) (changed bool, err error) {
	if d == nil {
		return false, errDeleted
	}
	self, ok := d.Members[t.id]
	switch {
	case d.Epoch != t.epoch:
		return false, errReset
	case !ok:
		return false, errExpelled
	}
	for i, position := range s.positions {
		p, given := &d.Partitions[i], slices.Contains(s.given, i)
		switch {
		case p.Owner != t.id && given:
			continue // given up just before, by a change whose answer was lost
		case p.Owner != t.id:
			return false, errExpelled
		case given:
			p.Owner = ""
			changed = true
		}
		if p.Position != position {
			p.Position = position
			changed = true
		}
	}
	for _, id := range t.watch.observe(d, s.loaded) {
		if id != t.id {
			d.remove(id)
			changed = true
		}
	}
	if len(s.carried) > 0 {
		d.Requests = slices.DeleteFunc(d.Requests, func(r request) bool { return slices.Contains(s.carried, r) })
		changed = true
	}
	if len(d.claim(t.id)) > 0 {
		changed = true
	}
	s.claimed = slices.DeleteFunc(d.ownedBy(t.id), func(i int) bool {
		_, begun := s.positions[i]
		return begun && !slices.Contains(s.given, i)
	})
	self.Beat++
	self.Seen = s.at.UTC()
	d.Members[t.id] = self
	s.doc = d
	return changed, nil
}

// afterSave goes on from what became of a save. An error ends the term.
func (t *term) afterSave(s saved) error {
	if s.wrote {
		t.alive = s.at
		t.doc = s.doc
		for _, r := range s.carried {
			delete(t.accepted, r.Position)
		}
		t.giveUp(s.given)
	}
	if s.err != nil {
		if !s.wrote {
			t.carried = append(s.carried, t.carried...)
			t.dealt = s.at
		}
		if t.s.store.Final(s.err) || !errors.Is(s.err, backend.ErrUnavailable) && !errors.Is(s.err, backend.ErrOutcomeUnknown) {
			return s.err
		}
		t.s.log.DebugContext(t.ctx, "telling how far a subscription is", "subscription", t.name, "error", s.err)
		return nil
	}
	t.doc = s.doc
	for _, i := range t.doc.surplus(t.id) {
		if o := t.owned[i]; o != nil && !o.releasing {
			o.reached = t.readUpTo(o)
			o.releasing = true
			t.leaving++
			t.work.drop(o)
		}
	}
	if len(s.claimed) > 0 {
		t.acquire(s.claimed, s.parking)
	}
	t.accept()
	return nil
}

// giveUp forgets partitions that are another member's now.
func (t *term) giveUp(given []int) {
	if len(given) == 0 {
		return
	}
	gone := func(streamUUID string) bool {
		return slices.Contains(given, partitionOf(streamUUID, len(t.doc.Partitions)))
	}
	for _, i := range given {
		t.partitions.set(i, false)
		delete(t.owned, i)
		t.leaving--
	}
	maps.DeleteFunc(t.held, func(streamUUID string, _ uint64) bool { return gone(streamUUID) })
	maps.DeleteFunc(t.accepted, func(_ uint64, r request) bool { return gone(r.Stream) })
	if len(t.owned) == 0 && t.reader != nil {
		t.reader.stop()
		t.reader, t.failed = nil, nil
	}
}

// acquire begins with partitions.
func (t *term) acquire(claimed []int, p *parking) {
	for _, o := range t.owned {
		o.reached = t.readUpTo(o)
	}
	for _, i := range claimed {
		at := t.doc.Partitions[i].Position
		t.owned[i] = &ownership{index: i, began: at, reached: at}
		t.partitions.set(i, true)
	}
	if p != nil {
		for _, e := range p.commits {
			if slices.Contains(claimed, partitionOf(e.Stream, len(t.doc.Partitions))) {
				t.hold(e.Stream, e.Position)
			}
		}
	}
	if t.failed != nil {
		return // nothing more is read
	}
	if t.reader != nil {
		t.reader.stop()
	}
	after := ^uint64(0)
	for _, o := range t.owned {
		after = min(after, o.reached)
	}
	t.reached = after
	t.reader = t.read(after)
}

// accept begins with what is asked for about parked commits.
func (t *term) accept() {
	for _, r := range t.doc.Requests {
		o := t.owned[partitionOf(r.Stream, len(t.doc.Partitions))]
		if _, accepted := t.accepted[r.Position]; accepted || o == nil || o.releasing {
			continue
		}
		t.accepted[r.Position] = r
		t.work.add(&item{part: o, request: &r, commit: backend.Commit{StreamUUID: r.Stream, Position: r.Position}})
	}
}

// leave tells the store what was done in the term, and that the member is gone.
func (t *term) leave(ctx context.Context, why error) {
	if errors.Is(why, errDeleted) || errors.Is(why, errExpelled) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	nothing := errors.New("nothing to change")
	_, _, err := t.s.update(ctx, t.name, func(d *document) (*document, error) {
		if d == nil {
			return nil, nothing
		}
		if _, ok := d.Members[t.id]; !ok {
			return nil, nothing
		}
		for i, o := range t.owned {
			if d.Epoch == t.epoch && d.Partitions[i].Owner == t.id {
				d.Partitions[i].Position = t.position(o)
			}
		}
		d.remove(t.id)
		return d, nil
	})
	if err != nil && !errors.Is(err, nothing) {
		t.s.log.DebugContext(ctx, "leaving a subscription", "subscription", t.name, "error", err)
	}
}
