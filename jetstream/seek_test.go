package jetstream_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
)

func TestReadingDeepInALongEventStreamTakesFewRequests(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	direct := s.again(jetstream.Config{})
	version := uint64(0)
	for i := range 4000 {
		n := 1 + i%3
		direct.add("long", n)
		version += uint64(n)
		if i%7 == 0 {
			direct.add("other", 1)
		}
	}
	for _, from := range []uint64{1, 2, 300, version / 3, version / 2, version - 1000, version - 100} {
		got := requests(t, s, p, func() {
			events, err := s.ReadStream(t.Context(), "long", from, 50, uuid.Nil)
			if err != nil || len(events) != 50 {
				t.Fatalf("%d events from %d, error %v", len(events), from, err)
			}
			wantVersions(t, events, from, from+49)
		})
		// The head, five or so to find the place, and those of a consumer.
		if len(got) > 20 {
			t.Errorf("reading from %d took %d requests: %q", from, len(got), got)
		}
	}
	// What a truncation keeps is found as well, however long the event stream.
	if err := backend.Truncate(t.Context(), s, "long", version-600, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	wantVersions(t, s.all("long"), version-600, version)
}

// Where the way to a version leads through a commit of several messages, reading
// starts before the commit.
func TestReadingDeepStartsBeforeACommitOfSeveralMessages(t *testing.T) {
	s := newStore(t, jetstream.Config{EventsPerMessage: 1, Storage: jetstream.MemoryStorage})
	for range 12 {
		s.add("x", 200)
	}
	for from := uint64(1); from < 2400; from += 37 {
		events, err := s.ReadStream(t.Context(), "x", from, 3, uuid.Nil)
		if err != nil {
			t.Fatal(err)
		}
		wantVersions(t, events, from, min(from+2, 2400))
	}
}
