package jetstream_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tributary-es/tributary/backend"
	"github.com/tributary-es/tributary/jetstream"
	"github.com/tributary-es/tributary/jetstream/internal/wire"
)

func TestReadingDeepInALongEventStreamTakesFewRequests(t *testing.T) {
	s, p := counted(t, jetstream.Config{})
	direct := s.again(jetstream.Config{})
	version := uint64(0)
	for i := range 4000 {
		n := 1 + i%3
		direct.add("long", n)
		version += uint64(n)
		if i%7 == 0 || i > 1000 && i < 1400 { // a busy time of others
			direct.add("other", 1)
		}
	}
	type page struct {
		from, limit uint64
		backward    bool
	}
	read := func(want page) []string {
		return requests(t, s, p, func() {
			var events []backend.RecordedEvent
			var err error
			if want.backward {
				events, err = s.ReadStreamBackward(t.Context(), "long", want.from+want.limit-1, want.limit, uuid.Nil)
				slices.Reverse(events)
			} else {
				events, err = s.ReadStream(t.Context(), "long", want.from, want.limit, uuid.Nil)
			}
			if err != nil {
				t.Fatalf("%+v: %v", want, err)
			}
			wantVersions(t, events, want.from, want.from+want.limit-1)
		})
	}
	for _, from := range []uint64{1, 2, 300, version / 4, version / 3, version / 2, version - 1000, version - 100} {
		for _, backward := range []bool{false, true} {
			// The head, a few to find the place, and the commits themselves.
			got := read(page{from, 20, backward})
			if len(got) > 25 || slices.ContainsFunc(got, isConsumers) {
				t.Errorf("reading 20 from %d took %d requests: %q", from, len(got), got)
			}
			// The same, and those of a consumer.
			if got := read(page{from, 100, backward}); len(got) > 15 {
				t.Errorf("reading 100 from %d took %d requests: %q", from, len(got), got)
			}
		}
	}
	// What a truncation keeps is found as well, however long the event stream.
	if err := backend.Truncate(t.Context(), s, "long", version-600, uuid.Nil); err != nil {
		t.Fatal(err)
	}
	wantVersions(t, s.all("long"), version-600, version)
}

func isConsumers(subject string) bool { return strings.HasPrefix(subject, "$JS.API.CONSUMER.") }

// In a copy of a JetStream stream, all positions may be others.
func TestReadingDeepInAnEventStreamWithWrongChains(t *testing.T) {
	for name, forge := range map[string]func(right []wire.Link) string{
		"positions too low":  each(func(l *wire.Link) { l.Position -= min(l.Position, 7) }),
		"positions too high": each(func(l *wire.Link) { l.Position += 40 }),
		"too many events":    each(func(l *wire.Link) { l.Events++ }),
		"none":               func([]wire.Link) string { return "" },
		"garbage":            func([]wire.Link) string { return "x" },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, jetstream.Config{})
			state := begun()
			var chain []wire.Link
			for i := range 600 {
				n := 1 + i%3
				m := encode(t, n, state, chain, 0)[0]
				m.Header = maps.Clone(m.Header)
				m.Header[wire.HeaderChain] = []string{forge(chain)}
				position := s.put("x", m)[0]
				chain = append([]wire.Link{{Position: position, Events: uint32(n), Parts: 1}}, chain[:min(len(chain), wire.MaxChain-1)]...)
				state.Version += uint64(n)
			}
			for from := uint64(1); from < state.Version; from += 97 {
				for _, limit := range []uint64{1, 10, 200} {
					last := min(from+limit-1, state.Version)
					events, err := s.ReadStream(t.Context(), "x", from, limit, uuid.Nil)
					if err != nil {
						t.Fatal(err)
					}
					wantVersions(t, events, from, last)
				}
			}
			wantStream(t, s, "x", state.Version)
		})
	}
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
