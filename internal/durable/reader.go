package durable

import (
	"context"
	"errors"
	"fmt"

	"github.com/tributary-es/tributary/backend"
)

// readBatch is how many events are read at a time.
const readBatch = 128

// reader reads what a subscription covers, beside the term's loop.
type reader struct {
	batches chan fetched
	cancel  context.CancelFunc
	done    chan struct{}
}

// fetched is a batch, or the error that ends the reading.
type fetched struct {
	batch backend.Batch
	err   error
}

// read begins to read after a position.
func (t *term) read(after uint64) *reader {
	ctx, cancel := context.WithCancel(t.ctx)
	r := &reader{batches: make(chan fetched, 1), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for tries := 0; ; tries++ {
			options := backend.SubscribeOptions{
				Stream: t.options.Stream, Under: t.options.Under, EventTypes: t.options.EventTypes,
				From: backend.AfterPosition(after), BatchSize: readBatch,
			}
			for batch, err := range t.s.store.Follow(ctx, options, t.partitions.has) {
				if err != nil {
					if ctx.Err() != nil {
						return
					}
					if errors.Is(err, backend.ErrUnavailable) && !t.s.store.Final(err) {
						t.s.log.DebugContext(ctx, "reading again", "subscription", t.name, "after", after, "error", err)
						break
					}
					select {
					case r.batches <- fetched{err: fmt.Errorf("reading after position %d: %w", after, err)}:
					case <-ctx.Done():
					}
					return
				}
				select {
				case r.batches <- fetched{batch: batch}:
					after, tries = batch.Position, 0
				case <-ctx.Done():
					return
				}
			}
			if !pause(ctx, tries) {
				return
			}
		}
	}()
	return r
}

// stop ends the reading. What was read and not taken is dropped.
func (r *reader) stop() {
	r.cancel()
	<-r.done
}
