package wire

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
)

var update = flag.Bool("update", false, "write the golden files that are missing")

// goldenMessage is a file testdata/<name>.msg: header lines, an empty line, and
// the body, to the end.
type goldenMessage struct{ name, text string }

func goldenMessages(tb testing.TB) []goldenMessage {
	paths, err := filepath.Glob("testdata/*.msg")
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no golden files: %v", err)
	}
	var all []goldenMessage
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, goldenMessage{strings.TrimSuffix(filepath.Base(path), ".msg"), string(text)})
	}
	return all
}

func (g goldenMessage) decode() (Record, error) {
	text, body, _ := strings.Cut(g.text, "\n\n")
	return Decode(parseHeader(text), []byte(body))
}

// What is written now is what has been written: readers in other languages
// needn't know more than the files.
func TestMessagesAreWrittenAsEver(t *testing.T) {
	all := map[string]func() []Message{}
	commit := func(name string, events []backend.UnsavedEvent, before State, begin bool, chain []Link, perMessage int) {
		all[name] = func() []Message {
			messages, err := EncodeEvents(events, before, begin, chain, Limits{MaxMessageBytes: 1 << 20, EventsPerMessage: perMessage, MaxMessages: MaxParts})
			if err != nil {
				t.Fatal(err)
			}
			return messages
		}
	}
	marker := func(kind Kind, after State, chain []Link) {
		all[kind.String()] = func() []Message { return []Message{EncodeMarker(kind, nthID(99), after, chain)} }
	}
	chain := []Link{{Position: 40, Events: 2, Parts: 1}, {Position: 38, Events: 300, Parts: 4}, {Position: 7, Events: 1, Parts: 1}}

	one := plainEvents(1)
	one[0].CorrelationID = nthID(7)
	commit("one", one, begun(0), true, nil, 0)

	full := plainEvents(1)
	full[0].CausationID, full[0].CorrelationID = nthID(8), nthID(7)
	full[0].EventType = "konto.überzogen, 100%"
	full[0].Metadata = []byte(" {\"user\":\"ann\",\r\n\"ip\":\"::1\"}\t\x00\xff\u2028")
	full[0].Data = []byte("line one\nline two\r\n\x00\xff\n")
	commit("full", full, State{Version: 303, First: 4, ID: math.MaxUint64, Created: testBegan}, false, chain, 0)

	three := plainEvents(3)
	three[1].EventType, three[1].Data, three[2].Data = "Withdrawn", nil, []byte("a\n\nb")
	for i := range three {
		three[i].CorrelationID = nthID(7)
	}
	commit("three", three, begun(12), false, chain, 0)

	mixed := plainEvents(4)
	mixed[1].Metadata, mixed[2].CausationID, mixed[3].CorrelationID = []byte(`{"a":1,"b":2}`), nthID(1), nthID(7)
	mixed[3].CreatedAt = testTime.Add(time.Hour).Truncate(time.Second)
	commit("mixed", mixed, begun(12), false, nil, 0)
	commit("parts", mixed, begun(12), false, chain, 3)
	commit("parts-new", plainEvents(2), begun(0), true, nil, 1)

	empty := plainEvents(1)
	empty[0].Data = nil
	commit("empty", empty, begun(1), false, chain[2:], 0)
	commit("empty-three", []backend.UnsavedEvent{empty[0], empty[0], empty[0]}, begun(1), false, nil, 0)

	newline := plainEvents(1)
	newline[0].Data = []byte("\n")
	commit("newline", newline, begun(1), false, nil, 0)

	state := begun(303)
	marker(Created, begun(0), nil)
	marker(Restored, state, chain)
	state.Deleted = testTime
	marker(SoftDeleted, state, chain)
	marker(Erased, state, nil)
	state.Deleted, state.First = time.Time{}, 304
	marker(Truncated, state, nil)

	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			messages := all[name]()
			for i, m := range messages {
				file := name
				if len(messages) > 1 {
					file = fmt.Sprintf("%s-%d", name, i+1)
				}
				checkGolden(t, file+".msg", messageText(m))
			}
		})
	}
}

// What was stored once is read for ever: the messages of format version 1 in
// testdata decode to what is beside them. A file there is never changed.
func TestStoredMessagesAreReadForEver(t *testing.T) {
	for _, g := range goldenMessages(t) {
		t.Run(g.name, func(t *testing.T) {
			rec, err := g.decode()
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, g.name+".want", describe(t, &rec))
		})
	}
}

func messageText(m Message) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		for _, value := range m.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	b.WriteByte('\n')
	b.Write(m.Body)
	return b.String()
}

// describe tells everything that a message decodes to.
func describe(t *testing.T, r *Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind %v\nversion %d\nfirst %d\nid %d\ncreated %v\n", r.Kind, r.State.Version, r.State.First, r.State.ID, r.State.Created)
	if !r.State.Deleted.IsZero() {
		fmt.Fprintf(&b, "deleted %v\n", r.State.Deleted)
	}
	if r.Part != (Part{}) {
		fmt.Fprintf(&b, "part %d of %d, base %d, begin %t\n", r.Part.Index, r.Part.Count, r.Part.Base, r.Part.Begin)
	}
	for _, l := range r.Chain() {
		fmt.Fprintf(&b, "before it at %d: %d events in %d messages\n", l.Position, l.Events, l.Parts)
	}
	if r.Kind != Events {
		id, err := r.MarkerID()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "marker %v\n", id)
	}
	events, err := r.AppendEvents(nil, backend.RecordedEvent{}, 0, math.MaxUint64)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		fmt.Fprintf(&b, "\nevent %d\n  id %v\n  type %q\n  created %v\n", e.StreamVersion, e.EventUUID, e.EventType, e.CreatedAt)
		if e.CausationID != uuid.Nil {
			fmt.Fprintf(&b, "  causation %v\n", e.CausationID)
		}
		if e.CorrelationID != uuid.Nil {
			fmt.Fprintf(&b, "  correlation %v\n", e.CorrelationID)
		}
		if e.Metadata != nil {
			fmt.Fprintf(&b, "  metadata %q\n", e.Metadata)
		}
		if e.Data != nil {
			fmt.Fprintf(&b, "  data %q\n", e.Data)
		}
	}
	return b.String()
}

func checkGolden(t *testing.T, file, got string) {
	path := filepath.Join("testdata", file)
	want, err := os.ReadFile(path)
	if *update && errors.Is(err, fs.ErrNotExist) {
		want, err = []byte(got), os.WriteFile(path, []byte(got), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}
