package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	natsjs "github.com/nats-io/nats.go/jetstream"
)

// total is what an author did on a day.
type total struct {
	day     string
	author  string
	files   int // that were changed
	changes int // a file counts as often as it was changed
}

// totals adds the rows of the read model up, as they change.
type totals struct {
	mu      sync.Mutex
	of      map[[2]string]*total // by day and author
	counted map[string]int       // changes, by row
	files   int
	changes int
}

// errWatch comes where the connection is closed.
var errWatch = errors.New("watching the read model: the subscription has ended")

// watch adds up the rows that there are, and, once it has returned, those that
// change, until ctx ends; failed is told why, if it ends before.
func (m *model) watch(ctx context.Context, failed func(error)) (*totals, error) {
	w, err := m.rows.WatchAll(ctx, natsjs.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("watching the read model: %w", err)
	}
	t := &totals{of: map[[2]string]*total{}, counted: map[string]int{}}
	for entry := range w.Updates() {
		if entry == nil { // these were all
			go func() {
				for entry := range w.Updates() {
					if err := t.add(entry); err != nil {
						failed(err)
						return
					}
				}
				if ctx.Err() == nil {
					failed(errWatch)
				}
			}()
			return t, nil
		}
		if err := t.add(entry); err != nil {
			_ = w.Stop()
			return nil, err
		}
	}
	return nil, cmp.Or(ctx.Err(), errWatch)
}

// add takes notice of a row that is new or has changed.
func (t *totals) add(entry natsjs.KeyValueEntry) error {
	var r row
	if err := json.Unmarshal(entry.Value(), &r); err != nil {
		return fmt.Errorf("row %s of the read model: %w", entry.Key(), err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.of[[2]string{r.Day, r.Author}]
	if of == nil {
		of = &total{day: r.Day, author: r.Author}
		t.of[[2]string{r.Day, r.Author}] = of
	}
	before, known := t.counted[entry.Key()]
	t.counted[entry.Key()] = r.Changes
	if !known {
		of.files++
		t.files++
	}
	of.changes += r.Changes - before
	t.changes += r.Changes - before
	return nil
}

// all returns the totals, those with the most files first.
func (t *totals) all() []total {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]total, 0, len(t.of))
	for _, of := range t.of {
		all = append(all, *of)
	}
	slices.SortFunc(all, func(a, b total) int {
		return cmp.Or(cmp.Compare(b.files, a.files), cmp.Compare(b.changes, a.changes), cmp.Compare(a.day, b.day), cmp.Compare(a.author, b.author))
	})
	return all
}
