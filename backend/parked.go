package backend

import (
	"context"
	"fmt"
	"time"
)

// ParkedCommit is a [Commit] that a named subscription has put aside: all events of
// the event stream that share its position.
type ParkedCommit struct {
	StreamUUID   string    // the event stream
	Position     uint64    // of the commit, by which it is replayed or discarded
	FirstVersion uint64    // of its events
	LastVersion  uint64    // of its events
	Attempts     int       // how often the handler was called for it; 0: it waits behind another
	Error        string    // the handler's last error, or what it panicked with, or why it wasn't called; at most 4 KiB
	Stack        string    // where it panicked, at most 16 KiB; empty: it returned an error
	ParkedAt     time.Time // UTC, by the member's clock
	Member       string    // the member that parked it
}

// Parker is the capability to look after parked commits. Use it through [Parked],
// [ReplayParked] and [DiscardParked].
type Parker interface {
	// Parked is as the function [Parked] says.
	Parked(ctx context.Context, name string) ([]ParkedCommit, error)

	// ReplayParked is as the function [ReplayParked] says.
	ReplayParked(ctx context.Context, name string, position uint64) error

	// DiscardParked is as the function [DiscardParked] says.
	DiscardParked(ctx context.Context, name string, position uint64) error
}

// Parked lists the commits that a named subscription has parked, in position
// order. They are kept in an event stream of the store's own, whose name starts
// with "$", and which reads and subscriptions pass over.
//
// It returns [ErrSubscriptionNotFound], [ErrInvalidArgument] for an illegal
// name, [ErrUnavailable] or [ErrUnsupported].
func Parked(ctx context.Context, b Backend, name string) ([]ParkedCommit, error) {
	p, ok := b.(Parker)
	if !ok {
		return nil, fmt.Errorf("%w: %s parked commits", ErrUnsupported, b.BackendName())
	}
	return p.Parked(ctx, name)
}

// ReplayParked asks the members of a named subscription to handle the parked
// commit at position again, and returns when the request is stored; it is carried
// out by the member that handles the event stream, as soon as there is one. The
// commit is no longer parked when it was handled, and parked again when that
// failed, or when it can't be read any more. With [HoldStream], it has to be the
// first that is parked of its event stream, and when it was handled those behind it
// follow, until one fails.
//
// It returns [ErrNotParked], [ErrSubscriptionNotFound], [ErrInvalidArgument] for
// an illegal name and for a commit that isn't the first, [ErrUnavailable], also
// where 256 requests already wait for members, [ErrOutcomeUnknown] or
// [ErrUnsupported].
func ReplayParked(ctx context.Context, b Backend, name string, position uint64) error {
	p, ok := b.(Parker)
	if !ok {
		return fmt.Errorf("%w: %s parked commits", ErrUnsupported, b.BackendName())
	}
	return p.ReplayParked(ctx, name, position)
}

// DiscardParked asks the members of a named subscription to forget the parked
// commit at position, as [ReplayParked] asks them to handle it, with the same
// errors. With [HoldStream], those behind it follow. Until all commits before it
// are dealt with, it may come again when its event stream changes hands, as others
// may.
func DiscardParked(ctx context.Context, b Backend, name string, position uint64) error {
	p, ok := b.(Parker)
	if !ok {
		return fmt.Errorf("%w: %s parked commits", ErrUnsupported, b.BackendName())
	}
	return p.DiscardParked(ctx, name, position)
}
