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
	for tries := 0; ; tries++ {
		revision, err := c.store.Save(ctx, c.key, []byte(want), c.revision)
		if err == nil {
			c.revision = revision
			return nil
		}
		if !errors.Is(err, ErrRevision) {
			if tries > 0 { // what was sent before may yet come
				err = fmt.Errorf("%w: %v", backend.ErrOutcomeUnknown, err)
			}
			return err
		}
		value, now, err := c.store.Load(ctx, c.key)
		if err != nil {
			return fmt.Errorf("%w: %v", backend.ErrOutcomeUnknown, err)
		}
		switch _, id, _ := strings.Cut(string(value), " "); {
		case string(value) == want: // its answer was lost
			c.revision = now
			return nil
		case now == c.revision: // it was lost
		case id == c.id: // it is one whose answer was lost, before this
			c.revision = now
		default:
			return fmt.Errorf("%w: it has %q", backend.ErrCheckpointMoved, value)
		}
		if !pause(ctx, min(tries, 4)) {
			return fmt.Errorf("%w: saving the checkpoint %s: %v", backend.ErrOutcomeUnknown, c.key, ctx.Err())
		}
	}
}
