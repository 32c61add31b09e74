package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
)

// bucketName is the key-value bucket that holds the read model.
const bucketName = "GIT_FILES_CHANGED"

// row is a row of the read model: what an author did to a file on a day. Its key
// is made of these three. The changed files of an author and day are as many as
// there are rows of the two.
type row struct {
	Day     string `json:"day"`    // UTC, as in 2026-01-31
	Author  string `json:"author"` // e-mail address
	File    string `json:"file"`   // the name of its event stream
	Changes int    `json:"changes"`

	// Position is that of the last commit that Changes counts. What makes this right
	// whoever is killed is that the two are written together: a commit that comes
	// again, for it may, is recognised.
	Position uint64 `json:"position"`
}

// model is the read model, shared by all workers.
type model struct {
	rows natsjs.KeyValue
}

// openModel opens the read model, which it makes where it is missing.
func openModel(ctx context.Context, nc *nats.Conn) (*model, error) {
	js, err := natsjs.New(nc)
	if err != nil {
		return nil, err
	}
	rows, err := js.CreateOrUpdateKeyValue(ctx, natsjs.KeyValueConfig{
		Bucket:      bucketName,
		Description: "Files changed per author and day, made by examples/projection",
	})
	if err != nil {
		return nil, fmt.Errorf("opening the read model: %w", err)
	}
	return &model{rows}, nil
}

// handle is the handler of the subscription: it counts a commit. It may be called
// again for a commit that was counted, or half counted, by a worker that was
// killed.
func (m *model) handle(ctx context.Context, c backend.Commit) error {
	changes := map[string]row{} // by key; a commit has several events where they were imported together
	for _, e := range c.Events {
		r, err := rowOf(e)
		if err != nil {
			return err // the commit is parked, and shown as such, after some attempts
		}
		r.Changes += changes[r.key()].Changes
		changes[r.key()] = r
	}
	for key, r := range changes {
		if err := m.count(ctx, key, r); err != nil {
			return err
		}
	}
	return nil
}

// count adds to a row, which isn't there the first time, unless it counts the
// position already.
func (m *model) count(ctx context.Context, key string, add row) error {
	for {
		r := add
		var revision uint64
		entry, err := m.rows.Get(ctx, key)
		switch {
		case err == nil:
			var stored row
			if err := json.Unmarshal(entry.Value(), &stored); err != nil {
				return fmt.Errorf("row %s of the read model: %w", key, err)
			}
			if stored.Position >= add.Position {
				return nil
			}
			r.Changes += stored.Changes
			revision = entry.Revision()
		case !errors.Is(err, natsjs.ErrKeyNotFound):
			return err
		}
		value, err := json.Marshal(r)
		if err != nil {
			return err
		}
		// Only if nobody wrote it meanwhile: a worker that the others took for dead
		// may be at it, too, until it notices.
		if revision == 0 {
			_, err = m.rows.Create(ctx, key, value)
		} else {
			_, err = m.rows.Update(ctx, key, value, revision)
		}
		if !errors.Is(err, natsjs.ErrKeyExists) && !errors.Is(err, natsjs.ErrKeyRevisionMismatch) {
			return err
		}
	}
}

// rowOf is what one event adds to the read model. Of what examples/githistory
// writes it needs no more than this.
func rowOf(e backend.RecordedEvent) (row, error) {
	var who struct {
		Author string    `json:"author"`
		Email  string    `json:"email"`
		Time   time.Time `json:"time"`
	}
	if err := json.Unmarshal(e.Metadata, &who); err != nil {
		return row{}, fmt.Errorf("event stream %q, version %d: %w", e.StreamUUID, e.StreamVersion, err)
	}
	return row{
		Day:      who.Time.UTC().Format(time.DateOnly),
		Author:   strings.ToLower(cmp.Or(who.Email, who.Author)),
		File:     e.StreamUUID,
		Changes:  1,
		Position: e.Position,
	}, nil
}

// key is the row's key. Names are of any length and have characters that keys can't
// have, so it has their hashes; the day stands as it is, so that one can look at
// the rows of a day: nats kv watch GIT_FILES_CHANGED '2026-01-31.>'.
func (r row) key() string { return r.Day + "." + hashed(r.Author) + "." + hashed(r.File) }

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
