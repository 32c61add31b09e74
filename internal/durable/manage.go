package durable

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tributary-es/tributary/backend"
)

// WaitFor is as the function backend.WaitFor says.
func (s *Subscriptions) WaitFor(ctx context.Context, name string, position uint64) error {
	var missing error // why it is still waited for
	existed, until := false, time.Now().Add(backend.SubscriptionGrace)
	for tries := 0; ; tries++ {
		d, _, err := s.mustLoad(ctx, name)
		if errors.Is(err, backend.ErrSubscriptionNotFound) && !existed && time.Now().Before(until) {
			missing = err
			if pause(ctx, min(tries, 6)) {
				continue
			}
		}
		if err != nil && missing != nil && ctx.Err() != nil {
			return fmt.Errorf("%w: %w", missing, ctx.Err())
		}
		if err != nil {
			return err
		}
		existed, missing = true, nil
		if d.position() >= position {
			return nil
		}
		// It is as well where nothing that the subscription covers is left up to
		// there, which no member needs to write down.
		if tries%8 == 4 {
			passed, err := s.covers(ctx, d, position)
			if passed || err != nil {
				return err
			}
		}
		if !pause(ctx, min(tries, 6)) {
			return fmt.Errorf("waiting for %q to deal with position %d, it is at %d: %w", name, position, d.position(), ctx.Err())
		}
	}
}

// covers reports whether what a subscription has yet to deal with lies after
// position.
func (s *Subscriptions) covers(ctx context.Context, d *document, position uint64) (bool, error) {
	end, err := s.store.End(ctx)
	if err != nil || end < position {
		return false, err
	}
	next, _, err := s.store.Next(ctx, d.covered(), d.position())
	return next == 0 || next > position, err
}

// covered says what a subscription is about.
func (d *document) covered() backend.SubscribeOptions {
	return backend.SubscribeOptions{Stream: d.Options.Stream, Under: d.Options.Under}
}

// Subscriptions is as the function backend.Subscriptions says.
func (s *Subscriptions) Subscriptions(ctx context.Context) ([]backend.SubscriptionInfo, error) {
	keys, err := s.store.Keys(ctx, keyPrefix)
	if err != nil {
		return nil, err
	}
	slices.Sort(keys)
	infos := make([]backend.SubscriptionInfo, 0, len(keys))
	for _, key := range keys {
		name := strings.TrimPrefix(key, keyPrefix)
		d, _, err := s.load(ctx, name)
		if err != nil {
			return nil, err
		}
		if d == nil {
			continue // deleted just now
		}
		info, err := s.describe(ctx, name, d)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func (s *Subscriptions) describe(ctx context.Context, name string, d *document) (backend.SubscriptionInfo, error) {
	info := backend.SubscriptionInfo{Name: name, Stream: d.Options.Stream, Under: d.Options.Under, EventTypes: d.Options.EventTypes, Position: d.position()}
	next, at, err := s.store.Next(ctx, d.covered(), info.Position)
	if err != nil {
		return info, err
	}
	if next != 0 {
		info.OldestAge = max(0, time.Since(at))
		if info.Behind, err = s.store.Count(ctx, d.covered(), info.Position); err != nil {
			return info, err
		}
	}
	p, err := s.readParking(ctx, name, d)
	if err != nil {
		return info, err
	}
	info.Parked = len(p.commits)
	for _, id := range slices.Sorted(maps.Keys(d.Members)) {
		m := d.Members[id]
		info.Members = append(info.Members, backend.Member{ID: id, Name: m.Name, Partitions: len(d.ownedBy(id)), SeenAt: m.Seen})
	}
	return info, nil
}

// ResetSubscription is as the function backend.ResetSubscription says.
func (s *Subscriptions) ResetSubscription(ctx context.Context, name string, position uint64) error {
	return s.change(ctx, name, func(d *document) error {
		d.resetTo(position)
		return nil
	})
}

// change is update for a subscription that must exist.
func (s *Subscriptions) change(ctx context.Context, name string, change func(*document) error) error {
	if err := backend.CheckSubscriptionName(name); err != nil {
		return err
	}
	_, _, err := s.update(ctx, name, func(d *document) (*document, error) {
		if d == nil {
			return nil, fmt.Errorf("%w: %q", backend.ErrSubscriptionNotFound, name)
		}
		return d, change(d)
	})
	return err
}

// DeleteSubscription is as the function backend.DeleteSubscription says.
func (s *Subscriptions) DeleteSubscription(ctx context.Context, name string) error {
	for tries := 0; ; tries++ {
		d, revision, err := s.mustLoad(ctx, name)
		if errors.Is(err, backend.ErrSubscriptionNotFound) {
			if s.eraseLeft(ctx, name); tries > 0 {
				return nil // it was deleted, and the answer was lost
			}
		}
		if err != nil {
			return err
		}
		// What is parked up to here is of this subscription, or of none: another of
		// the name may come to be at any moment, and park something.
		p, err := s.readParking(ctx, name, d)
		if err != nil {
			return err
		}
		if err := s.store.Remove(ctx, keyPrefix+name, revision); err == nil {
			s.erase(ctx, name, p.end)
			return nil
		} else if !errors.Is(err, ErrRevision) {
			return err
		}
		if !pause(ctx, min(tries, 4)) {
			return fmt.Errorf("deleting the subscription %q: %w", name, ctx.Err())
		}
	}
}

// eraseLeft erases what is left of a subscription that was deleted while the store
// had no room for the marker that erasing begins with.
func (s *Subscriptions) eraseLeft(ctx context.Context, name string) {
	events, err := s.store.ReadReserved(ctx, parkingStream(name))
	if err != nil || len(events) == 0 {
		return
	}
	// Looked at after they were read: none of them is of one that was made since.
	if d, _, err := s.load(ctx, name); err == nil && d == nil {
		s.erase(ctx, name, events[len(events)-1].StreamVersion+1)
	}
}

// Parked is as the function backend.Parked says.
func (s *Subscriptions) Parked(ctx context.Context, name string) ([]backend.ParkedCommit, error) {
	d, _, err := s.mustLoad(ctx, name)
	if err != nil {
		return nil, err
	}
	p, err := s.readParking(ctx, name, d)
	if err != nil {
		return nil, err
	}
	commits := make([]backend.ParkedCommit, len(p.commits))
	for i := range p.commits {
		commits[i] = p.commits[i].commit()
	}
	return commits, nil
}

// ReplayParked is as the function backend.ReplayParked says.
func (s *Subscriptions) ReplayParked(ctx context.Context, name string, position uint64) error {
	return s.ask(ctx, name, position, false)
}

// DiscardParked is as the function backend.DiscardParked says.
func (s *Subscriptions) DiscardParked(ctx context.Context, name string, position uint64) error {
	return s.ask(ctx, name, position, true)
}

// ask asks for something about a parked commit.
func (s *Subscriptions) ask(ctx context.Context, name string, position uint64, discard bool) error {
	asked := false
	return s.change(ctx, name, func(d *document) error {
		p, err := s.readParking(ctx, name, d)
		if err != nil {
			return err
		}
		e := p.find(position)
		if e == nil && asked {
			return nil // it was done, and the answer was lost
		}
		if e == nil {
			return fmt.Errorf("%w: %q, position %d", backend.ErrNotParked, name, position)
		}
		if first := p.of(e.Stream)[0].Position; first != position && d.Options.OnPark == backend.HoldStream.String() {
			return fmt.Errorf("%w: position %d of event stream %q waits behind position %d", backend.ErrInvalidArgument, position, e.Stream, first)
		}
		d.Requests = slices.DeleteFunc(d.Requests, func(r request) bool { return r.Position == position }) // the last word counts
		if len(d.Requests) >= maxRequests {
			return fmt.Errorf("%w: %d requests about what %q has parked wait for its members", backend.ErrUnavailable, len(d.Requests), name)
		}
		d.Asked++
		d.Requests = append(d.Requests, request{Stream: e.Stream, Position: position, Discard: discard, Number: d.Asked})
		asked = true
		return nil
	})
}
