package memory

import (
	"context"
	"iter"
	"slices"
	"sort"

	"github.com/tributary-es/tributary/backend"
)

// Subscribe is as [backend.Subscribe] says. An iteration keeps no events but
// those of the batch that it yields: it goes through what is stored by position,
// and has no goroutine of its own.
func (b *Backend) Subscribe(ctx context.Context, options backend.SubscribeOptions) iter.Seq2[backend.Batch, error] {
	options, invalid := options.Prepare()
	return func(yield func(backend.Batch, error) bool) {
		if invalid != nil {
			yield(backend.Batch{}, invalid)
			return
		}
		s := subscription{b: b, options: options}
		var stored, ofStream bool
		s.position, stored = options.From.Position()
		if s.version, ofStream = options.From.Version(); !ofStream {
			s.version, s.now = 0, !stored
		}
		for {
			batch, err := s.next(ctx)
			if err != nil {
				yield(backend.Batch{}, err)
				return
			}
			if !yield(batch, nil) {
				return
			}
		}
	}
}

// subscription is one range over what Subscribe returns.
type subscription struct {
	b        *Backend
	options  backend.SubscribeOptions
	now      bool   // it starts with what comes, and hasn't yet
	position uint64 // what is stored up to it is dealt with
	version  uint64 // what is below it is passed over; 0: it was reached
	caughtUp bool
}

// next waits for something to tell, and returns it.
func (s *subscription) next(ctx context.Context) (backend.Batch, error) {
	for {
		if err := checkContext(ctx); err != nil {
			return backend.Batch{}, err
		}
		batch, w, err := s.take()
		if err != nil || w == nil {
			return batch, err
		}
		select {
		case <-w.commit:
		case <-ctx.Done():
		}
		s.b.waiting.leave(s.options.Stream, w)
	}
}

// take returns the next batch, or what to wait for where there is none.
func (s *subscription) take() (backend.Batch, *waiters, error) {
	b := s.b
	b.mu.RLock()
	events, tell, err := s.advance()
	var w *waiters
	if err == nil && !tell {
		// Under the lock, so that no commit comes between having looked and waiting.
		w = b.waiting.join(s.options.Stream)
	}
	b.mu.RUnlock()
	if err != nil || w != nil {
		return backend.Batch{}, w, err
	}
	batch := backend.Batch{Position: s.position, CaughtUp: s.caughtUp}
	if len(events) > 0 {
		batch.Events = make([]backend.RecordedEvent, len(events))
	}
	for i, e := range events {
		batch.Events[i] = copyEvent(e)
	}
	return batch, nil, nil
}

// advance moves s forward by a batch, and returns its events, which never
// change, and whether there is something to tell. The caller holds b.mu.
func (s *subscription) advance() (events []*backend.RecordedEvent, tell bool, err error) {
	if err := s.b.open(); err != nil {
		return nil, false, err
	}
	if s.now {
		s.now, s.caughtUp, s.position = false, true, s.b.position
		return nil, true, nil
	}
	behind := 0 // commits after the batch, as far as they matter
	for _, c := range s.commits() {
		full := len(events) >= s.options.BatchSize
		switch {
		case c.erased || !selected(c.streamUUID, s.options.Under):
			if behind == 0 {
				s.position = c.position
			}
			continue
		case full:
			behind++
		default:
			n := len(events)
			events = s.appendWanted(events, c)
			tell = tell || len(events) == n // the position of what is passed over
			s.position = c.position
		}
		if behind > s.options.BatchSize {
			break
		}
	}
	switch {
	case behind == 0:
		// What is not in a log, such as a deletion, has a position, too.
		s.position = max(s.position, s.b.position)
		tell = tell || !s.caughtUp
		s.caughtUp = true
	case behind > s.options.BatchSize:
		s.caughtUp = false
	}
	return events, tell || len(events) > 0, nil
}

// commits returns the commits after s.position, among which may be others than
// are subscribed to.
func (s *subscription) commits() []*commit {
	commits := s.b.log
	if s.options.Stream != "" {
		commits = nil
		if stream, ok := s.b.streams[s.options.Stream]; ok {
			commits = stream.commits
		}
	}
	commits = commits[sort.Search(len(commits), func(i int) bool { return commits[i].position > s.position }):]
	if s.version != 0 {
		commits = commits[commitOf(commits, s.version):]
	}
	return commits
}

// appendWanted appends those events of c that are asked for.
func (s *subscription) appendWanted(events []*backend.RecordedEvent, c *commit) []*backend.RecordedEvent {
	for i := range c.events {
		e := &c.events[i]
		if e.StreamVersion < s.version || !s.ofType(e.EventType) {
			continue
		}
		events = append(events, e)
	}
	s.version = 0
	return events
}

func (s *subscription) ofType(eventType string) bool {
	return len(s.options.EventTypes) == 0 || slices.Contains(s.options.EventTypes, eventType)
}
