package backend

import (
	"context"
	"fmt"
	"time"
)

// SubscriptionInfo describes a named subscription.
type SubscriptionInfo struct {
	Name       string
	Stream     string   // as in [ConsumeOptions]
	Under      string   // as in [ConsumeOptions]
	EventTypes []string // as in [ConsumeOptions]

	// Position is up to where (inclusive) everything is dealt with.
	Position uint64

	// Behind is how many commits that it covers are stored after Position; some of
	// them may be dealt with. A commit too large for one message, and whatever else
	// is stored in the event streams, such as their deletion, may count, too.
	Behind uint64

	// OldestAge is how long ago the first of those was stored, by this process's
	// clock; 0: there is none.
	OldestAge time.Duration

	// Parked is how many commits are parked.
	Parked int

	Members []Member // in the order of their ids
}

// Member is one [Consume] of a named subscription.
type Member struct {
	ID         string    // made when it joined
	Name       string    // [ConsumeOptions.Member]
	Partitions int       // how many parts of the event streams are its
	SeenAt     time.Time // when it last told the store that it is alive, UTC, by its own clock
}

// SubscriptionManager is the capability to look after named subscriptions. Use it
// through [Subscriptions], [ResetSubscription] and [DeleteSubscription].
type SubscriptionManager interface {
	// Subscriptions is as the function [Subscriptions] says.
	Subscriptions(ctx context.Context) ([]SubscriptionInfo, error)

	// ResetSubscription is as the function [ResetSubscription] says.
	ResetSubscription(ctx context.Context, name string, position uint64) error

	// DeleteSubscription is as the function [DeleteSubscription] says.
	DeleteSubscription(ctx context.Context, name string) error
}

// Subscriptions describes every named subscription of the store, in the order of
// their names. It returns [ErrUnavailable] or [ErrUnsupported].
func Subscriptions(ctx context.Context, b Backend) ([]SubscriptionInfo, error) {
	m, ok := b.(SubscriptionManager)
	if !ok {
		return nil, fmt.Errorf("%w: %s named subscriptions", ErrUnsupported, b.BackendName())
	}
	return m.Subscriptions(ctx)
}

// ResetSubscription has a named subscription go on after position, forward or
// back; 0: from the beginning. Its members stop what they are at and start there.
// What is parked from after position on is forgotten, for it comes again.
//
// It returns [ErrSubscriptionNotFound], [ErrInvalidArgument] for an illegal
// name, [ErrUnavailable], [ErrOutcomeUnknown] or [ErrUnsupported].
func ResetSubscription(ctx context.Context, b Backend, name string, position uint64) error {
	m, ok := b.(SubscriptionManager)
	if !ok {
		return fmt.Errorf("%w: %s named subscriptions", ErrUnsupported, b.BackendName())
	}
	return m.ResetSubscription(ctx, name, position)
}

// DeleteSubscription forgets a named subscription, and what it has parked. Its
// members end with [ErrSubscriptionNotFound]. Where the store is full, what was
// parked keeps its room until the name is deleted once more, or used again.
//
// It returns [ErrSubscriptionNotFound], [ErrInvalidArgument] for an illegal
// name, [ErrUnavailable], [ErrOutcomeUnknown] or [ErrUnsupported].
func DeleteSubscription(ctx context.Context, b Backend, name string) error {
	m, ok := b.(SubscriptionManager)
	if !ok {
		return fmt.Errorf("%w: %s named subscriptions", ErrUnsupported, b.BackendName())
	}
	return m.DeleteSubscription(ctx, name)
}
