package jetstream

import (
	"context"
	"sync"
	"time"
)

// boundedContext is a context without a deadline that is given one. Unlike that
// of [context.WithDeadline] it has no timer until somebody waits for its end;
// mostly nobody does, for who waits for an answer looks at the deadline now and
// then, and an append is shorter by two hundredths.
type boundedContext struct {
	context.Context
	deadline time.Time

	mu     sync.Mutex
	timed  context.Context // nil: nobody has waited yet
	cancel context.CancelFunc
	ended  bool
}

func (c *boundedContext) Deadline() (time.Time, bool) { return c.deadline, true }

func (c *boundedContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.ended {
			c.cancel()
		}
	}
	return c.timed.Done()
}

func (c *boundedContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.timed != nil:
		return c.timed.Err()
	case c.Context.Err() != nil:
		return c.Context.Err()
	case c.ended:
		return context.Canceled
	case time.Until(c.deadline) <= 0:
		return context.DeadlineExceeded
	}
	return nil
}

// end is its [context.CancelFunc].
func (c *boundedContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}

// within returns a context that ends with ctx, and after wait at the latest.
func within(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	deadline := time.Now().Add(wait)
	if bounded, ok := ctx.(*boundedContext); ok { // whose only other end is its deadline
		ctx = bounded.Context
		if bounded.deadline.Before(deadline) {
			deadline = bounded.deadline
		}
	}
	return context.WithDeadline(ctx, deadline)
}

// ends returns what tells that ctx has ended, but for a deadline that the checks
// of those who wait for an answer will see.
func ends(ctx context.Context) <-chan struct{} {
	if bounded, ok := ctx.(*boundedContext); ok {
		ctx = bounded.Context
	}
	return ctx.Done()
}
