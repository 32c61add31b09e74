package durable

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

// Checkpoint is a backend.Checkpoint: the value of a key that holds a position, a
// space, and the id of the holder that saved it last. Without that, one whose
// answer was lost and another that saved the same position would look alike.
type Checkpoint struct {
	store    Store
	key      string
	id       string
	revision uint64 // when it was last loaded or saved; 0: it wasn't, or there was none
}

// NewCheckpoint returns the checkpoint that is kept under a key.
func NewCheckpoint(store Store, key string) *Checkpoint {
	return &Checkpoint{store: store, key: key, id: uuid.NewString()}
}

// Load is as backend.Checkpoint says.
func (c *Checkpoint) Load(ctx context.Context) (uint64, error) {
	value, revision, err := c.store.Load(ctx, c.key)
	if err != nil {
		return 0, err
	}
	var position uint64
	if revision != 0 {
		saved, _, _ := strings.Cut(string(value), " ")
		if position, err = strconv.ParseUint(saved, 10, 64); err != nil {
			return 0, &backend.CorruptedError{Reason: "the checkpoint " + c.key + " is no position", Err: err}
		}
	}
	c.revision = revision
	return position, nil
}

// Save is as backend.Checkpoint says.
func (c *Checkpoint) Save(ctx context.Context, position uint64) error {
	want := strconv.FormatUint(position, 10) + " " + c.id
	revision, err := c.store.Save(ctx, c.key, []byte(want), c.revision)
	if errors.Is(err, ErrRevision) {
		// It may be this one that was saved, and its answer that was lost.
		value, now, loadErr := c.store.Load(ctx, c.key)
		if loadErr != nil {
			return fmt.Errorf("%w: %w", backend.ErrOutcomeUnknown, loadErr)
		}
		if string(value) != want {
			return fmt.Errorf("%w: it has %s", backend.ErrCheckpointMoved, value)
		}
		revision, err = now, nil
	}
	if err != nil {
		return err
	}
	c.revision = revision
	return nil
}
