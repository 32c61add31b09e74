package main

import (
	"context"
	"errors"

	"github.com/tributary-es/tributary/backend"
)

// untilDone waits until the workers have dealt with all that is stored now.
func untilDone(ctx context.Context, b backend.Backend) error {
	end, err := endOf(ctx, b)
	if err != nil {
		return err
	}
	for {
		err := backend.WaitFor(ctx, b, subscription, end)
		if !errors.Is(err, backend.ErrSubscriptionNotFound) || ctx.Err() != nil {
			return err
		}
		// The first worker is yet to make it, and takes its time.
	}
}

// endOf returns the position at which the store ends: a subscription from now on
// tells it at once. A command that appends something needn't ask, for the
// append's result has its position.
func endOf(ctx context.Context, b backend.Backend) (uint64, error) {
	for batch, err := range backend.Subscribe(ctx, b, backend.SubscribeOptions{From: backend.FromNow()}) {
		return batch.Position, err
	}
	return 0, ctx.Err()
}
