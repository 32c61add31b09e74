package backend

import (
	"context"
	"fmt"
)

// Checkpoint keeps a position, for those who follow a store with [Subscribe] and
// have no database of their own to keep it in. Where there is one, keep the
// position in the same transaction as what was made of the events: that, and only
// that, gives effects that happen exactly once. A Checkpoint is saved before or
// after them.
//
// Its methods may not be called concurrently.
type Checkpoint interface {
	// Load returns the position that was saved last; 0: none was. It returns
	// [ErrUnavailable].
	Load(ctx context.Context) (position uint64, err error)

	// Save keeps position, which may be lower than the last. It returns
	// [ErrCheckpointMoved] where someone else saved since this Checkpoint was
	// loaded or saved, or ever, where it was neither, and keeps what that saved;
	// [ErrUnavailable] or [ErrOutcomeUnknown].
	Save(ctx context.Context, position uint64) error
}

// Checkpointer is the capability to keep checkpoints. Use it through
// [OpenCheckpoint].
type Checkpointer interface {
	// OpenCheckpoint is as the function [OpenCheckpoint] says.
	OpenCheckpoint(ctx context.Context, name string) (Checkpoint, error)
}

// OpenCheckpoint returns the checkpoint of that name, whose names are a set of
// their own, and made of what [CheckSubscriptionName] allows. It comes to be when
// it is first saved.
//
// It returns [ErrInvalidArgument] for an illegal name, [ErrUnavailable] or
// [ErrUnsupported].
func OpenCheckpoint(ctx context.Context, b Backend, name string) (Checkpoint, error) {
	c, ok := b.(Checkpointer)
	if !ok {
		return nil, fmt.Errorf("%w: %s checkpoints", ErrUnsupported, b.BackendName())
	}
	return c.OpenCheckpoint(ctx, name)
}
