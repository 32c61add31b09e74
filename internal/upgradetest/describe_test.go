package upgradetest

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

// description is everything that can be read of a store, in the form of
// want.json.
type description struct {
	Streams []stream
	All     []entry // what ReadAll reads
}

type stream struct {
	Name    string
	State   string     // "exists", "soft-deleted", "not found"
	ID      uint64     `json:",omitempty"`
	Version uint64     `json:",omitempty"`
	Created time.Time  `json:",omitzero"`
	Deleted *time.Time `json:",omitempty"`
	Events  []event    `json:",omitempty"`
}

type event struct {
	Version     uint64
	Position    uint64
	ID          uuid.UUID
	Causation   uuid.UUID `json:",omitzero"`
	Correlation uuid.UUID `json:",omitzero"`
	Type        string    // quoted as Go does, for it may be no UTF-8
	Data        string    // so too; of more than 80 bytes, number and SHA-256
	Metadata    string    `json:",omitempty"` // like Data
	CreatedAt   time.Time
	RecordedAt  time.Time
}

type entry struct {
	Stream   string
	Version  uint64
	Position uint64
}

// describe reads a store in every way that there is. That one way reads something
// else than another fails the test.
func describe(t *testing.T, b *jetstream.Backend, names []string) description {
	t.Helper()
	var d description
	for _, name := range names {
		d.Streams = append(d.Streams, describeStream(t, b, name))
	}
	for batch, err := range backend.ReadAll(t.Context(), b, backend.ReadAllOptions{}, uuid.Nil) {
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range batch {
			d.All = append(d.All, entry{e.StreamUUID, e.StreamVersion, e.Position})
		}
	}
	return d
}

func describeStream(t *testing.T, b *jetstream.Backend, name string) stream {
	t.Helper()
	info, err := b.ReadStreamInfo(t.Context(), name, uuid.Nil)
	if errors.Is(err, backend.ErrStreamNotFound) {
		return stream{Name: name, State: "not found"}
	}
	if err != nil {
		t.Fatalf("%q: %v", name, err)
	}
	s := stream{Name: name, State: "exists", ID: info.ID, Version: info.Version, Created: info.CreatedAt, Deleted: info.DeletedAt}
	forward, err := b.ReadStream(t.Context(), name, 0, 1<<20, uuid.Nil)
	if errors.Is(err, backend.ErrStreamDeleted) {
		s.State = "soft-deleted"
		return s
	}
	if err != nil {
		t.Fatalf("%q: %v", name, err)
	}
	backward, err := backend.ReadStreamBackward(t.Context(), b, name, 0, 1<<20, uuid.Nil)
	if err != nil {
		t.Fatalf("%q: %v", name, err)
	}
	slices.Reverse(backward)
	var streamed, each []backend.RecordedEvent
	for batch, err := range b.StreamForward(t.Context(), name, 3, uuid.Nil) {
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		streamed = append(streamed, batch...)
	}
	for _, e := range forward { // from the middle of commits, too
		one, err := b.ReadStream(t.Context(), name, e.StreamVersion, 1, uuid.Nil)
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		each = append(each, one...)
	}
	for way, got := range map[string][]backend.RecordedEvent{"backward": backward, "StreamForward": streamed, "one by one": each} {
		if len(got) != len(forward) || len(got) > 0 && !reflect.DeepEqual(got, forward) {
			t.Errorf("%q is another event stream when it is read %s:\n%+v\n%+v", name, way, got, forward)
		}
	}
	for _, e := range forward {
		s.Events = append(s.Events, event{e.StreamVersion, e.Position, e.EventUUID, e.CausationID, e.CorrelationID, fmt.Sprintf("%q", e.EventType),
			quote(e.Data), quote(e.Metadata), e.CreatedAt, e.RecordedAt})
	}
	return s
}

func quote(data []byte) string {
	if data == nil {
		return ""
	}
	if len(data) > 80 {
		return fmt.Sprintf("%d bytes, SHA-256 %x", len(data), sha256.Sum256(data))
	}
	return fmt.Sprintf("%q", data)
}

// text is the description as JSON, an event a line.
func (d description) text(t *testing.T) string {
	t.Helper()
	one := func(value any) string {
		data, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var streams, all []string
	for _, s := range d.Streams {
		var events []string
		for _, e := range s.Events {
			events = append(events, "\n  "+one(e))
		}
		s.Events = nil
		streams = append(streams, strings.TrimSuffix(one(s), "}")+`,"Events":[`+strings.Join(events, ",")+"]}")
	}
	for _, e := range d.All {
		all = append(all, one(e))
	}
	return "{\"Streams\":[\n" + strings.Join(streams, ",\n") + "],\n\"All\":[\n" + strings.Join(all, ",\n") + "]}\n"
}
