package memory

import (
	"context"
	"fmt"

	"github.com/tributary-es/tributary/backend"
)

// OpenCheckpoint is as [backend.OpenCheckpoint] says.
func (b *Backend) OpenCheckpoint(ctx context.Context, name string) (backend.Checkpoint, error) {
	if err := backend.CheckSubscriptionName(name); err != nil {
		return nil, err
	}
	if err := b.checkBetweenBatches(ctx); err != nil {
		return nil, err
	}
	return &checkpoint{b: b, name: name}, nil
}

// savedCheckpoint is what is kept of a checkpoint.
type savedCheckpoint struct {
	position uint64
	revision uint64 // counts the times that it was saved
}

// checkpoint is one holder's view of a checkpoint.
type checkpoint struct {
	b        *Backend
	name     string
	revision uint64 // when it was last loaded or saved here; 0: it was not saved
}

// Load is as [backend.Checkpoint] says.
func (c *checkpoint) Load(ctx context.Context) (uint64, error) {
	if err := checkContext(ctx); err != nil {
		return 0, err
	}
	c.b.mu.RLock()
	defer c.b.mu.RUnlock()
	if err := c.b.open(); err != nil {
		return 0, err
	}
	saved := c.b.checkpoints[c.name]
	c.revision = saved.revision
	return saved.position, nil
}

// Save is as [backend.Checkpoint] says.
func (c *checkpoint) Save(ctx context.Context, position uint64) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if err := c.b.open(); err != nil {
		return err
	}
	saved := c.b.checkpoints[c.name]
	if saved.revision != c.revision {
		return fmt.Errorf("%w: %q, at position %d", backend.ErrCheckpointMoved, c.name, saved.position)
	}
	c.revision++
	c.b.checkpoints[c.name] = savedCheckpoint{position: position, revision: c.revision}
	return nil
}
