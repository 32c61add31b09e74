package durable

import (
	"context"
	"errors"
	"fmt"

	"github.com/tributary-es/tributary/backend"
)

// keyPrefix begins the key of a subscription's document.
const keyPrefix = "subscription."

// load returns a subscription's document; nil: there is no such subscription.
func (s *Subscriptions) load(ctx context.Context, name string) (*document, uint64, error) {
	value, revision, err := s.store.Load(ctx, keyPrefix+name)
	if err != nil || revision == 0 {
		return nil, 0, err
	}
	d, err := decodeDocument(name, value)
	return d, revision, err
}

// mustLoad is load for a subscription that must exist.
func (s *Subscriptions) mustLoad(ctx context.Context, name string) (*document, uint64, error) {
	if err := backend.CheckSubscriptionName(name); err != nil {
		return nil, 0, err
	}
	d, revision, err := s.load(ctx, name)
	if err == nil && d == nil {
		err = fmt.Errorf("%w: %q", backend.ErrSubscriptionNotFound, name)
	}
	return d, revision, err
}

// save stores a document where it still has the revision, else [ErrRevision].
func (s *Subscriptions) save(ctx context.Context, name string, d *document, revision uint64) (uint64, error) {
	value, err := d.encode()
	if err != nil {
		return 0, err
	}
	return s.store.Save(ctx, keyPrefix+name, value, revision)
}

// update changes a subscription's document, and returns it as it then is. change
// is given the document as it is stored, nil where there is none, and is called
// again where someone else changed it meanwhile, or it may have been changed
// already. It returns backend.ErrOutcomeUnknown where that could not be found out.
func (s *Subscriptions) update(ctx context.Context, name string, change func(*document) (*document, error)) (*document, uint64, error) {
	open := false // whether a change may be stored, or may yet be
	failed := func(err error) error {
		if open {
			return fmt.Errorf("%w: changing the subscription %q: %v", backend.ErrOutcomeUnknown, name, err)
		}
		return fmt.Errorf("changing the subscription %q: %w", name, err)
	}
	for tries := 0; ; tries++ {
		d, revision, err := s.load(ctx, name)
		if err != nil {
			return nil, 0, failed(err)
		}
		if d, err = change(d); err != nil {
			return nil, 0, err
		}
		if revision, err = s.save(ctx, name, d, revision); err == nil {
			return d, revision, nil
		}
		if !errors.Is(err, ErrRevision) {
			return nil, 0, failed(err)
		}
		open = errors.Is(err, backend.ErrOutcomeUnknown)
		if !pause(ctx, min(tries, 4)) {
			return nil, 0, failed(ctx.Err())
		}
	}
}
