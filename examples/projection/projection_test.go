package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/examples/internal/localnats"
	"github.com/tributary-es/tributary/internal/testserver"
)

func newModel(t *testing.T) *model {
	t.Helper()
	m, err := openModel(t.Context(), testserver.Single(t).Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// stored reads the read model: the changes by row.
func (m *model) stored(t *testing.T) map[row]int {
	t.Helper()
	w, err := m.rows.WatchAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	changes := map[row]int{}
	for entry := range w.Updates() {
		if entry == nil {
			break
		}
		var r row
		if err := json.Unmarshal(entry.Value(), &r); err != nil {
			t.Fatal(err)
		}
		if entry.Key() != r.key() {
			t.Errorf("the row %+v has the key %s", r, entry.Key())
		}
		n := r.Changes
		r.Changes, r.Position = 0, 0
		changes[r] += n
	}
	return changes
}

// stored opens a store's directory and reads the read model in it.
func stored(t *testing.T, dir string) map[row]int {
	t.Helper()
	t.Setenv(localnats.URLVariable, "")
	nc, stop, err := localnats.Connect(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	m, err := openModel(t.Context(), nc)
	if err != nil {
		t.Fatal(err)
	}
	return m.stored(t)
}

func wantSame(t *testing.T, got, want map[row]int) {
	t.Helper()
	if maps.Equal(got, want) {
		return
	}
	t.Errorf("the read model has %d rows, git %d", len(got), len(want))
	shown := 0
	for r := range maps.All(merged(got, want)) {
		if got[r] != want[r] && shown < 5 {
			t.Errorf("%+v: %d changes, git has %d", r, got[r], want[r])
			shown++
		}
	}
}

func merged(a, b map[row]int) map[row]int {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func changeOf(file, day string, position uint64) backend.RecordedEvent {
	return backend.RecordedEvent{StreamUUID: file, Position: position,
		Metadata: fmt.Appendf(nil, `{"author":"Ann","email":"Ann@example.org","time":"%sT23:30:00-01:00"}`, day)}
}

func TestACommitIsCountedOnce(t *testing.T) {
	m := newModel(t)
	one := backend.Commit{Position: 7, Events: []backend.RecordedEvent{
		changeOf("git.k.a", "2025-12-31", 7), changeOf("git.k.a", "2025-12-31", 7), changeOf("git.k.a", "2026-01-02", 7),
	}}
	two := backend.Commit{Position: 9, Events: []backend.RecordedEvent{changeOf("git.k.a", "2025-12-31", 9)}}
	want := map[row]int{
		{Day: "2026-01-01", Author: "ann@example.org", File: "git.k.a"}: 2,
		{Day: "2026-01-03", Author: "ann@example.org", File: "git.k.a"}: 1,
	}
	handle := func(c backend.Commit) {
		t.Helper()
		if err := m.handle(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	// Killed after the first of its two rows.
	if err := m.handle(t.Context(), backend.Commit{Position: 7, Events: one.Events[:2]}); err != nil {
		t.Fatal(err)
	}
	handle(one)
	wantSame(t, m.stored(t), want)
	handle(two)
	handle(one) // by one who was taken for dead
	handle(two)
	want[row{Day: "2026-01-01", Author: "ann@example.org", File: "git.k.a"}]++
	wantSame(t, m.stored(t), want)
}

func TestTwoWhoCountTheSameRowLoseNothing(t *testing.T) {
	m := newModel(t)
	const commits, of = 30, 4
	done := make(chan error)
	for range of {
		go func() {
			for position := range uint64(commits) {
				c := backend.Commit{Events: []backend.RecordedEvent{changeOf("git.k.a", "2026-01-01", position+1)}}
				if err := m.handle(context.Background(), c); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range of {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	wantSame(t, m.stored(t), map[row]int{{Day: "2026-01-02", Author: "ann@example.org", File: "git.k.a"}: commits})
}

func TestTotalsFollowTheRows(t *testing.T) {
	m := newModel(t)
	count := func(file string, position uint64) {
		t.Helper()
		if err := m.handle(t.Context(), backend.Commit{Events: []backend.RecordedEvent{changeOf(file, "2026-01-01", position)}}); err != nil {
			t.Fatal(err)
		}
	}
	count("git.k.a", 1)
	count("git.k.b", 2)
	totals, err := m.watch(t.Context(), func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	count("git.k.a", 3)
	count("git.k.c", 4)
	want := total{day: "2026-01-02", author: "ann@example.org", files: 3, changes: 4}
	deadline := time.Now().Add(time.Minute)
	for {
		all := totals.all()
		if len(all) == 1 && all[0] == want {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %+v, want %+v", all, want)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestARowThatCannotBeReadIsAnError(t *testing.T) {
	m := newModel(t)
	if err := m.handle(t.Context(), backend.Commit{Events: []backend.RecordedEvent{{Metadata: []byte("?")}}}); err == nil {
		t.Error("metadata of another kind was counted")
	}
	e := changeOf("git.k.a", "2026-01-01", 1)
	r, err := rowOf(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.rows.PutString(t.Context(), r.key(), "?"); err != nil {
		t.Fatal(err)
	}
	if err := m.handle(t.Context(), backend.Commit{Events: []backend.RecordedEvent{e}}); err == nil {
		t.Error("a row that isn't one was written over")
	}
	if _, err := m.watch(t.Context(), func(error) {}); err == nil {
		t.Error("a row that isn't one was added up")
	}
}
