// Package upgradetest opens stores that earlier versions of the library, and of
// the server, wrote, and checks that they are read as they were and go on.
//
// Each directory in testdata is a store: the server's snapshot of the JetStream
// stream, and what the version that wrote it read. A directory there is never
// changed. A version that can store what no earlier one could adds another:
//
//	go test ./internal/upgradetest -run TestMakeStore -make store-v2
package upgradetest

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

// directories are those of the stored stores.
func directories(t *testing.T) []string {
	dirs, err := filepath.Glob("testdata/store-*")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no stores: %v", err)
	}
	return dirs
}

// stores calls f with each stored store, restored on a server of its own, and
// what it was when it was stored.
func stores(t *testing.T, f func(t *testing.T, b *jetstream.Backend, want description, text string)) {
	for _, dir := range directories(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			s, text := load(t, dir)
			nc := testserver.Single(t).Connect(t)
			s.restore(t, nc, jetstream.DefaultStream)
			b, err := jetstream.Open(t.Context(), nc, jetstream.Config{})
			if err != nil {
				t.Fatal(err)
			}
			var want description
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			f(t, b, want, string(text))
		})
	}
}

// What isn't stored isn't tested.
func TestAStoreHasEverythingThatCanBeStored(t *testing.T) {
	found := make(map[string]bool)
	for _, dir := range directories(t) {
		nc := testserver.Single(t).Connect(t)
		s, text := load(t, dir)
		s.restore(t, nc, jetstream.DefaultStream)
		var want description
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		js, err := natsjs.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := js.Stream(t.Context(), jetstream.DefaultStream)
		if err != nil {
			t.Fatal(err)
		}
		for position := uint64(1); position <= stored.CachedInfo().State.LastSeq; position++ {
			msg, err := stored.GetMsg(t.Context(), position)
			if errors.Is(err, natsjs.ErrMsgNotFound) {
				continue // what followed has replaced it
			}
			if err != nil {
				t.Fatal(err)
			}
			for name := range msg.Header {
				found[name] = true
			}
			found[msg.Header.Get(wireCommit)] = true
		}
		for _, s := range want.Streams {
			found[s.State] = true
		}
	}
	for _, what := range []string{
		"1 events", "1 created", "1 soft-deleted", "1 restored", "1 truncated", "1 erased",
		wireCommit, "Trib-Version", "Trib-Stream", "Trib-First", "Trib-Deleted", "Trib-Id", "Trib-Type", "Trib-Created", "Trib-Causation",
		"Trib-Correlation", "Trib-Metadata", "Trib-Size", "Trib-Part", "Trib-Chain", "Nats-Rollup", "Nats-Batch-Id",
		"exists", "soft-deleted", "not found",
	} {
		if !found[what] {
			t.Errorf("no stored store has %q", what)
		}
	}
}

// wireCommit says of a message what it is (docs/FORMAT.md).
const wireCommit = "Trib-Commit"

func (d description) names() []string {
	var names []string
	for _, s := range d.Streams {
		names = append(names, s.Name)
	}
	return names
}

func TestAStoreIsReadAsItWas(t *testing.T) {
	stores(t, func(t *testing.T, b *jetstream.Backend, want description, text string) {
		got := describe(t, b, want.names()).text(t)
		if got == text {
			return
		}
		gotLines, wantLines := strings.Split(got, "\n"), strings.Split(text, "\n")
		for i := range min(len(gotLines), len(wantLines)) {
			if gotLines[i] != wantLines[i] {
				t.Fatalf("line %d of %s is now\n%s\nand was\n%s", i+1, wantFile, gotLines[i], wantLines[i])
			}
		}
		t.Fatalf("%d lines, want %d", len(gotLines), len(wantLines))
	})
}

func TestAStoreGoesOn(t *testing.T) {
	stores(t, func(t *testing.T, b *jetstream.Backend, want description, _ string) {
		last := want.All[len(want.All)-1].Position
		for _, s := range want.Streams {
			if s.State == "soft-deleted" {
				if err := backend.Restore(t.Context(), b, s.Name, uuid.Nil); err != nil {
					t.Errorf("restoring %q: %v", s.Name, err)
				}
			}
			res, err := backend.Append(t.Context(), b, s.Name, backend.ExactVersion(s.Version), plain(2), uuid.Nil)
			if err != nil || res.Version != s.Version+2 || res.Position <= last {
				t.Errorf("appending to %q at version %d: %+v, %v", s.Name, s.Version, res, err)
			}
			after := describeStream(t, b, s.Name)
			n := len(after.Events)
			if n < len(s.Events)+2 || len(s.Events) > 0 && !reflect.DeepEqual(after.Events[:n-2], s.Events) {
				t.Errorf("%q has other events than before, and the two that were appended: %+v", s.Name, after.Events)
			}
			if after.State != "exists" || after.Version != s.Version+2 || s.ID != 0 && after.ID != s.ID {
				t.Errorf("%q was %+v and is %+v", s.Name, s, after)
			}
			if err := b.DeleteStream(t.Context(), backend.Stream{UUID: s.Name, Version: after.Version}, uuid.Nil); err != nil {
				t.Errorf("deleting %q: %v", s.Name, err)
			}
		}
		for batch, err := range backend.ReadAll(t.Context(), b, backend.ReadAllOptions{}, uuid.Nil) {
			t.Fatalf("%v, %v after all was deleted", batch, err)
		}
	})
}

// A command that is repeated after an upgrade is recognised by its events' ids.
func TestAnAppendOfBeforeIsRecognised(t *testing.T) {
	stores(t, func(t *testing.T, b *jetstream.Backend, want description, _ string) {
		for _, s := range want.Streams {
			for _, e := range s.Events {
				again := []backend.UnsavedEvent{{EventUUID: e.ID, EventType: "Repeated"}}
				res, err := backend.Append(t.Context(), b, s.Name, backend.ExactVersion(e.Version-1), again, uuid.Nil)
				if err != nil || res.Version != e.Version || res.Position != e.Position {
					t.Errorf("version %d of %q again: %+v, %v, want position %d", e.Version, s.Name, res, err, e.Position)
				}
			}
		}
	})
}
