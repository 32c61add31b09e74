package upgradetest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/internal/testserver"
	"github.com/tributary-es/tributary/jetstream"
)

var makeStore = flag.String("make", "", "write a store with this version, into a new directory testdata/`name`")

// names are the event streams of the store, whatever became of them.
var names = []string{
	"single", "several", "created", "soft-deleted", "restored", "erased", "begun-again", "truncated", "truncated-to-the-end",
	"truncated-and-gone-on", "parts", "large", "long", "text", "ids", "hostile.*.>..%2A.\uFFFD.", "never",
}

// writing fills the store. Whatever can be stored is in it; add to it what a later
// version can store in addition.
type writing struct {
	t   *testing.T
	ctx context.Context
	b   *jetstream.Backend
}

func (w writing) append(name string, events ...backend.UnsavedEvent) {
	w.t.Helper()
	if _, err := backend.Append(w.ctx, w.b, name, backend.AnyVersion(), events, uuid.Nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w writing) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func plain(n int) []backend.UnsavedEvent {
	events := make([]backend.UnsavedEvent, n)
	for i := range events {
		events[i] = backend.UnsavedEvent{EventType: "Happened", Data: fmt.Appendf(nil, `{"n":%d}`, i)}
	}
	return events
}

func (w writing) everything(onePerMessage *jetstream.Backend) {
	b, ctx := w.b, w.ctx
	any := backend.AnyVersion()
	w.append("single", plain(1)...)
	w.append("several", plain(3)...)
	w.append("several", plain(1)...)
	w.append("several", plain(12)...)
	_, err := b.CreateStream(ctx, backend.Stream{UUID: "created", CreatedAt: time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)}, uuid.Nil)
	w.must(err)
	for _, name := range []string{"soft-deleted", "restored", "erased", "begun-again", "truncated", "truncated-to-the-end", "truncated-and-gone-on"} {
		for range 5 {
			w.append(name, plain(2)...)
		}
	}
	w.must(backend.SoftDelete(ctx, b, "soft-deleted", any, uuid.Nil))
	w.must(backend.SoftDelete(ctx, b, "restored", any, uuid.Nil))
	w.must(backend.Restore(ctx, b, "restored", uuid.Nil))
	w.append("restored", plain(2)...)
	w.must(b.DeleteStream(ctx, backend.Stream{UUID: "erased"}, uuid.Nil))
	w.must(b.DeleteStream(ctx, backend.Stream{UUID: "begun-again"}, uuid.Nil))
	w.append("begun-again", plain(1)...)
	w.must(backend.Truncate(ctx, b, "truncated", 6, uuid.Nil)) // within a commit
	w.must(backend.Truncate(ctx, b, "truncated-to-the-end", 100, uuid.Nil))
	w.must(backend.Truncate(ctx, b, "truncated-and-gone-on", 100, uuid.Nil))
	w.append("truncated-and-gone-on", plain(2)...)

	_, err = backend.Append(ctx, onePerMessage, "parts", backend.NoStream(), plain(4), uuid.Nil) // begins the event stream
	w.must(err)
	_, err = backend.Append(ctx, onePerMessage, "parts", backend.ExactVersion(4), plain(3), uuid.Nil)
	w.must(err)
	large := plain(4)
	for i := range large {
		large[i].Data = bytes.Repeat([]byte{byte('a' + i)}, 30_000)
		large[i].Metadata = bytes.Repeat([]byte{'m'}, 16<<10)
	}
	w.append("large", large...)
	for range 80 {
		w.append("long", plain(1)...)
	}
	for _, text := range []string{"a, b", " blanks ", "line\r\nNats-Rollup: all", "%41 100%", "\x00\x1f\x7f\u0085\u2028", "\xff\xfe no UTF-8", "振替 🎉", "\ufeff"} {
		w.append("text",
			backend.UnsavedEvent{EventType: text, Data: []byte(text), Metadata: []byte(text)},
			backend.UnsavedEvent{EventType: "T" + text},
			backend.UnsavedEvent{EventType: text, Data: []byte("\n"), Metadata: []byte(`{"n":[1,2]}`)})
		w.append("text", backend.UnsavedEvent{EventType: text, Metadata: []byte(text)})
	}
	id := uuid.MustParse("0198c2d0-7a1b-7000-8000-000000000001")
	w.append("ids", backend.UnsavedEvent{EventType: "A", EventUUID: id, CausationID: id, CorrelationID: id, CreatedAt: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)})
	w.append("ids", backend.UnsavedEvent{EventType: "B", CreatedAt: time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)},
		backend.UnsavedEvent{EventType: "C", CausationID: id})
	w.append("hostile.*.>..%2A.\uFFFD.", plain(2)...)
}

func TestMakeStore(t *testing.T) {
	if *makeStore == "" {
		t.Skip("only with -make")
	}
	// With a small payload, so that little is a commit of several messages.
	nc := testserver.Single(t, testserver.MaxPayload(64<<10)).Connect(t)
	open := func(cfg jetstream.Config) *jetstream.Backend {
		b, err := jetstream.Open(t.Context(), nc, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open(jetstream.Config{})
	writing{t, t.Context(), b}.everything(open(jetstream.Config{EventsPerMessage: 1}))
	s := take(t, nc, jetstream.DefaultStream)
	want := describe(t, open(jetstream.Config{}), names).text(t)

	dir := filepath.Join("testdata", *makeStore)
	if err := os.Mkdir(dir, 0o755); err != nil { // what is there is never written again
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{streamFile: s.stream, snapshotFile: s.data, wantFile: []byte(want)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
